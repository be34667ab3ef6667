"""What stores and warehouses see and report: one part of an order each.

A node's report is a fact: it is checked against the state under the order's lock, applied, and the
same report again is answered the same. It needs no process to be running.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import lists, nodes
from adapters.db.book import SqlBook
from adapters.db.credentials import Credential
from adapters.db.idempotency import Claim
from adapters.db.unit import OrderUnit, load_order, load_orders
from api.answers import Answer, IfMatch, answer
from api.auth import Database, NodeOrOperator
from api.body import JsonBody, invalid
from api.idempotency import OptionallyOnce
from api.ids import PathId
from api.lists import ListQuery, QueryOf, cursor_time, decode_cursor, page
from api.order_views import (
    FulfillmentOrderList,
    FulfillmentOrderView,
    fulfillment_order_view,
)
from api.problems import not_found, refused
from api.wiring import SettingsOfApi
from oms.cancelling import Refusal
from oms.fields import MAX_LINES, MAX_QUANTITY, Flaw, Id, Quantity, Wire, Words
from oms.fulfillment import FulfillmentOrder
from oms.numbers import order_of
from oms.orders import Order
from oms.policy import Policy

router = APIRouter(prefix="/v1/fulfillment-orders", tags=["Nodes"])

Fact = Callable[[OrderUnit, FulfillmentOrder, Policy], Awaitable[Refusal | None]]
Status = Literal["open", "on_hold", "in_progress", "closed", "cancelled"]
LineNumber = Annotated[int, Field(ge=1, le=MAX_LINES)]


class FulfillmentOrderQuery(ListQuery):
    """What the list is narrowed to."""

    location: Id | None = None
    status: Status | None = None


class NoBody(Wire):
    """An action that needs no words."""


class UnitsBody(Wire):
    """Units of one line."""

    line: LineNumber
    quantity: Quantity


class RejectBody(Wire):
    """Why the location will not serve it; without `lines` all of it."""

    reason: Literal["out_of_stock", "damaged", "capacity", "closed", "other"]
    lines: Annotated[list[UnitsBody], Field(min_length=1, max_length=MAX_LINES)] | None = None


class PickedBody(Wire):
    """Units of one line that lie in the box; fewer than asked is a short pick."""

    line: LineNumber
    picked: Annotated[int, Field(ge=0, le=MAX_QUANTITY)]


class PickBody(Wire):
    """What was picked."""

    lines: Annotated[list[PickedBody], Field(min_length=1, max_length=MAX_LINES)]


class ParcelBody(Wire):
    """A closed box."""

    weight_g: Annotated[int, Field(ge=1, le=10_000_000)]
    lines: Annotated[list[UnitsBody], Field(min_length=1, max_length=MAX_LINES)]


class PackBody(Wire):
    """Every unit picked, in its parcel."""

    parcels: Annotated[list[ParcelBody], Field(min_length=1, max_length=MAX_LINES)]


class HandOverBody(Wire):
    """To a customer against the `code`, or `verified_by` what; to a carrier without either."""

    code: Words | None = None
    verified_by: Words | None = None


class CancelResponseBody(Wire):
    """Whether the location could stop."""

    accepted: bool


class NodeAction:
    """A request by a node about one of its fulfillment orders."""

    def __init__(
        self,
        who: NodeOrOperator,
        id: PathId,
        once: OptionallyOnce,
        db: Database,
        settings: SettingsOfApi,
        if_version: IfMatch,
    ) -> None:
        self._who, self._id, self._once = who, id, once
        self._db, self._policy, self._version = db, settings.policy, if_version

    async def report(self, fact: Fact) -> Response:
        """Apply the fact and answer with the fulfillment order after it.

        Raises:
            Problem: `not_found` for another location's; the fact's own refusal.
        """
        if self._once.key is None:
            return (await self._apply(fact)).response()

        async def work(_: Claim) -> Answer:
            return await self._apply(fact)

        return await self._once.around(work)

    async def _apply(self, fact: Fact) -> Answer:
        await read_part(self._db, self._id, self._who)
        outcome = await SqlBook(self._db, self._policy).node_fact(
            self._id,
            datetime.now(UTC),
            fact,
            actor=self._who.id,
            expected_version=self._version,
        )
        if isinstance(outcome, Refusal):
            raise refused(outcome)
        return _shown(*await read_part(self._db, self._id, self._who))


Action = Annotated[NodeAction, Depends(NodeAction)]


@router.get("", response_model=FulfillmentOrderList)
async def list_fulfillment_orders(
    who: NodeOrOperator,
    db: Database,
    query: Annotated[FulfillmentOrderQuery, Depends(QueryOf(FulfillmentOrderQuery))],
) -> Response:
    """List the work of one's locations, newest first."""
    position = decode_cursor(query.cursor, str, str)
    after = lists.Place(cursor_time(position[0]), position[1]) if position else None
    async with db.connect() as tx:
        found = await lists.fulfillment_order_ids(
            tx,
            location=query.location,
            status=query.status,
            reach=who.reach,
            after=after,
            limit=query.limit + 1,
        )
        parts = await _parts(tx, [place.id for place in found[: query.limit]])
    body = page(
        found,
        query.limit,
        show=lambda place: parts[place.id],
        position=lambda place: (place.at.isoformat(), place.id),
    )
    return answer(body).response()


@router.get("/{id}", response_model=FulfillmentOrderView)
async def get_fulfillment_order(who: NodeOrOperator, id: PathId, db: Database) -> Response:
    """Read a fulfillment order."""
    return _shown(*await read_part(db, id, who)).response()


@router.post("/{id}/accept", response_model=FulfillmentOrderView)
async def accept(action: Action, body: Annotated[NoBody, Depends(JsonBody(NoBody))]) -> Response:
    """Take the work on."""
    return await action.report(nodes.accept)


@router.post("/{id}/reject", response_model=FulfillmentOrderView)
async def reject(
    action: Action, body: Annotated[RejectBody, Depends(JsonBody(RejectBody))]
) -> Response:
    """Turn the work down, all of it or some lines; it goes to another location."""
    lines = None if body.lines is None else _by_line(body.lines, "/lines")
    return await action.report(lambda unit, each, _: nodes.reject(unit, each, body.reason, lines))


@router.post("/{id}/pick", response_model=FulfillmentOrderView)
async def pick(action: Action, body: Annotated[PickBody, Depends(JsonBody(PickBody))]) -> Response:
    """Say what lies in the box; what is missing goes to another location."""
    _once_each([line.line for line in body.lines], "/lines")
    picked = {line.line: line.picked for line in body.lines}
    return await action.report(lambda unit, each, _: nodes.pick(unit, each, picked))


@router.post("/{id}/pack", response_model=FulfillmentOrderView)
async def pack(action: Action, body: Annotated[PackBody, Depends(JsonBody(PackBody))]) -> Response:
    """Close the parcels; each gets its label."""
    parcels = [
        nodes.Parcel(weight_g=parcel.weight_g, lines=_by_line(parcel.lines, f"/parcels/{i}/lines"))
        for i, parcel in enumerate(body.parcels)
    ]
    return await action.report(lambda unit, each, _: nodes.pack(unit, each, parcels))


@router.post("/{id}/ready", response_model=FulfillmentOrderView)
async def ready(action: Action, body: Annotated[NoBody, Depends(JsonBody(NoBody))]) -> Response:
    """Say that the goods wait at the counter; the customer gets a code."""
    return await action.report(nodes.ready)


@router.post("/{id}/hand-over", response_model=FulfillmentOrderView)
async def hand_over(
    action: Action, body: Annotated[HandOverBody, Depends(JsonBody(HandOverBody))]
) -> Response:
    """Say that the goods left: to the carrier, or to the customer."""
    return await action.report(
        lambda unit, each, _: nodes.hand_over(
            unit, each, code=body.code, verified_by=body.verified_by
        )
    )


@router.post("/{id}/cancel-response", response_model=FulfillmentOrderView)
async def cancel_response(
    action: Action, body: Annotated[CancelResponseBody, Depends(JsonBody(CancelResponseBody))]
) -> Response:
    """Say whether the work could be stopped."""
    return await action.report(
        lambda unit, each, _: nodes.cancel_response(unit, each, accepted=body.accepted)
    )


async def read_part(db: Database, id: str, who: Credential) -> tuple[Order, FulfillmentOrder]:
    """Read a fulfillment order and the order it is part of.

    Raises:
        Problem: `not_found`, also for another location's.
    """
    number = order_number_of(id)
    async with db.connect() as tx:
        order = await load_order(tx, number)
    parts = order.fulfillment_orders if order else ()
    found = next((part for part in parts if part.id == id), None)
    if order is None or found is None or not who.reaches_location(found.location):
        raise not_found()
    return order, found


def order_number_of(part: str) -> str:
    """The number of the order that a part belongs to.

    Raises:
        Problem: `not_found`: it is no part of any order.
    """
    try:
        return order_of(part)
    except ValueError:
        raise not_found() from None


async def _parts(tx: AsyncConnection, ids: list[str]) -> dict[str, FulfillmentOrderView]:
    orders = await load_orders(tx, sorted({order_of(id) for id in ids}))
    return {
        each.id: fulfillment_order_view(each, order.number, order.shipments_of(each.id))
        for order in orders
        for each in order.fulfillment_orders
    }


def _shown(order: Order, each: FulfillmentOrder) -> Answer:
    view = fulfillment_order_view(each, order.number, order.shipments_of(each.id))
    return answer(view, version=each.version)


def _by_line(lines: list[UnitsBody], pointer: str) -> dict[int, int]:
    _once_each([line.line for line in lines], pointer)
    return {line.line: line.quantity for line in lines}


def _once_each(lines: list[int], pointer: str) -> None:
    flaws = [
        Flaw(pointer=f"{pointer}/{i}/line", code="repeated", detail="Each line once.")
        for i, line in enumerate(lines)
        if line in lines[:i]
    ]
    if flaws:
        raise invalid(flaws)
