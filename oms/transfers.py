"""Goods that move from one location to another: who holds what meanwhile, and where it stands.

Every level a transfer touches is derived from its lines (`holds`), so a step moves the difference
of two such sums and nothing else. What is scanned is a fact: units may arrive before they were said
to be sent, in parts, more than were sent, or after it was all called off.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from oms.fields import Flaw
from oms.stored import Stored


class TransferStatus(StrEnum):
    """Where a transfer stands as a whole."""

    REQUESTED = "requested"
    SHIPPED = "shipped"
    PARTIALLY_RECEIVED = "partially_received"
    RECEIVED = "received"
    CLOSED = "closed"
    CANCELLED = "cancelled"


OPEN = (
    TransferStatus.REQUESTED,
    TransferStatus.SHIPPED,
    TransferStatus.PARTIALLY_RECEIVED,
)
"""Somebody still has to send or to receive something."""


class TransferLine(Stored):
    """Units of one article: asked for, sent, arrived, lost on the way, called off.

    `received` are all that arrived, `damaged` of them included. `quantity` is 0 for what arrived
    without having been asked for.
    """

    line: int
    sku: str
    quantity: int
    shipped: int = 0
    received: int = 0
    damaged: int = 0
    lost: int = 0
    cancelled: int = 0

    @property
    def to_ship(self) -> int:
        """Units held at the origin that it has not sent yet."""
        return max(0, self.quantity - self.shipped - self.cancelled)

    @property
    def in_transit(self) -> int:
        """Units on the road. What arrived beyond what was sent leaves none of a later scan."""
        return max(0, self.shipped - self.received - self.lost)


class Transfer(Stored):
    """A transfer and its lines. `expected_at`: when all of it should have arrived."""

    id: str
    origin: str
    destination: str
    lines: tuple[TransferLine, ...]
    expected_at: datetime | None = None
    reference: str | None = None
    created_at: datetime
    closed_at: datetime | None = None
    version: int = 1

    @property
    def status(self) -> TransferStatus:
        """Derived from the units, but for the decision to close."""
        if self.closed_at is not None:
            return TransferStatus.CLOSED
        shipped = any(line.shipped for line in self.lines)
        received = any(line.received for line in self.lines)
        to_ship = any(line.to_ship for line in self.lines)
        if not shipped and not to_ship:
            return TransferStatus.CANCELLED
        if not shipped and not received:
            return TransferStatus.REQUESTED
        if not to_ship and not any(line.in_transit for line in self.lines):
            return TransferStatus.RECEIVED
        return TransferStatus.PARTIALLY_RECEIVED if received else TransferStatus.SHIPPED

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to send or to receive something."""
        return self.status in OPEN

    def is_overdue(self, now: datetime) -> bool:
        """Whether it should have arrived by now and has not."""
        return self.is_open and self.expected_at is not None and self.expected_at < now


@dataclass(frozen=True, slots=True)
class Refused:
    """A step that does not fit: a stable code, a sentence, and each field it concerns."""

    code: str
    detail: str
    flaws: tuple[Flaw, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """Units that were scanned, `damaged` of them unfit to be sold."""

    sku: str
    quantity: int
    damaged: int = 0


# --- steps ----------------------------------------------------------------------------------


def ship(transfer: Transfer, wanted: Sequence[tuple[str, int]] | None) -> Transfer | Refused:
    """Send units of some articles, each named once, or all that are left (`None`).

    The origin can still be asked here, so more than was asked for is refused, unlike an arrival.
    """
    if transfer.closed_at is not None or not any(line.to_ship for line in transfer.lines):
        return Refused("invalid_state", f"{transfer.id} is {transfer.status}: nothing is to ship.")
    by_sku = {line.sku: line for line in transfer.lines}
    if wanted is None:
        units = {line.sku: line.to_ship for line in transfer.lines}
    else:
        flaws = [*_cannot_ship(by_sku, wanted)]
        if flaws:
            return Refused(flaws[0].code, "Nothing was shipped.", tuple(flaws))
        units = dict(wanted)
    return _with(
        transfer,
        {sku: {"shipped": by_sku[sku].shipped + count} for sku, count in units.items() if count},
    )


def _cannot_ship(
    by_sku: Mapping[str, TransferLine], wanted: Sequence[tuple[str, int]]
) -> Iterable[Flaw]:
    for i, (sku, units) in enumerate(wanted):
        if sku not in by_sku:
            detail = "The transfer has no such article."
            yield Flaw(pointer=f"/lines/{i}/sku", code="line_unknown", detail=detail)
        elif units > by_sku[sku].to_ship:
            detail = f"{by_sku[sku].to_ship} of {sku} are to ship."
            yield Flaw(pointer=f"/lines/{i}/quantity", code="quantity_too_large", detail=detail)


def receive(transfer: Transfer, arrivals: Sequence[Arrival]) -> Transfer:
    """Record what arrived, each article named once. Never refused: it is there."""
    known = {line.sku for line in transfer.lines}
    unasked = [arrival.sku for arrival in arrivals if arrival.sku not in known]
    after = max((line.line for line in transfer.lines), default=0) + 1
    lines = transfer.lines + tuple(
        TransferLine(line=number, sku=sku, quantity=0)
        for number, sku in enumerate(unasked, start=after)
    )
    by_sku = {line.sku: line for line in lines}
    return _with(
        transfer.model_copy(update={"lines": lines}),
        {
            arrival.sku: {
                "received": by_sku[arrival.sku].received + arrival.quantity,
                "damaged": by_sku[arrival.sku].damaged + arrival.damaged,
            }
            for arrival in arrivals
        },
    )


def unexpected(before: Transfer, arrivals: Iterable[Arrival]) -> dict[str, int]:
    """Units by article that arrived and were not on the road."""
    on_the_road = Counter({line.sku: line.in_transit for line in before.lines})
    beyond = {arrival.sku: arrival.quantity - on_the_road[arrival.sku] for arrival in arrivals}
    return {sku: units for sku, units in beyond.items() if units > 0}


def cancel(transfer: Transfer) -> Transfer | Refused:
    """Call off what was not sent. Once more changes nothing."""
    left = {line.sku: line.to_ship for line in transfer.lines if line.to_ship}
    if transfer.closed_at is not None or (not left and transfer.status != TransferStatus.CANCELLED):
        return Refused("already_shipped", "All of it was sent: receive it, or close it.")
    by_sku = {line.sku: line for line in transfer.lines}
    return _with(
        transfer,
        {sku: {"cancelled": by_sku[sku].cancelled + units} for sku, units in left.items()},
    )


def close(transfer: Transfer, at: datetime) -> Transfer | Refused:
    """Expect no more: what is on the road is lost, what was not sent is called off."""
    if transfer.closed_at is not None:
        return transfer
    if transfer.status in (TransferStatus.REQUESTED, TransferStatus.CANCELLED):
        return Refused("invalid_state", f"{transfer.id} is {transfer.status}: nothing was sent.")
    settled = {
        line.sku: {
            "lost": line.lost + line.in_transit,
            "cancelled": line.cancelled + line.to_ship,
        }
        for line in transfer.lines
    }
    return _with(transfer.model_copy(update={"closed_at": at}), settled)


def _with(transfer: Transfer, changes: Mapping[str, Mapping[str, int]]) -> Transfer:
    lines = tuple(line.model_copy(update=changes.get(line.sku, {})) for line in transfer.lines)
    return transfer.model_copy(update={"lines": lines})


# --- stock ----------------------------------------------------------------------------------

Holds = dict[tuple[str, str], Counter[str]]
"""Units by (sku, location) and bucket."""


def holds(transfer: Transfer) -> Holds:
    """What a transfer has added to each bucket at both its ends since it began."""
    found: Holds = {}
    for line in transfer.lines:
        found[line.sku, transfer.origin] = Counter(allocated=line.to_ship, on_hand=-line.shipped)
        found[line.sku, transfer.destination] = Counter(
            requested=line.to_ship,
            incoming=line.in_transit,
            in_transit=line.in_transit,
            on_hand=line.received - line.damaged,
            damaged=line.damaged,
        )
    return found


def moved(before: Transfer, after: Transfer) -> dict[tuple[str, str], dict[str, int]]:
    """What a step moves: the difference of what is held after and before it."""
    was, will_be = holds(before), holds(after)
    differences = {
        place: {
            bucket: units - was.get(place, Counter())[bucket]
            for bucket, units in counts.items()
            if units != was.get(place, Counter())[bucket]
        }
        for place, counts in will_be.items()
    }
    return {place: deltas for place, deltas in differences.items() if deltas}
