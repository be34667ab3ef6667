"""A channel of the whole stack: asks until it is answered, and remembers what it was promised."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from workers.stack import Stack
from workers.state import Running

PRICE = 1999 + 490
PATIENCE = 400
"""Seconds until a test gives up; only one that fails waits so long."""

_ASK_AGAIN = {"idempotency_key_in_flight", "unavailable", "internal_error"}


class Channel:
    """A web shop, its operator and its view of the outside, over HTTP alone."""

    def __init__(
        self, running: Running, api: httpx.AsyncClient, outside: httpx.AsyncClient
    ) -> None:
        self._keys, self._api, self._outside = running.keys, api, outside
        self.acknowledged: list[str] = []
        self._orders = 0

    @classmethod
    @asynccontextmanager
    async def of(cls, stack: Stack) -> AsyncIterator[Self]:
        running = stack.status()
        assert running is not None
        async with (
            httpx.AsyncClient(base_url=running.api, timeout=30, trust_env=False) as api,
            httpx.AsyncClient(base_url=running.simulator, timeout=30, trust_env=False) as outside,
        ):
            yield cls(running, api, outside)

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str = ""
    ) -> httpx.Response:
        """Ask once, as operator."""
        headers = {"Authorization": f"Bearer {self._keys['operator']}"}
        if method == "POST":
            headers["Idempotency-Key"] = key or os.urandom(8).hex()
        return await self._api.request(method, path, json=body, headers=headers)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask under one key until there is an answer; anything but a 2xx fails."""
        key = os.urandom(8).hex()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await self.call(method, path, body, key=key)
                except httpx.HTTPError:
                    await asyncio.sleep(0.2)
                    continue
                if answer.is_success:
                    return answer.json()
                assert answer.json().get("code") in _ASK_AGAIN, answer.text
                await asyncio.sleep(0.2)

    async def opens(self, sku: str, units: int) -> None:
        """Sell an article that a warehouse of its own holds."""
        await self.ask("PUT", "/v1/channels/web", {"name": "Web"})
        await self.ask("PUT", f"/v1/products/{sku}", {"name": sku, "weight_g": 500})
        address = {"city": "Lyon", "country": "FR"}
        place = {"name": sku, "kind": "warehouse", "address": address}
        await self.ask("PUT", f"/v1/locations/wh-{sku}", place)
        count = {"sku": sku, "location": f"wh-{sku}", "set": units, "reason": "count"}
        await self.ask("POST", "/v1/stock/adjustments", {"adjustments": [count]})
        await self.hurries_the_outside()

    async def hurries_the_outside(self) -> None:
        """Set the simulator's clock, which starts anew with its process."""

        async def is_set() -> bool:
            try:
                answer = await self._outside.post("/clock", json={"speed": 20_000})
            except httpx.HTTPError:
                return False
            return answer.is_success

        await until(is_set)

    def an_order(self, sku: str) -> dict[str, Any]:
        self._orders += 1
        address = {"name": "Ada Martin", "line1": "5 quai Tilsitt", "city": "Lyon",
                   "postal_code": "69002", "country": "FR"}  # fmt: skip
        return {
            "channel": "web",
            "reference": f"{sku}-{self._orders}",
            "currency": "EUR",
            "customer": {"id": "c-1"},
            "lines": [{"sku": sku, "quantity": 1, "unit_price_minor": 1999}],
            "shipping_minor": 490,
            "delivery": {"method": "home", "address": address},
            "tenders": [
                {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": PRICE}
            ],
        }

    async def places(self, sku: str) -> str:
        """Place an order, however often it must be asked for; gives its number."""
        order = await self.ask("POST", "/v1/orders", self.an_order(sku))
        self.acknowledged.append(order["number"])
        return str(order["number"])

    async def order(self, number: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("GET", f"/v1/orders/{number}")
        return found

    async def orders_of(self, sku: str) -> list[dict[str, Any]]:
        """All orders of an article, at most a hundred."""
        found = await self.ask("GET", f"/v1/orders?sku={sku}&limit=100")
        return list(found["data"])

    async def until_ended(self, sku: str) -> list[dict[str, Any]]:
        """Wait until every order of an article has its verdict and nothing is open."""
        orders: list[dict[str, Any]] = []

        async def ended() -> bool:
            orders[:] = await self.orders_of(sku)
            return {order["status"] for order in orders} <= {"completed", "cancelled"}

        try:
            await until(ended)
        except TimeoutError:
            late = [order["number"] for order in orders if order["status"] in ("open", "pending")]
            waits = {
                number: await self.ask("GET", f"/v1/orders/{number}/explain") for number in late
            }
            raise AssertionError(f"{len(late)} of {len(orders)} have no verdict: {waits}") from None
        return orders

    async def until_delivered(self, sku: str) -> list[dict[str, Any]]:
        """Wait until every order of an article is completed."""
        orders = await self.until_ended(sku)
        assert {order["status"] for order in orders} == {"completed"}
        return orders

    async def delivers(self, sku: str) -> str:
        """Sell one of a new article and bring it to the customer; gives the order's number."""
        await self.opens(sku, 10)
        number = await self.places(sku)
        await self.until_delivered(sku)
        return number

    async def asks_back(self, number: str, resolution: str = "refund") -> dict[str, Any]:
        """The customer asks to send back what they bought."""
        lines = [{"line": 1, "quantity": 1, "reason": "too_small"}]
        body = {"order": number, "via": "post", "lines": lines, "resolution": resolution}
        asked: dict[str, Any] = await self.ask("POST", "/v1/returns", body)
        return asked

    async def receives(self, id: str, sku: str) -> None:
        """The article's warehouse finds it in a parcel."""
        lines = [{"line": 1, "quantity": 1, "condition": "as_new"}]
        body = {"location": f"wh-{sku}", "lines": lines}
        await self.ask("POST", f"/v1/returns/{id}/receive", body)

    async def accepts(self, id: str) -> None:
        """Who received it takes it."""
        lines = [{"line": 1, "quantity": 1, "accepted": True}]
        await self.ask("POST", f"/v1/returns/{id}/inspect", {"lines": lines})

    async def until_over(self, id: str) -> None:
        """Wait until a return is closed."""

        async def is_over() -> bool:
            return bool((await self.ask("GET", f"/v1/returns/{id}"))["status"] == "closed")

        try:
            await until(is_over)
        except TimeoutError:
            waits = await self.ask("GET", f"/v1/returns/{id}/explain")
            raise AssertionError(f"{id} is not over: {waits}") from None

    async def breaks(self, party: str, operation: str, mode: str) -> None:
        """The next such call to the outside goes wrong."""
        fault = {"party": party, "operation": operation, "mode": mode}
        (await self._outside.post("/faults", json=fault)).raise_for_status()

    async def effects_of(self, party: str, reference: str, kind: str) -> list[str]:
        """The keys of what an outside party did for an order."""
        books = await self._outside.get(f"/books/{party}", params={"reference": reference})
        return [entry["key"] for entry in books.json()["data"] if entry["kind"] == kind]

    async def moved(self, sku: str, cause: str) -> list[int]:
        """What something did to the units on hand of an article, oldest first."""
        rows = (await self.ask("GET", f"/v1/stock/{sku}/movements?limit=100"))["data"]
        return [row["delta"] for row in rows if (row["bucket"], row["cause"]) == ("on_hand", cause)]

    async def money_of(self, number: str) -> list[tuple[str, int]]:
        """What the provider did for an order: (kind, minor units), oldest first."""
        books = await self._outside.get("/books/payments", params={"reference": number})
        return [(entry["kind"], entry["amount_minor"]) for entry in books.json()["data"]]

    async def on_hand(self, sku: str) -> int:
        stock = await self.ask("GET", f"/v1/stock/{sku}")
        return int(stock["locations"][0]["on_hand"])


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not await ready():
            await asyncio.sleep(0.3)


def kill_9(stack: Stack, name: str) -> None:
    """End a process as the machine would; its supervisor starts it again."""
    os.kill(stack.pids[name], signal.SIGKILL)


class Lock:
    """A row of the books that somebody holds: who wants it waits in the middle of their work."""

    def __init__(self, tx: AsyncConnection, engine: AsyncEngine, holder: int) -> None:
        self._tx, self._engine, self._holder = tx, engine, holder

    @classmethod
    @asynccontextmanager
    async def on(cls, engine: AsyncEngine, row: str, **values: Any) -> AsyncIterator[Self]:
        """Hold what `row` (tables and a condition) names until the end of the block."""
        async with engine.connect() as tx:
            await tx.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            held = await tx.execute(text(f"SELECT 1 FROM {row} FOR UPDATE"), values)
            assert len(held.all()) == 1
            holder = int((await tx.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            yield cls(tx, engine, holder)
            await tx.rollback()

    async def until_wanted(self) -> None:
        """Wait until somebody waits for it."""
        waits = text(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid)))"
        )

        async def is_wanted() -> bool:
            async with self._engine.connect() as tx:
                return bool((await tx.execute(waits, {"pid": self._holder})).scalar_one())

        await until(is_wanted)


async def violations(stack: Stack) -> list[Any]:
    """What `oms audit --json` finds, run as an operator runs it."""
    audit = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.cli", "audit", "--json"),
        env={**os.environ, "OMS_HOME": str(stack.home)},
        stdout=asyncio.subprocess.PIPE,
    )
    report, _ = await audit.communicate()
    found = list(json.loads(report)["violations"])
    assert audit.returncode == (1 if found else 0)
    return found
