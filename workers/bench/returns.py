"""`oms bench returns`: orders that were delivered all come back, beside the floor.

Each return is asked for, gets its label, is scanned by the carrier, received and inspected by the
warehouse, paid back and put away. Customers, carrier and warehouse act at once; so what is measured
is ours. The rate counts from the first request to the last return's close.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.engine import connect as connect_database
from adapters.http import Http
from oms.numbers import return_workflow_id
from workers.api_client import ApiClient
from workers.bench.cpu import cpu_seconds
from workers.bench.history import Weight, weigh_runs
from workers.bench.orders import (
    GIVE_UP_SECONDS,
    LOOK_EVERY_SECONDS,
    WAREHOUSE,
    WEIGHED,
    Floor,
    OrdersRun,
    Told,
    p99,
)
from workers.stack import WORKER, kind_of
from workers.state import Running
from workers.temporal import connect_to

_PATIENCE = timedelta(seconds=30)
_LABELS_EVERY_SECONDS = 0.1


class ReturnsBench(BaseModel):
    """What one run measured. Rates are returns per second, times milliseconds.

    `ask`: from the request to the answer `approved`. `refund`: from the inspection in the books to
    the provider's yes in them.
    """

    returns: int
    concurrency: int
    workers: int
    closed_per_second: float
    floor_per_second: float
    closed_of_floor: float
    ask_p50_ms: float
    ask_p99_ms: float
    refund_p50_ms: float
    refund_p99_ms: float
    events_per_return: float
    history_bytes_per_return: float
    regular_activities_per_return: int
    local_activities_per_return: int
    cpu_seconds_per_return: float
    cpu_seconds_per_return_by_process: dict[str, float]
    floor_cpu_seconds_per_return: float
    cpu_of_floor: float
    not_closed: int


class Ends(NamedTuple):
    """What the books say of the returns: how many closed, when the last did, and the refunds."""

    closed: int
    last_closed: datetime | None
    refund_seconds: Sequence[float]


class _Taken(BaseModel):
    """The simulator says that our side has the scan."""

    model_config = ConfigDict(extra="ignore")


class _Labels:
    """Tracking numbers, asked of the books for all who wait for one."""

    def __init__(self, db: AsyncEngine) -> None:
        self._db = db
        self._wanted: dict[str, asyncio.Future[str]] = {}

    async def of(self, id: str) -> str:
        """Wait for the label of a return."""
        self._wanted[id] = asyncio.get_running_loop().create_future()
        return await self._wanted[id]

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_LABELS_EVERY_SECONDS)
            async with self._db.connect() as tx:
                rows = await tx.execute(_LABELLED, {"ids": list(self._wanted)})
                for id, tracking_number in rows:
                    self._wanted.pop(id).set_result(tracking_number)


class ReturnsRun:
    """One measurement on a running stack.

    Args:
        running: The stack.
        api: An operator's access to it.
        returns: How many orders to deliver, and to take back.
        concurrency: How many returns are asked for and brought at once, and how many bare runs.
        told: Hears of the progress.
    """

    def __init__(
        self,
        running: Running,
        api: ApiClient,
        *,
        returns: int,
        concurrency: int,
        told: Told = lambda what, done, total: None,
    ) -> None:
        self._running, self._api, self._told = running, api, told
        self._returns, self._concurrency = returns, concurrency
        self._orders = OrdersRun(running, api, orders=returns, concurrency=concurrency, told=told)
        self._run = f"bench-{time.time_ns() // 1_000_000:x}"
        self._db = connect_database(running.database_url, pool_size=5)
        self._labels = _Labels(self._db)
        self._asked: list[float] = []
        self._ids: list[str] = []

    async def measure(self) -> ReturnsBench:
        """Deliver the orders, take all of them back, then measure the floor."""
        numbers = await self._orders.deliver()
        async with Http(self._running.simulator, timeout=_PATIENCE) as outside:
            try:
                before, first = cpu_seconds(self._running.processes), datetime.now().astimezone()
                watching = asyncio.create_task(self._labels.watch())
                await self._orders.at_once(
                    lambda index: self._comes_back(numbers[index], outside), "sent back"
                )
                watching.cancel()
                ends = await self._until_closed()
                after = cpu_seconds(self._running.processes)
            finally:
                await self._db.dispose()
        client = await connect_to(self._running.temporal)
        weights = [await weigh_runs(client, [return_workflow_id(id)]) for id in self._ids[:WEIGHED]]
        floor = await self._orders.floor(client, weights[0].steps)
        cpu = {
            name: round((used - before.get(name, 0)) / self._returns, 4)
            for name, used in after.items()
        }
        return self._figures(first, ends, weights, floor, cpu)

    async def _comes_back(self, number: str, outside: Http) -> None:
        body = {
            "order": number,
            "via": "post",
            "lines": [{"line": 1, "quantity": 1, "reason": "too_small"}],
            "resolution": "refund",
            "location": WAREHOUSE,
        }
        began = time.monotonic()
        asked = await self._api.post("/v1/returns", body, key=f"{self._run}:{number}")
        self._asked.append(time.monotonic() - began)
        assert asked.body["status"] == "approved", asked.body
        id: str = asked.body["id"]
        self._ids.append(id)
        tracking_number = await self._labels.of(id)
        scan = {"status": "in_transit"}
        path = f"/carriers/{tracking_number}/events"
        await outside.post(path, scan, key=f"{self._run}:{id}:scan", answer=_Taken)
        here = {"line": 1, "quantity": 1, "condition": "as_new"}
        goods = {"location": WAREHOUSE, "lines": [here]}
        await self._api.post(f"/v1/returns/{id}/receive", goods, key=f"{self._run}:{id}:receive")
        decided = {"lines": [{"line": 1, "quantity": 1, "accepted": True}]}
        await self._api.post(f"/v1/returns/{id}/inspect", decided, key=f"{self._run}:{id}:inspect")

    async def _until_closed(self) -> Ends:
        """Wait for the last return, or give up when nothing closes any more."""
        best, since = 0, time.monotonic()
        while True:
            ends = await self._read_books()
            self._told("closed", ends.closed, self._returns)
            if ends.closed > best:
                best, since = ends.closed, time.monotonic()
            if ends.closed >= self._returns or time.monotonic() - since > GIVE_UP_SECONDS:
                return ends
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _read_books(self) -> Ends:
        async with self._db.connect() as tx:
            closed, last = (await tx.execute(_CLOSED, {"ids": self._ids})).one()
            refunds = await tx.scalars(_REFUNDED, {"ids": self._ids})
            return Ends(closed, last, [float(seconds) for seconds in refunds])

    def _figures(
        self,
        first: datetime,
        ends: Ends,
        weights: Sequence[Weight],
        floor: Floor,
        cpu: dict[str, float],
    ) -> ReturnsBench:
        assert ends.last_closed is not None, "no return was closed"
        rate = ends.closed / (ends.last_closed - first).total_seconds()
        floor_cpu = sum(floor.cpu.values())
        return ReturnsBench(
            returns=self._returns,
            concurrency=self._concurrency,
            workers=sum(kind_of(name) == WORKER for name in self._running.processes),
            closed_per_second=round(rate, 2),
            floor_per_second=round(floor.per_second, 2),
            closed_of_floor=round(rate / floor.per_second, 3),
            ask_p50_ms=round(1000 * statistics.median(self._asked), 1),
            ask_p99_ms=round(1000 * p99(self._asked), 1),
            refund_p50_ms=round(1000 * statistics.median(ends.refund_seconds), 1),
            refund_p99_ms=round(1000 * p99(ends.refund_seconds), 1),
            events_per_return=statistics.mean(weight.events for weight in weights),
            history_bytes_per_return=round(statistics.mean(weight.bytes for weight in weights)),
            regular_activities_per_return=weights[0].steps.regular,
            local_activities_per_return=weights[0].steps.local,
            cpu_seconds_per_return=round(sum(cpu.values()), 4),
            cpu_seconds_per_return_by_process=cpu,
            floor_cpu_seconds_per_return=round(floor_cpu, 4),
            cpu_of_floor=round(sum(cpu.values()) / floor_cpu, 2),
            not_closed=self._returns - ends.closed,
        )


_LABELLED = text(
    "SELECT return_id, tracking_number FROM return_parcels"
    " WHERE return_id = ANY(:ids) AND tracking_number IS NOT NULL"
)
_CLOSED = text("SELECT count(closed_at), max(closed_at) FROM returns WHERE id = ANY(:ids)")
_REFUNDED = text(
    """
SELECT extract(epoch FROM e.settled_at - min(t.decided_at)) FROM payment_entries e
JOIN return_lots t ON t.return_id = e.cause
WHERE e.kind = 'refund' AND e.status = 'succeeded' AND e.cause = ANY(:ids)
GROUP BY e.key, e.settled_at
"""
)
