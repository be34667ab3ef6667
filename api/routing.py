"""Routing rule sets: checked whole, kept in versions, of which one at most is active."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import master
from adapters.db import rule_sets as stored
from api.answers import Answer, IfMatch, answer, version_conflict
from api.auth import Database, Operator
from api.body import JsonBody, JsonDocument
from api.ids import PathId
from api.lists import (
    ListQuery,
    Query,
    QueryOf,
    Truth,
    WholeNumber,
    cursor_time,
    decode_cursor,
    page,
)
from api.problems import Problem, not_found
from oms.document_checks import MOST_TOLD, Reference
from oms.fields import Flaw, Moment, Wire
from oms.rule_checks import LOOSE, NAMED, RESERVED, read_rule_set, references
from oms.rules import RuleSet

router = APIRouter(prefix="/v1/routing", tags=["Master data"])


class RuleSetVersion(RuleSet):
    """A version of a rule set as it is read: as it was written, and what became of it."""

    id: str
    version: int
    active: bool
    created_at: Moment


class RuleSetList(Wire):
    """Versions of rule sets, newest first."""

    data: list[RuleSetVersion]
    next_cursor: str | None


class FlawView(Wire):
    """Something wrong with a rule set or a return policy."""

    pointer: str
    code: str
    detail: str


class Checked(Wire):
    """What is wrong with a document; nothing, if it may be put.

    `notes`: what may be meant, and may be a slip: groups and tags that nothing has.
    """

    errors: list[FlawView]
    notes: list[FlawView]


class ActivateBody(Wire):
    """Which version is to route from now on."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class ActivationView(Wire):
    """What routed from `at` to `until` (null: still). Without a rule set, the default did."""

    rule_set: str | None
    version: int | None
    at: Moment
    actor: str
    until: Moment | None
    ended_by: str | None


class ActivationList(Wire):
    """What routed when, newest first."""

    data: list[ActivationView]
    next_cursor: str | None


class RuleSetQuery(ListQuery):
    """What the list is narrowed to."""

    active: Truth | None = None


class VersionQuery(Query):
    """Which version is wanted; without one, the newest."""

    version: Annotated[WholeNumber, Field(ge=1)] | None = None


Document = Annotated[Any, Depends(JsonDocument(RuleSet))]


@router.put(
    "/rule-sets/{id}", response_model=RuleSetVersion, responses={201: {"model": RuleSetVersion}}
)
async def put_rule_set(
    who: Operator, id: PathId, body: Document, db: Database, if_version: IfMatch
) -> Response:
    """Add a version of a rule set; it routes nothing until it is activated."""
    async with db.begin() as tx:
        _, flaws = await _checked(tx, body)
        if flaws:
            raise _invalid(flaws)
        outcome = await stored.put_rule_set(tx, id, body, if_version, datetime.now(UTC))
    if isinstance(outcome, master.Changed):
        raise version_conflict()
    return _answer(outcome.row, 201 if outcome.created else 200).response()


@router.post("/check", response_model=Checked)
async def check_rule_set(who: Operator, body: Document, db: Database) -> Response:
    """Tell what is wrong with a rule set, or would keep it from routing; nothing is stored."""
    async with db.connect() as tx:
        rule_set, flaws = await _checked(tx, body)
        if rule_set is not None:
            flaws = [*flaws, *await stored.missing_rates(tx, rule_set)]
        loose = [each for each in references(body) if each.kind in LOOSE.values()]
        notes = [nobody(each) for each in await stored.unknown_references(tx, loose)]
    return answer(Checked(errors=flaw_views(flaws), notes=flaw_views(notes))).response()


@router.post("/rule-sets/{id}/activate", response_model=RuleSetVersion)
async def activate_rule_set(
    who: Operator,
    id: PathId,
    body: Annotated[ActivateBody, Depends(JsonBody(ActivateBody))],
    db: Database,
) -> Response:
    """Let one version route from now on, instead of any other; an older one to roll back."""
    async with db.begin() as tx:
        row = await stored.get_rule_set(tx, id, body.version)
        if row is None:
            raise not_found()
        rule_set, flaws = await _checked(tx, row["document"])
        if rule_set is None or flaws:
            raise _invalid(flaws)
        if missing := await stored.missing_rates(tx, rule_set):
            raise Problem("rate_missing", "Nothing was changed.", errors=missing)
        row = await stored.activate_rule_set(
            tx, id, body.version, actor=who.id, at=datetime.now(UTC)
        )
    assert row is not None
    return _answer(row).response()


@router.post("/rule-sets/{id}/deactivate", response_model=RuleSetVersion)
async def deactivate_rule_set(who: Operator, id: PathId, db: Database) -> Response:
    """Let this rule set route no more: the default does, until one is activated."""
    async with db.begin() as tx:
        row = await stored.activate_rule_set(tx, id, None, actor=who.id, at=datetime.now(UTC))
    if row is None:
        raise not_found()
    return _answer(row).response()


@router.get("/rule-sets/{id}", response_model=RuleSetVersion)
async def get_rule_set(
    who: Operator,
    id: PathId,
    db: Database,
    query: Annotated[VersionQuery, Depends(QueryOf(VersionQuery))],
) -> Response:
    """Read one version of a rule set, or the newest."""
    async with db.connect() as tx:
        row = await stored.get_rule_set(tx, id, query.version)
    if row is None:
        raise not_found()
    return _answer(row).response()


@router.get("/rule-sets", response_model=RuleSetList)
async def list_rule_sets(
    who: Operator, db: Database, query: Annotated[RuleSetQuery, Depends(QueryOf(RuleSetQuery))]
) -> Response:
    """List all versions of all rule sets, newest first."""
    position = decode_cursor(query.cursor, str, str, int)
    after = (cursor_time(position[0]), position[1], position[2]) if position else None
    async with db.connect() as tx:
        rows = await stored.list_rule_sets(
            tx, after=after, limit=query.limit + 1, active=query.active
        )
    found = page(
        rows,
        query.limit,
        show=_shown,
        position=lambda row: (row["created_at"].isoformat(), row["id"], row["version"]),
    )
    return answer(found).response()


@router.get("/rule-sets/{id}/activations", response_model=ActivationList)
async def list_activations_of(
    who: Operator,
    id: PathId,
    db: Database,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """List when which version of a rule set routed, and who let it, newest first."""
    async with db.connect() as tx:
        if await stored.get_rule_set(tx, id) is None:
            raise not_found()
        return await _activations(tx, query, id)


@router.get("/activations", response_model=ActivationList)
async def list_activations(
    who: Operator, db: Database, query: Annotated[ListQuery, Depends(QueryOf(ListQuery))]
) -> Response:
    """List what routed when, and who let it, newest first: rule sets, and the default between."""
    async with db.connect() as tx:
        return await _activations(tx, query, None)


async def _activations(tx: AsyncConnection, query: ListQuery, rule_set: str | None) -> Response:
    position = decode_cursor(query.cursor, int)
    before = position[0] if position else None
    found = await stored.list_activations(
        tx, rule_set=rule_set, before=before, limit=query.limit + 1
    )
    shown = page(
        found,
        query.limit,
        show=lambda each: ActivationView(
            **{name: getattr(each, name) for name in ActivationView.model_fields}
        ),
        position=lambda each: (each.seq,),
    )
    return answer(shown).response()


async def _checked(tx: AsyncConnection, document: Any) -> tuple[RuleSet | None, Sequence[Flaw]]:
    """Read a rule set, with every error of it: of its own, and names of what there is not."""
    # Beside the event loop: a megabyte of errors takes a second.
    found = await asyncio.to_thread(read_rule_set, document)
    rule_set = found if isinstance(found, RuleSet) else None
    flaws = [] if isinstance(found, RuleSet) else list(found)
    named = [each for each in references(document) if each.kind in NAMED.values()]
    for each in (await stored.unknown_references(tx, named))[:MOST_TOLD]:
        detail = f"There is no {each.kind} {each.id}."
        flaws.append(Flaw(pointer=each.pointer, code=f"{each.kind}_unknown", detail=detail))
    return rule_set, flaws


def nobody(each: Reference) -> Flaw:
    """Note a group or a tag that nothing has."""
    detail = (
        f"No {'location' if each.kind == 'group' else 'article'} has the {each.kind} {each.id}."
    )
    return Flaw(pointer=each.pointer, code="nobody", detail=detail)


def flaw_views(flaws: Sequence[Flaw]) -> list[FlawView]:
    """Flaws as they are told where nothing was refused."""
    return [FlawView(**flaw.model_dump()) for flaw in flaws]


def _invalid(flaws: Sequence[Flaw]) -> Problem:
    return Problem("validation_failed", "Nothing was changed. See errors.", errors=flaws)


def _shown(row: RowMapping) -> dict[str, Any]:
    # As it was written: also what a newer model would not take any more.
    made = row["created_at"].astimezone(UTC).isoformat().replace("+00:00", "Z")
    more = {name: row[name] for name in RESERVED} | {"created_at": made}
    return {**row["document"], **more}


def _answer(row: RowMapping, status: int = 200) -> Answer:
    return answer(_shown(row), status, version=row["version"])
