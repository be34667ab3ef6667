"""What changed in stock, for channels that keep a copy, and what happened to it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from adapters.db import master
from adapters.db.availability import available_by_sku
from adapters.db.stock_changes import Listing, Position, read_changes
from api.answers import answer
from api.auth import ChannelOrOperator, Database
from api.lists import Query, QueryOf, WholeNumber, decode_cursor, encode_cursor
from api.problems import Problem, not_found
from oms.fields import Flaw, Id, Wire

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


def _cursor(position: Position) -> str:
    """Name a position: `""` for a list of all articles, and no list at all, are told by a flag."""
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
