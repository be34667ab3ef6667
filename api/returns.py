"""Returns: channels ask for them, and everybody reads their own."""

from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Depends, Response

from adapters.db import lists
from adapters.db.return_asking import ask_return
from adapters.db.return_lists import ReturnFilter, return_ids, return_timeline, settlements
from adapters.db.unit import load_orders
from api.answers import answer
from api.auth import Anybody, Database
from api.body import JsonBody
from api.finding_returns import shown_return, visible_return
from api.ids import PathId
from api.lists import ListQuery, QueryOf, cursor_time, decode_cursor, page
from api.orders import EventView, Timeline
from api.problems import may_answer
from api.return_asking import Asking
from api.return_views import ReturnView, return_view
from oms.explain import Wait
from oms.fields import Id, Wire
from oms.numbers import order_of
from oms.return_explain import explain_return
from oms.return_reckoning import why_refund
from oms.return_requests import ReturnRequest
from oms.returns import ReturnStatus

router = APIRouter(prefix="/v1/returns", tags=["Returns"])

Status = Literal[
    "requested", "approved", "declined", "in_transit", "partially_received", "received",
    "inspected", "closed", "cancelled", "expired",
]  # fmt: skip
assert set(get_args(Status)) == {each.value for each in ReturnStatus}


class ReturnList(Wire):
    """Returns, newest first."""

    data: list[ReturnView]
    next_cursor: str | None


class ReturnExplanation(Wire):
    """Everything a return waits for; nothing when it is closed.

    `refund`: why it gives back what it does, in sentences: what was agreed, by line, and how.
    """

    data: list[Wait]
    refund: list[str]


class ReturnQuery(ListQuery):
    """What the list is narrowed to. `location`: where they are expected, or arrived."""

    order: Id | None = None
    status: Status | None = None
    location: Id | None = None
    kind: Literal["return", "claim", "undeliverable"] | None = None


# --- asking ---------------------------------------------------------------------------------


@router.post(
    "",
    status_code=201,
    response_model=ReturnView,
    openapi_extra=may_answer(
        "not_found",
        "not_returnable",
        "resolution_unsupported",
        "location_unknown",
        "sku_unknown",
        "tenders_do_not_match_total",
        "insufficient_stock",
        "payment_declined",
        "reference_reused",
    ),
)
async def request_return(
    asking: Asking, body: Annotated[ReturnRequest, Depends(JsonBody(ReturnRequest))]
) -> Response:
    """Ask for goods to come back; the answer tells what will be given back for them.

    422 `not_returnable` names each line that may not, and why. Of an exchange the order for the
    other goods is placed at once: 422 `tenders_do_not_match_total` where they cost more than is
    tendered, `insufficient_stock` or `payment_declined` with its `number` where it was refused.
    """
    return await asking.ask(body, lambda unit: ask_return(unit, body))


# --- reading --------------------------------------------------------------------------------


@router.get("", response_model=ReturnList, openapi_extra=may_answer())
async def list_returns(
    who: Anybody,
    db: Database,
    query: Annotated[ReturnQuery, Depends(QueryOf(ReturnQuery))],
) -> Response:
    """List returns, newest first: a channel's own, or those at one's locations."""
    position = decode_cursor(query.cursor, str, str)
    after = lists.Place(cursor_time(position[0]), position[1]) if position else None
    wanted = ReturnFilter(
        **query.model_dump(exclude={"limit", "cursor"}),
        channels=_reach(who.channels) if who.role == "channel" else None,
        places=_reach(who.locations) if who.role == "node" else None,
    )
    async with db.connect() as tx:
        found = await return_ids(tx, wanted, after=after, limit=query.limit + 1)
        numbers = sorted({order_of(each.id) for each in found[: query.limit]})
        orders = {each.number: each for each in await load_orders(tx, numbers)}

    def show(place: lists.Place) -> ReturnView:
        order = orders[order_of(place.id)]
        return return_view(order, order.return_(place.id))

    body = page(
        found, query.limit, show=show, position=lambda place: (place.at.isoformat(), place.id)
    )
    return answer(body).response()


def _reach(names: frozenset[str]) -> list[str] | None:
    return None if "*" in names else sorted(names)


@router.get("/{id}", response_model=ReturnView, openapi_extra=may_answer())
async def get_return(who: Anybody, id: PathId, db: Database) -> Response:
    """Read a return."""
    await visible_return(db, id, who)
    return (await shown_return(db, id, 200)).response()


@router.get("/{id}/timeline", response_model=Timeline, openapi_extra=may_answer())
async def get_timeline(
    who: Anybody,
    id: PathId,
    db: Database,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """Read what happened to a return, oldest first."""
    order, _ = await visible_return(db, id, who)
    position = decode_cursor(query.cursor, int)
    async with db.connect() as tx:
        events = await return_timeline(
            tx, order.number, id, after=position[0] if position else 0, limit=query.limit + 1
        )
    body = page(
        events,
        query.limit,
        show=lambda event: EventView(**{n: event[n] for n in EventView.model_fields}),
        position=lambda event: (event["seq"],),
    )
    return answer(body).response()


@router.get("/{id}/explain", response_model=ReturnExplanation, openapi_extra=may_answer())
async def explain(who: Anybody, id: PathId, db: Database) -> Response:
    """Tell what a return waits for, until when, what happens then, and what can be done now."""
    order, back = await visible_return(db, id, who)
    async with db.connect() as tx:
        settled = await settlements(tx, order.number, id)
    body = ReturnExplanation(
        data=[*explain_return(order, back)], refund=[*why_refund(order, back, settled)]
    )
    return answer(body, version=back.version).response()
