"""What people decide about a return's steps that wait for them."""

from datetime import timedelta

from adapters.db.parcel_ends import write_off
from adapters.db.parking import tell_decision
from adapters.db.return_inspections import Inspected, hand_back, inspect_goods
from adapters.db.returns import approve_return, change_return, decline_return, set_return
from adapters.db.unit import OrderUnit
from oms.decisions import Decision
from oms.returns import GIVEN_UP, Return, ReturnParcel


async def decide_return(unit: OrderUnit, id: str, decision: Decision) -> None:
    """Carry out what a person decided about a step of a return.

    `approve`: done_manually approves, fail declines. `inspect`: retry waits once more,
    done_manually accepts all that lies there, fail refuses it. `overdue`: retry waits once more,
    done_manually takes the loss; a parcel that turned round is written off then. `parcel`: retry
    believes that it moves again, done_manually gives it up. `label`: as for an order's parcel; fail
    leaves it to the customer. `hand_back`: retry waits once more, done_manually says that it left.
    """
    tell_decision(unit, decision)
    effects = {
        "approve": _approve,
        "inspect": _inspect,
        "overdue": _overdue,
        "label": _label,
        "parcel": _parcel,
        "hand_back": _hand_back,
    }
    effect = effects.get(decision.step.partition(":")[0])
    assert effect is not None, f"{decision.step} is no step of a return"

    async def carry_out(unit: OrderUnit, back: Return) -> None:
        await effect(unit, back, decision)

    await change_return(unit, id, carry_out, cause="decided", nudge=True)


async def _approve(unit: OrderUnit, back: Return, decision: Decision) -> None:
    if decision.action == "done_manually":
        await approve_return(unit, back)
    elif decision.action == "fail":
        await decline_return(unit, back, decision.reason)


async def _inspect(unit: OrderUnit, back: Return, decision: Decision) -> None:
    if decision.action == "retry":
        later = unit.at + timedelta(hours=max(1, back.terms.inspect_hours))
        set_return(unit, back.id, inspect_by=later)
        return
    accepted = decision.action == "done_manually"
    waiting = [lot for lot in back.lots if lot.state == "received"]
    each = [Inspected(lot.line, lot.quantity, accepted, condition=lot.condition) for lot in waiting]
    refusal = await inspect_goods(unit, back, each)
    assert refusal is None, "what lies there can be decided"


async def _hand_back(unit: OrderUnit, back: Return, decision: Decision) -> None:
    if decision.action == "retry":
        later = unit.at + timedelta(hours=max(1, back.terms.inspect_hours))
        set_return(unit, back.id, inspect_by=later)
    elif decision.action == "done_manually":
        await hand_back(unit, back)


async def _overdue(unit: OrderUnit, back: Return, decision: Decision) -> None:
    if decision.action == "retry":
        later = unit.at + timedelta(days=back.terms.receive_days)
        set_return(unit, back.id, receive_by=later, expire_at=later if back.expire_at else None)
    elif decision.action == "done_manually":
        await _take_loss(unit, back)


async def _take_loss(unit: OrderUnit, back: Return) -> None:
    set_return(unit, back.id, loss_at=unit.at)
    unit.tell("return.lost", f"{back.id}: no more is expected", **{"return": back.id})
    if back.shipment is not None:
        await write_off(unit, unit.order.shipment(back.shipment))


async def _parcel(unit: OrderUnit, back: Return, decision: Decision) -> None:
    parcel = _of(back, decision)
    status = GIVEN_UP if decision.action == "done_manually" else "in_transit"
    unit.run(
        "UPDATE return_parcels SET status = :status, last_heard_at = :at WHERE id = :id",
        status=status,
        at=unit.at,
        id=parcel.id,
    )
    comes = [each for each in back.parcels if each.direction == "in" and each.id != parcel.id]
    none_left = all(each.status == GIVEN_UP for each in comes)
    if status == GIVEN_UP and parcel.direction == "in" and none_left:
        await _take_loss(unit, back)


def _of(back: Return, decision: Decision) -> ReturnParcel:
    tag = decision.step.partition(":")[2]
    return next(each for each in back.parcels if each.short_id == tag)


async def _label(unit: OrderUnit, back: Return, decision: Decision) -> None:
    parcel = _of(back, decision)
    values = {"id": parcel.id, "number": None, "carrier": None}
    if decision.action == "new_attempt":
        change = "label_attempt = label_attempt + 1"
    elif decision.action == "done_manually":
        result = decision.result or {}
        values["number"] = str(result["tracking_number"])
        values["carrier"] = str(result.get("carrier", "manual"))
        change = "tracking_number = :number, carrier = :carrier"
    elif decision.action == "fail":
        change = "status = 'no_label'"  # the customer sends it by their own means
    else:
        return
    unit.run(f"UPDATE return_parcels SET {change} WHERE id = :id", **values)
