"""What an order may be served from, asked in the order's own terms."""

from collections.abc import Iterable
from typing import Literal, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.availability import backorder_room, candidates
from adapters.db.stock import Want
from oms.sourcing import Candidate, Pick


class Wanted(Protocol):
    """What decides where goods may come from: of an order, or of a basket that only asks."""

    @property
    def channel(self) -> str:
        """Who sells."""
        ...

    @property
    def method(self) -> str:
        """How the goods get to the customer."""
        ...

    @property
    def pickup_location(self) -> str | None:
        """The store the customer comes to, if so."""
        ...

    @property
    def latitude(self) -> float | None:
        """Where the goods go, in degrees north."""
        ...

    @property
    def longitude(self) -> float | None:
        """Where the goods go, in degrees east."""
        ...

    @property
    def allow_split(self) -> bool:
        """Whether several places may serve."""
        ...

    @property
    def allow_backorder(self) -> bool:
        """Whether units may be promised that are not there yet."""
        ...


async def places_for(
    tx: AsyncConnection, order: Wanted, skus: Iterable[str], *, for_queue: bool = False
) -> list[Candidate]:
    """Places that may serve this order and have some of the SKUs available.

    `for_queue`: available to its backordered units, see `candidates`.
    """
    return await candidates(
        tx,
        skus=skus,
        channel=order.channel,
        method=order.method,
        pickup_location=order.pickup_location,
        latitude=order.latitude,
        longitude=order.longitude,
        for_queue=for_queue,
    )


def wants(
    picks: Iterable[Pick],
    around: Iterable[Candidate],
    into: Literal["reserved", "allocated"] = "reserved",
    *,
    for_queue: bool = False,
) -> list[Want]:
    """What to take for a plan made of `around`; what the channel leaves at a place stays there."""
    leave = {place.location: place.buffer for place in around}
    return [
        Want(
            sku=pick.sku,
            location=pick.location,
            quantity=pick.quantity,
            into=into,
            leave=leave[pick.location],
            for_queue=for_queue,
        )
        for pick in picks
    ]


async def room_for(
    tx: AsyncConnection, order: Wanted, skus: Iterable[str]
) -> dict[tuple[str, str], int]:
    """Units of each (sku, location) that may still be backordered for this order.

    In the order of the places: first where goods come soonest.
    """
    places = await backorder_room(
        tx,
        skus=skus,
        channel=order.channel,
        method=order.method,
        pickup_location=order.pickup_location,
        latitude=order.latitude,
        longitude=order.longitude,
    )
    return {
        (sku, place.location): units for place in places for sku, units in place.available.items()
    }
