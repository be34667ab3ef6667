"""Lists of returns, and what happened to one: a page of ids, found by key."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.lists import Place, find_places
from oms.return_reckoning import Settled

_MISSING = (
    "EXISTS (SELECT FROM return_lines l WHERE l.return_id = o.id"
    " AND l.received + l.missing < l.quantity)"
)
_ARRIVED = (
    "(EXISTS (SELECT FROM return_lots t WHERE t.return_id = o.id)"
    " OR EXISTS (SELECT FROM return_lines l WHERE l.return_id = o.id AND l.missing > 0))"
)
_UNSEEN = "EXISTS (SELECT FROM return_lots t WHERE t.return_id = o.id AND t.state = 'received')"
_AWAY = "coalesce(o.declined_at, o.cancelled_at, o.expired_at) IS NULL"
_OPEN = f"{_AWAY} AND o.closed_at IS NULL"
_GOES_ON = f"{_OPEN} AND o.approved_at IS NOT NULL"

# The words of `oms.returns.Return.status`, said in SQL.
_STATUS = {
    "declined": "o.declined_at IS NOT NULL",
    "cancelled": "o.declined_at IS NULL AND o.cancelled_at IS NOT NULL",
    "expired": "coalesce(o.declined_at, o.cancelled_at) IS NULL AND o.expired_at IS NOT NULL",
    "closed": f"{_AWAY} AND o.closed_at IS NOT NULL",
    "requested": f"{_OPEN} AND o.approved_at IS NULL",
    "approved": f"{_GOES_ON} AND NOT {_ARRIVED} AND o.scanned_at IS NULL",
    "in_transit": f"{_GOES_ON} AND NOT {_ARRIVED} AND o.scanned_at IS NOT NULL",
    "partially_received": f"{_GOES_ON} AND {_ARRIVED} AND {_MISSING}",
    "received": f"{_GOES_ON} AND {_ARRIVED} AND NOT {_MISSING} AND {_UNSEEN}",
    "inspected": f"{_GOES_ON} AND {_ARRIVED} AND NOT {_MISSING} AND NOT {_UNSEEN}",
}


class ReturnFilter(NamedTuple):
    """What a list is narrowed to. Reaches: only of these channels, or at these places."""

    order: str | None = None
    status: str | None = None
    location: str | None = None
    kind: str | None = None
    channels: Sequence[str] | None = None
    places: Sequence[str] | None = None


async def return_ids(
    tx: AsyncConnection, wanted: ReturnFilter, *, after: Place | None, limit: int
) -> list[Place]:
    """Find returns, newest first, from the one after `after`."""
    conditions: list[str] = []
    values: dict[str, Any] = {}
    for name, column in (("order", "order_number"), ("kind", "kind")):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(f"o.{column} = :{name}")
            values[name] = value
    if wanted.status is not None:
        conditions.append(f"({_STATUS[wanted.status]})")
    if wanted.location is not None:
        conditions.append(_AT.format(places="ARRAY[CAST(:location AS text)]"))
        values["location"] = wanted.location
    if wanted.places is not None:
        conditions.append(_AT.format(places="CAST(:places AS text[])"))
        values["places"] = list(wanted.places)
    if wanted.channels is not None:
        conditions.append(
            "(SELECT channel FROM orders p WHERE p.number = o.order_number)"
            " = ANY(CAST(:channels AS text[]))"
        )
        values["channels"] = list(wanted.channels)
    key = ("o.requested_at", "o.id")
    return await find_places(tx, "returns", key, conditions, values, after=after, limit=limit)


_AT = (
    "(o.location = ANY({places}) OR EXISTS (SELECT FROM return_lots t WHERE t.return_id = o.id"
    " AND t.location = ANY({places})))"
)


async def return_timeline(
    tx: AsyncConnection, number: str, id: str, *, after: int, limit: int
) -> list[RowMapping]:
    """What happened to a return, and to the money given back for it, oldest first."""
    rows = await tx.execute(
        text(
            "SELECT e.seq, e.at, e.actor, e.kind, e.summary, e.data FROM events e"
            " WHERE e.order_number = :n AND e.seq > :after AND (e.data->>'return' = :id"
            "  OR e.data->>'key' IN (SELECT key FROM payment_entries WHERE cause = :id)"
            "  OR e.data->>'step' LIKE '%:' || :tag OR e.data->>'step' LIKE '%:' || :tag || '-P%')"
            " ORDER BY e.seq LIMIT :limit"
        ),
        {"n": number, "id": id, "tag": id.rpartition("-")[2], "after": after, "limit": limit},
    )
    return list(rows.mappings())


async def settlements(tx: AsyncConnection, number: str, id: str) -> list[Settled]:
    """What was given back for a return, moment by moment, oldest first."""
    rows = await tx.execute(
        text(
            "SELECT e.data FROM events e WHERE e.order_number = :n AND e.kind = 'return.settled'"
            " AND e.data->>'return' = :id ORDER BY e.seq"
        ),
        {"n": number, "id": id},
    )
    return [Settled.model_validate(_by_number(row.data)) for row in rows]


def _by_number(data: dict[str, Any]) -> dict[str, Any]:
    """An event's data, its lines by number again: in JSON all names are text."""
    kept = {name: value for name, value in data.items() if name in Settled.model_fields}
    for name in ("lines", "lines_minor"):
        kept[name] = {int(line): value for line, value in kept.get(name, {}).items()}
    return kept
