"""Rows that say where an order's units are held. A part that changes is split off first."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from adapters.db.unit import OrderUnit
from oms.orders import Allocation, Order, Reservation
from oms.sourcing import Pick

Part = tuple[int, int]
"""(row id, units of it)."""

_SPLIT_COLUMNS = {
    "allocations": "order_number, line, sku, location, fulfillment_order, picked, turned_down,"
    " state",
    "reservations": "order_number, line, sku, location, kind, expires_at, since, state",
}


async def change_rows(unit: OrderUnit, table: str, parts: Sequence[Part], **values: Any) -> None:
    """Set columns on units of allocations or reservations. A part of a row becomes its own row."""
    if not parts:
        return
    columns = _SPLIT_COLUMNS[table].split(", ")
    selected = ", ".join(f":{c}" if c in values else f"r.{c}" for c in columns)
    # By the order's number: how few ids the parts are, PostgreSQL does not know, and would rather
    # read the whole table than look up what it takes for a hundred of them.
    casts = {"fulfillment_order": "text", "state": "text"}
    for column in values:
        selected = selected.replace(
            f":{column}", f"CAST(:{column} AS {casts.get(column, 'boolean')})"
        )
    assignments = ", ".join(f"{column} = :{column}" for column in values)
    unit.run(
        f"""
        WITH part AS (
            SELECT * FROM jsonb_to_recordset(CAST(:parts AS jsonb)) AS p(id bigint, quantity int)
        ), whole AS (
            UPDATE {table} t SET {assignments} FROM part p
            WHERE t.order_number = :n AND t.id = p.id AND t.quantity = p.quantity
        ), reduced AS (
            UPDATE {table} t SET quantity = t.quantity - p.quantity FROM part p
            WHERE t.order_number = :n AND t.id = p.id AND t.quantity > p.quantity
            RETURNING t.*, p.quantity AS taken
        )
        INSERT INTO {table} ({_SPLIT_COLUMNS[table]}, quantity)
        SELECT {selected}, r.taken FROM reduced r
        """,
        n=unit.number,
        parts=json.dumps([{"id": id, "quantity": quantity} for id, quantity in parts]),
        **values,
    )


async def insert_allocations(unit: OrderUnit, rows: Iterable[dict[str, Any]]) -> None:
    """Add allocations: rows of `line, sku, location, quantity`."""
    unit.run(
        "INSERT INTO allocations"
        " (order_number, line, sku, location, quantity, picked, turned_down, state)"
        " SELECT :n, r.line, r.sku, r.location, r.quantity, false, false, 'open'"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb))"
        " AS r(line int, sku text, location text, quantity int)",
        n=unit.number,
        rows=json.dumps(list(rows)),
    )


async def insert_reservations(
    unit: OrderUnit, rows: Iterable[dict[str, Any]], *, kind: str, expires_at: Any
) -> None:
    """Add reservations: rows of `line, sku, location, quantity`."""
    unit.run(
        "INSERT INTO reservations"
        " (order_number, line, sku, location, quantity, kind, state, expires_at, since)"
        " SELECT :n, r.line, r.sku, r.location, r.quantity, :kind, 'open', :expires_at, :since"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb))"
        " AS r(line int, sku text, location text, quantity int)",
        n=unit.number,
        rows=json.dumps(list(rows)),
        kind=kind,
        expires_at=expires_at,
        since=unit.at,
    )


def wake_queue(unit: OrderUnit) -> None:
    """Let the relay look at the queue of backorders, where this order may have its turn now."""
    if any(line.backordered for line in unit.order.lines):
        unit.run("SELECT pg_notify('oms_backorders', '')")


def as_rows(picks: Iterable[Pick | Reservation]) -> list[dict[str, Any]]:
    """Picks or reservations as the rows to insert."""
    return [
        {"line": p.line, "sku": p.sku, "location": p.location, "quantity": p.quantity}
        for p in picks
    ]


def parts_of(rows: Iterable[Allocation | Reservation], quantity: int) -> list[Part]:
    """Choose `quantity` units from rows, in their order. Fewer come back if there are fewer."""
    parts: list[Part] = []
    for row in rows:
        if quantity <= 0:
            break
        taken = min(row.quantity, quantity)
        parts.append((row.id, taken))
        quantity -= taken
    return parts


def allocations_of(order: Order, fulfillment_order: str, line: int) -> list[Allocation]:
    """The open allocations of a line in a fulfillment order."""
    return [
        each
        for each in order.allocations
        if each.fulfillment_order == fulfillment_order and each.line == line
    ]
