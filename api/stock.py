"""Stock: counts and corrections, rules, levels and the ledger of movements."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import adjustments as ledger
from adapters.db import master
from adapters.db import stock_records as records
from adapters.db.credentials import Credential
from api.answers import Answer, IfMatch, answer, version_conflict
from api.auth import Database, NodeOrOperator, Operator
from api.body import JsonBody, invalid
from api.idempotency import OnceOnly
from api.ids import PathId
from api.lists import ListQuery, QueryOf, decode_cursor, page
from api.problems import Problem, not_found, unknown_field
from oms.fields import Flaw, Id, Moment, Wire, Words

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

    With `backorder_from_incoming`, what is coming may be promised besides the limit.
    """

    safety_stock: Units = 0
    backorder_limit: Units = 0
    backorder_from_incoming: bool = False


class Policy(PolicyBody):
    """The rules of one article at one place."""

    sku: str
    location: str
    version: int


class Level(Wire):
    """The buckets of one place. `incoming` holds `in_transit`; `damaged` is beside `on_hand`.

    `available` is what an order may take now: what `backordered` units wait for is theirs.
    """

    location: str
    on_hand: int
    reserved: int
    allocated: int
    safety_stock: int
    incoming: int
    in_transit: int
    requested: int
    damaged: int
    backordered: int
    available: int


class Stock(Wire):
    """One article's stock everywhere."""

    sku: str
    available: int
    locations: list[Level]


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
    """Say how much of an article's stock a place keeps back, and how much may be backordered."""
    async with db.begin() as tx:
        outcome = await records.set_policy(
            tx,
            sku=sku,
            location=location,
            safety_stock=body.safety_stock,
            backorder_limit=body.backorder_limit,
            backorder_from_incoming=body.backorder_from_incoming,
            if_version=if_version,
        )
    match outcome:
        case records.Unknown():
            raise unknown_field(outcome.what)
        case records.VersionConflict():
            raise version_conflict()
        case policy:
            status = 201 if policy.version == 1 else 200
            return answer(Policy(**policy._asdict()), status, version=policy.version).response()


@router.get("/{sku}", response_model=Stock)
async def get_stock(who: Operator, sku: PathId, db: Database) -> Response:
    """Read an article's stock, place by place."""
    async with db.connect() as tx:
        levels = await records.stock_of(tx, sku)
        if not levels and await master.get(tx, master.PRODUCTS, sku) is None:
            raise not_found()
    shown = [Level(**level._asdict()) for level in levels]
    available = sum(level.available for level in levels)
    return answer(Stock(sku=sku, available=available, locations=shown)).response()


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
