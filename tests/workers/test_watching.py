"""What a worker tells about orders, about itself, and about what it cannot reach."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import temporalio.bridge
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import Runtime, TelemetryConfig

from adapters.db import metrics as facts
from tests.watched import Watched, watched
from tests.workers.scraping import Scrape, page, scrape
from tests.world import World, a_shop
from workers import watching
from workers.backlog import read_backlog
from workers.embedded.places import free_port
from workers.temporal import prometheus
from workers.watching import (
    Watch,
    database_answers,
    listening,
    read_books,
    temporal_answers,
)
from workflows.queues import Kind, queue_for

NOBODY = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"


class Day(NamedTuple):
    """A day of orders, and what was told before and after it."""

    world: World
    parked: str
    before: Scrape
    after: Scrape
    sdk: Scrape


@pytest.fixture(scope="module")
async def day(module_database_url: str, temporal: Client) -> AsyncIterator[Day]:
    """One order delivered, one refused for stock, one declined, one parked at its capture."""
    sdk_port = free_port()
    client = await Client.connect(
        temporal.service_client.config.target_host,
        data_converter=pydantic_data_converter,
        runtime=Runtime(telemetry=TelemetryConfig(metrics=prometheus(f"127.0.0.1:{sdk_port}"))),
    )
    async with a_shop(module_database_url, client) as world:
        watch = Watch(
            [partial(read_books, world.engine), partial(read_backlog, client, world.queue)], {}
        )
        async with listening(watch, "127.0.0.1", 0) as port:
            before = await scrape(port)
            await world.call("POST", "/v1/orders", world.an_order(99), who="channel")
            declined = world.an_order(1, token="tok_declined")
            await world.call("POST", "/v1/orders", declined, who="channel")
            world.breaks("reserve_stock", "before")
            delivered = (await world.place())["number"]
            parked = (await world.place(token="tok_capture_fails"))["number"]
            await world.outside.ask("POST", "/clock", json={"speed": 20_000})
            await world.until_closed(delivered)
            await world.until_parked(parked, "capture:1")
            await world.outside.ask("POST", "/clock", json={"speed": 1})
            await world.call("GET", "/v1/nothing-like-this")
            await asyncio.sleep(0)
            watch._facts_until = 0  # what was read before is told for some seconds
            yield Day(world, parked, before, await scrape(port), await scrape(sdk_port))


def test_orders_are_counted_by_how_they_ended(day: Day) -> None:
    def ended(outcome: str) -> float:
        name = "oms_orders_ended_total"
        return day.after.value(name, outcome=outcome) - day.before.value(name, outcome=outcome)

    assert ended("completed") == 1
    assert ended("insufficient_stock") == 1
    assert ended("payment_declined") == 1


def test_what_waits_for_a_person_is_told_by_its_step_and_code(day: Day) -> None:
    assert day.before.value("oms_parked_steps") == 0
    assert day.after.value("oms_parked_steps", step="capture", code="declined") == 1
    assert 0 < day.after.value("oms_parked_steps_seconds", step="capture") < 60
    assert day.after.value("oms_orders_open") >= 1


def test_each_step_is_timed_whether_it_calls_outside_or_writes_books(day: Day) -> None:
    count = "oms_step_seconds_count"

    assert day.after.value(count, step="buy_label", kind="regular", outcome="done") >= 1
    assert day.after.value(count, step="reserve_stock", outcome="done") >= 1


def test_a_step_that_failed_is_counted_by_its_code_though_the_next_attempt_went_well(
    day: Day,
) -> None:
    failed = {"step": "reserve_stock", "code": "broken_on_request"}

    assert day.after.value("oms_step_failures_total", **failed) >= 1


def test_requests_are_counted_under_their_routes_and_not_under_their_paths(day: Day) -> None:
    assert day.after.value("oms_requests_total", method="POST", route="/v1/orders") >= 4
    assert day.after.value("oms_requests_total", route="none", status="404") >= 1
    assert day.after.value("oms_request_seconds_count", route="/v1/orders/{number}") >= 1


def test_no_label_holds_an_order_a_customer_or_a_place(day: Day) -> None:
    told = " ".join(
        value
        for (name, labels) in day.after.samples
        if name.startswith("oms_")
        for _, value in labels
    )

    for private in (day.parked, "c-1", "ada", "LAMP", "wh-lyon", "web"):
        assert private not in told


def test_a_day_leaves_a_bounded_number_of_series(day: Day) -> None:
    # Other tests of this process may have left series of their own before.
    new = day.after.samples.keys() - day.before.samples.keys()
    ours = [name for (name, _) in new if name.startswith("oms_")]

    assert len(ours) < 500


@pytest.mark.parametrize("where", watched(), ids=lambda where: where.name)
def test_every_metric_that_alerts_and_the_dashboard_ask_for_is_told(
    where: Watched, day: Day
) -> None:
    told = day.after.names | day.sdk.names | only_when_it_happens()

    assert where.metrics - told == frozenset()


def only_when_it_happens() -> set[str]:
    """What the SDK tells after its first fault or eviction only; its library has the names."""
    names = (
        "workflow_task_execution_failed",
        "request_failure",
        "sticky_cache_total_forced_eviction",
    )
    bridge = next(Path(temporalio.bridge.__path__[0]).glob("temporal_sdk_bridge*")).read_bytes()
    assert all(name.encode() in bridge for name in names)
    return {f"temporal_{name}_total" for name in names}


async def test_a_queue_that_nobody_asks_for_work_is_told(day: Day) -> None:
    for kind in Kind:
        served = queue_for(kind, orders=day.world.queue)
        assert day.after.value("oms_queue_pollers", task_queue=served, task="activity") == 1

    nobodys = await read_backlog(day.world.temporal, "oms-of-nobody")
    assert {s.value for family in nobodys[1:] for s in family.samples} == {0}


async def test_while_temporal_is_away_it_says_so_and_no_queue_is_made_up() -> None:
    away = await Client.connect("127.0.0.1:1", lazy=True)

    told = await read_backlog(away, "oms")

    assert [(family.name, family.samples[0].value) for family in told] == [("oms_temporal_up", 0)]


async def test_money_without_an_outcome_is_told_with_its_age(day: Day) -> None:
    async with day.world.engine.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO payment_entries (key, order_number, tender, kind, seq, amount_minor,"
                " currency, status, attempts, given_up, at) VALUES ('x:refund:9', :n, 1, 'refund',"
                " 9, 1, 'EUR', 'unknown', 1, false, now() - interval '2 hours')"
            ),
            {"n": day.parked},
        )
    told = await facts.read_facts(day.world.engine, datetime.now(UTC))
    ages = {
        sample.labels["status"]: sample.value
        for family in told
        if family.name == "oms_payments_open_seconds"
        for sample in family.samples
        if sample.labels["kind"] == "refund"
    }

    assert ages["unknown"] == pytest.approx(7200, abs=60)


# --- a process's health ---------------------------------------------------------------------


async def test_a_worker_that_reaches_everything_is_ready_until_it_is_told_to_stop(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal) as world:
        watch = Watch(
            [],
            {
                "database": database_answers(world.engine),
                "temporal": temporal_answers(temporal),
            },
        )
        async with listening(watch, "127.0.0.1", 0) as port:
            ready = await page(port, "/ready")
            watch.draining = True
            draining = await page(port, "/ready")
            live = await page(port, "/live")

    assert ready == (200, {"ready": True, "draining": False, "database": True, "temporal": True})
    assert draining[0] == 503
    assert live == (200, {"live": True})


async def test_without_its_database_a_worker_lives_is_not_ready_and_says_which() -> None:
    away = create_async_engine(NOBODY)

    async def relay_is_well() -> bool:
        return True

    watch = Watch(
        [partial(read_books, away)],
        {"database": database_answers(away), "relay": relay_is_well},
    )
    async with listening(watch, "127.0.0.1", 0) as port:
        live, ready = await page(port, "/live"), await page(port, "/ready")
        told = await scrape(port)
    await away.dispose()

    assert live[0] == 200
    assert ready == (503, {"ready": False, "draining": False, "database": False, "relay": True})
    assert told.value("oms_database_up") == 0
    assert "oms_orders_open" not in told.names


async def test_what_the_books_say_is_read_once_for_scrapes_that_come_together(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = facts.read_facts

    async def counting(engine: object, now: datetime) -> object:
        nonlocal reads
        reads += 1
        return await read(away, now)

    away = create_async_engine(database_url)
    monkeypatch.setattr(watching, "read_facts", counting)
    async with listening(Watch([partial(watching.read_books, away)], {}), "127.0.0.1", 0) as port:
        await asyncio.gather(*(scrape(port) for _ in range(5)))
    await away.dispose()

    assert reads == 1


@pytest.mark.parametrize(
    "garbage", [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 100_000, b"GET / HTTP/1.1\r\nHalf: "]
)
async def test_nonsense_on_the_port_of_metrics_harms_nobody(garbage: bytes) -> None:
    async with listening(Watch([], {}), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        writer.write_eof()
        await reader.read()
        writer.close()
        live = await page(port, "/live")

    assert live[0] == 200


async def test_a_page_that_is_not_there_names_those_that_are() -> None:
    async with listening(Watch([], {}), "127.0.0.1", 0) as port:
        status, told = await page(port, "/orders")

    assert (status, told) == (404, {"pages": ["/live", "/ready", "/metrics"]})


async def test_what_is_open_is_found_without_reading_every_order(database_url: str) -> None:
    engine = create_async_engine(database_url)
    read_whole = set()
    async with engine.begin() as tx:
        await tx.execute(text("SET LOCAL enable_seqscan = off"))
        for look in facts.LOOKS:
            values = {"now": datetime.now(UTC)} if ":now" in look.sql else {}
            plan = "\n".join((await tx.execute(text(f"EXPLAIN {look.sql}"), values)).scalars())
            read_whole |= {word for word in re.findall(r"Seq Scan on (\w+)", plan)}
    await engine.dispose()

    # These hold only what is open: a row that is done is deleted.
    assert read_whole <= {"parked_steps", "nudges", "return_alerts"}
