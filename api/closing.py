"""Places that close and articles that are recalled; what they were to serve may go elsewhere."""

import secrets
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import master, recalls, reroutes
from adapters.db.recalls import Recalled
from adapters.db.reroutes import Reroute
from adapters.db.stock_records import Unknown
from api.answers import Answer, answer
from api.auth import Operator
from api.body import JsonBody
from api.fulfillment_orders import NoBody
from api.idempotency import OnceOnly
from api.ids import PathId
from api.locations import Location
from api.problems import not_found, unknown_field
from api.reroutes import RerouteView, reroute_view
from api.writing import shown
from oms.fields import Id, Wire, Words
from oms.numbers import NUMBERS, reroute_id

router = APIRouter(prefix="/v1", tags=["Reroutes"])


class CloseBody(Wire):
    """Why it closes. With `reroute`, what it was to serve goes elsewhere; else it ends what it has.

    The reason is kept with the reroute: it names no customer.
    """

    reason: Words
    reroute: bool = False


class RecallBody(Wire):
    """Why an article must not be sold: at one place, or without `location` at all of them.

    Without `reroute`, orders that hold it are not looked for; none is offered any of it all the
    same.
    """

    location: Id | None = None
    reason: Words
    reroute: bool = True


class RecallEndBody(Wire):
    """Where an article may be sold again; without `location` at all places."""

    location: Id | None = None


class ClosedView(Wire):
    """The place as it is now, and the reroute that empties it, if one was wanted."""

    location: Location
    reroute: RerouteView | None


class RecallView(Wire):
    """Where an article must not be sold: `everywhere`, also where it comes to later, or `blocked`.

    `reroute`: the one that serves its orders from elsewhere, if one was wanted.
    """

    sku: str
    everywhere: bool
    blocked: list[str]
    reroute: RerouteView | None


@router.post("/locations/{id}/close", response_model=ClosedView)
async def close_location(
    who: Operator,
    id: PathId,
    once: OnceOnly,
    body: Annotated[CloseBody, Depends(JsonBody(CloseBody))],
) -> Response:
    """Close a place: no new plan uses it. With `reroute`, its orders are served from elsewhere."""

    async def work(tx: AsyncConnection) -> Answer:
        at = datetime.now(UTC)
        row = await master.close_location(tx, id, clear=body.reroute, at=at)
        if row is None:
            raise not_found()
        begun = None
        if body.reroute:
            begun = await _begin(tx, "location", id, None, body.reason, once.credential, at)
        return await _closed(tx, row, begun)

    return await once.in_transaction(work)


@router.post("/locations/{id}/open", response_model=ClosedView)
async def open_location(
    who: Operator,
    id: PathId,
    once: OnceOnly,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """Open a place again. What has left it stays where it is; a reroute of it ends."""

    async def work(tx: AsyncConnection) -> Answer:
        row = await master.open_location(tx, id)
        if row is None:
            raise not_found()
        return await _closed(tx, row, None)

    return await once.in_transaction(work)


@router.post("/stock/{sku}/recall", response_model=RecallView)
async def recall_article(
    who: Operator,
    sku: PathId,
    once: OnceOnly,
    body: Annotated[RecallBody, Depends(JsonBody(RecallBody))],
) -> Response:
    """Let nobody sell an article, at one place or anywhere; it stays on its shelves."""

    async def work(tx: AsyncConnection) -> Answer:
        at = datetime.now(UTC)
        found = _known(await recalls.recall(tx, sku, body.location))
        begun = None
        if body.reroute:
            begun = await _begin(tx, "sku", body.location, sku, body.reason, once.credential, at)
        return await _recalled(tx, found, begun)

    return await once.in_transaction(work)


@router.post("/stock/{sku}/recall/end", response_model=RecallView)
async def end_recall(
    who: Operator,
    sku: PathId,
    once: OnceOnly,
    body: Annotated[RecallEndBody, Depends(JsonBody(RecallEndBody))],
) -> Response:
    """Let an article be sold again, at one place or everywhere."""

    async def work(tx: AsyncConnection) -> Answer:
        found = _known(await recalls.end_recall(tx, sku, body.location))
        return await _recalled(tx, found, None)

    return await once.in_transaction(work)


async def _begin(
    tx: AsyncConnection,
    kind: str,
    location: str | None,
    sku: str | None,
    reason: str,
    actor: str,
    at: datetime,
) -> Reroute:
    """Write a reroute, or find the one under way; the relay starts its process."""
    id = reroute_id(secrets.randbelow(NUMBERS))
    return await reroutes.begin(
        tx, id, kind=kind, location=location, sku=sku, reason=reason, actor=actor, at=at
    )


def _known(found: Recalled | Unknown) -> Recalled:
    if isinstance(found, Unknown):
        raise not_found() if found.what == "sku" else unknown_field("location")
    return found


async def _view(tx: AsyncConnection, reroute: Reroute | None) -> RerouteView | None:
    return None if reroute is None else await reroute_view(tx, reroute)


async def _closed(tx: AsyncConnection, row: RowMapping, reroute: Reroute | None) -> Answer:
    place = Location.model_validate(shown(Location, row))
    body = ClosedView(location=place, reroute=await _view(tx, reroute))
    return answer(body, version=row["version"])


async def _recalled(tx: AsyncConnection, found: Recalled, reroute: Reroute | None) -> Answer:
    view = await _view(tx, reroute)
    return answer(
        RecallView(
            sku=found.sku, everywhere=found.everywhere, blocked=list(found.blocked), reroute=view
        )
    )
