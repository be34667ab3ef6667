"""Moving money once: what an activity is told, and what it answers."""

from typing import Literal

from oms.ports import Message

PaymentKind = Literal["authorization", "capture", "refund", "void"]


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
