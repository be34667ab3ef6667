"""Routing rule sets: data in versions, of which one at most is active.

What the rules mean comes later; until then a rule set is a document that can be kept.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import RowMapping

from adapters.db import master
from api.answers import Answer, IfMatch, answer, version_conflict
from api.auth import Database, Operator
from api.body import JsonBody, invalid, odd_values
from api.ids import PathId
from api.lists import ListQuery, QueryOf, cursor_time, decode_cursor, page
from api.problems import not_found
from oms.fields import Flaw, Moment, Wire

router = APIRouter(prefix="/v1/routing/rule-sets", tags=["Master data"])

RESERVED = ("id", "version", "active", "created_at")


class RuleSetBody(BaseModel):
    """A rule set as it is written: an object of our users' making."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]


class RuleSet(RuleSetBody):
    """A version of a rule set as it is read."""

    id: str
    version: int
    active: bool
    created_at: Moment


class RuleSetList(Wire):
    """Versions of rule sets, newest first."""

    data: list[RuleSet]
    next_cursor: str | None


class ActivateBody(Wire):
    """Which version is to route from now on."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


@router.put("/{id}", response_model=RuleSet, responses={201: {"model": RuleSet}})
async def put_rule_set(
    who: Operator,
    id: PathId,
    body: Annotated[RuleSetBody, Depends(JsonBody(RuleSetBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Add a version of a rule set; it routes nothing until it is activated."""
    document = dict(body.__pydantic_extra__)
    if flaws := list(_unstorable(document)):
        raise invalid(flaws[:100])
    async with db.begin() as tx:
        outcome = await master.put_rule_set(tx, id, document, if_version, datetime.now(UTC))
    if isinstance(outcome, master.Changed):
        raise version_conflict()
    return _answer(outcome.row, 201 if outcome.created else 200).response()


@router.post("/{id}/activate", response_model=RuleSet)
async def activate_rule_set(
    who: Operator,
    id: PathId,
    body: Annotated[ActivateBody, Depends(JsonBody(ActivateBody))],
    db: Database,
) -> Response:
    """Let one version route from now on, instead of any other."""
    async with db.begin() as tx:
        row = await master.activate_rule_set(tx, id, body.version)
    if row is None:
        raise not_found()
    return _answer(row).response()


@router.get("/{id}", response_model=RuleSet)
async def get_rule_set(who: Operator, id: PathId, db: Database) -> Response:
    """Read the newest version of a rule set."""
    async with db.connect() as tx:
        row = await master.get_rule_set(tx, id)
    if row is None:
        raise not_found()
    return _answer(row).response()


@router.get("", response_model=RuleSetList)
async def list_rule_sets(
    who: Operator, db: Database, query: Annotated[ListQuery, Depends(QueryOf(ListQuery))]
) -> Response:
    """List all versions of all rule sets, newest first."""
    position = decode_cursor(query.cursor, str, str, int)
    after = (cursor_time(position[0]), *position[1:]) if position else None
    async with db.connect() as tx:
        rows = await master.list_rule_sets(tx, after=after, limit=query.limit + 1)
    found = page(
        rows,
        query.limit,
        show=_shown,
        position=lambda row: (row["created_at"].isoformat(), row["id"], row["version"]),
    )
    return answer(found).response()


def _shown(row: RowMapping) -> RuleSet:
    return RuleSet(**row["document"], **{name: row[name] for name in RESERVED})


def _answer(row: RowMapping, status: int = 200) -> Answer:
    return answer(_shown(row), status, version=row["version"])


def _unstorable(document: dict[str, Any]) -> Iterator[Flaw]:
    for name in RESERVED:
        if name in document:
            yield Flaw(pointer=f"/{name}", code="reserved_name", detail="The system sets it.")
    yield from odd_values(document, "")
