"""Why a refund is what it is: told from the moments it was given back at, to the cent."""

import pytest

from adapters.db.return_lists import settlements
from oms.numbers import order_of
from oms.ports import Declined
from oms.return_reckoning import why_refund
from oms.returns import Terms
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom

THEIRS = Terms(fee_minor=490, shipping_minor=490, shipping_whole=True)


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    await stockroom.holds("LAMP", "lyon", 10)
    await stockroom.holds("MUG", "lyon", 10)
    return Shop(stockroom)


async def why(shop: Shop, id: str) -> tuple[str, ...]:
    order = await shop.read(order_of(id))
    async with shop.stockroom.db.connect() as tx:
        settled = await settlements(tx, order.number, id)
    return why_refund(order, order.return_(id), settled)


async def test_each_line_and_the_fee_and_the_way_are_told_as_they_were_paid(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2), ("MUG", 1))
    id = await shop.asks(number, (1, 2), (2, 1), terms=THEIRS)

    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)
    halfway = await why(shop, id)
    await shop.receives(id, (1, 1, "opened"), (2, 1, "as_new"), key="scan-2")
    await shop.inspects(id, (1, 1, True), (2, 1, True))
    await shop.settles(id)
    at_last = await why(shop, id)

    assert halfway[2:] == (
        "Line 1, 2 x LAMP (too small): 10.00 EUR for 1, 1 not here yet.",
        "Line 2, 1 x MUG (too small): 1 not here yet.",
        "In all: 5.10 EUR, made of goods 10.00 EUR, less the fee of 4.90 EUR.",
        "5.10 EUR to the card that paid, by refund:1: succeeded.",
    )
    assert at_last[2:6] == (
        "Line 1, 2 x LAMP (too small): 20.00 EUR for 2.",
        "Line 2, 1 x MUG (too small): 10.00 EUR for 1.",
        "In all: 30.00 EUR, made of goods 30.00 EUR, the way to the customer 4.90 EUR,"
        " less the fee of 4.90 EUR.",
        "5.10 EUR to the card that paid, by refund:1: succeeded.",
    )


async def test_what_was_refused_or_missing_says_why_it_is_not_paid(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 3))
    id = await shop.asks(number, (1, 3))

    await shop.receives(id, (1, 2, "as_new"), (1, 1, "missing"))
    await shop.inspects(id, (1, 1, True), (1, 1, False))
    await shop.settles(id, [Declined(reason="account_closed")])

    assert (await why(shop, id))[2:] == (
        "Line 1, 3 x LAMP (too small): 10.00 EUR for 1, 1 refused at inspection,"
        " 1 missing from the parcel.",
        "In all: 10.00 EUR.",
        "10.00 EUR to the card that paid, by refund:1: failed (account_closed).",
    )
