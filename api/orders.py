"""Orders: placed by channels, read by channels and operators."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, Response

from adapters.db import lists
from adapters.db.backorders import places_in_the_queue
from adapters.db.credentials import Credential
from adapters.db.mode import Mode, read_mode
from adapters.db.routing_decisions import MOST_WORDS, newest_decision
from adapters.db.unit import load_order, load_orders
from api.answers import answer
from api.auth import ChannelOrOperator, Database
from api.body import JsonBody
from api.idempotency import OnceOnly
from api.ids import PathId
from api.lists import ListQuery, QueryOf, Truth, cursor_time, decode_cursor, page
from api.order_views import OrderList, OrderView, order_view
from api.placing import OrderPlacing, shown
from api.problems import not_found
from api.wiring import SettingsOfApi, Temporal
from oms.explain import Wait, explain
from oms.fields import Id, Moment, Wire, Words
from oms.orders import Order
from oms.placing import OrderRequest
from oms.reasons import words
from oms.return_explain import explain_returns

router = APIRouter(prefix="/v1/orders", tags=["Orders"])


class OrderQuery(ListQuery):
    """What the list is narrowed to. `attention`: whether a step is parked."""

    channel: Id | None = None
    reference: Words | None = None
    status: Literal["pending", "open", "completed", "cancelled"] | None = None
    customer: Id | None = None
    sku: Id | None = None
    location: Id | None = None
    attention: Truth | None = None
    promise: Literal["kept", "at_risk", "missed"] | None = None


class EventView(Wire):
    """Something that happened to an order."""

    at: Moment
    actor: str
    kind: str
    summary: str
    data: dict[str, Any]


class Timeline(Wire):
    """What happened, oldest first."""

    data: list[EventView]
    next_cursor: str | None


class Explanation(Wire):
    """Everything an order and its returns wait for; nothing when all are closed.

    `routing`: why it is served from where it is, the newest decision in words, the choice first.
    """

    data: list[Wait]
    routing: list[str]


@router.post(
    "",
    status_code=201,
    response_model=OrderView,
    responses={200: {"model": OrderView}, 202: {"model": OrderView}},
)
async def place_order(
    who: ChannelOrOperator,
    once: OnceOnly,
    body: Annotated[OrderRequest, Depends(JsonBody(OrderRequest))],
    db: Database,
    temporal: Temporal,
    settings: SettingsOfApi,
) -> Response:
    """Place an order.

    201 when stock is held and payment authorised, 202 when that takes longer, 200 for the same
    order once more; 422 with the refused order's `number` for `insufficient_stock` and
    `payment_declined`.
    """
    placing = OrderPlacing(db, temporal, settings, who)
    return await once.around(lambda claim: placing.place(body, claim))


@router.get("/{number}", response_model=OrderView)
async def get_order(who: ChannelOrOperator, number: PathId, db: Database) -> Response:
    """Read an order."""
    return shown(await visible_order(db, number, who), 200).response()


@router.get("", response_model=OrderList)
async def list_orders(
    who: ChannelOrOperator,
    db: Database,
    query: Annotated[OrderQuery, Depends(QueryOf(OrderQuery))],
) -> Response:
    """List orders, newest first."""
    position = decode_cursor(query.cursor, str, str)
    after = lists.Place(cursor_time(position[0]), position[1]) if position else None
    everything = who.role == "operator" or "*" in who.channels
    wanted = lists.OrderFilter(
        **query.model_dump(exclude={"limit", "cursor"}),
        reach=None if everything else sorted(who.channels),
    )
    async with db.connect() as tx:
        found = await lists.order_numbers(tx, wanted, after=after, limit=query.limit + 1)
        orders = {o.number: o for o in await load_orders(tx, [f.id for f in found[: query.limit]])}
    body = page(
        found,
        query.limit,
        show=lambda place: order_view(orders[place.id]),
        position=lambda place: (place.at.isoformat(), place.id),
    )
    return answer(body).response()


@router.get("/{number}/timeline", response_model=Timeline)
async def get_timeline(
    who: ChannelOrOperator,
    number: PathId,
    db: Database,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """Read what happened to an order, oldest first."""
    await visible_order(db, number, who)
    position = decode_cursor(query.cursor, int)
    async with db.connect() as tx:
        events = await lists.timeline(
            tx, number, after=position[0] if position else 0, limit=query.limit + 1
        )
    body = page(
        events,
        query.limit,
        show=lambda event: EventView(**{n: event[n] for n in EventView.model_fields}),
        position=lambda event: (event["seq"],),
    )
    return answer(body).response()


def _rest(mode: Mode) -> Wait:
    """What every open order waits for after a restore."""
    assert mode.since is not None, "a mode was set at some time"
    return Wait(
        waiting_for="the restored books to be compared with the outside (`oms recover`)",
        since=mode.since,
        then="the order goes on where its books stand",
    )


@router.get("/{number}/explain", response_model=Explanation)
async def explain_order(
    who: ChannelOrOperator, number: PathId, db: Database, settings: SettingsOfApi
) -> Response:
    """Tell what an order waits for, until when, what happens then, and what can be done now."""
    order = await visible_order(db, number, who)
    async with db.connect() as tx:
        mode = await read_mode(tx)
        queue = await places_in_the_queue(tx, order, datetime.now(UTC))
        decided = await newest_decision(tx, number)
    waits = [*explain(order, silent=settings.policy.silent, queue=queue)]
    waits += explain_returns(order, waits)
    if waits and mode.is_reconciling:
        waits.insert(0, _rest(mode))
    told = () if decided is None else words(decided.record)[:MOST_WORDS]
    return answer(Explanation(data=waits, routing=list(told)), version=order.version).response()


async def read_order(db: Database, number: str) -> Order:
    """Read an order that is known to be there.

    Raises:
        Problem: `not_found`.
    """
    async with db.connect() as tx:
        order = await load_order(tx, number)
    if order is None:
        raise not_found()
    return order


async def visible_order(db: Database, number: str, who: Credential) -> Order:
    """Read an order as one who may see it.

    Raises:
        Problem: `not_found`, also for another channel's.
    """
    order = await read_order(db, number)
    if not who.reaches_channel(order.channel):
        raise not_found()
    structlog.contextvars.bind_contextvars(order=number)
    return order
