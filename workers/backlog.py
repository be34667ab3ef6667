"""What Temporal says of our queues: who asks them for work, and how long the oldest work waits."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client.core import GaugeMetricFamily, Metric
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCError

from workflows.queues import Kind, queue_for

_ASKS = timedelta(seconds=90)
"""A poller asks again after a minute at most; the server remembers it for five."""

_PATIENCE = timedelta(seconds=3)
_ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW

log = structlog.get_logger()


async def read_backlog(client: Client, task_queue: str) -> list[Metric]:
    """Ask Temporal about every queue of ours, served by this process or by others or by nobody."""
    queues = [(queue_for(kind, orders=task_queue), "activity") for kind in Kind]
    queues.append((task_queue, "workflow"))
    up = GaugeMetricFamily("oms_temporal_up", "Whether Temporal could be asked.")
    try:
        told = await asyncio.gather(*(_describe(client, *each) for each in queues))
    except (RPCError, RuntimeError) as fault:
        log.warning("queues_not_read", error=type(fault).__name__)
        up.add_metric([], 0)
        return [up]
    up.add_metric([], 1)
    pollers = GaugeMetricFamily(
        "oms_queue_pollers",
        "Worker processes that ask a queue for work.",
        labels=["task_queue", "task"],
    )
    waits = GaugeMetricFamily(
        "oms_queue_backlog_seconds",
        "How long the oldest task of a queue waits for a worker, about.",
        labels=["task_queue", "task"],
    )
    for queue, answer in zip(queues, told, strict=True):
        asking = sum(1 for each in answer.pollers if _is_fresh(each.last_access_time))
        pollers.add_metric(queue, asking)
        waits.add_metric(queue, answer.stats.approximate_backlog_age.ToTimedelta().total_seconds())
    return [up, pollers, waits]


async def _describe(client: Client, queue: str, task: str) -> DescribeTaskQueueResponse:
    return await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=_WORKFLOW if task == "workflow" else _ACTIVITY,
            report_stats=True,
        ),
        timeout=_PATIENCE,
    )


def _is_fresh(at: Timestamp) -> bool:
    return datetime.now(UTC) - at.ToDatetime(UTC) < _ASKS
