"""What a channel can have of an article, and what is coming."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from adapters.db import master
from adapters.db.availability import availability
from api.answers import answer
from api.auth import ChannelOrOperator, Database
from api.lists import Query, QueryOf, WholeNumber
from api.problems import Problem, not_found
from oms.fields import MAX_QUANTITY, Country, Flaw, Id, Moment, Text, Wire
from oms.places import postal_code_possible

router = APIRouter(prefix="/v1/availability", tags=["Availability"])


class AvailabilityQuery(Query):
    """What is asked for. `country` and `postal_code` say where it would go."""

    sku: Id
    channel: Id
    quantity: Annotated[WholeNumber, Field(ge=1, le=MAX_QUANTITY)] = 1
    country: Country | None = None
    postal_code: Text | None = None


class Expected(Wire):
    """Units on their way."""

    quantity: int
    expected_at: Moment


class Availability(Wire):
    """Units that could be had now. `in_stock`: as many as were asked for.

    `backorderable`: units that may be promised beyond stock. With `preorder` these are all there
    is, until `available_from`.
    """

    sku: str
    available: int
    in_stock: bool
    backorderable: int
    preorder: bool
    available_from: Moment | None
    incoming: list[Expected]


@router.get("", response_model=Availability)
async def get_availability(
    who: ChannelOrOperator,
    db: Database,
    query: Annotated[AvailabilityQuery, Depends(QueryOf(AvailabilityQuery))],
) -> Response:
    """Say how much of an article a channel can have now."""
    if not who.reaches_channel(query.channel):
        raise not_found()
    if not _possible(query.country, query.postal_code):
        raise _unknown("address_invalid", "postal_code")
    async with db.connect() as tx:
        if not await master.channel_is_open(tx, query.channel):
            raise _unknown("channel_unknown", "channel")
        if await master.unknown_skus(tx, {query.sku}):
            raise _unknown("sku_unknown", "sku")
        found = await availability(
            tx,
            sku=query.sku,
            quantity=query.quantity,
            channel=query.channel,
            now=datetime.now(UTC),
        )
    incoming = [Expected(**each._asdict()) for each in found.incoming]
    shown = Availability(
        sku=found.sku,
        available=found.available,
        in_stock=found.in_stock,
        backorderable=found.backorderable,
        preorder=found.preorder_until is not None,
        available_from=found.preorder_until,
        incoming=incoming,
    )
    return answer(shown).response()


def _possible(country: str | None, postal_code: str | None) -> bool:
    return country is None or postal_code is None or postal_code_possible(country, postal_code)


def _unknown(code: str, parameter: str) -> Problem:
    flaw = Flaw(pointer=f"/{parameter}", code=code, detail="Unknown or impossible.")
    return Problem(code, "See errors.", errors=[flaw])
