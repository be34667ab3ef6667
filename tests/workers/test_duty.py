"""Workers rest while the system reconciles, and a reconciliation waits for those at work."""

import asyncio
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.engine import connect
from adapters.db.mode import begin_reconciling, end_reconciling, nobody_acts, read_mode
from oms.policy import Policy
from workers.duty import Duty, is_resting

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


async def rests(engine: AsyncEngine, moment: datetime = NOW) -> None:
    async with engine.begin() as tx:
        await begin_reconciling(tx, moment=moment, reason="a drill", now=NOW)


async def acts_again(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await end_reconciling(tx, Policy(), NOW)


async def test_a_worker_begins_when_the_reconciliation_is_over(database_url: str) -> None:
    engine = connect(database_url)
    await rests(engine)
    duty = Duty(engine)
    begun = asyncio.create_task(duty.begun())

    done, _ = await asyncio.wait([begun], timeout=0.3)
    assert done == set()
    assert await is_resting(database_url)

    await acts_again(engine)
    await asyncio.wait_for(begun, 10)
    assert not await is_resting(database_url)
    await duty.laid_down()
    await engine.dispose()


async def test_a_reconciliation_waits_until_the_last_worker_laid_down_its_work(
    database_url: str,
) -> None:
    engine = connect(database_url)
    first, second = Duty(engine), Duty(engine)
    await first.begun()
    await second.begun()

    await rests(engine)
    await asyncio.wait_for(asyncio.gather(first.ended(), second.ended()), 10)
    async with nobody_acts(engine) as alone:
        assert not alone  # calls they have begun are still under way
    await first.laid_down()
    async with nobody_acts(engine) as alone:
        assert not alone
    await second.laid_down()
    async with nobody_acts(engine) as alone:
        assert alone
    await engine.dispose()


async def test_no_worker_begins_while_somebody_reconciles(database_url: str) -> None:
    engine = connect(database_url)
    duty = Duty(engine)

    async with nobody_acts(engine):
        begun = asyncio.create_task(duty.begun())
        done, _ = await asyncio.wait([begun], timeout=0.3)
        assert done == set()

    await asyncio.wait_for(begun, 10)
    await duty.laid_down()
    await engine.dispose()


async def test_restored_twice_the_older_moment_counts(database_url: str) -> None:
    engine = connect(database_url)
    older = datetime(2026, 11, 21, tzinfo=UTC)
    await rests(engine, older)
    await rests(engine, NOW)

    async with engine.connect() as tx:
        mode = await read_mode(tx)

    assert (mode.is_reconciling, mode.moment) == (True, older)
    await engine.dispose()
