"""Articles that must not be sold: blocked at a place, or recalled everywhere.

Units stay where they lie; nothing of them is available, to nobody, until the recall ends.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.stock_events import tell_rules_changed
from adapters.db.stock_records import Unknown, unknown_place


@dataclass(frozen=True, slots=True)
class Recalled:
    """How an article stands: `everywhere`, or only at the places that are `blocked`."""

    sku: str
    everywhere: bool
    blocked: tuple[str, ...]


async def recall(tx: AsyncConnection, sku: str, location: str | None) -> Recalled | Unknown:
    """Block an article at a place, or everywhere: then also where it is not kept yet.

    Once this has committed no new plan takes any of it: the ledger looks under its locks.
    """
    if unknown := await _unknown(tx, sku, location):
        return unknown
    # Waits for levels that are being made, and they for this: see the trigger on `stock_levels`.
    await tx.execute(text("SELECT FROM products WHERE sku = :sku FOR UPDATE"), {"sku": sku})
    if location is None:
        await _set_recalled(tx, sku, recalled=True)
    else:
        await tx.execute(
            text(
                "INSERT INTO stock_levels (sku, location, blocked) VALUES (:sku, :location, true)"
                " ON CONFLICT (sku, location) DO NOTHING"
            ),
            {"sku": sku, "location": location},
        )
    await _set_blocked(tx, sku, location, blocked=True)
    await tell_rules_changed(tx, sku=sku, location=location)
    return await how_it_stands(tx, sku)


async def end_recall(tx: AsyncConnection, sku: str, location: str | None) -> Recalled | Unknown:
    """Lift a recall: at one place, or everywhere, whatever was blocked there by whom."""
    if unknown := await _unknown(tx, sku, location):
        return unknown
    await tx.execute(text("SELECT FROM products WHERE sku = :sku FOR UPDATE"), {"sku": sku})
    if location is None:
        await _set_recalled(tx, sku, recalled=False)
    await _set_blocked(tx, sku, location, blocked=False)
    await tell_rules_changed(tx, sku=sku, location=location)
    await tx.execute(text("SELECT pg_notify('oms_backorders', '')"))
    return await how_it_stands(tx, sku)


async def how_it_stands(tx: AsyncConnection, sku: str) -> Recalled:
    """Read where an article is blocked."""
    found = await tx.execute(
        text(
            "SELECT p.recalled, ARRAY(SELECT s.location FROM stock_levels s"
            "  WHERE s.sku = p.sku AND s.blocked ORDER BY s.location) AS blocked"
            " FROM products p WHERE p.sku = :sku"
        ),
        {"sku": sku},
    )
    row = found.one()
    return Recalled(sku, row.recalled, tuple(row.blocked))


async def _unknown(tx: AsyncConnection, sku: str, location: str | None) -> Unknown | None:
    unknown = await unknown_place(tx, sku, location or "")
    return None if unknown == Unknown("location") and location is None else unknown


async def _set_recalled(tx: AsyncConnection, sku: str, *, recalled: bool) -> None:
    await tx.execute(
        text("UPDATE products SET recalled = :recalled WHERE sku = :sku"),
        {"sku": sku, "recalled": recalled},
    )


async def _set_blocked(
    tx: AsyncConnection, sku: str, location: str | None, *, blocked: bool
) -> None:
    """Lock the levels in the ledger's order first."""
    await tx.execute(
        text(
            "WITH level AS (SELECT sku, location FROM stock_levels WHERE sku = :sku"
            "  AND (CAST(:location AS text) IS NULL OR location = :location)"
            "  AND blocked <> :blocked ORDER BY sku, location FOR NO KEY UPDATE)"
            " UPDATE stock_levels s SET blocked = :blocked FROM level l"
            " WHERE s.sku = l.sku AND s.location = l.location"
        ),
        {"sku": sku, "location": location, "blocked": blocked},
    )
