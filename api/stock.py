"""Stock: counts and corrections, rules, levels and the ledger of movements."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import adjustments as ledger
from adapters.db import master
from adapters.db import stock_records as records
from adapters.db import stock_view as view
from adapters.db.credentials import Credential
from api.answers import Answer, IfMatch, answer, version_conflict
from api.auth import Database, NodeOrOperator, Operator
from api.body import JsonBody, invalid
from api.idempotency import OnceOnly
from api.ids import PathId
from api.lists import ListQuery, Query, QueryOf, decode_cursor, page
from api.problems import Problem, not_found, unknown_field
from api.products import UnitCost, check_cost
from oms.fields import Currency, Flaw, Id, Moment, Wire, Words

router = APIRouter(prefix="/v1/stock", tags=["Master data"])

MAX_ADJUSTMENTS = 10_000
MAX_UNITS = 10**9

Units = Annotated[int, Field(ge=0, le=MAX_UNITS)]


class Adjustment(Wire):
    """A count (`set`) or a correction (`delta`); `expected_on_hand` makes it compare-and-set."""

    sku: Id
    location: Id
    set: Units | None = None
    delta: Annotated[int, Field(ge=-MAX_UNITS, le=MAX_UNITS)] | None = None
    reason: Words = "adjustment"
    expected_on_hand: Units | None = None


class AdjustmentsBody(Wire):
    """Adjustments that are made together or not at all."""

    adjustments: Annotated[list[Adjustment], Field(min_length=1, max_length=MAX_ADJUSTMENTS)]


class Movement(Wire):
    """A line of the ledger."""

    at: Moment
    sku: str
    location: str
    bucket: str
    delta: int
    cause: str
    key: str


class Adjusted(Wire):
    """What the adjustments moved."""

    data: list[Movement]


class MovementList(Wire):
    """Movements of one article, newest first."""

    data: list[Movement]
    next_cursor: str | None


class PolicyBody(Wire):
    """Units kept back, and units that may be promised beyond stock.

    With `backorder_from_incoming`, what is coming may be promised besides the limit. The place runs
    low when `low_at` units or fewer are available. `unit_cost_minor`: what a unit costs the
    merchant here, in `cost_currency`; without it, what the article costs. `blocked`: none of it may
    be sold or promised, whatever lies there; left out, that stays as it is.
    """

    safety_stock: Units = 0
    backorder_limit: Units = 0
    backorder_from_incoming: bool = False
    low_at: Units | None = None
    unit_cost_minor: UnitCost | None = None
    cost_currency: Currency | None = None
    blocked: bool | None = None


class Policy(PolicyBody):
    """The rules of one article at one place."""

    sku: str
    location: str
    blocked: bool
    version: int


class Buckets(Wire):
    """Units by bucket. `incoming` holds `in_transit` and `coming_back`; `damaged` is by itself.

    `available` is what an order may take now: what `backordered` units wait for is theirs.
    """

    on_hand: int
    reserved: int
    allocated: int
    safety_stock: int
    incoming: int
    in_transit: int
    requested: int
    coming_back: int
    damaged: int
    backordered: int
    available: int


class LevelForChannel(Wire):
    """What a level gives a channel. `why_not`: why it gives nothing."""

    available: int
    buffer: int
    why_not: list[str]


class Level(Buckets):
    """The buckets of one place; `for_channel` where a channel was asked for."""

    location: str
    blocked: bool
    for_channel: LevelForChannel | None


class LevelOfSku(Level):
    """The buckets of one article at one place."""

    sku: str


class LevelList(Wire):
    """Levels by article and location."""

    data: list[LevelOfSku]
    next_cursor: str | None


class ComingUnits(Wire):
    """Units that are still to come. `overdue`: their time has passed."""

    location: str
    quantity: int
    expected_at: Moment | None
    overdue: bool
    source: Literal["purchase_order", "transfer"]
    id: str
    reference: str | None


class Stock(Wire):
    """One article's stock everywhere.

    `available_for_channel` is what the channel that was asked for could have of it altogether.
    """

    sku: str
    available: int
    available_for_channel: int | None
    totals: Buckets
    locations: list[Level]
    incoming: list[ComingUnits]


class StockQuery(Query):
    """Whose view is wanted."""

    channel: Id | None = None


class LevelQuery(ListQuery):
    """What the list is narrowed to, and whose view is wanted."""

    sku: Id | None = None
    location: Id | None = None
    channel: Id | None = None


@router.post("/adjustments", response_model=Adjusted)
async def adjust_stock(
    who: NodeOrOperator,
    once: OnceOnly,
    body: Annotated[AdjustmentsBody, Depends(JsonBody(AdjustmentsBody))],
) -> Response:
    """Count or correct stock: all the adjustments or none."""
    _check(body, who)

    async def work(tx: AsyncConnection) -> Answer:
        outcome = await ledger.adjust(
            tx,
            [_adjustment(each) for each in body.adjustments],
            key=f"adjust:{once.business_key}",
            at=datetime.now(UTC),
        )
        if isinstance(outcome, ledger.Refused):
            raise _refused(outcome)
        moved = [Movement(**movement._asdict()) for movement in outcome.movements]
        return answer(Adjusted(data=moved))

    return await once.in_transaction(work)


@router.put("/{sku}/{location}/policy", response_model=Policy, responses={201: {"model": Policy}})
async def put_policy(
    who: Operator,
    sku: PathId,
    location: PathId,
    body: Annotated[PolicyBody, Depends(JsonBody(PolicyBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Say how much of an article a place keeps back, may backorder, and what it costs there."""
    check_cost(body)
    async with db.begin() as tx:
        outcome = await records.set_policy(
            tx, sku=sku, location=location, if_version=if_version, **body.model_dump()
        )
    match outcome:
        case records.Unknown():
            raise unknown_field(outcome.what)
        case records.VersionConflict():
            raise version_conflict()
        case policy:
            status = 201 if policy.version == 1 else 200
            return answer(Policy(**policy._asdict()), status, version=policy.version).response()


@router.get("", response_model=LevelList)
async def list_levels(
    who: NodeOrOperator,
    db: Database,
    query: Annotated[LevelQuery, Depends(QueryOf(LevelQuery))],
) -> Response:
    """List levels by article and location; with `channel`, what each gives to it and why not."""
    position = decode_cursor(query.cursor, str, str)
    async with db.connect() as tx:
        await _known_channel(tx, query.channel)
        found = await view.levels(
            tx,
            sku=query.sku,
            location=query.location,
            channel=query.channel,
            reach=who.reach,
            after=(position[0], position[1]) if position else None,
            limit=query.limit + 1,
        )
    body = page(
        found,
        query.limit,
        show=lambda level: LevelOfSku(sku=level.sku, **_level(level)),
        position=lambda level: (level.sku, level.location),
    )
    return answer(body).response()


@router.get("/{sku}", response_model=Stock)
async def get_stock(
    who: Operator,
    sku: PathId,
    db: Database,
    query: Annotated[StockQuery, Depends(QueryOf(StockQuery))],
) -> Response:
    """Read an article's stock, place by place, and what is coming."""
    async with db.connect() as tx:
        await _known_channel(tx, query.channel)
        levels = await view.levels(tx, sku=sku, channel=query.channel)
        if not levels and await master.get(tx, master.PRODUCTS, sku) is None:
            raise not_found()
        coming = await view.coming(tx, sku, now=datetime.now(UTC))
    totals = {
        bucket: sum(getattr(level, bucket) for level in levels) for bucket in Buckets.model_fields
    }
    channel = sum(level.for_channel.available for level in levels if level.for_channel)
    stock = Stock(
        sku=sku,
        available=totals["available"],
        available_for_channel=None if query.channel is None else channel,
        totals=Buckets(**totals),
        locations=[Level(**_level(level)) for level in levels],
        incoming=[ComingUnits.model_validate(each._asdict()) for each in coming],
    )
    return answer(stock).response()


def _level(level: view.Level) -> dict[str, Any]:
    given = level.for_channel
    shown = None
    if given is not None:
        shown = LevelForChannel(
            available=given.available, buffer=given.buffer, why_not=list(given.why_not)
        )
    counted = {name: getattr(level, name) for name in Buckets.model_fields}
    place = {"location": level.location, "blocked": level.blocked}
    return {**counted, **place, "for_channel": shown}


async def _known_channel(tx: AsyncConnection, channel: str | None) -> None:
    if channel is not None and await master.get(tx, master.CHANNELS, channel) is None:
        raise unknown_field("channel")


@router.get("/{sku}/movements", response_model=MovementList)
async def list_movements(
    who: Operator,
    sku: PathId,
    db: Database,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """Read an article's ledger, newest first."""
    position = decode_cursor(query.cursor, int)
    async with db.connect() as tx:
        found = await records.movements_of(
            tx, sku, before=position[0] if position else None, limit=query.limit + 1
        )
        if not found and await master.get(tx, master.PRODUCTS, sku) is None:
            raise not_found()
    body = page(
        found,
        query.limit,
        show=lambda each: Movement(**each[1]._asdict()),
        position=lambda each: (each[0],),
    )
    return answer(body).response()


def _check(body: AdjustmentsBody, who: Credential) -> None:
    flaws = [
        Flaw(
            pointer=f"/adjustments/{i}",
            code="set_or_delta",
            detail="Exactly one of `set` and `delta`.",
        )
        for i, each in enumerate(body.adjustments)
        if (each.set is None) == (each.delta is None)
    ]
    if flaws:
        raise invalid(flaws)
    if not all(who.reaches_location(each.location) for each in body.adjustments):
        raise not_found()


def _adjustment(wire: Adjustment) -> ledger.Adjustment:
    return ledger.Adjustment(
        sku=wire.sku,
        location=wire.location,
        reason=wire.reason,
        set_to=wire.set,
        delta=wire.delta,
        expected_on_hand=wire.expected_on_hand,
    )


_FIELD = {
    "sku_unknown": "/sku",
    "location_unknown": "/location",
    "stock_changed": "/expected_on_hand",
    "stock_negative": "/delta",
}


def _refused(outcome: ledger.Refused) -> Problem:
    """The first adjustment's reason is the problem's code; errors name them all."""
    flaws = [
        Flaw(
            pointer=f"/adjustments/{error.index}{_FIELD[error.code]}",
            code=error.code,
            detail=error.detail,
        )
        for error in outcome.errors
    ]
    return Problem(outcome.errors[0].code, "Nothing was changed.", errors=flaws)
