"""Several statements in one round trip behave as they would one after the other."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.at_once import Statement, at_once
from adapters.db.engine import connect

_ADD = "INSERT INTO channels (id, name, active, version) VALUES (:id, :name, true, 1)"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url, pool_size=1)
    yield engine
    await engine.dispose()


def _channel(id: str) -> Statement:
    return Statement(_ADD, {"id": id, "name": "100 % cotton: a shop"})


async def test_each_statement_sees_what_those_before_it_did(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        nothing, found = await at_once(
            tx,
            [
                _channel("web"),
                Statement("SELECT id, name FROM channels WHERE id = :id", {"id": "web"}),
            ],
        )
    assert nothing == []
    assert [(row.id, row.name) for row in found] == [("web", "100 % cotton: a shop")]


async def test_a_statement_that_fails_takes_the_transaction_with_it(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError) as fault:
        async with engine.begin() as tx:
            await at_once(tx, [_channel("web"), _channel("app"), _channel("web"), _channel("till")])
    assert fault.value.orig is not None
    assert "channels_pkey" in str(fault.value.orig)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM channels")) == 0


async def test_a_fault_does_not_quote_what_was_written(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError) as fault:
        async with engine.begin() as tx:
            await at_once(tx, [_channel("web"), _channel("web")])
    assert "cotton" not in str(fault.value)


async def test_a_connection_serves_again_after_a_fault(engine: AsyncEngine) -> None:
    for _ in range(3):
        with pytest.raises(IntegrityError):
            async with engine.begin() as tx:
                await at_once(tx, [_channel("web"), _channel("web")])
    async with engine.begin() as tx:
        await at_once(tx, [_channel("web")])
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM channels")) == 1
