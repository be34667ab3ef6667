"""What purchase orders bring: announced, moved to another date, received in parts, called off."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import incoming as books
from adapters.db.credentials import Credential
from adapters.db.stock_records import Unknown
from api.answers import Answer, IfMatch, answer, version_conflict
from api.auth import Database, NodeOrOperator, Operator
from api.body import JsonBody, invalid
from api.fulfillment_orders import NoBody
from api.idempotency import OnceOnly
from api.lists import ListQuery, QueryOf, Truth, decode_cursor, page
from api.problems import Problem, not_found, unknown_field
from oms.fields import Flaw, Id, Moment, Quantity, Wire, Words
from oms.incoming import Expectation

router = APIRouter(prefix="/v1/stock/incoming", tags=["Master data"])

IncomingId = Annotated[str, Path(pattern=r"^[1-9]\d{0,17}$")]
Status = Literal["expected", "partially_received", "received", "closed", "cancelled"]


class IncomingBody(Wire):
    """Units expected at a place. The same `reference` for the same units counts once."""

    sku: Id
    location: Id
    quantity: Quantity
    expected_at: Moment
    reference: Words


class IncomingChangeBody(Wire):
    """What is expected now."""

    quantity: Quantity
    expected_at: Moment


class IncomingReceiptBody(Wire):
    """Units that arrived; `damaged` of them cannot be sold."""

    quantity: Quantity
    damaged: Annotated[int, Field(ge=0)] = 0


class IncomingView(Wire):
    """Units that are expected, and what came of them.

    `announced_quantity` and `announced_at` are what was said first, `quantity` and `expected_at`
    what is expected now. `received` holds `damaged`. `overdue`: their time has passed, so nothing
    is promised on what is `outstanding`.
    """

    id: str
    sku: str
    location: str
    reference: str
    status: Status
    quantity: int
    expected_at: Moment
    announced_quantity: int
    announced_at: Moment
    received: int
    damaged: int
    outstanding: int
    overdue: bool
    version: int


class IncomingStep(Wire):
    """What happened, and what was expected from then on; `received` and `damaged` came with it."""

    at: Moment
    actor: str
    kind: Literal["announced", "changed", "received", "cancelled", "overdue"]
    quantity: int
    expected_at: Moment
    received: int
    damaged: int


class IncomingDetail(IncomingView):
    """Units that are expected, with everything that happened to them, oldest first."""

    history: list[IncomingStep]


class IncomingList(Wire):
    """Units that are or were expected, newest first."""

    data: list[IncomingView]
    next_cursor: str | None


class IncomingQuery(ListQuery):
    """What the list is narrowed to."""

    sku: Id | None = None
    location: Id | None = None
    reference: Words | None = None
    status: Status | None = None
    overdue: Truth | None = None


@router.post("", response_model=IncomingView, status_code=201)
async def expect_incoming(
    who: Operator,
    once: OnceOnly,
    body: Annotated[IncomingBody, Depends(JsonBody(IncomingBody))],
) -> Response:
    """Announce units that will come, e.g. by a purchase order."""

    async def work(tx: AsyncConnection) -> Answer:
        now = datetime.now(UTC)
        new = books.Incoming(**body.model_dump())
        match await books.expect_incoming(tx, new, actor=who.id, at=now):
            case Unknown(what):
                raise unknown_field(what)
            case books.ReferenceTaken():
                raise Problem(
                    "reference_reused", "The reference names other units expected at this place."
                )
            case expectation:
                return _shown(expectation, now, status=201)

    return await once.in_transaction(work)


@router.get("", response_model=IncomingList)
async def list_incoming(
    who: NodeOrOperator,
    db: Database,
    query: Annotated[IncomingQuery, Depends(QueryOf(IncomingQuery))],
) -> Response:
    """List what is and was expected at one's locations, newest first."""
    position, now = decode_cursor(query.cursor, int), datetime.now(UTC)
    wanted = books.IncomingFilter(
        **query.model_dump(exclude={"limit", "cursor"}),
        now=now,
        reach=who.reach,
    )
    async with db.connect() as tx:
        found = await books.list_expectations(
            tx, wanted, before=position[0] if position else None, limit=query.limit + 1
        )
    body = page(
        found,
        query.limit,
        show=lambda each: IncomingView(**_fields(each, now)),
        position=lambda each: (each.id,),
    )
    return answer(body).response()


@router.get("/{id}", response_model=IncomingDetail)
async def get_incoming(who: NodeOrOperator, id: IncomingId, db: Database) -> Response:
    """Read what is expected, and how its date and its units moved."""
    async with db.connect() as tx:
        expectation = await _visible(tx, id, who)
        history = await books.history_of(tx, expectation.id)
    steps = [IncomingStep(**{n: row[n] for n in IncomingStep.model_fields}) for row in history]
    shown = IncomingDetail(**_fields(expectation, datetime.now(UTC)), history=steps)
    return answer(shown, version=expectation.version).response()


@router.put("/{id}", response_model=IncomingView)
async def change_incoming(
    who: Operator,
    id: IncomingId,
    body: Annotated[IncomingChangeBody, Depends(JsonBody(IncomingChangeBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Say what is expected now: another date, or other units."""
    now = datetime.now(UTC)
    async with db.begin() as tx:
        before = await _visible(tx, id, who, lock=True)
        if if_version not in (None, before.version):
            raise version_conflict()
        if before.ended_at is not None:
            raise Problem("invalid_state", f"It is {before.status}: nothing more is expected.")
        after = await books.change_expectation(
            tx,
            before,
            quantity=body.quantity,
            expected_at=body.expected_at,
            actor=who.id,
            at=now,
        )
    return _shown(after, now).response()


Step = Callable[[AsyncConnection, Expectation, datetime], Coroutine[Any, Any, Expectation]]


async def _take(
    step: Step, *, id: str, who: Credential, once: OnceOnly, if_version: int | None
) -> Response:
    async def work(tx: AsyncConnection) -> Answer:
        before, now = await _visible(tx, id, who, lock=True), datetime.now(UTC)
        if if_version not in (None, before.version):
            raise version_conflict()
        return _shown(await step(tx, before, now), now)

    return await once.in_transaction(work)


@router.post("/{id}/receive", response_model=IncomingView)
async def receive_incoming(
    who: NodeOrOperator,
    id: IncomingId,
    once: OnceOnly,
    body: Annotated[IncomingReceiptBody, Depends(JsonBody(IncomingReceiptBody))],
    if_version: IfMatch,
) -> Response:
    """Say what arrived: a part, all, or more than was announced."""
    if body.damaged > body.quantity:
        flaw = Flaw(pointer="/damaged", code="too_large", detail="Of those that arrived.")
        raise invalid([flaw])

    async def step(tx: AsyncConnection, before: Expectation, now: datetime) -> Expectation:
        return await books.receive_expected(
            tx, before, quantity=body.quantity, damaged=body.damaged, actor=who.id, at=now
        )

    return await _take(step, id=id, who=who, once=once, if_version=if_version)


@router.post("/{id}/cancel", response_model=IncomingView)
async def cancel_incoming(
    who: Operator,
    id: IncomingId,
    once: OnceOnly,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
    if_version: IfMatch,
) -> Response:
    """Expect no more: what has not come will not."""

    async def step(tx: AsyncConnection, before: Expectation, now: datetime) -> Expectation:
        return await books.end_expectation(tx, before, actor=who.id, at=now)

    return await _take(step, id=id, who=who, once=once, if_version=if_version)


async def _visible(
    tx: AsyncConnection, id: str, who: Credential, *, lock: bool = False
) -> Expectation:
    found = await books.load_expectation(tx, int(id), lock=lock)
    if found is None or not who.reaches_location(found.location):
        raise not_found()
    return found


def _fields(expectation: Expectation, now: datetime) -> dict[str, Any]:
    return {
        **expectation.model_dump(exclude={"ended_at"}),
        "id": str(expectation.id),
        "status": expectation.status.value,
        "outstanding": expectation.outstanding,
        "overdue": expectation.is_overdue(now),
    }


def _shown(expectation: Expectation, now: datetime, status: int = 200) -> Answer:
    view = IncomingView(**_fields(expectation, now))
    return answer(view, status, version=expectation.version)
