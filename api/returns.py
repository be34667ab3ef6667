"""Returns: channels ask for them, stores and warehouses receive and inspect, operators decide.

Each is a fact, decided and written under the order's lock together with its answer; the return's
process hears of it and goes on. It needs no process to be running.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from adapters.db import lists, master, return_inspections, return_receipts, returns
from adapters.db.book import SqlBook, known_answer, store_answer
from adapters.db.credentials import Credential
from adapters.db.idempotency import Claim
from adapters.db.return_asking import Asked, NotReturnable, ask_return
from adapters.db.return_inspections import Inspected
from adapters.db.return_lists import ReturnFilter, return_ids, return_timeline
from adapters.db.return_receipts import Arrived
from adapters.db.unit import OrderUnit, load_orders
from api.answers import Answer, IfMatch, answer
from api.auth import ChannelOrOperator, Database, NodeOrOperator, Operator, caller
from api.body import JsonBody
from api.exchanges import Exchanges
from api.fulfillment_orders import NoBody
from api.idempotency import OnceOnly, OptionallyOnce
from api.ids import PathId
from api.lists import ListQuery, QueryOf, cursor_time, decode_cursor, page
from api.orders import EventView, Timeline, read_order, visible_order
from api.problems import Problem, not_found, refused, unknown_field
from api.return_views import ReturnView, return_view
from api.wiring import SettingsOfApi, Temporal
from oms.book import CommandAnswer
from oms.cancelling import Refusal
from oms.explain import Wait
from oms.fields import MAX_LINES, Flaw, Id, Quantity, Wire, Words
from oms.numbers import is_return_id, order_of
from oms.orders import Order
from oms.placing import Unacceptable
from oms.return_explain import explain_return
from oms.return_policy import Condition, Disposition
from oms.return_requests import ReturnRequest, check_request
from oms.returns import Return, ReturnStatus

router = APIRouter(prefix="/v1/returns", tags=["Returns"])

Anybody = Annotated[Credential, Depends(caller)]
LineNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]
Fact = Callable[[OrderUnit, Return], Awaitable[Refusal | None]]
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
    """Everything a return waits for; nothing when it is closed."""

    data: list[Wait]


class ReturnQuery(ListQuery):
    """What the list is narrowed to. `location`: where they are expected, or arrived."""

    order: Id | None = None
    status: Status | None = None
    location: Id | None = None
    kind: Literal["return", "claim", "undeliverable"] | None = None


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


# --- asking ---------------------------------------------------------------------------------


@router.post("", status_code=201, response_model=ReturnView)
async def request_return(
    who: ChannelOrOperator,
    once: OnceOnly,
    body: Annotated[ReturnRequest, Depends(JsonBody(ReturnRequest))],
    db: Database,
    temporal: Temporal,
    settings: SettingsOfApi,
) -> Response:
    """Ask for goods to come back; the answer tells what will be given back for them.

    422 `not_returnable` names each line that may not, and why. Of an exchange the order for the
    other goods is placed at once: 422 `tenders_do_not_match_total` where they cost more than is
    tendered, `insufficient_stock` or `payment_declined` with its `number` where it was refused.
    """
    if wrong := check_request(body):
        raise Problem(wrong.code, wrong.detail, errors=wrong.errors)

    async def work(_: Claim) -> Answer:
        order = await visible_order(db, body.order, who)
        book = SqlBook(db, settings.policy)
        command = command_id(once.key, who)
        id = await ask_once(book, order, lambda unit: ask_return(unit, body), who, command)
        await Exchanges(book, temporal, settings, who).conclude(id)
        return await shown_return(db, id, 201)

    return await once.around(work)


async def ask_once(
    book: SqlBook,
    order: Order,
    ask: Callable[[OrderUnit], Awaitable[Asked]],
    who: Credential,
    command: str,
) -> str:
    """Write what is asked for under its command's id, and give its own; once.

    Raises:
        Problem: it may not be; nothing was written.
    """

    async def apply(unit: OrderUnit) -> Asked:
        if (known := await known_answer(unit, command)) and known.id is not None:
            return known.id
        asked = await ask(unit)
        if isinstance(asked, str):
            store_answer(unit, command, CommandAnswer(id=asked))
        return asked

    found = await book.change(order.number, datetime.now(UTC), apply, actor=who.id)
    if isinstance(found, NotReturnable):
        raise not_returnable(found.flaws)
    if isinstance(found, Unacceptable):
        raise Problem(found.code, found.detail, errors=found.errors)
    if isinstance(found, Refusal):
        raise refused(found)
    return found


def not_returnable(flaws: tuple[Flaw, ...]) -> Problem:
    """Say which lines may not come back, and why."""
    return Problem("not_returnable", "Nothing was changed; see errors.", errors=flaws)


def command_id(key: str | None, who: Credential) -> str:
    """Name a command by who gives it and its key, so that its effect and answer are one."""
    assert key is not None
    return hashlib.sha256(f"{who.id}\n{key}".encode()).hexdigest()


# --- reading --------------------------------------------------------------------------------


@router.get("", response_model=ReturnList)
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


@router.get("/{id}", response_model=ReturnView)
async def get_return(who: Anybody, id: PathId, db: Database) -> Response:
    """Read a return."""
    await visible_return(db, id, who)
    return (await shown_return(db, id, 200)).response()


@router.get("/{id}/timeline", response_model=Timeline)
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


@router.get("/{id}/explain", response_model=ReturnExplanation)
async def explain(who: Anybody, id: PathId, db: Database) -> Response:
    """Tell what a return waits for, until when, what happens then, and what can be done now."""
    order, back = await visible_return(db, id, who)
    body = ReturnExplanation(data=[*explain_return(order, back)])
    return answer(body, version=back.version).response()


# --- what happens to it ---------------------------------------------------------------------


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


@router.post("/{id}/receive", response_model=ReturnView)
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


@router.post("/{id}/inspect", response_model=ReturnView)
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


@router.post("/{id}/hand-back", response_model=ReturnView)
async def hand_back(
    who: NodeOrOperator, action: Action, body: Annotated[NoBody, Depends(JsonBody(NoBody))]
) -> Response:
    """Say that what was refused has left for the customer."""
    reaches = reached_by(action.who)
    return await action.report(lambda unit, back: return_inspections.hand_back(unit, back, reaches))


@router.post("/{id}/cancel", response_model=ReturnView)
async def cancel(
    who: ChannelOrOperator,
    once: OnceOnly,
    action: Action,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """Call a return off, as long as nothing was sent."""
    return await action.report(returns.cancel_return)


@router.post("/{id}/approve", response_model=ReturnView)
async def approve(
    who: Operator,
    once: OnceOnly,
    action: Action,
    body: Annotated[NoBody, Depends(JsonBody(NoBody))],
) -> Response:
    """Approve a return that needs a person's word."""
    return await action.report(returns.approve_return)


@router.post("/{id}/decline", response_model=ReturnView)
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


# --- finding it -----------------------------------------------------------------------------


async def find_return(db: Database, id: str) -> tuple[Order, Return]:
    """Read a return and its order.

    Raises:
        Problem: `not_found`.
    """
    if not is_return_id(id):
        raise not_found()
    order = await read_order(db, order_of(id))
    found = next((each for each in order.returns if each.id == id), None)
    if found is None:
        raise not_found()
    return order, found


async def visible_return(db: Database, id: str, who: Credential) -> tuple[Order, Return]:
    """Read a return as one who may see it.

    Raises:
        Problem: `not_found`, also for another channel's, or what is expected and lies elsewhere.
    """
    order, back = await find_return(db, id)
    if who.role == "channel" and not who.reaches_channel(order.channel):
        raise not_found()
    if who.role == "node":
        places = {lot.location for lot in back.lots} | {back.location}
        if not any(place and who.reaches_location(place) for place in places):
            raise not_found()
    return order, back


async def shown_return(db: Database, id: str, status: int) -> Answer:
    """Answer with a return as it is now."""
    order, back = await find_return(db, id)
    return answer(
        return_view(order, back), status, version=back.version, location=f"/v1/returns/{id}"
    )
