"""What the books owe to Temporal: runs to start and signals to send."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.at_once import Statement, at_once
from adapters.db.engine import by_statement
from adapters.db.unit import as_read, reading
from oms.orders import Order


class Nudges(NamedTuple):
    """A workflow that is owed a signal, and the rows that owe it."""

    workflow_id: str
    reason: str
    ids: list[int]


class Unstarted(NamedTuple):
    """An order that no run was started for."""

    number: str
    channel: str
    currency: str
    total_minor: int
    units: int


async def owed_nudges(engine: AsyncEngine, *, most: int) -> list[Nudges]:
    """The oldest nudges, one entry a workflow. They stay owed until they are `sent`.

    Not locked, so that no transaction is open while signals travel: two relays may send the same
    one, which is harmless.
    """
    async with by_statement(engine).connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT workflow_id, max(reason) AS reason, array_agg(id) AS ids FROM"
                " (SELECT id, workflow_id, reason FROM nudges ORDER BY id LIMIT :most) n"
                " GROUP BY workflow_id ORDER BY min(id)"
            ),
            {"most": most},
        )
        return [Nudges(row.workflow_id, row.reason, list(row.ids)) for row in rows]


async def sent(engine: AsyncEngine, nudges: list[Nudges]) -> None:
    """Strike out nudges whose signals were taken."""
    ids = [id for nudge in nudges for id in nudge.ids]
    async with by_statement(engine).connect() as tx:
        await tx.execute(text("DELETE FROM nudges WHERE id = ANY(:ids)"), {"ids": ids})


async def unstarted_orders(
    engine: AsyncEngine, now: datetime, *, older_than: timedelta, most: int
) -> list[Unstarted]:
    """Orders without a run. Young ones are left to the request that is just placing them."""
    async with by_statement(engine).connect() as connection:
        rows = await connection.execute(
            text(
                """
                SELECT o.number, o.channel, o.currency, o.total_minor, sum(l.ordered)::int AS units
                FROM orders o JOIN order_lines l ON l.order_number = o.number
                WHERE o.started_at IS NULL AND (o.placed_at <= :before OR o.closed_at IS NOT NULL
                    OR o.confirmed_at IS NOT NULL)
                GROUP BY o.number ORDER BY o.placed_at LIMIT :most
                """
            ),
            {"before": now - older_than, "most": most},
        )
        return [Unstarted(*row) for row in rows]


async def mark_started(tx: AsyncConnection, number: str, at: datetime) -> Order:
    """Write that a run carries the order; the order as it is then."""
    mark = Statement(
        "UPDATE orders SET started_at = :at WHERE number = :n AND started_at IS NULL",
        {"at": at, "n": number},
    )
    return as_read((await at_once(tx, [mark, reading(number)]))[-1])


class UnstartedReturn(NamedTuple):
    """A return that no run carries. `seen`: its row as it was read."""

    id: str
    order_number: str
    kind: str
    via: str
    units: int
    seen: str


async def unstarted_returns(engine: AsyncEngine, *, most: int) -> list[UnstartedReturn]:
    """Returns without a run, oldest first: new ones, and those that were opened again."""
    async with by_statement(engine).connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT r.id, r.order_number, r.kind, r.via, (SELECT sum(quantity)::int"
                " FROM return_lines l WHERE l.return_id = r.id) AS units,"
                " r.xmin::text AS seen FROM returns r"
                " WHERE r.started_at IS NULL ORDER BY r.requested_at LIMIT :most"
            ),
            {"most": most},
        )
        return [UnstartedReturn(*row) for row in rows]


async def mark_return_started(engine: AsyncEngine, back: UnstartedReturn, at: datetime) -> None:
    """Write that a run carries the return, unless its row changed since it was read.

    What happened meanwhile may have opened it again, and then its run may have ended before. One
    look more finds it unstarted still; to start what runs does no harm.
    """
    async with by_statement(engine).connect() as tx:
        await tx.execute(
            text(
                "UPDATE returns SET started_at = :at WHERE id = :id AND started_at IS NULL"
                " AND xmin::text = :seen"
            ),
            {"at": at, "id": back.id, "seen": back.seen},
        )


async def expired_reservations(engine: AsyncEngine, now: datetime, *, most: int) -> list[str]:
    """Orders whose stock is held beyond its time, for whatever reason their run did not act."""
    async with by_statement(engine).connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT DISTINCT order_number FROM reservations"
                " WHERE state = 'open' AND expires_at <= :now LIMIT :most"
            ),
            {"now": now, "most": most},
        )
        return [row.order_number for row in rows]


# Orders, payments, movements and events are the history, and are kept for good. These are not.
_TECHNICAL = (
    "DELETE FROM inbound_events WHERE id IN (SELECT id FROM inbound_events"
    " WHERE outcome IN ('applied', 'ignored') AND processed_at < :before LIMIT :most)",
    "DELETE FROM commands WHERE (order_number, id) IN (SELECT c.order_number, c.id FROM commands c"
    " JOIN orders o ON o.number = c.order_number WHERE o.closed_at < :before AND c.at < :before"
    " LIMIT :most)",
    "DELETE FROM stock_import_rows WHERE (import_id, part, position) IN ("
    " SELECT r.import_id, r.part, r.position FROM stock_import_rows r"
    " JOIN stock_imports i ON i.id = r.import_id"
    " WHERE i.state = 'applied' AND i.finished_at < :before LIMIT :most)",
)


async def sweep_technical(tx: AsyncConnection, before: datetime, *, most: int = 10_000) -> int:
    """Forget applied webhooks, commands of closed orders, rows of applied imports: how many."""
    swept = 0
    for statement in _TECHNICAL:
        swept += (await tx.execute(text(statement), {"before": before, "most": most})).rowcount
    return swept
