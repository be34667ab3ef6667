"""Returns in the books: what is asked for, approved, declined, called off; and how one changes.

Everything happens on the order's lock, through `change_return`: it moves `incoming` and
`coming_back` by what the effect changed of `Return.coming`, so that stock never tells another story
than the return. What arrives is in `return_receipts`, what is accepted in `return_inspections`,
what its process does by itself in `return_steps`.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from adapters.db.stock import StockChange
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.numbers import return_id, return_parcel_id
from oms.orders import Order
from oms.return_agenda import given_up_since, has_left, is_unsent
from oms.returns import Kind, Resolution, Return, Terms
from oms.words import count_of, is_or_are

_T = TypeVar("_T")

USUAL_WEIGHT_G = 500
"""Of a unit whose article has no weight; labels need one."""


class Announced(NamedTuple):
    """Units of one line that are to come back. See `ReturnLine` for the rest."""

    line: int
    quantity: int
    reason: str
    photos: tuple[str, ...] = ()
    exchange_sku: str | None = None
    exchange_line: int | None = None
    carried_minor: int = 0
    condition: str | None = None


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


def count_units(unit: OrderUnit, id: str, line: int, **counts: int) -> None:
    """Add to the counters of a return line."""
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
    insert_lines(unit, id, new.lines)
    insert_parcels(unit, id, new.lines, count=new.parcels)
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


def insert_lines(unit: OrderUnit, id: str, lines: Sequence[Announced]) -> None:
    """Write the units of each line that are to come back."""
    rows = []
    for each in lines:
        line = unit.order.line(each.line)
        assert line is not None, "a return is of lines of its order"
        rows.append(each._asdict() | {"sku": line.sku, "photos": list(each.photos)})
    unit.run(
        """
        INSERT INTO return_lines (return_id, line, sku, quantity, extra, reason, received, missing,
            settled, refunded, photos, exchange_sku, exchange_line, carried_minor, condition)
        SELECT :id, l.line, l.sku, l.quantity, 0, l.reason, 0, 0, 0, 0, l.photos, l.exchange_sku,
            l.exchange_line, l.carried_minor, l.condition
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS l(line int, sku text, quantity int,
            reason text, photos text[], exchange_sku text, exchange_line int, carried_minor bigint,
            condition text)
        """,
        id=id,
        rows=json.dumps(rows),
    )


def insert_parcels(
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


_WHY_UNSENT = {
    "claim": "claimed; nothing is sent back",
    "undeliverable": "in a parcel that turned round",
}


def _tell_request(unit: OrderUnit, id: str, new: NewReturn) -> None:
    lines = {each.line: each.quantity for each in new.lines}
    units = sum(lines.values())
    told = count_of(units, "unit")
    unit.tell(
        "return.requested",
        f"{id}: {told} {is_or_are(units)} to come back ({new.via.replace('_', ' ')})"
        if new.kind == "return"
        else f"{id}: {told} {_WHY_UNSENT[new.kind]}",
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
        return unfit(back, "approved") if back.fell_away else None
    if back.fell_away:
        return unfit(back, "approved")
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
        return unfit(back, "declined")
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
        return unfit(back, "cancelled")
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


def unfit(back: Return, word: str) -> Refusal:
    """Say that a return is not where it could be done."""
    return Refusal(
        code="invalid_state",
        detail=f"{back.id} is {back.status.replace('_', ' ')} and cannot be {word}.",
    )


def everywhere(_: str) -> bool:
    """Anybody of no place in particular."""
    return True


def at_line(index: int, code: str, detail: str) -> Refusal:
    """Refuse because of one of the lines that were sent, and point to it."""
    return Refusal(code=code, detail=detail, pointer=f"/lines/{index}")
