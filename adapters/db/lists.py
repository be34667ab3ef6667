"""Lists of orders, fulfillment orders and events: a page of numbers, found by key.

Each asks for one page only, newest first (timelines oldest first); the resources are read whole
afterwards.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

# The words of `oms.orders.Order.status`, said in SQL.
_KEPT = (
    "EXISTS (SELECT FROM order_lines l WHERE l.order_number = o.number AND l.cancelled < l.ordered)"
)
_STATUS = {
    "cancelled": f"NOT {_KEPT}",
    "completed": f"o.closed_at IS NOT NULL AND {_KEPT}",
    "pending": f"o.closed_at IS NULL AND o.confirmed_at IS NULL AND {_KEPT}",
    "open": f"o.closed_at IS NULL AND o.confirmed_at IS NOT NULL AND {_KEPT}",
}
_PROMISE = {name: f"o.promise_status = '{name}'" for name in ("kept", "at_risk", "missed")}
_PARKED = "EXISTS (SELECT FROM parked_steps p WHERE p.order_number = o.number)"
_FILTERS = {
    "channel": "o.channel = :channel",
    "reference": "o.reference = :reference",
    "customer": "o.customer_id = :customer",
    "sku": "EXISTS (SELECT FROM order_lines l WHERE l.order_number = o.number AND l.sku = :sku)",
    "location": (
        "(o.pickup_location = :location OR EXISTS (SELECT FROM allocations a"
        " WHERE a.order_number = o.number AND a.location = :location) OR EXISTS (SELECT FROM"
        " fulfillment_orders f WHERE f.order_number = o.number AND f.location = :location))"
    ),
}


class OrderFilter(NamedTuple):
    """What a list of orders is narrowed to. `reach`: only these channels; None for all."""

    channel: str | None = None
    reference: str | None = None
    status: str | None = None
    customer: str | None = None
    sku: str | None = None
    location: str | None = None
    attention: bool | None = None
    promise: str | None = None
    reach: Sequence[str] | None = None


class Place(NamedTuple):
    """A position in a list: when it was made, and its id."""

    at: datetime
    id: str


async def order_numbers(
    tx: AsyncConnection, wanted: OrderFilter, *, after: Place | None, limit: int
) -> list[Place]:
    """Find orders, newest first, from the one after `after`."""
    asked = wanted._asdict()
    conditions = [clause for name, clause in _FILTERS.items() if asked[name] is not None]
    values: dict[str, Any] = {name: asked[name] for name in _FILTERS if asked[name] is not None}
    if wanted.status is not None:
        conditions.append(f"({_STATUS[wanted.status]})")
    if wanted.promise is not None:
        conditions.append(_PROMISE[wanted.promise])
    if wanted.attention is not None:
        conditions.append(_PARKED if wanted.attention else f"NOT {_PARKED}")
    if wanted.reach is not None:
        conditions.append("o.channel = ANY(CAST(:reach AS text[]))")
        values["reach"] = list(wanted.reach)
    key = ("o.placed_at", "o.number")
    return await find_places(tx, "orders", key, conditions, values, after=after, limit=limit)


async def fulfillment_order_ids(
    tx: AsyncConnection,
    *,
    location: str | None,
    status: str | None,
    reach: Sequence[str] | None,
    after: Place | None,
    limit: int,
) -> list[Place]:
    """Find fulfillment orders, newest first. `reach`: only these locations; None for all."""
    given = {"location": location, "status": status}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    conditions = [f"o.{name} = :{name}" for name in values]
    if reach is not None:
        conditions.append("o.location = ANY(CAST(:reach AS text[]))")
        values["reach"] = list(reach)
    key = ("o.created_at", "o.id")
    return await find_places(
        tx, "fulfillment_orders", key, conditions, values, after=after, limit=limit
    )


async def find_places(
    tx: AsyncConnection,
    table: str,
    key: tuple[str, str],
    conditions: list[str],
    values: dict[str, Any],
    *,
    after: Place | None,
    limit: int,
) -> list[Place]:
    """One page of a table `o`, newest first by `key`, its columns for time and id."""
    at, id = key
    if after is not None:
        conditions = [*conditions, f"({at}, {id}) < (:after_at, :after_id)"]
        values = {**values, "after_at": after.at, "after_id": after.id}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await tx.execute(
        text(
            f"SELECT {at}, {id} FROM {table} o {where} ORDER BY {at} DESC, {id} DESC LIMIT :limit"
        ),
        {**values, "limit": limit},
    )
    return [Place(*row) for row in rows]


async def timeline(tx: AsyncConnection, number: str, *, after: int, limit: int) -> list[RowMapping]:
    """What happened to an order, oldest first, from the event after `after`."""
    rows = await tx.execute(
        text(
            "SELECT seq, at, actor, kind, summary, data FROM events"
            " WHERE order_number = :n AND seq > :after ORDER BY seq LIMIT :limit"
        ),
        {"n": number, "after": after, "limit": limit},
    )
    return list(rows.mappings())
