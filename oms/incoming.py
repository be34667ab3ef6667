"""Units expected at a location by a purchase order: what came of them, what is still to come."""

from datetime import datetime
from enum import StrEnum

from oms.stored import Stored


class IncomingStatus(StrEnum):
    """Where an expectation stands."""

    EXPECTED = "expected"
    PARTIALLY_RECEIVED = "partially_received"
    RECEIVED = "received"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Expectation(Stored):
    """Units of one article expected at one place. `received` are all that came, `damaged` included.

    `announced_at` and `announced_quantity`: what was said first. `ended_at`: the rest was called
    off. More than was announced may come, and also after that: it is recorded all the same.
    """

    id: int
    sku: str
    location: str
    quantity: int
    expected_at: datetime
    reference: str
    received: int = 0
    damaged: int = 0
    ended_at: datetime | None = None
    version: int = 1
    announced_quantity: int
    announced_at: datetime

    @property
    def outstanding(self) -> int:
        """Units that are still to come, as counted in `incoming`."""
        return 0 if self.ended_at is not None else max(0, self.quantity - self.received)

    @property
    def status(self) -> IncomingStatus:
        """Derived from the units, but for the decision to expect no more."""
        if self.ended_at is not None:
            return IncomingStatus.CLOSED if self.received else IncomingStatus.CANCELLED
        if not self.received:
            return IncomingStatus.EXPECTED
        return IncomingStatus.PARTIALLY_RECEIVED if self.outstanding else IncomingStatus.RECEIVED

    def is_overdue(self, now: datetime) -> bool:
        """Whether units are still to come whose time has passed: nothing is promised on them."""
        return self.outstanding > 0 and self.expected_at < now
