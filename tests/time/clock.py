"""What the time-skipping server forgets to count down, and how a test sets it right.

The server lets no time pass while work is in the air, and counts what is. It never counts down for
a child that ends after its parent has, as a fulfillment order may, nor for the work that is in the
air when a run is terminated; from then on its clock stands still, whoever waits.
"""

import asyncio

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
_ENDS = {
    _COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
}
_TASK_BEGINS = EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
_TASK_ENDS = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
}
_CALL_BEGINS = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
_CALL_ENDS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
}


def _has_ended(events: list[HistoryEvent]) -> bool:
    return bool(events) and events[-1].event_type in _ENDS


def _is_at_rest(events: list[HistoryEvent]) -> bool:
    begun = sum(each.event_type in (_TASK_BEGINS, _CALL_BEGINS) for each in events)
    ended = sum(each.event_type in _TASK_ENDS | _CALL_ENDS for each in events)
    return _has_ended(events) or begun == ended


async def _history(client: Client, id: str, run_id: str | None = None) -> list[HistoryEvent]:
    """What a run went through; nothing if there is none."""
    try:
        handle = client.get_workflow_handle(id, run_id=run_id)
        return list((await handle.fetch_history()).events)
    except RPCError as gone:
        if gone.status != RPCStatusCode.NOT_FOUND:
            raise
        return []


async def end(client: Client, id: str) -> None:
    """Terminate a run once nothing of it is in the air, if it has not ended."""
    while not _is_at_rest(events := await _history(client, id)):
        await asyncio.sleep(0.02)
    if events and not _has_ended(events):
        await client.get_workflow_handle(id).terminate()


async def free(client: Client, child: str) -> bool:
    """Count down for a child, if it completed after its parent ended. Once for each child."""
    events = await _history(client, child)
    if not events or events[-1].event_type != _COMPLETED:
        return False
    parent = events[0].workflow_execution_started_event_attributes.parent_workflow_execution
    told = await _history(client, parent.workflow_id, parent.run_id)
    if not _has_ended(told) or any(_is_of(each, child) for each in told):
        return False
    await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
    return True


def _is_of(event: HistoryEvent, child: str) -> bool:
    ended = event.child_workflow_execution_completed_event_attributes
    return ended.workflow_execution.workflow_id == child
