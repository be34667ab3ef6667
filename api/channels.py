"""Channels: where orders come from, and which stock counts for them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, Field

from adapters.db import master
from api.answers import IfMatch
from api.auth import Database, Operator
from api.body import JsonBody
from api.ids import PathId
from api.locations import Kind, no_repeats
from api.writing import put_resource, read_resource
from oms.fields import MAX_QUANTITY, Wire, Words

router = APIRouter(prefix="/v1/channels", tags=["Master data"])

Kinds = Annotated[list[Kind], Field(min_length=1), AfterValidator(no_repeats)]
Buffer = Annotated[int, Field(ge=0, le=MAX_QUANTITY)]


class ChannelBody(Wire):
    """A channel as it is written.

    Only stock at locations of these `location_kinds` counts for it; null for all. `buffers`: units
    of every article that it leaves at each location of a kind, beside the place's safety stock.
    """

    name: Words
    active: bool = True
    location_kinds: Kinds | None = None
    buffers: dict[Kind, Buffer] = Field({})


class Channel(ChannelBody):
    """A channel as it is read."""

    id: str
    version: int


@router.put("/{id}", response_model=Channel, responses={201: {"model": Channel}})
async def put_channel(
    who: Operator,
    id: PathId,
    body: Annotated[ChannelBody, Depends(JsonBody(ChannelBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Make or change a channel."""
    return await put_resource(
        db, master.CHANNELS, id, body.model_dump(), if_version=if_version, model=Channel
    )


@router.get("/{id}", response_model=Channel)
async def get_channel(who: Operator, id: PathId, db: Database) -> Response:
    """Read a channel."""
    return await read_resource(db, master.CHANNELS, id, Channel)
