"""Goods that arrive: what lay in a parcel, wherever it was opened, however often it is said."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from adapters.db.keeping_found import keep_found
from adapters.db.parcel_ends import prove_delivered, write_off
from adapters.db.returns import (
    Announced,
    at_line,
    count_units,
    insert_lines,
    set_return,
    unfit,
    write_coming,
)
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.found import Found
from oms.orders import Order
from oms.return_policy import Condition
from oms.returns import Return
from oms.words import count_of


class Arrived(NamedTuple):
    """Units of one line that were found in a parcel, or were not. `sku`: of a wrong item."""

    line: int
    quantity: int
    condition: Condition
    sku: str | None = None


_KNOWN = """
SELECT 1 FROM return_receipts WHERE return_id = :id AND key = :key
UNION ALL SELECT 1 FROM found_goods WHERE location = :location AND reference = :scan
"""


async def receive_goods(
    unit: OrderUnit, back: Return, location: str, found: Sequence[Arrived], *, key: str
) -> Refusal | None:
    """Write what lay in a parcel, wherever it arrived; the same scan again changes nothing.

    Units that were counted already count once. One scan of more than was ever announced brings
    the rest along as unannounced, as far as so many were sent; what is beyond that is found goods.
    A parcel that turned round is written off: its customer will not get it, nobody opened it.
    """
    if back.kind == "claim":
        return unfit(back, "received")
    scan = _scan(back, key)
    if await unit.ask(_KNOWN, id=back.id, key=key, location=location, scan=scan):
        return None
    if wrong := _cannot_be(unit.order, back, found):
        return wrong
    counted, nobodys = _counted(unit, back, found)
    keep_found(unit, nobodys, location=location, reference=scan, back=back.id)
    if not counted:
        return None
    _write_receipt(unit, back, location, found, key)
    lots = [each for each in counted if each.condition != "missing"]
    unopened = back.kind == "undeliverable"
    sound = [each for each in lots if unopened and each.condition == "as_new"]
    others = [each for each in lots if each not in sound]
    _insert_lots(unit, back, location, sound, key, state="accepted")
    _insert_lots(unit, back, location, others, key, state="received")
    _write_arrival(unit, back, location, counted)
    if back.shipment is not None:
        await write_off(unit, unit.order.shipment(back.shipment))
    return None


def _cannot_be(order: Order, back: Return, found: Sequence[Arrived]) -> Refusal | None:
    for at, each in enumerate(found):
        if order.line(each.line) is None:
            return at_line(at, "line_unknown", f"The order has no line {each.line}.")
    if back.shipment is not None and order.shipment(back.shipment).delivered_at is not None:
        detail = f"{back.shipment} was delivered, says its carrier: receive it as unannounced."
        return Refusal(code="invalid_state", detail=detail)
    return None


def _counted(
    unit: OrderUnit, back: Return, found: Sequence[Arrived]
) -> tuple[list[Arrived], list[Found]]:
    """What of it counts, no unit twice; and what is nobody's, as so many were never sent."""
    counted, nobodys = [], []
    for number in sorted({each.line for each in found}):
        here = [each for each in found if each.line == number]
        told = sum(each.quantity for each in here if each.condition != "missing")
        # What lies there is a fact; what is missing can only be of what was announced beside it.
        line = back.line(number)
        may_miss = max(0, (line.quantity if line else 0) - told)
        room, free, left = _room(unit, back, number, told)
        turned_up = _turned_up(back, here, free=free)
        for each in here:
            misses = each.condition == "missing"
            units = min(each.quantity, room if misses else room + turned_up)
            if misses:
                units = min(units, may_miss)
                may_miss -= units
            late = max(0, units - room)
            if late:
                count_units(unit, back.id, number, missing=-late)
            room, turned_up = room - (units - late), turned_up - late
            counted.append(each._replace(quantity=units))
            if not misses and (over := min(left, each.quantity - units)):
                sku = each.sku if each.condition == "wrong_item" else None
                nobodys.append(Found(over, each.condition, number, sku))
                left -= over
    return [each for each in counted if each.quantity], nobodys


def _turned_up(back: Return, here: Sequence[Arrived], *, free: int) -> int:
    """Units that were missing in a parcel before and may lie in this one, which misses none.

    `free`: those that nothing else speaks for by now.
    """
    line = back.line(here[0].line)
    if line is None or any(each.condition == "missing" for each in here):
        return 0
    return min(line.missing, free)


def _room(unit: OrderUnit, back: Return, number: int, told: int) -> tuple[int, int, int]:
    """Units of a line that may still arrive; a scan of more than was announced makes room.

    Those that were sent and that nothing speaks for then; and those that were never sent, or that
    something else speaks for.
    """
    line, free = back.line(number), unit.order.returnable(number)
    announced = line.quantity if line else 0
    expected = waited_for = line.expected if line else 0
    if not back.is_live and back.brings_goods:  # others may have announced them meanwhile
        own = back.speaks_beyond_arrived(number)  # paid on trust, and given up
        waited_for = min(waited_for, free + own)
        free -= max(0, waited_for - own)
    beyond = max(0, told - announced)
    extra = min(beyond, free) if back.brings_goods else 0
    if extra and line is not None:
        count_units(unit, back.id, number, quantity=extra, extra=extra)
    elif extra:
        insert_lines(unit, back.id, [Announced(number, extra, "unannounced")])
        count_units(unit, back.id, number, extra=extra)
    left = beyond - extra + max(0, min(told, expected) - waited_for)
    return waited_for + extra, free - extra, left


def _scan(back: Return, key: str) -> str:
    """Name a scan among the found goods: by its return and its key, short enough to be read."""
    return f"{back.id}:{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _write_receipt(
    unit: OrderUnit, back: Return, location: str, found: Sequence[Arrived], key: str
) -> None:
    unit.run(
        "INSERT INTO return_receipts (return_id, key, location, at, actor, lines)"
        " VALUES (:id, :key, :location, :at, :actor, CAST(:lines AS jsonb))",
        id=back.id,
        key=key,
        location=location,
        at=unit.at,
        actor=unit.actor,
        lines=json.dumps([each._asdict() for each in found]),
    )


def _insert_lots(
    unit: OrderUnit,
    back: Return,
    location: str,
    lots: Sequence[Arrived],
    key: str,
    *,
    state: str,
) -> None:
    for each in lots:
        line = unit.order.line(each.line)
        assert line is not None
        wrong = each.condition == "wrong_item"
        unit.run(
            "INSERT INTO return_lots (return_id, receipt, line, sku, condition, location, quantity,"
            " state, at) VALUES (:id, :key, :line, :sku, :condition, :location, :quantity, :state,"
            " :at)",
            id=back.id,
            key=key,
            line=each.line,
            sku=each.sku if wrong and each.sku else line.sku,
            condition=each.condition,
            location=location,
            quantity=each.quantity,
            state=state,
            at=unit.at,
        )


def _write_arrival(
    unit: OrderUnit, back: Return, location: str, counted: Sequence[Arrived]
) -> None:
    lines: Counter[int] = Counter()
    for each in counted:
        if each.condition == "missing":
            count_units(unit, back.id, each.line, missing=each.quantity)
            continue
        lines[each.line] += each.quantity
        count_units(unit, back.id, each.line, received=each.quantity)
        if each.condition != "wrong_item" and back.brings_goods:
            unit.count(each.line, "returned", each.quantity)
    _reopen(unit, back)
    waits = any(lot.state == "received" for lot in back.lots)
    set_return(
        unit,
        back.id,
        received_at=back.received_at or unit.at,
        inspect_by=back.inspect_by
        if waits
        else unit.at + timedelta(hours=back.terms.inspect_hours),
        receive_by=back.receive_by or unit.at + timedelta(days=back.terms.receive_days),
    )
    missing = {e.line: e.quantity for e in counted if e.condition == "missing"}
    unit.tell(
        "return.received",
        f"{back.id}: {count_of(lines.total(), 'unit')} arrived at {location}"
        + (f", {sum(missing.values())} were missing" if missing else ""),
        **{
            "return": back.id,
            "location": location,
            "lines": dict(lines),
            "missing": missing,
            "conditions": sorted({each.condition for each in counted}),
        },
    )
    if back.brings_goods:
        prove_delivered(unit)


def _reopen(unit: OrderUnit, back: Return) -> None:
    """Goods that arrive are a fact, whatever was decided before: an inspection says what now."""
    if back.is_live and back.approved_at is not None:
        return
    terms = back.terms.model_copy(update={"refund_at": "inspection"})
    values: dict[str, Any] = {
        "declined_at": None,
        "cancelled_at": None,
        "expired_at": None,
        "closed_at": None,
        "loss_at": None,
        "approved_at": back.approved_at or unit.at,
    }
    if back.exchange_told == "called_off":
        values["resolution"] = "refund"
    set_return(unit, back.id, **values)
    unit.run(
        "UPDATE returns SET terms = CAST(:terms AS jsonb), started_at = NULL WHERE id = :id",
        terms=terms.model_dump_json(),
        id=back.id,
    )
    unit.run("SELECT pg_notify('oms_returns', '')")
    if not back.is_live:
        unit.tell(
            "return.reopened",
            f"{back.id} was {back.status}, and goods of it arrived",
            **{"return": back.id},
        )


async def bring_back(unit: OrderUnit, id: str) -> None:
    """Receive all of a return at the till, as the till saw it: request and receipt at once."""
    back = (await unit.reloaded()).return_(id)
    assert back.location is not None, "a till stands at a location"
    before = back.coming()
    found = [Arrived(line.line, line.expected, line.condition or "as_new") for line in back.lines]
    _write_receipt(unit, back, back.location, found, "till")
    _insert_lots(unit, back, back.location, found, "till", state="accepted")
    _write_arrival(unit, back, back.location, found)
    unit.tell("return.inspected", f"{id}: accepted at the till", **{"return": id})
    await write_coming(unit, id, before, "brought_back", nudge=False)
