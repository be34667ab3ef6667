"""The workers of one process: one for each kind of work that it serves, on that kind's queue."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    Interceptor,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)

from activities.carriers import CarrierActivities
from activities.nodes import NodeActivities
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from activities.reroutes import RerouteActivities
from activities.returns import ReturnActivities, ReturnCarrierActivities
from adapters.carriers.simulator import SimulatedCarrier
from adapters.db.book import SqlBook
from adapters.db.reroute_book import SqlReroutes
from adapters.db.return_book import SqlReturns
from adapters.http import Http
from adapters.nodes.simulator import SimulatedNode
from adapters.psp.simulator import SimulatedProvider
from workers.interceptors import LogContext, Measured
from workers.sandbox import workflow_runner
from workflows.fulfillment import FulfillmentWorkflow
from workflows.order import OrderWorkflow
from workflows.queues import EFFECTS, Kind, queue_for
from workflows.reroute import RerouteOrders
from workflows.returns import ReturnWorkflow

WORKFLOWS: Sequence[type] = (OrderWorkflow, FulfillmentWorkflow, ReturnWorkflow, RerouteOrders)


def effects_over(book: SqlBook, outside: Http) -> Sequence[object]:
    """All our effects, wired to the books and to one outside."""
    carrier, returns = SimulatedCarrier(outside), SqlReturns(book)
    return (
        OrderActivities(book),
        ReturnActivities(returns),
        ReturnCarrierActivities(returns, carrier),
        RerouteActivities(SqlReroutes(book.engine, book)),
        PaymentActivities(book, {"simulator": SimulatedProvider(outside)}),
        CarrierActivities(book, carrier),
        NodeActivities(book, SimulatedNode(outside)),
    )


def activities_of(*effects: object) -> list[Callable[..., Any]]:
    """Every activity that these offer."""
    found = [getattr(each, name) for each in effects for name in dir(each)]
    return [each for each in found if hasattr(each, "__temporal_activity_definition")]


def make_workers(
    client: Client,
    effects: Sequence[object],
    *,
    task_queue: str,
    graceful: timedelta,
    kinds: Collection[Kind] = tuple(Kind),
    per_second: Mapping[Kind, float] | None = None,
    version: WorkerDeploymentVersion | None = None,
    interceptors: Sequence[Interceptor] = (),
    sandboxed: bool = True,
    **options: Any,
) -> list[Worker]:
    """A worker for each kind of work, each with slots of its own: who hangs, hangs alone.

    Args:
        client: Of the server that has the work.
        effects: What carries it out, see `effects_over`.
        task_queue: The product's own; those of outside parties are named after it.
        graceful: What calls in the air may take when the workers stop.
        kinds: Those to serve.
        per_second: The most calls a second for a kind, by all processes together.
        version: What these workers are; they get work once it is the current one. None: at once.
        interceptors: See every call, within ours.
        sandboxed: Refuse what would not replay. Tests do; production trusts them, see
            docs/decisions/0015.
        options: For the SDK.
    """
    common = {
        "interceptors": [LogContext(), Measured(), *interceptors],
        "graceful_shutdown_timeout": graceful,
        "deployment_config": _following(version) if version else None,
        **options,
    }
    workers = []
    for kind in kinds:
        queue = queue_for(kind, orders=task_queue)
        if kind is Kind.ORDERS:
            runner = workflow_runner() if sandboxed else UnsandboxedWorkflowRunner()
            workers.append(
                _orders(client, effects, task_queue=queue, workflow_runner=runner, **common)
            )
            continue
        served = [each for each in effects if isinstance(each, EFFECTS[kind])]
        workers.append(
            Worker(
                client,
                task_queue=queue,
                activities=activities_of(*served),
                max_task_queue_activities_per_second=(per_second or {}).get(kind),
                **common,
            )
        )
    return workers


def _orders(client: Client, effects: Sequence[object], **options: Any) -> Worker:
    """The runs, and what they do in our own books without asking the server for a queue.

    It takes outside calls too: those asked for here before each party had a queue.
    """
    return Worker(
        client,
        workflows=WORKFLOWS,
        activities=activities_of(*effects),
        max_concurrent_activity_task_polls=1,
        **options,
    )


def _following(version: WorkerDeploymentVersion) -> WorkerDeploymentConfig:
    """Runs move to the version that is current, whatever they began under."""
    return WorkerDeploymentConfig(
        version=version,
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


@asynccontextmanager
async def working(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """Let workers work, and stop all of them at the same time."""
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        try:
            yield
        finally:
            await asyncio.gather(*(worker.shutdown() for worker in workers))
