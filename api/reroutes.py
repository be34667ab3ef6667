"""Reroutes: how far they are, what became of each order, and pausing, resuming, stopping them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import reroutes as books
from adapters.db.reroutes import Reroute
from api.answers import Answer, answer
from api.auth import Database, Operator
from api.body import JsonBody
from api.fulfillment_orders import NoBody
from api.idempotency import OptionallyOnce
from api.ids import PathId
from api.lists import ListQuery, QueryOf, cursor_time, decode_cursor, page
from api.problems import Problem, not_found
from oms.fields import Moment, Wire
from oms.rerouting import Outcome, RerouteProgress

router = APIRouter(prefix="/v1/reroutes", tags=["Reroutes"])

PROBLEMS_SHOWN = 10

Status = Literal["running", "paused", "done", "cancelled"]


class RerouteOrderView(Wire):
    """What became of one order. `tries`: how often, if it failed."""

    order: str
    outcome: Outcome
    detail: str
    tries: int
    at: Moment


class RerouteView(Wire):
    """Orders that leave a place or an article, and how far that is.

    `location` is null for an article recalled everywhere. `done`: orders looked at, in all and by
    `outcomes`. `left`: orders to look at; null once it is over. `problems`: the first that failed.
    """

    id: str
    kind: Literal["location", "sku"]
    location: str | None
    sku: str | None
    reason: str
    status: Status
    actor: str
    at: Moment
    ended_at: Moment | None
    done: int
    left: int | None
    outcomes: dict[Outcome, int]
    problems: list[RerouteOrderView]
    version: int


class RerouteList(Wire):
    """Reroutes, newest first."""

    data: list[RerouteView]
    next_cursor: str | None


class RerouteOrderList(Wire):
    """What became of the orders of a reroute, by number."""

    data: list[RerouteOrderView]
    next_cursor: str | None


class OrdersQuery(ListQuery):
    """What the list is narrowed to."""

    outcome: (
        Literal["kept", "asked", "held", "cancelled", "backordered", "moved", "nothing", "failed"]
        | None
    ) = None


async def reroute_view(tx: AsyncConnection, reroute: Reroute) -> RerouteView:
    """A reroute as it is now."""
    found: RerouteProgress = await books.progress(tx, reroute)
    failed: Sequence[RowMapping] = ()
    if found.done.get(Outcome.FAILED):
        failed = await books.orders_of(
            tx, reroute.id, outcome=Outcome.FAILED, after=None, limit=PROBLEMS_SHOWN
        )
    return RerouteView.model_validate(
        reroute._asdict()
        | {
            "done": sum(found.done.values()),
            "left": None if found.is_over else found.left,
            "outcomes": found.done,
            "problems": [_order_view(row) for row in failed],
        },
        strict=False,
    )


def _order_view(row: RowMapping) -> RerouteOrderView:
    return RerouteOrderView(
        order=row["order_number"],
        outcome=Outcome(row["outcome"]),
        detail=row["detail"],
        tries=row["tries"],
        at=row["at"],
    )


@router.get("", response_model=RerouteList)
async def list_reroutes(
    who: Operator, db: Database, query: Annotated[ListQuery, Depends(QueryOf(ListQuery))]
) -> Response:
    """List reroutes, newest first."""
    position = decode_cursor(query.cursor, str, str)
    after = None if position is None else (cursor_time(position[0]), position[1])
    async with db.connect() as tx:
        found = await books.newest(tx, after=after, limit=query.limit + 1)
        shown = [(each, await reroute_view(tx, each)) for each in found]
    body = page(
        shown,
        query.limit,
        show=lambda each: each[1],
        position=lambda each: (each[0].at.isoformat(), each[0].id),
    )
    return answer(body).response()


@router.get("/{id}", response_model=RerouteView)
async def get_reroute(who: Operator, id: PathId, db: Database) -> Response:
    """Read how far a reroute is, and what failed first."""
    async with db.connect() as tx:
        found = await reroute_view(tx, await _known(tx, id))
    return answer(found, version=found.version).response()


@router.get("/{id}/orders", response_model=RerouteOrderList)
async def list_reroute_orders(
    who: Operator,
    id: PathId,
    db: Database,
    query: Annotated[OrdersQuery, Depends(QueryOf(OrdersQuery))],
) -> Response:
    """List what became of its orders, by number."""
    position = decode_cursor(query.cursor, str)
    async with db.connect() as tx:
        await _known(tx, id)
        found = await books.orders_of(
            tx,
            id,
            outcome=query.outcome,
            after=position[0] if position else None,
            limit=query.limit + 1,
        )
    body = page(
        found,
        query.limit,
        show=_order_view,
        position=lambda row: (row["order_number"],),
    )
    return answer(body).response()


@router.post("/{id}/pause", response_model=RerouteView)
async def pause_reroute(
    who: Operator,
    id: PathId,
    once: OptionallyOnce,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """Pause it after the order at hand."""
    return await once.in_transaction(lambda tx: _steer(tx, id, "pause", "paused"))


@router.post("/{id}/resume", response_model=RerouteView)
async def resume_reroute(
    who: Operator,
    id: PathId,
    once: OptionallyOnce,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """Go on after a pause."""
    return await once.in_transaction(lambda tx: _steer(tx, id, "resume", "running"))


@router.post("/{id}/stop", response_model=RerouteView)
async def stop_reroute(
    who: Operator,
    id: PathId,
    once: OptionallyOnce,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """End it; orders that have left stay where they are."""
    return await once.in_transaction(lambda tx: _steer(tx, id, "stop", "cancelled"))


async def _steer(tx: AsyncConnection, id: str, word: str, wanted: Status) -> Answer:
    found = await books.steer(tx, id, word, datetime.now(UTC))
    if found is None:
        raise not_found()
    if found.status != wanted:
        raise Problem("invalid_state", f"{id} is {found.status}: it cannot {word} now.")
    return answer(await reroute_view(tx, found), version=found.version)


async def _known(tx: AsyncConnection, id: str) -> Reroute:
    found = await books.read(tx, id)
    if found is None:
        raise not_found()
    return found
