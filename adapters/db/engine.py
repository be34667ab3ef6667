"""The connection to PostgreSQL."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def connect(url: str, *, pool_size: int = 20) -> AsyncEngine:
    """Open a pool. `url` is `postgresql+psycopg://…`; connections are checked before use.

    Every statement ends after 30 s and every idle transaction after 60 s, so that a stuck
    client never holds a row for longer.
    """
    return create_async_engine(
        url,
        pool_size=pool_size,
        # A burst waits for its turn: opening connections and closing them again costs more.
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=20,
        # The parameters hold names and addresses; they must not reach a log by way of an error.
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"
            " -c timezone=UTC",
        },
    )
