"""A worker that dies holds work that nobody knows of until the server gives it to another."""

import asyncio

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.client import Client

from tests.world import World, a_shop
from workflows.queues import Kind

_NO_RUNS = [kind for kind in Kind if kind is not Kind.ORDERS]
_NOTHING_REMEMBERED = {"kinds": [Kind.ORDERS], "max_cached_workflows": 0}


async def _die_with_a_task_in_hand(world: World) -> None:
    """Take the next task of a run as a worker does, and never answer."""
    taken = await world.temporal.workflow_service.poll_workflow_task_queue(
        PollWorkflowTaskQueueRequest(
            namespace=world.temporal.namespace,
            task_queue=TaskQueue(name=world.queue),
            identity="a worker that dies",
        )
    )
    assert taken.task_token


async def test_a_command_outlives_the_worker_that_took_it(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, worker_options={"kinds": _NO_RUNS}) as world:
        await world.works_by_hand("wh-lyon")
        async with world.more_workers(**_NOTHING_REMEMBERED):
            number = (await world.place())["number"]
            await world.until_offered(number)

        cancelling = asyncio.create_task(
            world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
        )
        await _die_with_a_task_in_hand(world)
        async with world.more_workers(**_NOTHING_REMEMBERED):
            await cancelling
            done = await world.until_closed(number)

        assert (done["status"], done["payment_status"]) == ("cancelled", "voided")
        await world.audit_is_clean()
