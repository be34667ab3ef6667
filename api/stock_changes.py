"""What changed in stock, for channels that keep a copy, and what happened to it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import master
from adapters.db.availability import available_by_sku
from adapters.db.credentials import Credential
from adapters.db.stock_changes import Listing, Position, read_changes, read_events
from api.answers import answer
from api.auth import ChannelOrOperator, Database
from api.lists import Query, QueryOf, WholeNumber, decode_cursor, encode_cursor
from api.problems import Problem, not_found
from oms.fields import Flaw, Id, Moment, Text, Wire

router = APIRouter(prefix="/v1/stock", tags=["Availability"])

MAX_CHANGES = 1_000


class ChangesQuery(Query):
    """Whose view, and how far it was read. Without a cursor it begins with all articles."""

    channel: Id
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_CHANGES)] = 100
    cursor: Annotated[str, Field(max_length=1000)] | None = None


class AvailableNow(Wire):
    """What a channel could have of an article now."""

    sku: str
    available: int


class ChangeList(Wire):
    """Articles that may have changed. Ask again with `next_cursor`: at once if there is `more`."""

    data: list[AvailableNow]
    next_cursor: str
    more: bool


@router.get("/changes", response_model=ChangeList)
async def list_changes(
    who: ChannelOrOperator,
    db: Database,
    query: Annotated[ChangesQuery, Depends(QueryOf(ChangesQuery))],
) -> Response:
    """Say of which articles a channel can have more or less than when it last asked.

    An article may come twice, and none is ever left out.
    """
    if not who.reaches_channel(query.channel):
        raise not_found()
    position = _position(query.cursor)
    async with db.connect() as tx:
        if await master.get(tx, master.CHANNELS, query.channel) is None:
            flaw = Flaw(pointer="/channel", code="channel_unknown", detail="There is none.")
            raise Problem("channel_unknown", "See errors.", errors=[flaw])
        page = await read_changes(tx, position, limit=query.limit, channel=query.channel)
        skus = dict.fromkeys(change.sku for change in page.changes)
        available = await available_by_sku(tx, skus=skus, channel=query.channel)
    shown = [AvailableNow(sku=sku, available=available[sku]) for sku in skus]
    found = ChangeList(data=shown, next_cursor=_cursor(page.position), more=page.more)
    return answer(found).response()


class EventsQuery(Query):
    """How far was read, and what it is narrowed to."""

    kind: Text | None = None
    sku: Id | None = None
    location: Id | None = None
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_CHANGES)] = 100
    cursor: Annotated[str, Field(max_length=1000)] | None = None


class StockEvent(Wire):
    """What happened. `location` is null for all places together, `sku` for all it holds."""

    id: int
    at: Moment
    kind: str
    sku: str | None
    location: str | None
    data: dict[str, Any]


class EventList(Wire):
    """Events, oldest first. Ask again with `next_cursor`: at once if there is `more`."""

    data: list[StockEvent]
    next_cursor: str
    more: bool


@router.get("/events", response_model=EventList)
async def list_events(
    who: ChannelOrOperator,
    db: Database,
    query: Annotated[EventsQuery, Depends(QueryOf(EventsQuery))],
) -> Response:
    """Say what ran low or out, came back, vanished, is overdue; each of it once.

    Channels hear of articles, and of the places that serve them, that run low or out or are back.
    """
    position = _position(query.cursor)
    narrowed = {"kind": query.kind, "sku": query.sku, "location": query.location}
    async with db.connect() as tx:
        told = await read_events(
            tx, position, limit=query.limit, reach=await _reach(tx, who), **narrowed
        )
    shown = [
        StockEvent(**{name: getattr(event, name) for name in StockEvent.model_fields})
        for event in told.events
    ]
    found = EventList(data=shown, next_cursor=_cursor(told.position), more=told.more)
    return answer(found).response()


async def _reach(tx: AsyncConnection, who: Credential) -> list[str] | None:
    if who.role == "operator":
        return None
    if "*" in who.channels:
        return ["*", *await master.channel_ids(tx)]
    return ["*", *sorted(who.channels)]


def _cursor(position: Position) -> str:
    """Name a position: `""` for a list of all articles, and no list at all, are told by a flag."""
    assert position.life is not None
    listing = position.listing
    at, after = (listing.location or "", listing.after) if listing else ("", "")
    return encode_cursor(
        position.life, position.xid, position.id, int(listing is not None), at, after
    )


def _position(cursor: str | None) -> Position | None:
    position = decode_cursor(cursor, int, int, int, int, str, str)
    if position is None:
        return None
    life, xid, id, lists, at, after = position
    return Position(life, xid, id, Listing(at or None, after) if lists else None)
