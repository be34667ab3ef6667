import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from adapters.db import master, stock_records
from adapters.db.mode import begin_reconciling
from adapters.db.running_low import tell_running_low
from adapters.db.stock import StockChange, Want
from tests.adapters.db.stockroom import NOW, Stockroom

Told = list[tuple[str, str, str | None, int]]


async def look(stockroom: Stockroom) -> Told:
    """Let the follower look, and give what it told since: kind, article, place, units left."""
    while await tell_running_low(stockroom.db, NOW):
        pass
    return await untold(stockroom)


async def untold(stockroom: Stockroom) -> Told:
    async with stockroom.db.begin() as tx:
        found = await tx.execute(
            text(
                "WITH told AS (DELETE FROM stock_events WHERE kind <> 'stock.rules_changed'"
                " RETURNING id, kind, sku, location, (data->>'available')::int)"
                " SELECT kind, sku, location, int4 FROM told ORDER BY sku, location, id"
            )
        )
        return [tuple(row) for row in found]


async def rules(stockroom: Stockroom, place: str | None, low_at: int | None) -> None:
    async with stockroom.db.begin() as tx:
        if place is None:
            await master.put(tx, master.PRODUCTS, "LAMP", {"name": "Lamp", "low_at": low_at}, None)
        else:
            await stock_records.set_policy(
                tx, sku="LAMP", location=place, safety_stock=0, backorder_limit=0, low_at=low_at
            )


def lamps(units: int, place: str = "paris") -> Want:
    return Want(sku="LAMP", location=place, quantity=units)


async def test_each_crossing_is_told_once_on_the_way_down_and_once_on_the_way_up(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "paris", 10)
    await stockroom.holds("LAMP", "lyon", 100)
    await rules(stockroom, "paris", 3)
    assert await look(stockroom) == []

    await stockroom.take("o1", lamps(7))
    assert await look(stockroom) == [("stock.low", "LAMP", "paris", 3)]
    await stockroom.take("o2", lamps(1))
    assert await look(stockroom) == [], "it is still low"
    await stockroom.take("o3", lamps(2))
    assert await look(stockroom) == [("stock.out", "LAMP", "paris", 0)]
    await stockroom.change("in", StockChange(sku="LAMP", location="paris", on_hand=1))
    assert await look(stockroom) == [("stock.low", "LAMP", "paris", 1)]
    await stockroom.change("more", StockChange(sku="LAMP", location="paris", on_hand=8))
    assert await look(stockroom) == [("stock.back", "LAMP", "paris", 9)]


async def test_an_article_is_out_when_its_last_place_is(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 4)
    await stockroom.holds("LAMP", "lyon", 4)
    await rules(stockroom, None, 4)
    await look(stockroom)

    await stockroom.take("o1", lamps(4))
    assert await look(stockroom) == [
        ("stock.out", "LAMP", "paris", 0),
        ("stock.low", "LAMP", None, 4),
    ]
    await stockroom.take("o2", lamps(4, "lyon"))
    assert await look(stockroom) == [
        ("stock.out", "LAMP", "lyon", 0),
        ("stock.out", "LAMP", None, 0),
    ]


async def test_what_came_and_went_between_two_looks_is_told(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)
    await stockroom.take("o1", lamps(1))

    assert await look(stockroom) == [
        ("stock.out", "LAMP", "paris", 0),
        ("stock.out", "LAMP", None, 0),
    ]


async def test_a_place_that_never_had_any_is_not_out_of_it(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 5)
    await stockroom.change("po", StockChange(sku="LAMP", location="nice", incoming=5))
    await rules(stockroom, "paris", 3)

    assert await look(stockroom) == []


async def test_a_rule_may_make_a_place_run_low(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 5)
    await look(stockroom)

    await rules(stockroom, "paris", 5)
    assert await look(stockroom) == [("stock.low", "LAMP", "paris", 5)]
    await rules(stockroom, "paris", None)
    assert await look(stockroom) == [("stock.back", "LAMP", "paris", 5)]


async def test_a_place_that_closes_takes_its_units_from_the_article(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 5)
    await look(stockroom)

    async with stockroom.db.begin() as tx:
        place = await master.get(tx, master.LOCATIONS, "paris")
        assert place is not None
        known = {name: place[name] for name in place if name not in ("id", "version")}
        await master.put(tx, master.LOCATIONS, "paris", known | {"active": False}, None)

    assert await look(stockroom) == [("stock.out", "LAMP", None, 0)]


async def test_a_preorder_is_looked_at_when_its_day_comes(stockroom: Stockroom) -> None:
    tomorrow = {
        "name": "Lamp",
        "low_at": 9,
        "available_from": datetime.now(UTC) + timedelta(days=1),
    }
    async with stockroom.db.begin() as tx:
        await master.put(tx, master.PRODUCTS, "LAMP", tomorrow, None)
    await stockroom.holds("LAMP", "paris", 5)
    assert await look(stockroom) == []

    async with stockroom.db.begin() as tx:  # the day comes, and nobody writes anything
        await tx.execute(text("UPDATE products SET available_from = now() WHERE sku = 'LAMP'"))

    assert await look(stockroom) == [("stock.low", "LAMP", None, 5)]


async def test_two_followers_at_once_tell_each_crossing_once(stockroom: Stockroom) -> None:
    for turn in range(5):
        await stockroom.change(f"in{turn}", StockChange(sku="LAMP", location="paris", on_hand=1))
        await stockroom.take(f"out{turn}", lamps(1))
        await asyncio.gather(*(tell_running_low(stockroom.db, NOW) for _ in range(5)))
        await look(stockroom) if turn == 0 else None

    assert await look(stockroom) == [], "it was out all the time"


async def test_a_follower_that_dies_tells_it_the_next_time_and_once(
    stockroom: Stockroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stockroom.holds("LAMP", "paris", 1)
    await stockroom.take("o1", lamps(1))

    with monkeypatch.context() as broken:
        broken.setattr("adapters.db.running_low._move_on", _dies)
        with pytest.raises(ConnectionError):
            await tell_running_low(stockroom.db, NOW)
    assert await untold(stockroom) == []

    assert len(await look(stockroom)) == 2
    assert await look(stockroom) == []


async def _dies(*_: object) -> None:
    raise ConnectionError


async def test_a_restore_brings_back_how_far_it_was_followed(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)
    await stockroom.take("o1", lamps(1))
    async with stockroom.db.begin() as tx:
        await begin_reconciling(tx, moment=NOW, reason="disk lost", now=NOW)

    assert await look(stockroom) == [
        ("stock.out", "LAMP", "paris", 0),
        ("stock.out", "LAMP", None, 0),
    ]


async def test_books_that_were_copied_to_another_server_are_compared_whole(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "paris", 2)
    await rules(stockroom, "paris", 3)
    async with stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE stock_followers SET xid = 1000000000000"))

    assert await look(stockroom) == [("stock.low", "LAMP", "paris", 2)]


async def test_those_who_reserve_do_not_wait_for_the_follower(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 5)

    async with stockroom.db.begin() as follower:
        await follower.execute(text("SELECT FROM stock_followers FOR UPDATE"))
        await asyncio.wait_for(stockroom.take("o1", lamps(5)), 5)
        assert await tell_running_low(stockroom.db, NOW) is False, "another one is at work"
