"""Processes die by `kill -9` while fifty orders are under way; every one reaches its verdict.

The test keeps its own list of what was acknowledged: only such a list shows what was lost.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.engine import connect
from tests.on_a_stack import PRICE, Channel, Lock, kill_9, until, violations
from workers.stack import Stack

ORDERS = 50
AT_ONCE = 12
VICTIMS = ("worker-1", "api", "simulator", "worker-1", "api")


@pytest.mark.timeout(900)
async def test_fifty_orders_reach_their_verdict_while_worker_api_and_outside_are_killed(
    whole_stack: Stack,
) -> None:
    async with Channel.of(whole_stack) as channel:
        await channel.opens("LAMP", 100)
        moments = random.Random(20261122).sample(range(5, ORDERS - 5), len(VICTIMS))
        victims = dict(zip(sorted(moments), VICTIMS, strict=True))
        counter = asyncio.Semaphore(AT_ONCE)

        async def buy() -> None:
            async with counter:
                await channel.places("LAMP")
            victim = victims.pop(len(channel.acknowledged), None)
            if victim is not None:
                await until(lambda: _runs(whole_stack, victim))
                kill_9(whole_stack, victim)
                await channel.hurries_the_outside()

        await asyncio.gather(*(buy() for _ in range(ORDERS)))
        orders = await channel.until_ended("LAMP")

        assert victims == {}
        assert sorted(order["number"] for order in orders) == sorted(channel.acknowledged)
        delivered = 0
        for order in orders:
            done = order["status"] == "completed"
            delivered += done
            # A location whose answer found nobody in time has lost the work, by the rules.
            effect = "capture" if done else "void"
            money = await channel.money_of(order["number"])
            assert money == [("authorize", PRICE), (effect, PRICE)]
        assert await channel.on_hand("LAMP") == 100 - delivered
        assert await violations(whole_stack) == []


async def test_workers_killed_in_the_middle_of_returns_pay_put_away_and_send_once(
    whole_stack: Stack,
) -> None:
    async with Channel.of(whole_stack) as channel, books_of(whole_stack) as books:
        cup, mug, bowl = await asyncio.gather(*(channel.delivers(sku) for sku in GOODS))
        paid = await channel.asks_back(cup)
        swapped = await channel.asks_back(mug, "exchange")
        shelved = await channel.asks_back(bowl, "exchange")
        for sku, back in zip(GOODS, (paid, swapped, shelved), strict=True):
            await channel.receives(back["id"], sku)
        await until(partial(exchange_is, books, swapped["id"], "held"))

        async with (
            Lock.on(books, "orders WHERE number = :n", n=swapped["exchange_order"]) as its_order,
            Lock.on(books, "stock_levels WHERE sku = :s", s="BOWL") as its_shelf,
        ):
            await channel.accepts(swapped["id"])
            await channel.accepts(shelved["id"])
            await its_order.until_wanted()
            await its_shelf.until_wanted()
            assert await exchange_is(books, swapped["id"], "leaving")
            await channel.breaks("payments", "refund", "timeout_after")
            await channel.accepts(paid["id"])
            await until(partial(refunded, channel, cup))
            await whole_stack.kill("worker")
        await whole_stack.restart("worker")

        for sku, back in zip(GOODS, (paid, swapped, shelved), strict=True):
            await channel.until_over(back["id"])
            await channel.until_delivered(sku)
        assert await channel.money_of(cup) == [
            ("authorize", PRICE),
            ("capture", PRICE),
            ("refund", PRICE),
        ]
        for number, back in ((mug, swapped), (bowl, shelved)):
            assert await channel.money_of(number) == [("authorize", PRICE), ("capture", PRICE)]
            assert len(await channel.effects_of("carriers", back["exchange_order"], "label")) == 1
        for sku, left in zip(GOODS, (10, 9, 9), strict=True):
            assert await channel.moved(sku, "put_away") == [1]
            assert await channel.on_hand(sku) == left
        assert await violations(whole_stack) == []


GOODS = ("CUP", "MUG", "BOWL")


@asynccontextmanager
async def books_of(stack: Stack) -> AsyncIterator[AsyncEngine]:
    running = stack.status()
    assert running is not None
    engine = connect(running.database_url)
    yield engine
    await engine.dispose()


async def exchange_is(books: AsyncEngine, id: str, told: str) -> bool:
    async with books.connect() as tx:
        found = await tx.execute(text("SELECT exchange_told FROM returns WHERE id = :i"), {"i": id})
        return bool(found.scalar_one() == told)


async def refunded(channel: Channel, number: str) -> bool:
    return "refund" in [kind for kind, _ in await channel.money_of(number)]


async def _runs(stack: Stack, name: str) -> bool:
    return name in stack.pids
