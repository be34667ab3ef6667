"""Goods that nobody announced and nobody misses: what they are, and what becomes of them, once."""

import asyncio

import pytest
from sqlalchemy import text

from adapters.db.found_goods import Fate, Goods, belongs_to, decide_fate, take_in
from adapters.db.recalls import recall
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.found import Found
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    await stockroom.holds("LAMP", "lyon", 10)
    await stockroom.holds("MUG", "lyon", 10)
    return Shop(stockroom)


async def lies_there(shop: Shop, number: str, *found: Found) -> int:
    """Goods of an order that it cannot have: all it had is back. Gives the last one's id."""

    async def take(unit: OrderUnit) -> Refusal | bool:
        return await take_in(unit, Goods("lyon", "box 1", found))

    assert await shop.book.change(number, shop.now, take) is True
    async with shop.stockroom.db.connect() as tx:
        return int((await tx.execute(text("SELECT max(id) FROM found_goods"))).scalar_one())


async def becomes(shop: Shop, id: int, fate: Fate) -> Refusal | None:
    async with shop.stockroom.db.begin() as tx:
        return await decide_fate(tx, id, fate, "test", at=shop.now)


async def is_of(shop: Shop, id: int, number: str, line: int = 1) -> Refusal | None:
    async def belongs(unit: OrderUnit) -> Refusal | None:
        return await belongs_to(unit, id, line, "test")

    return await shop.book.change(number, shop.now, belongs)


async def test_a_wrong_item_that_nobody_names_is_not_sold_as_what_it_came_instead_of(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await lies_there(shop, number, Found(2, "wrong_item", line=1))

    refused = await becomes(shop, id, "restock")

    assert refused is not None
    assert refused.code == "sku_unknown"
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 9}
    assert await becomes(shop, id, "dispose") is None


async def test_a_wrong_item_that_has_a_name_is_of_the_line_it_came_instead_of(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1))
    other = await shop.delivers(("LAMP", 1))
    id = await lies_there(shop, number, Found(2, "wrong_item", line=1, sku="MUG"))
    async with shop.stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE found_goods SET quantity = 1"))

    assert await is_of(shop, id, other) is None

    (back,) = (await shop.read(other)).returns
    assert [(lot.sku, lot.condition) for lot in back.lots] == [("MUG", "wrong_item")]


async def test_found_goods_that_are_recalled_go_on_no_shelf(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await lies_there(shop, number, Found(2, "as_new", line=1))
    async with shop.stockroom.db.begin() as tx:
        await recall(tx, "LAMP", None)

    refused = await becomes(shop, id, "restock")

    assert refused is not None
    assert refused.code == "invalid_state"
    level = await shop.stockroom.level("LAMP", "lyon")
    assert level["on_hand"] == 9
    assert await becomes(shop, id, "quarantine") is None


async def test_found_goods_that_two_people_decide_about_at_once_are_decided_once(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    other = await shop.delivers(("LAMP", 1))
    id = await lies_there(shop, number, Found(2, "as_new", line=1))

    told = await asyncio.gather(
        is_of(shop, id, other), becomes(shop, id, "restock"), is_of(shop, id, other)
    )

    returns = (await shop.read(other)).returns
    level = await shop.stockroom.level("LAMP", "lyon")
    restocked = told[1] is None
    assert (len(returns), level["on_hand"]) == ((0, 9) if restocked else (1, 8))
    assert sum(each is None for each in told) == (1 if restocked else 2)
    assert await shop.findings() == []
