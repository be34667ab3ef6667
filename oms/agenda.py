"""What is due now, and what is waited for: the two decisions every process rests on.

A process reads its order, does what the agenda says is due, and then waits until something
changes or `wake_at`. Because the agenda is worked out from the books alone, a crash, a reset, a
lost or repeated signal cannot make it forget a step or take one twice.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from oms.fulfillment import (
    FINAL_PARCEL_STATUSES,
    TROUBLED_PARCEL_STATUSES,
    FulfillmentOrder,
    Shipment,
)
from oms.numbers import fulfillment_workflow_id, order_workflow_id
from oms.orders import EXCHANGE_HOLD, Order, OrderStatus
from oms.payments import PaymentEntry
from oms.ports import Message
from oms.returns import Return

RESERVE = "reserve"
CONFIRM = "confirm"
RELEASE_RESERVATION = "release_reservation"
SETTLE = "settle"
ROUTE = "route"
SERVE = "serve"
CLOSE = "close"

OFFER = "offer"
EXPIRE = "expire"
ASK_TO_STOP = "ask_to_stop"
BUY_LABEL = "buy_label"
POLL = "poll"
ATTEND = "attend"

IN_DOUBT = "reconciliation"
"""The reason of a hold under which nothing at all is done: after a restore the outside knows more
of an order than our books, and a person compares them first."""

SILENCES_BEFORE_A_PERSON_LOOKS = 14
"""A parcel unheard of for so many silent periods (14 days by default) goes to a person."""


class Due(Message):
    """One thing to do. `about` is its object: a payment key, a fulfillment order, a shipment.

    `step` names what parks if it cannot be done. For `attend`, a person must act: `error` says
    why and `actions` what they may choose.
    """

    do: str
    about: str = ""
    location: str = ""
    step: str = ""
    error: str = ""
    actions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What tells it from all others that may be due at once."""
        return f"{self.do}:{self.about}:{self.step}"


class Agenda(Message):
    """What a process does next. `ended`: nothing is left, ever.

    `stage` is for people (search attribute), `waiting` says in words what is waited for.
    `verdict`: of an order being placed: `confirmed`, `refused`, or none yet. `version`: the
    order's, so that an older answer that comes late is told from a newer one. `parked`: the
    process's own steps that the books show as waiting for a person. `then`: what will be due at
    `wake_at` if nothing is heard before; carried out when it no longer fits, it does nothing.
    """

    due: tuple[Due, ...] = ()
    wake_at: datetime | None = None
    stage: str = ""
    waiting: str = ""
    verdict: str | None = None
    ended: bool = False
    version: int = 0
    promise_by: datetime | None = None
    parked: tuple[str, ...] = ()
    then: tuple[Due, ...] = ()


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _next(now: datetime, *moments: datetime | None) -> datetime | None:
    """The first moment to come: what is past is due already, and no alarm need ring for it."""
    return _earliest(*(moment for moment in moments if moment is not None and moment > now))


def _parked_in(order: Order, workflow_id: str) -> tuple[str, ...]:
    return tuple(each.step for each in order.parked if each.workflow_id == workflow_id)


# --- the order ------------------------------------------------------------------------------


def order_agenda(order: Order, now: datetime) -> Agenda:
    """Decide what an order's process does next."""
    wake_at = _order_wakes(order, now)
    return Agenda(
        due=tuple(_order_due(order, now)),
        wake_at=wake_at,
        then=(Due(do=ROUTE),) if wake_at is not None and wake_at == order.grace_until else (),
        stage=order_stage(order),
        waiting=_order_waiting(order),
        verdict=_verdict(order),
        ended=order.closed_at is not None,
        version=order.version,
        promise_by=order.promise_by,
        parked=_parked_in(order, order_workflow_id(order.number)),
    )


def is_in_doubt(order: Order) -> bool:
    """Whether an order rests until a person has compared it with the outside."""
    return any(hold.reason == IN_DOUBT for hold in order.open_holds)


def _order_due(order: Order, now: datetime) -> Iterator[Due]:
    if order.closed_at is not None or is_in_doubt(order):
        return
    own = tuple(entry for entry in order.entries if entry.of_return is None)
    yield from entries_due(order, own)
    if order.status is OrderStatus.PENDING:
        yield from _placing_due(order, now)
        return
    if _may_route(order, now) and any(a.fulfillment_order is None for a in order.allocations):
        yield Due(do=ROUTE)
    for each in order.fulfillment_orders:
        if not fulfillment_ended(order, each):
            yield Due(do=SERVE, about=each.id, location=each.location)
    if not order.has_open_units and order.is_settled:
        yield Due(do=CLOSE)


def entries_due(order: Order, entries: Iterable[PaymentEntry]) -> Iterator[Due]:
    """The payments to settle among these. What has not come in yet cannot go back."""
    for entry in entries:
        if entry.is_unsettled and not order.is_held_back(entry):
            yield Due(do=SETTLE, about=entry.key, step=entry.step)


def _placing_due(order: Order, now: datetime) -> Iterator[Due]:
    held = any(line.reserved for line in order.lines)
    if order.is_paid_for:
        missing = any(line.unplanned for line in order.lines)
        yield Due(do=RESERVE if missing else CONFIRM)
    elif held and _reservation_over(order, now):
        yield Due(do=RELEASE_RESERVATION)
    elif order.authorization is None:
        yield Due(do=RESERVE)


def _reservation_over(order: Order, now: datetime) -> bool:
    ends = _reservation_ends(order)
    return ends is not None and ends <= now


def _reservation_ends(order: Order) -> datetime | None:
    return _earliest(*(r.expires_at for r in order.reservations if r.kind == "stock"))


def _may_route(order: Order, now: datetime) -> bool:
    if order.open_holds:
        return False
    already_routed = bool(order.fulfillment_orders)
    return already_routed or order.grace_until is None or order.grace_until <= now


def _order_wakes(order: Order, now: datetime) -> datetime | None:
    if order.closed_at is not None:
        return None
    if order.status is OrderStatus.PENDING:
        return _next(now, _reservation_ends(order))
    in_grace = not order.fulfillment_orders and not order.open_holds
    return _next(now, order.grace_until) if in_grace else None


def _verdict(order: Order) -> str | None:
    if order.refusal_code is not None:
        return "refused"
    if order.confirmed_at is not None or order.all_cancelled:
        return "confirmed"
    return None


def order_stage(order: Order) -> str:
    """The order's stage in one word, for lists and the search attribute `OmsStage`."""
    match order.status:
        case OrderStatus.PENDING:
            return "placing"
        case OrderStatus.CANCELLED:
            return "cancelled"
        case OrderStatus.COMPLETED:
            return "completed"
        case _:
            if order.open_holds:
                return "on_hold"
            return "fulfilling" if order.fulfillment_orders else "grace"


def _order_waiting(order: Order) -> str:
    if order.closed_at is not None:
        return f"Nothing: the order is {order.status}."
    if order.status is OrderStatus.PENDING:
        return "The payment provider's answer."
    if order.exchange_of is not None and {h.reason for h in order.open_holds} == {EXCHANGE_HOLD}:
        return f"The return {order.exchange_of} to let it go."
    if order.open_holds:
        reasons = ", ".join(sorted({hold.reason for hold in order.open_holds}))
        return f"A person: the order is on hold ({reasons})."
    if not order.has_open_units:
        return "Open payments to settle."
    if not order.fulfillment_orders and order.allocations:
        return f"The end of the grace window at {order.grace_until:%Y-%m-%d %H:%M:%S} UTC."
    live = [f for f in order.fulfillment_orders if not fulfillment_ended(order, f)]
    if live:
        return "Fulfillment orders: " + ", ".join(f"{f.id} at {f.location}" for f in live)
    return "Stock: backordered units wait for their turn."


# --- the fulfillment order ------------------------------------------------------------------


def new_fulfillment(id: str) -> Agenda:
    """What a new fulfillment order needs first, known without asking the books."""
    tag = id.rpartition("-")[2]
    return Agenda(stage="open", due=(Due(do=OFFER, about=id, step=f"offer:{tag}"),))


def fulfillment_ended(order: Order, each: FulfillmentOrder) -> bool:
    """Whether its process has nothing left to do."""
    if each.status == "cancelled":
        return not _must_tell_node(each)
    if each.status != "closed":
        return False
    return all(shipment.is_final for shipment in order.shipments_of(each.id))


def _must_tell_node(each: FulfillmentOrder) -> bool:
    """Something was taken back from a node that has heard of it."""
    return each.offered_at is not None and each.cancellation_asked < each.cancellation_seq


def fulfillment_agenda(order: Order, id: str, now: datetime, *, silent: timedelta) -> Agenda:
    """Decide what a fulfillment order's process does next.

    `silent`: how long a parcel may say nothing before the carrier is asked.
    """
    each = order.fulfillment_order(id)
    shipments = order.shipments_of(id)
    moving = [s for s in shipments if s.handed_over_at is not None and not s.is_final]
    going = [s for s in moving if order.undeliverable(s.id) is None]
    return Agenda(
        due=tuple(_fulfillment_due(order, each, shipments, now, silent)),
        wake_at=_next(
            now,
            *_fulfillment_deadlines(each),
            *(moment for s in going for moment in _parcel_deadlines(s, silent)),
        ),
        stage=fulfillment_stage(each, bool(moving)),
        waiting=fulfillment_waiting(each, moving, order.returns),
        ended=fulfillment_ended(order, each),
        version=order.version,
        parked=_parked_in(order, fulfillment_workflow_id(id)),
    )


def _ask_at(shipment: Shipment, silent: timedelta) -> datetime | None:
    """When the carrier is asked about a parcel: after a time without scan or look-up."""
    moments = (shipment.last_heard_at, shipment.last_asked_at, shipment.handed_over_at)
    known = [moment for moment in moments if moment is not None]
    return max(known) + silent if known else None


def _parcel_deadlines(shipment: Shipment, silent: timedelta) -> Iterator[datetime | None]:
    if shipment.status not in TROUBLED_PARCEL_STATUSES:
        yield _ask_at(shipment, silent)
        yield _given_up_at(shipment, silent)


def _given_up_at(shipment: Shipment, silent: timedelta) -> datetime | None:
    heard = shipment.last_heard_at or shipment.handed_over_at
    return heard + SILENCES_BEFORE_A_PERSON_LOOKS * silent if heard else None


def _fulfillment_deadlines(each: FulfillmentOrder) -> Iterator[datetime | None]:
    """The moments at which waiting turns into doing."""
    if each.status == "open":
        yield each.answer_by
    if each.status == "in_progress":
        yield each.collect_by if each.ready_at is not None else each.work_by
        if each.cancellation == "requested":
            yield each.cancel_answer_by


def _fulfillment_due(
    order: Order,
    each: FulfillmentOrder,
    shipments: tuple[Shipment, ...],
    now: datetime,
    silent: timedelta,
) -> Iterator[Due]:
    if is_in_doubt(order):
        return
    tag = each.short_id
    if each.status == "open":
        if each.offered_at is None:
            yield Due(do=OFFER, about=each.id, step=f"offer:{tag}")
        elif each.answer_by is not None and each.answer_by <= now:
            yield Due(do=EXPIRE, about=each.id)
    if each.status in ("in_progress", "cancelled") and _must_tell_node(each):
        yield Due(do=ASK_TO_STOP, about=each.id, step=f"cancel:{tag}")
    elif each.status == "in_progress":
        yield from _attention_to_work(each, now)
    for shipment in shipments:
        waits = shipment.tracking_number is None and not shipment.is_final
        if each.status == "in_progress" and waits:
            yield Due(do=BUY_LABEL, about=shipment.id, step=f"label:{shipment.short_id}")
        comes_back = order.undeliverable(shipment.id) is not None  # that return's process watches
        if shipment.handed_over_at is not None and not shipment.is_final and not comes_back:
            yield from _parcel_due(shipment, now, silent)


def _attention_to_work(each: FulfillmentOrder, now: datetime) -> Iterator[Due]:
    tag = each.short_id
    if each.cancellation == "requested" and _passed(each.cancel_answer_by, now):
        yield Due(
            do=ATTEND,
            step=f"cancel:{tag}",
            error=f"{each.location} was asked to stop and has not answered",
            actions=("retry", "done_manually", "fail"),
        )
    if each.stranded_at is not None:
        yield Due(
            do=ATTEND,
            step=f"stranded:{tag}",
            error=f"{each.location} has picked what it should not send any more",
            actions=("done_manually", "fail"),
        )
    if each.ready_at is None and _passed(each.work_by, now):
        yield Due(
            do=ATTEND,
            step=f"pick:{tag}",
            error=f"{each.location} accepted and has not finished by {each.work_by:%d %b %H:%M}",
            actions=("retry", "fail"),
        )
    if each.ready_at is not None and _passed(each.collect_by, now):
        yield Due(
            do=ATTEND,
            step=f"pickup:{tag}",
            error="the customer has not collected in time",
            actions=("retry", "done_manually", "fail"),
        )


def _passed(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _parcel_due(shipment: Shipment, now: datetime, silent: timedelta) -> Iterator[Due]:
    if shipment.status in TROUBLED_PARCEL_STATUSES:
        yield Due(
            do=ATTEND,
            step=f"parcel:{shipment.short_id}",
            error=f"the carrier says {shipment.status.replace('_', ' ')}",
            actions=("retry", "done_manually", "fail"),
        )
    elif _passed(_given_up_at(shipment, silent), now):
        yield Due(
            do=ATTEND,
            step=f"parcel:{shipment.short_id}",
            error="the carrier has said nothing for too long",
            actions=("retry", "done_manually", "fail"),
        )
    elif shipment.status not in FINAL_PARCEL_STATUSES and _passed(_ask_at(shipment, silent), now):
        yield Due(do=POLL, about=shipment.id, step=f"poll:{shipment.short_id}")


def fulfillment_stage(each: FulfillmentOrder, moving: bool) -> str:
    """The stage in one word, for lists and the search attribute `OmsStage`."""
    if each.status == "closed":
        return "shipped" if moving else "closed"
    if each.status == "in_progress" and each.ready_at is not None:
        return "ready"
    return each.status


def fulfillment_waiting(
    each: FulfillmentOrder, moving: list[Shipment], returns: Iterable[Return] = ()
) -> str:
    """What is waited for, in words."""
    if each.status == "on_hold":
        return "A person: the order is on hold."
    if each.status == "open":
        return f"{each.location} to accept or reject."
    if each.status == "in_progress":
        if each.cancellation == "requested":
            return f"{each.location} to say whether it stopped."
        if each.ready_at is not None:
            return f"The customer to collect at {each.location}."
        if each.method == "store_pickup":
            return f"{each.location} to pick and say ready."
        return f"{each.location} to pick, pack and hand over."
    turned = {back.shipment for back in returns if back.is_live}
    waits = {
        "The carrier to deliver": [s.id for s in moving if s.id not in turned],
        "To come back undelivered": [s.id for s in moving if s.id in turned],
    }
    words = [f"{wait} {', '.join(parcels)}" for wait, parcels in waits.items() if parcels]
    return "; ".join(words).replace("; To", "; to") or "Nothing."
