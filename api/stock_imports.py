"""Imports of stock: a snapshot of a place, counts or corrections, sent in parts, applied whole."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db import imports as staged
from adapters.db import master
from adapters.db.credentials import Credential
from adapters.db.importing import Applied, Busy, Incomplete, apply_import
from api.answers import Answer, answer
from api.auth import Database, NodeOrOperator
from api.body import JsonBody, invalid
from api.idempotency import OnceOnly
from api.ids import PathId
from api.lists import ListQuery, QueryOf, cursor_time, decode_cursor, page
from api.problems import Problem, not_found
from api.stock import MAX_UNITS, Units
from oms.fields import Flaw, Id, Moment, Wire, Words
from oms.words import count_of

router = APIRouter(prefix="/v1/stock/imports", tags=["Master data"])

MAX_ROWS_IN_A_PART = 20_000
MAX_ERRORS_SHOWN = 200
CLOCKS_DIFFER_BY = timedelta(minutes=5)
PATIENCE_SECONDS = 15.0
"""How long applying may hold up its answer. It goes on behind; who asks again hears of it."""

APPLIED_AT_ONCE = 4
"""In one process. At night all stores send their stock; orders need connections too."""

PartNumber = Annotated[int, Path(ge=1, le=staged.MAX_PARTS)]
T = TypeVar("T")


class ImportBody(Wire):
    """What is to be imported: `snapshot` of a location, `counts`, or `deltas` of what is on hand.

    `location`: needed for a snapshot; else for rows that name none. `taken_at`: when was counted,
    by default now; what moved since stays moved. `missing`: what to do with articles that are in
    the books and not in a snapshot: tell of them, or put them to zero as well.
    """

    reference: Words
    kind: staged.Kind
    location: Id | None = None
    taken_at: Moment | None = None
    missing: staged.Missing = "report"


class Row(Wire):
    """A row: `on_hand` of snapshots and counts, `delta` of deltas, with a `reason`."""

    sku: Id
    location: Id | None = None
    on_hand: Units | None = None
    delta: Annotated[int, Field(ge=-MAX_UNITS, le=MAX_UNITS)] | None = None
    reason: Words | None = None


class PartBody(Wire):
    """Some of an import's rows."""

    rows: Annotated[list[Row], Field(min_length=1, max_length=MAX_ROWS_IN_A_PART)]


class ApplyBody(Wire):
    """How many rows were sent in all. `dry_run`: say what would change, and change nothing."""

    rows: Annotated[int, Field(ge=0, le=staged.MAX_ROWS)]
    dry_run: bool = False


class Result(Wire):
    """What an import did, in places and in units."""

    changed: int
    unchanged: int
    superseded: int
    vanished: int
    units_added: int
    units_removed: int


class Difference(Wire):
    """What an import would change at one place."""

    sku: str
    location: str
    on_hand: int
    changed_by: int


class StockImport(Wire):
    """An import and how it stands. `differences`, the largest, are of a dry run."""

    id: str
    reference: str
    kind: staged.Kind
    location: str | None
    taken_at: Moment
    missing: staged.Missing
    state: staged.State
    parts: int
    rows: int
    opened_at: Moment
    finished_at: Moment | None
    result: Result | None
    errors: int | None
    version: int
    differences: list[Difference] | None = None


class ImportList(Wire):
    """Imports, newest first."""

    data: list[StockImport]
    next_cursor: str | None


class RowNote(Wire):
    """Why a row was refused or has no effect."""

    field: str
    code: str
    detail: str


class RowResult(Wire):
    """What came of one row. `row` counts from 1 over all parts; null for what has vanished."""

    row: int | None
    part: int | None
    sku: str
    location: str
    units: int | None
    outcome: staged.Outcome
    changed_by: int
    notes: list[RowNote]


class RowResultList(Wire):
    """Results in the order of the rows, then what has vanished."""

    data: list[RowResult]
    next_cursor: str | None


class ImportQuery(ListQuery):
    """Which imports to list."""

    location: Id | None = None
    kind: staged.Kind | None = None
    state: staged.State | None = None


class ResultQuery(ListQuery):
    """Which results to list."""

    outcome: staged.Outcome | None = None


@router.post("", response_model=StockImport, status_code=201, responses={200: {}})
async def open_import(
    who: NodeOrOperator, once: OnceOnly, body: Annotated[ImportBody, Depends(JsonBody(ImportBody))]
) -> Response:
    """Open an import under a reference; the same again finds it, one refused is open again."""
    now = datetime.now(UTC)
    _check_header(body, who, now)

    async def work(tx: AsyncConnection) -> Answer:
        if body.location and await master.get(tx, master.LOCATIONS, body.location) is None:
            flaw = Flaw(pointer="/location", code="location_unknown", detail="There is none.")
            raise Problem("location_unknown", "Nothing was opened.", errors=[flaw])
        outcome = await staged.open_import(tx, scope=_scope(who), now=now, **body.model_dump())
        if isinstance(outcome, staged.ReferenceTaken):
            raise Problem("reference_reused", "The reference names another import.")
        stored, is_new = outcome
        return answer(_shown(stored), 201 if is_new else 200, version=stored.version)

    return await once.in_transaction(work)


@router.get("", response_model=ImportList)
async def list_imports(
    who: NodeOrOperator, db: Database, query: Annotated[ImportQuery, Depends(QueryOf(ImportQuery))]
) -> Response:
    """List imports, newest first."""
    position = decode_cursor(query.cursor, str, str)
    async with db.connect() as tx:
        found = await staged.list_imports(
            tx,
            scope=None if who.role == "operator" else _scope(who),
            location=query.location,
            kind=query.kind,
            state=query.state,
            after=(cursor_time(position[0]), position[1]) if position else None,
            limit=query.limit + 1,
        )
    body = page(
        found,
        query.limit,
        show=_shown,
        position=lambda each: (each.opened_at.isoformat(), each.id),
    )
    return answer(body).response()


@router.get("/{id}", response_model=StockImport)
async def get_import(who: NodeOrOperator, id: PathId, db: Database) -> Response:
    """Read how an import stands."""
    async with db.connect() as tx:
        stored = await _own(tx, id, who)
    return answer(_shown(stored), version=stored.version).response()


@router.put("/{id}/parts/{part}", response_model=StockImport)
async def put_part(
    who: NodeOrOperator,
    id: PathId,
    part: PartNumber,
    body: Annotated[PartBody, Depends(JsonBody(PartBody))],
    request: Request,
    db: Database,
) -> Response:
    """Send some of the rows. The same part again does no harm; other rows under it are refused."""
    async with db.begin() as tx:
        stored = await _own(tx, id, who)
        flaws = [flaw for i, row in enumerate(body.rows) for flaw in _flaws(row, i, stored)]
        if flaws:
            raise invalid(flaws)
        rows = [_row(each, stored) for each in body.rows]
        if not all(who.reaches_location(location) for location in {row.location for row in rows}):
            raise not_found()
        outcome = await staged.put_part(tx, stored, part, rows, _digest(request.state.json))
    match outcome:
        case staged.PartTaken():
            raise Problem("part_reused", "Other rows were sent under this number.")
        case staged.NotOpen():
            raise Problem("invalid_state", f"The import is {outcome.state} and takes no more rows.")
        case stored:
            return answer(_shown(stored), version=stored.version).response()


@router.post("/{id}/apply", response_model=StockImport, responses={202: {"model": StockImport}})
async def apply(
    who: NodeOrOperator,
    id: PathId,
    body: Annotated[ApplyBody, Depends(JsonBody(ApplyBody))],
    db: Database,
) -> Response:
    """Check every row, then apply all or none. Needs no key: again, it answers the same.

    202: it is being applied; ask again.
    """
    async with db.connect() as tx:
        stored = await _own(tx, id, who)
    if len(_behind) >= APPLIED_AT_ONCE and stored.state != "applied":
        return _at_work(stored)
    done, outcome = await _patiently(_apply(db, id, body))
    match outcome:
        case Applied(stored=applied) if applied.state == "refused":
            raise await _refusal(db, applied)
        case Applied(stored=applied, differences=differences):
            return answer(_shown(applied, differences), version=applied.version).response()
        case Incomplete():
            lacks = outcome.first_missing_part
            why = (
                f"Part {lacks} has not come." if lacks else f"{count_of(outcome.rows, 'row')} came."
            )
            raise Problem("import_incomplete", f"{why} Nothing was changed.")
        case None if done:
            raise not_found()
        case _:
            return _at_work(stored)


@router.get("/{id}/results", response_model=RowResultList)
async def list_results(
    who: NodeOrOperator,
    id: PathId,
    db: Database,
    query: Annotated[ResultQuery, Depends(QueryOf(ResultQuery))],
) -> Response:
    """Read what came of each row, then the articles that a snapshot did not name."""
    position = decode_cursor(query.cursor, int, int) or (0, 0)
    async with db.connect() as tx:
        stored = await _own(tx, id, who)
        found = await staged.results_of(
            tx,
            stored,
            outcome=query.outcome,
            after=(position[0], position[1]),
            limit=query.limit + 1,
        )
    body = page(
        found,
        query.limit,
        show=_result,
        position=lambda each: (each.part, each.position),
    )
    return answer(body).response()


def _at_work(stored: staged.Import) -> Response:
    """Say that it, or what comes before it, is being applied."""
    shown = answer(_shown(stored), 202, version=stored.version)
    return shown.response(**{"Retry-After": "1"})


def _scope(who: Credential) -> str:
    """Whose references these are: operators share theirs, each node has its own."""
    return "" if who.role == "operator" else who.id


async def _own(tx: AsyncConnection, id: str, who: Credential) -> staged.Import:
    stored = await staged.find_import(tx, id)
    if stored is None or (who.role != "operator" and stored.scope != _scope(who)):
        raise not_found()
    return stored


def _check_header(body: ImportBody, who: Credential, now: datetime) -> None:
    flaws = []
    if body.kind == "snapshot" and body.location is None:
        flaws.append(_flaw("/location", "required", "A snapshot is of one location."))
    if body.kind != "snapshot" and body.missing != "report":
        flaws.append(_flaw("/missing", "not_allowed", "Only a snapshot tells what is not there."))
    if body.taken_at and body.taken_at > now + CLOCKS_DIFFER_BY:
        flaws.append(_flaw("/taken_at", "too_large", "It lies in the future."))
    if flaws:
        raise invalid(flaws)
    if body.location and not who.reaches_location(body.location):
        raise not_found()


def _flaws(row: Row, index: int, stored: staged.Import) -> Iterator[Flaw]:
    here = f"/rows/{index}"
    wanted, other = ("delta", "on_hand") if stored.kind == "deltas" else ("on_hand", "delta")
    if getattr(row, wanted) is None:
        yield _flaw(f"{here}/{wanted}", "required", f"Rows of {stored.kind} have it.")
    if getattr(row, other) is not None:
        yield _flaw(f"{here}/{other}", "not_allowed", f"Rows of {stored.kind} have none.")
    if row.reason is not None and stored.kind != "deltas":
        yield _flaw(f"{here}/reason", "not_allowed", "A count needs no reason.")
    if row.location is None and stored.location is None:
        yield _flaw(f"{here}/location", "required", "The import is of no one location.")
    if row.location and stored.location not in (None, row.location):
        yield _flaw(f"{here}/location", "not_allowed", f"The import is of {stored.location}.")


def _flaw(pointer: str, code: str, detail: str) -> Flaw:
    return Flaw(pointer=pointer, code=code, detail=detail)


def _row(row: Row, stored: staged.Import) -> staged.StagedRow:
    units = row.delta if row.on_hand is None else row.on_hand
    location = row.location or stored.location
    assert units is not None
    assert location is not None
    return staged.StagedRow(row.sku, location, units, row.reason)


def _digest(document: Any) -> bytes:
    """Name the rows by what they say, however their JSON was written."""
    written = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).digest()


async def _apply(db: AsyncEngine, id: str, body: ApplyBody) -> Applied | Incomplete | Busy | None:
    async with db.begin() as tx:
        return await apply_import(tx, id, rows=body.rows, trial=body.dry_run, now=datetime.now(UTC))


_behind: set[asyncio.Future[Any]] = set()


async def _patiently(work: Awaitable[T]) -> tuple[bool, T | None]:
    """Wait a while for work that goes on without us; say whether it is done, and its result.

    Should the process die meanwhile, its transaction never was, and asking again begins anew.
    """
    task = asyncio.ensure_future(work)
    _behind.add(task)
    task.add_done_callback(_forget)
    done, _ = await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
    return (True, task.result()) if done else (False, None)


def _forget(task: asyncio.Future[Any]) -> None:
    _behind.discard(task)
    # Heard, so that nobody complains; who asks again hears it as an answer.
    task.cancelled() or task.exception()


async def _refusal(db: AsyncEngine, stored: staged.Import) -> Problem:
    """All that is wrong, or as much as an answer should hold, and where to read the rest."""
    async with db.connect() as tx:
        wrong = await staged.results_of(tx, stored, outcome="refused", limit=MAX_ERRORS_SHOWN)
    errors = [
        {
            "pointer": f"/parts/{each.part}/rows/{each.position - 1}/{note['field']}",
            "code": note["code"],
            "detail": note["detail"],
            "row": each.row,
            "sku": each.sku,
            "location": each.location,
        }
        for each in wrong
        for note in each.notes
    ]
    return Problem(
        "import_refused",
        f"Nothing was changed: {count_of(stored.errors or 0, 'error')}.",
        errors=errors,
        error_count=stored.errors,
        results=f"/v1/stock/imports/{stored.id}/results?outcome=refused",
    )


def _shown(stored: staged.Import, differences: Sequence[Any] = ()) -> StockImport:
    fields = stored._asdict()
    result = None
    if stored.moved is not None:
        counted = {name: fields[name] for name in Result.model_fields if name != "changed"}
        result = Result(changed=stored.moved, **counted)
    shown = {name: fields[name] for name in StockImport.model_fields if name in fields}
    return StockImport(
        **shown,
        result=result,
        differences=[Difference(**each._asdict()) for each in differences] or None,
    )


def _result(each: staged.RowResult) -> RowResult:
    return RowResult(
        row=each.row,
        part=each.part if each.row else None,
        sku=each.sku,
        location=each.location,
        units=each.units,
        outcome=each.outcome,
        changed_by=each.changed_by,
        notes=[RowNote(**note) for note in each.notes],
    )
