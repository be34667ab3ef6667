"""The connection to PostgreSQL."""

import select
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_STATEMENTS_KEPT = 500
"""More than we have: a connection plans each of them once, not each time."""


def connect(url: str, *, pool_size: int = 20) -> AsyncEngine:
    """Open a pool. `url` is `postgresql+psycopg://…`; connections are checked before use.

    Every statement ends after 30 s and every idle transaction after 60 s, so that a stuck
    client never holds a row for longer.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        # A burst waits for its turn: opening connections and closing them again costs more.
        max_overflow=0,
        # The one used last has its statements prepared; the others rest.
        pool_use_lifo=True,
        pool_timeout=20,
        # The parameters hold names and addresses; they must not reach a log by way of an error.
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "prepare_threshold": 0,
            "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"
            " -c timezone=UTC",
        },
    )
    event.listen(engine.sync_engine, "connect", _keep_statements)
    event.listen(engine.sync_engine, "checkout", _must_be_open)
    return engine


def by_statement(engine: AsyncEngine) -> AsyncEngine:
    """Give the same pool for single statements: each is a transaction of its own.

    It saves the two round trips that open and end a transaction around it.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _keep_statements(connection: Any, _: object) -> None:
    connection.driver_connection.prepared_max = _STATEMENTS_KEPT


def _must_be_open(connection: Any, *_: object) -> None:
    """Refuse a connection that the server has closed: the pool opens another.

    An idle server says nothing unless it is going, so no round trip is needed to know.
    """
    heard = select.poll()
    heard.register(connection.driver_connection.fileno(), select.POLLIN)
    if connection.driver_connection.closed or heard.poll(0):
        raise DisconnectionError("the server has closed this connection")
