"""What an order waits for: since when, until when, what happens then, and what can be done now.

One answer for each thing that is waited for, and none for an order that is closed. Deadlines are
stored, so this is a pure look at what the books hold.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from oms.backorders import InTheQueue
from oms.fulfillment import FulfillmentOrder, Shipment
from oms.orders import EXCHANGE_HOLD, Hold, Order, OrderStatus, ParkedStep
from oms.payments import PaymentEntry
from oms.ports import Message
from oms.returns import Return
from oms.words import count_of

_A_PERSON_IS_CALLED = "the step is parked and a person is called"
_RESULTS = {
    "label": {"carrier": "", "tracking_number": ""},
    **{kind: {"reference": ""} for kind in ("authorise", "capture", "void", "refund")},
}
"""What is told of a step that was done by hand."""


class Action(Message):
    """A call that is open now; `body` is to be completed by who makes it."""

    action: str
    method: str
    path: str
    body: dict[str, Any]


class Wait(Message):
    """One thing an order waits for. `step` is None unless it is parked; `until` None: for ever."""

    waiting_for: str
    step: str | None = None
    since: datetime
    until: datetime | None = None
    then: str
    last_error: str | None = None
    actions: tuple[Action, ...] = ()


def explain(
    order: Order, *, silent: timedelta, queue: Sequence[InTheQueue] = ()
) -> tuple[Wait, ...]:
    """Tell everything an order waits for.

    `silent`: how long a parcel may say nothing before its carrier is asked. `queue`: where its
    backordered units stand, article by article, if that was looked up.
    """
    if order.closed_at is not None:
        return ()
    waits = (*_on_people(order), *_on_the_process(order, queue), *_on_places(order, silent))
    return waits or (_on_the_end(order),)


# --- people ---------------------------------------------------------------------------------


def _on_people(order: Order) -> Iterator[Wait]:
    for step in order.parked:
        yield parked_wait(order, step)
    for hold in order.open_holds:
        yield _held(order, hold)


def parked_wait(order: Order, step: ParkedStep) -> Wait:
    """What a parked step waits for, and how it is settled."""
    heals = "it tries again by itself" if step.heals_at else "nothing, until a person decides"
    return Wait(
        waiting_for=f"a person to settle {step.step}",
        step=step.step,
        since=step.since,
        until=step.heals_at,
        then=heals,
        last_error=step.last_error,
        actions=tuple(_resolve(order, step.step, action) for action in step.actions),
    )


def _held(order: Order, hold: Hold) -> Wait:
    if hold.reason == EXCHANGE_HOLD:
        return Wait(
            waiting_for=f"the return {order.exchange_of} to let it go",
            since=hold.placed_at,
            then="its goods are offered, as many as are replaced",
            actions=(_cancel(order),),
        )
    return Wait(
        waiting_for=f"a person to release the hold ({hold.reason.replace('_', ' ')})",
        since=hold.placed_at,
        then="nothing is offered until it is released",
        actions=(
            _action("release", f"/v1/orders/{order.number}/holds/{hold.id}/release"),
            _cancel(order),
        ),
    )


# --- the order's own process ----------------------------------------------------------------


def _on_the_process(order: Order, queue: Sequence[InTheQueue]) -> Iterator[Wait]:
    if order.status is OrderStatus.PENDING:
        if not _is_parked(order, "authorise"):
            yield _placing(order)
        return
    for entry in order.entries:
        if entry.is_open and not _is_parked(order, entry.step):
            yield _money(order, entry)
    if _in_grace(order):
        yield Wait(
            waiting_for="the end of the grace window, in which the order may be changed freely",
            since=order.confirmed_at or order.placed_at,
            until=order.grace_until,
            then="its units are given to locations",
            actions=(_cancel(order), _hold(order)),
        )
    yield from _backordered(order, queue)


def _backordered(order: Order, queue: Sequence[InTheQueue]) -> Iterator[Wait]:
    units = sum(line.backordered for line in order.lines)
    actions = (_action("reroute", f"/v1/orders/{order.number}/reroute"), _cancel(order))
    for each in queue:
        yield Wait(
            waiting_for=f"stock for {count_of(each.units, 'backordered unit')} of {each.sku}:"
            f" place {each.place} of {each.waiting} in the queue",
            since=each.since,
            until=each.available_from,
            then=_when_stock_comes(each),
            actions=actions,
        )
    if units and not queue:
        yield Wait(
            waiting_for=f"stock for {count_of(units, 'backordered unit')}",
            since=order.confirmed_at or order.placed_at,
            then="what arrives is given to the queue in its turn",
            actions=actions,
        )


def _when_stock_comes(each: InTheQueue) -> str:
    given = f"what arrives is given to the queue, {each.rule}"
    if each.available_from is not None:
        given += f", not before {each.available_from:%Y-%m-%d %H:%M} UTC"
    coming = ", ".join(
        f"{one.quantity} at {one.location} on {one.expected_at:%Y-%m-%d}" for one in each.coming
    )
    return f"{given}; expected: {coming}" if coming else f"{given}; no delivery is announced"


def _placing(order: Order) -> Wait:
    entry = order.authorization
    if entry is None:
        return Wait(
            waiting_for="its process to reserve stock",
            since=order.placed_at,
            then="the payment is authorised",
            actions=(_cancel(order),),
        )
    held_until = [r.expires_at for r in order.reservations if r.expires_at is not None]
    return Wait(
        waiting_for="the payment provider to authorise",
        since=entry.at,
        until=min(held_until, default=None),
        then="the stock is given back; an approval that comes later takes it again",
        last_error=entry.reason,
        actions=(_cancel(order),),
    )


def _money(order: Order, entry: PaymentEntry) -> Wait:
    """What is captured or given back must be so before the authorisation ends by itself."""
    ends = next((t.capture_before for t in order.tenders if t.tender == entry.tender), None)
    until = ends if entry.kind in ("capture", "void") else None
    again = "it is asked again under the same key"
    return Wait(
        waiting_for=f"the payment provider to settle {entry.step}",
        since=entry.at,
        until=until,
        then=f"the authorisation ends; until then {again}" if until else again,
        last_error=entry.reason,
    )


def _in_grace(order: Order) -> bool:
    free = any(each.fulfillment_order is None for each in order.allocations)
    return free and not order.fulfillment_orders and not order.open_holds


# --- locations and carriers -----------------------------------------------------------------


def _on_places(order: Order, silent: timedelta) -> Iterator[Wait]:
    for each in order.fulfillment_orders:
        if each.status == "open":
            yield _offered(order, each)
        elif each.status == "in_progress":
            yield from _worked_on(order, each)
    for shipment in order.shipments:
        under_way = shipment.handed_over_at is not None and not shipment.is_final
        back = order.undeliverable(shipment.id)
        if under_way and back is not None:
            if not _is_parked(order, f"overdue:{back.short_id}"):
                yield _turned_round(shipment, back)
        elif under_way and not _is_parked(order, f"parcel:{shipment.short_id}"):
            yield _under_way(shipment, silent)


def _offered(order: Order, each: FulfillmentOrder) -> Wait:
    return Wait(
        waiting_for=f"{each.location} to accept or reject {each.id}",
        since=each.offered_at or each.created_at,
        until=each.answer_by,
        then="the work is taken back and another location is looked for",
        actions=(
            _node(each, "accept"),
            _node(each, "reject", reason="other"),
            _action("reroute", f"/v1/orders/{order.number}/reroute", fulfillment_order=each.id),
            _cancel(order),
        ),
    )


def _worked_on(order: Order, each: FulfillmentOrder) -> Iterator[Wait]:
    if each.cancellation == "requested" and not _is_parked(order, f"cancel:{each.short_id}"):
        yield Wait(
            waiting_for=f"{each.location} to say whether it stopped {each.id}",
            since=each.accepted_at or each.created_at,
            until=each.cancel_answer_by,
            then=_A_PERSON_IS_CALLED,
            actions=(_node(each, "cancel-response", accepted=True),),
        )
    if each.ready_at is not None:
        if not _is_parked(order, f"pickup:{each.short_id}"):
            yield _to_be_collected(order, each)
    elif each.packed_at is not None:
        yield from _packed(order, each)
    elif not _is_parked(order, f"pick:{each.short_id}"):
        yield _to_be_picked(order, each)


def _to_be_collected(order: Order, each: FulfillmentOrder) -> Wait:
    return Wait(
        waiting_for=f"the customer to collect {each.id} at {each.location}",
        since=each.ready_at or each.created_at,
        until=each.collect_by,
        then=_A_PERSON_IS_CALLED,
        actions=(_node(each, "hand-over", code=""), _cancel(order)),
    )


def _to_be_picked(order: Order, each: FulfillmentOrder) -> Wait:
    picked = each.all_picked
    at_counter = each.method == "store_pickup"
    todo = ("say ready" if at_counter else "pack") if picked else "pick"
    action = ("ready" if at_counter else "pack") if picked else "pick"
    return Wait(
        waiting_for=f"{each.location} to {todo} {each.id}",
        since=each.picked_at or each.accepted_at or each.created_at,
        until=each.work_by,
        then=_A_PERSON_IS_CALLED,
        actions=(_node(each, action), _cancel(order)),
    )


def _packed(order: Order, each: FulfillmentOrder) -> Iterator[Wait]:
    unlabelled = [s for s in order.shipments_of(each.id) if s.tracking_number is None]
    waiting = [s for s in unlabelled if not _is_parked(order, f"label:{s.short_id}")]
    for shipment in waiting:
        yield Wait(
            waiting_for=f"the carrier's label for {shipment.id}",
            since=shipment.created_at,
            until=each.work_by,
            then=f"{_A_PERSON_IS_CALLED}; with the label it can be handed over at any time",
        )
    if not unlabelled and not _is_parked(order, f"pick:{each.short_id}"):
        yield Wait(
            waiting_for=f"{each.location} to hand {each.id} over to the carrier",
            since=each.packed_at or each.created_at,
            until=each.work_by,
            then=_A_PERSON_IS_CALLED,
            actions=(_node(each, "hand-over"), _cancel(order)),
        )


def _under_way(shipment: Shipment, silent: timedelta) -> Wait:
    moments = (shipment.handed_over_at, shipment.last_heard_at, shipment.last_asked_at)
    since = max(moment for moment in moments if moment is not None)
    return Wait(
        waiting_for=f"the carrier to deliver {shipment.id} ({shipment.status.replace('_', ' ')})",
        since=shipment.last_heard_at or since,
        until=since + silent,
        then="the carrier is asked",
    )


def _turned_round(shipment: Shipment, back: Return) -> Wait:
    return Wait(
        waiting_for=f"{shipment.id} to come back to {back.location} undelivered, as {back.id}",
        since=back.requested_at,
        until=back.receive_by,
        then=_A_PERSON_IS_CALLED,
        actions=(
            _action(
                "receive",
                f"/v1/returns/{back.id}/receive",
                location=back.location,
                lines=[
                    {"line": each.line, "quantity": each.expected, "condition": "as_new"}
                    for each in back.lines
                ],
            ),
        ),
    )


def _on_the_end(order: Order) -> Wait:
    return Wait(
        waiting_for="its process to take the next step",
        since=order.confirmed_at or order.placed_at,
        then="the order goes on, or is closed",
    )


# --- what can be done -----------------------------------------------------------------------


def _is_parked(order: Order, step: str) -> bool:
    return any(each.step == step for each in order.parked)


def _action(action: str, path: str, **body: Any) -> Action:
    return Action(action=action, method="POST", path=path, body=body)


def _cancel(order: Order) -> Action:
    return _action("cancel", f"/v1/orders/{order.number}/cancel", reason="")


def _hold(order: Order) -> Action:
    return _action("hold", f"/v1/orders/{order.number}/holds", reason="other")


def _node(each: FulfillmentOrder, action: str, **body: Any) -> Action:
    return _action(action, f"/v1/fulfillment-orders/{each.id}/{action}", **body)


def _resolve(order: Order, step: str, action: str) -> Action:
    path = f"/v1/orders/{order.number}/resolve"
    body: dict[str, Any] = {"step": step, "action": action, "actor": "", "reason": ""}
    if action == "done_manually" and (result := _RESULTS.get(step.partition(":")[0])):
        body["result"] = result
    return Action(action=action, method="POST", path=path, body=body)
