"""Which queue each kind of work waits on, and so which workers do it.

Runs, and what they do in our own books, are on the product's own queue. Each kind of outside party
has a queue beside it, so that a carrier that hangs or a provider's rate limit holds up nobody else.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from activities.carriers import CarrierActivities
from activities.nodes import NodeActivities
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from activities.returns import ReturnCarrierActivities


class Kind(StrEnum):
    """A kind of work, which a worker process serves or leaves to others."""

    ORDERS = "orders"
    PAYMENTS = "payments"
    CARRIERS = "carriers"
    NODES = "nodes"


EFFECTS: Mapping[Kind, tuple[type, ...]] = {
    Kind.ORDERS: (OrderActivities,),
    Kind.PAYMENTS: (PaymentActivities,),
    Kind.CARRIERS: (CarrierActivities, ReturnCarrierActivities),
    Kind.NODES: (NodeActivities,),
}
"""Whose activities each kind of work is."""


def queue_for(kind: Kind, *, orders: str) -> str:
    """Name the queue of a kind of work. `orders`: the product's own, where the runs are."""
    return orders if kind is Kind.ORDERS else f"{orders}-{kind}"


def kind_of(call: Callable[..., Any]) -> Kind:
    """Tell whose work an activity is, given as its class names it."""
    return next(
        kind
        for kind, effects in EFFECTS.items()
        if any(getattr(each, call.__name__, None) is call for each in effects)
    )
