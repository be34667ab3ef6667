"""Several statements in one round trip.

A transaction on an order is a dozen small statements; the way to the server and back costs more
than most of them. psycopg's pipeline sends them together, and the server runs them in turn, each
seeing what those before it did.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

Rows = list[Any]
"""What a statement returned: named tuples, none for a statement that returns nothing."""


class Statement(NamedTuple):
    """SQL with `:name` for values, as `sqlalchemy.text` takes it, and the values."""

    sql: str
    values: dict[str, Any]


async def at_once(tx: AsyncConnection, statements: Sequence[Statement]) -> list[Rows]:
    """Execute statements in turn, in one round trip. The rows of each, in the same order.

    Raises:
        sqlalchemy.exc.DBAPIError: the first that failed, of the class it has anywhere else; those
            after it were not executed, and the transaction can only be rolled back.
    """
    if not statements:
        return []
    connection: Any = (await tx.get_raw_connection()).driver_connection
    try:
        cursors = [connection.cursor(row_factory=namedtuple_row) for _ in statements]
        async with connection.pipeline():
            for cursor, (sql, values) in zip(cursors, statements, strict=True):
                await cursor.execute(_for_psycopg(sql), values)
        return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]
    except psycopg.Error as fault:
        # Without the values: they hold names and addresses.
        raise DBAPIError.instance(
            None, None, fault, psycopg.Error, hide_parameters=True, dialect=_DIALECT
        ) from fault


_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call] # SQLAlchemy has no types here


@cache
def _for_psycopg(sql: str) -> str:
    """The same statement with psycopg's marks. Statements come from code: there are few."""
    return str(text(sql).compile(dialect=_DIALECT))
