"""Imports of stock: opened, sent in parts, and read. `adapters.db.importing` applies them.

Rows are staged in a table of their own and touch no stock. An import is known by its reference; a
part by its number and the hash of its content, so everything may be sent again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

Kind = Literal["snapshot", "counts", "deltas"]
Missing = Literal["report", "zero"]
State = Literal["open", "applied", "refused"]
Outcome = Literal["waiting", "changed", "unchanged", "superseded", "refused", "left", "vanished"]
"""Of a row. `left` alone, as others of its import were refused; `superseded` by a later count."""

MAX_PARTS = 10_000
MAX_ROWS = 1_000_000
VANISHED = MAX_PARTS + 1
"""The part under which what a snapshot does not name is noted."""


class Import(NamedTuple):
    """An import and how it stands. What came of it is None until it is applied or refused."""

    id: str
    scope: str
    reference: str
    kind: Kind
    location: str | None
    taken_at: datetime
    missing: Missing
    state: State
    opened_at: datetime
    finished_at: datetime | None
    moved: int | None
    unchanged: int | None
    superseded: int | None
    vanished: int | None
    units_added: int | None
    units_removed: int | None
    errors: int | None
    version: int
    parts: int
    rows: int

    @property
    def key(self) -> str:
        """Names its movements in the ledger."""
        return f"{'delta' if self.kind == 'deltas' else 'count'}:{self.id}"


class StagedRow(NamedTuple):
    """A row to be staged. `units`: on hand, or the correction."""

    sku: str
    location: str
    units: int
    reason: str | None


class RowResult(NamedTuple):
    """What came of a row. `row` counts from 1 over all parts; None for what has vanished."""

    row: int | None
    part: int
    position: int
    sku: str
    location: str
    units: int | None
    outcome: Outcome
    changed_by: int
    notes: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class ReferenceTaken:
    """The reference names another import, which is open or applied."""

    stored: Import


@dataclass(frozen=True, slots=True)
class PartTaken:
    """Other rows were sent under this number."""


@dataclass(frozen=True, slots=True)
class NotOpen:
    """The import takes no more parts."""

    state: State


def import_id(scope: str, reference: str) -> str:
    """Name an import by who opened it and its reference: the same again is the same."""
    return "si-" + hashlib.sha256(f"{scope}\n{reference}".encode()).hexdigest()[:20]


async def open_import(
    tx: AsyncConnection,
    *,
    scope: str,
    reference: str,
    kind: Kind,
    location: str | None,
    taken_at: datetime | None,
    missing: Missing,
    now: datetime,
) -> tuple[Import, bool] | ReferenceTaken:
    """Open an import, or find it; one that was refused is opened again, empty.

    Args:
        tx: The caller's transaction.
        scope: Whose references these are.
        reference: The caller's own name of it.
        kind: What the rows say.
        location: Where they are of; a snapshot's, or of all rows that name none.
        taken_at: When was counted. By default when it is opened first.
        missing: What to do with what a snapshot does not name.
        now: When.

    Returns:
        The import, and whether it is new.
    """
    id = import_id(scope, reference)
    header = {"kind": kind, "location": location, "missing": missing}
    made = await tx.execute(
        text(
            "INSERT INTO stock_imports (id, scope, reference, kind, location, missing, taken_at,"
            " opened_at, state, version) VALUES (:id, :scope, :reference, :kind, :location,"
            " :missing, coalesce(:taken_at, :now), :now, 'open', 1) ON CONFLICT DO NOTHING"
        ),
        {"id": id, "scope": scope, "reference": reference, "taken_at": taken_at, "now": now}
        | header,
    )
    if made.rowcount:
        return await _found(tx, id), True
    await tx.execute(text("SELECT FROM stock_imports WHERE id = :id FOR UPDATE"), {"id": id})
    stored = await _found(tx, id)
    if stored.state == "refused":
        await _open_again(tx, id, header | {"taken_at": taken_at})
        return await _found(tx, id), False
    same = all(getattr(stored, name) == value for name, value in header.items())
    if not same or taken_at not in (None, stored.taken_at):
        return ReferenceTaken(stored)
    return stored, False


async def put_part(
    tx: AsyncConnection, stored: Import, part: int, rows: Sequence[StagedRow], digest: bytes
) -> Import | PartTaken | NotOpen:
    """Stage the rows of a part. The same part again changes nothing, whatever the state."""
    known = await tx.scalar(
        text("SELECT hash FROM stock_import_parts WHERE import_id = :id AND part = :part"),
        {"id": stored.id, "part": part},
    )
    if known is None:
        # Shared, so that parts may come side by side, and none while it is being applied.
        state = await tx.scalar(
            text("SELECT state FROM stock_imports WHERE id = :id FOR SHARE"), {"id": stored.id}
        )
        if state != "open":
            return NotOpen(state)
        added = await tx.execute(
            text(
                "INSERT INTO stock_import_parts (import_id, part, hash, rows)"
                " VALUES (:id, :part, :hash, :rows) ON CONFLICT DO NOTHING"
            ),
            {"id": stored.id, "part": part, "hash": digest, "rows": len(rows)},
        )
        if added.rowcount:
            await _copy(tx, stored.id, part, rows)
            return await _found(tx, stored.id)
        return await put_part(tx, stored, part, rows, digest)
    return stored if known == digest else PartTaken()


async def find_import(tx: AsyncConnection, id: str) -> Import | None:
    """Read an import."""
    found = (await tx.execute(text(f"{_IMPORTS} WHERE i.id = :id"), {"id": id})).one_or_none()
    return Import(*found) if found else None


async def list_imports(
    tx: AsyncConnection,
    *,
    scope: str | None = None,
    location: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = 25,
) -> list[Import]:
    """Read imports, newest first. `scope` None: everybody's."""
    found = await tx.execute(
        text(
            f"{_IMPORTS} WHERE (CAST(:scope AS text) IS NULL OR i.scope = :scope)"
            " AND (CAST(:location AS text) IS NULL OR i.location = :location)"
            " AND (CAST(:kind AS text) IS NULL OR i.kind = :kind)"
            " AND (CAST(:state AS text) IS NULL OR i.state = :state)"
            " AND (CAST(:at AS timestamptz) IS NULL OR (i.opened_at, i.id) < (:at, :id))"
            " ORDER BY i.opened_at DESC, i.id DESC LIMIT :limit"
        ),
        {
            "scope": scope,
            "location": location,
            "kind": kind,
            "state": state,
            "at": after and after[0],
            "id": after and after[1],
            "limit": limit,
        },
    )
    return [Import(*row) for row in found]


async def results_of(
    tx: AsyncConnection,
    stored: Import,
    *,
    outcome: Outcome | None = None,
    after: tuple[int, int] = (0, 0),
    limit: int = 25,
) -> list[RowResult]:
    """Read what came of each row in the order they were sent, then what has vanished."""
    found: list[RowResult] = []
    # Most rows are of one outcome: those of another are looked for many at a time.
    size = limit if outcome is None or outcome in _NOTED else max(limit, _LOOKED_AT_ONCE)
    sources: Sequence[str | None] = (None, "vanished") if outcome is None else (None,)
    for noted in (outcome,) if outcome in _NOTED else sources:
        while len(found) < limit:
            rows = await _rows(tx, stored, noted, after, size)
            judged = await _judge(tx, stored, rows)
            found += [each for each in judged if outcome in (None, each.outcome)]
            if len(rows) < size:
                break
            after = (rows[-1].part, rows[-1].position)
    return found[:limit]


_NOTED = ("refused", "superseded", "vanished")
_LOOKED_AT_ONCE = 2_000


async def _rows(
    tx: AsyncConnection, stored: Import, noted: str | None, after: tuple[int, int], size: int
) -> Sequence[Row[Any]]:
    """The next rows as they were sent, or those that have such a note."""
    arguments = {"id": stored.id, "part": after[0], "position": after[1], "size": size}
    if noted:
        arguments["outcome"] = noted
    return (await tx.execute(_NOTED_ROWS if noted else _SENT_ROWS, arguments)).all()


async def _judge(tx: AsyncConnection, stored: Import, rows: Sequence[Row[Any]]) -> list[RowResult]:
    """Say what came of rows: what changed by how much is in the ledger, the rest in notes."""
    if not rows:
        return []
    first, last = rows[0], rows[-1]
    span = {
        "id": stored.id, "part": first.part, "position": first.position,
        "last_part": last.part, "last_position": last.position,
    }  # fmt: skip
    notes: dict[tuple[int, int], list[Row[Any]]] = {}
    for note in await tx.execute(_NOTES, span):
        notes.setdefault((note.part, note.position), []).append(note)
    moved = await tx.execute(_MOVED, {"key": stored.key, "skus": sorted({r.sku for r in rows})})
    changed = {(m.sku, m.location): m.delta for m in moved} if stored.state == "applied" else {}
    before = await _rows_before(tx, stored)
    results = []
    for row in rows:
        said = notes.get((row.part, row.position), [])
        delta = changed.get((row.sku, row.location), 0)
        results.append(
            RowResult(
                row=None if row.part == VANISHED else before[row.part] + row.position,
                part=row.part,
                position=row.position,
                sku=row.sku,
                location=row.location,
                units=row.units,
                outcome=said[0].outcome if said else _outcome(stored, changed=bool(delta)),
                changed_by=delta,
                notes=[{"field": n.field or "", "code": n.code, "detail": n.detail} for n in said],
            )
        )
    return results


def _outcome(stored: Import, *, changed: bool) -> Outcome:
    match stored.state:
        case "open":
            return "waiting"
        case "refused":
            return "left"
        case "applied":
            return "changed" if changed else "unchanged"


async def _rows_before(tx: AsyncConnection, stored: Import) -> dict[int, int]:
    """How many rows lie before each part."""
    found = await tx.execute(
        text(
            "SELECT part, sum(rows) OVER (ORDER BY part) - rows FROM stock_import_parts"
            " WHERE import_id = :id"
        ),
        {"id": stored.id},
    )
    return {part: int(rows) for part, rows in found}


# Each of these reads a range of an index, whatever the planner knows of rows that came just now.
_SENT_ROWS = text(
    """
SELECT part, position, sku, location, units FROM stock_import_rows
WHERE import_id = :id AND (part, position) > (:part, :position)
ORDER BY import_id, part, position LIMIT :size
"""
)
_NOTED_ROWS = text(
    """
SELECT n.part, n.position, n.sku, n.location, (
    SELECT r.units FROM stock_import_rows r
    WHERE r.import_id = :id AND r.part = n.part AND r.position = n.position) AS units
FROM (
  SELECT DISTINCT part, position, sku, location FROM stock_import_notes
  WHERE import_id = :id AND outcome = :outcome AND (part, position) > (:part, :position)
  ORDER BY part, position LIMIT :size
) n ORDER BY n.part, n.position
"""
)
_NOTES = text(
    """
SELECT part, position, outcome, field, code, detail FROM stock_import_notes
WHERE import_id = :id AND (part, position) >= (:part, :position)
  AND (part, position) <= (:last_part, :last_position)
ORDER BY part, position, code
"""
)
_MOVED = text(
    """
SELECT sku, location, delta FROM stock_movements
WHERE key = :key AND sku = ANY(CAST(:skus AS text[])) AND bucket = 'on_hand'
"""
)

_IMPORTS = """
SELECT i.id, i.scope, i.reference, i.kind, i.location, i.taken_at, i.missing, i.state, i.opened_at,
  i.finished_at, i.moved, i.unchanged, i.superseded, i.vanished, i.units_added, i.units_removed,
  i.errors, i.version, coalesce(p.parts, 0), coalesce(p.rows, 0)
FROM stock_imports i LEFT JOIN LATERAL (
  SELECT count(*) AS parts, sum(rows) AS rows FROM stock_import_parts WHERE import_id = i.id
) p ON true
"""


async def _found(tx: AsyncConnection, id: str) -> Import:
    found = await find_import(tx, id)
    assert found is not None
    return found


async def _open_again(tx: AsyncConnection, id: str, header: dict[str, Any]) -> None:
    for table in ("stock_import_parts", "stock_import_rows", "stock_import_notes"):
        await tx.execute(text(f"DELETE FROM {table} WHERE import_id = :id"), {"id": id})
    await tx.execute(
        text(
            "UPDATE stock_imports SET state = 'open', kind = :kind, location = :location,"
            " missing = :missing, taken_at = coalesce(:taken_at, taken_at), finished_at = NULL,"
            " errors = NULL, version = version + 1 WHERE id = :id"
        ),
        {"id": id} | header,
    )


async def _copy(tx: AsyncConnection, id: str, part: int, rows: Sequence[StagedRow]) -> None:
    connection: Any = (await tx.get_raw_connection()).driver_connection
    async with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY stock_import_rows (import_id, part, position, sku, location, units, reason)"
            " FROM STDIN"
        ) as copy,
    ):
        for position, row in enumerate(rows, start=1):
            await copy.write_row((id, part, position, *row))
