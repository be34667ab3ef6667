"""How an order's process is started, by whoever gets there first: the API or the relay.

Starting one that runs attaches to it; one that ended starts again and ends at once, because its
agenda is empty. So a start may be repeated by anybody at any time.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import TemporalError

from oms.money import format_money
from oms.numbers import (
    fulfillment_workflow_id,
    order_workflow_id,
    reroute_workflow_id,
    return_workflow_id,
)
from oms.ports import Message
from oms.words import count_of
from workflows.fulfillment import FulfillmentWorkflow
from workflows.messages import FulfillmentRef, OrderRef, Placed, RerouteRef, ReturnRef
from workflows.order import OrderWorkflow
from workflows.reroute import RerouteOrders
from workflows.returns import ReturnWorkflow
from workflows.search import CHANNEL, LOCATION, ORDER, STAGE, TOTAL_MINOR


class StartOrder(Message):
    """What a run shows of its order: nothing personal."""

    number: str
    channel: str
    currency: str
    total_minor: int
    units: int
    task_queue: str
    heal_seconds: float = 60
    payment_poll_seconds: float = 60


def _start(order: StartOrder) -> WithStartWorkflowOperation[OrderWorkflow, str]:
    return WithStartWorkflowOperation(
        OrderWorkflow.run,
        _ref(order),
        id=order_workflow_id(order.number),
        task_queue=order.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        search_attributes=_search_attributes(order),
        static_summary=_summary(order),
        static_details=_details(order),
    )


def _ref(order: StartOrder) -> OrderRef:
    return OrderRef(
        number=order.number,
        heal_seconds=order.heal_seconds,
        payment_poll_seconds=order.payment_poll_seconds,
    )


def _search_attributes(order: StartOrder) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(ORDER, order.number),
            SearchAttributePair(CHANNEL, order.channel),
            SearchAttributePair(STAGE, "placing"),
            SearchAttributePair(TOTAL_MINOR, order.total_minor),
        ]
    )


def _summary(order: StartOrder) -> str:
    total = format_money(order.total_minor, order.currency)
    return f"Order {order.number}: {count_of(order.units, 'unit')}, {total}, from {order.channel}"


def _details(order: StartOrder) -> str:
    return (
        f"`oms order show {order.number}` tells everything; `oms order explain {order.number}`"
        " what it waits for. Personal data stays in the database."
    )


async def place_order(client: Client, order: StartOrder, *, patience: timedelta) -> Placed:
    """Start the process unless it runs, and wait for its verdict.

    Raises:
        temporalio.service.RPCError: Temporal does not answer; somebody else starts it later.
        TimeoutError, temporalio.client.WorkflowUpdateRPCTimeoutOrCancelledError: no verdict
            within `patience`; the process goes on by itself.
    """
    start = _start(order)
    try:
        placed: Placed = await client.execute_update_with_start_workflow(
            "place",  # by name: the SDK's overloads do not know an update without an argument
            id="place",
            start_workflow_operation=start,
            result_type=Placed,
            rpc_timeout=patience,
        )
    except BaseException:
        # The SDK keeps how the start went beside. Left unread, asyncio reports it as an error.
        with suppress(asyncio.CancelledError, TemporalError):
            await start.workflow_handle()
        raise
    return placed


async def start_order(client: Client, order: StartOrder) -> None:
    """Start the process unless it runs.

    Raises:
        temporalio.service.RPCError: Temporal does not answer.
    """
    await client.start_workflow(
        OrderWorkflow.run,
        _ref(order),
        id=order_workflow_id(order.number),
        task_queue=order.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=_search_attributes(order),
        static_summary=_summary(order),
        static_details=_details(order),
    )


async def start_reroute(client: Client, ref: RerouteRef, *, task_queue: str) -> None:
    """Start the process of a reroute unless it runs.

    Raises:
        temporalio.service.RPCError: Temporal does not answer.
    """
    await client.start_workflow(
        RerouteOrders.run,
        ref,
        id=reroute_workflow_id(ref.id),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=TypedSearchAttributes([SearchAttributePair(STAGE, "running")]),
        static_summary=ref.words,
        static_details=f"`oms reroute watch {ref.id}` tells how far it is.",
    )


async def start_return(client: Client, ref: ReturnRef, *, words: str, task_queue: str) -> None:
    """Start the process of a return, or tell the one that runs. `words`: for people.

    A run that is about to end when the return is opened again hears of it, or a new one starts.

    Raises:
        temporalio.service.RPCError: Temporal does not answer.
    """
    await client.start_workflow(
        ReturnWorkflow.run,
        ref,
        id=return_workflow_id(ref.id),
        task_queue=task_queue,
        start_signal="changed",
        start_signal_args=["it is to be carried on"],
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(ORDER, ref.order), SearchAttributePair(STAGE, "requested")]
        ),
        static_summary=words,
        static_details=f"Part of order {ref.order}. Personal data stays in the database.",
    )


async def start_fulfillment(
    client: Client, ref: FulfillmentRef, *, location: str, task_queue: str
) -> None:
    """Start the process of a fulfillment order whose run is gone while its order's goes on.

    Otherwise the order's own process starts it.

    Raises:
        temporalio.service.RPCError: Temporal does not answer.
    """
    await client.start_workflow(
        FulfillmentWorkflow.run,
        ref,
        id=fulfillment_workflow_id(ref.id),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(ORDER, ref.order),
                SearchAttributePair(LOCATION, location),
                SearchAttributePair(STAGE, "open"),
            ]
        ),
        static_summary=f"Fulfillment order {ref.id} at {location}",
        static_details=f"Part of order {ref.order}. Started again: its run was gone.",
    )
