"""Channels: where orders come from."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from adapters.db import master
from api.answers import IfMatch
from api.auth import Database, Operator
from api.body import JsonBody
from api.ids import PathId
from api.writing import put_resource, read_resource
from oms.fields import Wire, Words

router = APIRouter(prefix="/v1/channels", tags=["Master data"])


class ChannelBody(Wire):
    """A channel as it is written."""

    name: Words
    active: bool = True


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
