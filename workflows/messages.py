"""What is said to the processes: references, commands of people, and answers."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from oms.cancelling import Refusal
from oms.decisions import Action, Decision, Parked
from oms.ports import Message

_Words = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_Number = Annotated[int, Field(ge=1)]


class OrderRef(Message):
    """An order by its number.

    `heal_seconds`: how soon a step parked by an outage tries again by itself, doubling each time.
    `payment_poll_seconds`: how long to wait for a provider's webhook before looking up, doubling
    each time. `parked`: the steps that waited when an earlier run continued as this one.
    """

    number: str
    heal_seconds: float = 60
    payment_poll_seconds: float = 60
    parked: tuple[Parked, ...] = ()


class FulfillmentRef(Message):
    """A fulfillment order by its id, and the order it is part of. The rest as in `OrderRef`.

    `is_new`: nothing was done for it yet.
    """

    id: str
    order: str
    is_new: bool = False
    heal_seconds: float = 60
    parked: tuple[Parked, ...] = ()


class ReturnRef(Message):
    """A return by its id, and the order it is part of. The rest as in `OrderRef`."""

    id: str
    order: str
    heal_seconds: float = 60
    payment_poll_seconds: float = 60
    parked: tuple[Parked, ...] = ()


class RerouteRef(Message):
    """A reroute by its id, and in words for people; nothing that a person wrote."""

    id: str
    words: str


class Placed(Message):
    """How placing ended: `confirmed` or `refused`."""

    verdict: str


class LineUnits(Message):
    """Units of one line."""

    line: _Number
    quantity: _Number


class CancelRequest(Message):
    """Cancel units of lines, or without `lines` every unit that has not left."""

    reason: _Words
    lines: tuple[LineUnits, ...] | None = None
    actor: _Words = "operator"
    expected_version: int | None = None


class HoldRequest(Message):
    """Stop the order from going on."""

    reason: _Words
    note: _Words | None = None
    actor: _Words = "operator"
    expected_version: int | None = None


class ReleaseRequest(Message):
    """Lift a hold."""

    hold: _Words
    actor: _Words = "operator"
    expected_version: int | None = None


class RerouteRequest(Message):
    """Plan backordered units again, or one fulfillment order that nobody accepted."""

    fulfillment_order: _Words | None = None
    location: _Words | None = None
    actor: _Words = "operator"
    expected_version: int | None = None


class ResolveRequest(Message):
    """Settle a parked step. See `oms.decisions.Decision` for the words."""

    step: _Words
    action: Action
    actor: _Words
    reason: _Words
    result: dict[str, Any] | None = None

    @property
    def decision(self) -> Decision:
        """The same, as the books take it."""
        return Decision(
            step=self.step,
            action=self.action,
            actor=self.actor,
            reason=self.reason,
            result=self.result,
        )


class Answer(Message):
    """A command's answer. `asked`: a location was asked first. `id`: of what was made."""

    refusal: Refusal | None = None
    asked: bool = False
    id: str | None = None
