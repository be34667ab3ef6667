"""One order leaves the places that may not serve it any more, in one transaction.

A place may not serve if it was closed to be cleared (`locations.cleared_at`), or if the article is
blocked there. What is to leave is read from the books, so it may be done again at any time: what
has left is not found any more.
"""

from collections.abc import Mapping

from adapters.db.cancelling import ask_to_stop, place_hold
from adapters.db.placing import place_elsewhere
from adapters.db.routing import end_fulfillment, route_order, source_again, turn_down
from adapters.db.unit import OrderUnit
from oms.agenda import is_in_doubt
from oms.cancelling import Refusal
from oms.fulfillment import FulfillmentOrder
from oms.orders import Allocation, Order
from oms.policy import Policy
from oms.rerouting import Outcome, Rerouted, summed_up

CLOSED, RECALLED, PART_OF_A_KIT = "closed", "recalled", "part of a kit"
Why = Mapping[tuple[str, str], str]
"""By (SKU, location): why the order must leave it."""

_TO_LEAVE = """
SELECT h.sku, h.location, CASE WHEN s.blocked THEN 'recalled' ELSE 'closed' END AS why
FROM (
    SELECT sku, location FROM allocations WHERE order_number = :n AND state = 'open'
    UNION SELECT sku, location FROM reservations WHERE order_number = :n AND state = 'open'
) h JOIN stock_levels s ON s.sku = h.sku AND s.location = h.location
JOIN locations l ON l.id = h.location
WHERE s.blocked OR (NOT l.active AND l.cleared_at IS NOT NULL)
"""


async def _to_leave(unit: OrderUnit) -> Why:
    rows = await unit.ask(_TO_LEAVE, n=unit.number)
    why = {(row.sku, row.location): row.why for row in rows}
    return _with_their_kits(unit.order, why) | why


def _with_their_kits(order: Order, why: Why) -> dict[tuple[str, str], str]:
    """The other parts of a kit leave with the one that must."""
    kits = {(line.sku, line.kit) for line in order.lines if line.kit is not None}
    return {
        (other, location): PART_OF_A_KIT
        for sku, location in why
        for part, kit in kits
        for other, same in kits
        if part == sku and same == kit
    }


def _among(why: Why, each: Allocation) -> bool:
    return (each.sku, each.location) in why


def _collected_there(unit: OrderUnit, why: Why) -> bool:
    """Whether its customer was to come to a place that is closed."""
    return unit.order.method == "store_pickup" and CLOSED in why.values()


# --- before units are offered ---------------------------------------------------------------


async def route_from_open_places(unit: OrderUnit, policy: Policy) -> None:
    """Offer every unit to its place, but to none that may not serve it any more."""
    free = [a for a in unit.order.allocations if a.fulfillment_order is None and not a.turned_down]
    if free and not unit.order.open_holds:
        why = await _to_leave(unit)
        # A customer who was to collect there: a person has looked at it and lifted the hold.
        leaving = [] if _collected_there(unit, why) else [a for a in free if _among(why, a)]
        if leaving:
            await turn_down(unit, [(each, each.quantity) for each in leaving])
            _tell(unit, why)
            await unit.flush("leave")
            await unit.again()
    await route_order(unit, policy)


# --- told to leave --------------------------------------------------------------------------


async def leave_places(unit: OrderUnit, policy: Policy) -> Rerouted:
    """Let an order leave the places that may not serve it; what became of its units.

    Work that was only offered is withdrawn. A place that has accepted is asked to stop, and its
    units stay allocated there until it has answered. What is picked stays, and calls a person.
    """
    order = unit.order
    why = {} if order.closed_at is not None else await _to_leave(unit)
    if not why:
        return summed_up({})
    if is_in_doubt(order):
        return Rerouted(outcome=Outcome.HELD, detail="it rests until it was compared")
    if order.confirmed_at is None:
        return await _placed_elsewhere(unit, why, policy)
    if _collected_there(unit, why):
        return await _hold_for_its_customer(unit, why)
    units = await _stop_work(unit, why, policy)
    units |= await _move(unit, why, policy)
    unit.nudge_order("its places changed")
    await unit.flush("left")
    return summed_up(units)


def _tell(unit: OrderUnit, why: Why) -> None:
    closed = sorted({location for (_, location), reason in why.items() if reason == CLOSED})
    recalled = sorted({sku for (sku, _), reason in why.items() if reason == RECALLED})
    words = [f"{location} was closed" for location in closed]
    words += [f"{sku} was recalled" for sku in recalled]
    unit.tell("order.rerouted", "; ".join(words), closed=closed, recalled=recalled)


async def _placed_elsewhere(unit: OrderUnit, why: Why, policy: Policy) -> Rerouted:
    """An order that is not confirmed is planned anew, whole; it may be refused for stock."""
    waited = _backordered(unit)
    _tell(unit, why)
    await place_elsewhere(unit, policy)
    unit.nudge_order("its places changed")
    await unit.flush("left")
    await unit.again()
    if unit.order.refusal_code is not None:
        return summed_up({Outcome.CANCELLED: sum(line.ordered for line in unit.order.lines)})
    late = max(0, _backordered(unit) - waited)
    there = sum(line.reserved for line in unit.order.lines)
    return summed_up({Outcome.BACKORDERED: late, Outcome.MOVED: there})


def _backordered(unit: OrderUnit) -> int:
    return sum(line.backordered for line in unit.order.lines)


def _cancelled(unit: OrderUnit) -> int:
    return sum(line.cancelled for line in unit.order.lines)


async def _hold_for_its_customer(unit: OrderUnit, why: Why) -> Rerouted:
    """The customer was to come there: nobody but a person can say what they want now."""
    _tell(unit, why)
    for each in unit.order.fulfillment_orders:
        if each.status == "in_progress":
            _strand(unit, each)
    if not unit.order.open_holds:
        held = await place_hold(unit, "inventory", None)
        assert not isinstance(held, Refusal), "an open order can be held"
    await unit.flush("left")
    return Rerouted(
        outcome=Outcome.KEPT, detail="its customer was to collect there; a person decides"
    )


def _strand(unit: OrderUnit, each: FulfillmentOrder) -> None:
    """Call a person to what is picked at a place that should not send it."""
    if each.stranded_at is not None:
        return
    unit.set_fulfillment(each.id, stranded_at=unit.at)
    unit.tell(
        "fulfillment_order.stranded",
        f"{each.location} works on {each.id}, which it should not send any more",
        fulfillment_order=each.id,
    )
    unit.nudge_fulfillment(each.id, "stranded")


# --- work -----------------------------------------------------------------------------------


async def _stop_work(unit: OrderUnit, why: Why, policy: Policy) -> dict[Outcome, int]:
    """Withdraw offers, ask places that work to stop; turn down what no place works on."""
    units = {Outcome.KEPT: 0, Outcome.ASKED: 0}
    leaving = [a for a in unit.order.allocations if _among(why, a)]
    free = [a for a in leaving if a.fulfillment_order is None]
    for each in unit.order.fulfillment_orders:
        mine = [a for a in leaving if a.fulfillment_order == each.id]
        if not mine:
            continue
        if each.is_offered:
            await _withdraw(unit, each)
            free += mine
        else:
            outcome = await _stop(unit, each, {a.line for a in mine}, policy)
            units[outcome] += sum(a.quantity for a in mine)
    await turn_down(unit, [(a, a.quantity) for a in free])
    _tell(unit, why)
    await unit.flush("leave")
    await unit.again()
    return units


async def _withdraw(unit: OrderUnit, each: FulfillmentOrder) -> None:
    """Take an offer back whole; what may stay at its place is offered anew."""
    await end_fulfillment(unit, each, request=each.request)
    unit.run(
        "UPDATE allocations SET fulfillment_order = NULL"
        " WHERE order_number = :n AND fulfillment_order = :id AND state = 'open'",
        n=unit.number,
        id=each.id,
    )


async def _stop(
    unit: OrderUnit, each: FulfillmentOrder, lines: set[int], policy: Policy
) -> Outcome:
    asked_of = [line for line in each.lines if line.line in lines]
    if any(line.picked is not None for line in asked_of):
        _strand(unit, each)
        return Outcome.KEPT
    rest = {line.line: line.quantity - line.stop_asked for line in asked_of}
    if wanted := {line: units for line, units in rest.items() if units}:
        why = "others are to serve them"
        await ask_to_stop(unit, each, wanted, why, policy, for_others=True)
    return Outcome.ASKED


# --- elsewhere ------------------------------------------------------------------------------


async def _move(unit: OrderUnit, why: Why, policy: Policy) -> dict[Outcome, int]:
    """Let others serve what its place will not; what waits for stock waits on, in its turn."""
    leaving = [a for a in unit.order.allocations if a.turned_down and _among(why, a)]
    waiting = sum(r.quantity for r in unit.order.reservations if (r.sku, r.location) in why)
    moving = sum(a.quantity for a in leaving)
    if unit.order.open_holds:
        return {Outcome.HELD: moving, Outcome.BACKORDERED: waiting}
    late, lost = _backordered(unit), _cancelled(unit)
    if leaving:
        await source_again(unit, leaving, policy)
        await unit.flush("source_again")
        await unit.again()
    late, lost = _backordered(unit) - late, _cancelled(unit) - lost
    return {
        Outcome.CANCELLED: lost,
        Outcome.BACKORDERED: late + waiting,
        Outcome.MOVED: moving - late - lost,
    }
