"""Where an order of the demonstration stands, in one word a visitor understands."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """One word for an order, in the order of its life."""

    WAITING = "waiting"  # not placed yet
    PENDING = "pending"  # placed; stock or money is not settled yet
    CONFIRMED = "confirmed"
    PICKING = "picking"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    PARKED = "parked"


CLOSED = frozenset({Stage.DELIVERED, Stage.REFUSED, Stage.CANCELLED})

_BY_FULFILLMENT = {
    "in_progress": Stage.PICKING,
    "partially_fulfilled": Stage.SHIPPED,
    "fulfilled": Stage.SHIPPED,
    "delivered": Stage.SHIPPED,
}


def stage_of(order: Mapping[str, Any], *, attention: bool = False) -> Stage:
    """Read the stage from an order as the API shows it.

    Args:
        order: The API's order.
        attention: Whether it is listed among those that need a person.
    """
    match order["status"]:
        case "completed":
            return Stage.DELIVERED
        case "cancelled":
            return Stage.REFUSED if order.get("refusal") else Stage.CANCELLED
        case _ if attention:
            return Stage.PARKED
        case "pending":
            return Stage.PENDING
    return _BY_FULFILLMENT.get(order["fulfillment_status"], Stage.CONFIRMED)


@dataclass
class Entry:
    """One order on the board. `code` is why it was refused; `since` is when it was first parked.

    `since` counts in seconds of the run's own clock.
    """

    reference: str
    channel: str
    number: str | None = None
    stage: Stage = Stage.WAITING
    code: str | None = None
    since: float | None = None
    version: int = 0

    def see(self, order: Mapping[str, Any], *, now: float, attention: bool = False) -> None:
        """Take over what the API shows."""
        self.number, self.version = order["number"], order["version"]
        self.stage = stage_of(order, attention=attention)
        self.code = (order.get("refusal") or {}).get("code")
        if self.stage is not Stage.PARKED:
            self.since = None
        elif self.since is None:
            self.since = now

    def has_verdict(self, *, now: float, patience: float) -> bool:
        """Say whether nothing more will come of itself.

        A parked order counts once it has been parked for `patience` seconds: until then it may
        heal by itself.
        """
        if self.stage is Stage.PARKED and self.since is not None:
            return now - self.since >= patience
        return self.stage in CLOSED


@dataclass(frozen=True)
class Outcome:
    """What became of all orders. `unsettled` are those without a verdict."""

    counts: Mapping[Stage, int]
    refusals: Mapping[str, int]
    unsettled: tuple[Entry, ...] = ()
    orders: int = field(default=0)


def sum_up(entries: Iterable[Entry], *, now: float, patience: float) -> Outcome:
    """Count the orders by stage and the refusals by reason."""
    entries = list(entries)
    return Outcome(
        orders=len(entries),
        counts=Counter(entry.stage for entry in entries),
        refusals=Counter(entry.code or "unknown" for entry in entries if entry.stage == "refused"),
        unsettled=tuple(
            entry for entry in entries if not entry.has_verdict(now=now, patience=patience)
        ),
    )
