"""What is told is what is paid: parcels that turn round, and the odd cents of a line."""

import pytest

from adapters.db.exchanges import let_go
from oms.orders import Order
from tests.adapters.db.exchanging import CARD, Exchanging
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Exchanging:
    await stockroom.holds("LAMP", "lyon", 5)
    await stockroom.holds("MUG", "lyon", 5)
    await stockroom.holds("SOFA", "lyon", 1)
    await stockroom.holds("SOFA", "nice", 2)
    return Exchanging(stockroom)


async def handed_over(shop: Exchanging, number: str) -> Order:
    await shop.sends(number)
    return await shop.read(number)


async def turns_round(shop: Exchanging, shipment: str) -> str:
    await shop.scanned(shipment, "returned_to_sender")
    found = [
        each.id for each in (await shop.read(shipment[:-3])).returns if each.shipment == shipment
    ]
    return found[0]


async def told(shop: Exchanging, id: str) -> int:
    return (await shop.back(id)).refund_minor


async def comes_in(shop: Exchanging, id: str, line: int = 1) -> None:
    units = (await shop.back(id)).lines[0].quantity
    await shop.receives(id, (line, units, "as_new"))
    await shop.settles(id)
    await shop.runs(id.rpartition("-")[0])


async def test_a_parcel_that_is_all_of_its_order_is_told_with_the_outbound_way(
    shop: Exchanging,
) -> None:
    number = await shop.hands_over(("LAMP", 2))

    id = await turns_round(shop, f"{number}-S1")
    assert await told(shop, id) == 2490
    await comes_in(shop, id)

    assert (await told(shop, id), await shop.money(number)) == (2490, (2490, 2490))


async def test_the_last_of_two_parcels_that_turn_round_brings_the_outbound_way(
    shop: Exchanging,
) -> None:
    number = await shop.hands_over(("SOFA", 3))
    first, second = [each.id for each in (await shop.read(number)).shipments]

    one, other = await turns_round(shop, first), await turns_round(shop, second)
    assert await told(shop, one) + await told(shop, other) == 3000
    await comes_in(shop, one)
    await comes_in(shop, other)

    assert await told(shop, one) + await told(shop, other) == 3490
    assert await shop.money(number) == (3490, 3490)
    assert await shop.is_sound()


async def test_what_a_claim_paid_of_a_parcel_that_turns_round_is_not_told_again(
    shop: Exchanging,
) -> None:
    number = await shop.hands_over(("LAMP", 2))
    await shop.claimed(number, 1)
    assert await shop.money(number) == (2490, 1000)

    id = await turns_round(shop, f"{number}-S1")
    assert await told(shop, id) == 1490
    await comes_in(shop, id)

    assert await shop.money(number) == (2490, 2490)
    assert await shop.is_sound()


async def test_of_goods_in_exchange_that_turn_round_only_what_they_cost_more_is_told(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 1))
    tenders = [CARD | {"amount_minor": 500}]
    back, other = await shop.swaps(first, {"sku": "MUG", "unit_price_minor": 1500}, tenders=tenders)
    await shop.comes_back(back)
    (parcel,) = await shop.sends(other)

    id = await turns_round(shop, parcel)
    assert await told(shop, id) == 500
    await comes_in(shop, id)
    await shop.settles(back)

    assert await told(shop, id) == 500
    assert await shop.money(other) == (500, 500)
    assert await shop.money(first) == (1490, 1000)
    assert await shop.is_sound()


async def test_odd_cents_of_a_line_are_given_back_once_whoever_leaves_it_first(
    shop: Exchanging,
) -> None:
    """3 sofas for 10.00 EUR: one is exchanged, and the parcel with the other two is given up."""
    line = {"sku": "SOFA", "quantity": 3, "unit_price_minor": 334, "discount_minor": 2}
    total = [CARD | {"amount_minor": 1000}]
    number = await shop.places(("SOFA", 3), shipping=0, lines=[line], tenders=total)
    parcels = {
        each.lines[0].quantity: each.id for each in (await handed_over(shop, number)).shipments
    }
    await shop.scanned(parcels[1], "delivered")
    back, other = await shop.swaps(number, {"sku": "LAMP"}, ships="at_once")
    await let_go(shop.book, back, shop.now)
    assert (await shop.back(back)).exchange_told == "leaves"

    await shop.gives_up(parcels[2])
    await shop.comes_back(back)
    await shop.arrives(other)
    assert await shop.money(number) == (1000, 667)
    again = await shop.asks(other, (1, 1))
    await shop.comes_back(again)

    assert await shop.money(number) == (1000, 1000)
    assert await shop.is_sound()
