"""Each activity run twice under one key: the same answer, and one effect on all books."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities.carriers import CarrierActivities
from activities.messages import (
    AtFulfillment,
    AtOrder,
    AtPayment,
    AtShipment,
    CommandAt,
    ParkAt,
    UnparkAt,
)
from activities.nodes import NodeActivities
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from adapters.carriers.simulator import SimulatedCarrier
from adapters.db import nodes
from adapters.db.book import SqlBook
from adapters.db.engine import connect
from adapters.db.nodes import Parcel
from adapters.db.placing import record_order
from adapters.http import Http
from adapters.nodes.simulator import SimulatedNode
from adapters.psp.simulator import SimulatedProvider
from oms.book import CancelUnits, Command, DecidePayment, PlaceHold
from oms.decisions import Decision, Parked
from oms.numbers import number_from, order_workflow_id
from oms.orders import Order
from oms.placing import OrderRequest
from oms.policy import Policy
from tests.adapters.db.stockroom import NOW, Stockroom
from tests.outside import Outside, an_outside

PRICE = 1999 + 490
POLICY = Policy(grace=timedelta(0), node_answer=timedelta(hours=1))

# What an effect may touch. `attempts` counts calls and not effects, so payments leave it out.
BOOKS = (
    "orders", "order_lines", "reservations", "allocations", "fulfillment_orders",
    "fulfillment_lines", "shipments", "shipment_lines", "shipment_scans", "tenders", "events",
    "stock_levels", "stock_movements", "nudges", "parked_steps", "holds", "turned_down", "commands",
)  # fmt: skip


class Desk:
    """The activities over real books and a real outside, without any process to call them."""

    def __init__(self, stockroom: Stockroom, outside: Outside, http: Http) -> None:
        self.stockroom, self.outside = stockroom, outside
        self.book = SqlBook(stockroom.db, POLICY)
        self.orders = OrderActivities(self.book)
        self.payments = PaymentActivities(self.book, {"simulator": SimulatedProvider(http)})
        self.nodes = NodeActivities(self.book, SimulatedNode(http))
        self.carriers = CarrierActivities(self.book, SimulatedCarrier(http))
        self.now = NOW
        self.number = ""

    async def once(self, activity: Callable[..., Any], about: Any) -> Any:
        return await ActivityEnvironment().run(activity, about)

    async def twice(self, activity: Callable[..., Any], about: Any) -> None:
        """Run it twice; the second time answers the same and changes nothing anywhere."""
        first = await self.once(activity, about)
        after_first = await self.everything()
        assert await self.once(activity, about) == first
        assert await self.everything() == after_first

    async def everything(self) -> dict[str, list[str]]:
        """All our books and all of the outside's, row by row."""
        seen: dict[str, list[str]] = {}
        async with self.stockroom.db.connect() as tx:
            for table in BOOKS:
                rows = await tx.execute(text(f"SELECT to_jsonb(t)::text AS row FROM {table} t"))
                seen[table] = sorted(rows.scalars())
            paid = await tx.execute(
                text("SELECT (to_jsonb(t) - 'attempts')::text FROM payment_entries t")
            )
            seen["payment_entries"] = sorted(paid.scalars())
        for party in ("payments", "carriers", "nodes"):
            seen[party] = [" ".join(entry) for entry in await self.outside.books(party)]
        return seen

    # --- an order, brought as far as a test needs ---

    @property
    def order(self) -> AtOrder:
        return AtOrder(number=self.number, at=self.now)

    @property
    def work(self) -> AtFulfillment:
        return AtFulfillment(id=f"{self.number}-F1", at=self.now)

    @property
    def parcel(self) -> AtShipment:
        return AtShipment(id=f"{self.number}-S1", at=self.now)

    def payment(self, key: str) -> AtPayment:
        return AtPayment(key=f"{self.number}:{key}", at=self.now)

    def command(self, command: Command) -> CommandAt:
        return CommandAt(
            number=self.number, id="c-1", command=command, at=self.now, actor="operator:ines"
        )

    async def read(self) -> Order:
        return await self.book.read(self.number)

    async def placed(self, token: str = "tok_ok") -> None:
        self.number = number_from(123_456_789)
        async with self.stockroom.db.begin() as tx:
            assert await record_order(
                tx,
                self.number,
                an_order(token),
                content_hash=b"1",
                place=("FR", 45.76, 4.83),
                at=self.now,
            )

    async def paid_for(self, token: str = "tok_ok") -> None:
        await self.placed(token)
        await self.once(self.orders.reserve_stock, self.order)
        await self.once(self.payments.settle_payment, self.payment("authorize:1"))

    async def routed(self, token: str = "tok_ok") -> None:
        await self.paid_for(token)
        await self.once(self.orders.confirm_order, self.order)
        await self.once(self.orders.route_order, self.order)

    async def accepted(self, token: str = "tok_ok") -> None:
        await self.routed(token)
        await self.once(self.nodes.offer_work, self.work)
        await self.reports(nodes.accept)

    async def packed(self, token: str = "tok_ok") -> None:
        await self.accepted(token)
        await self.reports(lambda unit, each, _: nodes.pick(unit, each, {1: 1}))
        boxes = [Parcel(weight_g=500, lines={1: 1})]
        await self.reports(lambda unit, each, _: nodes.pack(unit, each, boxes))

    async def handed_over(self, token: str = "tok_ok") -> None:
        await self.packed(token)
        await self.once(self.carriers.buy_label, self.parcel)
        await self.reports(
            lambda unit, each, _: nodes.hand_over(unit, each, code=None, verified_by=None)
        )

    async def reports(self, fact: Any) -> None:
        await self.book.node_fact(f"{self.number}-F1", self.now, fact, actor="node:lyon")

    async def cancelled(self) -> None:
        await self.once(self.orders.carry_out, self.command(CancelUnits(reason="too late")))


def an_order(token: str) -> OrderRequest:
    address = {"name": "Ada Martin", "line1": "5 quai Tilsitt", "city": "Lyon",
               "postal_code": "69002", "country": "FR"}  # fmt: skip
    tender = {"kind": "card", "provider": "simulator", "token": token, "amount_minor": PRICE}
    return OrderRequest.model_validate(
        {
            "channel": "web",
            "reference": "100234",
            "currency": "EUR",
            "customer": {"id": "c-1", "name": "Ada Martin", "email": "ada@example.com"},
            "lines": [{"sku": "LAMP", "quantity": 1, "unit_price_minor": 1999}],
            "shipping_minor": 490,
            "delivery": {"method": "home", "address": address},
            "tenders": [tender],
        }
    )


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    db = connect(database_url)
    stockroom = Stockroom(db)
    await stockroom.sells("LAMP")
    await stockroom.has_place("lyon", at=(45.76, 4.83))
    async with db.begin() as tx:
        await tx.execute(text('UPDATE locations SET address = \'{"country": "FR"}\''))
    await stockroom.holds("LAMP", "lyon", 10)
    async with an_outside() as outside, Http(outside.url, timeout=timedelta(seconds=5)) as http:
        await outside.ask("POST", "/nodes/lyon/behaviour", json={"manual": True})
        yield Desk(stockroom, outside, http)
    await db.dispose()


# --- the books ------------------------------------------------------------------------------


async def test_reading_an_order_changes_nothing(desk: Desk) -> None:
    await desk.routed()

    await desk.twice(desk.orders.read_order, desk.order)
    await desk.twice(desk.orders.read_fulfillment, desk.work)


async def test_stock_is_reserved_once(desk: Desk) -> None:
    await desk.placed()

    await desk.twice(desk.orders.reserve_stock, desk.order)

    assert await desk.stockroom.level("LAMP", "lyon") == {"on_hand": 10, "reserved": 1}


async def test_an_order_is_refused_once_when_there_is_no_stock(desk: Desk) -> None:
    await desk.stockroom.counts("lost", "LAMP", "lyon", off_by=-10)
    await desk.placed()

    await desk.twice(desk.orders.reserve_stock, desk.order)

    assert (await desk.read()).refusal_code == "insufficient_stock"


async def test_a_reservation_is_released_once(desk: Desk) -> None:
    await desk.placed()
    await desk.once(desk.orders.reserve_stock, desk.order)

    await desk.twice(desk.orders.release_reservation, desk.order)

    assert await desk.stockroom.level("LAMP", "lyon") == {"on_hand": 10}


async def test_an_order_is_confirmed_once(desk: Desk) -> None:
    await desk.paid_for()

    await desk.twice(desk.orders.confirm_order, desk.order)

    assert await desk.stockroom.level("LAMP", "lyon") == {"on_hand": 10, "allocated": 1}


async def test_an_order_is_routed_once(desk: Desk) -> None:
    await desk.paid_for()
    await desk.once(desk.orders.confirm_order, desk.order)

    await desk.twice(desk.orders.route_order, desk.order)

    assert [each.id for each in (await desk.read()).fulfillment_orders] == [f"{desk.number}-F1"]


async def test_work_that_nobody_took_goes_to_another_location_in_one_step(desk: Desk) -> None:
    await desk.routed()
    await desk.once(desk.nodes.offer_work, desk.work)
    await desk.stockroom.has_place("nice")
    await desk.stockroom.holds("LAMP", "nice", 5)
    desk.now = NOW + timedelta(hours=2)
    await desk.once(desk.orders.expire_offer, desk.work)

    await desk.once(desk.orders.route_order, desk.order)

    offered = {part.id: part.location for part in (await desk.read()).fulfillment_orders}
    assert offered == {f"{desk.number}-F1": "lyon", f"{desk.number}-F2": "nice"}


async def test_an_offer_expires_once(desk: Desk) -> None:
    await desk.routed()
    await desk.once(desk.nodes.offer_work, desk.work)
    desk.now = NOW + timedelta(hours=2)

    await desk.twice(desk.orders.expire_offer, desk.work)
    await desk.twice(desk.orders.route_order, desk.order)

    assert (await desk.read()).lines[0].cancelled == 1  # there is no other place
    assert await desk.stockroom.level("LAMP", "lyon") == {"on_hand": 10}


@pytest.mark.parametrize(
    "command", [CancelUnits(reason="too late"), PlaceHold(reason="fraud")], ids=lambda c: c.kind
)
async def test_a_command_is_carried_out_once(desk: Desk, command: Command) -> None:
    await desk.routed()

    await desk.twice(desk.orders.carry_out, desk.command(command))


async def test_a_cancelled_order_is_voided_and_closed_once(desk: Desk) -> None:
    await desk.routed()
    await desk.cancelled()

    await desk.twice(desk.orders.close_order, desk.order)
    await desk.twice(desk.payments.settle_payment, desk.payment("void:1"))
    await desk.twice(desk.orders.close_order, desk.order)

    assert (await desk.read()).closed_at is not None
    kinds = [kind for kind, _ in await desk.outside.books("payments")]
    assert kinds == ["authorize", "void"]


async def test_a_step_is_parked_once_and_let_go_once(desk: Desk) -> None:
    await desk.routed()
    parked = Parked(
        step="offer:F1", error_code="unreachable", error="no connection", actions=("retry",)
    )
    where = order_workflow_id(desk.number)

    await desk.twice(
        desk.orders.park_step,
        ParkAt(number=desk.number, parked=parked, workflow_id=where, at=desk.now),
    )
    assert [each.step for each in (await desk.read()).parked] == ["offer:F1"]
    await desk.twice(
        desk.orders.unpark_step, UnparkAt(number=desk.number, step="offer:F1", at=desk.now)
    )
    assert (await desk.read()).parked == ()


# --- money ----------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["tok_ok", "tok_slow", "tok_declined"])
async def test_a_payment_is_authorised_or_refused_once(desk: Desk, token: str) -> None:
    await desk.placed(token)
    await desk.once(desk.orders.reserve_stock, desk.order)

    await desk.twice(desk.payments.settle_payment, desk.payment("authorize:1"))

    held = [] if token == "tok_declined" else [("authorize", f"{desk.number}:authorize:1")]
    assert await desk.outside.books("payments") == held


async def test_what_left_is_captured_once(desk: Desk) -> None:
    await desk.handed_over()

    await desk.twice(desk.payments.settle_payment, desk.payment("capture:1"))

    assert (await desk.read()).tenders[0].captured_minor == PRICE


async def test_a_capture_that_was_declined_is_asked_anew_once(desk: Desk) -> None:
    await desk.handed_over("tok_capture_fails")
    await desk.twice(desk.payments.settle_payment, desk.payment("capture:1"))
    decision = Decision(step="capture:1", action="new_attempt", actor="ines", reason="again")
    decided = DecidePayment(key=f"{desk.number}:capture:1", decision=decision)

    await desk.twice(desk.orders.carry_out, desk.command(decided))

    captures = [each.key for each in (await desk.read()).entries if each.kind == "capture"]
    assert captures == [f"{desk.number}:capture:1", f"{desk.number}:capture:2"]


# --- locations and carriers -----------------------------------------------------------------


async def test_work_is_offered_once(desk: Desk) -> None:
    await desk.routed()

    await desk.twice(desk.nodes.offer_work, desk.work)

    assert await desk.outside.books("nodes") == [("offer", f"{desk.number}-F1")]


async def test_a_location_is_asked_to_stop_once(desk: Desk) -> None:
    await desk.accepted()
    await desk.cancelled()

    await desk.twice(desk.nodes.ask_to_stop, desk.work)

    assert await desk.outside.books("nodes") == [
        ("offer", f"{desk.number}-F1"),
        ("cancel", f"{desk.number}-F1:cancel:1"),
    ]


async def test_a_label_is_bought_once(desk: Desk) -> None:
    await desk.packed()

    await desk.twice(desk.carriers.buy_label, desk.parcel)

    assert await desk.outside.books("carriers") == [("label", f"{desk.number}-S1:label:1")]


async def test_what_the_carrier_says_when_asked_counts_once(desk: Desk) -> None:
    await desk.handed_over()
    tracking_number = (await desk.read()).shipments[0].tracking_number
    scan = {"status": "delivered", "at": datetime.now(UTC).isoformat()}
    await desk.outside.ask("POST", f"/carriers/{tracking_number}/events", json=scan)

    await desk.twice(desk.carriers.look_for_parcel, desk.parcel)

    assert (await desk.read()).lines[0].delivered == 1
