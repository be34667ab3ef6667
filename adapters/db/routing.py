"""Giving a confirmed order's units to locations, again if a location will not serve them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapters.db.allocations import (
    as_rows,
    change_rows,
    insert_allocations,
    insert_reservations,
    parts_of,
)
from adapters.db.money import refund_units
from adapters.db.placing import RACES
from adapters.db.releases import OF_A_REROUTE, record_reroute
from adapters.db.route_again import route_again
from adapters.db.routing_decisions import Cause, record_decision, routed_by, told_with
from adapters.db.sourcing import demand_of, places_for, wants
from adapters.db.stock import Short, StockChange, Want, take
from adapters.db.unit import OrderUnit
from oms.fulfillment import FulfillmentOrder
from oms.numbers import fulfillment_order_id
from oms.orders import UPFRONT_TENDERS, Allocation, Order, Reservation
from oms.policy import Policy
from oms.reasons import Record
from oms.sourcing import Demand, Pick
from oms.words import count_of, is_or_are

# --- routing --------------------------------------------------------------------------------


async def route_order(unit: OrderUnit, policy: Policy) -> None:
    """Find other places for units that were turned down, then offer every unit to its place.

    Units that no place was told of yet are planned again on today's stock before.
    """
    if unit.order.open_holds:
        return
    turned_down = [a for a in unit.order.allocations if a.turned_down]
    if turned_down:
        await source_again(unit, turned_down, policy)
        await unit.flush("source_again")
        await unit.again()
    elif await route_again(unit, policy):
        await unit.flush("route_again")
        await unit.again()
    await _make_fulfillment_orders(unit)
    await unit.flush("route")


async def _make_fulfillment_orders(unit: OrderUnit) -> None:
    order = unit.order
    by_location: dict[str, list[Allocation]] = defaultdict(list)
    for each in order.allocations:
        if each.fulfillment_order is None:
            by_location[each.location].append(each)
    by = await routed_by(unit) if by_location else ""
    for offset, (location, allocations) in enumerate(sorted(by_location.items()), start=1):
        seq = len(order.fulfillment_orders) + offset
        await _make_fulfillment_order(unit, seq, location, allocations, by)


async def _make_fulfillment_order(
    unit: OrderUnit, seq: int, location: str, allocations: Sequence[Allocation], by: str
) -> None:
    id = fulfillment_order_id(unit.number, seq)
    lines: dict[int, dict[str, Any]] = {}
    for each in allocations:
        line = lines.setdefault(each.line, {"line": each.line, "sku": each.sku, "quantity": 0})
        line["quantity"] += each.quantity
    unit.run(
        "INSERT INTO fulfillment_orders (id, order_number, seq, location, method, status, request,"
        " cancellation_seq, cancellation_asked, created_at, version)"
        " VALUES (:id, :n, :seq, :location, :method, 'open', 'requested', 0, 0, :at, 1)",
        id=id,
        n=unit.number,
        seq=seq,
        location=location,
        method=unit.order.method,
        at=unit.at,
    )
    unit.run(
        "INSERT INTO fulfillment_lines"
        " (fulfillment_order, line, sku, asked, quantity, cancel_asked)"
        " SELECT :id, r.line, r.sku, r.quantity, r.quantity, 0"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, sku text, quantity int)",
        id=id,
        rows=json.dumps(list(lines.values())),
    )
    parts = [(each.id, each.quantity) for each in allocations]
    await change_rows(unit, "allocations", parts, fulfillment_order=id)
    units = sum(each.quantity for each in allocations)
    unit.tell(
        "order.routed",
        f"{count_of(units, 'unit')} {'goes' if units == 1 else 'go'} to {location} as {id}{by}",
        fulfillment_order=id,
        location=location,
        units=units,
    )


# --- turned down ----------------------------------------------------------------------------


async def turn_down(
    unit: OrderUnit, allocations: Iterable[tuple[Allocation, int]], reason: str | None = None
) -> None:
    """Mark units whose location will not serve them. They stay allocated until others take over.

    `reason`: why it is not asked for these units again; None where it may be, once it is open.
    """
    chosen = list(allocations)
    await change_rows(
        unit,
        "allocations",
        [(each.id, quantity) for each, quantity in chosen],
        turned_down=True,
        picked=False,
        fulfillment_order=None,
    )
    if reason is not None:
        _remember(unit, chosen, reason)
    for each, quantity in chosen:
        if each.picked:
            unit.move(each.line, "picked", "allocated", quantity)


def _remember(unit: OrderUnit, chosen: Sequence[tuple[Allocation, int]], reason: str) -> None:
    unit.run(
        "INSERT INTO turned_down (order_number, line, location, reason, at)"
        " SELECT :n, r.line, r.location, :reason, :at"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, location text)"
        " ON CONFLICT DO NOTHING",
        n=unit.number,
        reason=reason,
        at=unit.at,
        rows=json.dumps(
            [
                {"line": line, "location": location}
                for line, location in sorted({(a.line, a.location) for a, _ in chosen})
            ]
        ),
    )


async def give_up(
    unit: OrderUnit,
    each: FulfillmentOrder,
    chosen: Sequence[tuple[Allocation, int]],
    reason: str,
) -> None:
    """Turn down units of a fulfillment order. Those to be cancelled anyway need no other place."""
    asked = {line.line: line.cancel_asked for line in each.lines}
    unwanted: list[tuple[Allocation, int]] = []
    wanted: list[tuple[Allocation, int]] = []
    for row, units in chosen:
        off = min(units, asked[row.line])
        asked[row.line] -= off
        unwanted += [(row, off)] if off else []
        wanted += [(row, units - off)] if units > off else []
    if unwanted:
        await cancel_allocated(unit, unwanted, f"{each.location} does not serve it")
        await _write_asked(unit, each, asked)
    if wanted:
        await turn_down(unit, wanted, reason)


async def cancel_allocated(
    unit: OrderUnit, chosen: Sequence[tuple[Allocation, int]], why: str
) -> None:
    """Cancel units that a location holds, picked or not."""
    await release_allocations(unit, chosen)
    for picked, bucket in ((False, "allocated"), (True, "picked")):
        counts = _units_by_line((a, units) for a, units in chosen if a.picked is picked)
        if counts:
            await cancel_units(unit, counts, bucket, why)


async def _write_asked(unit: OrderUnit, each: FulfillmentOrder, asked: dict[int, int]) -> None:
    unit.run(
        "UPDATE fulfillment_lines l SET cancel_asked = r.units"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, units int)"
        " WHERE l.fulfillment_order = :id AND l.line = r.line",
        id=each.id,
        rows=json.dumps([{"line": line, "units": units} for line, units in asked.items()]),
    )
    if not any(asked.values()) and not any(line.move_asked for line in each.lines):
        unit.set_fulfillment(each.id, cancellation="accepted", cancel_answer_by=None)


async def take_away(unit: OrderUnit, each: FulfillmentOrder, *, request: str, reason: str) -> None:
    """End a fulfillment order whose location will not or may not serve it; its units go on."""
    mine = [a for a in unit.order.allocations if a.fulfillment_order == each.id]
    await give_up(unit, each, [(a, a.quantity) for a in mine], reason)
    await end_fulfillment(unit, each, request=request)


async def end_fulfillment(unit: OrderUnit, each: FulfillmentOrder, *, request: str) -> None:
    """Cancel a fulfillment order. A node that was offered it and did not refuse it is told."""
    must_tell = each.offered_at is not None and request != "rejected"
    if each.cancellation == "requested":  # nothing is left that it could stop
        unit.set_fulfillment(each.id, cancellation="accepted", cancel_answer_by=None)
    unit.set_fulfillment(
        each.id,
        status="cancelled",
        request=request,
        ended_at=unit.at,
        cancellation_seq=each.cancellation_seq + int(must_tell),
    )
    unit.run(
        "UPDATE fulfillment_lines SET quantity = 0, cancel_asked = 0, move_asked = 0,"
        " picked = CASE WHEN picked IS NOT NULL THEN 0 END"
        " WHERE fulfillment_order = :id",
        id=each.id,
    )
    unit.run(
        "UPDATE shipments SET written_off_at = :at"
        " WHERE fulfillment_order = :id AND handed_over_at IS NULL",
        at=unit.at,
        id=each.id,
    )
    unit.nudge_order("fulfillment order ended")
    unit.nudge_fulfillment(each.id, "ended")


# --- another place, a backorder, or no sale -------------------------------------------------


async def source_again(unit: OrderUnit, allocations: list[Allocation], policy: Policy) -> None:
    """Let other places serve units that were turned down; else they wait, or are cancelled."""
    moving = _that_move_together(unit.order, allocations)
    freed, then = await _move_elsewhere(unit, moving, policy)
    gone = {each.id: units for each, units in freed}
    rest = [(a, a.quantity - gone.get(a.id, 0)) for a in allocations]
    await _leave(unit, [(each, units) for each, units in rest if units], then)


def _that_move_together(order: Order, allocations: list[Allocation]) -> list[Allocation]:
    """An order that must not be split moves with all its units, unless some are worked on."""
    free = all(each.fulfillment_order is None for each in order.allocations)
    return list(order.allocations) if free and not order.allow_split else allocations


async def _move_elsewhere(
    unit: OrderUnit,
    allocations: Sequence[Allocation],
    policy: Policy,
    cause: Cause = "source_again",
    *,
    only: str | None = None,
) -> tuple[list[tuple[Allocation, int]], Mapping[int, str]]:
    """Take stock at other places and let go of the old, in one statement.

    Tells what was moved, and what the rules say of lines that were not.
    """
    order = unit.order
    refused = await _refused_places(unit)
    demands = _demands(order, _count(allocations), refused)
    skus = [demand.sku for demand in demands]
    for _ in range(RACES):
        around = await places_for(
            unit.tx, order, skus, at=unit.at, policy=policy, number=order.number
        )
        if only is not None:
            around = around.only([only])
        found = await around.plan(demands)
        whole = order.allow_split or (not found.left and _moves_as_a_whole(order, allocations))
        picks = found.plan.picks if whole else ()
        freed = _let_go(allocations, picks)
        if not picks or await _take_over(unit, freed, wants(picks, around.buffers, "allocated")):
            record_decision(unit, found.record, cause)
            await _write_moved(unit, freed, picks, found.record)
            return freed, found.then
    raise AssertionError("stock changed faster than it could be planned")


def _count(rows: Iterable[Allocation | Reservation]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for each in rows:
        counts[each.line] += each.quantity
    return counts


def _demands(
    order: Order, counts: Mapping[int, int], refused: Mapping[int, set[str]]
) -> list[Demand]:
    """Ask for units of an order's lines again; `refused`: by whom, line by line."""
    return [
        demand_of(line, counts[line.line], refused.get(line.line, ()))
        for line in order.lines
        if counts.get(line.line)
    ]


def _moves_as_a_whole(order: Order, allocations: Sequence[Allocation]) -> bool:
    """An order that must not be split may move only with all its units."""
    return sum(a.quantity for a in allocations) == sum(line.kept for line in order.lines)


async def _take_over(
    unit: OrderUnit, freed: Sequence[tuple[Allocation, int]], stock: Sequence[Want]
) -> bool:
    await unit.send()
    taken = await take(
        unit.tx,
        stock,
        also=[StockChange(sku=a.sku, location=a.location, allocated=-units) for a, units in freed],
        cause="source_again",
        key=unit.key("move"),
        at=unit.at,
    )
    return not isinstance(taken, Short)


def _let_go(
    allocations: Sequence[Allocation], picks: Sequence[Pick]
) -> list[tuple[Allocation, int]]:
    """Which old allocations end because `picks` took their units over."""
    moved: dict[int, int] = defaultdict(int)
    for pick in picks:
        moved[pick.line] += pick.quantity
    by_id = {each.id: each for each in allocations}
    return [
        (by_id[id], units)
        for line, quantity in sorted(moved.items())
        for id, units in parts_of((a for a in allocations if a.line == line), quantity)
    ]


async def _write_moved(
    unit: OrderUnit,
    freed: Sequence[tuple[Allocation, int]],
    picks: Sequence[Pick],
    record: Record | None,
) -> None:
    if not picks:
        return
    await change_rows(unit, "allocations", [(a.id, units) for a, units in freed], state="released")
    await insert_allocations(
        unit,
        as_rows(picks),
    )
    units = sum(pick.quantity for pick in picks)
    places = ", ".join(sorted({pick.location for pick in picks}))
    short, why = told_with(record)
    words = f"{count_of(units, 'unit')} {is_or_are(units)} now served from {places}{short}"
    unit.tell("order.sourced_again", words, units=units, **why)


async def _refused_places(unit: OrderUnit) -> dict[int, set[str]]:
    rows = await unit.ask(
        "SELECT line, location FROM turned_down WHERE order_number = :n", n=unit.number
    )
    refused: dict[int, set[str]] = defaultdict(set)
    for line, location in rows:
        refused[line].add(location)
    return refused


async def _leave(
    unit: OrderUnit, chosen: Sequence[tuple[Allocation, int]], then: Mapping[int, str]
) -> None:
    """Units no place can serve: backordered where order and rule (`then`) allow it."""
    if not chosen:
        return
    await release_allocations(unit, chosen)
    waits = unit.order.allow_backorder
    unsold = [(a, units) for a, units in chosen if not waits or then.get(a.line) == "cancel"]
    if unsold:
        await cancel_units(unit, _units_by_line(unsold), "allocated", "no location can serve it")
    chosen = [each for each in chosen if each not in unsold]
    if not chosen:
        return
    rows = []
    for each, units in chosen:
        unit.move(each.line, "allocated", "backordered", units)
        unit.stock(StockChange(sku=each.sku, location=each.location, backordered=units))
        rows.append(
            {"line": each.line, "sku": each.sku, "location": each.location, "quantity": units}
        )
    await insert_reservations(unit, rows, kind="backorder", expires_at=None)
    total = sum(units for _, units in chosen)
    words = f"{count_of(total, 'unit')} {is_or_are(total)} backordered"
    unit.tell("order.backordered", words)


def _units_by_line(chosen: Iterable[tuple[Allocation, int]]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for each, units in chosen:
        counts[each.line] += units
    return dict(counts)


async def release_allocations(unit: OrderUnit, chosen: Sequence[tuple[Allocation, int]]) -> None:
    """Give units back to the shelf they were allocated on. Buckets are the caller's."""
    await change_rows(
        unit, "allocations", [(each.id, units) for each, units in chosen], state="released"
    )
    for each, units in chosen:
        unit.stock(StockChange(sku=each.sku, location=each.location, allocated=-units))


async def cancel_units(unit: OrderUnit, counts: dict[int, int], bucket: str, why: str) -> None:
    """Cancel units out of a bucket. Money paid upfront for them goes back."""
    for line, units in sorted(counts.items()):
        unit.move(line, bucket, "cancelled", units)
    words = ", ".join(f"{units} of line {line}" for line, units in sorted(counts.items()))
    unit.tell("order.cancelled", f"Cancelled {words}: {why}", lines=counts, reason=why)
    tender = unit.order.tender
    if tender is not None and tender.kind in UPFRONT_TENDERS and tender.captured_minor:
        await refund_units(unit, counts, cause="cancel", nothing_left=unit.nothing_is_kept)


# --- planned again on an operator's word ----------------------------------------------------


async def reroute_backorders(unit: OrderUnit, policy: Policy, *, only: str | None) -> int:
    """Plan all backordered units again on today's stock, before their turn in the queue.

    Returns how many found a place. An order that is not confirmed yet has none to give.

    `only`: that place, even if it turned them down before; else places that did are left out.
    """
    order = unit.order
    if order.confirmed_at is None:
        return 0
    waiting = [each for each in order.reservations if each.kind == "backorder"]
    refused = await _refused_places(unit) if only is None else {}
    demands = _demands(order, _count(waiting), refused)
    for _ in range(RACES):
        skus = [demand.sku for demand in demands]
        around = await places_for(
            unit.tx, order, skus, at=unit.at, policy=policy, for_queue=True, number=order.number
        )
        wanted = _places_left(order, only)
        if wanted is not None:
            around = around.only(wanted)
        found = await around.plan(demands)
        picks = found.plan.picks
        stock = wants(picks, around.buffers, "allocated", for_queue=True)
        if not picks:
            return 0
        if await fill_backorders(unit, waiting, picks, stock, cause=OF_A_REROUTE):
            record_reroute(unit, picks, waiting)
            record_decision(unit, found.record, "reroute")
            units = sum(pick.quantity for pick in picks)
            short, why = told_with(found.record)
            unit.tell(
                "order.sourced_again", f"{units} backordered units found a place{short}", **why
            )
            return units
    raise AssertionError("stock changed faster than it could be planned")


def _places_left(order: Order, only: str | None) -> set[str] | None:
    """Where backordered units may come from; None: anywhere. An unsplit order stays together."""
    serving = {a.location for a in order.allocations}
    serving |= {f.location for f in order.fulfillment_orders if f.status == "closed"}
    if order.allow_split or not serving:
        return None if only is None else {only}
    return serving if only is None else serving & {only}


async def fill_backorders(
    unit: OrderUnit,
    waiting: Sequence[Reservation],
    picks: Sequence[Pick],
    stock: Sequence[Want],
    *,
    cause: str,
) -> bool:
    """Take stock for backordered units; False, with nothing written, if it is not there."""
    moved: dict[int, int] = defaultdict(int)
    for pick in picks:
        moved[pick.line] += pick.quantity
    by_id = {each.id: each for each in waiting}
    parts = [
        part
        for line, quantity in sorted(moved.items())
        for part in parts_of((r for r in waiting if r.line == line), quantity)
    ]
    await unit.send()
    taken = await take(
        unit.tx,
        stock,
        also=[
            StockChange(sku=by_id[id].sku, location=by_id[id].location, backordered=-units)
            for id, units in parts
        ],
        cause=cause,
        key=unit.key(cause),
        at=unit.at,
    )
    if isinstance(taken, Short):
        return False
    await change_rows(unit, "reservations", parts, state="allocated")
    await insert_allocations(unit, as_rows(picks))
    for pick in picks:
        unit.move(pick.line, "backordered", "allocated", pick.quantity)
    return True


async def reroute_fulfillment(
    unit: OrderUnit, each: FulfillmentOrder, policy: Policy, *, only: str | None
) -> bool:
    """Serve an unaccepted fulfillment order from elsewhere, whole. False if no place can."""
    mine = [a for a in unit.order.allocations if a.fulfillment_order == each.id]
    await take_away(unit, each, request=each.request, reason="rerouted")
    freed, _ = await _move_elsewhere(unit, mine, policy, "reroute", only=only)
    return sum(units for _, units in freed) == sum(a.quantity for a in mine)
