"""`oms bench routing --database` measures what it says, and its books hold."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.engine import connect
from workers.bench import reserving
from workers.bench.reserving import RULE_SETS, ReservingRun


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url, pool_size=2)
    yield engine
    await engine.dispose()


async def test_planning_and_reserving_is_measured_beside_the_bare_statements(
    db: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving, "WARM", 1)
    found = await ReservingRun(db, lines=[1, 3], repeat=3, places=40, articles=5).measure()

    sizes = [(case.rules, case.lines) for case in found.database]
    assert sizes == [(rules, lines) for rules in RULE_SETS for lines in (1, 3)]
    for case in found.database:
        assert 0 < case.plan_p50_ms < case.p50_ms <= case.p99_ms
        assert 0 < case.floor_p50_ms <= case.floor_p99_ms
        assert 0 < case.order_p50_ms <= case.order_p99_ms


async def test_every_side_took_units_with_their_movements_and_no_order_was_refused(
    db: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving, "WARM", 0)
    await ReservingRun(db, lines=[2], repeat=2, places=40, articles=5).measure()

    async with db.connect() as tx:
        differences = await tx.scalar(
            text(
                "SELECT count(*) FROM stock_levels s WHERE reserved <> (SELECT coalesce(sum(delta),"
                " 0) FROM stock_movements m WHERE (m.sku, m.location) = (s.sku, s.location)"
                " AND bucket = 'reserved')"
            )
        )
        keys = await tx.scalar(text("SELECT count(DISTINCT key) FROM stock_movements"))
        refused = await tx.scalar(
            text("SELECT count(*) FROM orders WHERE refusal_code IS NOT NULL")
        )
    assert (differences, refused) == (0, 0)
    assert keys == 2 * 2 * 3, "rule sets, orders, and three sides: the floor, ours, a whole order"
