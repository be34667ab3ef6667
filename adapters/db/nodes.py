"""What locations report: facts, checked against the state under the order's lock and applied.

Each function answers None when the fact is now in the books (it may have been before), or a
`Refusal`. Told twice, a fact counts once.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from adapters.db.allocations import allocations_of, change_rows, parts_of
from adapters.db.cancelling import answer_cancellation
from adapters.db.money import charge_units
from adapters.db.routing import end_fulfillment, give_up, turn_down
from adapters.db.stock import StockChange
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.fulfillment import FulfillmentLine, FulfillmentOrder
from oms.numbers import shipment_id
from oms.orders import Allocation
from oms.policy import Policy
from oms.ports import Message
from oms.words import count_of

ANSWER_APPLIED_WITHIN = timedelta(seconds=5)
"""How long a deadline gives way to an answer that is stored and not applied yet."""


class Parcel(Message):
    """A packed box: grams, and units by line."""

    weight_g: int
    lines: dict[int, int]


def _invalid(each: FulfillmentOrder, action: str) -> Refusal:
    state = each.status if each.cancellation != "requested" else "being cancelled"
    return Refusal(code="invalid_state", detail=f"{each.id} is {state}: cannot {action} now.")


def _unknown_line(each: FulfillmentOrder, lines: Sequence[int]) -> Refusal | None:
    known = {line.line for line in each.lines}
    for index, line in enumerate(lines):
        if line not in known:
            return Refusal(
                code="line_unknown",
                detail=f"{each.id} has no line {line}.",
                pointer=f"/lines/{index}/line",
            )
    return None


# --- the answer to an offer -----------------------------------------------------------------


async def answer_is_waiting(unit: OrderUnit, each: FulfillmentOrder) -> bool:
    """Whether the location's answer is stored, acknowledged, and not applied yet.

    After an outage of ours, or in a rush, the deadline may come before the answer's turn. An
    answer that could not be applied for minutes counts no more: it never fitted.
    """
    found = await unit.ask(
        "SELECT 1 FROM inbound_events WHERE outcome IS NULL AND party = 'nodes' AND tries < 10"
        " AND body ->> 'fulfillment_order' = :id AND body ->> 'action' IN ('accept', 'reject')"
        " LIMIT 1",
        id=each.id,
    )
    return bool(found)


async def accept(unit: OrderUnit, each: FulfillmentOrder, policy: Policy) -> Refusal | None:
    """The location takes the work on."""
    if each.request == "accepted" and each.status != "cancelled":
        return None
    if each.status != "open":
        return _invalid(each, "accept")
    unit.set_fulfillment(
        each.id,
        status="in_progress",
        request="accepted",
        accepted_at=unit.at,
        answer_by=None,
        work_by=unit.at + policy.pick,
    )
    unit.tell(
        "fulfillment_order.accepted",
        f"{each.location} accepted {each.id}",
        fulfillment_order=each.id,
    )
    unit.nudge_fulfillment(each.id, "accepted")
    await unit.flush("accept")
    return None


async def reject(
    unit: OrderUnit, each: FulfillmentOrder, reason: str, lines: Mapping[int, int] | None
) -> Refusal | None:
    """The location will not serve it, or some units of it; these are planned again elsewhere.

    `out_of_stock` takes the units off `on_hand`; `damaged` moves them to `damaged`.
    """
    if each.request == "rejected" or (lines is not None and _rejected_before(each, lines)):
        return None
    if not each.is_offered:
        return _invalid(each, "reject")
    if lines is not None:
        refusal = _unknown_line(each, list(lines)) or _too_many(each, lines)
        if refusal:
            return refusal
    chosen = _chosen(unit, each, lines)
    counts = _by_line(chosen)
    await _correct_shelf(unit, each.location, chosen, reason)
    await turn_down(unit, chosen, reason)
    if sum(counts.values()) == sum(line.quantity for line in each.lines):
        await end_fulfillment(unit, each, request="rejected")
        unit.set_fulfillment(each.id, reject_reason=reason)
    else:
        await _reduce(unit, each, counts)
        unit.nudge_order("partly rejected")
    unit.tell(
        "fulfillment_order.rejected",
        f"{each.location} turned down {count_of(sum(counts.values()), 'unit')}:"
        f" {reason.replace('_', ' ')}",
        fulfillment_order=each.id,
        reason=reason,
        lines=counts,
    )
    await unit.flush("reject")
    return None


def _rejected_before(each: FulfillmentOrder, lines: Mapping[int, int]) -> bool:
    """Whether just these units were turned down already. Nothing else lowers an offer's units."""
    untouched = each.cancellation is None and all(line.picked is None for line in each.lines)
    gone = {line.line: line.asked - line.quantity for line in each.lines}
    return each.is_live and untouched and {k: n for k, n in gone.items() if n} == dict(lines)


def _too_many(each: FulfillmentOrder, lines: Mapping[int, int]) -> Refusal | None:
    quantities = {line.line: line.quantity for line in each.lines}
    for index, (line, units) in enumerate(lines.items()):
        if units > quantities[line]:
            return Refusal(
                code="quantity_too_large",
                detail=f"{each.id} asks for {count_of(quantities[line], 'unit')} of line {line}.",
                pointer=f"/lines/{index}/quantity",
            )
    return None


def _chosen(
    unit: OrderUnit, each: FulfillmentOrder, lines: Mapping[int, int] | None
) -> list[tuple[Allocation, int]]:
    chosen = []
    for line in each.lines:
        wanted = line.quantity if lines is None else lines.get(line.line, 0)
        mine = allocations_of(unit.order, each.id, line.line)
        by_id = {a.id: a for a in mine}
        chosen += [(by_id[id], units) for id, units in parts_of(mine, wanted)]
    return chosen


def _by_line(chosen: Sequence[tuple[Allocation, int]]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for each, units in chosen:
        counts[each.line] += units
    return dict(counts)


async def _correct_shelf(
    unit: OrderUnit, location: str, chosen: Sequence[tuple[Allocation, int]], reason: str
) -> None:
    """A count that proved wrong is corrected; never below zero, whatever was counted meanwhile."""
    if reason not in ("out_of_stock", "damaged", "short"):
        return
    missing: dict[str, int] = defaultdict(int)
    for each, units in chosen:
        missing[each.sku] += units
    there = await _on_hand(unit, location, sorted(missing))
    for sku, units in sorted(missing.items()):
        off = min(units, there.get(sku, 0))
        damaged = units if reason == "damaged" else 0
        if off or damaged:
            unit.stock(StockChange(sku=sku, location=location, on_hand=-off, damaged=damaged))


async def _on_hand(unit: OrderUnit, location: str, skus: Sequence[str]) -> dict[str, int]:
    rows = await unit.ask(
        "SELECT sku, on_hand FROM stock_levels WHERE location = :l AND sku = ANY(:skus)"
        " ORDER BY sku, location FOR UPDATE",
        l=location,
        skus=list(skus),
    )
    return {row.sku: row.on_hand for row in rows}


async def _reduce(unit: OrderUnit, each: FulfillmentOrder, counts: Mapping[int, int]) -> None:
    rows = [{"line": line, "units": units} for line, units in counts.items()]
    unit.run(
        "UPDATE fulfillment_lines l SET quantity = l.quantity - r.units"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, units int)"
        " WHERE l.fulfillment_order = :id AND l.line = r.line",
        id=each.id,
        rows=json.dumps(rows),
    )
    unit.set_fulfillment(each.id, status=each.status)


# --- picking and packing --------------------------------------------------------------------


async def pick(
    unit: OrderUnit, each: FulfillmentOrder, picked: Mapping[int, int]
) -> Refusal | None:
    """Units of some lines lie in the box. What is missing is off the shelf and goes elsewhere."""
    by_line = {line.line: line for line in each.lines}
    if refusal := _unknown_line(each, list(picked)):
        return refusal
    for index, (line, units) in enumerate(picked.items()):
        if units > by_line[line].asked:
            asked = count_of(by_line[line].asked, "unit")
            return Refusal(
                code="quantity_too_large",
                detail=f"{each.id} asks for {asked} of line {line}.",
                pointer=f"/lines/{index}/picked",
            )
    news = {line: units for line, units in picked.items() if by_line[line].picked is None}
    if not news and all(by_line[line].picked == units for line, units in picked.items()):
        return None
    if each.status != "in_progress" or each.packed_at or each.ready_at or len(news) < len(picked):
        return _invalid(each, "pick")
    if any(units > by_line[line].quantity for line, units in news.items()):
        return _invalid(each, "pick units that were cancelled")
    await _write_picks(unit, each, news, by_line)
    await unit.flush("pick")
    return None


async def _write_picks(
    unit: OrderUnit,
    each: FulfillmentOrder,
    news: Mapping[int, int],
    by_line: Mapping[int, FulfillmentLine],
) -> None:
    taken: list[tuple[int, int]] = []
    short: list[tuple[Allocation, int]] = []
    for line, units in news.items():
        mine = allocations_of(unit.order, each.id, line)
        parts = parts_of(mine, units)
        taken += parts
        gone = dict(parts)
        short += [
            (a, a.quantity - gone.get(a.id, 0)) for a in mine if a.quantity > gone.get(a.id, 0)
        ]
        if units:
            unit.move(line, "allocated", "picked", units)
    # Split the short part off first: a row's id stays with the part that is picked.
    await _correct_shelf(unit, each.location, short, "short")
    await give_up(unit, each, short, "short_pick")
    await change_rows(unit, "allocations", taken, picked=True)
    await _write_lines(unit, each, news)
    rest = [line for line in each.lines if line.quantity and line.line not in news]
    whole = all(line.picked is not None for line in rest)
    unit.set_fulfillment(each.id, picked_at=unit.at if whole else None)
    if short:
        _tell_short(unit, each, _by_line(short))
        _settle_asked(unit, each, news)
    nothing = not any(news.values()) and not any(line.picked for line in rest)
    if whole and nothing:
        await end_fulfillment(unit, each, request=each.request)


async def _write_lines(unit: OrderUnit, each: FulfillmentOrder, news: Mapping[int, int]) -> None:
    """Write what was found. Missing units that were to be cancelled are no longer asked for."""
    rows = [{"line": line, "picked": units} for line, units in news.items()]
    unit.run(
        "UPDATE fulfillment_lines l SET picked = r.picked, quantity = r.picked,"
        " move_asked = least(l.move_asked, r.picked - l.cancel_asked)"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, picked int)"
        " WHERE l.fulfillment_order = :id AND l.line = r.line",
        id=each.id,
        rows=json.dumps(rows),
    )


def _settle_asked(unit: OrderUnit, each: FulfillmentOrder, news: Mapping[int, int]) -> None:
    """What was missing need not be stopped any more; perhaps nothing is left to answer for."""
    asked = sum(_still_asked(line, news.get(line.line, line.quantity)) for line in each.lines)
    if each.cancellation == "requested" and not asked:
        unit.set_fulfillment(each.id, cancellation="accepted", cancel_answer_by=None)


def _still_asked(line: FulfillmentLine, found: int) -> int:
    to_cancel = max(0, line.cancel_asked - (line.quantity - found))
    return to_cancel + min(line.move_asked, found - to_cancel)


def _tell_short(unit: OrderUnit, each: FulfillmentOrder, counts: dict[int, int]) -> None:
    unit.tell(
        "fulfillment_order.short_picked",
        f"{each.location} found {count_of(sum(counts.values()), 'unit')} too few",
        fulfillment_order=each.id,
        lines=counts,
    )
    unit.nudge_order("short pick")


async def pack(
    unit: OrderUnit, each: FulfillmentOrder, parcels: Sequence[Parcel]
) -> Refusal | None:
    """Everything picked lies in closed parcels, each of which gets a label."""
    if each.packed_at is not None and each.status in ("in_progress", "closed"):
        known = [
            (s.weight_g, {line.line: line.quantity for line in s.lines})
            for s in unit.order.shipments_of(each.id)
        ]
        same = known == [(p.weight_g, dict(p.lines)) for p in parcels]
        return None if same else _invalid(each, "pack otherwise")
    if each.status != "in_progress" or each.method != "home" or not each.all_picked:
        return _invalid(each, "pack")
    if refusal := _check_parcels(each, parcels):
        return refusal
    for offset, parcel in enumerate(parcels, start=1):
        await _write_parcel(unit, each, len(unit.order.shipments) + offset, parcel)
    unit.set_fulfillment(each.id, packed_at=unit.at)
    unit.nudge_fulfillment(each.id, "packed")
    await unit.flush("pack")
    return None


def _check_parcels(each: FulfillmentOrder, parcels: Sequence[Parcel]) -> Refusal | None:
    packed: dict[int, int] = defaultdict(int)
    for parcel in parcels:
        for line, units in parcel.lines.items():
            packed[line] += units
    picked = {line.line: line.picked or 0 for line in each.lines if line.picked}
    for line, units in packed.items():
        if units > picked.get(line, 0):
            return Refusal(
                code="quantity_too_large",
                detail=f"Of line {line}, {picked.get(line, 0)} picked, not {units}.",
                pointer="/parcels",
            )
    if packed != picked:
        return Refusal(
            code="not_all_packed",
            detail="The parcels must hold every unit that was picked.",
            pointer="/parcels",
        )
    return None


async def _write_parcel(unit: OrderUnit, each: FulfillmentOrder, seq: int, parcel: Parcel) -> None:
    id = shipment_id(unit.number, seq)
    unit.run(
        "INSERT INTO shipments (id, order_number, fulfillment_order, seq, weight_g, status,"
        " label_attempt, created_at) VALUES (:id, :n, :fo, :seq, :weight, 'created', 1, :at)",
        id=id,
        n=unit.number,
        fo=each.id,
        seq=seq,
        weight=parcel.weight_g,
        at=unit.at,
    )
    rows = [{"line": line, "quantity": units} for line, units in parcel.lines.items()]
    unit.run(
        "INSERT INTO shipment_lines (shipment, line, quantity)"
        " SELECT :id, r.line, r.quantity"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, quantity int)",
        id=id,
        rows=json.dumps(rows),
    )
    unit.tell(
        "fulfillment_order.packed",
        f"{each.location} packed {id}, {parcel.weight_g} g",
        fulfillment_order=each.id,
        shipment=id,
    )


# --- handing over ---------------------------------------------------------------------------


async def ready(unit: OrderUnit, each: FulfillmentOrder, policy: Policy) -> Refusal | None:
    """The goods wait at the counter. The customer's code is drawn."""
    if each.ready_at is not None and each.status in ("in_progress", "closed"):
        return None
    if each.status != "in_progress" or each.method != "store_pickup" or not each.all_picked:
        return _invalid(each, "be ready")
    unit.set_fulfillment(
        each.id,
        ready_at=unit.at,
        pickup_code=f"{secrets.randbelow(1_000_000):06d}",
        collect_by=unit.at + policy.pickup,
    )
    unit.tell(
        "fulfillment_order.ready",
        f"{each.id} is ready at {each.location}",
        fulfillment_order=each.id,
    )
    unit.nudge_fulfillment(each.id, "ready")
    await unit.flush("ready")
    return None


async def hand_over(
    unit: OrderUnit, each: FulfillmentOrder, *, code: str | None, verified_by: str | None
) -> Refusal | None:
    """The goods leave: to the carrier, or to the customer against the code or a checked paper."""
    if each.status == "closed":
        return None
    if each.status != "in_progress":
        return _invalid(each, "hand over")
    if each.method == "store_pickup":
        if each.ready_at is None:
            return _invalid(each, "hand over")
        if code is None and verified_by is None:
            return Refusal(code="code_wrong", detail="Give the code, or who was verified by what.")
        if code is not None and not _same(code, each.pickup_code or ""):
            return Refusal(
                code="code_wrong", detail="This is not the customer's code.", pointer="/code"
            )
    elif not _labelled(unit, each):
        return _invalid(each, "hand over before every parcel has its label")
    await write_hand_over(unit, each, "handed over")
    await unit.flush("hand_over")
    return None


def _same(given: str, code: str) -> bool:
    return secrets.compare_digest(given.encode(), code.encode())


def _labelled(unit: OrderUnit, each: FulfillmentOrder) -> bool:
    parcels = [parcel for parcel in unit.order.shipments_of(each.id) if not parcel.is_final]
    return bool(parcels) and all(parcel.tracking_number for parcel in parcels)


async def write_hand_over(unit: OrderUnit, each: FulfillmentOrder, how: str) -> None:
    """Book that the goods left: off the shelf, out of the allocation, and due to be paid."""
    target = "shipped" if each.method == "home" else "delivered"
    mine = [a for a in unit.order.allocations if a.fulfillment_order == each.id and a.picked]
    counts = _by_line([(a, a.quantity) for a in mine])
    await change_rows(unit, "allocations", [(a.id, a.quantity) for a in mine], state="shipped")
    there = await _on_hand(unit, each.location, sorted({a.sku for a in mine}))
    for a in mine:
        off = min(a.quantity, there.get(a.sku, 0))
        there[a.sku] = there.get(a.sku, 0) - off
        unit.stock(StockChange(sku=a.sku, location=a.location, on_hand=-off, allocated=-a.quantity))
    for line, units in counts.items():
        unit.move(line, "picked", target, units)
    unit.set_fulfillment(
        each.id,
        status="closed",
        handed_over_at=unit.at,
        ended_at=unit.at,
        cancellation="rejected" if each.cancellation == "requested" else each.cancellation,
        cancel_answer_by=None,
    )
    unit.run(
        "UPDATE fulfillment_lines SET cancel_asked = 0, move_asked = 0"
        " WHERE fulfillment_order = :id",
        id=each.id,
    )
    unit.run(
        "UPDATE shipments SET handed_over_at = :at, status = 'handed_over'"
        " WHERE fulfillment_order = :id AND written_off_at IS NULL",
        at=unit.at,
        id=each.id,
    )
    await charge_units(unit, counts, cause=each.id)
    _tell_handed_over(unit, each, how)
    unit.nudge_order("handed over")
    unit.nudge_fulfillment(each.id, "handed over")


def _tell_handed_over(unit: OrderUnit, each: FulfillmentOrder, how: str) -> None:
    for parcel in unit.order.shipments_of(each.id):
        if parcel.is_final:
            continue
        unit.tell(
            "shipment.handed_over", f"{parcel.id} {how} at {each.location}", shipment=parcel.id
        )
    unit.tell(
        "fulfillment_order.closed",
        f"{each.location} {how} {each.id}",
        fulfillment_order=each.id,
    )


# --- the answer to a cancellation -----------------------------------------------------------


async def cancel_response(
    unit: OrderUnit, each: FulfillmentOrder, *, accepted: bool
) -> Refusal | None:
    """The location says whether it could stop."""
    verdict = "accepted" if accepted else "rejected"
    if each.cancellation == verdict:
        return None
    if each.cancellation != "requested":
        return _invalid(each, "answer a cancellation nobody asked for")
    await answer_cancellation(unit, each, accepted=accepted)
    return None
