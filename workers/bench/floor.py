"""The floor: bare runs on the same server, as a worker process of its own.

What Temporal costs when the business is left out: a run with as many activities as an order has,
none of which does anything, and an update-with-start that answers at once.
"""

import asyncio
import sys
from typing import NamedTuple

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from workers.bench.bare import BareRun, BareUpdate, nothing
from workers.sandbox import workflow_runner
from workers.temporal import connect


class Steps(NamedTuple):
    """How many activities a run has."""

    regular: int
    local: int


async def bare_run(client: Client, queue: str, id: str, steps: Steps) -> None:
    """Run one bare run to its end."""
    await client.execute_workflow(
        BareRun.run, args=[steps.regular, steps.local], id=id, task_queue=queue
    )


async def bare_update(client: Client, queue: str, id: str) -> None:
    """Start one run with its update, and wait for the answer."""
    await client.execute_update_with_start_workflow(
        BareUpdate.place,
        start_workflow_operation=WithStartWorkflowOperation(
            BareUpdate.run,
            id=id,
            task_queue=queue,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        ),
    )


async def work(queue: str) -> None:
    """Serve bare runs until the process is ended."""
    worker = Worker(
        await connect(),
        task_queue=queue,
        workflows=[BareRun, BareUpdate],
        activities=[nothing],
        workflow_runner=workflow_runner(),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
