"""Many orders leave one place: whatever dies on the way, each leaves once."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment
from typing_extensions import override

from activities.messages import AtReroute
from activities.reroutes import RerouteActivities
from adapters.db import reroutes
from adapters.db.metrics import read_facts
from adapters.db.reroute_book import SqlReroutes
from tests.adapters.db.leaving import LATER, Shop
from tests.adapters.db.many_leave import ID, all_leave, begins, crowd
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    shop = Shop(stockroom)
    await shop.opens_its_doors()
    return shop


class Breaking(SqlReroutes):
    """Does something at the third order, before or after it left."""

    at_the_third: Callable[[], None]
    after = False
    left = 0

    @override
    async def reroute_order(self, id: str, number: str, at: datetime) -> None:
        self.left += 1
        if self.left == 3 and not self.after:
            self.at_the_third()
        await super().reroute_order(id, number, at)
        if self.left == 3 and self.after:
            self.at_the_third()


def dies() -> None:
    raise asyncio.CancelledError


async def runs(book: SqlReroutes) -> None:
    about = AtReroute(id=ID, at=LATER)
    await ActivityEnvironment().run(RerouteActivities(book).reroute_orders, about)


async def done(shop: Shop) -> list[tuple[str, int]]:
    async with shop.db.connect() as tx:
        rows = await reroutes.orders_of(tx, ID, outcome=None, after=None, limit=100)
    return [(row["outcome"], row["tries"]) for row in rows]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_worker_that_dies_over_an_order_leaves_it_to_the_next(
    shop: Shop, after: bool
) -> None:
    await crowd(shop, 20)
    await begins(shop)
    book = Breaking(shop.db, shop.book)
    book.after, book.at_the_third = after, dies

    with pytest.raises(asyncio.CancelledError):
        await runs(book)
    assert len(await done(shop)) == (3 if after else 2)
    took = await all_leave(shop)

    assert took.progress.done == {"moved": 20}
    assert await done(shop) == [("moved", 1)] * 20
    assert await shop.allocated("lyon") == 0
    assert await shop.allocated("nice") == 40
    assert await shop.is_sound()


async def test_two_that_work_at_once_let_each_order_leave_once(shop: Shop) -> None:
    await crowd(shop, 20)
    await begins(shop)

    await asyncio.gather(all_leave(shop), all_leave(shop))

    assert await done(shop) == [("moved", 1)] * 20
    assert await shop.allocated("nice") == 40
    assert await shop.is_sound()


async def test_an_order_that_meets_a_fault_of_ours_stops_no_other_and_is_tried_again(
    shop: Shop,
) -> None:
    await crowd(shop, 6)
    await begins(shop)
    # A bucket that does not hold what the order does: no move can be written.
    broken = "UPDATE order_lines SET allocated = 0, ordered = ordered - 2 WHERE order_number = :n"
    mended = "UPDATE order_lines SET allocated = 2, ordered = ordered + 2 WHERE order_number = :n"
    async with shop.db.begin() as tx:
        found = await tx.scalars(text("SELECT number FROM orders ORDER BY number LIMIT 2"))
        first, second = found
        for number in (first, second):
            await tx.execute(text("UPDATE orders SET allow_backorder = true"))
            await tx.execute(text(broken), {"n": number})
        await tx.execute(text("UPDATE locations SET active = false WHERE id <> 'lyon'"))

    await runs(SqlReroutes(shop.db, shop.book))
    assert sorted(await done(shop)) == [("backordered", 1)] * 4 + [("failed", 1)] * 2
    async with shop.db.begin() as tx:
        await tx.execute(text(mended), {"n": first})
    took = await all_leave(shop)

    assert took.progress.status == "done"
    assert took.progress.done == {"backordered": 5, "failed": 1}
    async with shop.db.connect() as tx:
        (failed,) = await reroutes.orders_of(tx, ID, outcome="failed", after=None, limit=9)
    assert (failed["order_number"], failed["tries"]) == (second, 2)
    assert failed["detail"].startswith("broken_invariant: ")


async def test_it_rests_between_two_orders_when_it_is_paused(shop: Shop) -> None:
    await crowd(shop, 6)
    await begins(shop)
    book = Breaking(shop.db, shop.book)

    async def pause() -> None:
        async with shop.db.begin() as tx:
            await reroutes.steer(tx, ID, "pause", LATER)

    tasks: list[asyncio.Task[None]] = []
    book.at_the_third = lambda: tasks.append(asyncio.ensure_future(pause()))
    await runs(book)
    await asyncio.gather(*tasks)

    assert 3 <= len(await done(shop)) <= 4, "no later than after the next"
    async with shop.db.begin() as tx:
        await reroutes.steer(tx, ID, "resume", LATER)
    assert (await all_leave(shop)).progress.done == {"moved": 6}


async def test_a_reroute_that_nobody_carries_is_seen_by_who_watches(shop: Shop) -> None:
    await begins(shop)

    async def gauges(minutes: int) -> dict[str, float]:
        found = await read_facts(shop.db, LATER + timedelta(minutes=minutes))
        return {each.name: each.samples[0].value for each in found if "reroutes" in each.name}

    running, silent = "oms_reroutes_running", "oms_reroutes_silent_seconds"
    assert await gauges(10) == {running: 1, silent: 600}
    async with shop.db.begin() as tx:
        await reroutes.touch(tx, ID, LATER + timedelta(minutes=9))
    assert await gauges(10) == {running: 1, silent: 60}
    async with shop.db.begin() as tx:
        await reroutes.steer(tx, ID, "pause", LATER)
    assert await gauges(10) == {running: 0, silent: 0}, "one that rests is nobody's alarm"


async def test_nothing_is_left_to_do_once_the_place_is_open(shop: Shop) -> None:
    await crowd(shop, 4)
    await begins(shop)
    await shop.opens()

    took = await all_leave(shop)

    assert (took.progress.status, took.progress.done) == ("done", {})
    assert await shop.allocated("lyon") == 8
