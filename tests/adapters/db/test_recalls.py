"""What is recalled is sold to nobody, wherever it lies and whoever comes for it."""

import asyncio

from sqlalchemy import text

from adapters.db.availability import availability, backorder_room
from adapters.db.recalls import Recalled, end_recall, recall
from adapters.db.stock import Short, ShortRow, StockChange, Taken, Want
from adapters.db.stock_records import Policy, Unknown, set_policy
from adapters.db.stock_view import levels
from tests.adapters.db.crowds import candidates
from tests.adapters.db.stockroom import NOW, Stockroom


async def recalls(stockroom: Stockroom, sku: str, location: str | None = None) -> object:
    async with stockroom.db.begin() as tx:
        return await recall(tx, sku, location)


async def ends(stockroom: Stockroom, sku: str, location: str | None = None) -> object:
    async with stockroom.db.begin() as tx:
        return await end_recall(tx, sku, location)


async def can_be_had(stockroom: Stockroom) -> tuple[int, list[str], list[str]]:
    """Units that are shown, places that serve, places with room for backorders."""
    async with stockroom.db.begin() as tx:
        shown = await availability(tx, sku="LAMP", channel="web", now=NOW)
        serve = await candidates(tx, skus=["LAMP"], channel="web", method="home")
        room = await backorder_room(tx, skus=["LAMP"], channel="web", method="home")
    return shown.available, [each.location for each in serve], [location for _, location in room]


async def test_an_article_recalled_at_one_place_is_sold_from_the_others(
    stockroom: Stockroom,
) -> None:
    for place in ("lyon", "paris"):
        await stockroom.keeps("LAMP", place, backorder_limit=3)
        await stockroom.holds("LAMP", place, 4)

    assert await recalls(stockroom, "LAMP", "lyon") == Recalled("LAMP", False, ("lyon",))

    assert await can_be_had(stockroom) == (4, ["paris"], ["paris"])
    one = Want(sku="LAMP", location="lyon", quantity=1)
    late = Want(sku="LAMP", location="lyon", quantity=1, into="backordered")
    queue = Want(sku="LAMP", location="lyon", quantity=1, into="allocated", for_queue=True)
    none = (ShortRow("LAMP", "lyon", 1, 0),)
    assert await stockroom.take("o1", one) == Short(none)
    assert await stockroom.take("o2", late) == Short((none[0]._replace(backorder=True),))
    assert await stockroom.take("o3", queue) == Short(none)
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 4}

    assert await ends(stockroom, "LAMP", "lyon") == Recalled("LAMP", False, ())
    assert await can_be_had(stockroom) == (8, ["lyon", "paris"], ["lyon", "paris"])
    assert await stockroom.take("o1", one) == Taken()


async def test_an_article_recalled_everywhere_is_sold_from_no_place_of_later_either(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)

    assert await recalls(stockroom, "LAMP") == Recalled("LAMP", True, ("lyon",))
    await stockroom.holds("LAMP", "nice", 9)
    await stockroom.keeps("LAMP", "paris", backorder_limit=5)
    await stockroom.holds("MUG", "nice", 1)

    assert await can_be_had(stockroom) == (0, [], [])
    async with stockroom.db.begin() as tx:
        shown = await levels(tx, location="nice", channel="web")
    assert [(each.sku, each.blocked, each.available) for each in shown] == [
        ("LAMP", True, 0),
        ("MUG", False, 1),
    ]
    assert await ends(stockroom, "LAMP") == Recalled("LAMP", False, ())
    assert (await can_be_had(stockroom))[0] == 13


async def test_a_level_that_is_made_while_the_recall_is_written_is_blocked(
    stockroom: Stockroom,
) -> None:
    async with stockroom.db.begin() as tx:
        await recall(tx, "LAMP", None)
        making = asyncio.create_task(stockroom.holds("LAMP", "nice", 2))
        await stockroom.until_waiting(1)
    await making

    assert (await can_be_had(stockroom))[0] == 0


async def test_a_recall_waits_for_a_level_that_is_being_made(stockroom: Stockroom) -> None:
    async with stockroom.db.begin() as tx:
        await tx.execute(
            text("INSERT INTO stock_levels (sku, location, on_hand) VALUES ('LAMP', 'nice', 2)")
        )
        recalling = asyncio.create_task(recalls(stockroom, "LAMP"))
        await stockroom.until_waiting(1)

    assert await recalling == Recalled("LAMP", True, ("nice",))


async def test_goods_of_a_recalled_article_still_come_and_are_counted(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    held = Want(sku="LAMP", location="lyon", quantity=2)
    await stockroom.take("o1", held)
    await recalls(stockroom, "LAMP")

    confirmed = StockChange(sku="LAMP", location="lyon", reserved=-2, allocated=2)
    await stockroom.change("o1:confirm", confirmed)
    await stockroom.counts("delivery", "LAMP", "lyon", off_by=3)

    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 7, "allocated": 2}


async def test_a_policy_blocks_and_one_that_says_nothing_of_it_leaves_it(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)

    async def put(*, blocked: bool | None) -> object:
        async with stockroom.db.begin() as tx:
            return await set_policy(
                tx,
                sku="LAMP",
                location="lyon",
                safety_stock=1,
                backorder_limit=0,
                blocked=blocked,
            )

    assert await put(blocked=True) == Policy("LAMP", "lyon", 1, 0, False, None, None, None, 1, True)
    assert await put(blocked=None) == Policy("LAMP", "lyon", 1, 0, False, None, None, None, 2, True)
    assert (await can_be_had(stockroom))[0] == 0
    assert await put(blocked=False) == Policy(
        "LAMP", "lyon", 1, 0, False, None, None, None, 3, False
    )
    assert (await can_be_had(stockroom))[0] == 3


async def test_what_does_not_exist_is_not_recalled(stockroom: Stockroom) -> None:
    assert await recalls(stockroom, "GHOST") == Unknown("sku")
    assert await recalls(stockroom, "LAMP", "mars") == Unknown("location")
    assert await ends(stockroom, "GHOST") == Unknown("sku")
