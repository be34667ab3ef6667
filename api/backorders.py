"""Backorders: the rule they are served by, who waits for an article, and who got it before."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from adapters.db import backorders, master
from adapters.db.releases import Released, releases_of
from api.answers import IfMatch, answer, version_conflict
from api.auth import Database, Operator
from api.body import JsonBody, invalid
from api.ids import PathId
from api.lists import ListQuery, QueryOf, decode_cursor, page
from api.problems import not_found
from api.wiring import SettingsOfApi
from oms.backorders import BackorderPolicy, Decision, Kind, Verdict, why
from oms.fields import Flaw, Moment, Wire, Words
from oms.words import count_of

router = APIRouter(prefix="/v1/stock", tags=["Backorders"])

SHOWN = 1_000
"""Orders of a queue that are shown; the rest are counted."""


class BackorderPolicyBody(Wire):
    """By which rule backordered units are released when goods arrive.

    `segments` are for `priority`: customers of these, in this order, before all others. With
    `ship_complete` an order that waited `patience_days` gets what is there.
    """

    policy: Kind
    segments: Annotated[list[Words], Field(max_length=100)] = Field([])
    patience_days: Annotated[int, Field(ge=0, le=3650)] = 14


class BackorderPolicyView(BackorderPolicyBody):
    """The rule that stands. `set_at` and `set_by` are null until one is set."""

    version: int
    set_at: Moment | None
    set_by: str | None


class BackorderPolicyList(Wire):
    """All versions of the rule, newest first."""

    data: list[BackorderPolicyView]
    next_cursor: str | None


class InQueue(Wire):
    """An order that waits. `stands`: why at this place; `waits`: what for, or that it is due."""

    place: int
    order: str
    units: int
    since: Moment
    stands: str
    waits: str


class OtherOrder(Wire):
    """Another order of the queue at the time of a release."""

    order: str
    place: int
    words: str


class ReleaseView(Wire):
    """Units that an order got. `passed`: who stood before it and got none; `behind`: the next."""

    at: Moment
    order: str
    line: int
    location: str
    quantity: int
    actor: str
    policy: str
    policy_version: int | None
    place: int | None
    waiting: int | None
    since: Moment
    reason: str
    passed: list[OtherOrder]
    behind: list[OtherOrder]


class Backorders(Wire):
    """The queue of an article now, and its releases, newest first."""

    sku: str
    policy: str
    policy_version: int
    available_from: Moment | None
    orders: int
    units: int
    queue: list[InQueue]
    releases: list[ReleaseView]
    next_cursor: str | None


@router.put(
    "/backorder-policy",
    response_model=BackorderPolicyView,
    responses={201: {"model": BackorderPolicyView}},
)
async def put_backorder_policy(
    who: Operator,
    body: Annotated[BackorderPolicyBody, Depends(JsonBody(BackorderPolicyBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Set the rule. The next release goes by it; versions before it are kept."""
    _check(body)
    at = datetime.now(UTC)
    policy = BackorderPolicy(
        policy=body.policy, segments=tuple(body.segments), patience_days=body.patience_days
    )
    async with db.begin() as tx:
        made = await backorders.set_policy(tx, policy, actor=who.id, at=at, if_version=if_version)
    if isinstance(made, backorders.Changed):
        raise version_conflict()
    shown = _policy(backorders.PolicySet(made, who.id, at))
    status = 201 if made.version == 1 else 200
    return answer(shown, status, version=made.version).response()


@router.get("/backorder-policy", response_model=BackorderPolicyView)
async def get_backorder_policy(who: Operator, db: Database) -> Response:
    """Read the rule that stands."""
    async with db.connect() as tx:
        history = await backorders.policy_history(tx, before=None, limit=1)
    shown = _policy(history[0] if history else backorders.PolicySet(BackorderPolicy()))
    return answer(shown, version=shown.version).response()


@router.get("/backorder-policy/history", response_model=BackorderPolicyList)
async def list_backorder_policies(
    who: Operator,
    db: Database,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """Read all versions of the rule, newest first."""
    position = decode_cursor(query.cursor, int)
    async with db.connect() as tx:
        found = await backorders.policy_history(
            tx, before=position[0] if position else None, limit=query.limit + 1
        )
    body = page(found, query.limit, show=_policy, position=lambda each: (each.policy.version,))
    return answer(body).response()


@router.get("/{sku}/backorders", response_model=Backorders)
async def get_backorders(
    who: Operator,
    sku: PathId,
    db: Database,
    settings: SettingsOfApi,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """Read who waits for an article, in turn, and who got it before; `limit` is of the releases."""
    position = decode_cursor(query.cursor, int)
    now = datetime.now(UTC)
    async with backorders.one_moment(db) as tx:
        product = await master.get(tx, master.PRODUCTS, sku)
        if product is None:
            raise not_found()
        decision = await backorders.read_decision(tx, [sku], now, settings.policy)
        found = await releases_of(
            tx, sku, before=position[0] if position else None, limit=query.limit + 1
        )
    released = page(found, query.limit, show=_release, position=lambda each: (each.id,))
    day = product["available_from"]
    if day is not None and day <= now:
        day = None
    shown = _queue(sku, decision, day) | {
        "available_from": day,
        "releases": released["data"],
        "next_cursor": released["next_cursor"],
    }
    return answer(Backorders.model_validate(shown, strict=False)).response()


def _check(body: BackorderPolicyBody) -> None:
    flaws = []
    if body.policy == "priority" and not body.segments:
        flaws.append(_flaw("required", "Priority goes by segments: name at least one."))
    if body.policy != "priority" and body.segments:
        flaws.append(_flaw("not_allowed", "Segments are for `priority`."))
    if len(set(body.segments)) < len(body.segments):
        flaws.append(_flaw("repeated", "A segment has one place."))
    if flaws:
        raise invalid(flaws)


def _flaw(code: str, detail: str) -> Flaw:
    return Flaw(pointer="/segments", code=code, detail=detail)


def _policy(each: backorders.PolicySet) -> BackorderPolicyView:
    return BackorderPolicyView(
        policy=each.policy.policy,
        segments=list(each.policy.segments),
        patience_days=each.policy.patience_days,
        version=each.policy.version,
        set_at=each.at,
        set_by=each.actor,
    )


def _queue(sku: str, decision: Decision, day: datetime | None) -> dict[str, Any]:
    waiting = [each for each in decision.verdicts if sku in each.waiting.skus]
    return {
        "sku": sku,
        "policy": decision.policy.policy,
        "policy_version": decision.policy.version,
        "orders": len(waiting),
        "units": sum(_units(sku, each) for each in waiting),
        "queue": [
            InQueue(
                place=place,
                order=each.waiting.order,
                units=_units(sku, each),
                since=each.waiting.since,
                stands=why(decision.policy, each.waiting),
                waits=_waits(sku, each, day),
            )
            for place, each in enumerate(waiting[:SHOWN], start=1)
        ],
    }


def _units(sku: str, each: Verdict) -> int:
    return sum(line.quantity for line in each.waiting.lines if line.sku == sku)


def _waits(sku: str, each: Verdict, day: datetime | None) -> str:
    if day is not None and each.waiting.blocked is None:
        return f"a preorder, not before {day:%Y-%m-%d %H:%M} UTC"
    picks = each.release.picks if each.release is not None else ()
    due = sum(pick.quantity for pick in picks if pick.sku == sku)
    if due:
        return f"{count_of(due, 'unit')} released now"
    return each.reason if each.release is None else "nothing is there for it"


def _release(each: Released) -> ReleaseView:
    values = each._asdict()
    del values["id"]
    return ReleaseView.model_validate(values)
