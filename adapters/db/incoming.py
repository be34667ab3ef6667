"""What is expected at a location by purchase orders: dates that move, and receipts in parts.

Each step is one transaction: the expectation's row is locked first, its history written, the stock
moved last. The bucket `incoming` always holds what is outstanding.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.stock import StockChange, apply_changes
from adapters.db.stock_events import StockEvent, tell
from adapters.db.stock_records import Unknown, unknown_place
from oms.incoming import Expectation


class Incoming(NamedTuple):
    """Units expected at a place, as a purchase order announces them."""

    sku: str
    location: str
    quantity: int
    expected_at: datetime
    reference: str


@dataclass(frozen=True, slots=True)
class ReferenceTaken:
    """The reference already names other units at this place."""

    stored: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingFilter:
    """What a list is narrowed to. `reach`: only these places; None for all.

    `overdue`: what should have arrived by `now` and has not, or what need not have.
    """

    sku: str | None = None
    location: str | None = None
    reference: str | None = None
    status: str | None = None
    overdue: bool | None = None
    now: datetime | None = None
    reach: list[str] | None = None


_ROW = """
SELECT i.*, a.quantity AS announced_quantity, a.expected_at AS announced_at
FROM incoming i JOIN incoming_changes a ON a.incoming = i.id AND a.seq = 1
"""
_OPEN = "i.ended_at IS NULL AND i.received < i.quantity"
# The words of `oms.incoming.Expectation.status`, said in SQL.
_STATUS = {
    "expected": f"{_OPEN} AND i.received = 0",
    "partially_received": f"{_OPEN} AND i.received > 0",
    "received": "i.ended_at IS NULL AND i.received >= i.quantity",
    "closed": "i.ended_at IS NOT NULL AND i.received > 0",
    "cancelled": "i.ended_at IS NOT NULL AND i.received = 0",
}
_CLAUSES = {
    "sku": "i.sku = :sku",
    "location": "i.location = :location",
    "reference": "i.reference = :reference",
    "reach": "i.location = ANY(CAST(:reach AS text[]))",
}


# --- read -----------------------------------------------------------------------------------


async def load_expectation(
    tx: AsyncConnection, id: int, *, lock: bool = False
) -> Expectation | None:
    """Read an expectation. `lock`: nobody else changes it until the transaction ends."""
    if lock:
        await tx.execute(text("SELECT FROM incoming WHERE id = :id FOR UPDATE"), {"id": id})
    row = (await tx.execute(text(f"{_ROW} WHERE i.id = :id"), {"id": id})).mappings().one_or_none()
    return None if row is None else Expectation.model_validate(dict(row))


async def list_expectations(
    tx: AsyncConnection, wanted: IncomingFilter, *, before: int | None, limit: int
) -> list[Expectation]:
    """Find expectations, newest first, from the one after `before`."""
    values: dict[str, Any] = {
        name: getattr(wanted, name) for name in _CLAUSES if getattr(wanted, name) is not None
    }
    conditions = [_CLAUSES[name] for name in values]
    if wanted.status is not None:
        conditions.append(f"({_STATUS[wanted.status]})")
    if wanted.overdue is not None:
        late = f"({_OPEN} AND i.expected_at < :now)"
        conditions.append(late if wanted.overdue else f"NOT {late}")
        values["now"] = wanted.now
    if before is not None:
        conditions.append("i.id < :before")
        values["before"] = before
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await tx.execute(
        text(f"{_ROW} {where} ORDER BY i.id DESC LIMIT :limit"), {**values, "limit": limit}
    )
    return [Expectation.model_validate(dict(row)) for row in rows.mappings()]


async def history_of(tx: AsyncConnection, id: int) -> list[RowMapping]:
    """What happened to an expectation, oldest first."""
    rows = await tx.execute(
        text("SELECT * FROM incoming_changes WHERE incoming = :id ORDER BY seq"), {"id": id}
    )
    return list(rows.mappings())


# --- steps ----------------------------------------------------------------------------------


async def expect_incoming(
    tx: AsyncConnection, incoming: Incoming, *, actor: str, at: datetime
) -> Expectation | Unknown | ReferenceTaken:
    """Count units as incoming. The same reference for the same units again counts once.

    What was announced stays what was announced: the same announcement again is the same, also
    after its date has moved.
    """
    unknown = await unknown_place(tx, incoming.sku, incoming.location)
    if unknown:
        return unknown
    id = await tx.scalar(
        text(
            "INSERT INTO incoming (sku, location, quantity, expected_at, reference)"
            " VALUES (:sku, :location, :quantity, :expected_at, :reference)"
            " ON CONFLICT ON CONSTRAINT incoming_reference_once DO NOTHING RETURNING id"
        ),
        incoming._asdict(),
    )
    if id is None:
        return await _announced_before(tx, incoming)
    expectation = Expectation(
        id=id,
        **incoming._asdict(),
        announced_quantity=incoming.quantity,
        announced_at=incoming.expected_at,
    )
    await write_history(tx, expectation, "announced", actor, at)
    await apply_changes(
        tx,
        [StockChange(sku=incoming.sku, location=incoming.location, incoming=incoming.quantity)],
        cause="incoming",
        key=f"incoming:{incoming.reference}:{incoming.sku}:{incoming.location}",
        at=at,
    )
    return expectation


async def _announced_before(
    tx: AsyncConnection, incoming: Incoming
) -> Expectation | ReferenceTaken:
    id = await tx.scalar(
        text(
            "SELECT id FROM incoming"
            " WHERE reference = :reference AND sku = :sku AND location = :location"
        ),
        {"reference": incoming.reference, "sku": incoming.sku, "location": incoming.location},
    )
    stored = await load_expectation(tx, id)
    assert stored is not None
    same = (stored.announced_quantity, stored.announced_at) == (
        incoming.quantity,
        incoming.expected_at,
    )
    return stored if same else ReferenceTaken(stored)


async def change_expectation(
    tx: AsyncConnection,
    before: Expectation,
    *,
    quantity: int,
    expected_at: datetime,
    actor: str,
    at: datetime,
) -> Expectation:
    """Expect other units, or at another time; told, because somebody may have been promised it."""
    after = before.model_copy(update={"quantity": quantity, "expected_at": expected_at})
    if after == before:
        return before
    await tell(
        tx,
        [
            _event(
                "incoming.changed",
                before,
                at,
                quantity=quantity,
                expected_at=expected_at.isoformat(),
                quantity_before=before.quantity,
                expected_at_before=before.expected_at.isoformat(),
            )
        ],
    )
    return await _write(tx, before, after, "changed", actor, at)


async def receive_expected(
    tx: AsyncConnection,
    before: Expectation,
    *,
    quantity: int,
    damaged: int,
    actor: str,
    at: datetime,
) -> Expectation:
    """Record what arrived, `damaged` of it unfit to be sold. Never refused: it is there."""
    beyond = quantity - before.outstanding
    if beyond > 0:
        await tell(tx, [_event("incoming.unexpected", before, at, quantity=beyond)])
    after = before.model_copy(
        update={"received": before.received + quantity, "damaged": before.damaged + damaged}
    )
    return await _write(tx, before, after, "received", actor, at)


async def end_expectation(
    tx: AsyncConnection, before: Expectation, *, actor: str, at: datetime
) -> Expectation:
    """Expect no more: what has not come will not. Once more changes nothing."""
    if not before.outstanding:
        return before
    await tell(tx, [_event("incoming.cancelled", before, at, quantity=before.outstanding)])
    after = before.model_copy(update={"ended_at": at})
    return await _write(tx, before, after, "cancelled", actor, at)


async def _write(
    tx: AsyncConnection,
    before: Expectation,
    after: Expectation,
    kind: str,
    actor: str,
    at: datetime,
) -> Expectation:
    after = after.model_copy(update={"version": before.version + 1})
    await tx.execute(
        text(
            "UPDATE incoming SET quantity = :quantity, expected_at = :expected_at,"
            " received = :received, damaged = :damaged, ended_at = :ended_at, version = :version"
            " WHERE id = :id"
        ),
        after.model_dump(),
    )
    received, damaged = after.received - before.received, after.damaged - before.damaged
    await write_history(tx, after, kind, actor, at, received=received, damaged=damaged)
    await apply_changes(
        tx,
        [
            StockChange(
                sku=after.sku,
                location=after.location,
                incoming=after.outstanding - before.outstanding,
                on_hand=received - damaged,
                damaged=damaged,
            )
        ],
        cause=f"incoming_{kind}",
        key=f"expected:{after.id}:{kind}:{after.version}",
        at=at,
    )
    return after


async def write_history(
    tx: AsyncConnection,
    expectation: Expectation,
    kind: str,
    actor: str,
    at: datetime,
    *,
    received: int = 0,
    damaged: int = 0,
) -> None:
    """Add to the history of an expectation, whose row is locked or new."""
    await tx.execute(
        text(
            "INSERT INTO incoming_changes (incoming, seq, at, actor, kind, quantity, expected_at,"
            " received, damaged) SELECT :id, count(*) + 1, :at, :actor, :kind, :quantity,"
            " :expected_at, :received, :damaged FROM incoming_changes WHERE incoming = :id"
        ),
        {
            "id": expectation.id,
            "at": at,
            "actor": actor,
            "kind": kind,
            "quantity": expectation.quantity,
            "expected_at": expectation.expected_at,
            "received": received,
            "damaged": damaged,
        },
    )


def _event(kind: str, about: Expectation, at: datetime, **data: Any) -> StockEvent:
    return StockEvent(
        kind=kind,
        at=at,
        sku=about.sku,
        location=about.location,
        data={"incoming": about.id, "reference": about.reference, **data},
    )
