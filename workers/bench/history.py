"""What an order, or a return, leaves in Temporal, over all its runs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from oms.numbers import fulfillment_workflow_id, order_workflow_id
from workers.bench.floor import Steps


class Weight(NamedTuple):
    """Histories: events, bytes, and the activities in them."""

    events: int
    bytes: int
    steps: Steps


class Parts(NamedTuple):
    """An order and its fulfillment orders, by their ids."""

    number: str
    fulfillment_orders: Sequence[str]


async def weigh(client: Client, order: Parts) -> Weight:
    """Add up the histories of an order and of its fulfillment orders."""
    parts = map(fulfillment_workflow_id, order.fulfillment_orders)
    return await weigh_runs(client, [order_workflow_id(order.number), *parts])


async def weigh_runs(client: Client, ids: Iterable[str]) -> Weight:
    """Add up the histories of these runs."""
    events = size = regular = local = 0
    for id in ids:
        handle = client.get_workflow_handle(id)
        told = (await handle.describe()).raw_description.workflow_execution_info
        size += told.history_size_bytes
        events += told.history_length
        kinds = Counter([event.event_type async for event in handle.fetch_history_events()])
        regular += kinds[EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
        local += kinds[EventType.EVENT_TYPE_MARKER_RECORDED]
    return Weight(events, size, Steps(regular, local))
