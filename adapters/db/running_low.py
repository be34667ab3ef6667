"""Who runs low or out, told once at the crossing: a follower of the ledger.

One transaction reads what changed since the last, compares each level with what was told of it,
writes the events, and moves the follower's position: so each crossing is told once, whatever dies.
Nothing of it is in the way of those who reserve.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.availability import AVAILABLE_HERE
from adapters.db.stock_changes import Change, Listing, Position, read_changes
from adapters.db.stock_events import StockEvent, tell

_AT_ONCE = 200
"""Articles in one transaction."""

_KINDS = {"out": "stock.out", "low": "stock.low", "enough": "stock.back"}


async def tell_running_low(engine: AsyncEngine, now: datetime) -> bool:
    """Follow the ledger one step. Says whether there is more to follow right now.

    Another follower at work is left to it.
    """
    async with engine.begin() as tx:
        follower = (await tx.execute(_TAKE_TURN)).one_or_none()
        if follower is None:
            return False
        due = await tx.execute(_PREORDERS_DUE, {"since": follower.looked_at})
        page = await read_changes(tx, _position(follower), limit=_AT_ONCE)
        crossed = await _crossed(tx, page.changes)
        await tell(tx, [_event(level, now) for level in crossed])
        await _remember(tx, crossed, now)
        await _move_on(tx, page.position)
    return page.more or due.rowcount > 0


def _position(follower: Row[Any]) -> Position:
    listing = None if follower.listing is None else Listing(**follower.listing)
    return Position(None, follower.xid, follower.id, listing)


async def _crossed(tx: AsyncConnection, changes: Sequence[Change]) -> Sequence[Row[Any]]:
    """Levels that are at another state than what was told; `location` is `""` for all together."""
    if not changes:
        return ()
    named = [{"sku": c.sku, "location": c.location, "moved": c.moved} for c in changes]
    return (await tx.execute(_CROSSED, {"changes": json.dumps(named)})).all()


def _event(level: Row[Any], now: datetime) -> StockEvent:
    return StockEvent(
        kind=_KINDS[level.state],
        at=now,
        sku=level.sku,
        location=level.location or None,
        data={"available": level.available, "low_at": level.low_at, "was": level.told},
    )


async def _remember(tx: AsyncConnection, crossed: Sequence[Row[Any]], now: datetime) -> None:
    if not crossed:
        return
    named = [{"sku": c.sku, "location": c.location, "state": c.state} for c in crossed]
    arguments = {"crossed": json.dumps(named)}
    await tx.execute(_RAISE, arguments | {"now": now})
    await tx.execute(_LET_GO, arguments)


async def _move_on(tx: AsyncConnection, to: Position) -> None:
    listing = to.listing and {"location": to.listing.location, "after": to.listing.after}
    await tx.execute(
        _MOVE_ON,
        {
            "xid": to.xid,
            "id": to.id,
            "listing": json.dumps(listing) if listing else None,
        },
    )


_TAKE_TURN = text(
    "SELECT xid, id, listing, looked_at FROM stock_followers WHERE name = 'running_low'"
    " FOR UPDATE SKIP LOCKED"
)
_MOVE_ON = text(
    "UPDATE stock_followers SET xid = :xid, id = :id, looked_at = now(),"
    " listing = CAST(:listing AS jsonb) WHERE name = 'running_low'"
)

# A preorder's day comes without anybody writing anything: all who follow are told to look.
_PREORDERS_DUE = text(
    """
INSERT INTO stock_events (at, kind, sku, data)
SELECT available_from, 'stock.rules_changed', sku, '{}' FROM products
WHERE available_from > :since AND available_from <= now()
"""
)

# A place or an article that never had any is not out of it. One without an alert has enough.
_CROSSED = text(
    f"""
WITH changed AS (
  SELECT * FROM jsonb_to_recordset(CAST(:changes AS jsonb))
    AS c(sku text, location text, moved boolean)
  LIMIT (SELECT 10000)
), place AS (
  SELECT sku, location, bool_or(moved) AS moved FROM changed WHERE location IS NOT NULL
  GROUP BY sku, location
), article AS (
  SELECT p.sku, p.low_at, bool_or(c.moved) AS moved, bool_or(c.location IS NULL) AS everywhere
  FROM changed c JOIN products p ON p.sku = c.sku
  WHERE p.available_from IS NULL OR p.available_from <= now() GROUP BY p.sku
), level AS (
  SELECT s.sku, s.location, s.low_at, s.on_hand, {AVAILABLE_HERE} AS available, l.active,
    a.everywhere OR c.sku IS NOT NULL AS changed, coalesce(c.moved, false) AS moved
  FROM article a JOIN stock_levels s ON s.sku = a.sku JOIN locations l ON l.id = s.location
  LEFT JOIN place c ON c.sku = s.sku AND c.location = s.location
), looked_at AS (
  SELECT sku, location, available, low_at, moved OR on_hand > 0 AS had FROM level
  WHERE changed AND active
  UNION ALL
  SELECT v.sku, '', coalesce(sum(v.available) FILTER (WHERE v.active), 0)::bigint, a.low_at,
    a.moved OR bool_or(v.on_hand > 0)
  FROM level v JOIN article a ON a.sku = v.sku GROUP BY v.sku, a.low_at, a.moved
), now AS (
  SELECT n.*, CASE WHEN available = 0 THEN 'out' WHEN available <= low_at THEN 'low'
    ELSE 'enough' END AS state
  FROM looked_at n
)
SELECT n.sku, n.location, n.available, n.low_at, n.state, coalesce(a.state, 'enough') AS told
FROM now n LEFT JOIN stock_alerts a ON a.sku = n.sku AND a.location = n.location
WHERE n.state <> coalesce(a.state, 'enough') AND (n.state <> 'out' OR a.state IS NOT NULL OR n.had)
ORDER BY n.sku, n.location
"""
)

_NAMED = """jsonb_to_recordset(CAST(:crossed AS jsonb))
  AS c(sku text, location text, state text)"""
_RAISE = text(
    f"""
INSERT INTO stock_alerts (sku, location, state, since)
SELECT sku, location, state, :now FROM {_NAMED} WHERE state <> 'enough'
ON CONFLICT (sku, location) DO UPDATE SET state = excluded.state, since = excluded.since
"""
)
_LET_GO = text(
    f"""
DELETE FROM stock_alerts a USING {_NAMED}
WHERE c.state = 'enough' AND a.sku = c.sku AND a.location = c.location
"""
)
