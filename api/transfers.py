"""Transfers: goods that move from one location to another, in parts, with stock on the road.

The origin ships, the destination receives, the operator may do both. What is scanned on receipt is
recorded, whatever the books expected.
"""

import secrets
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import lists
from adapters.db import transfers as books
from adapters.db.credentials import Credential
from adapters.db.stock import Short
from api.answers import Answer, IfMatch, answer, version_conflict
from api.auth import Database, NodeOrOperator, Operator
from api.body import JsonBody, invalid
from api.fulfillment_orders import NoBody
from api.idempotency import OnceOnly
from api.ids import PathId
from api.lists import ListQuery, QueryOf, Truth, cursor_time, decode_cursor, page
from api.problems import Problem, not_found
from oms import transfers as logic
from oms.fields import MAX_LINES, Flaw, Id, Moment, Quantity, Wire, Words
from oms.numbers import NUMBERS, transfer_id
from oms.transfers import Refused, Transfer

router = APIRouter(prefix="/v1/transfers", tags=["Transfers"])

Status = Literal["requested", "shipped", "partially_received", "received", "closed", "cancelled"]


class TransferUnits(Wire):
    """Units of one article."""

    sku: Id
    quantity: Quantity


Lines = Annotated[list[TransferUnits], Field(min_length=1, max_length=MAX_LINES)]


class TransferBody(Wire):
    """Units to move. `expected_at`: when all should have arrived; `reference`: your own, once."""

    origin: Id = Field(alias="from")
    destination: Id = Field(alias="to")
    lines: Lines
    expected_at: Moment | None = None
    reference: Words | None = None


class TransferChange(Wire):
    """When it is expected now; null: not known."""

    expected_at: Moment | None


class ShipBody(Wire):
    """What leaves; without `lines` all that is left."""

    lines: Lines | None = None


class ArrivalBody(Wire):
    """Units that arrived; `damaged` of them cannot be sold."""

    sku: Id
    quantity: Quantity
    damaged: Annotated[int, Field(ge=0)] = 0


class ReceiveBody(Wire):
    """What was scanned, each article once."""

    lines: Annotated[list[ArrivalBody], Field(min_length=1, max_length=MAX_LINES)]


class TransferLineView(Wire):
    """Units of one article. `received` holds `damaged`; `quantity` is 0 for what nobody asked."""

    line: int
    sku: str
    quantity: int
    shipped: int
    in_transit: int
    received: int
    damaged: int
    lost: int
    cancelled: int


class TransferView(Wire):
    """A transfer and where its units are. `overdue`: it should have arrived by now."""

    model_config = ConfigDict(serialize_by_alias=True)

    id: str
    origin: str = Field(alias="from")
    destination: str = Field(alias="to")
    status: Status
    reference: str | None
    expected_at: Moment | None
    overdue: bool
    created_at: Moment
    lines: list[TransferLineView]
    version: int


class TransferList(Wire):
    """Transfers, newest first."""

    data: list[TransferView]
    next_cursor: str | None


class TransferStep(Wire):
    """Something that happened to a transfer."""

    at: Moment
    actor: str
    kind: str
    summary: str
    data: dict[str, Any]


class TransferTimeline(Wire):
    """What happened to a transfer, oldest first."""

    data: list[TransferStep]
    next_cursor: str | None


class TransferQuery(ListQuery):
    """What the list is narrowed to. `location`: either end."""

    origin: Id | None = Field(None, alias="from")
    destination: Id | None = Field(None, alias="to")
    location: Id | None = None
    status: Status | None = None
    sku: Id | None = None
    reference: Words | None = None
    overdue: Truth | None = None


Step = Callable[[AsyncConnection, Transfer, datetime], Coroutine[Any, Any, Transfer]]


class TransferAction:
    """A request about one transfer."""

    def __init__(
        self, who: NodeOrOperator, id: PathId, once: OnceOnly, if_version: IfMatch
    ) -> None:
        self.who, self._id, self._once, self._version = who, id, once, if_version

    async def take(
        self, step: Step, *, end: Literal["origin", "destination"] | None = None
    ) -> Response:
        """Take the step on the locked transfer. `end`: whose node may; None for operators only.

        Raises:
            Problem: `not_found`, `forbidden`, `version_conflict`; the step's own refusal.
        """
        if end is None and self.who.role != "operator":
            raise Problem("forbidden", f"Not for the role {self.who.role}.")

        async def work(tx: AsyncConnection) -> Answer:
            before = await books.load_transfer(tx, self._id, lock=True)
            if before is None or not _reaches(self.who, before, end):
                raise not_found()
            if self._version not in (None, before.version):
                raise version_conflict()
            now = datetime.now(UTC)
            return _shown(await step(tx, before, now), now)

        return await self._once.in_transaction(work)


Action = Annotated[TransferAction, Depends(TransferAction)]


@router.post(
    "", response_model=TransferView, status_code=201, responses={200: {"model": TransferView}}
)
async def request_transfer(
    who: Operator,
    once: OnceOnly,
    body: Annotated[TransferBody, Depends(JsonBody(TransferBody))],
) -> Response:
    """Ask a location for goods: all lines are held there, or none."""
    _check(body)
    new = books.NewTransfer(
        id=transfer_id(secrets.randbelow(NUMBERS)),
        origin=body.origin,
        destination=body.destination,
        lines=tuple((line.sku, line.quantity) for line in body.lines),
        expected_at=body.expected_at,
        reference=body.reference,
    )
    return await once.in_transaction(lambda tx: _request(tx, new, who))


async def _request(tx: AsyncConnection, new: books.NewTransfer, who: Credential) -> Answer:
    now = datetime.now(UTC)
    match await books.request_transfer(tx, new, actor=who.id, at=now):
        case books.Existing(transfer, same):
            if not same:
                raise Problem("reference_reused", f"The reference names {transfer.id}.")
            return _shown(transfer, now)
        case list() as unknown:
            flaws = [
                Flaw(pointer=each.pointer, code=each.code, detail="There is none.")
                for each in unknown
            ]
            raise Problem(flaws[0].code, "Nothing was asked for.", errors=flaws)
        case Short() as short:
            raise _too_few(short, new)
        case transfer:
            return _shown(transfer, now, status=201)


def _too_few(short: Short, new: books.NewTransfer) -> Problem:
    lines = {sku: i for i, (sku, _) in enumerate(new.lines)}
    return Problem(
        "insufficient_stock",
        f"{new.origin} has too little to give; nothing is held.",
        errors=[
            {
                "pointer": f"/lines/{lines[row.sku]}",
                "code": "insufficient_stock",
                "detail": f"{row.wanted} wanted, {row.available} available.",
                "available": row.available,
            }
            for row in sorted(short.rows, key=lambda row: lines[row.sku])
        ],
    )


@router.get("", response_model=TransferList)
async def list_transfers(
    who: NodeOrOperator,
    db: Database,
    query: Annotated[TransferQuery, Depends(QueryOf(TransferQuery))],
) -> Response:
    """List transfers from or to one's locations, newest first."""
    position = decode_cursor(query.cursor, str, str)
    after = lists.Place(cursor_time(position[0]), position[1]) if position else None
    now = datetime.now(UTC)
    wanted = books.TransferFilter(
        origin=query.origin,
        destination=query.destination,
        location=query.location,
        status=query.status,
        sku=query.sku,
        reference=query.reference,
        overdue=query.overdue,
        now=now,
        reach=who.reach,
    )
    async with db.connect() as tx:
        found = await books.transfer_ids(tx, wanted, after=after, limit=query.limit + 1)
        read = await books.load_transfers(tx, [place.id for place in found[: query.limit]])
    by_id = {transfer.id: transfer_view(transfer, now) for transfer in read}
    body = page(
        found,
        query.limit,
        show=lambda place: by_id[place.id],
        position=lambda place: (place.at.isoformat(), place.id),
    )
    return answer(body).response()


@router.get("/{id}", response_model=TransferView)
async def get_transfer(who: NodeOrOperator, id: PathId, db: Database) -> Response:
    """Read a transfer."""
    async with db.connect() as tx:
        return _shown(await _visible(tx, id, who), datetime.now(UTC)).response()


@router.get("/{id}/timeline", response_model=TransferTimeline)
async def get_transfer_timeline(
    who: NodeOrOperator,
    id: PathId,
    db: Database,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """Read what happened to a transfer, oldest first."""
    position = decode_cursor(query.cursor, int)
    async with db.connect() as tx:
        await _visible(tx, id, who)
        steps = await books.steps_of(
            tx, id, after=position[0] if position else 0, limit=query.limit + 1
        )
    body = page(
        steps,
        query.limit,
        show=lambda step: TransferStep(**{n: step[n] for n in TransferStep.model_fields}),
        position=lambda step: (step["seq"],),
    )
    return answer(body).response()


@router.put("/{id}", response_model=TransferView)
async def change_transfer(
    who: Operator,
    id: PathId,
    body: Annotated[TransferChange, Depends(JsonBody(TransferChange))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Say when it is expected now."""
    now = datetime.now(UTC)
    async with db.begin() as tx:
        before = await books.load_transfer(tx, id, lock=True)
        if before is None:
            raise not_found()
        if if_version not in (None, before.version):
            raise version_conflict()
        if not before.is_open:
            raise Problem("invalid_state", f"{id} is {before.status}: nothing is expected.")
        after = before.model_copy(update={"expected_at": body.expected_at})
        shown = await books.write_expected_at(tx, before, after, actor=who.id, at=now)
    return _shown(shown, now).response()


@router.post("/{id}/ship", response_model=TransferView)
async def ship_transfer(
    action: Action, body: Annotated[ShipBody, Depends(JsonBody(ShipBody))]
) -> Response:
    """Say what left the origin: all that is left, or some."""
    _once_each([line.sku for line in body.lines or ()])
    wanted = None if body.lines is None else [(line.sku, line.quantity) for line in body.lines]

    async def step(tx: AsyncConnection, before: Transfer, now: datetime) -> Transfer:
        after = _possible(logic.ship(before, wanted))
        return await books.write_shipped(tx, before, after, actor=action.who.id, at=now)

    return await action.take(step, end="origin")


@router.post("/{id}/receive", response_model=TransferView)
async def receive_transfer(
    action: Action, body: Annotated[ReceiveBody, Depends(JsonBody(ReceiveBody))]
) -> Response:
    """Say what arrived at the destination: a part, all, more, or what nobody expected."""
    _once_each([line.sku for line in body.lines])
    _no_more_damaged(body.lines)
    arrivals = [logic.Arrival(line.sku, line.quantity, line.damaged) for line in body.lines]

    async def step(tx: AsyncConnection, before: Transfer, now: datetime) -> Transfer:
        known = await books.known_skus(tx, [arrival.sku for arrival in arrivals])
        if unknown := [
            Flaw(pointer=f"/lines/{i}/sku", code="sku_unknown", detail="There is none.")
            for i, arrival in enumerate(arrivals)
            if arrival.sku not in known
        ]:
            raise Problem("sku_unknown", "Nothing was recorded.", errors=unknown)
        after = logic.receive(before, arrivals)
        return await books.write_received(tx, before, after, arrivals, actor=action.who.id, at=now)

    return await action.take(step, end="destination")


@router.post("/{id}/cancel", response_model=TransferView)
async def cancel_transfer(
    action: Action, body: Annotated[NoBody, Depends(JsonBody(NoBody))]
) -> Response:
    """Call off what was not sent."""

    async def step(tx: AsyncConnection, before: Transfer, now: datetime) -> Transfer:
        after = _possible(logic.cancel(before))
        return await books.write_cancelled(tx, before, after, actor=action.who.id, at=now)

    return await action.take(step)


@router.post("/{id}/close", response_model=TransferView)
async def close_transfer(
    action: Action, body: Annotated[NoBody, Depends(JsonBody(NoBody))]
) -> Response:
    """Expect no more: what is still on the road is lost."""

    async def step(tx: AsyncConnection, before: Transfer, now: datetime) -> Transfer:
        after = _possible(logic.close(before, now))
        return await books.write_closed(tx, before, after, actor=action.who.id, at=now)

    return await action.take(step)


def transfer_view(transfer: Transfer, now: datetime) -> TransferView:
    """Show a transfer as it stands at a time."""
    lines = [
        TransferLineView(**line.model_dump(), in_transit=line.in_transit) for line in transfer.lines
    ]
    return TransferView.model_validate(
        {
            "id": transfer.id,
            "from": transfer.origin,
            "to": transfer.destination,
            "status": transfer.status.value,
            "reference": transfer.reference,
            "expected_at": transfer.expected_at,
            "overdue": transfer.is_overdue(now),
            "created_at": transfer.created_at,
            "lines": lines,
            "version": transfer.version,
        }
    )


def _shown(transfer: Transfer, now: datetime, status: int = 200) -> Answer:
    return answer(transfer_view(transfer, now), status, version=transfer.version)


async def _visible(tx: AsyncConnection, id: str, who: Credential) -> Transfer:
    found = await books.load_transfer(tx, id)
    if found is None or not (_reaches(who, found, "origin") or _reaches(who, found, "destination")):
        raise not_found()
    return found


def _reaches(who: Credential, transfer: Transfer, end: str | None) -> bool:
    return end is None or who.reaches_location(getattr(transfer, end))


def _possible(outcome: Transfer | Refused) -> Transfer:
    if isinstance(outcome, Refused):
        raise Problem(outcome.code, outcome.detail, errors=outcome.flaws)
    return outcome


def _check(body: TransferBody) -> None:
    _once_each([line.sku for line in body.lines])
    if body.origin == body.destination:
        detail = "A transfer leads to another location."
        raise invalid([Flaw(pointer="/to", code="not_allowed", detail=detail)])


def _once_each(skus: Sequence[str]) -> None:
    flaws = [
        Flaw(pointer=f"/lines/{i}/sku", code="repeated", detail="Each article once.")
        for i, sku in enumerate(skus)
        if sku in skus[:i]
    ]
    if flaws:
        raise invalid(flaws)


def _no_more_damaged(lines: Sequence[ArrivalBody]) -> None:
    flaws = [
        Flaw(pointer=f"/lines/{i}/damaged", code="too_large", detail="Of those that arrived.")
        for i, line in enumerate(lines)
        if line.damaged > line.quantity
    ]
    if flaws:
        raise invalid(flaws)
