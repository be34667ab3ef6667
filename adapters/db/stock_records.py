"""Stock as the API shows it: movements to read, rules to set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.adjustments import Movement
from adapters.db.stock_events import tell_rules_changed


class Policy(NamedTuple):
    """What of a place's stock is kept back, what promised beyond it, and what it costs there."""

    sku: str
    location: str
    safety_stock: int
    backorder_limit: int
    backorder_from_incoming: bool
    low_at: int | None
    unit_cost_minor: int | None
    cost_currency: str | None
    version: int
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such product or location."""

    what: Literal["sku", "location"]


@dataclass(frozen=True, slots=True)
class VersionConflict:
    """Somebody changed it since; `version` is what it is now."""

    version: int


async def movements_of(
    tx: AsyncConnection, sku: str, *, before: int | None = None, limit: int = 25
) -> list[tuple[int, Movement]]:
    """The newest movements of a SKU first, each with its id; `before` is the last id seen."""
    found = await tx.execute(
        text(
            "SELECT id, at, sku, location, bucket, delta, cause, key FROM stock_movements"
            " WHERE sku = :sku AND (CAST(:before AS bigint) IS NULL OR id < :before)"
            " ORDER BY id DESC LIMIT :limit"
        ),
        {"sku": sku, "before": before, "limit": limit},
    )
    return [(row.id, Movement(*row[1:])) for row in found]


async def set_policy(
    tx: AsyncConnection,
    *,
    sku: str,
    location: str,
    safety_stock: int,
    backorder_limit: int,
    backorder_from_incoming: bool = False,
    low_at: int | None = None,
    unit_cost_minor: int | None = None,
    cost_currency: str | None = None,
    blocked: bool | None = None,
    if_version: int | None = None,
) -> Policy | Unknown | VersionConflict:
    """Set a place's rules for a SKU. The policy's version is 1 when it is new.

    A limit below what is backordered already takes nothing back; it only lets no more through.
    `blocked`: none of it may be sold from there; None leaves that as it is.
    """
    unknown = await unknown_place(tx, sku, location)
    if unknown:
        return unknown
    found = await tx.execute(
        text(
            "INSERT INTO stock_levels AS s"
            " (sku, location, safety_stock, backorder_limit, backorder_from_incoming,"
            "  low_at, unit_cost_minor, cost_currency, policy_version, blocked)"
            " SELECT :sku, :location, :safety_stock, :backorder_limit, :from_incoming, :low_at,"
            "  :unit_cost, :cost_currency, 1, coalesce(CAST(:blocked AS boolean), false)"
            " WHERE CAST(:version AS int) IS NULL OR EXISTS ("
            "  SELECT FROM stock_levels WHERE sku = :sku AND location = :location)"
            " ON CONFLICT (sku, location) DO UPDATE SET safety_stock = excluded.safety_stock,"
            " backorder_limit = excluded.backorder_limit,"
            " backorder_from_incoming = excluded.backorder_from_incoming,"
            " low_at = excluded.low_at, unit_cost_minor = excluded.unit_cost_minor,"
            " cost_currency = excluded.cost_currency,"
            " blocked = coalesce(CAST(:blocked AS boolean), s.blocked),"
            " policy_version = s.policy_version + 1"
            " WHERE CAST(:version AS int) IS NULL OR s.policy_version = :version"
            " RETURNING sku, location, safety_stock, backorder_limit, backorder_from_incoming,"
            "  low_at, unit_cost_minor, cost_currency, policy_version, blocked"
        ),
        {
            "sku": sku,
            "location": location,
            "safety_stock": safety_stock,
            "backorder_limit": backorder_limit,
            "from_incoming": backorder_from_incoming,
            "low_at": low_at,
            "unit_cost": unit_cost_minor,
            "cost_currency": cost_currency,
            "blocked": blocked,
            "version": if_version,
        },
    )
    row = found.one_or_none()
    if row is None:
        return VersionConflict(await _policy_version(tx, sku, location))
    await tell_rules_changed(tx, sku=sku, location=location)
    return Policy(*row)


async def _policy_version(tx: AsyncConnection, sku: str, location: str) -> int:
    version = await tx.scalar(
        text("SELECT policy_version FROM stock_levels WHERE sku = :sku AND location = :location"),
        {"sku": sku, "location": location},
    )
    return version or 0


async def unknown_place(tx: AsyncConnection, sku: str, location: str) -> Unknown | None:
    """What of the two does not exist."""
    checks: Sequence[tuple[Literal["sku", "location"], str, Any]] = (
        ("sku", "SELECT EXISTS (SELECT FROM products WHERE sku = :it)", sku),
        ("location", "SELECT EXISTS (SELECT FROM locations WHERE id = :it)", location),
    )
    for what, statement, it in checks:
        if not await tx.scalar(text(statement), {"it": it}):
            return Unknown(what)
    return None
