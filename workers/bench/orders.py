"""`oms bench orders`: a burst of one-line orders through the whole product, beside the floor.

The burst is confirmed within the grace window and served after it, as on a shop's busy hour. Rates
count the time in which there was something to do: from the first request to the last confirmation,
and from the end of the first grace window to the last order's close; where both overlap, once.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psutil
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.db.engine import connect as connect_database
from workers.api_client import ApiClient
from workers.bench.asleep import fall_asleep
from workers.bench.cpu import cpu_seconds
from workers.bench.floor import Steps, bare_run, bare_update
from workers.bench.history import Parts, Weight, weigh
from workers.pollers import unserved
from workers.settings import settings
from workers.stack import WORKER, kind_of
from workers.state import Process, Running
from workers.temporal import connect_to
from workflows.queues import Kind

SKUS = 100
WAREHOUSE = "bench-warehouse"
WEIGHED = 25
"""Of so many orders the histories are read; they hardly differ."""

LOOK_EVERY_SECONDS = 0.5
GIVE_UP_SECONDS = 600

Told = Callable[[str, int, int], None]
"""Told what is being counted, how far it is, and how far it will go."""


class OrdersBench(BaseModel):
    """What one run measured. Rates are orders per second, times milliseconds or seconds."""

    orders: int
    concurrency: int
    lines: int
    workers: int
    asleep: int
    fill_seconds: float
    confirmed_per_second: float
    delivered_per_second: float
    floor_per_second: float
    delivered_of_floor: float
    post_p50_ms: float
    post_p99_ms: float
    floor_post_p50_ms: float
    post_of_floor: float
    events_per_order: float
    history_bytes_per_order: float
    regular_activities_per_order: int
    local_activities_per_order: int
    cpu_seconds_per_order: float
    cpu_seconds_per_order_by_process: dict[str, float]
    cpu_seconds_per_confirmation_by_process: dict[str, float]
    floor_cpu_seconds_per_order: float
    floor_cpu_seconds_per_order_by_process: dict[str, float]
    cpu_of_floor: float
    without_verdict: int


class Books(NamedTuple):
    """What the books say of the run's orders."""

    confirmed: int
    closed: int
    last_confirmed: datetime | None
    first_grace_end: datetime | None
    last_closed: datetime | None


class Floor(NamedTuple):
    """What the bare runs took: how many a second, each update's seconds, CPU seconds a run."""

    per_second: float
    posts: Sequence[float]
    cpu: dict[str, float]


class OrdersRun:
    """One measurement on a running stack.

    Args:
        running: The stack.
        api: An operator's access to it.
        orders: How many orders to place.
        concurrency: How many requests, and how many bare runs, are in the air at once.
        lines: How many lines each order has; each is one unit of another article.
        asleep: How many open orders sleep beside them, of one line each. For a stack that is thrown
            away: the payment provider has never heard of them.
        told: Hears of the progress.
    """

    def __init__(
        self,
        running: Running,
        api: ApiClient,
        *,
        orders: int,
        concurrency: int,
        lines: int = 1,
        asleep: int = 0,
        told: Told = lambda what, done, total: None,
    ) -> None:
        self._running, self._api, self._told = running, api, told
        self._orders, self._concurrency, self._lines = orders, concurrency, lines
        self._asleep = asleep
        self._run = f"bench-{time.time_ns() // 1_000_000:x}"
        self._numbers: list[str] = []
        self._db: AsyncEngine = connect_database(running.database_url, pool_size=5)

    async def measure(self) -> OrdersBench:
        """Place the orders, wait for the last to close, then measure the floor."""
        try:
            await self._stock_up()
            client = await connect_to(self._running.temporal)
            fill_seconds = await self._fill(client)
            before = cpu_seconds(self._running.processes)
            first = datetime.now().astimezone()
            posts = await self.at_once(self._place, "placed")
            confirmed = cpu_seconds(self._running.processes)
            books = await self._until_closed()
            after = cpu_seconds(self._running.processes)
            weights = await self._weigh(client)
            floor = await self.floor(client, weights[0].steps)
        finally:
            await self._db.dispose()
        cpu = self._an_order(before, after), self._an_order(before, confirmed)
        return self._figures(first, posts, books, weights, floor, cpu, fill_seconds)

    async def deliver(self) -> list[str]:
        """Place the orders and wait for the last to close; gives their numbers."""
        try:
            await self._stock_up()
            await self.at_once(self._place, "placed")
            books = await self._until_closed()
        finally:
            await self._db.dispose()
        assert books.closed == self._orders, f"{self._orders - books.closed} were not delivered"
        return self._numbers

    def _an_order(self, before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
        return {
            name: round((after[name] - before.get(name, 0)) / self._orders, 4) for name in after
        }

    # --- the orders ---

    async def _stock_up(self) -> None:
        await self._api.put("/v1/channels/bench", {"name": "Benchmark", "active": True})
        await self._api.put(f"/v1/locations/{WAREHOUSE}", _WAREHOUSE)
        rows: list[dict[str, Any]] = []
        for index in range(max(SKUS, self._lines)):
            sku = _sku(index)
            await self._api.put(f"/v1/products/{sku}", {"name": f"Benchmark article {index}"})
            rows.append({"sku": sku, "location": WAREHOUSE, "set": 1_000_000, "reason": "count"})
        await self._api.post(
            "/v1/stock/adjustments", {"adjustments": rows}, key=f"{self._run}:stock"
        )

    async def _fill(self, client: Client) -> float:
        """Have open orders asleep; gives the seconds it took."""
        if not self._asleep:
            return 0.0
        began = time.monotonic()
        reference = f"asleep-{self._run}"
        first = await self._api.post("/v1/orders", _order(reference, [_sku(0)]), key=reference)
        await fall_asleep(
            self._db,
            client,
            first.body["number"],
            self._asleep,
            skus=[_sku(index) for index in range(SKUS)],
            task_queue=settings().task_queue,
            told=lambda done: self._told("asleep", done, self._asleep),
        )
        return time.monotonic() - began

    async def _place(self, index: int) -> None:
        skus = max(SKUS, self._lines)
        reference = f"{self._run}-{index}"
        order = _order(reference, [_sku((index + each) % skus) for each in range(self._lines)])
        placed = await self._api.post("/v1/orders", order, key=reference)
        self._numbers.append(placed.body["number"])

    async def _until_closed(self) -> Books:
        """Wait for the last order, or give up when nothing closes any more."""
        best, since = 0, time.monotonic()
        while True:
            books = await self._read_books()
            self._told("delivered", books.closed, self._orders)
            if books.closed > best:
                best, since = books.closed, time.monotonic()
            if books.closed >= self._orders or time.monotonic() - since > GIVE_UP_SECONDS:
                return books
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _read_books(self) -> Books:
        async with self._db.connect() as tx:
            found = await tx.execute(
                text(
                    "SELECT count(confirmed_at), count(closed_at), max(confirmed_at),"
                    " min(grace_until), max(closed_at) FROM orders"
                    " WHERE number = ANY(:numbers)"
                ),
                {"numbers": self._numbers},
            )
            return Books(*found.one())

    async def _weigh(self, client: Client) -> list[Weight]:
        async with self._db.connect() as tx:
            found = await tx.execute(
                text(
                    "SELECT o.number, array_agg(f.id) AS parts FROM orders o"
                    " JOIN fulfillment_orders f ON f.order_number = o.number"
                    " WHERE o.number = ANY(:numbers) AND o.closed_at"
                    " IS NOT NULL GROUP BY o.number ORDER BY o.number LIMIT :most"
                ),
                {"numbers": self._numbers, "most": WEIGHED},
            )
            orders = [Parts(row.number, row.parts) for row in found]
        return [await weigh(client, order) for order in orders]

    # --- the floor ---

    async def floor(self, client: Client, steps: Steps) -> Floor:
        """Measure as many bare runs with these activities, so many in the air."""
        queue = f"{self._run}-floor"
        async with _floor_worker(client, queue, self._running.temporal) as worker:
            processes = self._running.processes | {"floor": worker}

            async def run(index: int) -> None:
                await bare_run(client, queue, f"{queue}/run-{index}", steps)

            async def update(index: int) -> None:
                await bare_update(client, queue, f"{queue}/update-{index}")

            before, began = cpu_seconds(processes), time.monotonic()
            await self.at_once(run, "bare runs")
            seconds = time.monotonic() - began
            cpu = self._an_order(before, cpu_seconds(processes))
            posts = await self.at_once(update, "bare updates")
            return Floor(self._orders / seconds, posts, cpu)

    async def at_once(self, call: Callable[[int], Awaitable[None]], what: str) -> list[float]:
        """Call for each order, so many in the air; gives the seconds that each call took."""
        waiting = iter(range(self._orders))
        took: list[float] = []

        async def caller() -> None:
            for index in waiting:
                began = time.monotonic()
                await call(index)
                took.append(time.monotonic() - began)
                self._told(what, len(took), self._orders)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(caller())
        return took

    # --- the figures ---

    def _figures(
        self,
        first: datetime,
        posts: Sequence[float],
        books: Books,
        weights: Sequence[Weight],
        floor: Floor,
        cpu: tuple[dict[str, float], dict[str, float]],
        fill_seconds: float,
    ) -> OrdersBench:
        confirming, serving = busy_seconds(first, books)
        delivered = books.closed / serving
        post, floor_post = 1000 * statistics.median(posts), 1000 * statistics.median(floor.posts)
        return OrdersBench(
            orders=self._orders,
            concurrency=self._concurrency,
            lines=self._lines,
            workers=sum(kind_of(name) == WORKER for name in self._running.processes),
            asleep=self._asleep,
            fill_seconds=round(fill_seconds, 1),
            confirmed_per_second=round(books.confirmed / confirming, 2),
            delivered_per_second=round(delivered, 2),
            floor_per_second=round(floor.per_second, 2),
            delivered_of_floor=round(delivered / floor.per_second, 3),
            post_p50_ms=round(post, 1),
            post_p99_ms=round(1000 * p99(posts), 1),
            floor_post_p50_ms=round(floor_post, 1),
            post_of_floor=round(post / floor_post, 2),
            events_per_order=statistics.mean(weight.events for weight in weights),
            history_bytes_per_order=round(statistics.mean(weight.bytes for weight in weights)),
            regular_activities_per_order=weights[0].steps.regular,
            local_activities_per_order=weights[0].steps.local,
            cpu_seconds_per_order=round(sum(cpu[0].values()), 4),
            cpu_seconds_per_order_by_process=cpu[0],
            cpu_seconds_per_confirmation_by_process=cpu[1],
            floor_cpu_seconds_per_order=round(sum(floor.cpu.values()), 4),
            floor_cpu_seconds_per_order_by_process=floor.cpu,
            cpu_of_floor=round(sum(cpu[0].values()) / sum(floor.cpu.values()), 2),
            without_verdict=self._orders - books.closed,
        )


def busy_seconds(first: datetime, books: Books) -> tuple[float, float]:
    """Seconds until the last confirmation, and seconds in which anything was to be done."""
    assert books.last_confirmed is not None, "no order was confirmed"
    assert books.first_grace_end is not None, "a confirmed order has a grace window"
    assert books.last_closed is not None, "no order was delivered"
    confirming = (books.last_confirmed - first).total_seconds()
    pause = max(0.0, (books.first_grace_end - books.last_confirmed).total_seconds())
    return confirming, (books.last_closed - first).total_seconds() - pause


def p99(seconds: Sequence[float]) -> float:
    """Give what one of a hundred calls takes at least; of fewer than a hundred, the slowest."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * 0.99))]


@asynccontextmanager
async def _floor_worker(client: Client, queue: str, temporal: str) -> AsyncIterator[Process]:
    """Serve bare runs by a process like ours, so that the processors are shared alike."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.bench.floor", queue,
        env={**os.environ, "TEMPORAL_ADDRESS": temporal},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while await unserved(client, queue, kinds=[Kind.ORDERS]):
                assert process.returncode is None, "the worker of the floor ended"
                await asyncio.sleep(0.1)
        yield Process(pid=process.pid, started=psutil.Process(process.pid).create_time())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _sku(index: int) -> str:
    return f"BENCH-{index:04d}"


def _order(reference: str, skus: Sequence[str]) -> dict[str, Any]:
    amount = len(skus) * _LINE["unit_price_minor"]
    card = {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": amount}
    return {
        "channel": "bench",
        "reference": reference,
        "currency": "EUR",
        "customer": {"id": "bench", "name": "B. Customer", "email": "bench@example.com"},
        "lines": [_LINE | {"sku": sku} for sku in skus],
        "delivery": {"method": "home", "address": _HOME},
        "tenders": [card],
    }


_LINE = {"quantity": 1, "unit_price_minor": 1999, "tax_minor": 319}
_HOME = {
    "name": "B. Customer", "line1": "1 rue de la Gare", "city": "Lyon", "postal_code": "69002",
    "country": "FR",
}  # fmt: skip
_WAREHOUSE = {
    "name": "Benchmark warehouse",
    "kind": "warehouse",
    "address": {
        "line1": "1 quai du Port", "city": "Lyon", "postal_code": "69007", "country": "FR",
    },
    "latitude": 45.75,
    "longitude": 4.85,
    "serves": ["home"],
    "channels": ["bench"],
}  # fmt: skip
