"""Applying an import of stock: all of its rows in one transaction, or none.

Everything is worked out set by set in SQL. Only levels that will differ are locked, sorted by (sku,
location), and only for as long as it takes to move them.

A count says what lay on the shelf at `taken_at`. What moved since stays moved: the level becomes
the count plus the movements since, without those by which other counts were set right. Where
somebody has counted later, that count stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.imports import VANISHED, Import, find_import
from adapters.db.stock import append_to_locked
from adapters.db.stock_events import StockEvent, tell

MOST_DIFFERENCES = 100
"""So many differences are shown by a trial; the largest."""


@dataclass(frozen=True, slots=True)
class Busy:
    """It is being applied, or a part is coming in, at this moment."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Not all that was announced has come; nothing was looked at."""

    rows: int
    first_missing_part: int | None


class Difference(NamedTuple):
    """What applying would change at one place."""

    sku: str
    location: str
    on_hand: int
    changed_by: int


@dataclass(frozen=True, slots=True)
class Applied:
    """How the import stands now: `applied` or `refused`; or `open`, after a trial.

    `stored` holds the counts, also those of a trial, whose `differences` are shown.
    """

    stored: Import
    differences: tuple[Difference, ...] = ()


class _Tally(NamedTuple):
    """What an import does, or would do."""

    moved: int
    unchanged: int
    superseded: int
    vanished: int
    units_added: int
    units_removed: int


class _Note(NamedTuple):
    part: int
    position: int
    sku: str
    location: str
    detail: str


async def apply_import(
    tx: AsyncConnection, id: str, *, rows: int, now: datetime, trial: bool = False
) -> Applied | Incomplete | Busy | None:
    """Check all rows of an import, then move stock by all of them or by none.

    An applied import is answered as it was; a refused one is checked again, for an article may be
    known now.

    Args:
        tx: The caller's transaction; committed it is done, rolled back nothing was.
        id: The import.
        rows: How many were sent in all: a lost part is not read as articles that are gone.
        now: When.
        trial: Work out what it would do, and do nothing.

    Returns:
        None if there is no such import.
    """
    # A large import may take longer than a request; its caller does not wait for it.
    await tx.execute(text("SET LOCAL statement_timeout = '10min'"))
    await tx.execute(text("SET LOCAL work_mem = '64MB'"))
    locked = await tx.scalar(
        text("SELECT id FROM stock_imports WHERE id = :id FOR UPDATE SKIP LOCKED"), {"id": id}
    )
    stored = await find_import(tx, id)
    if stored is None or locked is None:
        return stored and Busy()
    if stored.state == "applied":
        return Applied(stored)
    missing = await _first_missing_part(tx, stored)
    if stored.rows != rows or missing:
        return Incomplete(stored.rows, missing)
    return await _Application(tx, stored, now).run(trial=trial)


async def _first_missing_part(tx: AsyncConnection, stored: Import) -> int | None:
    last = await tx.scalar(
        text("SELECT max(part) FROM stock_import_parts WHERE import_id = :id"), {"id": stored.id}
    )
    if last in (None, stored.parts):
        return None
    missing: int | None = await tx.scalar(
        text(
            "SELECT min(n) FROM generate_series(1, :last) n WHERE NOT EXISTS ("
            " SELECT FROM stock_import_parts WHERE import_id = :id AND part = n)"
        ),
        {"id": stored.id, "last": last},
    )
    return missing


class _Application:
    """One attempt. Its working tables go with the transaction."""

    def __init__(self, tx: AsyncConnection, stored: Import, now: datetime) -> None:
        self._tx, self._import, self._now = tx, stored, now
        self._is_count = stored.kind != "deltas"
        self._arguments = {
            "id": stored.id,
            "key": stored.key,
            "taken_at": stored.taken_at,
            "location": stored.location,
            "vanished": VANISHED,
            "now": now,
        }

    async def run(self, *, trial: bool) -> Applied:
        await self._do("DELETE FROM stock_import_notes WHERE import_id = :id")
        await self._do("UPDATE stock_imports SET state = 'open', errors = NULL WHERE id = :id")
        await self._stage()
        if await self._do(_REFUSE):
            return await self._refused()
        # Levels made for an import that is refused, or only tried, go away again.
        savepoint = await self._tx.begin_nested()
        vanished = await self._find_what_moves()
        await self._lock()
        tally = await self._tally()
        if too_low := await self._too_low():
            await savepoint.rollback()
            await self._note(too_low)
            return await self._refused()
        if trial:
            shown = await self._differences()
            await savepoint.rollback()
            stored = self._import._replace(state="open", errors=None, **tally._asdict())
            return Applied(stored, shown)
        await self._move()
        await tell(self._tx, [self._event(sku, units) for sku, units in vanished])
        return await self._finish("applied", **tally._asdict())

    async def _stage(self) -> None:
        await self._do(
            "CREATE TEMP TABLE import_staged (row int, part int, position int, sku text,"
            " location text, units bigint, reason text) ON COMMIT DROP"
        )
        await self._do(
            "CREATE TEMP TABLE import_moves (row int, part int, position int, sku text,"
            " location text, units bigint, cause text, delta bigint, on_hand bigint) ON COMMIT DROP"
        )
        await self._do(
            "INSERT INTO import_staged SELECT row_number() OVER (ORDER BY part, position), part,"
            " position, sku, location, units, reason FROM stock_import_rows WHERE import_id = :id"
        )
        assert await self._scalar("SELECT count(*) FROM import_staged") == self._import.rows
        # What was just written has no statistics yet, and joins would be planned for a row or two.
        await self._do("ANALYZE import_staged")

    async def _find_what_moves(self) -> Sequence[tuple[str, int]]:
        """Work out, without a lock, which levels will differ; give what has newly vanished."""
        vanished: Sequence[tuple[str, int]] = ()
        if not self._is_count:
            await self._do(_CORRECTIONS)
        else:
            if await self._scalar(_COUNTED_LATER):
                await self._do(_SUPERSEDE)
            if self._import.kind == "snapshot":
                found = await self._tx.execute(text(_VANISH), self._arguments)
                vanished = [(row.sku, row.units) for row in found if row.is_new]
            await self._do(_COUNTS_THAT_DIFFER)
            if self._import.missing == "zero":
                await self._do(_VANISHED_TO_ZERO)
        await self._do("ANALYZE import_moves")
        return vanished

    async def _lock(self) -> None:
        """Lock the levels, and work out the changes anew from what they hold under the lock."""
        await self._do(_CREATE_LEVELS)
        await self._do(_LOCK)
        await self._do(_DECIDE if self._is_count else _DECIDE_CORRECTIONS)
        await self._do("DELETE FROM import_moves WHERE delta = 0")

    async def _too_low(self) -> Sequence[_Note]:
        found = await self._tx.execute(
            text(
                "SELECT part, position, sku, location, format('%s on hand, %s after this', on_hand,"
                " on_hand + delta) FROM import_moves WHERE on_hand + delta < 0"
            )
        )
        return [_Note(*row) for row in found]

    async def _move(self) -> None:
        at = self._now if self._is_count else self._import.taken_at
        await append_to_locked(self._tx, _MOVEMENTS, {"at": at, "key": self._import.key})

    async def _tally(self) -> _Tally:
        found = await self._tx.execute(text(_TALLY), self._arguments)
        return _Tally(*found.one())

    async def _differences(self) -> tuple[Difference, ...]:
        found = await self._tx.execute(
            text(
                "SELECT sku, location, on_hand, delta FROM import_moves"
                " ORDER BY abs(delta) DESC, sku, location LIMIT :most"
            ),
            {"most": MOST_DIFFERENCES},
        )
        return tuple(Difference(*row) for row in found)

    async def _note(self, notes: Sequence[_Note]) -> None:
        columns: dict[str, Any] = {
            name: [getattr(note, name) for note in notes] for name in _Note._fields
        }
        await self._tx.execute(
            text(
                "INSERT INTO stock_import_notes (import_id, part, position, sku, location, detail,"
                " outcome, code, field) SELECT :id, n.*, 'refused', 'stock_negative', :field"
                " FROM unnest(CAST(:part AS int[]), CAST(:position AS int[]),"
                " CAST(:sku AS text[]), CAST(:location AS text[]), CAST(:detail AS text[])) AS n"
            ),
            columns | {"id": self._import.id, "field": "on_hand" if self._is_count else "delta"},
        )

    async def _refused(self) -> Applied:
        errors = await self._scalar("SELECT count(*) FROM stock_import_notes WHERE import_id = :id")
        return await self._finish("refused", errors=errors)

    async def _finish(self, state: str, **counts: int) -> Applied:
        columns = "".join(f", {name} = :{name}" for name in counts)
        await self._tx.execute(
            text(
                "UPDATE stock_imports SET state = :state, finished_at = :now,"
                f" version = version + 1{columns} WHERE id = :id"
            ),
            {"id": self._import.id, "state": state, "now": self._now} | counts,
        )
        stored = await find_import(self._tx, self._import.id)
        assert stored is not None
        return Applied(stored)

    def _event(self, sku: str, units: int) -> StockEvent:
        return StockEvent(
            kind="stock.vanished",
            at=self._now,
            sku=sku,
            location=self._import.location,
            data={
                "import": self._import.id,
                "on_hand": units,
                "put_to_zero": self._import.missing == "zero",
            },
        )

    async def _do(self, statement: str) -> int:
        bound = {name: self._arguments[name] for name in _names(statement)}
        return (await self._tx.execute(text(statement), bound)).rowcount

    async def _scalar(self, statement: str) -> int:
        bound = {name: self._arguments[name] for name in _names(statement)}
        return int(await self._tx.scalar(text(statement), bound) or 0)


def _names(statement: str) -> Sequence[str]:
    return list(text(statement).compile().params)


_REFUSE = """
INSERT INTO stock_import_notes
  (import_id, part, position, outcome, field, code, detail, sku, location)
SELECT :id, part, position, 'refused', field, code, detail, sku, location FROM (
  SELECT s.*, 'sku' AS field, 'sku_unknown' AS code, 'No such article.' AS detail
  FROM import_staged s LEFT JOIN products p ON p.sku = s.sku WHERE p.sku IS NULL
  UNION ALL
  SELECT s.*, 'location', 'location_unknown', 'No such location.'
  FROM import_staged s LEFT JOIN locations l ON l.id = s.location WHERE l.id IS NULL
  UNION ALL
  SELECT d.row, d.part, d.position, d.sku, d.location, d.units, d.reason, 'sku', 'repeated',
    format('Row %s names the same article at the same place.', d.first)
  FROM (
    SELECT s.*, min(row) OVER (PARTITION BY sku, location) AS first FROM import_staged s
  ) d WHERE d.row <> d.first
) e
"""

# What moved since the count. A count that was set right since is no movement of goods.
_SINCE = """
SELECT sku, location, sum(delta) AS units FROM stock_movements
WHERE at > :taken_at AND bucket = 'on_hand' AND NOT starts_with(key, 'count:')
  AND (CAST(:location AS text) IS NULL OR location = :location)
GROUP BY sku, location
"""

# Places that somebody counted later: by another import (one that puts to zero what it does not
# name has counted all), or by an adjustment that says so.
_LATER = """
SELECT r.sku, r.location FROM stock_imports i JOIN stock_import_rows r ON r.import_id = i.id
WHERE i.state = 'applied' AND i.kind <> 'deltas' AND i.taken_at > :taken_at
UNION
SELECT p.sku, i.location FROM stock_imports i CROSS JOIN products p
WHERE i.state = 'applied' AND i.missing = 'zero' AND i.taken_at > :taken_at
UNION
SELECT sku, location FROM stock_movements
WHERE at > :taken_at AND bucket = 'on_hand' AND cause = 'count' AND NOT starts_with(key, 'count:')
"""

_COUNTED_LATER = f"SELECT CAST(EXISTS ({_LATER}) AS int)"

_SUPERSEDE = f"""
INSERT INTO stock_import_notes (import_id, part, position, outcome, code, detail, sku, location)
SELECT :id, s.part, s.position, 'superseded', 'superseded', 'Somebody has counted later.',
  s.sku, s.location
FROM import_staged s JOIN ({_LATER}) c ON c.sku = s.sku AND c.location = s.location
"""

_VANISH = f"""
WITH gone AS (
  SELECT l.sku, l.location, l.on_hand AS units
  FROM stock_levels l LEFT JOIN ({_SINCE}) n ON n.sku = l.sku AND n.location = l.location
  LEFT JOIN import_staged s ON s.sku = l.sku
  LEFT JOIN ({_LATER}) c ON c.sku = l.sku AND c.location = l.location
  WHERE l.location = :location AND l.on_hand > 0 AND l.on_hand > coalesce(n.units, 0)
    AND s.sku IS NULL AND c.sku IS NULL
), noted AS (
  INSERT INTO stock_import_notes (import_id, part, position, outcome, code, detail, sku, location)
  SELECT :id, :vanished, row_number() OVER (ORDER BY sku), 'vanished', 'vanished',
    format('%s on hand in the books.', units), sku, location
  FROM gone
), before AS (
  SELECT id FROM stock_imports
  WHERE state = 'applied' AND kind = 'snapshot' AND location = :location
  ORDER BY taken_at DESC LIMIT 1
)
SELECT g.sku, g.units, NOT EXISTS (
  SELECT FROM stock_import_notes n JOIN before b ON b.id = n.import_id
  WHERE n.outcome = 'vanished' AND n.sku = g.sku) AS is_new
FROM gone g ORDER BY g.sku
"""

_COUNTS_THAT_DIFFER = f"""
INSERT INTO import_moves (row, part, position, sku, location, units, cause, delta)
SELECT s.row, s.part, s.position, s.sku, s.location, s.units, 'count', 0
FROM import_staged s
LEFT JOIN stock_levels l ON l.sku = s.sku AND l.location = s.location
LEFT JOIN ({_SINCE}) n ON n.sku = s.sku AND n.location = s.location
LEFT JOIN stock_import_notes o ON o.import_id = :id AND o.part = s.part
  AND o.position = s.position AND o.outcome = 'superseded'
WHERE o.part IS NULL AND s.units + coalesce(n.units, 0) <> coalesce(l.on_hand, 0)
"""

_VANISHED_TO_ZERO = """
INSERT INTO import_moves (part, position, sku, location, units, cause, delta)
SELECT part, position, sku, location, 0, 'vanished', 0
FROM stock_import_notes WHERE import_id = :id AND outcome = 'vanished'
"""

_CORRECTIONS = """
INSERT INTO import_moves (row, part, position, sku, location, units, cause, delta)
SELECT row, part, position, sku, location, units, coalesce(reason, 'adjustment'), units
FROM import_staged WHERE units <> 0
"""

_CREATE_LEVELS = """
INSERT INTO stock_levels (sku, location)
SELECT m.sku, m.location FROM import_moves m
LEFT JOIN stock_levels l ON l.sku = m.sku AND l.location = m.location
WHERE l.sku IS NULL ORDER BY m.sku, m.location
ON CONFLICT DO NOTHING
"""

_LOCK = """
SELECT count(*) FROM (
  SELECT FROM stock_levels s JOIN import_moves m ON m.sku = s.sku AND m.location = s.location
  ORDER BY s.sku, s.location FOR NO KEY UPDATE OF s
) locked
"""

# A vanished article of which more has left than the books held is gone, no more.
_DECIDE = f"""
UPDATE import_moves m SET on_hand = l.on_hand,
  delta = CASE m.cause WHEN 'vanished' THEN least(0, greatest(0, coalesce(n.units, 0)) - l.on_hand)
    ELSE m.units + coalesce(n.units, 0) - l.on_hand END
FROM stock_levels l LEFT JOIN ({_SINCE}) n ON n.sku = l.sku AND n.location = l.location
WHERE l.sku = m.sku AND l.location = m.location
"""

_DECIDE_CORRECTIONS = """
UPDATE import_moves m SET on_hand = l.on_hand
FROM stock_levels l WHERE l.sku = m.sku AND l.location = m.location
"""

_MOVEMENTS = """
SELECT CAST(:at AS timestamptz), m.sku, m.location, b.bucket, b.delta, m.cause, :key
FROM import_moves m CROSS JOIN LATERAL (VALUES ('on_hand', m.delta),
  ('damaged', CASE WHEN m.cause = 'damaged' AND m.delta < 0 THEN -m.delta END)) b(bucket, delta)
WHERE b.delta IS NOT NULL ORDER BY m.sku, m.location
"""

_TALLY = """
SELECT m.moved,
  (SELECT count(*) FROM import_staged) - m.rows - n.superseded,
  n.superseded, n.vanished, m.added, m.removed
FROM (
  SELECT count(*) AS moved, count(row) AS rows,
    CAST(coalesce(sum(delta) FILTER (WHERE delta > 0), 0) AS bigint) AS added,
    CAST(coalesce(-sum(delta) FILTER (WHERE delta < 0), 0) AS bigint) AS removed
  FROM import_moves
) m, (
  SELECT count(*) FILTER (WHERE outcome = 'superseded') AS superseded,
    count(*) FILTER (WHERE outcome = 'vanished') AS vanished
  FROM stock_import_notes WHERE import_id = :id
) n
"""
