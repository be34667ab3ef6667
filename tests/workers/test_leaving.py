"""A worker process ends in time, whatever it waits for: another one takes over from the books."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.db.migrate import upgrade
from workers.embedded.postgres import Postgres
from workers.main import FAILED
from workers.pollers import unserved
from workflows.starting import StartOrder, start_order

_BROKEN_POLLER = """
from temporalio.worker import _activity

def broken(self, token, start, running):
    raise RuntimeError("the poller broke")

_activity._ActivityWorker._handle_start_activity_task = broken
from workers.main import main
main()
"""


class Working(NamedTuple):
    """A worker process that polls its own queue."""

    process: asyncio.subprocess.Process
    queue: str

    async def until_it_says(self, words: str) -> None:
        """Read its log until these words come."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while words.encode() not in (line := await self.process.stdout.readline()):
                assert line, f"it ended without saying {words!r}"


@asynccontextmanager
async def a_worker(postgres: Postgres, client: Client, *program: str) -> AsyncIterator[Working]:
    """A worker whose books lost their orders once it worked, so nothing ever succeeds."""
    name, queue = f"e{os.urandom(6).hex()}", f"oms-{os.urandom(4).hex()}"
    await postgres.create(name)
    await asyncio.to_thread(upgrade, postgres.url(name))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**20,
        env={
            **os.environ,
            "OMS_DATABASE_URL": postgres.url(name),
            "OMS_TASK_QUEUE": queue,
            "OMS_SHUTDOWN_SECONDS": "1",
            "OMS_LOG_FORMAT": "json",
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
        },
    )
    try:
        async with asyncio.timeout(60):
            while await unserved(client, queue, pid=process.pid):
                await asyncio.sleep(0.1)
        await postgres.run("ALTER TABLE orders RENAME TO lost_orders", database=name)
        yield Working(process, queue)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await postgres.drop(name)


async def an_order_starts(client: Client, queue: str) -> str:
    """Start a run of which every step fails."""
    number = f"{os.urandom(2).hex()}-{os.urandom(2).hex()}-X".upper()
    order = StartOrder(
        number=number, channel="web", currency="EUR", total_minor=1, units=1, task_queue=queue
    )
    await start_order(client, order)
    return f"order/{number}"


async def ends(client: Client, workflow_id: str) -> None:
    """Leave no run behind that another test's server would carry."""
    try:
        await client.get_workflow_handle(workflow_id).terminate("the test is over")
    except RPCError as fault:
        pytest.fail(f"the run was gone: {fault}")


async def test_a_worker_whose_books_are_away_still_stops(
    postgres: Postgres, temporal: Client
) -> None:
    async with a_worker(postgres, temporal, "-m", "workers.main") as working:
        run = await an_order_starts(temporal, working.queue)
        await working.until_it_says("UndefinedTable")

        working.process.send_signal(signal.SIGTERM)

        async with asyncio.timeout(30):
            assert await working.process.wait() == FAILED
    await ends(temporal, run)


async def test_a_worker_that_can_take_no_more_activities_ends_at_once(
    postgres: Postgres, temporal: Client
) -> None:
    async with a_worker(postgres, temporal, "-c", _BROKEN_POLLER) as working:
        run = await an_order_starts(temporal, working.queue)

        await working.until_it_says("worker_failed")

        async with asyncio.timeout(30):
            assert await working.process.wait() == FAILED
    await ends(temporal, run)
