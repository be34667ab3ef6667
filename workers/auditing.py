"""The audit: our books against themselves, the outside's books and the runs in Temporal.

The world moves while it is audited. Ours is read in one snapshot, the others after it, so they
may be ahead of us; what spans two systems is a violation only if it is still there a little later.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from adapters.db.audit import Snapshot, read_snapshot
from adapters.http import Http
from oms.agenda import fulfillment_ended
from oms.audit import (
    AuditReport,
    Effect,
    Finding,
    check_return_waits,
    check_waits,
    compare_labels,
    compare_money,
    compare_offers,
)
from oms.numbers import fulfillment_workflow_id, order_workflow_id, return_workflow_id
from oms.orders import Order
from oms.returns import Return

LOOKS_AGAIN_AFTER = (0.5, 1.0, 2.0)
"""Seconds until a finding that spans two systems is looked at again."""

ACROSS_SYSTEMS = frozenset({4, 5, 7})
YOUNG = timedelta(seconds=60)
"""A fulfillment order this young may still be started."""

_AT_ONCE = 20
_RPC_TIMEOUT = timedelta(seconds=10)

Party = Literal["payments", "carriers", "nodes"]


class OutsideBooks(Protocol):
    """The books that an outside party keeps of the effects it applied."""

    async def of(self, party: Party) -> Sequence[Effect]:
        """Give every entry, oldest first.

        Raises:
            Unreachable, OutcomeUnknown: the party does not answer.
        """
        ...


class _Books(BaseModel):
    model_config = ConfigDict(frozen=True)

    data: tuple[Effect, ...]


class SimulatorBooks(OutsideBooks):
    """The simulator's books."""

    carrier = "simulator"

    def __init__(self, http: Http) -> None:
        self._http = http

    @override
    async def of(self, party: Party) -> Sequence[Effect]:
        books = await self._http.get(f"/books/{party}", {}, answer=_Books)
        return books.data if books else ()


async def audit(
    engine: AsyncEngine, client: Client, books: OutsideBooks, *, silent: timedelta
) -> AuditReport:
    """Check everything that must always be true.

    Args:
        engine: Our books.
        client: Of the Temporal server that carries the orders.
        books: The outside's.
        silent: How long a parcel may say nothing before its carrier is asked.

    Raises:
        Unreachable, OutcomeUnknown, RPCError, SQLAlchemyError: one side does not answer.
    """
    report = await _look(engine, client, books, silent)
    for seconds in LOOKS_AGAIN_AFTER:
        if not any(found.invariant in ACROSS_SYSTEMS for found in report.violations):
            break
        await asyncio.sleep(seconds)
        report = _still_there(report, await _look(engine, client, books, silent))
    return report


async def _look(
    engine: AsyncEngine, client: Client, books: OutsideBooks, silent: timedelta
) -> AuditReport:
    now = datetime.now(UTC)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        ours = await read_snapshot(connection, now)
    return await compare(ours, client, books, now=now, silent=silent)


def _still_there(before: AuditReport, after: AuditReport) -> AuditReport:
    """What our books alone show is true at once; the rest must be found again."""
    again = {(found.invariant, found.about) for found in before.violations}
    seen = {(found.invariant, found.about) for found in after.violations}
    gone = [
        found
        for found in before.violations
        if found.invariant not in ACROSS_SYSTEMS and (found.invariant, found.about) not in seen
    ]
    stays = [
        found
        for found in after.violations
        if found.invariant not in ACROSS_SYSTEMS or (found.invariant, found.about) in again
    ]
    return after.model_copy(update={"violations": tuple(_sorted([*gone, *stays]))})


async def compare(
    ours: Snapshot, client: Client, books: OutsideBooks, *, now: datetime, silent: timedelta
) -> AuditReport:
    """Hold our books, read at `now`, against the others as they are."""
    payments, carriers, nodes = await asyncio.gather(
        books.of("payments"), books.of("carriers"), books.of("nodes")
    )
    runs = [*_runs(ours, now)]
    found = [
        *ours.findings,
        *compare_money(ours.entries, payments),
        *compare_labels(ours.parcels, carriers, carrier=SimulatorBooks.carrier),
        *compare_offers(ours.offers, nodes),
        *await _check_runs(client, runs),
    ]
    for order in ours.open_orders:
        quiet_since = ours.quiet_since.get(order.number)
        found += check_waits(order, now, silent=silent, quiet_since=quiet_since)
    for order in ours.returning:
        quiet_since = ours.quiet_since.get(order.number)
        for back in _open_returns(order):
            found += check_return_waits(order, back, now, silent=silent, quiet_since=quiet_since)
    return AuditReport(
        violations=tuple(_sorted(each for each in found if not each.pending)),
        pending=tuple(_sorted(each for each in found if each.pending)),
        checked=ours.checked
        | {"outside_entries": len(payments) + len(carriers) + len(nodes), "runs": len(runs)},
    )


def _sorted(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda each: (each.invariant, each.about))


# --- runs -----------------------------------------------------------------------------------


class _Run(NamedTuple):
    """A run to look for. `may_start`: nobody has started it yet, and somebody will."""

    workflow_id: str
    runs: bool
    may_start: bool = False


def _runs(ours: Snapshot, now: datetime) -> Iterator[_Run]:
    """Every open order and return has one, so has each part a location works on; others none."""
    for order in ours.open_orders:
        yield _Run(order_workflow_id(order.number), True, order.started_at is None)
        for each in order.fulfillment_orders:
            if not fulfillment_ended(order, each):
                young = now - each.created_at < YOUNG
                yield _Run(fulfillment_workflow_id(each.id), True, young)
    for order in ours.returning:
        for back in _open_returns(order):
            yield _Run(return_workflow_id(back.id), True, back.started_at is None)
    for number in ours.closed:
        yield _Run(order_workflow_id(number), False)
    for id in ours.closed_returns:
        yield _Run(return_workflow_id(id), False)


def _open_returns(order: Order) -> Iterator[Return]:
    """Returns of an order that must have a process."""
    return (back for back in order.returns if back.closed_at is None)


async def _check_runs(client: Client, runs: Sequence[_Run]) -> list[Finding]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def check(run: _Run) -> Finding | None:
        async with gate:
            return _judge(run, await _status(client, run.workflow_id))

    found = await asyncio.gather(*(check(run) for run in runs))
    return [each for each in found if each is not None]


async def _status(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    try:
        handle = client.get_workflow_handle(workflow_id)
        return (await handle.describe(rpc_timeout=_RPC_TIMEOUT)).status
    except RPCError as fault:
        if fault.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


def _judge(run: _Run, status: WorkflowExecutionStatus | None) -> Finding | None:
    running = status is WorkflowExecutionStatus.RUNNING
    if running == run.runs:
        return None
    words = "was never started" if status is None else f"is {status.name.lower()}"
    detail = "still runs, and what it was for is closed" if running else f"must run, and {words}"
    return Finding(
        invariant=5, about=run.workflow_id, detail=detail, pending=run.may_start and not running
    )
