"""Looking for drift in the books of stock, and mending what needs nobody's judgement."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.stock import BUCKETS, create_places, lock_places
from adapters.db.stock_audit import BEHIND, LEVELS
from adapters.db.stock_events import StockEvent, tell, tell_rules_changed
from oms.drift import NAMED, Drift, count_drift, excess, level_drift, vanished, waiting

REPAIRED = "stock.level_repaired"


@dataclass(frozen=True)
class Looked:
    """What was found, and how much there was to look at.

    `counted`: places with a last count; `moved_since`: those of them where something has moved
    since, which explains all but what was found.
    """

    found: tuple[Drift, ...]
    levels: int
    counted: int
    moved_since: int


async def find_drift(tx: AsyncConnection, *, location: str | None = None) -> Looked:
    """Look at all stock, or that of one place. `tx` should be REPEATABLE READ: one moment."""
    await tx.execute(text("SET LOCAL statement_timeout = '10min'"))
    at = {"location": location}
    found: list[Drift | None] = [
        level_drift(r.sku, r.location, r.bucket, level=r.level, moved=r.moved, behind=r.behind)
        for r in await _rows(tx, _BUCKETS_THAT_DIFFER, at)
    ]
    found += [
        count_drift(
            r.sku, r.location, books=r.books, counted=r.units, since=r.since,
            late=await _late(tx, r),
        )
        for r in await _rows(tx, _COUNTS_THAT_DIFFER, at)
    ]  # fmt: skip
    found += [
        vanished(r.sku, r.location, books=r.books, since=r.since, snapshot=r.reference)
        for r in await _rows(tx, _VANISHED, at)
    ]
    found += [
        excess(r.sku, r.location, on_hand=r.on_hand, held=r.held, orders=r.orders)
        for r in await _rows(tx, _EXCESS, at)
    ]
    found += [
        waiting(r.sku, r.location, backordered=r.backordered, free=r.free, orders=r.orders)
        for r in await _rows(tx, _WAITING, at)
    ]
    (seen,) = await _rows(tx, _SEEN, at)
    return Looked(
        found=tuple(each for each in found if each is not None),
        levels=seen.levels,
        counted=seen.counted,
        moved_since=seen.moved_since,
    )


async def mend(
    tx: AsyncConnection, drifts: Iterable[Drift], *, actor: str, reason: str, at: datetime
) -> tuple[Drift, ...]:
    """Make the repairs that are safe, and say which; each leaves an event with who and why.

    A level is set to the sum of its movements as it is under the row's lock: what has moved since
    somebody looked is in both.
    """
    wanted = {(each.sku, each.location, each.bucket): each for each in drifts if each.safe}
    if not wanted:
        return ()
    places = {(sku, location) for sku, location, _ in wanted}
    await create_places(tx, places)
    await lock_places(tx, places)
    mended = []
    for (sku, location, bucket), each in sorted(wanted.items()):
        assert bucket in BUCKETS
        was = await tx.scalar(
            text(_SET_TO_ITS_MOVEMENTS.format(bucket=bucket)),
            {"sku": sku, "location": location, "bucket": bucket},
        )
        if was is None:
            continue
        mended.append(each)
        data = {"bucket": bucket, "was": was, "actor": actor, "reason": reason}
        event = StockEvent(kind=REPAIRED, at=at, sku=sku, location=location, data=data)
        await tell(tx, [event])
        await tell_rules_changed(tx, sku=sku, location=location)
    return tuple(mended)


async def _rows(
    tx: AsyncConnection, statement: str, arguments: dict[str, Any]
) -> Sequence[Row[Any]]:
    return (await tx.execute(text(statement), arguments)).all()


async def _late(tx: AsyncConnection, count: Row[Any]) -> Sequence[str]:
    """Corrections that were dated before a count and booked after it."""
    return list(
        await tx.scalars(
            text(
                "SELECT DISTINCT m.key FROM stock_movements m JOIN stock_imports i"
                " ON i.kind = 'deltas' AND m.key = 'delta:' || i.id"
                " WHERE m.sku = :sku AND m.location = :location AND m.bucket = 'on_hand'"
                " AND m.at <= :taken_at AND i.finished_at >= :finished_at ORDER BY m.key"
                " LIMIT :most"
            ),
            {
                "sku": count.sku,
                "location": count.location,
                "taken_at": count.taken_at,
                "finished_at": count.finished_at,
                "most": NAMED,
            },
        )
    )


_HERE = "(CAST(:location AS text) IS NULL OR {}.location = :location)"

_BUCKETS_THAT_DIFFER = f"""
WITH level AS ({LEVELS}), moved AS (
  SELECT sku, location, bucket, sum(delta) AS units FROM stock_movements GROUP BY 1, 2, 3
), behind AS ({BEHIND})
SELECT sku, location, bucket, CAST(coalesce(l.units, 0) AS bigint) AS level,
  CAST(coalesce(m.units, 0) AS bigint) AS moved,
  CASE WHEN bucket NOT IN ('on_hand', 'damaged')
    THEN CAST(coalesce(b.units, 0) AS bigint) END AS behind
FROM level l FULL JOIN moved m USING (sku, location, bucket)
FULL JOIN behind b USING (sku, location, bucket)
WHERE (coalesce(l.units, 0) <> coalesce(m.units, 0)
  OR (bucket NOT IN ('on_hand', 'damaged') AND coalesce(l.units, 0) <> coalesce(b.units, 0)))
  AND (CAST(:location AS text) IS NULL OR location = :location)
ORDER BY sku, location, bucket
"""

# The last count of each place: of imports, the newest that took effect. What an import put to zero
# was not counted: nobody knows more of it than the ledger.
_LAST_COUNTS = """
SELECT DISTINCT ON (c.sku, c.location) c.* FROM (
  SELECT r.sku, r.location, r.units, i.taken_at, i.finished_at
  FROM stock_imports i JOIN stock_import_rows r ON r.import_id = i.id
  WHERE i.state = 'applied' AND i.kind <> 'deltas' AND NOT EXISTS (
    SELECT FROM stock_import_notes n WHERE n.import_id = i.id AND n.part = r.part
      AND n.position = r.position AND n.outcome = 'superseded')
  UNION ALL
  SELECT n.sku, n.location, NULL, i.taken_at, i.finished_at
  FROM stock_imports i JOIN stock_import_notes n ON n.import_id = i.id
  WHERE i.state = 'applied' AND i.missing = 'zero' AND n.outcome = 'vanished'
) c ORDER BY c.sku, c.location, c.taken_at DESC, c.finished_at DESC
"""

# Compared with the sum of the movements: a level beside its ledger is found as such.
_COUNTED = f"""
SELECT c.sku, c.location, c.units, c.taken_at, c.finished_at,
  CAST(coalesce(sum(m.delta), 0) AS bigint) AS books,
  CAST(coalesce(sum(m.delta) FILTER (WHERE m.at > c.taken_at
    AND NOT starts_with(m.key, 'count:')), 0) AS bigint) AS since,
  coalesce(bool_or(m.at > c.taken_at AND NOT starts_with(m.key, 'count:')), false) AS has_moved
FROM ({_LAST_COUNTS}) c LEFT JOIN stock_movements m
  ON m.sku = c.sku AND m.location = c.location AND m.bucket = 'on_hand'
WHERE c.units IS NOT NULL AND {_HERE.format("c")}
GROUP BY c.sku, c.location, c.units, c.taken_at, c.finished_at
"""

_COUNTS_THAT_DIFFER = f"""
SELECT * FROM ({_COUNTED}) c WHERE books <> units + since ORDER BY sku, location
"""

_SEEN = f"""
SELECT (SELECT count(*) FROM stock_levels l WHERE {_HERE.format("l")}) AS levels,
  count(*) AS counted, count(*) FILTER (WHERE has_moved) AS moved_since
FROM ({_COUNTED}) c
"""

_VANISHED = f"""
WITH last AS (
  SELECT DISTINCT ON (location) id, location, reference, taken_at, missing FROM stock_imports i
  WHERE state = 'applied' AND kind = 'snapshot' AND {_HERE.format("i")}
  ORDER BY location, taken_at DESC, finished_at DESC
), counted AS ({_LAST_COUNTS})
SELECT n.sku, n.location, i.reference, l.on_hand AS books,
  CAST(coalesce(sum(m.delta), 0) AS bigint) AS since
FROM last i JOIN stock_import_notes n ON n.import_id = i.id AND n.outcome = 'vanished'
JOIN stock_levels l ON l.sku = n.sku AND l.location = n.location AND l.on_hand > 0
LEFT JOIN counted c ON c.sku = n.sku AND c.location = n.location AND c.taken_at > i.taken_at
LEFT JOIN stock_movements m ON m.sku = n.sku AND m.location = n.location
  AND m.bucket = 'on_hand' AND m.at > i.taken_at AND NOT starts_with(m.key, 'count:')
WHERE i.missing = 'report' AND c.sku IS NULL
GROUP BY n.sku, n.location, i.reference, l.on_hand
HAVING NOT coalesce(bool_or(m.cause = 'count'), false)
  AND l.on_hand > greatest(0, coalesce(sum(m.delta), 0))
ORDER BY n.sku, n.location
"""

_EXCESS = f"""
SELECT l.sku, l.location, l.on_hand, l.reserved + l.allocated AS held, array(
  SELECT a.order_number FROM allocations a JOIN orders o ON o.number = a.order_number
  WHERE a.sku = l.sku AND a.location = l.location AND a.state = 'open' AND NOT a.picked
  GROUP BY a.order_number ORDER BY max(o.placed_at) DESC, a.order_number LIMIT {NAMED + 1}
) AS orders
FROM stock_levels l WHERE l.reserved + l.allocated > l.on_hand AND {_HERE.format("l")}
ORDER BY l.sku, l.location
"""

_WAITING = f"""
SELECT l.sku, l.location, l.backordered,
  l.on_hand - l.reserved - l.allocated - l.safety_stock AS free, array(
    SELECT r.order_number FROM reservations r
    WHERE r.sku = l.sku AND r.location = l.location AND r.state = 'open' AND r.kind = 'backorder'
    GROUP BY r.order_number ORDER BY min(r.since), r.order_number LIMIT {NAMED + 1}
  ) AS orders
FROM stock_levels l
WHERE l.backordered > 0 AND NOT l.blocked
  AND l.on_hand - l.reserved - l.allocated - l.safety_stock > 0 AND {_HERE.format("l")}
ORDER BY l.sku, l.location
"""

_SET_TO_ITS_MOVEMENTS = """
WITH moved AS (
  SELECT coalesce(sum(delta), 0) AS units FROM stock_movements
  WHERE sku = :sku AND location = :location AND bucket = :bucket
), before AS (
  SELECT {bucket} AS was FROM stock_levels WHERE sku = :sku AND location = :location
)
UPDATE stock_levels s SET {bucket} = m.units FROM moved m, before b
WHERE s.sku = :sku AND s.location = :location AND s.{bucket} <> m.units AND m.units >= 0
RETURNING b.was
"""
