"""What open backorders wait for is theirs, and no more is promised than the rules allow."""

import asyncio

from sqlalchemy import text

from adapters.db.availability import backorder_room
from adapters.db.stock import Short, StockChange, Taken, Want
from tests.adapters.db.crowds import candidates
from tests.adapters.db.stockroom import Stockroom

SERVED = StockChange(sku="LAMP", location="paris", backordered=-1)


def backorder(units: int = 1) -> Want:
    return Want(sku="LAMP", location="paris", quantity=units, into="backordered")


def buy(units: int = 1) -> Want:
    return Want(sku="LAMP", location="paris", quantity=units)


def serve(units: int = 1) -> Want:
    return Want(sku="LAMP", location="paris", quantity=units, into="allocated", for_queue=True)


async def lets_count_what_is_coming(stockroom: Stockroom) -> None:
    async with stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE stock_levels SET backorder_from_incoming = true"))


async def comes_later(stockroom: Stockroom) -> None:
    async with stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE products SET available_from = now() + interval '1 day'"))


async def free(stockroom: Stockroom, *, for_queue: bool = False) -> int:
    async with stockroom.db.connect() as tx:
        found = await candidates(
            tx, skus=["LAMP"], channel="web", method="home", for_queue=for_queue
        )
    return sum(place.available["LAMP"] for place in found)


async def room(stockroom: Stockroom) -> int:
    async with stockroom.db.connect() as tx:
        found = await backorder_room(tx, skus=["LAMP"], channel="web", method="home")
    return sum(found.values())


async def test_new_orders_get_what_arrives_beyond_the_queue_and_no_more(
    stockroom: Stockroom,
) -> None:
    await stockroom.keeps("LAMP", "paris", backorder_limit=3)
    await stockroom.take("waiting", backorder(3))
    await stockroom.holds("LAMP", "paris", 5)

    assert (await free(stockroom), await free(stockroom, for_queue=True)) == (2, 5)
    assert isinstance(await stockroom.take("greedy", buy(3)), Short)
    assert isinstance(await stockroom.take("new", buy(2)), Taken)
    assert isinstance(await stockroom.take("released", serve(), also=[SERVED]), Taken)

    assert await stockroom.level("LAMP", "paris") == {
        "on_hand": 5,
        "reserved": 2,
        "allocated": 1,
        "backordered": 2,
    }
    assert isinstance(await stockroom.take("late", buy()), Short)


async def test_five_who_wait_get_what_arrives_while_fifty_want_it(stockroom: Stockroom) -> None:
    await stockroom.keeps("LAMP", "paris", backorder_limit=5)
    for buyer in range(5):
        await stockroom.take(f"waiting {buyer}", backorder())

    taken = await asyncio.gather(
        stockroom.holds("LAMP", "paris", 5),
        *(stockroom.take(f"new {buyer}", buy()) for buyer in range(50)),
        *(stockroom.take(f"impatient {n}", serve(), also=[SERVED]) for n in range(5)),
    )

    assert not any(isinstance(each, Taken) for each in taken[1:51]), "the queue's units were sold"
    served = sum(isinstance(each, Taken) for each in taken[51:])
    for n in range(5 - served):
        assert isinstance(await stockroom.take(f"served {n}", serve(), also=[SERVED]), Taken)
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 5, "allocated": 5}
    assert await stockroom.adds_up()


async def test_an_order_takes_what_is_there_and_waits_for_the_rest_in_one_go(
    stockroom: Stockroom,
) -> None:
    await stockroom.keeps("LAMP", "paris", backorder_limit=4)
    await stockroom.take("before", backorder(2))
    await stockroom.holds("LAMP", "paris", 3)

    assert isinstance(await stockroom.take("both", buy(1), backorder(2)), Taken)
    assert isinstance(await stockroom.take("more", backorder(1)), Short)


async def test_what_is_coming_is_room_and_stays_so_when_it_has_come(stockroom: Stockroom) -> None:
    await stockroom.change("po", StockChange(sku="LAMP", location="paris", incoming=10))
    assert await room(stockroom) == 0
    await lets_count_what_is_coming(stockroom)
    assert await room(stockroom) == 10
    assert isinstance(await stockroom.take("much", backorder(11)), Short)
    assert isinstance(await stockroom.take("some", backorder(6)), Taken)

    await stockroom.change(
        "here", StockChange(sku="LAMP", location="paris", incoming=-10, on_hand=10)
    )

    assert (await free(stockroom), await room(stockroom)) == (4, 0)
    assert isinstance(await stockroom.take("rest", buy(4), backorder(1)), Short)
    assert isinstance(await stockroom.take("rest", buy(4)), Taken)


async def test_before_its_day_what_is_there_is_only_promised(stockroom: Stockroom) -> None:
    await stockroom.change("po", StockChange(sku="LAMP", location="paris", incoming=10))
    await lets_count_what_is_coming(stockroom)
    await comes_later(stockroom)
    await stockroom.take("first", backorder(6))
    await stockroom.change(
        "here", StockChange(sku="LAMP", location="paris", incoming=-10, on_hand=10)
    )

    assert (await free(stockroom), await free(stockroom, for_queue=True)) == (0, 0)
    assert await room(stockroom) == 4
    assert isinstance(await stockroom.take("second", backorder(4)), Taken)
    assert isinstance(await stockroom.take("third", backorder(1)), Short)
