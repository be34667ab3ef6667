"""What people ask of an order that runs: cancel, hold, release, reroute, settle a parked step.

Each is an update of the order's process, named by the credential and its key, so that a repeated
request finds the first answer. An order without a running process is decided in the books.
"""

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends, Response
from pydantic import Field, JsonValue
from sqlalchemy import text
from temporalio.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from adapters.db.book import SqlBook
from adapters.db.idempotency import Claim
from api.answers import Answer as HttpAnswer
from api.answers import IfMatch, answer, version_conflict
from api.auth import ChannelOrOperator, Database, Operator
from api.body import JsonBody, invalid, odd_values
from api.idempotency import OnceOnly
from api.ids import PathId
from api.order_views import HoldView, OrderView, hold_view
from api.orders import read_order, visible_order
from api.placing import shown
from api.problems import Problem, refused, unavailable
from api.wiring import SettingsOfApi, Temporal
from oms.book import CancelUnits, Command, PlaceHold, ReleaseHold, Reroute
from oms.cancelling import cancelled_lines
from oms.decisions import missing_result
from oms.fields import MAX_LINES, Flaw, Id, Quantity, Text, Wire, Words
from oms.numbers import order_workflow_id
from oms.orders import Order
from oms.ports import Message
from workflows.messages import (
    Answer,
    CancelRequest,
    HoldRequest,
    LineUnits,
    ReleaseRequest,
    RerouteRequest,
    ResolveRequest,
)

log = structlog.get_logger()

router = APIRouter(prefix="/v1/orders/{number}", tags=["Orders"])

_LOST = (RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.ABORTED)
"""The process was interrupted by other news, or ended, with the update in hand. The same id again
finds what became of it."""

PATIENCE = 15.0
"""Seconds a command may take. Its process decides in one transaction; but where a worker died, or
the SDK lost a task, Temporal gives the work to another only after a workflow task's timeout, 10 s.
"""

HoldReason = Literal[
    "fraud",
    "address",
    "payment",
    "inventory",
    "customer_request",
    "approval",
    "credit_limit",
    "other",
]


class CancelLine(Wire):
    """Units of one line."""

    line: Annotated[int, Field(ge=1, le=10**6)]
    quantity: Quantity


class CancelBody(Wire):
    """What to cancel; without `lines` every unit not handed over.

    The reason stands on the timeline and in Temporal: it names no customer.
    """

    reason: Words
    lines: Annotated[list[CancelLine], Field(min_length=1, max_length=MAX_LINES)] | None = None


class HoldBody(Wire):
    """Why the order may not go on. The note stays in the books."""

    reason: HoldReason
    note: Text | None = None


class NoBody(Wire):
    """An action that needs no words."""


class RerouteBody(Wire):
    """Without a fulfillment order, all backordered units are planned again."""

    fulfillment_order: Id | None = None
    location: Id | None = None


class ResolveBody(Wire):
    """What a person decided about a parked step, and who they are."""

    step: Annotated[Words, Field(max_length=64)]
    action: Literal["retry", "new_attempt", "done_manually", "fail"]
    result: dict[str, JsonValue] | None = None
    actor: Words
    reason: Words


class OrderCommand:
    """A command on one order, by one who may give it, under one key."""

    def __init__(
        self,
        number: PathId,
        once: OnceOnly,
        db: Database,
        temporal: Temporal,
        settings: SettingsOfApi,
        if_version: IfMatch,
    ) -> None:
        self.number, self.once, self.if_version = number, once, if_version
        self._db, self._temporal, self._settings = db, temporal, settings
        self.sent_again = False
        """Whether an update was lost on its way: then its effect may be older than its answer."""

    async def carry_out(self, update: str, request: Message, instead: Command) -> Answer:
        """Ask the order's process; where none runs, decide in the books (`instead`).

        Raises:
            Problem: the command's refusal, or `unavailable`.
        """
        told = await self.update(order_workflow_id(self.number), update, request)
        if told is None:
            decided = await SqlBook(self._db, self._settings.policy).command(
                self.number,
                self._id,
                instead,
                datetime.now(UTC),
                actor=self.once.credential,
                expected_version=self.if_version,
            )
            told = Answer(refusal=decided.refusal, asked=decided.asked, id=decided.id)
        if told.refusal is not None:
            raise refused(told.refusal)
        return told

    async def update(self, workflow_id: str, update: str, request: Message) -> Answer | None:
        """Send an update and wait for its answer; None where no such process runs.

        Raises:
            Problem: `unavailable`, when Temporal or the workers do not answer. The key is free
                then; asking again under it finds what became of the first attempt.
            WorkflowUpdateFailedError: the process refused to take it.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                client = await self._temporal()
                handle = client.get_workflow_handle(workflow_id)
                while True:
                    try:
                        told: Answer = await handle.execute_update(
                            update, request, id=self._id, result_type=Answer
                        )
                    except RPCError as fault:
                        if fault.status not in _LOST:
                            raise
                        self.sent_again = True
                        await asyncio.sleep(0.1)
                    else:
                        return told
        except RPCError as fault:
            if fault.status is RPCStatusCode.NOT_FOUND:
                return None
            raise unavailable("The order's process") from fault
        # RuntimeError: nobody answers at Temporal's address (the SDK's own).
        except (TimeoutError, RuntimeError, WorkflowUpdateRPCTimeoutOrCancelledError) as fault:
            raise unavailable("The order's process") from fault

    async def was_carried_out(self) -> bool:
        """Whether the books know this very command, though its answer was lost."""
        async with self._db.connect() as tx:
            found = await tx.execute(
                text("SELECT 1 FROM commands WHERE order_number = :n AND id = :id"),
                {"n": self.number, "id": self._id},
            )
            return found.first() is not None

    async def read(self) -> Order:
        """The order as it is now."""
        return await read_order(self._db, self.number)

    async def write_note(self, hold: str, note: str) -> None:
        """Keep what was said about a hold: it may be personal, so no process hears of it."""
        async with self._db.begin() as tx:
            await tx.execute(
                text("UPDATE holds SET note = :note WHERE id = :id AND note IS NULL"),
                {"id": hold, "note": note},
            )

    @property
    def _id(self) -> str:
        """Names the command for Temporal and the books; hides the key, which may say anything."""
        return hashlib.sha256(self.once.business_key.encode()).hexdigest()


async def _own(who: ChannelOrOperator, number: PathId, db: Database) -> None:
    """Let channels give commands about their own orders."""
    await visible_order(db, number, who)


async def _operators(who: Operator, number: PathId, db: Database) -> None:
    """Let operators give commands, and nobody else."""
    await visible_order(db, number, who)


Given = Annotated[OrderCommand, Depends(OrderCommand)]


@router.post(
    "/cancel",
    response_model=OrderView,
    responses={202: {"model": OrderView}},
    dependencies=[Depends(_own)],
)
async def cancel_order(
    command: Given, body: Annotated[CancelBody, Depends(JsonBody(CancelBody))]
) -> Response:
    """Cancel all that has not left, or units of some lines; 202 while a location is asked."""
    lines = None if body.lines is None else [(each.line, each.quantity) for each in body.lines]

    async def work(_: Claim) -> HttpAnswer:
        told = await command.carry_out(
            "cancel",
            CancelRequest(
                reason=body.reason,
                lines=None
                if lines is None
                else tuple(LineUnits(line=line, quantity=units) for line, units in lines),
                actor=command.once.credential,
                expected_version=command.if_version,
            ),
            CancelUnits(
                reason=body.reason, lines=None if lines is None else cancelled_lines(lines)
            ),
        )
        return shown(await command.read(), 202 if told.asked else 200)

    return await command.once.around(work)


@router.post("/holds", status_code=201, response_model=HoldView, dependencies=[Depends(_operators)])
async def place_hold(
    command: Given, body: Annotated[HoldBody, Depends(JsonBody(HoldBody))]
) -> Response:
    """Stop the order from going on."""

    async def work(_: Claim) -> HttpAnswer:
        told = await command.carry_out(
            "hold",
            HoldRequest(
                reason=body.reason,
                actor=command.once.credential,
                expected_version=command.if_version,
            ),
            PlaceHold(reason=body.reason),
        )
        assert told.id is not None, "a hold that was placed has an id"
        if body.note:
            await command.write_note(told.id, body.note)
        return answer(await _hold(command, told.id), 201)

    return await command.once.around(work)


@router.post("/holds/{id}/release", response_model=HoldView, dependencies=[Depends(_operators)])
async def release_hold(
    id: PathId, command: Given, body: Annotated[NoBody, Depends(JsonBody(NoBody))]
) -> Response:
    """Lift a hold; with the last one the order goes on."""

    async def work(_: Claim) -> HttpAnswer:
        await command.carry_out(
            "release",
            ReleaseRequest(
                hold=id, actor=command.once.credential, expected_version=command.if_version
            ),
            ReleaseHold(hold=id),
        )
        return answer(await _hold(command, id))

    return await command.once.around(work)


@router.post("/reroute", response_model=OrderView, dependencies=[Depends(_operators)])
async def reroute_order(
    command: Given, body: Annotated[RerouteBody, Depends(JsonBody(RerouteBody))]
) -> Response:
    """Plan backordered units again, or move work that no location accepted."""

    async def work(_: Claim) -> HttpAnswer:
        await command.carry_out(
            "reroute",
            RerouteRequest(
                fulfillment_order=body.fulfillment_order,
                location=body.location,
                actor=command.once.credential,
                expected_version=command.if_version,
            ),
            Reroute(fulfillment_order=body.fulfillment_order, location=body.location),
        )
        return shown(await command.read(), 200)

    return await command.once.around(work)


@router.post("/resolve", response_model=OrderView, dependencies=[Depends(_operators)])
async def resolve_step(
    command: Given, body: Annotated[ResolveBody, Depends(JsonBody(ResolveBody))]
) -> Response:
    """Settle a parked step."""
    if flaws := list(odd_values(body.result, "/result")):
        raise invalid(flaws[:100])

    request = ResolveRequest(**body.model_dump())
    if lacks := missing_result(request.decision):
        raise invalid([Flaw(pointer="/result", code="missing", detail=lacks)])

    async def work(_: Claim) -> HttpAnswer:
        if not await command.was_carried_out():
            await _settle(command, request)
        return shown(await command.read(), 200)

    return await command.once.around(work)


async def _settle(command: OrderCommand, request: ResolveRequest) -> None:
    """Bring a decision to the process whose step is parked.

    Raises:
        Problem: it is not parked (any more), does not offer this, or the books could not do it.
    """
    order = await command.read()
    parked = next((each for each in order.parked if each.step == request.step), None)
    if command.if_version not in (None, order.version):
        raise version_conflict()
    if parked is None:
        raise _not_parked(request.step)
    if request.action not in parked.actions:
        raise _not_offered(request.step, request.action, parked.actions)
    try:
        told = await command.update(parked.workflow_id, "resolve_step", request)
    except WorkflowUpdateFailedError as fault:
        cause = fault.cause
        log.info("resolve_refused", order=order.number, fault=getattr(cause, "type", None))
        if isinstance(cause, ApplicationError) and cause.type == "not_applied":
            raise Problem("invalid_state", cause.message) from fault
        told = None  # somebody settled it between our look and the process's
    if told is None and not command.sent_again and not await command.was_carried_out():
        raise _not_parked(request.step)


async def _hold(command: OrderCommand, id: str) -> HoldView:
    order = await command.read()
    return next(hold_view(hold) for hold in order.holds if hold.id == id)


def _not_parked(step: str) -> Problem:
    return Problem(
        "not_parked",
        "The order waits for no decision about this step.",
        errors=[Flaw(pointer="/step", code="not_parked", detail=f"{step!r} is not parked.")],
    )


def _not_offered(step: str, action: str, actions: tuple[str, ...]) -> Problem:
    detail = f"{step} offers {', '.join(actions)}, not {action}."
    return Problem(
        "invalid_state",
        detail,
        errors=[Flaw(pointer="/action", code="invalid_state", detail=detail)],
    )
