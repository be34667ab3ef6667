import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from sqlalchemy import text

from adapters.db import master, stock_records
from adapters.db.availability import available_by_sku
from adapters.db.mode import begin_reconciling
from adapters.db.stock import StockChange, Want, apply_changes, take
from adapters.db.stock_changes import Listing, Position, read_changes
from tests.adapters.db.stockroom import NOW, Stockroom

SKUS = tuple(f"S{n:02d}" for n in range(20))


class Shop:
    """A channel's copy of the stock, kept by asking what changed."""

    def __init__(self, stockroom: Stockroom, channel: str = "web", *, at_once: int = 3) -> None:
        self.stockroom, self.channel, self.at_once = stockroom, channel, at_once
        self.position: Position | None = None
        self.copy: dict[str, int] = {}

    async def asks(self) -> list[str]:
        """Ask until there is no more right now; returns what was told, in order."""
        told: list[str] = []
        more = True
        while more:
            async with self.stockroom.db.connect() as tx:
                page = await read_changes(
                    tx, self.position, limit=self.at_once, channel=self.channel
                )
                skus = {change.sku for change in page.changes}
                self.copy |= await available_by_sku(tx, skus=skus, channel=self.channel)
            assert len(skus) <= self.at_once
            self.position, more = page.position, page.more
            told += sorted(skus)
        return told

    async def truth(self) -> dict[str, int]:
        async with self.stockroom.db.connect() as tx:
            return await available_by_sku(tx, skus=self.copy, channel=self.channel)


@pytest.fixture
async def shop(stockroom: Stockroom) -> AsyncIterator[Shop]:
    shop = Shop(stockroom)
    await stockroom.holds("LAMP", "paris", 5)
    await shop.asks()
    yield shop
    assert shop.copy == await shop.truth(), "a follower's copy is what is there"


async def test_a_shop_begins_with_all_articles_and_then_hears_what_changed(shop: Shop) -> None:
    assert shop.copy == {"LAMP": 5, "MUG": 0, "SOFA": 0}
    assert await shop.asks() == []

    await shop.stockroom.holds("MUG", "lyon", 2)
    await shop.stockroom.take("o1", Want(sku="LAMP", location="paris", quantity=2))

    assert await shop.asks() == ["LAMP", "MUG"]
    assert shop.copy == {"LAMP": 3, "MUG": 2, "SOFA": 0}
    assert await shop.asks() == []


async def test_a_transaction_that_commits_late_is_not_skipped(shop: Shop) -> None:
    async with shop.stockroom.db.begin() as slow:
        lamps = [StockChange(sku="LAMP", location="paris", on_hand=7)]
        await apply_changes(slow, lamps, cause="test", key="slow", at=NOW)
        await shop.stockroom.holds("MUG", "paris", 1)
        assert await shop.asks() == [], "what came after the slow one waits for it"

    assert await shop.asks() == ["LAMP", "MUG"]
    assert shop.copy["LAMP"] == 12


@pytest.mark.parametrize("seed", range(3))
async def test_in_whatever_order_transactions_commit_none_is_skipped(
    stockroom: Stockroom, seed: int
) -> None:
    await stockroom.sells(*SKUS)
    shop = Shop(stockroom)
    await shop.asks()
    drawn = random.Random(seed)
    open_ones = []
    async with AsyncExitStack() as connections:
        for sku in drawn.sample(SKUS, 15):
            tx = await connections.enter_async_context(stockroom.db.connect())
            change = [StockChange(sku=sku, location="paris", on_hand=drawn.randint(1, 9))]
            await apply_changes(tx, change, cause="test", key=sku, at=NOW)
            open_ones.append(tx)
        for tx in drawn.sample(open_ones, len(open_ones)):
            await (tx.commit if drawn.random() < 0.8 else tx.rollback)()
            await shop.asks()

    assert shop.copy == await shop.truth()
    assert sum(shop.copy.values()) > 0


async def test_many_write_at_once_and_a_shop_that_asks_all_the_time_misses_nothing(
    stockroom: Stockroom,
) -> None:
    await stockroom.sells(*SKUS)
    for sku in SKUS:
        await stockroom.holds(sku, "paris", 50)
    shop = Shop(stockroom)
    drawn = random.Random(7)

    async def write(writer: int) -> None:
        for turn in range(15):
            basket = [Want(sku=sku, location="paris", quantity=1) for sku in drawn.sample(SKUS, 3)]
            async with stockroom.db.begin() as tx:
                await take(tx, basket, cause="test", key=f"{writer}:{turn}", at=NOW)

    async def follow(done: asyncio.Event) -> None:
        while not done.is_set():
            await shop.asks()

    done = asyncio.Event()
    following = asyncio.create_task(follow(done))
    await asyncio.gather(*(write(writer) for writer in range(10)))
    done.set()
    await following
    await shop.asks()

    assert shop.copy == await shop.truth()
    assert sum(shop.copy.values()) == 20 * 50 - 10 * 15 * 3


async def test_a_reservation_that_is_confirmed_changes_nothing_for_a_shop(shop: Shop) -> None:
    await shop.stockroom.take("o1", Want(sku="LAMP", location="paris", quantity=2))
    await shop.asks()

    await shop.stockroom.take(
        "confirm",
        Want(sku="LAMP", location="paris", quantity=2, into="allocated"),
        also=[StockChange(sku="LAMP", location="paris", reserved=-2)],
    )
    await shop.stockroom.change("in", StockChange(sku="LAMP", location="paris", damaged=1))

    assert await shop.asks() == []


async def test_a_shop_does_not_hear_of_places_that_do_not_serve_it(shop: Shop) -> None:
    await shop.stockroom.has_place("theirs", channels=("other",))
    await shop.stockroom.has_place("shut", active=False)
    await shop.stockroom.holds("MUG", "theirs", 9)
    await shop.stockroom.holds("SOFA", "shut", 9)

    assert await shop.asks() == []


async def test_what_a_place_keeps_back_is_a_change(shop: Shop) -> None:
    async with shop.stockroom.db.begin() as tx:
        await stock_records.set_policy(
            tx, sku="LAMP", location="paris", safety_stock=4, backorder_limit=0
        )

    assert await shop.asks() == ["LAMP"]
    assert shop.copy["LAMP"] == 1


@pytest.mark.parametrize(
    ("rule", "left"),
    [({"active": False}, 0), ({"channels": ["other"]}, 0), ({"serves": []}, 0), ({"name": "A"}, 5)],
)
async def test_a_place_that_serves_no_more_changes_all_it_holds(
    stockroom: Stockroom, rule: dict[str, object], left: int
) -> None:
    await stockroom.sells(*SKUS)
    for sku in SKUS:
        await stockroom.holds(sku, "paris", 5)
    shop = Shop(stockroom)
    await shop.asks()

    async with stockroom.db.begin() as tx:
        await master.put(tx, master.LOCATIONS, "paris", await _known(tx) | rule, None)
    await stockroom.holds("S03", "lyon", 1)
    told = await shop.asks()

    assert shop.copy == {**dict.fromkeys(SKUS, left), "LAMP": 0, "MUG": 0, "SOFA": 0} | {
        "S03": left + 1
    }
    assert told == ([*SKUS, "S03"] if left == 0 else ["S03"])


async def _known(tx: object) -> dict[str, object]:
    row = await master.get(tx, master.LOCATIONS, "paris")  # type: ignore[arg-type]
    assert row is not None
    return {name: row[name] for name in row if name not in ("id", "version")}


async def test_books_that_were_restored_are_read_from_the_beginning(shop: Shop) -> None:
    async with shop.stockroom.db.begin() as tx:
        await begin_reconciling(tx, moment=NOW, reason="disk lost", now=NOW + timedelta(hours=1))

    assert await shop.asks() == ["LAMP", "MUG", "SOFA"]
    assert await shop.asks() == []


async def test_a_position_that_these_books_have_not_reached_begins_anew(shop: Shop) -> None:
    assert shop.position is not None
    shop.position = Position(shop.position.life, 10**15, 0)

    assert await shop.asks() == ["LAMP", "MUG", "SOFA"]


async def test_a_page_is_full_at_its_limit_and_the_next_goes_on_there(
    stockroom: Stockroom,
) -> None:
    await stockroom.sells(*SKUS)
    for sku in SKUS:
        await stockroom.holds(sku, "paris", 5)

    async with stockroom.db.connect() as tx:
        first = await read_changes(tx, Position(0, 0, 0), limit=15)
        second = await read_changes(tx, first.position, limit=15)

    assert [change.sku for change in first.changes] == list(SKUS[:15])
    assert [change.sku for change in second.changes] == list(SKUS[15:])
    assert (first.more, second.more) == (True, False)


async def test_a_ledger_longer_than_one_look_is_read_to_its_end(
    stockroom: Stockroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.db.stock_changes.SCANNED", 7)
    await stockroom.sells(*SKUS)
    shop = Shop(stockroom, at_once=100)
    await shop.asks()
    async with stockroom.db.begin() as tx:
        changes = [StockChange(sku=sku, location="lyon", on_hand=2) for sku in SKUS]
        await apply_changes(tx, changes, cause="test", key="snapshot", at=NOW)
    for turn in range(30):
        await stockroom.counts(f"damaged:{turn}", "MUG", "lyon", off_by=1)

    told = await shop.asks()

    assert shop.copy == await shop.truth()
    assert set(told) == {*SKUS, "MUG"}


async def test_a_list_goes_on_where_it_was_left(stockroom: Stockroom) -> None:
    async with stockroom.db.connect() as tx:
        first = await read_changes(tx, None, limit=2)
        second = await read_changes(tx, first.position, limit=2)

    assert [change.sku for change in (*first.changes, *second.changes)] == ["LAMP", "MUG", "SOFA"]
    assert first.position.listing == Listing(after="MUG")
    assert second.position.listing is None


async def test_the_change_of_a_rule_that_was_not_made_is_not_told(shop: Shop) -> None:
    async with shop.stockroom.db.connect() as tx:
        await tx.execute(text("SELECT 1"))
        await stock_records.set_policy(
            tx, sku="LAMP", location="paris", safety_stock=4, backorder_limit=0
        )
        await tx.rollback()

    assert await shop.asks() == []
