"""A worker's duty: it acts while the system is normal, and rests while it reconciles."""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.engine import connect as connect_database
from adapters.db.mode import may_act, read_mode

LOOKS_EVERY = timedelta(seconds=1)

log = structlog.get_logger()


class Duty:
    """Held on a connection of its own, so that a reconciliation can wait for all to lay it down.

    `begun` returns when this process may act, `ended` when it may no longer.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None

    async def begun(self) -> None:
        """Wait until the system is normal, and take up duty."""
        resting = False
        while not await self._may_act():
            if self._connection is not None and not resting:
                log.warning("worker_rests", why="the system reconciles: see `oms recover`")
                resting = True
            await asyncio.sleep(LOOKS_EVERY.total_seconds())

    async def ended(self) -> None:
        """Wait until the system is to rest. A connection that broke is made again."""
        while await self._may_go_on():
            await asyncio.sleep(LOOKS_EVERY.total_seconds())

    async def laid_down(self) -> None:
        """Lay duty down: nothing of this process is under way any more."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.invalidate()  # with the session go its locks
            await connection.close()

    async def _may_act(self) -> bool:
        try:
            if self._connection is None:
                plain = await self._engine.connect()
                self._connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            return await may_act(self._connection)
        except (SQLAlchemyError, OSError) as fault:
            log.warning("duty_unknown", error=type(fault).__name__)
            await self.laid_down()
            return False

    async def _may_go_on(self) -> bool:
        if self._connection is not None:
            try:
                return not (await read_mode(self._connection)).is_reconciling
            except (SQLAlchemyError, OSError) as fault:
                log.warning("duty_unknown", error=type(fault).__name__)
                await self.laid_down()
        return await self._may_act() or self._connection is None


async def is_resting(database_url: str) -> bool:
    """Whether workers have nothing to do, because the system reconciles."""
    engine = connect_database(database_url)
    try:
        async with engine.connect() as connection:
            return (await read_mode(connection)).is_reconciling
    finally:
        await engine.dispose()
