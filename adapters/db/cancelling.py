"""Cancellations, holds and reroutes in the books: decided and applied in one transaction."""

from collections import defaultdict

from adapters.db.allocations import allocations_of, change_rows, parts_of, wake_queue
from adapters.db.routing import (
    cancel_allocated,
    cancel_units,
    end_fulfillment,
    release_allocations,
    reroute_backorders,
    reroute_fulfillment,
    turn_down,
)
from adapters.db.stock import StockChange
from adapters.db.unit import OrderUnit
from oms.cancelling import CancelPlan, Refusal, plan_cancel
from oms.fulfillment import FulfillmentOrder
from oms.orders import Allocation
from oms.policy import Policy
from oms.words import count_of

# --- cancel ---------------------------------------------------------------------------------


async def cancel_order(
    unit: OrderUnit, wanted: dict[int, int] | None, reason: str, policy: Policy
) -> bool | Refusal:
    """Cancel units. True if a node must be asked first, False if it is done."""
    plan = plan_cancel(unit.order, wanted)
    if isinstance(plan, Refusal):
        return plan
    if plan.is_empty:
        return any(line.cancel_asked for f in unit.order.fulfillment_orders for line in f.lines)
    await _cancel_loose(unit, plan, reason)
    await _cancel_allocated(unit, plan, reason)
    for id, lines in plan.ask.items():
        await ask_to_stop(unit, unit.order.fulfillment_order(id), lines, reason, policy)
    unit.nudge_order("cancelled")
    await unit.flush("cancel")
    return bool(plan.ask)


async def _cancel_loose(unit: OrderUnit, plan: CancelPlan, reason: str) -> None:
    """Cancel units that no place has allocated yet."""
    for bucket, kind in (("reserved", "stock"), ("backordered", "backorder")):
        counts = {n: b[bucket] for n, b in plan.loose.items() if bucket in b}
        for line, units in counts.items():
            rows = [r for r in unit.order.reservations if r.line == line and r.kind == kind]
            parts = parts_of(rows, units)
            by_id = {row.id: row for row in rows}
            await change_rows(unit, "reservations", parts, state="released")
            for id, quantity in parts:
                row = by_id[id]
                unit.stock(
                    StockChange(sku=row.sku, location=row.location, reserved=-quantity)
                    if kind == "stock"
                    else StockChange(sku=row.sku, location=row.location, backordered=-quantity)
                )
        if counts:
            await cancel_units(unit, counts, bucket, reason)
    unplanned = {n: b["unplanned"] for n, b in plan.loose.items() if "unplanned" in b}
    if unplanned:
        await cancel_units(unit, unplanned, "unplanned", reason)


async def _cancel_allocated(unit: OrderUnit, plan: CancelPlan, reason: str) -> None:
    """Cancel units no node accepted. An offer that loses units is withdrawn; the rest goes anew."""
    if not plan.allocations:
        return
    by_id = {each.id: each for each in unit.order.allocations}
    chosen = [(by_id[id], units) for id, units in plan.allocations]
    touched = {a.fulfillment_order for a, _ in chosen if a.fulfillment_order is not None}
    await release_allocations(unit, chosen)
    counts: dict[int, int] = defaultdict(int)
    for each, units in chosen:
        counts[each.line] += units
    for id in sorted(touched):
        await end_fulfillment(unit, unit.order.fulfillment_order(id), request="requested")
        unit.run(
            "UPDATE allocations SET fulfillment_order = NULL"
            " WHERE fulfillment_order = :id AND state = 'open'",
            id=id,
        )
    await cancel_units(unit, counts, "allocated", reason)


_ASK_FOR_GOOD = (
    "cancel_asked = cancel_asked + :units,"
    " move_asked = least(move_asked, quantity - cancel_asked - :units)"
)
_ASK_FOR_OTHERS = "move_asked = move_asked + :units"


async def ask_to_stop(
    unit: OrderUnit,
    each: FulfillmentOrder,
    lines: dict[int, int],
    reason: str,
    policy: Policy,
    *,
    for_others: bool = False,
) -> None:
    """Ask a location to stop units that it works on: to cancel them, or for others to serve."""
    asked = _ASK_FOR_OTHERS if for_others else _ASK_FOR_GOOD
    for line, units in lines.items():
        unit.run(
            f"UPDATE fulfillment_lines SET {asked} WHERE fulfillment_order = :id AND line = :line",
            units=units,
            id=each.id,
            line=line,
        )
    unit.set_fulfillment(
        each.id,
        cancellation="requested",
        cancellation_seq=each.cancellation_seq + 1,
        cancel_answer_by=unit.at + policy.node_answer,
    )
    unit.tell(
        "fulfillment_order.cancellation_requested",
        f"{each.location} is asked to stop {count_of(sum(lines.values()), 'unit')}: {reason}",
        fulfillment_order=each.id,
        lines=lines,
    )
    unit.nudge_fulfillment(each.id, "cancellation requested")


async def answer_cancellation(unit: OrderUnit, each: FulfillmentOrder, *, accepted: bool) -> None:
    """Act on a node's answer: what it stopped is back on the shelf, cancelled or for others."""
    asked = {line.line: line.stop_asked for line in each.lines if line.stop_asked}
    verdict = "accepted" if accepted else "rejected"
    unit.set_fulfillment(each.id, cancellation=verdict, cancel_answer_by=None)
    words = "stopped" if accepted else "could not stop; the order goes on"
    unit.tell(
        f"fulfillment_order.cancellation_{verdict}",
        f"{each.location} {words}",
        fulfillment_order=each.id,
        lines=asked,
    )
    if accepted:
        await _stop(unit, each, asked)
    else:
        unit.run(
            "UPDATE fulfillment_lines SET cancel_asked = 0, move_asked = 0"
            " WHERE fulfillment_order = :id",
            id=each.id,
        )
    unit.nudge_order("cancellation answered")
    unit.nudge_fulfillment(each.id, "cancellation answered")
    await unit.flush("cancellation_answered")


async def _stop(unit: OrderUnit, each: FulfillmentOrder, asked: dict[int, int]) -> None:
    gone: list[tuple[Allocation, int]] = []
    freed: list[tuple[Allocation, int]] = []
    for line in each.lines:
        mine = allocations_of(unit.order, each.id, line.line)
        held = {a.id: a for a in mine}
        unpicked_first = sorted(mine, key=lambda a: (a.picked, a.id))
        unwanted = line.cancel_asked
        for id, quantity in parts_of(unpicked_first, line.stop_asked):
            off = min(unwanted, quantity)
            unwanted -= off
            gone += [(held[id], off)] if off else []
            freed += [(held[id], quantity - off)] if quantity > off else []
    if gone:
        await cancel_allocated(unit, gone, f"{each.location} stopped")
    if freed:
        await turn_down(unit, freed)
    unit.run(
        "UPDATE fulfillment_lines SET quantity = quantity - cancel_asked - move_asked,"
        " picked = CASE WHEN picked IS NOT NULL"
        "  THEN least(picked, quantity - cancel_asked - move_asked) END,"
        " cancel_asked = 0, move_asked = 0"
        " WHERE fulfillment_order = :id",
        id=each.id,
    )
    await _unpack(unit, each, asked)
    if sum(asked.values()) == sum(line.quantity for line in each.lines):
        unit.set_fulfillment(each.id, status="cancelled", ended_at=unit.at)


async def _unpack(unit: OrderUnit, each: FulfillmentOrder, asked: dict[int, int]) -> None:
    """Take stopped units out of their parcels; a parcel left empty never travels."""
    left = dict(asked)
    for shipment in unit.order.shipments_of(each.id):
        for line in shipment.lines:
            off = min(line.quantity, left.get(line.line, 0))
            if shipment.is_final or not off:
                continue
            left[line.line] -= off
            unit.run(
                "UPDATE shipment_lines SET quantity = quantity - :off"
                " WHERE shipment = :id AND line = :line",
                off=off,
                id=shipment.id,
                line=line.line,
            )
    unit.run(
        "UPDATE shipments s SET written_off_at = :at WHERE fulfillment_order = :id"
        " AND written_off_at IS NULL AND 0 = (SELECT coalesce(sum(quantity), 0)"
        " FROM shipment_lines l WHERE l.shipment = s.id)",
        at=unit.at,
        id=each.id,
    )


# --- hold -----------------------------------------------------------------------------------


async def place_hold(unit: OrderUnit, reason: str, note: str | None) -> str | Refusal:
    """Stop an order from going on. Returns the hold's id."""
    order = unit.order
    if order.closed_at is not None or order.all_cancelled:
        return Refusal(code="invalid_state", detail=f"The order is {order.status}.")
    id = f"{unit.number}-H{len(order.holds) + 1}"
    unit.run(
        "INSERT INTO holds (id, order_number, reason, note, placed_at)"
        " VALUES (:id, :n, :reason, :note, :at)",
        id=id,
        n=unit.number,
        reason=reason,
        note=note,
        at=unit.at,
    )
    for each in order.fulfillment_orders:
        if each.status == "open":
            unit.set_fulfillment(each.id, status="on_hold", answer_by=None)
            unit.nudge_fulfillment(each.id, "held")
    unit.tell("order.held", f"Put on hold: {reason}", hold=id, reason=reason)
    unit.nudge_order("held")
    await unit.flush("hold")
    return id


async def release_hold(unit: OrderUnit, id: str) -> bool:
    """Lift a hold; with the last one the order goes on. False if there is no such hold."""
    order = unit.order
    hold = next((each for each in order.holds if each.id == id), None)
    if hold is None:
        return False
    if hold.released_at is not None:
        return True
    unit.run("UPDATE holds SET released_at = :at WHERE id = :id", at=unit.at, id=id)
    if len(order.open_holds) == 1:
        for each in order.fulfillment_orders:
            if each.status == "on_hold":
                # Offered anew under the same key, so that the location answers (again).
                unit.set_fulfillment(each.id, status="open", offered_at=None)
                unit.nudge_fulfillment(each.id, "released")
    wake_queue(unit)
    unit.tell("order.released", f"Hold lifted: {hold.reason}", hold=id)
    unit.nudge_order("released")
    unit.nudge_open_returns("released")
    await unit.flush("release_hold")
    return True


# --- reroute --------------------------------------------------------------------------------


class CannotReroute(Exception):
    """Carries a refusal out of a transaction that must not commit."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


async def reroute_order(
    unit: OrderUnit, fulfillment_order: str | None, location: str | None, policy: Policy
) -> None:
    """Plan backordered units, or one unaccepted fulfillment order, again.

    Raises:
        CannotReroute: nothing may be changed; roll back.
    """
    if fulfillment_order is None:
        await reroute_backorders(unit, policy, only=location)
    else:
        found = [f for f in unit.order.fulfillment_orders if f.id == fulfillment_order]
        if not found:
            raise CannotReroute(
                Refusal(
                    code="fulfillment_order_unknown",
                    detail="The order has no such fulfillment order.",
                    pointer="/fulfillment_order",
                )
            )
        if not found[0].is_offered:
            raise CannotReroute(
                Refusal(
                    code="invalid_state",
                    detail=f"{fulfillment_order} is {found[0].status}: only work that no"
                    " location accepted can be moved.",
                )
            )
        if not await reroute_fulfillment(unit, found[0], policy, only=location):
            raise CannotReroute(
                Refusal(
                    code="insufficient_stock",
                    detail="No other location can serve all of it now.",
                    pointer="/location" if location else "/fulfillment_order",
                )
            )
    unit.nudge_order("rerouted")
    await unit.flush("reroute")
