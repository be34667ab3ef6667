"""The server that skips time must go on doing so: what it forgets to count down is set right."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.time import clock
from tests.time.conftest import Skipping


@workflow.defn
class Part:
    """Waits to be told, as a fulfillment order does."""

    def __init__(self) -> None:
        self._told = False

    @workflow.signal
    def done(self) -> None:
        self._told = True

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._told)


@workflow.defn
class Whole:
    """Starts a part that outlives it."""

    @workflow.run
    async def run(self, part: str) -> None:
        await workflow.start_child_workflow(
            Part.run, id=part, parent_close_policy=workflow.ParentClosePolicy.ABANDON
        )


@asynccontextmanager
async def _a_worker(client: Client, queue: str) -> AsyncIterator[None]:
    kinds = [Part, Whole]
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue=queue, workflows=kinds, workflow_runner=runner):
        yield


async def _a_night_passes(client: Client) -> None:
    span = Duration()
    span.FromTimedelta(timedelta(hours=12))
    await client.test_service.unlock_time_skipping_with_sleep(
        SleepRequest(duration=span), timeout=timedelta(seconds=60)
    )


async def test_time_passes_after_a_fulfillment_order_that_ended_after_its_order(
    skipping: Skipping,
) -> None:
    client, queue, part = await skipping.client(), uuid4().hex, uuid4().hex
    async with _a_worker(client, queue):
        await client.execute_workflow(Whole.run, part, id=uuid4().hex, task_queue=queue)
        late = client.get_workflow_handle(part)
        await late.signal(Part.done)
        await late.result()

        assert await clock.free(client, part)

        await _a_night_passes(client)


async def test_time_passes_after_a_run_was_ended_while_it_was_told_something(
    skipping: Skipping,
) -> None:
    client, queue = await skipping.client(), uuid4().hex
    async with _a_worker(client, queue):
        run = await client.start_workflow(Part.run, id=uuid4().hex, task_queue=queue)

        await clock.end(client, run.id)

        await _a_night_passes(client)
