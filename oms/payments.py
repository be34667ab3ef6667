"""How an order is paid and each movement of money, as the books tell them, and the call for one."""

from datetime import datetime
from typing import Literal

from oms.numbers import is_return_id
from oms.ports import Message
from oms.stored import Stored

PaymentKind = Literal["authorization", "capture", "refund", "void"]


class Tender(Stored):
    """How an order is paid. `authorisation` is the provider's id of the hold."""

    tender: int
    kind: str
    provider: str | None
    amount_minor: int
    authorized_minor: int
    captured_minor: int
    refunded_minor: int
    voided_minor: int
    authorisation: str | None
    capture_before: datetime | None


class PaymentEntry(Stored):
    """One movement of money under one key. See `adapters.db.tables.money`.

    `holder_waits`: of what another order gives back, whether that one's captures have no outcome
    yet, or it rests until a person has looked; None of an order's own.
    """

    key: str
    tender: int
    kind: str
    seq: int
    amount_minor: int
    currency: str
    status: str
    cause: str | None
    attempts: int
    provider_reference: str | None
    reason: str | None
    settled_by: str | None
    given_up: bool
    at: datetime
    settled_at: datetime | None
    holder_waits: bool | None = None

    @property
    def is_open(self) -> bool:
        """Its outcome is still to come."""
        return self.status in ("requested", "unknown")

    @property
    def is_unsettled(self) -> bool:
        """Its outcome is to come, or it failed and a person has yet to decide about it."""
        failed = self.status == "failed" and self.kind != "authorization" and not self.given_up
        return self.is_open or failed

    @property
    def is_dropped(self) -> bool:
        """A person gave it up, and the provider did not do it after all."""
        return self.given_up and self.status != "succeeded"

    @property
    def of_return(self) -> str | None:
        """The return whose process settles it; None for what the order's own process settles."""
        return self.cause if self.cause is not None and is_return_id(self.cause) else None

    @property
    def step(self) -> str:
        """The name of the step that settles it: `authorise`, `capture:1`, `void:1`, `refund:1`."""
        return "authorise" if self.kind == "authorization" else f"{self.kind}:{self.seq}"


class PaymentCall(Message):
    """One call to make under one key.

    `status`: the entry's. `called_before`: a call was begun under this key, so look it up first.
    `token` is the customer's means (personal; it never leaves the activity).
    """

    key: str
    order: str
    kind: PaymentKind
    status: str
    amount_minor: int
    currency: str
    provider: str | None
    token: str | None
    authorisation: str | None
    called_before: bool
    age_seconds: float


class PaymentOutcome(Message):
    """`pending`: the provider decides later. A failed authorisation refuses the order."""

    status: Literal["succeeded", "failed", "pending"]
    reason: str | None = None
