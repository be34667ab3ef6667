"""The worker process: workflows, activities and the relay, wired to the real outside.

`python -m workers.main`; SIGTERM finishes the calls it has begun.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, NoReturn

import structlog
import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.db.book import SqlBook
from adapters.db.engine import connect as connect_database
from adapters.http import Http
from oms.errors import told
from workers import logging, tracing
from workers.deploying import version_of
from workers.duty import Duty
from workers.relay import Relay
from workers.serving import effects_over, make_workers, working
from workers.settings import Settings, policy_of, settings
from workers.temporal import connect, log_through_python, metrics_address
from workers.watching import watch_of, watched
from workflows.queues import Kind

LAST_SECONDS = 3
"""What stopping may take beyond the time that calls in the air are given."""

FAILED = 70
"""The exit status of a worker that could not go on, or not stop in time."""

log = structlog.get_logger()


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
    _leave("worker_failed", error=told(fault.__cause__ or fault))


def _relay(config: Settings, engine: AsyncEngine, book: SqlBook, client: Client) -> Relay:
    return Relay(
        engine,
        book,
        client,
        task_queue=config.task_queue,
        heal_seconds=config.heal_seconds,
        payment_poll_seconds=config.payment_poll_seconds,
        keeps=timedelta(days=config.technical_days),
    )


async def run(config: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    engine: AsyncEngine = connect_database(config.database_url.get_secret_value(), pool_size=16)
    outside = Http(config.simulator_url, timeout=timedelta(seconds=config.provider_timeout_seconds))
    book = SqlBook(engine, policy_of(config))
    client = await connect()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    relay = _relay(config, engine, book, client) if Kind.ORDERS in config.worker_kinds else None
    graceful = timedelta(seconds=config.shutdown_seconds)
    duty = Duty(engine)
    async with contextlib.AsyncExitStack() as stack:
        looks = watch_of(engine, client, relay, config.task_queue)
        watch = await stack.enter_async_context(watched(config, looks))
        await _first_of(duty.begun(), stop.wait())
        if stop.is_set():
            return
        workers = make_workers(
            client,
            effects_over(book, outside),
            task_queue=config.task_queue,
            graceful=graceful,
            kinds=config.worker_kinds,
            per_second=config.per_second,
            version=version_of(config),
            sandboxed=False,
            on_fatal_error=_failed,
        )
        await stack.enter_async_context(working(workers))
        relaying = asyncio.create_task(relay.run() if relay else stop.wait())
        log.info("worker_started", task_queue=config.task_queue, kinds=config.worker_kinds)
        await _first_of(asyncio.shield(relaying), stop.wait(), duty.ended())
        watch.draining = True
        log.info("worker_stopping", told_to=stop.is_set())
        loop.call_later(graceful.total_seconds() + LAST_SECONDS, _leave, "worker_did_not_stop")
        relaying.cancel()
        # A relay that ended by itself met a bug: this raises it, and whoever supervises us
        # starts the process again instead of leaving signals unsent in silence.
        with contextlib.suppress(asyncio.CancelledError):
            await relaying
    await duty.laid_down()
    await outside.close()
    await engine.dispose()


async def _first_of(*waits: Awaitable[Any]) -> None:
    """Wait until one of them ends, however it ends, and let go of the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Run the worker process."""
    config = settings()
    logging.configure(config.log_format)
    tracing.configure("oms-worker")
    log_through_python(metrics_at=metrics_address(config.metrics_host, config.sdk_metrics_port))
    uvloop.run(run(config))


if __name__ == "__main__":
    main()
