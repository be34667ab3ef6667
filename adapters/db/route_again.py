"""Planning confirmed units again on fresh stock, before their places are told of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from adapters.db.allocations import as_rows, change_rows, insert_allocations, parts_of
from adapters.db.placing import RACES
from adapters.db.promises import REGION, Where, order_place, terms_of
from adapters.db.routing_decisions import Cause, record_decision, told_with
from adapters.db.sourcing import Around, demand_of, places_for, wants
from adapters.db.stock import Short, StockChange, take
from adapters.db.unit import OrderUnit
from oms.locations import Ints
from oms.orders import Allocation
from oms.policy import Policy
from oms.promises import Units
from oms.sourcing import Decision, Demand, Pick
from oms.words import count_of, is_or_are

CAUSE: Cause = "route_again"

_OF_ORDER = f"""
SELECT {REGION} AS region, EXISTS (SELECT FROM routing_decisions d
    WHERE d.order_number = o.number AND d.cause = 'reroute') AS moved_by_hand
FROM orders o WHERE o.number = :n
"""

Freed = list[tuple[Allocation, int]]


async def route_again(unit: OrderUnit, policy: Policy) -> bool:
    """Move an order that no place was told of to where today's stock and rules serve it better.

    The order's own holds count as free, as far as they still lie there. Not for store pickup, and
    not later than was promised, unless a unit would else not be served. What a person has moved
    stays. True if anything moved.
    """
    order = unit.order
    free = [a for a in order.allocations if not a.turned_down]
    kept = sum(line.kept for line in order.lines)
    bound = not order.allow_split and sum(a.quantity for a in free) < kept
    if not free or bound or order.fulfillment_orders or order.method == "store_pickup":
        return False
    counts = Counter[int]()
    for each in free:
        counts[each.line] += each.quantity
    demands = [demand_of(line, counts[line.line]) for line in order.lines if counts[line.line]]
    for _ in range(RACES):
        around = await _around(unit, free, demands, policy)
        found = await around.plan(demands, told=False)
        picks, freed = _moves(free, found.plan.picks)
        torn = not order.allow_split and found.left
        if not picks or torn or not await _is_better(unit, around, demands, found, free, policy):
            return False
        if await _take(unit, around, picks, freed):
            await _write(unit, await around.plan(demands), picks, freed)
            return True
    raise AssertionError("stock changed faster than it could be planned")


async def _around(
    unit: OrderUnit, free: Sequence[Allocation], demands: Sequence[Demand], policy: Policy
) -> Around:
    """What the order may be served from, with its own holds on the shelves."""
    await unit.send()
    skus = [demand.sku for demand in demands]
    around = await places_for(
        unit.tx, unit.order, skus, at=unit.at, policy=policy, number=unit.number
    )
    shelves, levels = around.shelves, around.shelves.levels
    assert levels is not None
    # A count may have found less than is held there: what is short is taken to be ours.
    lack = np.minimum(0, levels.on_hand - levels.taken)
    lies = np.where(levels.blocked, 0, np.maximum(0, _held(around, free) + lack))
    # A place that closed to new orders ends those it has; who must leave it, left before.
    ends = (shelves.shut == "inactive") & lies.any(axis=1)
    available = np.where(ends[:, None], lies, shelves.available + lies)
    shut = np.where(ends, "", shelves.shut)
    return replace(around, shelves=replace(shelves, available=available, shut=shut))


def _held(around: Around, free: Iterable[Allocation]) -> Ints:
    held = np.zeros_like(around.shelves.available)
    rows = around.shelves.locations.row_of
    for each in free:
        held[rows[each.location], around.shelves.skus.index(each.sku)] += each.quantity
    return held


def _moves(free: Sequence[Allocation], picks: Sequence[Pick]) -> tuple[list[Pick], Freed]:
    """Units that come from other places than they are held at, and the holds they leave."""
    held = Counter[tuple[int, str]]()
    for each in free:
        held[each.line, each.location] += each.quantity
    moved, gone = [], Counter[int]()
    for pick in picks:
        stays = min(pick.quantity, held[pick.line, pick.location])
        held[pick.line, pick.location] -= stays
        if pick.quantity > stays:
            moved.append(replace(pick, quantity=pick.quantity - stays))
            gone[pick.line] += pick.quantity - stays
    freed: Freed = []
    by_id = {each.id: each for each in free}
    for (line, location), surplus in sorted(held.items()):
        mine = (a for a in free if (a.line, a.location) == (line, location))
        parts = parts_of(mine, min(surplus, gone[line]))
        gone[line] -= sum(units for _, units in parts)
        freed += [(by_id[id], units) for id, units in parts]
    return moved, freed


async def _is_better(
    unit: OrderUnit,
    around: Around,
    demands: Sequence[Demand],
    found: Decision,
    free: Sequence[Allocation],
    policy: Policy,
) -> bool:
    shelves = replace(around.shelves, at_most=_held(around, free))
    present = await replace(around, shelves=shelves).plan(demands, told=False)
    if found.key >= present.key:
        return False
    (row,) = await unit.ask(_OF_ORDER, n=unit.number)
    if row.moved_by_hand:
        return False
    more = _units(found) > _units(present)
    where = order_place(unit.order, row.region)
    new, old = _senders(found), _senders(present)
    return more or _is_in_time(unit, around, where, new, old, policy)


def _is_in_time(
    unit: OrderUnit, around: Around, where: Where, new: set[str], old: set[str], policy: Policy
) -> bool:
    """Whether goods from these places come by the promise, or no later than from the old ones."""
    promised = unit.order.promise_by
    if promised is None:
        return True
    network = around.network
    terms = terms_of(
        where,
        unit.order.method,
        [network.places[id] for id in sorted(new | old)],
        network.services,
        policy.model_copy(update={"grace": timedelta(0)}),
    )
    later = terms.promise_all(unit.at, [Units(id) for id in sorted(new)])
    before = terms.promise_all(unit.at, [Units(id) for id in sorted(old)])
    if later is None:
        return False
    return later.by <= promised or (before is not None and later.by <= before.by)


def _senders(decision: Decision) -> set[str]:
    return {pick.location for pick in decision.plan.picks}


def _units(decision: Decision) -> int:
    return sum(pick.quantity for pick in decision.plan.picks)


async def _take(unit: OrderUnit, around: Around, picks: Sequence[Pick], freed: Freed) -> bool:
    await unit.send()
    taken = await take(
        unit.tx,
        wants(picks, around.buffers, "allocated"),
        also=[StockChange(sku=a.sku, location=a.location, allocated=-n) for a, n in freed],
        cause=CAUSE,
        key=unit.key(CAUSE),
        at=unit.at,
    )
    return not isinstance(taken, Short)


async def _write(unit: OrderUnit, decision: Decision, picks: Sequence[Pick], freed: Freed) -> None:
    await change_rows(unit, "allocations", [(a.id, n) for a, n in freed], state="released")
    await insert_allocations(unit, as_rows(picks))
    record_decision(unit, decision.record, CAUSE)
    units = sum(pick.quantity for pick in picks)
    before = ", ".join(sorted({each.location for each, _ in freed}))
    places = ", ".join(sorted({pick.location for pick in picks}))
    short, why = told_with(decision.record)
    words = (
        f"{count_of(units, 'unit')} {is_or_are(units)} now served from {places}"
        f" instead of {before}, on today's stock{short}"
    )
    unit.tell("order.sourced_again", words, units=units, **why)
