"""Each step of a return run twice: the same answer, and one effect on all books."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities.messages import AtPayment, AtReturn, AtShipment
from activities.payments import PaymentActivities
from activities.returns import ReturnActivities, ReturnCarrierActivities
from adapters.carriers.simulator import SimulatedCarrier
from adapters.db.engine import connect
from adapters.db.inbound import apply_waiting, store_inbound
from adapters.http import Http
from adapters.psp.simulator import SimulatedProvider
from oms.numbers import order_of, return_workflow_id
from oms.ports import Approved
from tests.adapters.db.exchanging import Exchanging
from tests.adapters.db.stockroom import Stockroom
from tests.outside import Outside, an_outside

BOOKS = (
    "orders", "order_lines", "tenders", "payment_entries", "events", "stock_levels",
    "stock_movements", "nudges", "returns", "return_lines", "return_lots", "return_parcels",
    "return_receipts", "transfers",
)  # fmt: skip


class Counter:
    """The steps of one return over real books, and a real outside, without any process."""

    def __init__(self, shop: Exchanging, outside: Outside, http: Http) -> None:
        self.shop, self.outside = shop, outside
        self.steps = ReturnActivities(shop.returns)
        self.carrier = ReturnCarrierActivities(shop.returns, SimulatedCarrier(http))
        self.provider = SimulatedProvider(http)
        self.payments = PaymentActivities(shop.book, {"simulator": self.provider})
        self.id = ""

    @property
    def number(self) -> str:
        return order_of(self.id)

    async def twice(self, activity: Callable[..., Any], about: Any = None) -> Any:
        """Run it twice; the second time answers the same and changes nothing anywhere."""
        about = about or AtReturn(id=self.id, at=self.shop.now)
        first = await ActivityEnvironment().run(activity, about)
        after_first = await self._everything()
        assert await ActivityEnvironment().run(activity, about) == first
        assert await self._everything() == after_first
        return first

    async def paid_at_the_provider(self) -> None:
        """The provider has the order's money as our books say, so that it can be given back."""
        order, number = await self.shop.read(self.number), self.number
        (tender,) = order.tenders
        paid: dict[str, Any] = {
            "reference": number,
            "amount_minor": tender.captured_minor,
            "currency": "EUR",
        }
        held = await self.provider.authorise(key=f"{number}:authorize:1", token="tok_ok", **paid)
        assert isinstance(held, Approved)
        means = held.provider_reference
        await self.provider.capture(key=f"{number}:capture:1", authorisation=means, **paid)
        async with self.shop.stockroom.db.begin() as tx:
            await tx.execute(text("UPDATE tenders SET authorisation = :a"), {"a": means})

    async def runs_to_wake(self) -> list[str]:
        """The processes that are owed a signal."""
        async with self.shop.stockroom.db.connect() as tx:
            return list((await tx.execute(text("SELECT workflow_id FROM nudges"))).scalars())

    async def _everything(self) -> dict[str, list[str]]:
        seen = {
            party: [" ".join(entry) for entry in await self.outside.books(party)]
            for party in ("carriers", "payments")
        }
        async with self.shop.stockroom.db.connect() as tx:
            for table in BOOKS:
                rows = await tx.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t"))
                seen[table] = sorted(rows.scalars())
        return seen


@pytest.fixture
async def counter(database_url: str) -> AsyncIterator[Counter]:
    db = connect(database_url)
    stockroom = Stockroom(db)
    await stockroom.sells("LAMP")
    await stockroom.has_place("lyon", at=(45.76, 4.83))
    async with db.begin() as tx:
        await tx.execute(text('UPDATE locations SET address = \'{"country": "FR"}\''))
    await stockroom.holds("LAMP", "lyon", 10)
    shop = Exchanging(stockroom)
    async with an_outside() as outside, Http(outside.url, timeout=timedelta(seconds=5)) as http:
        found = Counter(shop, outside, http)
        found.id = await shop.asks(await shop.delivers(("LAMP", 2)), (1, 2))
        yield found
    await db.dispose()


async def test_a_label_is_bought_once_and_a_parcel_is_asked_after_without_effect(
    counter: Counter,
) -> None:
    parcel = AtShipment(id=f"{counter.id}-P1", at=counter.shop.now)

    await counter.twice(counter.carrier.buy_return_label, parcel)
    await counter.twice(counter.carrier.look_for_return_parcel, parcel)
    await counter.twice(counter.steps.read_return)

    assert await counter.outside.books("carriers") == [("label", f"{counter.id}-P1:label:1")]


async def test_goods_are_paid_back_put_away_and_closed_once(counter: Counter) -> None:
    shop, id = counter.shop, counter.id
    await shop.receives(id, (1, 2, "as_new"))
    await shop.inspects(id, (1, 2, True))

    await counter.twice(counter.steps.give_back)
    await counter.twice(counter.steps.put_away)
    await counter.paid_at_the_provider()
    refund = AtPayment(key=f"{counter.number}:refund:1", at=shop.now)
    settled = await counter.twice(counter.payments.settle_payment, refund)
    assert (settled.of_return, settled.agenda.version) == (
        id,
        (await shop.read(counter.number)).version,
    )
    await counter.twice(counter.steps.close_return)

    back = await shop.back(id)
    assert (back.status, [lot.state for lot in back.lots]) == ("closed", ["placed"])
    moved = [kind for kind, _ in await counter.outside.books("payments")]
    assert moved == ["authorize", "capture", "refund"]
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 10}


@pytest.mark.parametrize("accepted", [True, False])
async def test_goods_in_exchange_are_let_go_or_called_off_once(
    counter: Counter, accepted: bool
) -> None:
    shop = counter.shop
    counter.id, other = await shop.swaps(await shop.delivers(("LAMP", 1)))
    await shop.receives(counter.id, (1, 1, "as_new"))
    await shop.inspects(counter.id, (1, 1, accepted))

    step = counter.steps.let_exchange_go if accepted else counter.steps.cancel_exchange
    await counter.twice(step)

    order = await shop.read(other)
    assert not order.open_holds or not accepted
    assert order.lines[0].cancelled == (0 if accepted else 1)
    assert (await shop.back(counter.id)).exchange_told == ("leaves" if accepted else "called_off")


async def test_news_of_a_refund_wakes_the_return_that_waits_for_it(counter: Counter) -> None:
    shop, id = counter.shop, counter.id
    await shop.receives(id, (1, 2, "as_new"))
    await shop.inspects(id, (1, 2, True))
    await ActivityEnvironment().run(counter.steps.give_back, AtReturn(id=id, at=shop.now))
    async with shop.stockroom.db.begin() as tx:
        await tx.execute(text("DELETE FROM nudges"))
        body = {"key": f"{counter.number}:refund:1", "kind": "refund", "status": "succeeded"}
        await store_inbound(
            tx, party="payments", source="simulator", event_id="e-1", body=body, now=shop.now
        )

    await apply_waiting(shop.stockroom.db, shop.book, shop.now, most=10)

    assert await counter.runs_to_wake() == [return_workflow_id(id)]


async def test_a_customer_is_reminded_once_and_a_return_expires_once(counter: Counter) -> None:
    counter.shop.now += timedelta(days=29)

    await counter.twice(counter.steps.remind_customer)
    await counter.twice(counter.steps.expire_return)
    await counter.twice(counter.steps.close_return)

    assert (await counter.shop.back(counter.id)).status == "expired"
    assert await counter.shop.stockroom.level("LAMP", "lyon") == {"on_hand": 8}
