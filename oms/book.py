"""The books as the processes use them: one transaction a method, each safe to repeat.

`at` is the process's own time, so that deadlines follow its clock. Unknown orders are a
broken invariant: a process exists only for an order that is stored.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field

from oms.agenda import Agenda
from oms.cancelling import Refusal
from oms.decisions import Decision, Parked
from oms.payments import PaymentCall, PaymentOutcome
from oms.ports import (
    Approved,
    CancelWork,
    Declined,
    LabelBought,
    LabelRequest,
    Message,
    Offer,
    Scan,
)


class CancelUnits(Message):
    """Cancel units by line, or every unit not handed over."""

    kind: Literal["cancel"] = "cancel"
    reason: str
    lines: dict[int, int] | None = None


class PlaceHold(Message):
    """Stop an order from going on."""

    kind: Literal["hold"] = "hold"
    reason: str
    note: str | None = None


class ReleaseHold(Message):
    """Lift a hold."""

    kind: Literal["release_hold"] = "release_hold"
    hold: str


class Reroute(Message):
    """Plan backordered units, or one unaccepted fulfillment order, again."""

    kind: Literal["reroute"] = "reroute"
    fulfillment_order: str | None = None
    location: str | None = None


class DecidePayment(Message):
    """What a person decided about a payment."""

    kind: Literal["decide_payment"] = "decide_payment"
    key: str
    decision: Decision


class DecideFulfillment(Message):
    """What a person decided about a step of a fulfillment order."""

    kind: Literal["decide_fulfillment"] = "decide_fulfillment"
    fulfillment_order: str
    decision: Decision


class DecideReturn(Message):
    """What a person decided about a step of a return."""

    kind: Literal["decide_return"] = "decide_return"
    return_id: str
    decision: Decision


Command = Annotated[
    CancelUnits
    | PlaceHold
    | ReleaseHold
    | Reroute
    | DecidePayment
    | DecideFulfillment
    | DecideReturn,
    Field(discriminator="kind"),
]


class CommandAnswer(Message):
    """What became of a command. `asked`: a node was asked first. `id`: of what it made."""

    refusal: Refusal | None = None
    asked: bool = False
    id: str | None = None


class Settled(Message):
    """What became of a payment, and what is due then; unless it is pending.

    `of_return`: the return that it was for, and whose agenda this is; without one, the order's.
    The agenda is left out where the money of a return is another order's.
    """

    outcome: PaymentOutcome
    agenda: Agenda | None = None
    of_return: str | None = None


class OrderBook(Protocol):
    """Orders, their stock and their money, in SQL."""

    async def agenda(self, number: str, at: datetime) -> Agenda:
        """What is due for an order."""
        ...

    async def reserve(self, number: str, at: datetime) -> Agenda:
        """Plan and hold stock, or refuse the order; decide its authorisation."""
        ...

    async def release_reservation(self, number: str, at: datetime) -> Agenda:
        """Give back stock held for too long without payment."""
        ...

    async def confirm(self, number: str, at: datetime) -> Agenda:
        """Turn what is held into allocations and give the promise."""
        ...

    async def route(self, number: str, at: datetime) -> Agenda:
        """Offer every unit to a location; find others for those turned down."""
        ...

    async def close(self, number: str, at: datetime) -> Agenda:
        """Void what is left of the authorisation; then end the order."""
        ...

    async def command(
        self,
        number: str,
        id: str,
        command: Command,
        at: datetime,
        *,
        actor: str,
        expected_version: int | None = None,
    ) -> CommandAnswer:
        """Decide and apply a command once by its id; `version_conflict` when it moved on."""
        ...

    async def begin_payment(self, key: str, at: datetime) -> PaymentCall:
        """Read a payment that is about to be tried, and count the attempt."""
        ...

    async def settle_payment(
        self,
        key: str,
        result: Approved | Declined,
        at: datetime,
        *,
        settled_by: str,
        nudge: bool = False,
    ) -> Settled:
        """Write a payment's outcome. A declined authorisation refuses a pending order.

        `nudge`: the process it belongs to does not know yet and is told.
        """
        ...

    async def settled(self, key: str, at: datetime) -> Settled:
        """What became of a payment so far."""
        ...

    async def doubt_payment(self, key: str, reason: str, at: datetime) -> None:
        """Write that a payment's outcome is not known."""
        ...

    async def fulfillment_agenda(self, id: str, at: datetime) -> Agenda:
        """What is due for a fulfillment order."""
        ...

    async def offer_of(self, id: str) -> Offer | None:
        """What to offer; None if it is not to be offered (any more)."""
        ...

    async def offered(self, id: str, at: datetime) -> Agenda:
        """The node has the offer."""
        ...

    async def expire(self, id: str, at: datetime) -> Agenda:
        """The node did not answer in time: its units go elsewhere."""
        ...

    async def work_to_cancel(self, id: str) -> CancelWork | None:
        """What to ask the node to stop; None if it was asked already."""
        ...

    async def asked_to_stop(self, id: str, key: str, at: datetime) -> Agenda:
        """The node has the request."""
        ...

    async def parcel_agenda(self, shipment: str, at: datetime) -> Agenda:
        """What is due for the fulfillment order that a parcel belongs to."""
        ...

    async def label_request(self, shipment: str) -> LabelRequest:
        """What the carrier needs for a label. Personal data."""
        ...

    async def label_bought(self, shipment: str, label: LabelBought, at: datetime) -> Agenda:
        """A parcel has its label."""
        ...

    async def tracking_number_of(self, shipment: str) -> str | None:
        """A parcel's tracking number."""
        ...

    async def scanned(self, shipment: str, scans: Sequence[Scan], at: datetime) -> Agenda:
        """What the carrier said when asked; perhaps nothing new."""
        ...

    async def park(self, number: str, parked: Parked, workflow_id: str, at: datetime) -> None:
        """A step waits for a person."""
        ...

    async def unpark(self, number: str, step: str, at: datetime) -> None:
        """A step waits no longer."""
        ...
