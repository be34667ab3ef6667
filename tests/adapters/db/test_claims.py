"""Claims in the books: paid or replaced without sending back, and never paid twice."""

import pytest

from adapters.db.return_asking import NotReturnable
from adapters.db.return_inspections import hand_back
from adapters.db.returns import change_return
from adapters.db.unit import OrderUnit
from oms.orders import OrderStatus
from oms.ports import CarrierStatus, Scan
from oms.returns import ReturnStatus
from tests.adapters.db.exchanging import Exchanging
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Exchanging:
    await stockroom.holds("LAMP", "lyon", 5)
    await stockroom.holds("MUG", "lyon", 1)
    return Exchanging(stockroom)


async def sent_in_two_parcels(shop: Exchanging) -> tuple[str, list[str]]:
    await shop.stockroom.holds("SOFA", "lyon", 1)
    await shop.stockroom.holds("SOFA", "nice", 1)
    number = await shop.places(("SOFA", 2))
    parcels = await shop.sends(number)
    await shop.stockroom.counts("one more", "SOFA", "nice", off_by=1)
    return number, parcels


async def test_what_arrived_broken_is_paid_and_stays_with_the_customer(shop: Exchanging) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.claimed(number, reason="damaged")

    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await shop.money(number) == (2490, 1000)
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 3}
    assert (await shop.read(number)).returnable(1) == 1
    assert await shop.is_sound()


async def test_what_was_lost_is_replaced_at_once(shop: Exchanging) -> None:
    number = await shop.hands_over(("LAMP", 1))
    id = await shop.claimed(number, resolution="replace")
    other = (await shop.back(id)).exchange_order
    assert other is not None
    await shop.arrives(other)

    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert (await shop.read(other)).status is OrderStatus.COMPLETED
    assert await shop.money(number) == (1490, 0)
    assert await shop.is_sound()


@pytest.mark.parametrize("resolution", ["refund", "replace"])
async def test_a_parcel_given_up_after_a_claim_is_not_paid_again(
    shop: Exchanging, resolution: str
) -> None:
    number, (first, second) = await sent_in_two_parcels(shop)
    await shop.claimed(number, resolution=resolution)
    paid = 1000 if resolution == "refund" else 0

    await shop.gives_up(first)
    await shop.scanned(second, "delivered")
    await shop.runs(number)

    assert await shop.money(number) == (2490, paid)
    assert (await shop.read(number)).returnable(1) == 1
    back = await shop.asks(number, (1, 1))
    await shop.comes_back(back)
    assert await shop.money(number) == (2490, paid + 1000)
    assert await shop.is_sound()


async def test_a_parcel_given_up_before_a_claim_for_another_does_not_pay_for_it(
    shop: Exchanging,
) -> None:
    number, (first, second) = await sent_in_two_parcels(shop)
    await shop.gives_up(first)
    await shop.claimed(number)
    assert isinstance(await shop.claims(number), NotReturnable)

    await shop.gives_up(second)

    assert (await shop.read(number)).lines[0].refunded == 2
    assert await shop.money(number) == (2490, 2490)
    assert await shop.is_sound()


async def test_a_parcel_that_was_claimed_as_lost_and_arrives_is_the_customers(
    shop: Exchanging,
) -> None:
    number = await shop.hands_over(("LAMP", 1))
    await shop.claimed(number)
    (shipment,) = (await shop.read(number)).shipments

    await shop.scanned(shipment.id, "delivered")
    await shop.runs(number)

    order = await shop.read(number)
    assert (order.status, order.returnable(1)) == (OrderStatus.COMPLETED, 0)
    assert (await shop.money(number))[1] == 1490
    assert await shop.is_sound()


async def test_a_whole_order_that_was_lost_and_replaced_gives_nothing_back(
    shop: Exchanging,
) -> None:
    number = await shop.hands_over(("LAMP", 1))
    id = await shop.claimed(number, resolution="replace")
    (shipment,) = (await shop.read(number)).shipments

    await shop.gives_up(shipment.id)

    assert (await shop.read(number)).status is OrderStatus.CANCELLED
    assert await shop.money(number) == (1490, 0)
    other = (await shop.back(id)).exchange_order
    assert other is not None
    (replacement,) = await shop.sends(other)
    await shop.gives_up(replacement)
    await shop.settles(id)
    assert await shop.money(number) == (1490, 1000)
    assert await shop.is_sound()


async def test_a_replacement_there_is_none_of_calls_the_claim_off(shop: Exchanging) -> None:
    number = await shop.hands_over(("MUG", 1))
    id = await shop.claimed(number, resolution="replace")

    assert (await shop.back(id)).status is ReturnStatus.CANCELLED
    assert await shop.money(number) == (1490, 0)
    paid = await shop.claimed(number)
    assert (await shop.back(paid)).status is ReturnStatus.CLOSED
    assert (await shop.money(number))[1] == 1490


async def test_what_came_by_an_exchange_and_was_lost_is_paid_once_by_its_claim(
    shop: Exchanging,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(number)
    await shop.comes_back(back)
    (parcel,) = await shop.sends(other)
    await shop.claimed(other)
    assert await shop.money(number) == (1490, 1000)

    await shop.gives_up(parcel)
    await shop.settles(back)

    assert (await shop.back(back)).lines[0].exchange_cancelled == 0
    assert await shop.money(number) == (1490, 1000)
    assert await shop.is_sound()


async def test_what_was_refused_and_lost_on_its_way_back_to_the_customer_is_paid_by_a_claim(
    shop: Exchanging,
) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 1))
    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, False))
    assert (await shop.read(number)).returnable(1) == 1
    await shop.settles(id)
    (_, out) = (await shop.back(id)).parcels
    trouble: tuple[CarrierStatus, ...] = ("in_transit", "lost")
    for status in trouble:
        scan = Scan(event_id=status, status=status, at=shop.now)
        await shop.returns.scanned(out.id, [scan], shop.now)
    assert (await shop.read(number)).returnable(1) == 2

    await shop.claimed(number, 1)

    assert await shop.money(number) == (2490, 1000)
    assert (await shop.read(number)).returnable(1) == 1
    assert await shop.is_sound()


async def test_what_was_refused_may_be_sent_once_more_and_counts_once(shop: Exchanging) -> None:
    number = await shop.delivers(("LAMP", 1))
    first = await shop.asks(number, (1, 1))
    await shop.receives(first, (1, 1, "opened"))
    await shop.inspects(first, (1, 1, False))
    await hands_back(shop, first)
    await shop.settles(first)

    second = await shop.asks(number, (1, 1))
    await shop.comes_back(second)

    order = await shop.read(number)
    assert (order.lines[0].returned, order.returnable(1)) == (1, 0)
    assert await shop.money(number) == (1490, 1000)
    assert await shop.is_sound()


async def hands_back(shop: Exchanging, id: str) -> None:
    async def apply(unit: OrderUnit) -> None:
        assert await change_return(unit, id, hand_back, cause="fact") is None

    await shop.book.change(id.rpartition("-")[0], shop.now, apply)
