"""Returns in the books: what customers ask for, what stores and warehouses report, what is owed.

Everything happens on the order's lock, through `change_return`: it moves `incoming` and
`coming_back` by what the effect changed of `Return.coming`, so that stock never tells another story
than the return.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from adapters.db.exchange_money import give_back_elsewhere
from adapters.db.money import refundable_minor, request_payment
from adapters.db.parcel_ends import prove_delivered, write_off
from adapters.db.stock import StockChange
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.money import format_money
from oms.numbers import return_id, return_parcel_id
from oms.orders import Order
from oms.return_agenda import given_up_since, has_left, is_unsent, may_close
from oms.return_money import owed
from oms.return_policy import Condition, Disposition
from oms.returns import Kind, Lot, Resolution, Return, Terms

_T = TypeVar("_T")

USUAL_WEIGHT_G = 500
"""Of a unit whose article has no weight; labels need one."""


class Announced(NamedTuple):
    """Units of one line that are to come back. The last two of an exchange: see `ReturnLine`."""

    line: int
    quantity: int
    reason: str
    photos: tuple[str, ...] = ()
    exchange_sku: str | None = None
    exchange_line: int | None = None
    carried_minor: int = 0


class NewReturn(NamedTuple):
    """A return as it was agreed. `days`: until it is reminded of, and until it expires."""

    lines: tuple[Announced, ...]
    terms: Terms
    refund_minor: int
    via: str = "post"
    kind: Kind = "return"
    resolution: Resolution = "refund"
    location: str | None = None
    parcels: int = 0
    policy_version: int = 0
    needs_approval: str | None = None
    days: tuple[int, int] | None = None
    shipment: str | None = None
    leader: str | None = None
    exchange_order: str | None = None


class Arrived(NamedTuple):
    """Units of one line that were found in a parcel, or were not. `sku`: of a wrong item."""

    line: int
    quantity: int
    condition: Condition
    sku: str | None = None


class Inspected(NamedTuple):
    """What was decided about units of one line. `condition`: only of those found in it."""

    line: int
    quantity: int
    accepted: bool
    disposition: Disposition | None = None
    condition: Condition | None = None


# --- the frame ------------------------------------------------------------------------------


async def change_return(
    unit: OrderUnit,
    id: str,
    effect: Callable[[OrderUnit, Return], Awaitable[_T]],
    *,
    cause: str,
    nudge: bool = False,
) -> _T:
    """Apply an effect to a return and let the stock follow. A refusal has written nothing.

    `nudge`: its process does not know yet and is told.
    """
    before = unit.order.return_(id).coming()
    answer = await effect(unit, unit.order.return_(id))
    if unit.is_changed:
        await write_coming(unit, id, before, cause, nudge=nudge)
    return answer


async def write_coming(
    unit: OrderUnit, id: str, before: Counter[tuple[str, str]], cause: str, *, nudge: bool
) -> None:
    """Write what was gathered, with the units that are coming back now and were not before."""
    unit.run("UPDATE returns SET version = version + 1 WHERE id = :id", id=id)
    after = (await unit.reloaded()).return_(id).coming()
    for sku, location in sorted({*before, *after}):
        delta = after[sku, location] - before[sku, location]
        if delta:
            unit.stock(StockChange(sku=sku, location=location, incoming=delta, coming_back=delta))
    if nudge:
        unit.nudge_return(id, cause)
    await unit.flush(f"{cause}:{id}")


def set_return(unit: OrderUnit, id: str, **values: Any) -> None:
    """Set columns of a return. Names come from code, never from input."""
    assignments = ", ".join(f"{column} = :{column}" for column in values)
    unit.run(f"UPDATE returns SET {assignments} WHERE id = :id", id=id, **values)


def _count(unit: OrderUnit, id: str, line: int, **counts: int) -> None:
    added = ", ".join(f"{column} = {column} + :{column}" for column in counts)
    unit.run(
        f"UPDATE return_lines SET {added} WHERE return_id = :id AND line = :line",
        id=id,
        line=line,
        **counts,
    )


# --- asked for ------------------------------------------------------------------------------


async def request_return(unit: OrderUnit, new: NewReturn) -> str:
    """Write a return that was agreed, and its process to be started. Gives its id."""
    order = unit.order
    id = next_return_id(order)
    seq = _next_seq(order)
    approved = new.needs_approval is None
    remind, expire = new.days or (None, None)
    _insert_return(
        unit,
        id=id,
        n=order.number,
        seq=seq,
        kind=new.kind,
        via=new.via,
        resolution=new.resolution,
        location=new.location,
        policy=new.policy_version,
        terms=new.terms.model_dump_json(),
        refund=new.refund_minor,
        fee=new.terms.fee_minor,
        actor=unit.actor,
        at=unit.at,
        approved=unit.at if approved else None,
        remind=unit.at + timedelta(days=remind) if remind is not None else None,
        expire=unit.at + timedelta(days=expire) if expire is not None else None,
        shipment=new.shipment,
        leader=new.leader,
        exchange=new.exchange_order,
        told=None,
    )
    _insert_lines(unit, id, new.lines)
    _insert_parcels(unit, id, new.lines, count=new.parcels)
    _tell_request(unit, id, new)
    await write_coming(unit, id, Counter(), "return_requested", nudge=False)
    return id


def next_return_id(order: Order) -> str:
    """The id of the next return that is written of an order."""
    return return_id(order.number, _next_seq(order))


def _next_seq(order: Order) -> int:
    return max((each.seq for each in order.returns), default=0) + 1


_INSERT_RETURN = """
WITH asked AS (
  INSERT INTO returns (id, order_number, seq, kind, via, resolution, location, policy_version,
    terms, refund_minor, fee_left_minor, actor, requested_at, approved_at, remind_at, expire_at,
    shipment, leader, exchange_order, exchange_told, version)
  VALUES (:id, :n, :seq, :kind, :via, :resolution, :location, :policy, CAST(:terms AS jsonb),
    :refund, :fee, :actor, :at, :approved, :remind, :expire, :shipment, :leader, :exchange, :told,
    1)
  RETURNING 1
)
SELECT pg_notify('oms_returns', '') FROM asked
"""


def _insert_return(unit: OrderUnit, **values: Any) -> None:
    unit.run(_INSERT_RETURN, **values)


def _insert_lines(unit: OrderUnit, id: str, lines: Sequence[Announced]) -> None:
    rows = []
    for each in lines:
        line = unit.order.line(each.line)
        assert line is not None, "a return is of lines of its order"
        rows.append(each._asdict() | {"sku": line.sku, "photos": list(each.photos)})
    unit.run(
        """
        INSERT INTO return_lines (return_id, line, sku, quantity, extra, reason, received, missing,
            settled, refunded, photos, exchange_sku, exchange_line, carried_minor)
        SELECT :id, l.line, l.sku, l.quantity, 0, l.reason, 0, 0, 0, 0, l.photos, l.exchange_sku,
            l.exchange_line, l.carried_minor
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS l(line int, sku text, quantity int,
            reason text, photos text[], exchange_sku text, exchange_line int, carried_minor bigint)
        """,
        id=id,
        rows=json.dumps(rows),
    )


def _insert_parcels(
    unit: OrderUnit,
    id: str,
    lines: Sequence[Announced],
    *,
    count: int,
    first: int = 1,
    direction: str = "in",
) -> None:
    """Parcels that weigh alike: nobody knows yet what goes into which."""
    for seq in range(first, first + count):
        unit.run(
            """
            INSERT INTO return_parcels (id, return_id, seq, direction, weight_g, label_attempt,
                status)
            SELECT :parcel, :id, :seq, :direction, greatest(1,
                coalesce(sum(coalesce(p.weight_g, :usual) * w.quantity), :usual) / :count), 1,
                'created'
            FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS w(line int, quantity int)
            JOIN order_lines l ON l.order_number = :n AND l.line = w.line
            JOIN products p ON p.sku = l.sku
            """,
            parcel=return_parcel_id(id, seq),
            id=id,
            seq=seq,
            direction=direction,
            usual=USUAL_WEIGHT_G,
            count=count,
            n=unit.number,
            rows=json.dumps([{"line": e.line, "quantity": e.quantity} for e in lines]),
        )


def _tell_request(unit: OrderUnit, id: str, new: NewReturn) -> None:
    lines = {each.line: each.quantity for each in new.lines}
    units = sum(lines.values())
    unit.tell(
        "return.requested",
        f"{id}: {units} units are to come back ({new.via.replace('_', ' ')})"
        if new.kind == "return"
        else f"{id}: {units} units, {new.kind}",
        **{"return": id, "lines": lines, "kind": new.kind, "via": new.via},
    )
    if new.needs_approval is None:
        unit.tell("return.approved", f"{id} is approved by the policy", **{"return": id})
    else:
        unit.tell(
            "return.waits_for_approval",
            f"{id} waits for approval: {new.needs_approval}",
            **{"return": id},
        )


async def approve_return(unit: OrderUnit, back: Return) -> Refusal | None:
    """Let a return that needs a person's word go on. Approved already: nothing changes."""
    if back.approved_at is not None:
        return _unfit(back, "approved") if back.fell_away else None
    if back.fell_away:
        return _unfit(back, "approved")
    if given_up_since(unit.order, back):
        detail = f"A parcel was given up since, and paid: decline {back.id}; what is left is asked"
        return Refusal(code="invalid_state", detail=f"{detail} for anew.")
    waited = unit.at - back.requested_at
    set_return(
        unit,
        back.id,
        approved_at=unit.at,
        remind_at=back.remind_at and back.remind_at + waited,
        expire_at=back.expire_at and back.expire_at + waited,
    )
    unit.tell("return.approved", f"{back.id} is approved", **{"return": back.id})
    return None


async def decline_return(unit: OrderUnit, back: Return, reason: str) -> Refusal | None:
    """Turn a return down that waits for approval."""
    if back.declined_at is not None:
        return None
    if back.approved_at is not None or back.fell_away:
        return _unfit(back, "declined")
    set_return(unit, back.id, declined_at=unit.at)
    unit.tell(
        "return.declined", f"{back.id} is declined: {reason}", **{"return": back.id, "why": reason}
    )
    return None


async def cancel_return(unit: OrderUnit, back: Return) -> Refusal | None:
    """Call a return off, as long as nothing was sent."""
    if back.cancelled_at is not None:
        return None
    if back.approved_at is None and not back.fell_away:
        pass  # nothing was sent before it was approved
    elif not _may_be_called_off(back):
        return _unfit(back, "cancelled")
    set_return(unit, back.id, cancelled_at=unit.at)
    unit.tell("return.cancelled", f"{back.id} is called off", **{"return": back.id})
    return None


def _may_be_called_off(back: Return) -> bool:
    """Whether nothing was given away for it: no goods sent, none in exchange, no money."""
    if has_left(back) or back.kind == "undeliverable":
        return False
    if back.kind == "claim":
        return back.resolution == "exchange" and not any(line.settled for line in back.lines)
    return is_unsent(back)


def _unfit(back: Return, word: str) -> Refusal:
    return Refusal(
        code="invalid_state",
        detail=f"{back.id} is {back.status.replace('_', ' ')} and cannot be {word}.",
    )


# --- received -------------------------------------------------------------------------------


async def receive_goods(
    unit: OrderUnit, back: Return, location: str, found: Sequence[Arrived], *, key: str
) -> Refusal | None:
    """Write what lay in a parcel, wherever it arrived; the same scan again changes nothing.

    Units that were counted already count once. One scan of more than was ever announced brings
    the rest along as unannounced, as far as so many were sent; what is beyond that is found goods.
    A parcel that turned round is written off: its customer will not get it, nobody opened it.
    """
    if back.kind == "claim":
        return _unfit(back, "received")
    known = await unit.ask(
        "SELECT 1 FROM return_receipts WHERE return_id = :id AND key = :key", id=back.id, key=key
    )
    if known:
        return None
    if wrong := _cannot_be(unit.order, back, found):
        return wrong
    counted = [each for each in _counted(unit, back, location, found) if each.quantity]
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
            return _at(at, "line_unknown", f"The order has no line {each.line}.")
    if back.shipment is not None and order.shipment(back.shipment).delivered_at is not None:
        detail = f"{back.shipment} was delivered, says its carrier: receive it as unannounced."
        return Refusal(code="invalid_state", detail=detail)
    return None


def _counted(
    unit: OrderUnit, back: Return, location: str, found: Sequence[Arrived]
) -> list[Arrived]:
    """What of it counts: no unit twice, and none that was never sent."""
    counted = []
    for number in sorted({each.line for each in found}):
        here = [each for each in found if each.line == number]
        room = _room(unit, back, number, sum(each.quantity for each in here), location)
        turned_up = _turned_up(unit.order, back, here, room=room)
        for each in here:
            units = min(each.quantity, room + turned_up)
            late = max(0, units - room)
            if late:
                _count(unit, back.id, number, missing=-late)
            room, turned_up = room - (units - late), turned_up - late
            counted.append(each._replace(quantity=units))
    return counted


def _turned_up(order: Order, back: Return, here: Sequence[Arrived], *, room: int) -> int:
    """Units that were missing in a parcel before and may lie in this one, which misses none.

    Not those that another return speaks for by now, nor what this scan brings along unannounced.
    """
    line = back.line(here[0].line)
    if line is None or any(each.condition == "missing" for each in here):
        return 0
    extra = room - line.expected
    return max(0, min(line.missing, order.returnable(line.line) - extra))


def _room(unit: OrderUnit, back: Return, number: int, told: int, location: str) -> int:
    """Units of a line that may still arrive; a scan of more than was announced makes room."""
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
        _count(unit, back.id, number, quantity=extra, extra=extra)
    elif extra:
        _insert_lines(unit, back.id, [Announced(number, extra, "unannounced")])
        _count(unit, back.id, number, extra=extra)
    if left := beyond - extra + max(0, min(told, expected) - waited_for):
        _find_goods(unit, back, number, left, location)
    return waited_for + extra


def _find_goods(unit: OrderUnit, back: Return, number: int, units: int, location: str) -> None:
    line = unit.order.line(number)
    assert line is not None
    unit.run(
        "INSERT INTO found_goods (location, reference, sku, quantity, condition, return_id, at,"
        " actor) VALUES (:location, :reference, :sku, :units, 'opened', :id, :at, :actor)"
        " ON CONFLICT DO NOTHING",
        location=location,
        reference=f"{back.id}:{number}",
        sku=line.sku,
        units=units,
        id=back.id,
        at=unit.at,
        actor=unit.actor,
    )


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
            _count(unit, back.id, each.line, missing=each.quantity)
            continue
        lines[each.line] += each.quantity
        _count(unit, back.id, each.line, received=each.quantity)
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
        f"{back.id}: {lines.total()} units arrived at {location}"
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
    """Receive all of a return at the till, as new and accepted: request and receipt at once."""
    back = (await unit.reloaded()).return_(id)
    assert back.location is not None, "a till stands at a location"
    before = back.coming()
    found = [Arrived(line.line, line.expected, "as_new") for line in back.lines]
    _write_receipt(unit, back, back.location, found, "till")
    _insert_lots(unit, back, back.location, found, "till", state="accepted")
    _write_arrival(unit, back, back.location, found)
    unit.tell("return.inspected", f"{id}: accepted at the till", **{"return": id})
    await write_coming(unit, id, before, "brought_back", nudge=False)


def _everywhere(_: str) -> bool:
    return True


# --- inspected ------------------------------------------------------------------------------


async def inspect_goods(
    unit: OrderUnit,
    back: Return,
    decisions: Sequence[Inspected],
    reaches: Callable[[str], bool] = _everywhere,
) -> Refusal | None:
    """Accept or refuse units that arrived; what was decided alike before counts once.

    `reaches`: whether one may decide about goods at a location.
    """
    here = back.model_copy(
        update={"lots": tuple(lot for lot in back.lots if reaches(lot.location))}
    )
    left = {lot.id: lot.quantity for lot in back.lots if lot.state == "received"}
    taken: list[tuple[Lot, int, Inspected]] = []
    for at, each in enumerate(decisions):
        refusal = _choose_lots(here, at, each, left, taken)
        if refusal is not None:
            return refusal
    if not taken:
        return None
    for lot, units, each in taken:
        _decide_lot(unit, lot, units, each)
    accepted = sum(units for _, units, each in taken if each.accepted)
    refused = sum(units for _, units, _ in taken) - accepted
    if refused and back.terms.refused == "send_back":
        _send_out(unit, back, taken)
    if refused and not any(left.values()):
        leave_by = unit.at + timedelta(hours=max(1, back.terms.inspect_hours))
        set_return(unit, back.id, inspect_by=leave_by)
    unit.tell(
        "return.inspected",
        f"{back.id}: {accepted} units accepted, {refused} refused",
        **{"return": back.id, "accepted": accepted, "refused": refused},
    )
    return None


def _choose_lots(
    back: Return,
    at: int,
    each: Inspected,
    left: dict[int, int],
    taken: list[tuple[Lot, int, Inspected]],
) -> Refusal | None:
    fitting = [lot for lot in back.lots_of(each.line) if each.condition in (None, lot.condition)]
    wanted = each.quantity
    for lot in fitting:
        units = min(wanted, left.get(lot.id, 0))
        if units:
            left[lot.id] -= units
            taken.append((lot, units, each))
            wanted -= units
    states = ("accepted", "placed") if each.accepted else ("rejected", "left")
    decided = sum(lot.quantity for lot in fitting if lot.state in states)
    if wanted == 0 or (wanted == each.quantity and decided >= wanted):
        return None
    if back.line(each.line) is None:
        return _at(at, "line_unknown", f"{back.id} has no line {each.line}.")
    if wanted == each.quantity and fitting:
        return _unfit(back, f"inspected: line {each.line} was decided otherwise")
    there = each.quantity - wanted
    return _at(
        at,
        "quantity_too_large",
        f"Of line {each.line}, {there} are there to be inspected, {each.quantity} are decided.",
    )


def _at(index: int, code: str, detail: str) -> Refusal:
    """Refuse because of one of the lines that were sent, and point to it."""
    return Refusal(code=code, detail=detail, pointer=f"/lines/{index}")


def _decide_lot(unit: OrderUnit, lot: Lot, units: int, each: Inspected) -> None:
    """Decide about units of a lot; the others stay behind as a lot of their own."""
    values = {
        "lot": lot.id,
        "units": units,
        "state": "accepted" if each.accepted else "rejected",
        "disposition": each.disposition,
        "at": unit.at,
    }
    here = "id = :lot AND state = 'received'"
    unit.run(
        "UPDATE return_lots SET state = :state, disposition = :disposition, decided_at = :at"
        f" WHERE {here} AND quantity = :units",
        **values,
    )
    unit.run(
        f"""
        INSERT INTO return_lots (return_id, receipt, line, sku, condition, location, quantity,
            state, disposition, at, decided_at)
        SELECT return_id, receipt, line, sku, condition, location, CAST(:units AS int), :state,
            CAST(:disposition AS text), at, CAST(:at AS timestamptz)
        FROM return_lots WHERE {here} AND quantity > :units
        """,
        **values,
    )
    unit.run(
        f"UPDATE return_lots SET quantity = quantity - :units WHERE {here} AND quantity > :units",
        **values,
    )


def _send_out(unit: OrderUnit, back: Return, taken: Sequence[tuple[Lot, int, Inspected]]) -> None:
    """A parcel for what goes back to the customer; at a till they take it along."""
    refused = [
        Announced(lot.line, units, "refused") for lot, units, each in taken if not each.accepted
    ]
    if back.via != "store":
        first = max((parcel.seq for parcel in back.parcels), default=0) + 1
        _insert_parcels(unit, back.id, refused, count=1, first=first, direction="out")


async def hand_back(
    unit: OrderUnit, back: Return, reaches: Callable[[str], bool] = _everywhere
) -> Refusal | None:
    """What was refused has left for the customer. Nothing left to go: nothing changes.

    `reaches`: whether one may speak for goods at a location.
    """
    here = [lot for lot in back.lots if reaches(lot.location)]
    gone = [lot for lot in here if lot.state == "rejected"]
    if not gone:
        return None if any(lot.state == "left" for lot in here) else _unfit(back, "handed back")
    unit.run(
        "UPDATE return_lots SET state = 'left', placed_at = :at"
        " WHERE id = ANY(:lots) AND state = 'rejected'",
        at=unit.at,
        lots=[lot.id for lot in gone],
    )
    for lot in gone:
        if lot.is_sold_article and back.brings_goods:
            unit.count(lot.line, "returned", -lot.quantity)
    units = sum(lot.quantity for lot in gone)
    unit.tell("return.handed_back", f"{back.id}: {units} refused units left", **{"return": back.id})
    return None


# --- the process's own steps ----------------------------------------------------------------


async def remind(unit: OrderUnit, back: Return) -> None:
    """Tell that the customer has not sent anything yet. Once."""
    if back.reminded_at is not None or not is_unsent(back):
        return
    set_return(unit, back.id, reminded_at=unit.at)
    unit.tell(
        "return.reminded",
        f"{back.id} was not sent yet; it expires on {back.expire_at:%Y-%m-%d}"
        if back.expire_at
        else f"{back.id} was not sent yet",
        **{"return": back.id},
    )


async def expire(unit: OrderUnit, back: Return) -> None:
    """Expect nothing more of a return that was never sent."""
    if not is_unsent(back) or back.expire_at is None or back.expire_at > unit.at:
        return
    if has_left(back):
        return  # a person is called instead: the goods in exchange are gone
    set_return(unit, back.id, expired_at=unit.at)
    unit.tell("return.expired", f"{back.id} was not sent in time", **{"return": back.id})


async def give_back(unit: OrderUnit, back: Return) -> None:
    """Ask for the money that is due for a return now; each unit once."""
    order, due = unit.order, owed(unit.order, back)
    if not due:
        return
    for line in sorted({*due.settle, *due.refund}):
        settled, refunded = due.settle.get(line, 0), due.refund.get(line, 0)
        _count(unit, back.id, line, settled=settled, refunded=refunded)
        if refunded:
            unit.count(line, "refunded", refunded)
    if due.shipping_minor:
        unit.set_order(shipping_refunded=True)
    if due.fee_minor:
        set_return(unit, back.id, fee_left_minor=back.fee_left_minor - due.fee_minor)
    amount = min(due.amount_minor, refundable_minor(order))
    request_payment(unit, "refund", amount, cause=back.id)
    await unit.send()
    await give_back_elsewhere(unit.tx, due.carried_minor, cause=back.id, at=unit.at)
    unit.tell(
        "return.settled",
        _settled_words(order, back, amount + sum(due.carried_minor.values())),
        **{
            "return": back.id,
            "amount_minor": amount,
            "carried_minor": due.carried_minor,
            "fee_minor": due.fee_minor,
            "shipping_minor": due.shipping_minor,
        },
    )


def _settled_words(order: Order, back: Return, amount: int) -> str:
    if amount:
        return f"{back.id}: {format_money(amount, order.currency)} to give back"
    return f"{back.id}: settled, nothing to give back"


async def close_return(unit: OrderUnit, back: Return) -> None:
    """End a return that has nothing left to do, whatever its process saw before."""
    if back.closed_at is not None or not may_close(unit.order, back):
        return
    # Its exchange order may have told something new meanwhile: then it is looked at once more.
    closed = await unit.ask(
        "UPDATE returns SET closed_at = :at WHERE id = :id AND version = :version RETURNING 1",
        at=unit.at,
        id=back.id,
        version=back.version,
    )
    if not closed:
        return
    unit.mark_changed()
    if not back.fell_away:
        unit.tell("return.closed", f"{back.id} is settled and put away", **{"return": back.id})
