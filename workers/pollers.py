"""Who asks which queue for work: what a deploy waits for, and the doctor looks at."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion

from workflows.queues import Kind, queue_for

_LONGEST_POLL = timedelta(seconds=90)
"""A worker asks anew at least once a minute; its clock and ours may differ a little."""


async def unserved(
    client: Client,
    task_queue: str,
    *,
    kinds: Collection[Kind] = tuple(Kind),
    pid: int | None = None,
    version: WorkerDeploymentVersion | None = None,
) -> list[Kind]:
    """Name the kinds of work that nobody asks for.

    The server remembers a poller for some minutes; one that has not asked for longer than a poll
    lasts is gone.

    Args:
        client: Of the server that has the work.
        task_queue: The product's own.
        kinds: Those to look at.
        pid: Count the worker with this process id only.
        version: Count workers of this version only.
    """
    lacking = []
    for kind in kinds:
        asking = (await _looked_at(client, task_queue, kind)).asking
        if not any(_is(poller, pid, version) for poller in asking):
            lacking.append(kind)
    return lacking


async def passed_over(client: Client, task_queue: str) -> list[str]:
    """Name the builds that are current for some kind of work, and have no worker that asks.

    Workers of other builds may ask, and get nothing. An empty name stands for workers without one.
    """
    builds = set()
    for kind in Kind:
        found = await _looked_at(client, task_queue, kind)
        if found.asking and not any(_build(poller) == found.current for poller in found.asking):
            builds.add(found.current)
    return sorted(builds)


class _Queue(NamedTuple):
    """A queue: who asked it for work lately, and the build whose workers get it, if any."""

    asking: Sequence[PollerInfo]
    current: str


async def _looked_at(client: Client, task_queue: str, kind: Kind) -> _Queue:
    what = "WORKFLOW" if kind is Kind.ORDERS else "ACTIVITY"
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=queue_for(kind, orders=task_queue)),
            task_queue_type=TaskQueueType.Value(f"TASK_QUEUE_TYPE_{what}"),
        )
    )
    since = datetime.now(UTC) - _LONGEST_POLL
    return _Queue(
        [p for p in answer.pollers if p.last_access_time.ToDatetime(UTC) > since],
        answer.versioning_info.current_deployment_version.build_id,
    )


def _is(poller: PollerInfo, pid: int | None, version: WorkerDeploymentVersion | None) -> bool:
    if pid is not None and not poller.identity.startswith(f"{pid}@"):
        return False
    return version is None or (
        poller.deployment_options.deployment_name == version.deployment_name
        and _build(poller) == version.build_id
    )


def _build(poller: PollerInfo) -> str:
    """Tell the build under which a worker asks; empty if it asks under none."""
    asks_as = poller.deployment_options
    is_versioned = (
        asks_as.worker_versioning_mode == WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    )
    return asks_as.build_id if is_versioned else ""
