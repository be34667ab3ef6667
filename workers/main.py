"""The worker process: workflows, activities and the relay, wired to the real outside.

`python -m workers.main`; SIGTERM finishes the calls it has begun.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Interceptor, Worker

from activities.carriers import CarrierActivities
from activities.nodes import NodeActivities
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from adapters.carriers.simulator import SimulatedCarrier
from adapters.db.book import SqlBook
from adapters.db.engine import connect as connect_database
from adapters.http import Http
from adapters.nodes.simulator import SimulatedNode
from adapters.psp.simulator import SimulatedProvider
from workers import logging
from workers.interceptors import LogContext
from workers.relay import Relay
from workers.sandbox import workflow_runner
from workers.settings import Settings, policy_of, settings
from workers.temporal import connect, log_through_python
from workflows.fulfillment import FulfillmentWorkflow
from workflows.order import OrderWorkflow

WORKFLOWS: Sequence[type] = (OrderWorkflow, FulfillmentWorkflow)

LAST_SECONDS = 3
"""What stopping may take beyond the time that calls in the air are given."""

FAILED = 70
"""The exit status of a worker that could not go on, or not stop in time."""

log = structlog.get_logger()


def activities_over(book: SqlBook, outside: Http) -> list[Any]:
    """Every activity, wired to the books and to one outside."""
    orders = OrderActivities(book)
    payments = PaymentActivities(book, {"simulator": SimulatedProvider(outside)})
    nodes = NodeActivities(book, SimulatedNode(outside))
    carriers = CarrierActivities(book, SimulatedCarrier(outside))
    return [
        orders.read_order,
        orders.reserve_stock,
        orders.release_reservation,
        orders.confirm_order,
        orders.route_order,
        orders.close_order,
        orders.carry_out,
        orders.read_fulfillment,
        orders.expire_offer,
        orders.park_step,
        orders.unpark_step,
        payments.settle_payment,
        nodes.offer_work,
        nodes.ask_to_stop,
        carriers.buy_label,
        carriers.look_for_parcel,
    ]


def make_worker(
    client: Client,
    book: SqlBook,
    outside: Http,
    *,
    task_queue: str,
    graceful: timedelta,
    interceptors: Sequence[Interceptor] = (),
    **options: Any,
) -> Worker:
    """A worker for all our workflows and activities.

    `graceful`: what calls in the air may take when it stops. `options` go to the SDK.
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=activities_over(book, outside),
        workflow_runner=workflow_runner(),
        interceptors=[LogContext(), *interceptors],
        graceful_shutdown_timeout=graceful,
        **options,
    )


def _leave(event: str, **why: str) -> NoReturn:
    """End the process here and now; another one goes on from what is written.

    Going by the SDK's way out would wait for every local activity to succeed. While the books are
    away, or after the activity poller broke, none does: the process would linger, doing nothing.
    """
    log.critical(event, **why)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(FAILED)


async def _failed(fault: BaseException) -> None:
    _leave("worker_failed", error=repr(fault.__cause__ or fault))


async def run(config: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    engine: AsyncEngine = connect_database(config.database_url.get_secret_value(), pool_size=40)
    outside = Http(config.simulator_url, timeout=timedelta(seconds=config.provider_timeout_seconds))
    book = SqlBook(engine, policy_of(config))
    client = await connect()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    relay = Relay(
        engine,
        book,
        client,
        task_queue=config.task_queue,
        heal_seconds=config.heal_seconds,
        payment_poll_seconds=config.payment_poll_seconds,
    )
    graceful = timedelta(seconds=config.shutdown_seconds)
    async with make_worker(
        client,
        book,
        outside,
        task_queue=config.task_queue,
        graceful=graceful,
        on_fatal_error=_failed,
    ):
        relaying = asyncio.create_task(relay.run())
        log.info("worker_started", task_queue=config.task_queue)
        await asyncio.wait(
            [relaying, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        log.info("worker_stopping", told_to=stop.is_set())
        loop.call_later(graceful.total_seconds() + LAST_SECONDS, _leave, "worker_did_not_stop")
        relaying.cancel()
        # A relay that ended by itself met a bug: this raises it, and whoever supervises us
        # starts the process again instead of leaving signals unsent in silence.
        with contextlib.suppress(asyncio.CancelledError):
            await relaying
    await outside.close()
    await engine.dispose()


def main() -> None:
    """Run the worker process."""
    config = settings()
    logging.configure(config.log_format)
    log_through_python()
    asyncio.run(run(config))


if __name__ == "__main__":
    main()
