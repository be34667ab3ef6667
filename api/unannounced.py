"""Goods that arrive and were not announced, and those that belong to nothing we know.

Who opens the parcel tells what lies there and what stands on it. Known goods are received at once;
unknown ones wait until an operator says what they are.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Response
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db import found_goods as books
from adapters.db import master
from adapters.db.book import SqlBook
from adapters.db.found_goods import FoundFilter, Goods
from adapters.db.parcels import find_parcel
from adapters.db.return_parcels import find_return_parcel
from adapters.db.unit import OrderUnit, load_order
from api.answers import Answer, answer
from api.auth import Database, NodeOrOperator, Operator
from api.body import JsonBody
from api.idempotency import OnceOnly, OptionallyOnce
from api.ids import PathId
from api.lists import ListQuery, QueryOf, Truth, cursor_time, decode_cursor, page
from api.problems import Problem, may_answer, not_found, refused, unknown_field
from api.return_views import ReturnView, return_view
from api.wiring import SettingsOfApi
from oms.cancelling import Refusal
from oms.fields import MAX_LINES, Id, Moment, Quantity, Wire, Words
from oms.found import Found
from oms.numbers import is_order_number, order_of, return_of

router = APIRouter(prefix="/v1", tags=["Returns"])

LineNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]


class FoundLine(Wire):
    """Units that lay in the parcel. `line` of the order, or `sku`, as far as anybody can tell.

    A wrong item needs the `line` it came instead of; `sku` is then what it is.
    """

    line: LineNumber | None = None
    sku: Id | None = None
    quantity: Quantity
    condition: Literal["as_new", "opened", "damaged", "wrong_item"]


class UnannouncedGoods(Wire):
    """A parcel that nobody announced. `reference`: what the scanner read; it names the scan.

    `order`, or the `tracking_number` of a parcel that we sent or gave a label for, if known.
    """

    location: Id
    reference: Words
    order: Words | None = None
    tracking_number: Words | None = None
    lines: Annotated[list[FoundLine], Field(min_length=1, max_length=MAX_LINES)]


class FoundGoodsView(Wire):
    """Goods of nothing we know, or beyond what was ever sent; nobody sells them until resolved.

    `return_id`: the return they lay beside. `resolution`: the order's line they were of, or what
    became of them.
    """

    id: str
    location: str
    reference: str
    line: int
    sku: str | None
    quantity: int
    condition: str
    return_id: str | None
    at: Moment
    resolved_at: Moment | None
    resolution: str | None
    reason: str | None
    version: int


class UnannouncedReceipt(Wire):
    """What became of a scan: the returns that it was received for, and what nobody knows."""

    location: str
    reference: str
    returns: list[ReturnView]
    found: list[FoundGoodsView]


class FoundGoodsList(Wire):
    """Found goods, newest first."""

    data: list[FoundGoodsView]
    next_cursor: str | None


class FoundGoodsQuery(ListQuery):
    """What the list is narrowed to. `open`: nobody has said yet what they are."""

    location: Id | None = None
    open: Truth | None = None


class FoundGoodsResolution(Wire):
    """What found goods are: of a `line` of an `order`, or nobody's, with a `disposition`."""

    order: Words | None = None
    line: LineNumber | None = None
    disposition: Literal["restock", "quarantine", "return_to_supplier", "dispose"] | None = None
    reason: Words

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        of_order = (self.order is not None, self.line is not None)
        if of_order not in ((True, True), (False, False)) or (self.disposition is None) == (
            of_order == (False, False)
        ):
            raise ValueError("either an order with its line, or a disposition")
        return self


# --- received -------------------------------------------------------------------------------


@router.post(
    "/returns/unannounced",
    status_code=201,
    response_model=UnannouncedReceipt,
    responses={200: {"model": UnannouncedReceipt}},
    openapi_extra=may_answer("not_found", "location_unknown", "reference_reused"),
)
async def receive_unannounced(
    who: NodeOrOperator,
    once: OptionallyOnce,
    body: Annotated[UnannouncedGoods, Depends(JsonBody(UnannouncedGoods))],
    db: Database,
    settings: SettingsOfApi,
) -> Response:
    """Receive goods that nobody announced. The same again: 200, unchanged.

    Other contents under the same reference at the same place: `reference_reused`.

    What is expected is received for its return; what may come back makes one, inspected before
    anything is paid; the rest waits among the found goods.
    """
    if not who.reaches_location(body.location):
        raise not_found()
    async with db.connect() as tx:
        if await master.get(tx, master.LOCATIONS, body.location) is None:
            raise unknown_field("location")
    goods = Goods(
        body.location,
        body.reference,
        tuple(Found(e.quantity, e.condition, e.line, e.sku) for e in body.lines),
        body.order,
        body.tracking_number,
    )

    async def work(_: object) -> Answer:
        return await _take_in(db, SqlBook(db, settings.policy), body, goods, who.id)

    return await once.around(work) if once.key is not None else (await work(None)).response()


async def _take_in(
    db: AsyncEngine, book: SqlBook, body: UnannouncedGoods, goods: Goods, actor: str
) -> Answer:
    number, back, shipment = await _whose(db, body)
    now = datetime.now(UTC)
    if number is None:
        async with db.begin() as tx:
            new = await books.keep_unknown(tx, goods, at=now, actor=actor)
    else:

        async def take(unit: OrderUnit) -> Refusal | bool:
            return await books.take_in(unit, goods, back=back, shipment=shipment)

        new = await book.change(number, now, take, actor=actor)
    if isinstance(new, Refusal):
        raise refused(new)
    return answer(await _receipt(db, goods), 201 if new else 200)


async def _whose(
    db: AsyncEngine, body: UnannouncedGoods
) -> tuple[str | None, str | None, str | None]:
    """The order that goods are of, and the return or the parcel of ours in which they lay."""
    async with db.connect() as tx:
        if body.tracking_number is not None:
            if parcel := await find_return_parcel(tx, body.tracking_number):
                return order_of(parcel), return_of(parcel), None
            if sent := await find_parcel(tx, body.tracking_number):
                return sent[0], None, sent[1]
        if body.order is not None and is_order_number(body.order):
            order = await load_order(tx, body.order)
            return (order.number if order else None), None, None
    return None, None, None


async def _receipt(db: AsyncEngine, goods: Goods) -> UnannouncedReceipt:
    async with db.connect() as tx:
        taken = await books.taken_in(tx, goods)
        found = await books.found_goods(tx, taken.found)
        order = await load_order(tx, taken.order) if taken.order else None
    return UnannouncedReceipt(
        location=goods.location,
        reference=goods.reference,
        returns=[return_view(order, order.return_(id)) for id in taken.returns] if order else [],
        found=[_view(row) for row in found],
    )


def _view(row: books.FoundRow) -> FoundGoodsView:
    names = set(FoundGoodsView.model_fields) - {"id", "version"}
    return FoundGoodsView(
        id=str(row["id"]),
        version=1 if row["resolved_at"] is None else 2,
        **{name: row[name] for name in names},
    )


# --- found ----------------------------------------------------------------------------------


@router.get("/found-goods", response_model=FoundGoodsList, openapi_extra=may_answer())
async def list_found_goods(
    who: NodeOrOperator,
    db: Database,
    query: Annotated[FoundGoodsQuery, Depends(QueryOf(FoundGoodsQuery))],
) -> Response:
    """List goods that belong to nothing we know, newest first; a node those at its places."""
    position = decode_cursor(query.cursor, str, int)
    after = (cursor_time(position[0]), position[1]) if position else None
    wanted = FoundFilter(query.location, query.open, who.reach)
    async with db.connect() as tx:
        found = await books.list_found(tx, wanted, after=after, limit=query.limit + 1)
    body = page(
        found, query.limit, show=_view, position=lambda row: (row["at"].isoformat(), row["id"])
    )
    return answer(body).response()


@router.post(
    "/found-goods/{id}/resolve",
    response_model=FoundGoodsView,
    openapi_extra=may_answer("line_unknown", "quantity_too_large", "sku_unknown", "invalid_state"),
)
async def resolve_found_goods(
    who: Operator,
    id: PathId,
    once: OnceOnly,
    body: Annotated[FoundGoodsResolution, Depends(JsonBody(FoundGoodsResolution))],
    db: Database,
    settings: SettingsOfApi,
) -> Response:
    """Say what found goods are. Said alike again, nothing changes; otherwise: `invalid_state`."""
    if not (id.isascii() and id.isdecimal() and len(id) <= 18):
        raise not_found()

    async def work(_: object) -> Answer:
        refusal = await _resolve(db, SqlBook(db, settings.policy), int(id), body, who.id)
        if refusal is not None:
            raise not_found() if refusal.code == "not_found" else refused(refusal)
        async with db.connect() as tx:
            (row,) = await books.found_goods(tx, [int(id)])
        view = _view(row)
        return answer(view, version=view.version)

    return await once.around(work)


async def _resolve(
    db: AsyncEngine, book: SqlBook, id: int, body: FoundGoodsResolution, actor: str
) -> Refusal | None:
    now = datetime.now(UTC)
    if body.disposition is not None:
        async with db.begin() as tx:
            return await books.decide_fate(tx, id, body.disposition, body.reason, at=now)
    number, line = body.order or "", body.line or 0
    async with db.connect() as tx:
        if not is_order_number(number) or await load_order(tx, number) is None:
            raise Problem("not_found", f"There is no order {number}.")

    async def belongs(unit: OrderUnit) -> Refusal | None:
        return await books.belongs_to(unit, id, line, body.reason)

    return await book.change(number, now, belongs, actor=actor)
