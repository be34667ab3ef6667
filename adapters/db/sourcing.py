"""What an order may be served from, asked in the order's own terms."""

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.availability import backorder_room, candidates
from oms.orders import Order
from oms.sourcing import Candidate


async def places_for(tx: AsyncConnection, order: Order, skus: Iterable[str]) -> list[Candidate]:
    """Places that may serve this order and have some of the SKUs available."""
    return await candidates(
        tx,
        skus=skus,
        channel=order.channel,
        method=order.method,
        pickup_location=order.pickup_location,
        latitude=order.latitude,
        longitude=order.longitude,
    )


async def room_for(
    tx: AsyncConnection, order: Order, skus: Iterable[str]
) -> dict[tuple[str, str], int]:
    """Units of each (sku, location) that may still be backordered for this order."""
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
