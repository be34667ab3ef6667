"""Watching over promises: what will be missed is marked and told before it is missed.

A look reads a page of open orders in one statement and the places and services that its dates are
counted from in another, works out how each promise stands, and writes those that changed in a
third. Nothing is locked meanwhile: an order that moved on is left for the next look.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.engine import by_statement
from adapters.db.promises import (
    REGION,
    WAITING,
    Where,
    place_of,
    read_places,
    services_to,
)
from oms.outlook import Outlook, Part, Standing, outlook
from oms.policy import Policy
from oms.promises import Milestone, Place, Service, Terms

PAGE = 500
"""So many orders are read by one statement."""

_OPEN = text(
    f"""
SELECT o.number, o.version, o.method, o.country, o.latitude, o.longitude, {REGION} AS region,
    o.promise_by, o.promise -> 'milestones' AS milestones, o.promise_status, o.expected_by,
    (SELECT json_agg(DISTINCT jsonb_build_array(a.location, f.created_at, f.ready_at))
        FROM allocations a LEFT JOIN fulfillment_orders f ON f.id = a.fulfillment_order
        WHERE a.order_number = o.number AND a.state = 'open') AS here,
    (SELECT json_agg(json_build_array(f.location, s.handed_over_at, s.delivered_at))
        FROM shipments s JOIN fulfillment_orders f ON f.id = s.fulfillment_order
        WHERE s.order_number = o.number AND s.handed_over_at IS NOT NULL
            AND s.written_off_at IS NULL) AS sent,
    (SELECT json_agg(json_build_array(f.location, coalesce(f.ready_at, f.handed_over_at)))
        FROM fulfillment_orders f WHERE f.order_number = o.number AND f.method = 'store_pickup'
            AND f.status = 'closed') AS collected,
    {WAITING} AS waiting
FROM orders o
WHERE o.closed_at IS NULL AND o.confirmed_at IS NOT NULL AND o.number > :after
ORDER BY o.number LIMIT :most
"""
)

_MARK = text(
    """
WITH wanted AS (
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS w(number text, version int,
        status text, expected timestamptz, kind text, summary text, data jsonb)
), locked AS (
    SELECT w.* FROM orders o JOIN wanted w ON w.number = o.number
    WHERE o.version = w.version AND o.closed_at IS NULL
    ORDER BY o.number FOR UPDATE OF o SKIP LOCKED
), marked AS (
    UPDATE orders o SET promise_status = l.status, expected_by = l.expected, version = o.version + 1
    FROM locked l WHERE o.number = l.number
), told AS (
    INSERT INTO events (order_number, seq, at, actor, kind, summary, data)
    SELECT l.number,
        (SELECT coalesce(max(e.seq), 0) + 1 FROM events e WHERE e.order_number = l.number),
        greatest(CAST(:at AS timestamptz),
            (SELECT max(e.at) FROM events e WHERE e.order_number = l.number)),
        'oms', l.kind, l.summary, l.data
    FROM locked l WHERE l.kind IS NOT NULL
    RETURNING kind
)
SELECT kind FROM told
"""
)


class Looked(NamedTuple):
    """A look at a page: the last order of it, None after the last page; the events it told."""

    last: str | None
    told: list[str]


async def look_at_promises(
    engine: AsyncEngine, policy: Policy, now: datetime, *, after: str, most: int = PAGE
) -> Looked:
    """Look at the open orders that follow `after`, and mark those whose promise stands anew."""
    async with by_statement(engine).connect() as tx:
        rows = (await tx.execute(_OPEN, {"after": after, "most": most, "now": now})).all()
        last = rows[-1].number if len(rows) == most else None
        if not rows:
            return Looked(last, [])
        changed = await _changed(tx, rows, policy, now)
        if not changed:
            return Looked(last, [])
        told = await tx.execute(_MARK, {"rows": json.dumps(changed), "at": now})
        return Looked(last, [row.kind for row in told])


async def _changed(
    tx: AsyncConnection, rows: Iterable[Any], policy: Policy, now: datetime
) -> list[dict[str, Any]]:
    parts = [(row, list(_parts(row))) for row in rows]
    locations = {part.location for _, each in parts for part in each}
    places, services = await read_places(tx, locations)
    over = _Terms({place["id"]: place_of(place) for place in places}, services, policy)
    changed = []
    for row, each in parts:
        if not each:
            continue  # all of it is cancelled, and it is about to be closed
        found = outlook(
            by=row.promise_by,
            milestones=[Milestone.model_validate(m) for m in row.milestones or ()],
            before=_before(row),
            parts=each,
            terms=over.of(row),
            now=now,
        )
        if (found.standing, found.expected) != (row.promise_status, row.expected_by):
            changed.append(_mark(row, found))
    return changed


def _before(row: Any) -> Standing:
    """How it stood. Orders of before promises were watched have no status."""
    standing: Standing = row.promise_status or "kept"
    return standing


class _Terms:
    """What the dates of a page are counted from: places and services are read once."""

    def __init__(
        self, places: Mapping[str, Place], services: list[dict[str, Any]], policy: Policy
    ) -> None:
        self._places, self._services, self._policy = places, services, policy
        self._to: dict[tuple[str, str], list[Service]] = {}

    def of(self, row: Any) -> Terms:
        to = (row.method, row.country)
        if to not in self._to:
            self._to[to] = services_to(row.country, row.method, self._services)
        where = Where(row.country, row.region, row.latitude, row.longitude)
        return Terms(
            method=row.method,
            places=self._places,
            services=self._to[to],
            destination=where.destination(),
            grace=self._policy.grace,
            days=self._policy.promise_days(row.method),
        )


def _parts(row: Any) -> Iterator[Part]:
    """Where the units of an order are."""
    for location, released_at, ready_at in row.here or ():
        if released_at is None:
            yield Part("allocated", location)
        elif row.method == "store_pickup" and ready_at is not None:
            yield Part("done", location, datetime.fromisoformat(ready_at))
        else:
            yield Part("released", location, datetime.fromisoformat(released_at))
    for location, handed_over_at, delivered_at in row.sent or ():
        if delivered_at is None:
            yield Part("handed_over", location, datetime.fromisoformat(handed_over_at))
        else:
            yield Part("done", location, datetime.fromisoformat(delivered_at))
    for location, at in row.collected or ():
        yield Part("done", location, datetime.fromisoformat(at))
    for location, at in row.waiting:
        yield Part("waiting", location, None if at is None else datetime.fromisoformat(at))


def _mark(row: Any, found: Outlook) -> dict[str, Any]:
    before = _before(row)
    kind, summary = None, None
    expected = None if found.expected is None else found.expected.isoformat()
    if found.standing != before:
        kind, summary = told_of(found, row.promise_by)
    return {
        "number": row.number,
        "version": row.version,
        "status": found.standing,
        "expected": expected,
        "kind": kind,
        "summary": summary,
        "data": {"promise_by": _text(row.promise_by), "expected": expected},
    }


def told_of(found: Outlook, by: datetime) -> tuple[str, str]:
    """The event that tells of a promise that stands anew, and its words."""
    promised = f"promised by {by:%Y-%m-%d %H:%M} UTC"
    if found.standing == "missed":
        return "promise.missed", f"The promise was missed: {promised}"
    if found.standing == "kept":
        return "promise.recovered", f"The promise can be kept again: {promised}"
    expected = "nobody knows when"
    if found.expected is not None:
        expected = f"expected by {found.expected:%Y-%m-%d %H:%M} UTC"
    return "promise.at_risk", f"The promise is at risk: {promised}, {expected}"


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
