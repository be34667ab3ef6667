"""What a reconciliation reads of our books: what is open outside, and orders others named."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from oms.audit import OurEntry
from oms.ports import Offer, OfferLine
from oms.recovery import KnownOrder


class OpenPayment(NamedTuple):
    """A payment without an outcome, and the provider to ask."""

    key: str
    provider: str
    amount_minor: int


class OpenParcel(NamedTuple):
    """A parcel under way, out or back, and the carrier to ask."""

    id: str
    carrier: str
    tracking_number: str
    of_return: bool


async def open_payments(tx: AsyncConnection) -> list[OpenPayment]:
    """Payments whose outcome is to come, also those that were never asked for by these books."""
    rows = await tx.execute(
        text(
            "SELECT e.key, t.provider, e.amount_minor FROM payment_entries e JOIN tenders t"
            " ON t.order_number = e.order_number AND t.tender = e.tender"
            " WHERE e.status IN ('requested', 'unknown') AND t.provider IS NOT NULL ORDER BY e.key"
        )
    )
    return [OpenPayment(*row) for row in rows]


async def open_parcels(tx: AsyncConnection) -> list[OpenParcel]:
    """Parcels that have a label and are not at their end."""
    rows = await tx.execute(
        text(
            "SELECT id, carrier, tracking_number, false AS of_return FROM shipments"
            " WHERE tracking_number IS NOT NULL AND delivered_at IS NULL AND written_off_at IS NULL"
            " UNION ALL SELECT p.id, p.carrier, p.tracking_number, true FROM return_parcels p"
            " JOIN returns r ON r.id = p.return_id WHERE p.tracking_number IS NOT NULL"
            " AND p.status <> 'delivered' AND r.closed_at IS NULL ORDER BY id"
        )
    )
    return [OpenParcel(*row) for row in rows]


async def offers_under_way(tx: AsyncConnection) -> list[Offer]:
    """Work that locations have heard of and not finished, as it was offered."""
    rows = await tx.execute(
        text(
            """
            SELECT f.id, f.order_number, f.location, f.method, l.line, l.sku, l.asked
            FROM fulfillment_orders f JOIN fulfillment_lines l ON l.fulfillment_order = f.id
            WHERE f.status IN ('open', 'on_hold', 'in_progress') AND f.offered_at IS NOT NULL
                AND l.asked > 0
            ORDER BY f.id, l.line
            """
        )
    )
    offers: dict[str, Any] = {}
    for row in rows:
        offer = offers.setdefault(
            row.id,
            {
                "fulfillment_order": row.id,
                "reference": row.order_number,
                "location": row.location,
                "method": "store_pickup" if row.method == "store_pickup" else "home",
                "lines": (),
            },
        )
        offer["lines"] += (OfferLine(line=row.line, sku=row.sku, quantity=row.asked),)
    return [Offer(**offer) for offer in offers.values()]


async def known_orders(tx: AsyncConnection, numbers: Iterable[str]) -> dict[str, KnownOrder]:
    """What our books have of these orders. Those that are missing are not in them."""
    asked = {"numbers": sorted(set(numbers))}
    found: dict[str, dict[str, Any]] = {
        row.number: {"number": row.number, "closed": row.closed, "parts": {}, "labels": {}}
        for row in await tx.execute(
            text(
                "SELECT number, closed_at IS NOT NULL AS closed FROM orders"
                " WHERE number = ANY(:numbers)"
            ),
            asked,
        )
    }
    live: dict[str, list[str]] = defaultdict(list)
    for row in await tx.execute(
        text(
            "SELECT order_number, id, cancellation_seq,"
            " status IN ('open', 'on_hold', 'in_progress') AS live"
            " FROM fulfillment_orders WHERE order_number = ANY(:numbers) ORDER BY id"
        ),
        asked,
    ):
        found[row.order_number]["parts"][row.id] = row.cancellation_seq
        if row.live:
            live[row.order_number].append(row.id)
    for row in await tx.execute(
        text(
            "SELECT order_number, id, label_attempt FROM shipments"
            " WHERE order_number = ANY(:numbers)"
            " UNION ALL SELECT r.order_number, p.id, p.label_attempt FROM return_parcels p"
            " JOIN returns r ON r.id = p.return_id WHERE r.order_number = ANY(:numbers)"
        ),
        asked,
    ):
        found[row.order_number]["labels"][row.id] = row.label_attempt
    entries: dict[str, list[OurEntry]] = defaultdict(list)
    for row in await tx.execute(text(_ENTRIES), asked):
        entries[row.order_number].append(OurEntry(**row._mapping))
    return {
        number: KnownOrder(**order, entries=tuple(entries[number]), live_parts=tuple(live[number]))
        for number, order in found.items()
    }


_ENTRIES = """
SELECT e.key, e.order_number, e.kind, e.amount_minor, e.currency, e.status, e.settled_by, t.provider
FROM payment_entries e JOIN tenders t ON t.order_number = e.order_number AND t.tender = e.tender
WHERE e.order_number = ANY(:numbers) ORDER BY e.key
"""


async def unknown_of(tx: AsyncConnection, numbers: Iterable[str]) -> list[str]:
    """Which of these numbers name no order of ours."""
    rows = await tx.execute(
        text(
            "SELECT n FROM unnest(CAST(:numbers AS text[])) n"
            " WHERE NOT EXISTS (SELECT FROM orders WHERE number = n) ORDER BY n"
        ),
        {"numbers": sorted(set(numbers))},
    )
    return [row.n for row in rows]
