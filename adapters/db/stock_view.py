"""One stock, as it is read: levels everywhere, what is coming, and what of it counts for a channel.

What counts is decided by `PLACES` and `AVAILABLE` of `adapters.db.availability`, as for what is
sold; here it is only explained.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.availability import AVAILABLE, AVAILABLE_HERE, COMING, METHODS, ON_SALE, PLACES
from adapters.db.stock import BUCKETS


class ForChannel(NamedTuple):
    """What a level gives a channel. `why_not`: why it gives nothing, in codes."""

    available: int
    buffer: int
    why_not: tuple[str, ...]


class Level(NamedTuple):
    """The buckets of one place; `available` is what could be taken there now."""

    sku: str
    location: str
    on_hand: int
    reserved: int
    allocated: int
    safety_stock: int
    incoming: int
    in_transit: int
    requested: int
    coming_back: int
    damaged: int
    backordered: int
    available: int
    for_channel: ForChannel | None = None
    blocked: bool = False


class Coming(NamedTuple):
    """Units that are still to come, and by what; without a time where nobody knows it."""

    location: str
    quantity: int
    expected_at: datetime | None
    source: str
    id: str
    reference: str | None
    overdue: bool


_REASONS = {
    "article_not_sellable": "NOT a.sellable",
    "blocked": "s.blocked",
    "article_not_on_sale_yet": f"NOT ({ON_SALE})",
    "channel_closed": "NOT c.active",
    "location_inactive": "NOT p.active",
    "serves_no_method": "NOT p.serves && CAST(:methods AS text[])",
    "serves_other_channels": "NOT p.channels && ARRAY['*', CAST(:channel AS text)]",
    "kind_does_not_count": "NOT p.kind = ANY(c.location_kinds)",
}
"""Why a level gives a channel nothing, whatever lies there."""
_WHY_NOT = ", ".join(f"CASE WHEN {reason} THEN '{code}' END" for code, reason in _REASONS.items())

_COUNTED = ", ".join(f"s.{bucket}" for bucket in (*BUCKETS, "safety_stock", "blocked"))
_LEVELS = f"""
SELECT s.sku, s.location, {_COUNTED}, {AVAILABLE_HERE} AS available,
  CASE WHEN l.id IS NULL THEN 0 ELSE {AVAILABLE} END AS for_channel,
  coalesce(CAST(c.buffers ->> p.kind AS bigint), 0) AS buffer,
  array_remove(ARRAY[{_WHY_NOT}], NULL) AS why_not
FROM stock_levels s JOIN locations p ON p.id = s.location JOIN products a ON a.sku = s.sku
  LEFT JOIN channels c ON c.id = CAST(:channel AS text)
  LEFT JOIN {PLACES}
"""
_WHERE = {
    "sku": "s.sku = :sku",
    "location": "s.location = :location",
    "reach": "s.location = ANY(CAST(:reach AS text[]))",
}

_COMING = text(
    f"""
SELECT location, quantity, expected_at, source, id, reference,
  coalesce(expected_at < :now, false) AS overdue
FROM {COMING} i WHERE i.sku = :sku ORDER BY expected_at, location, id
"""
)


async def levels(
    tx: AsyncConnection,
    *,
    sku: str | None = None,
    location: str | None = None,
    channel: str | None = None,
    reach: Sequence[str] | None = None,
    after: tuple[str, str] | None = None,
    limit: int | None = None,
) -> list[Level]:
    """Levels by SKU and location, from the one after `after`. `reach`: only these places.

    `channel`: with what each gives to it.
    """
    asked = {"sku": sku, "location": location, "reach": reach and list(reach)}
    values: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    conditions = [_WHERE[name] for name in values]
    if after is not None:
        conditions.append("(s.sku, s.location) > (:after_sku, :after_location)")
        values |= {"after_sku": after[0], "after_location": after[1]}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"{_LEVELS} {where} ORDER BY s.sku, s.location LIMIT :limit"
    values |= {"channel": channel, "methods": list(METHODS), "only": None, "limit": limit}
    rows = await tx.execute(text(statement), values)
    return [_level(row, channel) for row in rows.mappings()]


def _level(row: RowMapping, channel: str | None) -> Level:
    counted = {name: row[name] for name in Level._fields if name != "for_channel"}
    return Level(**counted, for_channel=None if channel is None else _for_channel(row))


def _for_channel(row: RowMapping) -> ForChannel:
    why_not = tuple(row["why_not"])
    if why_not:
        return ForChannel(0, row["buffer"], why_not)
    return ForChannel(
        row["for_channel"], row["buffer"], () if row["for_channel"] else ("nothing_left",)
    )


async def coming(tx: AsyncConnection, sku: str, *, now: datetime) -> list[Coming]:
    """What is still to come of an article, the soonest first, what has no time last."""
    rows = await tx.execute(_COMING, {"sku": sku, "now": now})
    return [Coming(*row) for row in rows]
