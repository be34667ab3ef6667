"""Orders that sleep beside a benchmark are orders like others, in the books and in Temporal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client

from adapters.http import Http
from oms.numbers import is_order_number
from tests.world import POLICY, World, a_world
from workers.auditing import SimulatorBooks, audit
from workers.bench.asleep import Copies, NotAsleep, draw, fall_asleep, tidy

LONG_GRACE = POLICY.model_copy(update={"grace": timedelta(minutes=5)})
SKUS = [f"LAMP-{index}" for index in range(7)]
COUNT = 200
MANY = 5_000


async def opens(world: World) -> None:
    await world.sells(*SKUS)
    await world.has_place("wh-lyon")
    for sku in SKUS:
        await world.holds(sku, "wh-lyon", 1000)


async def places(world: World, reference: str = "first") -> str:
    """Place an order as the benchmark does: under its reference."""
    order = world.an_order({SKUS[0]: 1}, reference=reference)
    placed = await world.call("POST", "/v1/orders", order, Idempotency_Key=order["reference"])
    return str(placed.json()["number"])


async def test_two_hundred_orders_sleep_for_a_month_in_books_that_add_up(
    database_url: str, temporal: Client
) -> None:
    async with a_world(database_url, temporal, policy=LONG_GRACE) as world:
        await opens(world)
        awake = await places(world)
        heard: list[int] = []
        numbers = await fall_asleep(
            world.engine, temporal, awake, COUNT,
            skus=SKUS, task_queue=world.queue, told=heard.append,
        )  # fmt: skip

        assert len(set(numbers)) == COUNT == max(heard)
        assert all(is_order_number(number) for number in numbers)
        await only_the_provider_knows_nothing_of_them(world)
        await each_sleeps_for_a_month(world, numbers)
        await each_article_is_held(world)
        assert (await world.order(numbers[-1]))["status"] == "open"
        assert await first_task_of(temporal, numbers[0]) is None


async def only_the_provider_knows_nothing_of_them(world: World) -> None:
    async with Http(world.outside.url, timeout=timedelta(seconds=10)) as http:
        report = await audit(
            world.engine, world.temporal, SimulatorBooks(http), silent=POLICY.silent
        )
    assert report.checked["orders"] == report.checked["runs"] == COUNT + 1
    assert {found.invariant for found in report.violations} == {4}
    assert len(report.violations) == COUNT
    assert not report.pending


async def each_sleeps_for_a_month(world: World, numbers: list[str]) -> None:
    async with world.engine.connect() as tx:
        found = await tx.execute(
            text("SELECT number, grace_until, reference FROM orders WHERE number = ANY(:numbers)"),
            {"numbers": numbers},
        )
        rows = found.all()
    assert len({row.reference for row in rows}) == COUNT
    soon = datetime.now(UTC) + timedelta(days=29)
    assert all(row.grace_until > soon for row in rows)


async def each_article_is_held(world: World) -> None:
    async with world.engine.connect() as tx:
        held = await tx.execute(text("SELECT allocated FROM stock_levels WHERE on_hand > 0"))
        units = [row.allocated for row in held]
    assert sum(units) == COUNT + 1
    assert max(units) - min(units) <= 2, "in turn"


async def first_task_of(temporal: Client, number: str) -> object:
    history = await temporal.get_workflow_handle(f"order/{number}").fetch_history()
    return next(
        (e for e in history.events if e.HasField("workflow_task_scheduled_event_attributes")), None
    )


async def test_an_order_that_is_being_served_is_no_model_for_those_that_sleep(
    database_url: str, temporal: Client
) -> None:
    async with a_world(database_url, temporal) as world:
        await opens(world)
        await world.works_by_hand("wh-lyon")
        served = await places(world)
        await world.until_offered(served)

        with pytest.raises(NotAsleep, match=served):
            await fall_asleep(world.engine, temporal, served, 1, skus=SKUS, task_queue=world.queue)


async def test_an_order_is_served_without_reading_the_thousands_that_sleep(
    database_url: str, temporal: Client
) -> None:
    async with a_world(database_url, temporal, policy=LONG_GRACE) as world:
        await opens(world)
        copies = await Copies.of(world.engine, await places(world), SKUS)
        await copies.write(world.engine, draw(MANY), 0)
        await tidy(world.engine)
    await in_statistics(database_url, "SELECT pg_stat_reset()")
    async with a_world(database_url, temporal) as world:
        awake = await places(world, "awake")
        await world.outside.hurries()
        await world.until_status(awake, "completed")

    read = await in_statistics(
        database_url, "SELECT relname, seq_tup_read, idx_scan FROM pg_stat_user_tables"
    )
    assert any(table.relname == "orders" and table.idx_scan > 0 for table in read)
    # Once may be the relay, which looks every hour for what may be forgotten.
    assert {t.relname: t.seq_tup_read for t in read if t.seq_tup_read >= 2 * MANY} == {}


async def in_statistics(database_url: str, statement: str) -> list[Any]:
    """Ask by a connection of its own: those that ended have told what they read."""
    engine = create_async_engine(database_url)
    async with engine.begin() as tx:
        found = list(await tx.execute(text(statement)))
    await engine.dispose()
    return found
