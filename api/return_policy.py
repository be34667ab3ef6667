"""The return policy: checked whole, kept in versions, of which the newest stands."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import return_policies as stored
from adapters.db.master import Changed
from adapters.db.rule_sets import unknown_references
from api.answers import Answer, IfMatch, answer, version_conflict
from api.auth import Database, Operator
from api.body import JsonDocument
from api.lists import ListQuery, Query, QueryOf, WholeNumber, decode_cursor, page
from api.problems import Problem, may_answer, not_found
from api.routing import Checked, flaw_views, nobody
from oms.document_checks import MOST_TOLD
from oms.fields import Flaw, Moment, Wire
from oms.return_policy import ReturnPolicy
from oms.return_policy_checks import loosely_named, named, policy_notes, read_policy

router = APIRouter(prefix="/v1/return-policy", tags=["Returns"])


class ReturnPolicyVersion(ReturnPolicy):
    """A version of the return policy as it is read. Version 0 is the usual one, put by nobody."""

    version: int
    actor: str | None
    created_at: Moment | None


class ReturnPolicyList(Wire):
    """Versions of the return policy, newest first."""

    data: list[ReturnPolicyVersion]
    next_cursor: str | None


class VersionQuery(Query):
    """Which version is wanted; without one, the newest."""

    version: Annotated[WholeNumber, Field(ge=0, le=2**31 - 1)] | None = None


Document = Annotated[Any, Depends(JsonDocument(ReturnPolicy))]


@router.put(
    "",
    response_model=ReturnPolicyVersion,
    responses={201: {"model": ReturnPolicyVersion}},
    openapi_extra=may_answer(),
)
async def put_return_policy(
    who: Operator, body: Document, db: Database, if_version: IfMatch
) -> Response:
    """Let a policy stand from now on. Returns agreed before keep their terms."""
    async with db.begin() as tx:
        policy, flaws = await _checked(tx, body)
        if policy is None or flaws:
            raise Problem("validation_failed", "Nothing was changed. See errors.", errors=flaws)
        outcome = await stored.put_policy(tx, policy, if_version, who.id, datetime.now(UTC))
    if isinstance(outcome, Changed):
        raise version_conflict()
    return _answer(outcome, 201 if outcome.policy.version == 1 else 200).response()


@router.post("/check", response_model=Checked, openapi_extra=may_answer())
async def check_return_policy(who: Operator, body: Document, db: Database) -> Response:
    """Tell what is wrong with a policy, and what may be a slip; nothing is stored."""
    async with db.connect() as tx:
        policy, flaws = await _checked(tx, body)
        notes = [nobody(each) for each in await unknown_references(tx, loosely_named(body))]
    if policy is not None:
        notes += policy_notes(policy)
    return answer(Checked(errors=flaw_views(flaws), notes=flaw_views(notes))).response()


@router.get("", response_model=ReturnPolicyVersion, openapi_extra=may_answer("not_found"))
async def get_return_policy(
    who: Operator, db: Database, query: Annotated[VersionQuery, Depends(QueryOf(VersionQuery))]
) -> Response:
    """Read the policy that stands, or one version of it."""
    async with db.connect() as tx:
        if query.version is None:
            found: stored.StoredPolicy | None = await stored.newest_policy(tx)
        else:
            found = await stored.policy_of(tx, query.version)
    if found is None:
        raise not_found()
    return _answer(found).response()


@router.get("/versions", response_model=ReturnPolicyList, openapi_extra=may_answer())
async def list_return_policies(
    who: Operator, db: Database, query: Annotated[ListQuery, Depends(QueryOf(ListQuery))]
) -> Response:
    """List all versions that were put, newest first."""
    position = decode_cursor(query.cursor, int)
    async with db.connect() as tx:
        found = await stored.list_policies(
            tx, before=position[0] if position else None, limit=query.limit + 1
        )
    shown = page(found, query.limit, show=_shown, position=lambda each: (each.policy.version,))
    return answer(shown).response()


async def _checked(
    tx: AsyncConnection, document: Any
) -> tuple[ReturnPolicy | None, Sequence[Flaw]]:
    """Read a policy, with every error of it: of its own, and names of what there is not."""
    # Beside the event loop: a megabyte of errors takes a second.
    found = await asyncio.to_thread(read_policy, document)
    policy = found if isinstance(found, ReturnPolicy) else None
    flaws = [] if isinstance(found, ReturnPolicy) else list(found)
    for each in (await unknown_references(tx, named(document)))[:MOST_TOLD]:
        detail = f"There is no {each.kind} {each.id}."
        flaws.append(Flaw(pointer=each.pointer, code=f"{each.kind}_unknown", detail=detail))
    return policy, flaws


def _shown(each: stored.StoredPolicy) -> ReturnPolicyVersion:
    # With all its defaults: what is left out in a file counts too.
    return ReturnPolicyVersion(
        **dict(each.policy.policy),
        version=each.policy.version,
        actor=each.actor,
        created_at=each.at,
    )


def _answer(found: stored.StoredPolicy, status: int = 200) -> Answer:
    return answer(_shown(found), status, version=found.policy.version)
