"""A shop whose clock the test turns: real books, a server that skips time, honest fakes outside.

The fakes keep books of their own, as the outside does: what was done under which key. They take
each key once, whatever is asked twice, and can be down.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client, WorkflowHandle

from activities.carriers import CarrierActivities
from activities.nodes import NodeActivities
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from activities.returns import ReturnActivities, ReturnCarrierActivities
from adapters.db.book import SqlBook
from adapters.db.engine import connect
from adapters.db.nodes import Parcel, accept, hand_over, pack, pick, ready
from adapters.db.parcels import record_scan
from adapters.db.placing import record_order
from adapters.db.return_book import SqlReturns
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.errors import Unreachable
from oms.fulfillment import FulfillmentOrder
from oms.numbers import (
    NUMBERS,
    fulfillment_workflow_id,
    number_from,
    order_of,
    order_workflow_id,
    return_workflow_id,
)
from oms.orders import Order
from oms.placing import OrderRequest
from oms.policy import Policy
from oms.ports import (
    Approved,
    CancelWork,
    LabelBought,
    LabelRequest,
    LookupResult,
    NotFound,
    Offer,
    PaymentResult,
    Pending,
    ProviderPromises,
    Scan,
)
from tests.adapters.db.stockroom import Stockroom
from tests.time import clock
from workers.relay import Relay
from workers.serving import make_workers, working
from workflows.starting import StartOrder, start_order

POLICY = Policy(
    grace=timedelta(days=2),
    node_answer=timedelta(hours=4),
    reservation=timedelta(minutes=30),
    pick=timedelta(days=1),
    pickup=timedelta(days=7),
    silent=timedelta(days=1),
)


A_NIGHT = timedelta(hours=12)
"""So long a sleep ends before its call's own deadline, whatever happens meanwhile."""


def _promises() -> ProviderPromises:
    return ProviderPromises(
        key_lifetime=timedelta(days=1), replays_result=True, looks_up_by_key=True
    )


@dataclass
class Bank:
    """A payment provider. `pending`: it decides later; `asked` counts look-ups by key."""

    down: bool = False
    pending: bool = False
    moved: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    promises: ProviderPromises = field(default_factory=_promises)

    def decides(self) -> None:
        """Approve everything that is pending."""
        self.pending = False
        self.moved |= self.waiting
        self.waiting.clear()

    async def authorise(
        self, *, key: str, reference: str, amount_minor: int, currency: str, token: str
    ) -> PaymentResult:
        return self._move(key, amount_minor)

    async def capture(
        self, *, key: str, reference: str, amount_minor: int, currency: str, authorisation: str
    ) -> PaymentResult:
        return self._move(key, amount_minor)

    void = capture
    refund = capture

    def _move(self, key: str, amount_minor: int) -> PaymentResult:
        if self.down:
            raise Unreachable("the bank is closed")
        if self.pending:
            self.waiting[key] = amount_minor
            return Pending()
        self.moved.setdefault(key, amount_minor)
        return Approved(provider_reference=f"ref-{key}")

    async def lookup(self, *, key: str) -> LookupResult:
        if self.down:
            raise Unreachable("the bank is closed")
        self.asked[key] = self.asked.get(key, 0) + 1
        if key in self.waiting:
            return Pending()
        if key in self.moved:
            return Approved(provider_reference=f"ref-{key}")
        return NotFound()


@dataclass
class Post:
    """A carrier. `scans`: by tracking number; `asked`: how often somebody asked after a parcel."""

    down: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    scans: dict[str, list[Scan]] = field(default_factory=dict)
    asked: int = 0

    async def buy_label(self, request: LabelRequest) -> LabelBought:
        if self.down:
            raise Unreachable("the carrier is closed")
        number = self.labels.setdefault(request.key, f"T{len(self.labels) + 1}")
        return LabelBought(carrier="post", tracking_number=number)

    async def lookup(self, *, tracking_number: str) -> list[Scan]:
        if self.down:
            raise Unreachable("the carrier is closed")
        self.asked += 1
        return self.scans.get(tracking_number, [])


@dataclass
class Nodes:
    """All locations: what they were offered and told to stop, in order."""

    down: bool = False
    offers: dict[str, Offer] = field(default_factory=dict)
    told_to_stop: list[str] = field(default_factory=list)

    async def offer(self, offer: Offer) -> None:
        if self.down:
            raise Unreachable("the location is closed")
        self.offers[offer.fulfillment_order] = offer

    async def cancel(self, request: CancelWork) -> None:
        if self.down:
            raise Unreachable("the location is closed")
        self.told_to_stop.append(request.fulfillment_order)


class Month:
    """What a test may do while time flies."""

    def __init__(self, engine: AsyncEngine, client: Client, queue: str) -> None:
        self.engine, self.client, self.queue = engine, client, queue
        self.book = SqlBook(engine, POLICY)
        self.shelf = Stockroom(engine)
        self.bank, self.post, self.nodes = Bank(), Post(), Nodes()
        self.relay = Relay(
            engine,
            self.book,
            client,
            task_queue=queue,
            heal_seconds=60,
            payment_poll_seconds=60,
        )
        self.numbers: list[str] = []
        self._freed: set[str] = set()

    def effects(self) -> Sequence[object]:
        return (
            OrderActivities(self.book),
            PaymentActivities(self.book, {"simulator": self.bank}),
            NodeActivities(self.book, self.nodes),
            CarrierActivities(self.book, self.post),
            ReturnActivities(SqlReturns(self.book)),
            ReturnCarrierActivities(SqlReturns(self.book), self.post),
        )

    # --- time ---

    async def now(self) -> datetime:
        """The server's time."""
        told = await self.client.test_service.get_current_time(Empty())
        return told.time.ToDatetime().replace(tzinfo=UTC)

    async def passes(self, **spans: float) -> None:
        """Let time pass; the processes hear what the books owe them now and then."""
        left = timedelta(**spans)
        while left:
            slice = min(left, A_NIGHT)
            span = Duration()
            span.FromTimedelta(slice)
            await self.client.test_service.unlock_time_skipping_with_sleep(
                SleepRequest(duration=span), timeout=timedelta(minutes=3)
            )
            await self.pass_on()
            left -= slice

    async def pass_on(self) -> None:
        """Send the signals that are owed, as the relay does."""
        while await self.relay.send_nudges(await self.now()):
            pass

    async def until(self, number: str, ready: Callable[[Order], bool]) -> Order:
        """Wait for the processes, not for the clock, which stands still meanwhile."""
        async with asyncio.timeout(30):
            while True:
                await self.pass_on()
                order = await self.book.read(number)
                if ready(order):
                    return order
                await asyncio.sleep(0.02)

    # --- the shop ---

    async def has(self, place: str, units: int, *, sku: str = "LAMP") -> None:
        await self.shelf.has_place(place, serves=("home", "store_pickup"), at=(45.76, 4.83))
        async with self.engine.begin() as tx:
            await tx.execute(
                text('UPDATE locations SET address = \'{"country": "FR"}\' WHERE id = :id'),
                {"id": place},
            )
        await self.shelf.holds(sku, place, units)

    async def place(self, units: int = 1, **more: Any) -> str:
        """Store an order at this time and start its process."""
        body: dict[str, Any] = {
            "channel": "web",
            "reference": os.urandom(4).hex(),
            "currency": "EUR",
            "customer": {"id": "c-1", "name": "Ada Martin"},
            "lines": [{"sku": "LAMP", "quantity": units, "unit_price_minor": 1999}],
            "delivery": {
                "method": "home",
                "address": {"line1": "5 quai Tilsitt", "postal_code": "69002", "country": "FR"},
            },
            "tenders": [
                {
                    "kind": "card",
                    "provider": "simulator",
                    "token": "tok_ok",
                    "amount_minor": 1999 * units,
                }
            ],
        }
        request = OrderRequest.model_validate(body | more)
        number = number_from(secrets.randbelow(NUMBERS))
        async with self.engine.begin() as tx:
            assert await record_order(
                tx,
                number,
                request,
                content_hash=b"",
                place=("FR", 45.76, 4.83),
                at=await self.now(),
            )
        self.numbers.append(number)
        await start_order(
            self.client,
            StartOrder(
                number=number,
                channel="web",
                currency="EUR",
                total_minor=1999 * units,
                units=units,
                task_queue=self.queue,
            ),
        )
        return number

    async def until_pending(self, number: str) -> str:
        """Wait until the provider has taken the authorisation and not decided; gives its key."""
        await self.until(number, lambda order: any(e.status == "unknown" for e in order.entries))
        return f"{number}:authorize:1"

    async def until_offered(self, number: str, seq: int = 1) -> str:
        """Wait for the order's `seq`-th fulfillment order to reach its location."""
        order = await self.until(
            number,
            lambda order: any(f.seq == seq and f.offered_at for f in order.fulfillment_orders),
        )
        return next(f.id for f in order.fulfillment_orders if f.seq == seq)

    async def tells(
        self, id: str, fact: Callable[[OrderUnit, FulfillmentOrder, Policy], Any]
    ) -> None:
        """A location reports a fact now."""
        done = await self.book.node_fact(id, await self.now(), fact, actor="node")
        assert not isinstance(done, Refusal), done
        await self.pass_on()

    async def accepts(self, id: str) -> None:
        await self.tells(id, accept)

    async def picks(self, id: str) -> None:
        each = (await self.book.read(order_of(id))).fulfillment_order(id)
        units = {line.line: line.quantity for line in each.lines}
        await self.tells(id, lambda unit, each, _: pick(unit, each, units))

    async def is_ready(self, id: str) -> None:
        await self.tells(id, ready)

    async def packs(self, id: str) -> None:
        each = (await self.book.read(order_of(id))).fulfillment_order(id)
        parcel = Parcel(weight_g=500, lines={line.line: line.quantity for line in each.lines})
        await self.tells(id, lambda unit, each, _: pack(unit, each, [parcel]))

    async def hands_over(self, id: str, code: str | None = None) -> None:
        await self.tells(
            id, lambda unit, each, _: hand_over(unit, each, code=code, verified_by=None)
        )

    async def scans(self, number: str, status: str) -> None:
        """The carrier scans the order's one parcel now."""
        shipment = (await self.book.read(number)).shipments[0]
        assert shipment.tracking_number is not None
        here = self.post.scans.setdefault(shipment.tracking_number, [])
        scan = Scan(event_id=f"e-{len(here) + 1}", status=status, at=await self.now())
        here.append(scan)
        await self.book.change(
            number,
            scan.at,
            lambda unit: record_scan(
                unit,
                unit.order.shipment(shipment.id),
                event_id=scan.event_id,
                status=scan.status,
                at=scan.at,
            ),
        )
        await self.pass_on()

    async def ships(self, number: str) -> str:
        """Bring a freshly placed order to where its one parcel is on its way."""
        await self.passes(days=2, minutes=1)
        id = await self.until_offered(number)
        await self.accepts(id)
        await self.picks(id)
        await self.packs(id)
        await self.until(number, lambda order: all(s.tracking_number for s in order.shipments))
        await self.hands_over(id)
        await self.until(number, lambda order: order.shipping_captured)
        return id

    # --- looking ---

    async def until_parked(self, number: str, step: str) -> Order:
        return await self.until(number, lambda order: any(p.step == step for p in order.parked))

    async def decides(self, workflow_id: str, step: str, action: str) -> None:
        """A person settles a parked step."""
        await self.client.get_workflow_handle(workflow_id).execute_update(
            "resolve_step",
            {"step": step, "action": action, "actor": "ada", "reason": "it is so"},
        )
        await self.pass_on()

    def run_of(self, number: str) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(order_workflow_id(number))

    async def all_runs_end(self, number: str) -> None:
        """Wait for the order's process and its fulfillment orders' to end by themselves."""
        await self.run_of(number).result()
        parts = await self._parts(number)
        for id in parts:
            await self.client.get_workflow_handle(id).result()
        await self._free_the_clock(parts)

    async def events_of(self, workflow_id: str) -> int:
        history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        return len(history.events)

    async def is_clean(self) -> None:
        """Stock adds up, nothing is held for nobody, no money is held for what is closed."""
        assert await self.shelf.adds_up()
        for number in self.numbers:
            order = await self.book.read(number)
            if order.closed_at is None:
                continue
            tender = order.tender
            assert not order.reservations
            assert not order.allocations
            assert not order.parked
            assert tender is not None
            assert tender.authorized_minor == tender.captured_minor + tender.voided_minor
        async with self.engine.connect() as connection:
            for column, table in (("reserved", "reservations"), ("allocated", "allocations")):
                rows = await connection.execute(
                    text(
                        f"SELECT (SELECT coalesce(sum({column}), 0) FROM stock_levels) - (SELECT"
                        f" coalesce(sum(quantity), 0) FROM {table} t WHERE state = 'open' AND"
                        " coalesce(to_jsonb(t)->>'kind', 'stock') = 'stock')"
                    )
                )
                assert rows.scalar_one() == 0, f"{column} equals the open {table}"

    async def end(self) -> None:
        """Leave nothing that would wake at a later test's time, or hold its clock."""
        for number in self.numbers:
            parts = await self._parts(number)
            returns = [return_workflow_id(b.id) for b in (await self.book.read(number)).returns]
            for id in (*returns, *parts, order_workflow_id(number)):
                await clock.end(self.client, id)
            await self._free_the_clock(parts)

    async def _parts(self, number: str) -> list[str]:
        orders = (await self.book.read(number)).fulfillment_orders
        return [fulfillment_workflow_id(each.id) for each in orders]

    async def _free_the_clock(self, parts: Sequence[str]) -> None:
        for id in set(parts) - self._freed:
            if await clock.free(self.client, id):
                self._freed.add(id)


@asynccontextmanager
async def a_month(database_url: str, client: Client) -> AsyncIterator[Month]:
    """A shop that sells lamps."""
    engine = connect(database_url)
    # Days of outage are thousands of refused calls, each with its stack trace.
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)
    month = Month(engine, client, f"oms-{os.urandom(4).hex()}")
    await month.shelf.sells("LAMP")
    workers = make_workers(client, month.effects(), task_queue=month.queue, graceful=timedelta(0))
    async with working(workers):
        yield month
        await month.end()
    logging.getLogger("temporalio.activity").setLevel(logging.NOTSET)
    await engine.dispose()
