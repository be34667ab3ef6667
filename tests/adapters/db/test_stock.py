import asyncio
import random

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from adapters.db.stock import Short, ShortRow, StockChange, Taken, Want, apply_changes, take
from oms.errors import KeyReused
from tests.adapters.db.stockroom import NOW, Stockroom


def units(sku: str, location: str, quantity: int) -> Want:
    return Want(sku=sku, location=location, quantity=quantity)


async def test_a_basket_is_held_whole(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 5)
    await stockroom.holds("MUG", "lyon", 2)

    assert await stockroom.take("o1", units("LAMP", "paris", 3), units("MUG", "lyon", 2)) == Taken()

    assert await stockroom.level("LAMP", "paris") == {"on_hand": 5, "reserved": 3}
    assert await stockroom.level("MUG", "lyon") == {"on_hand": 2, "reserved": 2}
    assert await stockroom.adds_up()


async def test_one_line_short_takes_nothing_and_says_which(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 5)
    await stockroom.holds("MUG", "lyon", 1)

    taken = await stockroom.take(
        "o1", units("LAMP", "paris", 3), units("MUG", "lyon", 2), units("SOFA", "nice", 1)
    )

    assert taken == Short((ShortRow("MUG", "lyon", 2, 1), ShortRow("SOFA", "nice", 1, 0)))
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 5}
    assert await stockroom.adds_up()


async def test_lines_of_one_article_are_added_up_before_they_are_held(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "paris", 5)

    taken = await stockroom.take("o1", units("LAMP", "paris", 3), units("LAMP", "paris", 3))

    assert taken == Short((ShortRow("LAMP", "paris", 6, 5),))
    assert (
        await stockroom.take("o2", units("LAMP", "paris", 3), units("LAMP", "paris", 2)) == Taken()
    )


async def test_safety_stock_is_not_sold_and_a_low_count_reads_as_nothing(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "paris", 5)
    await stockroom.keeps("LAMP", "paris", safety_stock=2)
    await stockroom.take("o1", units("LAMP", "paris", 3))
    await stockroom.change("count", StockChange(sku="LAMP", location="paris", on_hand=-4))

    taken = await stockroom.take("o2", units("LAMP", "paris", 1))

    assert taken == Short((ShortRow("LAMP", "paris", 1, 0),))
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 1, "reserved": 3}


async def test_the_same_key_again_is_the_first_answer_even_if_nothing_is_left(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "paris", 1)

    first = await stockroom.take("o1", units("LAMP", "paris", 1))
    again = await stockroom.take("o1", units("LAMP", "paris", 1))

    assert (first, again) == (Taken(), Taken(again=True))
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 1, "reserved": 1}


async def test_a_refusal_leaves_the_key_free(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)

    assert isinstance(await stockroom.take("o1", units("LAMP", "paris", 2)), Short)
    await stockroom.change("more", StockChange(sku="LAMP", location="paris", on_hand=1))

    assert await stockroom.take("o1", units("LAMP", "paris", 2)) == Taken()


async def test_a_key_cannot_name_other_stock(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 5)
    await stockroom.take("o1", units("LAMP", "paris", 1))

    with pytest.raises(KeyReused):
        await stockroom.take("o1", units("LAMP", "paris", 2))
    with pytest.raises(KeyReused):
        await stockroom.change("o1", StockChange(sku="LAMP", location="paris", reserved=-1))

    assert await stockroom.level("LAMP", "paris") == {"on_hand": 5, "reserved": 1}


async def test_a_change_is_made_once_and_makes_the_place_it_needs(stockroom: Stockroom) -> None:
    back = StockChange(sku="LAMP", location="nice", on_hand=1, damaged=1)

    assert [await stockroom.change("back", back), await stockroom.change("back", back)] == [
        True,
        False,
    ]

    assert await stockroom.level("LAMP", "nice") == {"on_hand": 1, "damaged": 1}
    assert await stockroom.adds_up()


async def test_no_bucket_goes_below_zero(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)

    with pytest.raises(IntegrityError):
        await stockroom.change("x", StockChange(sku="LAMP", location="paris", on_hand=-2))
    with pytest.raises(IntegrityError):
        await stockroom.change("y", StockChange(sku="MUG", location="paris", reserved=-1))

    assert await stockroom.level("LAMP", "paris") == {"on_hand": 1}
    assert await stockroom.adds_up()


async def test_an_allocation_moves_house_in_one_step_or_stays(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 2)
    await stockroom.holds("LAMP", "lyon", 2)
    there = Want(sku="LAMP", location="lyon", quantity=2, into="allocated")
    release = StockChange(sku="LAMP", location="paris", allocated=-2)
    await stockroom.take("o1", Want(sku="LAMP", location="paris", quantity=2, into="allocated"))

    assert await stockroom.take("move", there, also=[release]) == Taken()
    assert isinstance(await stockroom.take("again", there, also=[release]), Short)

    assert await stockroom.level("LAMP", "paris") == {"on_hand": 2}
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 2, "allocated": 2}
    assert await stockroom.adds_up()


async def test_what_is_let_go_at_a_place_may_be_taken_there_again(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 2)
    await stockroom.take("o1", units("LAMP", "paris", 2))

    taken = await stockroom.take(
        "confirm",
        Want(sku="LAMP", location="paris", quantity=2, into="allocated"),
        also=[StockChange(sku="LAMP", location="paris", reserved=-2)],
    )

    assert taken == Taken()
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 2, "allocated": 2}


async def test_the_last_room_for_backorders_goes_to_one(stockroom: Stockroom) -> None:
    await stockroom.keeps("LAMP", "paris", backorder_limit=3)
    two = Want(sku="LAMP", location="paris", quantity=2, into="backordered")

    taken = await asyncio.gather(*(stockroom.take(f"o{i}", two) for i in range(10)))

    assert taken.count(Taken()) == 1
    assert Short((ShortRow("LAMP", "paris", 2, 1, backorder=True),)) in taken
    assert await stockroom.level("LAMP", "paris") == {"backordered": 2}


async def test_a_basket_of_any_size_is_held_by_one_statement(stockroom: Stockroom) -> None:
    for sku in ("LAMP", "MUG", "SOFA"):
        await stockroom.holds(sku, "paris", 5)
    statements: list[str] = []
    event.listen(
        stockroom.db.sync_engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: statements.append(statement),
    )

    await stockroom.take("o1", *(units(sku, "paris", 2) for sku in ("LAMP", "MUG", "SOFA")))

    # The savepoint locks nothing; it only lets go of what a losing attempt locked.
    assert [s for s in statements if not s.startswith("SAVEPOINT")] == [statements[-1]]


async def test_two_hundred_buyers_want_the_last_unit_and_one_gets_it(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "paris", 1)

    taken = await asyncio.gather(
        *(stockroom.take(f"o{i}", units("LAMP", "paris", 1)) for i in range(200))
    )

    assert taken.count(Taken()) == 1
    assert taken.count(Short((ShortRow("LAMP", "paris", 1, 0),))) == 199
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 1, "reserved": 1}
    assert await stockroom.adds_up()


async def test_the_same_request_ten_times_at_once_holds_once(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)
    change = StockChange(sku="MUG", location="paris", on_hand=1)

    taken = await asyncio.gather(
        *(stockroom.take("o1", units("LAMP", "paris", 1)) for _ in range(10))
    )
    changed = await asyncio.gather(*(stockroom.change("in", change) for _ in range(10)))

    assert (taken.count(Taken()), taken.count(Taken(again=True))) == (1, 9)
    assert (changed.count(True), changed.count(False)) == (1, 9)
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 1, "reserved": 1}
    assert await stockroom.level("MUG", "paris") == {"on_hand": 1}


async def test_baskets_that_overlap_in_every_order_never_wait_in_a_circle(
    stockroom: Stockroom,
) -> None:
    places = [
        (sku, place) for sku in ("LAMP", "MUG", "SOFA") for place in ("lyon", "nice", "paris")
    ]
    for sku, place in places:
        await stockroom.holds(sku, place, 40)
    drawn = random.Random(7)

    async def buy(order: int) -> None:
        basket = drawn.sample(places, 5)
        await stockroom.take(f"o{order}", *(units(sku, place, 1) for sku, place in basket))
        if order % 3 == 0:
            drawn.shuffle(basket)
            freed = [StockChange(sku=sku, location=place, reserved=-1) for sku, place in basket]
            await stockroom.change(f"o{order}:release", *freed)

    outcomes = await asyncio.gather(*(buy(order) for order in range(60)), return_exceptions=True)

    assert outcomes == [None] * 60
    assert await stockroom.adds_up()


async def test_who_lost_a_race_holds_no_lock_while_trying_elsewhere(stockroom: Stockroom) -> None:
    for place in ("lyon", "paris"):
        await stockroom.holds("LAMP", place, 2)
    both_lost = asyncio.Barrier(2)

    async def buy(order: str, first: str, second: str) -> tuple[Taken | Short, Taken | Short]:
        async with stockroom.db.begin() as tx:
            late = await take(tx, [units("LAMP", first, 2)], cause="test", key=order, at=NOW)
            await both_lost.wait()
            elsewhere = [units("LAMP", second, 1)]
            return late, await take(tx, elsewhere, cause="test", key=order, at=NOW)

    async with stockroom.db.begin() as faster:
        both = [units("LAMP", "lyon", 1), units("LAMP", "paris", 1)]
        await take(faster, both, cause="test", key="faster", at=NOW)
        buyers = asyncio.gather(buy("o1", "lyon", "paris"), buy("o2", "paris", "lyon"))
        await stockroom.until_waiting(2)
    outcomes = list(await buyers)

    assert outcomes == [
        (Short((ShortRow("LAMP", "lyon", 2, 1),)), Taken()),
        (Short((ShortRow("LAMP", "paris", 2, 1),)), Taken()),
    ]
    assert await stockroom.adds_up()


async def test_what_is_sold_out_is_refused_without_waiting(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)

    async with stockroom.db.begin() as slow:
        back = [StockChange(sku="LAMP", location="paris", damaged=1)]
        await apply_changes(slow, back, cause="test", key="slow", at=NOW)
        taken = await asyncio.wait_for(stockroom.take("o1", units("LAMP", "paris", 2)), 5)

    assert taken == Short((ShortRow("LAMP", "paris", 2, 1),))
