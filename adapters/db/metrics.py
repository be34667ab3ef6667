"""What the books say at this moment, for Prometheus: how much waits, and for how long.

Facts, not counts: every process that asks tells the same. Each statement reads an index of what is
open, never all orders, so that a scrape costs milliseconds however many orders there have been.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_LONGEST = "5s"
"""A statement that takes longer is given up: watching must not be what brings the books down."""


class Look(NamedTuple):
    """One statement and what its rows are.

    Its columns are the labels, then a value for each gauge. `always`: labels that are told as 0
    when no row has them.
    """

    sql: str
    gauges: Sequence[tuple[str, str]]
    labels: Sequence[str] = ()
    always: Sequence[tuple[str, ...]] = ()


def _age(column: str) -> str:
    return f"coalesce(greatest(extract(epoch FROM :now - min({column})), 0), 0)::float"


LOOKS = (
    Look(
        """
        SELECT CASE WHEN confirmed_at IS NULL THEN 'placing' WHEN grace_until > :now THEN 'grace'
            ELSE 'confirmed' END, count(*)
        FROM orders WHERE closed_at IS NULL GROUP BY 1
        """,
        [("oms_orders_open", "Orders that are not closed, by how far they are.")],
        ["stage"],
        [("placing",), ("grace",), ("confirmed",)],
    ),
    Look(
        f"SELECT count(*), {_age('promise_by')} FROM orders o"
        # What lies ready in the store in time is promised no sooner; the customer takes their time.
        " WHERE closed_at IS NULL AND promise_by < :now AND NOT (method = 'store_pickup' AND"
        " (SELECT coalesce(bool_and(f.ready_at <= o.promise_by), false) FROM fulfillment_orders f"
        "  WHERE f.order_number = o.number AND f.status <> 'cancelled') IS TRUE)",
        [
            ("oms_promises_overdue", "Open orders whose promised time is over."),
            ("oms_promises_overdue_seconds", "How long the oldest of them is overdue."),
        ],
    ),
    Look(
        "SELECT count(*) FROM orders WHERE closed_at IS NULL AND promise_status = 'at_risk'",
        [("oms_promises_at_risk", "Open orders that will be late, as things are now.")],
    ),
    Look(
        f"SELECT count(*), {_age('placed_at')} FROM orders WHERE started_at IS NULL",
        [
            ("oms_orders_unstarted", "Stored orders that no run was started for."),
            ("oms_orders_unstarted_seconds", "How long the oldest of them waits."),
        ],
    ),
    Look(
        "SELECT split_part(step, ':', 1), error_code, count(*), "
        f"{_age('since')} FROM parked_steps GROUP BY 1, 2",
        [
            ("oms_parked_steps", "Steps that wait for a person or for the other side."),
            ("oms_parked_steps_seconds", "How long the oldest of them waits."),
        ],
        ["step", "code"],
    ),
    Look(
        f"SELECT kind, status, count(*), {_age('at')} FROM payment_entries"
        " WHERE status IN ('requested', 'unknown') GROUP BY 1, 2",
        [
            ("oms_payments_open", "Movements of money without a known outcome."),
            ("oms_payments_open_seconds", "How long the oldest of them is without one."),
        ],
        ["kind", "status"],
        [("capture", "unknown"), ("authorization", "unknown")],
    ),
    Look(
        f"SELECT count(*), {_age('expires_at')} FROM reservations"
        " WHERE state = 'open' AND expires_at <= :now",
        [
            ("oms_reservations_expired", "Reservations held beyond their time."),
            ("oms_reservations_expired_seconds", "How long the oldest of them is beyond it."),
        ],
    ),
    Look(
        f"SELECT count(*), {_age('at')} FROM nudges",
        [
            ("oms_nudges_owed", "Signals that are owed to runs."),
            ("oms_nudges_owed_seconds", "How long the oldest of them is owed."),
        ],
    ),
    Look(
        f"SELECT party, count(*), {_age('not_before')} FROM inbound_events"
        " WHERE outcome IS NULL GROUP BY 1",
        [
            ("oms_inbound_waiting", "Webhooks that were stored and are not applied."),
            ("oms_inbound_waiting_seconds", "How long the oldest of them is due."),
        ],
        ["party"],
        [("payments",), ("carriers",), ("nodes",)],
    ),
    Look(
        f"SELECT count(*), {_age('coalesce(touched_at, at)')} FROM reroutes"
        " WHERE status = 'running'",
        [
            ("oms_reroutes_running", "Reroutes under way, less those that are paused."),
            ("oms_reroutes_silent_seconds", "How long ago the process of one of them last looked."),
        ],
    ),
    Look(
        """
        SELECT CASE WHEN coalesce(declined_at, cancelled_at, expired_at) IS NOT NULL THEN 'ending'
            WHEN approved_at IS NULL THEN 'requested'
            WHEN l.expected = 0 AND lots.to_inspect THEN 'received'
            WHEN l.expected = 0 AND l.arrived > 0 THEN 'inspected'
            WHEN l.arrived > 0 THEN 'partially_received'
            WHEN scanned_at IS NOT NULL THEN 'in_transit' ELSE 'approved' END, count(*)
        FROM returns r
        CROSS JOIN LATERAL (SELECT sum(received + missing) AS arrived,
            sum(greatest(0, quantity - received - missing)) AS expected
            FROM return_lines WHERE return_id = r.id) l
        CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM return_lots
            WHERE return_id = r.id AND state = 'received') AS to_inspect) lots
        WHERE closed_at IS NULL GROUP BY 1
        """,
        [("oms_returns_open", "Returns that are not closed, by how far they are.")],
        ["status"],
        [("requested",), ("approved",), ("in_transit",), ("received",), ("inspected",)],
    ),
    Look(
        f"SELECT count(*), {_age('requested_at')} FROM returns WHERE started_at IS NULL",
        [
            ("oms_returns_unstarted", "Returns that no run was started for."),
            ("oms_returns_unstarted_seconds", "How long ago the oldest of them was asked for."),
        ],
    ),
    Look(
        f"SELECT count(*), {_age('at')} FROM return_lots WHERE state = 'received'",
        [
            ("oms_returns_uninspected", "Lots that arrived and that nobody has inspected."),
            ("oms_returns_uninspected_seconds", "How long ago the oldest of them arrived."),
        ],
    ),
    Look(
        f"SELECT split_part(step, ':', 1), count(*), {_age('since')} FROM parked_steps"
        " WHERE workflow_id LIKE 'return/%' GROUP BY 1",
        [
            ("oms_returns_parked", "Steps of returns that wait for a person or the other side."),
            ("oms_returns_parked_seconds", "How long the oldest of them waits."),
        ],
        ["step"],
        [("label",), ("refund",)],
    ),
    Look(
        f"SELECT count(*), {_age('at')} FROM found_goods WHERE resolved_at IS NULL",
        [
            ("oms_found_goods_open", "Goods of nothing we know that nobody has decided about."),
            ("oms_found_goods_open_seconds", "How long ago the oldest of them were found."),
        ],
    ),
    Look(
        f"SELECT count(*), {_age('since')} FROM return_alerts",
        [
            ("oms_returns_high", "Articles that come back more often than the policy allows."),
            ("oms_returns_high_seconds", "How long the first of them has."),
        ],
    ),
    Look(
        "SELECT coalesce(state, 'other'), count(*), "
        f"{_age('xact_start')} FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1",
        [
            ("oms_database_connections", "Connections to the database, by what they do."),
            ("oms_database_transaction_seconds", "How long the oldest transaction is open."),
        ],
        ["state"],
        [("active",), ("idle",), ("idle in transaction",)],
    ),
    Look(
        "SELECT pg_database_size(current_database())::float",
        [("oms_database_bytes", "The size of the database on disk.")],
    ),
)


async def read_facts(engine: AsyncEngine, now: datetime) -> list[Metric]:
    """Read every gauge from the books.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is away, or too slow to be watched.
    """
    families: list[Metric] = []
    async with engine.begin() as tx:
        await tx.execute(text(f"SET LOCAL statement_timeout = '{_LONGEST}'"))
        for look in LOOKS:
            values = {"now": now} if ":now" in look.sql else {}
            rows = await tx.execute(text(look.sql), values)
            families += _families(look, [tuple(row) for row in rows])
    return families


def _families(look: Look, rows: Iterable[tuple[object, ...]]) -> Iterator[Metric]:
    width = len(look.labels)
    found = {tuple(map(str, row[:width])): row[width:] for row in rows}
    nothing = (0,) * len(look.gauges)
    told = {labels: nothing for labels in look.always} | found
    for index, (name, help_text) in enumerate(look.gauges):
        family = GaugeMetricFamily(name, help_text, labels=look.labels)
        for labels, values in sorted(told.items()):
            family.add_metric(labels, float(str(values[index])))
        yield family
