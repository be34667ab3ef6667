"""Our books as the audit reads them: all in one snapshot, one statement for each thing to check.

Every statement looks at the whole database and gives a row for what is wrong, so that a clean
audit moves next to nothing over the wire.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.exchange_audit import CHECKS_OF_EXCHANGES
from adapters.db.order_audit import CHECKS_OF_ORDERS
from adapters.db.return_audit import CHECKS_OF_RETURNS
from adapters.db.stock_audit import CHECKS_OF_STOCK
from adapters.db.unit import load_orders
from oms.audit import Finding, OurEntry, OurOffer, OurParcel
from oms.orders import Order

_T = TypeVar("_T", OurEntry, OurParcel, OurOffer)

RECENT = timedelta(days=1)
"""How long after its end an order's run is still looked for."""

_AT_ONCE = 500

CHECKS = (*CHECKS_OF_STOCK, *CHECKS_OF_ORDERS, *CHECKS_OF_RETURNS, *CHECKS_OF_EXCHANGES)
"""Invariant and statement; each row is (about, detail) of a violation."""

_ON_THEIR_WAY = """
SELECT workflow_id, 'is owed a signal: ' || max(reason) FROM nudges GROUP BY 1
UNION ALL
SELECT party || ' ' || event_id, coalesce(outcome || ': ' || detail, 'a webhook to apply')
FROM inbound_events WHERE outcome IS NULL OR outcome = 'dead'
"""

_ENTRIES = """
SELECT e.key, e.order_number, e.kind, e.amount_minor, e.currency, e.status, e.settled_by, t.provider
FROM payment_entries e JOIN tenders t ON t.order_number = e.order_number AND t.tender = e.tender
ORDER BY e.at, e.key
"""
_PARCELS = """
SELECT id, order_number, carrier, label_attempt FROM shipments
UNION ALL
SELECT p.id, r.order_number, p.carrier, p.label_attempt
FROM return_parcels p JOIN returns r ON r.id = p.return_id
ORDER BY id
"""
# An offer that a person made by hand is not in the location's own books.
_OFFERS = """
SELECT f.id, f.order_number, f.cancellation_seq,
    f.request = 'accepted' AND f.offered_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM events e WHERE e.order_number = f.order_number
            AND e.kind = 'attention.resolved' AND e.data->>'action' = 'done_manually'
            AND e.data->>'step' = 'offer:F' || f.seq) AS must_be_known
FROM fulfillment_orders f ORDER BY f.id
"""
_OPEN = "SELECT number FROM orders WHERE closed_at IS NULL"
_OPEN_ORDERS = f"{_OPEN} ORDER BY placed_at, number"
_WITH_OPEN_RETURNS = "SELECT DISTINCT order_number FROM returns WHERE closed_at IS NULL"
_CLOSED = "SELECT number FROM orders WHERE closed_at >= :since ORDER BY closed_at"
_CLOSED_RETURNS = "SELECT id FROM returns WHERE closed_at >= :since ORDER BY closed_at"
_COUNTED = (
    "stock_levels",
    "stock_movements",
    "stock_imports",
    "incoming",
    "transfers",
    "orders",
    "order_lines",
    "fulfillment_orders",
    "shipments",
    "return_parcels",
    "payment_entries",
    "returns",
    "return_lots",
    "events",
    "idempotency_keys",
)


@dataclass(frozen=True)
class Snapshot:
    """Our books at one moment.

    `returning`: orders with open returns. `closed`, `closed_returns`: ids of what was closed
    lately. `quiet_since`: when the last event was of each order that is open or has open returns.
    """

    findings: tuple[Finding, ...]
    entries: tuple[OurEntry, ...]
    parcels: tuple[OurParcel, ...]
    offers: tuple[OurOffer, ...]
    open_orders: tuple[Order, ...]
    returning: tuple[Order, ...]
    quiet_since: dict[str, datetime]
    closed: tuple[str, ...]
    closed_returns: tuple[str, ...]
    checked: dict[str, int]


async def read_snapshot(tx: AsyncConnection, now: datetime) -> Snapshot:
    """Read and check our books. `tx` should be REPEATABLE READ, so that all is of one moment."""
    return Snapshot(
        findings=tuple(await _findings(tx)),
        entries=await _all(tx, OurEntry, _ENTRIES),
        parcels=await _all(tx, OurParcel, _PARCELS),
        offers=await _all(tx, OurOffer, _OFFERS),
        open_orders=await _orders(tx, _OPEN_ORDERS),
        returning=await _orders(tx, _WITH_OPEN_RETURNS),
        quiet_since=await _last_events(tx),
        closed=await _since(tx, _CLOSED, now - RECENT),
        closed_returns=await _since(tx, _CLOSED_RETURNS, now - RECENT),
        checked=await _count(tx),
    )


async def _findings(tx: AsyncConnection) -> list[Finding]:
    found = [
        Finding(invariant=invariant, about=about, detail=detail)
        for invariant, statement in CHECKS
        for about, detail in await tx.execute(text(statement))
    ]
    return found + [
        Finding(invariant=8, about=about, detail=detail, pending=True)
        for about, detail in await tx.execute(text(_ON_THEIR_WAY))
    ]


async def _all(tx: AsyncConnection, kind: type[_T], statement: str) -> tuple[_T, ...]:
    return tuple(kind(**row._mapping) for row in await tx.execute(text(statement)))


async def _orders(tx: AsyncConnection, statement: str) -> tuple[Order, ...]:
    numbers = list(await tx.scalars(text(statement)))
    orders: list[Order] = []
    for start in range(0, len(numbers), _AT_ONCE):
        orders += await load_orders(tx, numbers[start : start + _AT_ONCE])
    return tuple(orders)


async def _last_events(tx: AsyncConnection) -> dict[str, datetime]:
    rows = await tx.execute(
        text(
            f"SELECT order_number, max(at) FROM events WHERE order_number IN ({_OPEN})"
            f" OR order_number IN ({_WITH_OPEN_RETURNS}) GROUP BY 1"
        )
    )
    return {number: at for number, at in rows}


async def _since(tx: AsyncConnection, statement: str, since: datetime) -> tuple[str, ...]:
    return tuple(await tx.scalars(text(statement), {"since": since}))


async def _count(tx: AsyncConnection) -> dict[str, int]:
    counts = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in _COUNTED)
    return dict((await tx.execute(text(f"SELECT {counts}"))).one()._mapping)
