"""What happens to returns: stores and warehouses receive and inspect, operators decide.

Each is a fact, decided and written under the order's lock together with its answer; the return's
process hears of it and goes on. It needs no process to be running.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from adapters.db import master, return_inspections, return_receipts, returns
from adapters.db.book import SqlBook, known_answer, store_answer
from adapters.db.credentials import Credential
from adapters.db.idempotency import Claim
from adapters.db.return_inspections import Inspected
from adapters.db.return_receipts import Arrived
from adapters.db.unit import OrderUnit
from api.answers import Answer, IfMatch
from api.auth import Anybody, ChannelOrOperator, Database, NodeOrOperator, Operator
from api.body import JsonBody
from api.finding_returns import find_return, shown_return, visible_return
from api.fulfillment_orders import NoBody
from api.idempotency import OnceOnly, OptionallyOnce
from api.ids import PathId
from api.problems import may_answer, not_found, refused, unknown_field
from api.return_views import ReturnView
from api.wiring import SettingsOfApi
from oms.book import CommandAnswer
from oms.cancelling import Refusal
from oms.fields import MAX_LINES, Id, Quantity, Wire, Words
from oms.numbers import order_of
from oms.return_policy import Condition, Disposition
from oms.returns import Return

router = APIRouter(prefix="/v1/returns", tags=["Returns"])

LineNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]
Fact = Callable[[OrderUnit, Return], Awaitable[Refusal | None]]


class ReceivedLine(Wire):
    """Units of one line as they were found. `sku`: what a wrong item is, if that is known."""

    line: LineNumber
    quantity: Quantity
    condition: Condition
    sku: Id | None = None


class GoodsReceipt(Wire):
    """What lay in a parcel, and where it was opened."""

    location: Id
    lines: Annotated[list[ReceivedLine], Field(min_length=1, max_length=MAX_LINES)]


class InspectedLine(Wire):
    """A decision about units of one line; `condition`: only about those found in it."""

    line: LineNumber
    quantity: Quantity
    accepted: bool
    disposition: Disposition | None = None
    condition: Condition | None = None


class GoodsInspection(Wire):
    """What becomes of units that were received."""

    lines: Annotated[list[InspectedLine], Field(min_length=1, max_length=MAX_LINES)]


class DeclineBody(Wire):
    """Why it is declined. Stands on the timeline: it names no customer."""

    reason: Words = "not by our terms"


class ReturnAction:
    """A fact about one return, by one who may report it; with a key, once under it."""

    def __init__(
        self,
        who: Anybody,
        id: PathId,
        once: OptionallyOnce,
        db: Database,
        settings: SettingsOfApi,
        if_version: IfMatch,
        request: Request,
    ) -> None:
        self.who, self.id, self.once = who, id, once
        self._db, self._book, self._version = db, SqlBook(db, settings.policy), if_version
        self._request = request

    @property
    def key(self) -> str:
        """Names what is reported: its key, or, without one, what it says."""
        said = self.once.key or json.dumps(self._request.state.json, sort_keys=True)
        return hashlib.sha256(f"{self.who.id}\n{said}".encode()).hexdigest()

    async def report(self, fact: Fact, *, at: str | None = None) -> Response:
        """Apply the fact and answer with the return after it. `at`: where it happened.

        Raises:
            Problem: `not_found` for what is somebody else's; the fact's own refusal.
        """

        async def work(_: Claim | None) -> Answer:
            return await self._apply(fact, at)

        if self.once.key is None:
            return (await work(None)).response()
        return await self.once.around(work)

    async def knows_place(self, location: str) -> bool:
        """Whether there is such a location."""
        async with self._db.connect() as tx:
            return await master.get(tx, master.LOCATIONS, location) is not None

    async def _apply(self, fact: Fact, at: str | None) -> Answer:
        if at is None or self.who.role != "node":
            await visible_return(self._db, self.id, self.who)
        elif not self.who.reaches_location(at):
            raise not_found()
        else:
            await find_return(self._db, self.id)  # whatever was planned, it is here now

        async def apply(unit: OrderUnit) -> Refusal | None:
            if self.once.key is not None and await known_answer(unit, self.key):
                return None  # done, and cut off before it was answered
            version = unit.order.return_(self.id).version
            if self._version not in (None, version):
                detail = f"{self.id} is at version {version} by now."
                return Refusal(code="version_conflict", detail=detail)
            refusal = await returns.change_return(unit, self.id, fact, cause="reported", nudge=True)
            if self.once.key is not None and refusal is None:
                store_answer(unit, self.key, CommandAnswer())
            return refusal

        refusal = await self._book.change(
            order_of(self.id), datetime.now(UTC), apply, actor=self.who.id
        )
        if refusal is not None:
            raise refused(refusal)
        return await shown_return(self._db, self.id, 200)


Action = Annotated[ReturnAction, Depends(ReturnAction)]


@router.post(
    "/{id}/receive",
    response_model=ReturnView,
    openapi_extra=may_answer("location_unknown", "line_unknown", "invalid_state"),
)
async def receive(
    who: NodeOrOperator,
    action: Action,
    body: Annotated[GoodsReceipt, Depends(JsonBody(GoodsReceipt))],
) -> Response:
    """Say what lay in a parcel. The same scan again changes nothing; no unit counts twice."""
    await _check_place(action, body.location)
    found = [
        Arrived(line, units, condition, sku)
        for (line, condition, sku), units in _added_up(body.lines).items()
    ]
    return await action.report(
        lambda unit, back: return_receipts.receive_goods(
            unit, back, body.location, found, key=action.key
        ),
        at=body.location,
    )


def _added_up(lines: list[ReceivedLine]) -> Counter[tuple[int, Condition, str | None]]:
    units: Counter[tuple[int, Condition, str | None]] = Counter()
    for each in lines:
        units[each.line, each.condition, each.sku] += each.quantity
    return units


@router.post(
    "/{id}/inspect",
    response_model=ReturnView,
    openapi_extra=may_answer("line_unknown", "quantity_too_large", "invalid_state"),
)
async def inspect(
    who: NodeOrOperator,
    action: Action,
    body: Annotated[GoodsInspection, Depends(JsonBody(GoodsInspection))],
) -> Response:
    """Accept or refuse units that were received; what was decided alike counts once."""
    decisions = [
        Inspected(each.line, each.quantity, each.accepted, each.disposition, each.condition)
        for each in body.lines
    ]
    reaches = reached_by(action.who)
    return await action.report(
        lambda unit, back: return_inspections.inspect_goods(unit, back, decisions, reaches)
    )


def reached_by(who: Credential) -> Callable[[str], bool]:
    """Tells at which locations one may speak for goods: a node at its own, an operator at all."""
    return lambda location: who.role == "operator" or who.reaches_location(location)


@router.post(
    "/{id}/hand-back", response_model=ReturnView, openapi_extra=may_answer("invalid_state")
)
async def hand_back(
    who: NodeOrOperator, action: Action, body: Annotated[NoBody, Depends(JsonBody(NoBody))]
) -> Response:
    """Say that what was refused has left for the customer."""
    reaches = reached_by(action.who)
    return await action.report(lambda unit, back: return_inspections.hand_back(unit, back, reaches))


@router.post(
    "/{id}/cancel",
    response_model=ReturnView,
    openapi_extra=may_answer("invalid_state"),
)
async def cancel(
    who: ChannelOrOperator,
    once: OnceOnly,
    action: Action,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """Call a return off, as long as nothing was sent."""
    return await action.report(returns.cancel_return)


@router.post("/{id}/approve", response_model=ReturnView, openapi_extra=may_answer("invalid_state"))
async def approve(
    who: Operator,
    once: OnceOnly,
    action: Action,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """Approve a return that needs a person's word."""
    return await action.report(returns.approve_return)


@router.post("/{id}/decline", response_model=ReturnView, openapi_extra=may_answer("invalid_state"))
async def decline(
    who: Operator,
    once: OnceOnly,
    action: Action,
    body: Annotated[DeclineBody, Depends(JsonBody(DeclineBody))],
) -> Response:
    """Decline a return that needs a person's word."""
    return await action.report(lambda unit, back: returns.decline_return(unit, back, body.reason))


async def _check_place(action: ReturnAction, location: str) -> None:
    if not await action.knows_place(location):
        raise unknown_field("location")
