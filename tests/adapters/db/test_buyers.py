"""Many buyers at once over one stock: what is there is sold, once, and none waits in a circle.

`make test-buyers` lets ten thousand do it by real orders.
"""

import itertools
import random

from adapters.db.book import SqlBook
from adapters.db.stock import StockChange
from tests.adapters.db.crowds import (
    POLICY,
    Basket,
    buy,
    deadlocks,
    numbers,
    order,
    reserved,
    served,
    spread,
    violations,
)
from tests.adapters.db.stockroom import Stockroom


async def test_ten_thousand_buyers_get_the_thousand_units_of_twenty_locations(
    stockroom: Stockroom, database_url: str
) -> None:
    await spread(stockroom, "LAMP", locations=20, units=50)

    async def buys(buyer: int) -> bool:
        return await buy(stockroom, f"b{buyer}", Basket((("LAMP", 1),)))

    outcomes = await served(10_000, buys)

    assert outcomes == {True: 1_000, False: 9_000}
    assert await reserved(stockroom, "LAMP") == 1_000
    assert await stockroom.adds_up()
    assert await deadlocks(stockroom, database_url) == 0


async def test_orders_of_a_crowd_sell_what_is_there_and_the_audit_is_clean(
    stockroom: Stockroom, database_url: str
) -> None:
    await spread(stockroom, "LAMP", locations=20, units=2)
    book, drawn = SqlBook(stockroom.db, POLICY), list(numbers(120))

    outcomes = await served(120, lambda buyer: order(stockroom, book, drawn[buyer], "LAMP"))

    assert outcomes == {True: 40, False: 80}
    assert await violations(stockroom) == []
    assert await deadlocks(stockroom, database_url) == 0


async def test_lines_of_one_article_are_bought_together_or_not_at_all(
    stockroom: Stockroom,
) -> None:
    await spread(stockroom, "LAMP", locations=4, units=15)
    twice = Basket((("LAMP", 2), ("LAMP", 1)))

    outcomes = await served(40, lambda buyer: buy(stockroom, f"b{buyer}", twice))

    assert outcomes == {True: 20, False: 20}
    assert await reserved(stockroom, "LAMP") == 60
    assert await stockroom.adds_up()


async def test_baskets_that_overlap_in_every_order_with_a_hot_article_in_each_wait_in_no_circle(
    stockroom: Stockroom, database_url: str
) -> None:
    calm = [f"CALM-{n}" for n in range(5)]
    await stockroom.sells("HOT", *calm)
    places = ("lyon", "nice", "paris")
    for sku in ("HOT", *calm):
        for place in places:
            await stockroom.holds(sku, place, 1_000)
    drawn = random.Random(3)
    baskets = [
        Basket(tuple((sku, drawn.randint(1, 3)) for sku in lines))
        for pair in itertools.permutations(calm, 2)
        for lines in itertools.permutations(("HOT", *pair))
    ]
    drawn.shuffle(baskets)

    async def buys(buyer: int) -> bool:
        if buyer % 5 == 0:  # somebody moves stock of all of them meanwhile, in another order
            shuffled = drawn.sample([(sku, place) for sku in calm for place in places], 6)
            counted = [StockChange(sku=sku, location=place, damaged=1) for sku, place in shuffled]
            await stockroom.change(f"count{buyer}", *counted)
        return await buy(stockroom, f"b{buyer}", baskets[buyer])

    outcomes = await served(len(baskets), buys)

    assert outcomes == {True: len(baskets)}
    hot = sum(units for basket in baskets for sku, units in basket.lines if sku == "HOT")
    assert await reserved(stockroom, "HOT") == hot
    assert await stockroom.adds_up()
    assert await deadlocks(stockroom, database_url) == 0
