"""Reroutes as they are kept: why, how far, and what became of each order.

What is left to do is read from the books, never from a list: orders that hold or await units at a
place that is closed, or of an article that is blocked. So a process that died goes on where it was,
and one whose place has opened again finds nothing more to do.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.unit import OrderUnit
from oms.numbers import reroute_workflow_id
from oms.rerouting import Outcome, Rerouted, RerouteProgress

TRIES = 2
"""How often an order is tried that meets a fault of ours."""

_COLUMNS = "id, kind, location, sku, reason, status, actor, at, ended_at, version"

_LEAVING = {
    "location": "s.location = :location AND EXISTS (SELECT FROM locations l"
    " WHERE l.id = s.location AND NOT l.active AND l.cleared_at IS NOT NULL)",
    "sku": "s.sku = :sku AND s.blocked"
    " AND (CAST(:location AS text) IS NULL OR s.location = CAST(:location AS text))",
}
_TO_DO = """
FROM orders o WHERE o.closed_at IS NULL AND o.number IN (
    SELECT h.order_number FROM stock_levels s CROSS JOIN LATERAL (
        SELECT a.order_number FROM allocations a
        WHERE a.sku = s.sku AND a.location = s.location AND a.state = 'open'
        UNION ALL
        SELECT r.order_number FROM reservations r
        WHERE r.sku = s.sku AND r.location = s.location AND r.state = 'open') h
    WHERE {leaving} AND s.reserved + s.allocated + s.backordered > 0)
AND NOT EXISTS (
    SELECT FROM reroute_orders d WHERE d.reroute = :id AND d.order_number = o.number)
"""


# A customer's collection stays: a person lifted its hold. So does what met a fault of ours.
OFFERED_BY_CLEARED_PLACES = """
SELECT f.id, format('waits for %s, which %s has cleared', f.location, r.id)
FROM fulfillment_orders f JOIN locations l ON l.id = f.location
JOIN reroutes r ON r.kind = 'location' AND r.location = l.id AND r.status = 'done'
WHERE f.status = 'open' AND f.method <> 'store_pickup' AND NOT l.active AND r.at >= l.cleared_at
AND NOT EXISTS (SELECT FROM reroute_orders d WHERE d.reroute = r.id
    AND d.order_number = f.order_number AND d.outcome = 'failed')
"""
"""What the audit finds: (fulfillment order, words)."""


class Reroute(NamedTuple):
    """One reroute. `location` is null for an article that is recalled everywhere."""

    id: str
    kind: str
    location: str | None
    sku: str | None
    reason: str
    status: str
    actor: str
    at: datetime
    ended_at: datetime | None
    version: int

    @property
    def words(self) -> str:
        """What it is, without what a person wrote."""
        if self.kind == "location":
            return f"Reroute {self.id}: {self.location} was closed"
        where = f" at {self.location}" if self.location else ""
        return f"Reroute {self.id}: {self.sku} was recalled{where}"


_BEGIN = text(
    "INSERT INTO reroutes (id, kind, location, sku, reason, status, actor, at, version)"
    " VALUES (:id, :kind, :location, :sku, :reason, 'running', :actor, :at, 1)"
    f" ON CONFLICT DO NOTHING RETURNING {_COLUMNS}"
)
_UNDER_WAY = text(
    f"SELECT {_COLUMNS} FROM reroutes WHERE status IN ('running', 'paused')"
    " AND kind = :kind AND location IS NOT DISTINCT FROM CAST(:location AS text)"
    " AND sku IS NOT DISTINCT FROM CAST(:sku AS text)"
)


# --- begun and steered ----------------------------------------------------------------------


async def begin(
    tx: AsyncConnection,
    id: str,
    *,
    kind: str,
    location: str | None,
    sku: str | None,
    reason: str,
    actor: str,
    at: datetime,
) -> Reroute:
    """Write a reroute for its process to find, or give the one that is under way for the same."""
    values = {"kind": kind, "location": location, "sku": sku}
    more = {"id": id, "reason": reason, "actor": actor, "at": at}
    while True:
        begun = await tx.execute(_BEGIN, values | more)
        row = begun.one_or_none() or (await tx.execute(_UNDER_WAY, values)).one_or_none()
        if row is not None:  # else the other one has just ended
            await tx.execute(text("SELECT pg_notify('oms_reroutes', '')"))
            return Reroute(*row)


_STEPS = {
    "pause": ("running", "paused"),
    "resume": ("paused", "running"),
    "stop": ("running", "paused", "cancelled"),
}
"""From which states a word leads, and to which."""


async def steer(tx: AsyncConnection, id: str, word: str, at: datetime) -> Reroute | None:
    """Pause, resume or stop a reroute, and wake its process. One that is over stays as it is.

    Returns:
        The reroute as it is then; None if there is none.
    """
    *froms, to = _STEPS[word]
    moved = await tx.execute(
        text(
            "UPDATE reroutes SET status = CAST(:to AS text), version = version + 1, ended_at ="
            " CASE WHEN CAST(:to AS text) = 'cancelled' THEN CAST(:at AS timestamptz) END"
            " WHERE id = :id AND status = ANY(:froms)"
        ),
        {"id": id, "to": to, "froms": froms, "at": at},
    )
    if moved.rowcount:
        await tx.execute(
            text(
                "WITH owed AS (INSERT INTO nudges (workflow_id, reason, at)"
                " VALUES (:w, :word, :at) RETURNING 1) SELECT pg_notify('oms_nudge', '') FROM owed"
            ),
            {"w": reroute_workflow_id(id), "word": word, "at": at},
        )
    return await read(tx, id)


async def idle(
    tx: AsyncConnection, now: datetime, *, silent: timedelta, most: int
) -> list[Reroute]:
    """Reroutes that run and whose process has not looked for a while, or never did."""
    found = await tx.execute(
        text(
            f"SELECT {_COLUMNS} FROM reroutes WHERE status = 'running'"
            " AND (touched_at IS NULL OR touched_at < :before) ORDER BY at LIMIT :most"
        ),
        {"before": now - silent, "most": most},
    )
    return [Reroute(*row) for row in found]


async def touch(tx: AsyncConnection, id: str, at: datetime) -> bool:
    """Write that its process is there; whether it is to go on."""
    found = await tx.scalar(
        text("UPDATE reroutes SET touched_at = :at WHERE id = :id RETURNING status = 'running'"),
        {"id": id, "at": at},
    )
    return bool(found)


# --- carried out ----------------------------------------------------------------------------


async def to_do(tx: AsyncConnection, reroute: Reroute, *, most: int) -> list[str]:
    """Read the orders that are to leave and were not looked at, those promised soonest first."""
    found = await tx.scalars(
        text(
            f"SELECT o.number {_TO_DO.format(leaving=_LEAVING[reroute.kind])}"
            " ORDER BY o.promise_by NULLS LAST, o.placed_at, o.number LIMIT :most"
        ),
        _names(reroute) | {"most": most},
    )
    return list(found)


async def to_try_again(tx: AsyncConnection, reroute: Reroute) -> list[str]:
    """Read the orders that met a fault of ours, and have a try left."""
    found = await tx.scalars(
        text(
            "SELECT order_number FROM reroute_orders WHERE reroute = :id AND outcome = 'failed'"
            " AND tries < :tries ORDER BY order_number"
        ),
        {"id": reroute.id, "tries": TRIES},
    )
    return list(found)


def _names(reroute: Reroute) -> dict[str, Any]:
    return {"id": reroute.id, "location": reroute.location, "sku": reroute.sku}


async def is_done(unit: OrderUnit, id: str) -> bool:
    """Whether it is known what became of an order."""
    found = await unit.ask(
        "SELECT outcome FROM reroute_orders WHERE reroute = :id AND order_number = :n",
        id=id,
        n=unit.number,
    )
    return bool(found) and found[0].outcome != Outcome.FAILED


_WRITE = """
INSERT INTO reroute_orders AS d (reroute, order_number, outcome, detail, tries, at)
VALUES (:id, :n, :outcome, :detail, 1, :at)
ON CONFLICT (reroute, order_number) DO UPDATE
SET outcome = excluded.outcome, detail = excluded.detail, tries = d.tries + 1, at = excluded.at
"""


def write_done(unit: OrderUnit, id: str, left: Rerouted) -> None:
    """Keep what became of an order, in the transaction in which it did."""
    about = {"id": id, "n": unit.number, "at": unit.at}
    unit.run(_WRITE, **about, outcome=str(left.outcome), detail=left.detail)


async def write_failed(tx: AsyncConnection, id: str, number: str, code: str, at: datetime) -> None:
    """Keep that an order met a fault of ours; nothing of it has changed."""
    about = {"id": id, "n": number, "at": at}
    await tx.execute(text(_WRITE), about | {"outcome": str(Outcome.FAILED), "detail": code})


async def end(tx: AsyncConnection, id: str, at: datetime) -> None:
    """Write that nothing is left to do, unless somebody paused or stopped it meanwhile."""
    await tx.execute(
        text(
            "UPDATE reroutes SET status = 'done', ended_at = :at, version = version + 1"
            " WHERE id = :id AND status = 'running'"
        ),
        {"id": id, "at": at},
    )


# --- looked at ------------------------------------------------------------------------------


async def read(tx: AsyncConnection, id: str) -> Reroute | None:
    """Read one reroute."""
    found = await tx.execute(text(f"SELECT {_COLUMNS} FROM reroutes WHERE id = :id"), {"id": id})
    row = found.one_or_none()
    return None if row is None else Reroute(*row)


async def progress(tx: AsyncConnection, reroute: Reroute) -> RerouteProgress:
    """Count what is done and what is left."""
    done = await counts(tx, [reroute.id])
    left = 0
    if reroute.status in ("running", "paused"):
        statement = f"SELECT count(*) {_TO_DO.format(leaving=_LEAVING[reroute.kind])}"
        left = await tx.scalar(text(statement), _names(reroute)) or 0
    return RerouteProgress(status=reroute.status, left=left, done=done[reroute.id])


async def counts(tx: AsyncConnection, ids: Sequence[str]) -> Mapping[str, dict[str, int]]:
    """Count the orders of each reroute by outcome."""
    found = await tx.execute(
        text(
            "SELECT reroute, outcome, count(*)::int AS orders FROM reroute_orders"
            " WHERE reroute = ANY(CAST(:ids AS text[])) GROUP BY 1, 2 ORDER BY 1, 2"
        ),
        {"ids": list(ids)},
    )
    counted: dict[str, dict[str, int]] = {id: {} for id in ids}
    for row in found:
        counted[row.reroute][row.outcome] = row.orders
    return counted


async def newest(
    tx: AsyncConnection, *, after: tuple[datetime, str] | None, limit: int
) -> list[Reroute]:
    """Reroutes, newest first, from the one after `after` (when it began, and its id)."""
    where = "" if after is None else "WHERE (at, id) < (:at, :id)"
    position = {} if after is None else {"at": after[0], "id": after[1]}
    found = await tx.execute(
        text(f"SELECT {_COLUMNS} FROM reroutes {where} ORDER BY at DESC, id DESC LIMIT :limit"),
        position | {"limit": limit},
    )
    return [Reroute(*row) for row in found]


async def orders_of(
    tx: AsyncConnection, id: str, *, outcome: str | None, after: str | None, limit: int
) -> list[RowMapping]:
    """What became of its orders, by number, from the one after `after`."""
    found = await tx.execute(
        text(
            "SELECT order_number, outcome, detail, tries, at FROM reroute_orders"
            " WHERE reroute = :id AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)"
            " AND (CAST(:after AS text) IS NULL OR order_number > :after)"
            " ORDER BY order_number LIMIT :limit"
        ),
        {"id": id, "outcome": outcome, "after": after, "limit": limit},
    )
    return list(found.mappings())
