"""Steps that wait for a person, and what the person decided."""

from datetime import datetime

from adapters.db.allocations import allocations_of
from adapters.db.cancelling import answer_cancellation
from adapters.db.money import (
    drop_refunds_of,
    reopen_entry,
    request_payment,
    retire_entry,
    settle_entry,
)
from adapters.db.nodes import write_hand_over
from adapters.db.parcel_ends import write_delivered, write_off
from adapters.db.parcels import write_label
from adapters.db.placing import refuse_order
from adapters.db.routing import cancel_units, release_allocations, take_away
from adapters.db.unit import OrderUnit
from oms.decisions import Decision, Parked
from oms.fulfillment import FulfillmentOrder
from oms.numbers import return_carried_by
from oms.orders import ParkedStep
from oms.payments import PaymentEntry
from oms.policy import Policy
from oms.ports import Approved, Declined, LabelBought


async def park(unit: OrderUnit, parked: Parked, workflow_id: str) -> None:
    """Write that a step waits for a person. Parked again, it keeps its date."""
    now = ParkedStep(
        step=parked.step,
        workflow_id=workflow_id,
        since=unit.at,
        heals_at=parked.heals_at,
        error_code=parked.error_code,
        last_error=parked.error,
        actions=parked.actions,
    )
    known = next((each for each in unit.order.parked if each.step == parked.step), None)
    if known is not None and now == known.model_copy(update={"since": now.since}):
        return
    unit.run(
        """
        INSERT INTO parked_steps (order_number, step, workflow_id, since, heals_at, error_code,
            last_error, actions)
        VALUES (:n, :step, :w, :at, :heals, :code, :error, :actions)
        ON CONFLICT (order_number, step) DO UPDATE SET workflow_id = excluded.workflow_id,
            heals_at = excluded.heals_at, error_code = excluded.error_code,
            last_error = excluded.last_error, actions = excluded.actions
        """,
        n=unit.number,
        step=parked.step,
        w=workflow_id,
        at=unit.at,
        heals=parked.heals_at,
        code=parked.error_code,
        error=parked.error,
        actions=list(parked.actions),
    )
    if known is None:
        unit.tell(
            "attention.raised",
            f"{parked.step} needs attention: {parked.error}",
            step=parked.step,
            code=parked.error_code,
            **_of_return(workflow_id),
        )
    await unit.flush("park")


async def unpark(unit: OrderUnit, step: str) -> None:
    """Write that a step waits no longer."""
    known = next((each for each in unit.order.parked if each.step == step), None)
    if known is None:
        return
    unit.run(
        "DELETE FROM parked_steps WHERE order_number = :n AND step = :s", n=unit.number, s=step
    )
    words = f"{step} needs no attention any more"
    unit.tell("attention.cleared", words, step=step, **_of_return(known.workflow_id))
    await unit.flush("unpark")


def _of_return(workflow_id: str) -> dict[str, str]:
    """What marks an event as one of a return's own, if the step is."""
    id = return_carried_by(workflow_id)
    return {} if id is None else {"return": id}


def tell_decision(unit: OrderUnit, decision: Decision) -> None:
    """Write who decided what, and why."""
    unit.actor = f"operator:{decision.actor}"
    known = next((each for each in unit.order.parked if each.step == decision.step), None)
    unit.tell(
        "attention.resolved",
        f"{decision.step}: {decision.action.replace('_', ' ')}, because {decision.reason}",
        step=decision.step,
        action=decision.action,
        reason=decision.reason,
        **({} if known is None else _of_return(known.workflow_id)),
    )


# --- money ----------------------------------------------------------------------------------


async def decide_payment(unit: OrderUnit, entry: PaymentEntry, decision: Decision) -> None:
    """Carry out what a person decided about a payment that did not go through.

    `retry`: ask once more under the same key, which holds nothing that was declined.
    `new_attempt`: give this key up and ask anew under the next. `done_manually`: it was done by
    hand, outside. `fail`: it will not be done.
    """
    tell_decision(unit, decision)
    if decision.action == "retry" and entry.status == "failed":
        await reopen_entry(unit, entry)
    if decision.action == "done_manually":
        reference = str((decision.result or {}).get("reference", ""))
        done = Approved(provider_reference=reference)
        if entry.status == "failed":
            entry = entry.model_copy(update={"status": "requested"})
        await settle_entry(unit, entry, done, settled_by="operator")
    elif decision.action in ("new_attempt", "fail"):
        if entry.is_open:
            gone = Declined(reason="given up by an operator")
            await settle_entry(unit, entry, gone, settled_by="operator")
        await retire_entry(unit, entry)
        if decision.action == "new_attempt":
            cause = entry.cause or entry.key
            request_payment(unit, entry.kind, entry.amount_minor, cause=cause)
        elif entry.kind == "capture":
            await drop_refunds_of(unit, entry)
        elif entry.kind == "authorization" and unit.order.confirmed_at is None:
            await refuse_order(unit, "payment_declined", "The payment could not be authorised.")
            return
    await unit.flush("decide_payment")


# --- fulfillment ----------------------------------------------------------------------------


async def decide_fulfillment(
    unit: OrderUnit, each: FulfillmentOrder, decision: Decision, policy: Policy
) -> None:
    """Carry out what a person decided about a fulfillment order's step."""
    tell_decision(unit, decision)
    kind, _, tag = decision.step.partition(":")
    match kind:
        case "offer":
            await _decide_offer(unit, each, decision, policy)
        case "pick":
            await _decide_pick(unit, each, decision, policy)
        case "cancel":
            await _decide_cancel(unit, each, decision, policy)
        case "stranded":
            await _decide_stranded(unit, each, decision)
        case "pickup":
            await _decide_pickup(unit, each, decision, policy)
        case "label":
            await _decide_label(unit, each, decision, tag)
        case "parcel":
            await _decide_parcel(unit, decision, tag)
        case _:
            pass
    unit.nudge_order("decided")
    await unit.flush("decide")


async def _decide_offer(
    unit: OrderUnit, each: FulfillmentOrder, decision: Decision, policy: Policy
) -> None:
    if decision.action == "done_manually" and each.status == "open":
        await write_offered(unit, each, policy)
    elif decision.action == "fail" and each.is_offered:
        await take_away(unit, each, request="expired", reason="could not be offered")


async def write_offered(unit: OrderUnit, each: FulfillmentOrder, policy: Policy) -> None:
    """The location has the offer; its time to answer runs.

    What was withdrawn while the offer travelled is taken back from it.
    """
    if each.offered_at is not None:
        return
    answer_by: datetime | None = unit.at + policy.node_answer if each.status == "open" else None
    withdrawn = each.status == "cancelled" and each.request != "rejected"
    unit.set_fulfillment(
        each.id,
        offered_at=unit.at,
        answer_by=answer_by,
        cancellation_seq=each.cancellation_seq + int(withdrawn),
    )
    unit.tell(
        "fulfillment_order.requested",
        f"{each.id} offered to {each.location}",
        fulfillment_order=each.id,
        location=each.location,
    )


async def _decide_pick(
    unit: OrderUnit, each: FulfillmentOrder, decision: Decision, policy: Policy
) -> None:
    if each.status != "in_progress":
        return
    if decision.action == "retry":
        unit.set_fulfillment(each.id, work_by=unit.at + policy.pick)
    elif decision.action == "fail":
        await take_away(unit, each, request="accepted", reason="not done in time")


async def _decide_cancel(
    unit: OrderUnit, each: FulfillmentOrder, decision: Decision, policy: Policy
) -> None:
    if decision.action != "retry":  # nobody goes on telling it
        unit.set_fulfillment(each.id, cancellation_asked=each.cancellation_seq)
    if each.cancellation != "requested":
        return
    if decision.action == "retry":
        unit.set_fulfillment(
            each.id,
            cancellation_seq=each.cancellation_seq + 1,
            cancel_answer_by=unit.at + policy.node_answer,
        )
    else:
        await answer_cancellation(unit, each, accepted=decision.action == "done_manually")


async def _decide_stranded(unit: OrderUnit, each: FulfillmentOrder, decision: Decision) -> None:
    """What was picked at a closed place goes on from there, or is served from elsewhere."""
    unit.set_fulfillment(each.id, stranded_at=None)
    if decision.action == "fail" and each.status == "in_progress":
        await take_away(unit, each, request="accepted", reason="stranded")


async def _decide_pickup(
    unit: OrderUnit, each: FulfillmentOrder, decision: Decision, policy: Policy
) -> None:
    if each.status != "in_progress":
        return
    if decision.action == "retry":
        unit.set_fulfillment(each.id, collect_by=unit.at + policy.pickup)
    elif decision.action == "done_manually":
        await write_hand_over(unit, each, "handed over")
    else:
        await _put_back(unit, each)


async def _put_back(unit: OrderUnit, each: FulfillmentOrder) -> None:
    """Goods nobody collected go back on the shelf; the customer is not charged."""
    counts: dict[int, int] = {}
    chosen = []
    for line in each.lines:
        mine = allocations_of(unit.order, each.id, line.line)
        chosen += [(a, a.quantity) for a in mine]
        units = sum(a.quantity for a in mine)
        if units:
            counts[line.line] = units
    await release_allocations(unit, chosen)
    await cancel_units(unit, counts, "picked", "not collected")
    unit.set_fulfillment(each.id, status="cancelled", ended_at=unit.at)


async def _decide_label(
    unit: OrderUnit, each: FulfillmentOrder, decision: Decision, tag: str
) -> None:
    shipment = next(s for s in unit.order.shipments if s.short_id == tag)
    if decision.action == "new_attempt":
        unit.run(
            "UPDATE shipments SET label_attempt = label_attempt + 1 WHERE id = :id",
            id=shipment.id,
        )
    elif decision.action == "done_manually":
        result = decision.result or {}
        await write_label(
            unit,
            shipment,
            LabelBought(
                carrier=str(result.get("carrier", "manual")),
                tracking_number=str(result["tracking_number"]),
            ),
        )
    elif decision.action == "fail":
        await take_away(unit, each, request="accepted", reason="no label could be had")


async def _decide_parcel(unit: OrderUnit, decision: Decision, tag: str) -> None:
    shipment = next(s for s in unit.order.shipments if s.short_id == tag)
    if shipment.is_final:
        return
    if decision.action == "retry":
        unit.run(
            "UPDATE shipments SET status = 'in_transit', last_heard_at = :at WHERE id = :id",
            at=unit.at,
            id=shipment.id,
        )
    elif decision.action == "done_manually":
        unit.tell("shipment.delivered", f"{shipment.id} is delivered", shipment=shipment.id)
        write_delivered(unit, shipment)
    else:
        await write_off(unit, shipment)
