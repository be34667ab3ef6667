"""The whole product around one test: real database, real Temporal, real HTTP, honest outside.

API, worker and relay run in the test's process; the simulator has books of its own, which the
audit compares with ours. A test steers the outside by the simulator's faults, and our own steps by
`breaks`.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import (
    Worker,
)
from typing_extensions import override

from adapters.db.book import SqlBook
from adapters.db.credentials import store_credential
from adapters.db.engine import connect
from adapters.http import Http
from api.main import create_app
from api.wiring import ApiSettings
from oms.audit import AuditReport
from oms.policy import Policy
from simulator.app import create_app as create_simulator
from simulator.settings import Settings as SimulatorSettings
from tests.breaking import Break, Faults
from tests.outside import QUICK, SECRETS, Inbox, Outside
from tests.returning import PATIENCE, Returning
from workers.auditing import SimulatorBooks, audit
from workers.pollers import unserved
from workers.relay import Relay
from workers.serving import effects_over, make_workers, working
from workflows.queues import Kind

KEYS = {role: f"key-of-the-{role}" for role in ("operator", "channel", "node")}

POLICY = Policy(
    grace=timedelta(seconds=0.2),
    node_answer=timedelta(seconds=20),
    reservation=timedelta(seconds=30),
    pick=timedelta(seconds=60),
    pickup=timedelta(seconds=60),
    silent=timedelta(seconds=60),
)


class World(Returning):
    """What a test may do: place, work, listen, break, look."""

    def __init__(
        self,
        engine: AsyncEngine,
        book: SqlBook,
        temporal: Client,
        http: httpx.AsyncClient,
        outside: Outside,
        faults: Faults,
        make_workers: partial[list[Worker]],
    ) -> None:
        self.engine, self.book, self.temporal = engine, book, temporal
        self._make_workers = make_workers
        self.queue = str(make_workers.keywords["task_queue"])
        self.http, self.outside, self._faults = http, outside, faults
        self._references = 0

    # --- the API ---

    @override
    async def call(
        self, method: str, path: str, body: Any = None, *, who: str = "operator", **headers: str
    ) -> httpx.Response:
        """Call the API with a key of its own for every POST, unless one is given."""
        sent = {"Authorization": f"Bearer {KEYS[who]}"}
        if method == "POST":
            sent["Idempotency-Key"] = os.urandom(8).hex()
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, json=body, headers=sent)

    @override
    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Call the API and give the body; anything but a 2xx fails the test."""
        answer = await self.call(method, path, body, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def sells(self, *skus: str, weight_g: int = 500) -> None:
        for sku in skus:
            await self.ok("PUT", f"/v1/products/{sku}", {"name": sku, "weight_g": weight_g})

    async def has_place(self, id: str, *, kind: str = "warehouse", **more: Any) -> None:
        body = {
            "name": id,
            "kind": kind,
            "address": {"line1": "1 Road", "city": "Lyon", "postal_code": "69001", "country": "FR"},
            "latitude": 45.76,
            "longitude": 4.83,
        }
        await self.ok("PUT", f"/v1/locations/{id}", body | more)

    async def holds(self, sku: str, location: str, units: int) -> None:
        """Count stock: this many units are on hand."""
        body = {
            "adjustments": [{"sku": sku, "location": location, "set": units, "reason": "count"}]
        }
        await self.ok("POST", "/v1/stock/adjustments", body)

    def an_order(self, units: int | dict[str, int] = 1, **more: Any) -> dict[str, Any]:
        """An order body with good defaults: LAMP by the units given, or SKUs by units."""
        self._references += 1
        wanted = {"LAMP": units} if isinstance(units, int) else units
        token = more.pop("token", "tok_ok")
        shipping = more.pop("shipping_minor", 490)
        lines = [
            {"sku": sku, "quantity": count, "unit_price_minor": 1999, "tax_minor": 333 * count}
            for sku, count in wanted.items()
        ]
        total = sum(1999 * count for count in wanted.values()) + shipping
        return {
            "channel": "web",
            "reference": f"r-{self._references}",
            "currency": "EUR",
            "customer": {"id": "c-1", "name": "Ada Martin", "email": "ada@example.com"},
            "lines": lines,
            "shipping_minor": shipping,
            "delivery": {
                "method": "home",
                "address": {
                    "name": "Ada Martin",
                    "line1": "5 quai Tilsitt",
                    "city": "Lyon",
                    "postal_code": "69002",
                    "country": "FR",
                },
            },
            "tenders": [
                {
                    "kind": "card",
                    "provider": "simulator",
                    "token": token,
                    "amount_minor": total,
                }
            ],
        } | more

    async def place(self, units: int | dict[str, int] = 1, **more: Any) -> dict[str, Any]:
        """Place an order and give it as answered; it must be accepted."""
        answer = await self.call("POST", "/v1/orders", self.an_order(units, **more), who="channel")
        assert answer.status_code in (201, 202), answer.text
        order: dict[str, Any] = answer.json()
        return order

    async def order(self, number: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.ok("GET", f"/v1/orders/{number}")
        return found

    async def until(
        self, number: str, ready: Callable[[dict[str, Any]], bool], within: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until the order is as wanted; fail with what it waits for."""
        deadline = asyncio.get_running_loop().time() + within
        while asyncio.get_running_loop().time() < deadline:
            order = await self.order(number)
            if ready(order):
                return order
            await asyncio.sleep(0.1)
        waits = await self.ok("GET", f"/v1/orders/{number}/explain")
        raise AssertionError(f"not within {within} s: {await self.order(number)}\n{waits}")

    async def until_status(
        self, number: str, status: str, within: float = PATIENCE
    ) -> dict[str, Any]:
        return await self.until(number, lambda order: order["status"] == status, within)

    async def until_closed(self, number: str, within: float = PATIENCE) -> dict[str, Any]:
        """Wait until nothing of its own is waited for any more, and its process has ended.

        Its returns may still wait: they outlive it.
        """

        async def over() -> bool:
            waits = (await self.ok("GET", f"/v1/orders/{number}/explain"))["data"]
            own = [each for each in waits if not each["waiting_for"].startswith("R")]
            run = await self.run_of(number).describe()
            return not own and run.status is not WorkflowExecutionStatus.RUNNING

        await self.wait(over, within)
        return await self.order(number)

    async def until_parked(self, number: str, step: str | None = None) -> list[str]:
        """Wait until a person is called to this step (or any); gives all that are parked."""
        steps: list[str] = []

        async def parked() -> bool:
            waits = await self.ok("GET", f"/v1/orders/{number}/explain")
            steps[:] = [wait["step"] for wait in waits["data"] if wait["step"]]
            return bool(steps) if step is None else step in steps

        await self.wait(parked)
        return steps

    async def until_labelled(self, number: str, shipment: int = 0) -> str:
        """Wait until a parcel has its label; gives its tracking number."""

        def label(order: dict[str, Any]) -> str | None:
            parcels = [s for f in order["fulfillment_orders"] for s in f["shipments"]]
            return parcels[shipment]["tracking_number"] if len(parcels) > shipment else None

        return str(label(await self.until(number, lambda order: label(order) is not None)))

    async def resolve(self, number: str, step: str, action: str, **more: Any) -> dict[str, Any]:
        """Settle a parked step; gives the order after it."""
        body = {"step": step, "action": action, "actor": "ops-ines", "reason": "seen to it"} | more
        order: dict[str, Any] = await self.ok("POST", f"/v1/orders/{number}/resolve", body)
        return order

    async def timeline(self, number: str) -> list[dict[str, Any]]:
        """Everything that happened to an order, oldest first (at most a hundred)."""
        found = await self.ok("GET", f"/v1/orders/{number}/timeline?limit=100")
        return list(found["data"])

    async def until_offered(self, number: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for that many live fulfillment orders that their nodes have heard of."""
        offered: list[str] = []

        async def heard() -> bool:
            offered[:] = [key for kind, key in await self.outside.books("nodes") if kind == "offer"]
            order = await self.order(number)
            live = [f for f in order["fulfillment_orders"] if f["status"] in ("open",)]
            return len(live) >= count and all(f["id"] in offered for f in live)

        await self.wait(heard)
        order = await self.order(number)
        return [f for f in order["fulfillment_orders"] if f["status"] == "open"]

    async def wait(self, ready: Callable[[], Any], within: float = PATIENCE) -> None:
        """Wait until an async condition holds."""
        async with asyncio.timeout(within):
            while not await ready():
                await asyncio.sleep(0.1)

    async def node(self, fulfillment_order: str, action: str, body: Any = None) -> Any:
        """Report what a location did."""
        path = f"/v1/fulfillment-orders/{fulfillment_order}/{action}"
        return await self.ok("POST", path, body if body is not None else {}, who="node")

    async def packs(self, number: str, units: int = 1) -> str:
        """Accept, pick and pack an order's one line; gives the fulfillment order."""
        id = str((await self.until_offered(number))[0]["id"])
        await self.node(id, "accept")
        await self.node(id, "pick", {"lines": [{"line": 1, "picked": units}]})
        lines = [{"line": 1, "quantity": units}]
        await self.node(id, "pack", {"parcels": [{"weight_g": 500, "lines": lines}]})
        return id

    async def sends(self, number: str, units: int = 1) -> str:
        """Bring an order's one line to the carrier; gives the tracking number."""
        id = await self.packs(number, units)
        tracking_number = await self.until_labelled(number)
        await self.node(id, "hand-over")
        return tracking_number

    async def works_by_hand(self, *locations: str) -> None:
        """These locations get offers and do nothing by themselves."""
        for location in locations:
            await self.outside.ask("POST", f"/nodes/{location}/behaviour", json={"manual": True})

    async def scan(self, tracking_number: str, status: str, **more: Any) -> None:
        """The carrier scans a parcel."""
        path = f"/carriers/{tracking_number}/events"
        await self.outside.ask("POST", path, json={"status": status} | more)

    async def until_asked(self, run: str, activity: str) -> None:
        """Wait until a run has asked for an outside call that nobody has begun."""

        async def waits() -> bool:
            told = await self.temporal.get_workflow_handle(run).describe()
            return any(
                call.activity_type.name == activity
                and call.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
                for call in told.raw_description.pending_activities
            )

        await self.wait(waits)

    async def until_served(self, kinds: Sequence[Kind], **by: Any) -> None:
        """Wait until workers ask for these kinds of work; see `unserved`."""

        async def served() -> bool:
            return not await unserved(self.temporal, self.queue, kinds=kinds, **by)

        await self.wait(served)

    @asynccontextmanager
    async def more_workers(self, **options: Any) -> AsyncIterator[None]:
        """Let others work too, as another process would; see `make_workers` for the options."""
        address = self.temporal.service_client.config.target_host
        client = await Client.connect(address, data_converter=self.temporal.data_converter)
        async with _working(self._make_workers(client, **options)):
            yield

    # --- breaking and looking ---

    def breaks(self, activity: str, when: str, times: int = 1) -> None:
        """Let one of our own activities fail `before` it begins or `after` it took effect."""
        self._faults.planned[(activity, when)] = times

    def breaks_each_order(self, *breaks: Break) -> None:
        """Let each order placed from now on meet one of these, in turn."""
        self._faults.one_each = list(breaks)

    def breaks_order(self, number: str, what: Break) -> None:
        """Let an order that is there meet this from now on."""
        self._faults.of_order[number] = what
        self._faults.left[number] = what.times

    def break_of(self, number: str) -> tuple[Break, int]:
        """What an order met, and how often it has yet to strike."""
        return self._faults.of_order[number], self._faults.left[number]

    async def level(self, sku: str, location: str) -> dict[str, int]:
        stock = await self.ok("GET", f"/v1/stock/{sku}")
        return next(row for row in stock["locations"] if row["location"] == location)

    async def all_levels(self) -> list[dict[str, Any]]:
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT * FROM stock_levels ORDER BY sku, location")
            )
            return [dict(row._mapping) for row in rows]

    async def money_of(self, number: str) -> list[tuple[str, int]]:
        """What the provider has done for an order: (kind, minor units), oldest first."""
        books = await self.outside.ask("GET", "/books/payments", params={"reference": number})
        return [(entry["kind"], entry["amount_minor"]) for entry in books["data"]]

    async def audit_is_clean(self) -> AuditReport:
        """Compare all books, as `oms audit` does; any violation fails the test."""
        async with Http(self.outside.url, timeout=timedelta(seconds=10)) as http:
            report = await audit(
                self.engine, self.temporal, SimulatorBooks(http), silent=POLICY.silent
            )
        wrong = "\n".join(f"{v.invariant} {v.about}: {v.detail}" for v in report.violations)
        assert report.is_clean, f"the audit found\n{wrong}"
        return report

    def run_of(self, number: str) -> WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(f"order/{number}")


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI app on a free port of this machine; gives its URL."""
    # A client that rests is not hung up on: a request on its way just then would break.
    config = uvicorn.Config(
        app, log_level="critical", timeout_graceful_shutdown=1, timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def a_world(
    database_url: str,
    temporal: Client,
    *,
    policy: Policy = POLICY,
    heal_seconds: float = 1,
    payment_poll_seconds: float = 2,
    verdict_seconds: float = 5,
    worker_options: dict[str, Any] | None = None,
    rude: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    books: Path | None = None,
) -> AsyncIterator[World]:
    """Start everything around a database; stop it again. `rude` stands before the outside.

    `books`: a file in which the outside outlives it.
    """
    queue = f"oms-{os.urandom(4).hex()}"
    engine = connect(database_url)
    book = SqlBook(engine, policy)
    faults = Faults()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)

        async def client() -> Client:
            return temporal

        settings = ApiSettings(
            task_queue=queue,
            webhook_secrets=SECRETS,
            policy=policy,
            heal_seconds=heal_seconds,
            payment_poll_seconds=payment_poll_seconds,
            verdict_seconds=verdict_seconds,
        )
        api_url = await stack.enter_async_context(serving(create_app(settings, engine, client)))
        simulated = create_simulator(
            SimulatorSettings(
                oms_url=api_url,
                books=books,
                secret_payments=SECRETS["payments"],
                secret_carriers=SECRETS["carriers"],
                secret_nodes=SECRETS["nodes"],
            ),
            QUICK,
        )
        outside_url = await stack.enter_async_context(serving(rude(simulated)))
        outside = await stack.enter_async_context(Http(outside_url, timeout=timedelta(seconds=1)))
        relay = Relay(
            engine,
            book,
            temporal,
            task_queue=queue,
            heal_seconds=heal_seconds,
            payment_poll_seconds=payment_poll_seconds,
        )
        made = partial(
            make_workers,
            effects=effects_over(book, outside),
            task_queue=queue,
            interceptors=[faults],
            graceful=timedelta(seconds=1),
        )
        await stack.enter_async_context(_working(made(temporal, **(worker_options or {}))))
        relaying = asyncio.create_task(relay.run())
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=api_url, timeout=20, trust_env=False)
        )
        there = await stack.enter_async_context(
            httpx.AsyncClient(base_url=outside_url, timeout=20, trust_env=False)
        )
        await _let_in(engine)
        world = World(
            engine,
            book,
            temporal,
            http,
            Outside(outside_url, there, Inbox()),
            faults,
            made,
        )
        await world.ok("PUT", "/v1/channels/web", {"name": "Web"})
        try:
            yield world
        finally:
            relaying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await relaying


@asynccontextmanager
async def _working(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """Let workers work. One that does not stop is its test's failure, not a run that hangs."""
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(working(workers))
    try:
        yield
    finally:
        async with asyncio.timeout(PATIENCE):
            await stack.aclose()


@asynccontextmanager
async def a_shop(
    database_url: str, temporal: Client, *, units: int = 10, **options: Any
) -> AsyncIterator[World]:
    """A world that sells a lamp, of which the warehouse in Lyon holds so many."""
    async with a_world(database_url, temporal, **options) as world:
        await world.sells("LAMP")
        await world.has_place("wh-lyon")
        await world.holds("LAMP", "wh-lyon", units)
        yield world


async def _let_in(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        for role, key in KEYS.items():
            await store_credential(tx, id=role, key=key, role=role, now=datetime.now(UTC))
