"""Runs that are gone: terminated, or lost with Temporal's data. The books know what they owe."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from adapters.db.unit import load_orders
from oms.agenda import fulfillment_ended
from oms.numbers import fulfillment_workflow_id, order_workflow_id, return_workflow_id
from oms.orders import Order
from workflows.messages import FulfillmentRef
from workflows.starting import start_fulfillment

_BATCH = 200
_AT_ONCE = 20
_RPC_TIMEOUT = timedelta(seconds=10)


class Restarted(NamedTuple):
    """What got a run again, and how many open orders and returns were looked at."""

    orders: tuple[str, ...]
    parts: tuple[str, ...]
    looked_at: int
    returns: tuple[str, ...] = ()
    returns_looked_at: int = 0


async def restart_missing(
    engine: AsyncEngine,
    client: Client,
    *,
    task_queue: str,
    heal_seconds: float,
    numbers: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Restarted:
    """Give a run to every open order and return without one, and every part that is served.

    An order is handed to the relay, which starts it within seconds, and its parts with it; so is a
    return. A part whose order runs is started here. What runs is left alone: this may be repeated.

    Args:
        engine: The books.
        client: Of the Temporal server that shall carry them.
        task_queue: Of the workers.
        heal_seconds: As the workers have it.
        numbers: Only these orders and their returns; all open ones by default.
        progress: Told how many orders are done, and of how many.
    """
    async with engine.connect() as tx:
        rows = await tx.execute(
            text(
                "SELECT number FROM orders WHERE closed_at IS NULL"
                " AND (CAST(:numbers AS text[]) IS NULL OR number = ANY(:numbers))"
                " ORDER BY placed_at, number"
            ),
            {"numbers": None if numbers is None else list(numbers)},
        )
        opened = [row.number for row in rows]
    orders: list[str] = []
    parts: list[str] = []
    gate = asyncio.Semaphore(_AT_ONCE)
    progress(0, len(opened))

    async def look(order: Order) -> None:
        async with gate:
            if not await _runs(client, order_workflow_id(order.number)):
                orders.append(order.number)
                return
            for each in order.fulfillment_orders:
                ended = fulfillment_ended(order, each)
                if not ended and not await _runs(client, fulfillment_workflow_id(each.id)):
                    ref = FulfillmentRef(id=each.id, order=order.number, heal_seconds=heal_seconds)
                    await start_fulfillment(
                        client, ref, location=each.location, task_queue=task_queue
                    )
                    parts.append(each.id)

    for start in range(0, len(opened), _BATCH):
        batch = opened[start : start + _BATCH]
        async with engine.connect() as tx:
            loaded = await load_orders(tx, batch)
        await asyncio.gather(*(look(order) for order in loaded))
        progress(min(start + _BATCH, len(opened)), len(opened))
    async with engine.begin() as tx:
        await tx.execute(
            text("UPDATE orders SET started_at = NULL WHERE number = ANY(:numbers)"),
            {"numbers": orders},
        )
    returns, looked_at = await _restart_returns(engine, client, numbers)
    return Restarted(
        tuple(sorted(orders)), tuple(sorted(parts)), len(opened), tuple(sorted(returns)), looked_at
    )


async def _restart_returns(
    engine: AsyncEngine, client: Client, numbers: Sequence[str] | None
) -> tuple[list[str], int]:
    """Hand open returns without a run to the relay. Those, and how many were looked at."""
    async with engine.connect() as tx:
        rows = await tx.execute(
            text(
                "SELECT id FROM returns WHERE closed_at IS NULL AND started_at IS NOT NULL"
                " AND (CAST(:numbers AS text[]) IS NULL OR order_number = ANY(:numbers))"
                " ORDER BY id"
            ),
            {"numbers": None if numbers is None else list(numbers)},
        )
        opened = [row.id for row in rows]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def is_gone(id: str) -> bool:
        async with gate:
            return not await _runs(client, return_workflow_id(id))

    gone = await asyncio.gather(*(is_gone(id) for id in opened))
    lost = [id for id, is_lost in zip(opened, gone, strict=True) if is_lost]
    async with engine.begin() as tx:
        await tx.execute(
            text(
                "WITH lost AS (UPDATE returns SET started_at = NULL WHERE id = ANY(:ids)"
                " RETURNING 1) SELECT pg_notify('oms_returns', '') FROM lost"
            ),
            {"ids": lost},
        )
    return lost, len(opened)


async def _runs(client: Client, workflow_id: str) -> bool:
    try:
        run = await client.get_workflow_handle(workflow_id).describe(rpc_timeout=_RPC_TIMEOUT)
    except RPCError as fault:
        if fault.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return run.status is WorkflowExecutionStatus.RUNNING
