"""`oms bench stock` measures what it says."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.availability import availability
from adapters.db.engine import connect
from tests.adapters.db.stockroom import NOW
from workers.bench.pgbench import PgBench, PgBenchFailed, three_lines
from workers.bench.shelf import CHANNEL, EVERYWHERE, LOCATIONS, UNITS, Shelf, sku_name
from workers.bench.stock import TURNS, StockBench, StockRun, Turns, in_turns
from workers.embedded.postgres import binaries

CASES = {
    "reservations, a hot SKU", "reservations, 50 SKUs", "reservations, three lines",
    "availability, 100 rows", "availability, 1,000 rows", "availability, at all places",
    "options", "options, at all places",
    "import, 100 new levels", "import, 100 changed levels",
}  # fmt: skip


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url, pool_size=4)
    yield engine
    await engine.dispose()


@pytest.fixture
async def figures(db: AsyncEngine, database_url: str) -> StockBench:
    pgbench = PgBench(binaries() / "pgbench", database_url)
    run = StockRun(db, pgbench, at_once=2, seconds=0.5, sizes=(100, 1_000), sold=50)
    return await run.measure()


async def test_every_case_is_measured_beside_its_floor_and_the_books_hold(
    figures: StockBench, db: AsyncEngine
) -> None:
    assert {case.case for case in figures.cases} == CASES
    assert all(case.per_second > 0 and case.floor_per_second > 0 for case in figures.cases)
    sold = [case for case in figures.cases if case.case.startswith("reservations")]
    assert all(case.pgbench_per_second for case in sold)
    async with db.connect() as tx:
        differences = await tx.scalar(
            text(
                "SELECT count(*) FROM stock_levels s WHERE reserved <> (SELECT coalesce(sum(delta),"
                " 0) FROM stock_movements m WHERE (m.sku, m.location) = (s.sku, s.location)"
                " AND bucket = 'reserved')"
            )
        )
    assert differences == 0, "ours, the floor and pgbench all moved levels with their movements"


async def test_shelves_hold_what_they_say(db: AsyncEngine) -> None:
    shelf = Shelf(db)
    await shelf.lay_out()
    await shelf.grow(500)
    await shelf.grow(1_000)

    async with db.connect() as tx:
        rows = await tx.scalar(text("SELECT count(*) FROM stock_levels"))
        some = await availability(tx, sku=sku_name(99), channel=CHANNEL, now=NOW)
        all_places = await availability(tx, sku=EVERYWHERE, channel=CHANNEL, now=NOW)

    assert rows == shelf.rows + LOCATIONS == 1_000 + LOCATIONS
    assert (some.available, all_places.available) == (10 * UNITS, LOCATIONS * UNITS)


async def test_two_sides_take_turns_and_the_middle_of_them_counts() -> None:
    order: list[str] = []

    async def ours() -> None:
        order.append("ours")
        await asyncio.sleep(0)

    async def floor() -> None:
        order.append("floor")
        await asyncio.sleep(0)

    await in_turns(ours, floor, at_once=1, seconds=0.01)
    turns = [side for side, before in zip(order, ["", *order], strict=False) if side != before]
    case = Turns([10.0, 90.0, 20.0], [20.0, 40.0, 1.0], [0.003, 0.001, 0.002], [0.1]).as_case(
        "some"
    )

    assert turns == ["floor", "ours"] * TURNS
    assert (case.per_second, case.floor_per_second, case.of_floor) == (20.0, 20.0, 1.0)
    assert (case.p50_ms, case.p99_ms) == (2.0, 3.0)


async def test_a_tool_that_fails_is_no_figure(database_url: str) -> None:
    pgbench = PgBench(binaries() / "pgbench", database_url)

    with pytest.raises(PgBenchFailed):
        await pgbench.rate("SELECT nothing;", at_once=1, seconds=1)
    assert three_lines(9).count("random(") == 4
