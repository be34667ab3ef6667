"""Processes die by `kill -9` while fifty orders are under way; every one reaches its verdict.

The test keeps its own list of what was acknowledged: only such a list shows what was lost.
"""

import asyncio
import random

import pytest

from tests.on_a_stack import PRICE, Channel, kill_9, until, violations
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


async def _runs(stack: Stack, name: str) -> bool:
    return name in stack.pids
