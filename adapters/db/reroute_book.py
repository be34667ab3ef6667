"""Reroutes over PostgreSQL. See `oms.rerouting.RerouteBook` for what each method means."""

from datetime import datetime

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from typing_extensions import override

from adapters.db import reroutes
from adapters.db.book import SqlBook
from adapters.db.reroutes import Reroute
from oms.rerouting import RerouteBook, RerouteProgress

AT_A_LOOK = 500
"""Orders that one look gives; looking anew for each would read all of them each time."""

_PASSING = (OperationalError, InterfaceError, PoolTimeout)


class SqlReroutes(RerouteBook):
    """Looks, and one transaction an order."""

    def __init__(self, engine: AsyncEngine, book: SqlBook) -> None:
        self._engine, self._book = engine, book

    @override
    async def orders_to_reroute(self, id: str, *, again: bool) -> list[str]:
        async with self._engine.connect() as tx:
            reroute = await _read(tx, id)
            if reroute.status != "running":
                return []
            numbers = await reroutes.to_do(tx, reroute, most=AT_A_LOOK)
            return numbers + (await reroutes.to_try_again(tx, reroute) if again else [])

    @override
    async def reroute_goes_on(self, id: str, at: datetime) -> bool:
        async with self._engine.begin() as tx:
            return await reroutes.touch(tx, id, at)

    @override
    async def reroute_order(self, id: str, number: str, at: datetime) -> None:
        async with self._engine.connect() as tx:
            actor = (await _read(tx, id)).actor
        try:
            await self._book.leave_places(number, at, id, actor=actor)
        except _PASSING:
            raise  # without the database nothing goes on
        except SQLAlchemyError as bug:
            raise AssertionError(type(bug).__name__) from bug

    @override
    async def reroute_failed(self, id: str, number: str, fault: str, at: datetime) -> None:
        async with self._engine.begin() as tx:
            await reroutes.write_failed(tx, id, number, fault, at)

    @override
    async def reroute_looked(self, id: str, at: datetime, *, last: bool) -> RerouteProgress:
        async with self._engine.begin() as tx:
            await reroutes.touch(tx, id, at)
            found = await reroutes.progress(tx, await _read(tx, id))
            if last and found.status == "running" and not found.left:
                await reroutes.end(tx, id, at)
                return await reroutes.progress(tx, await _read(tx, id))
            return found

    @override
    async def steer_reroute(self, id: str, word: str, at: datetime) -> None:
        async with self._engine.begin() as tx:
            await reroutes.steer(tx, id, word, at)


async def _read(tx: AsyncConnection, id: str) -> Reroute:
    found = await reroutes.read(tx, id)
    assert found is not None, f"{id} is not stored"
    return found
