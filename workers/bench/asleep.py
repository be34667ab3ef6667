"""Open orders that sleep: what a shop has in its books and in Temporal while it takes new ones.

One real order is placed; its rows are copied under new numbers, and a run is started for each
copy, to begin in a month. Such a run has its row, its timer and its visibility record, as that of
an order in its grace window has; it has not had its first task, so its history is one event long.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel import SQLModel
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowHandle,
)
from typing_extensions import override

import adapters.db.tables  # noqa: F401  (declares the columns)
from adapters.db.stock import BUCKETS
from oms.numbers import NUMBERS, number_from
from workflows.starting import StartOrder, start_order

SLEEPS = timedelta(days=30)

COPIED_AT_ONCE = 1_000
_STARTED_AT_ONCE = 32
_WAITS_SECONDS = 30
_SEEN_WITHIN_SECONDS = 300

Rows = Mapping[str, Sequence[dict[str, Any]]]
"""What an order has in the books, by table."""

# The order first: the others refer to it. Stock last, as everywhere.
_TABLES = {
    "orders": "number = :number",
    "order_lines": "order_number = :number",
    "tenders": "order_number = :number",
    "payment_entries": "order_number = :number",
    "reservations": "order_number = :number",
    "allocations": "order_number = :number",
    "events": "order_number = :number",
    "idempotency_keys": "order_number = :number",
    "stock_movements": "key LIKE :number || ':%'",
}
_COPIES = """
    unnest(CAST(:numbers AS text[]), CAST(:references AS text[]), CAST(:skus AS text[]))
        AS copy(number, reference, sku),
    jsonb_populate_recordset(NULL::{table}, CAST(replace(replace(replace(:rows,
        :number, copy.number), :reference, copy.reference), :sku, copy.sku) AS jsonb)) AS row
"""
_MOVED = f"""
WITH moved AS (
    INSERT INTO stock_movements ({{columns}}) SELECT {{values}} FROM {_COPIES}
    RETURNING sku, location, bucket, delta
), total AS (
    SELECT sku, location, {
    ", ".join(
        f"coalesce(sum(delta) FILTER (WHERE bucket = '{bucket}'), 0) AS {bucket}"
        for bucket in BUCKETS
    )
} FROM moved GROUP BY sku, location
)
UPDATE stock_levels l SET {", ".join(f"{bucket} = l.{bucket} + t.{bucket}" for bucket in BUCKETS)}
FROM total t WHERE l.sku = t.sku AND l.location = t.location
"""


class NotAsleep(Exception):
    """The order that was to be copied is not confirmed, or its grace window is over."""


async def fall_asleep(
    db: AsyncEngine,
    client: Client,
    number: str,
    count: int,
    *,
    skus: Sequence[str],
    task_queue: str,
    told: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Have so many more orders like this one that sleep for a month. Gives their numbers.

    Args:
        db: The books.
        client: Of the server that carries the runs.
        number: An order in its grace window, placed under its reference as idempotency key.
        count: How many, at least 1.
        skus: The articles they are of, in turn; the order's own is the first of them.
        task_queue: Where the runs will be served.
        told: Hears how many there are.

    Raises:
        NotAsleep: the order is in no grace window.
    """
    copies = await Copies.of(db, number, skus)
    later = _starting_later(client)
    numbers = draw(count)
    for first in range(0, count, COPIED_AT_ONCE):
        batch = numbers[first : first + COPIED_AT_ONCE]
        await copies.write(db, batch, first)
        await _start(later, copies.order, batch, task_queue, told, first)
    await tidy(db)
    await _until_seen(client, task_queue, count)
    return numbers


def draw(count: int) -> list[str]:
    """Draw so many order numbers, all different."""
    drawn: set[str] = set()
    while len(drawn) < count:
        drawn.add(number_from(secrets.randbelow(NUMBERS)))
    return sorted(drawn, key=lambda _: secrets.randbits(32))


# --- the order that is copied ---


async def _when_confirmed(db: AsyncEngine, number: str) -> Rows:
    deadline = asyncio.get_running_loop().time() + _WAITS_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        async with db.connect() as tx:
            rows = await _read(tx, number)
        if rows["orders"][0]["confirmed_at"] is None:
            await asyncio.sleep(0.2)
        elif any(row["fulfillment_order"] for row in rows["allocations"]):
            raise NotAsleep(f"the grace window of {number} is over already")
        else:
            return rows
    raise NotAsleep(f"{number} was not confirmed within {_WAITS_SECONDS} s")


async def _read(tx: AsyncConnection, number: str) -> Rows:
    """Read all rows in one statement, so that they are of one moment."""
    each = " UNION ALL ".join(
        f"SELECT '{table}', coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {table} t WHERE {is_its}"
        for table, is_its in _TABLES.items()
    )
    return {table: rows for table, rows in await tx.execute(text(each), {"number": number})}


# --- its copies ---


class Copies:
    """Writes an order's rows again, under other numbers, references and articles.

    They are replaced wherever they are mentioned; the grace window ends in a month.
    """

    @classmethod
    async def of(cls, db: AsyncEngine, number: str, skus: Sequence[str]) -> Self:
        """Read the order, once it is confirmed.

        Raises:
            NotAsleep: it is in no grace window.
        """
        return cls(await _when_confirmed(db, number), skus)

    def __init__(self, rows: Rows, skus: Sequence[str]) -> None:
        self.order = rows["orders"][0]
        self._skus = skus
        assert {line["sku"] for line in rows["order_lines"]} == {skus[0]}
        confirmed = datetime.fromisoformat(self.order["confirmed_at"])
        asleep = self.order | {"grace_until": (confirmed + SLEEPS).isoformat()}
        self._rows = {
            table: json.dumps(found) for table, found in {**rows, "orders": [asleep]}.items()
        }

    async def write(self, db: AsyncEngine, numbers: Sequence[str], first: int) -> None:
        """Write a copy for each number, of which the first is so far along."""
        indexes = range(first, first + len(numbers))
        named = {
            "number": self.order["number"],
            "reference": self.order["reference"],
            "sku": self._skus[0],
            "numbers": list(numbers),
            "references": [f"{self.order['reference']}-{index}" for index in indexes],
            "skus": [self._skus[index % len(self._skus)] for index in indexes],
        }
        async with db.begin() as tx:
            for table in _TABLES:
                await tx.execute(text(_insert(table)), named | {"rows": self._rows[table]})


def _insert(table: str) -> str:
    named = [
        column.name
        for column in SQLModel.metadata.tables[table].columns
        if column.autoincrement is not True and column.name != "xid"  # the database fills these
    ]
    columns, values = ", ".join(named), ", ".join(f"row.{name}" for name in named)
    statement = (
        _MOVED
        if table == "stock_movements"
        else (f"INSERT INTO {{table}} ({{columns}}) SELECT {{values}} FROM {_COPIES}")
    )
    return statement.format(table=table, columns=columns, values=values)


async def tidy(db: AsyncEngine) -> None:
    """Do what the database does by itself in time: know how large its tables have become."""
    async with db.execution_options(isolation_level="AUTOCOMMIT").connect() as tx:
        await tx.execute(text("SET statement_timeout = 0"))
        for table in (*_TABLES, "stock_levels"):
            await tx.execute(text(f"VACUUM (ANALYZE) {table}"))
        await tx.execute(text("RESET statement_timeout"))


# --- their runs ---


async def _start(
    client: Client,
    order: Mapping[str, Any],
    numbers: Iterable[str],
    task_queue: str,
    told: Callable[[int], None],
    done: int,
) -> None:
    waiting = iter(numbers)

    async def starter() -> None:
        nonlocal done
        for number in waiting:
            await start_order(
                client,
                StartOrder(
                    number=number,
                    channel=order["channel"],
                    currency=order["currency"],
                    total_minor=order["total_minor"],
                    units=1,
                    task_queue=task_queue,
                ),
            )
            done += 1
            told(done)

    async with asyncio.TaskGroup() as group:
        for _ in range(_STARTED_AT_ONCE):
            group.create_task(starter())


async def _until_seen(client: Client, task_queue: str, count: int) -> None:
    """Wait until the last of them can be searched for."""
    query = f"TaskQueue = '{task_queue}' AND ExecutionStatus = 'Running'"
    async with asyncio.timeout(_SEEN_WITHIN_SECONDS):
        while (await client.count_workflows(query)).count < count:
            await asyncio.sleep(1)


def _starting_later(client: Client) -> Client:
    """Give a client whose runs begin in a month."""
    config = client.config()
    config["interceptors"] = [*config["interceptors"], _Later()]
    return Client(**config)


class _Later(Interceptor):
    @override
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _StartsLater(next)


class _StartsLater(OutboundInterceptor):
    @override
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.start_delay = SLEEPS
        return await super().start_workflow(input)
