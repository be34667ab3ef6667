"""Master data: channels, articles, locations and shipping services, each with a version.

A write is one transaction: look at the version under the row's lock, then put the new content.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Table, literal_column, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.at_once import Statement
from adapters.db.stock_events import tell_rules_changed
from adapters.db.tables.master import ChannelRow, LocationRow, ProductRow, ShippingServiceRow

CHANNELS: Table = ChannelRow.__table__  # type: ignore[attr-defined] # SQLModel adds it
PRODUCTS: Table = ProductRow.__table__  # type: ignore[attr-defined] # the same
LOCATIONS: Table = LocationRow.__table__  # type: ignore[attr-defined] # the same
SHIPPING_SERVICES: Table = ShippingServiceRow.__table__  # type: ignore[attr-defined] # the same

_STOCK_RULES = {
    LOCATIONS.name: ("location", ("active", "kind", "channels", "serves")),
    CHANNELS.name: ("channel", ("location_kinds", "buffers")),
    PRODUCTS.name: ("sku", ("available_from", "low_at")),
}
"""What decides which stock counts for whom, and what is told of it when it changes."""


@dataclass(frozen=True)
class Put:
    """What a write left: the row, and whether it is new."""

    row: RowMapping
    created: bool


@dataclass(frozen=True)
class Changed:
    """Nothing was written: the version is not the one the writer knew."""


async def put(
    tx: AsyncConnection, table: Table, id: str, values: Mapping[str, Any], if_version: int | None
) -> Put | Changed:
    """Write a channel, article, location or service whole, making it where there is none."""
    (key,) = table.primary_key.columns
    kind, rules = _STOCK_RULES.get(table.name, ("", ()))
    known = (
        select(*(table.c[name] for name in ("version", *rules))).where(key == id).with_for_update()
    )
    before = (await tx.execute(known)).mappings().one_or_none()
    if if_version not in (None, before and before["version"]):
        return Changed()
    statement = insert(table).values({key.name: id, "version": 1, **values})
    row = (
        (
            await tx.execute(
                statement.on_conflict_do_update(
                    index_elements=[key],
                    set_={**values, "version": table.c.version + 1},
                ).returning(*table.c, literal_column("(xmax = 0)").label("created"))
            )
        )
        .mappings()
        .one()
    )
    if before is not None and any(before[rule] != row[rule] for rule in rules):
        await tell_rules_changed(tx, **{kind: id})
    return Put(row, row["created"])


async def get(tx: AsyncConnection, table: Table, id: str) -> RowMapping | None:
    """Read a channel, article, location or service."""
    (key,) = table.primary_key.columns
    return (await tx.execute(select(table).where(key == id))).mappings().one_or_none()


async def list_newest(
    tx: AsyncConnection, table: Table, *, after: tuple[datetime, str] | None, limit: int
) -> list[RowMapping]:
    """Locations or services, newest first, from the one after `after` (its making and id)."""
    order = (table.c.created_at.desc(), table.c.id.desc())
    query = select(table).order_by(*order).limit(limit)
    if after is not None:
        query = query.where(text("(created_at, id) < (:made, :id)")).params(
            made=after[0], id=after[1]
        )
    return list((await tx.execute(query)).mappings())


# --- closed and opened ----------------------------------------------------------------------


async def close_location(
    tx: AsyncConnection, id: str, *, clear: bool, at: datetime
) -> RowMapping | None:
    """Let no new plan use a place. None where there is none; closed already, it stays so.

    `clear`: what it was to serve goes elsewhere; otherwise it ends what it has.
    """
    await tx.execute(
        text(
            "UPDATE locations SET active = false, version = version + 1,"
            " cleared_at = CASE WHEN :clear THEN coalesce(cleared_at, CAST(:at AS timestamptz))"
            "  ELSE cleared_at END"
            " WHERE id = :id AND (active OR (:clear AND cleared_at IS NULL))"
        ),
        {"id": id, "clear": clear, "at": at},
    )
    await tell_rules_changed(tx, location=id)
    return await get(tx, LOCATIONS, id)


async def open_location(tx: AsyncConnection, id: str) -> RowMapping | None:
    """Let plans use a place again. None where there is none."""
    await tx.execute(
        text(
            "UPDATE locations SET active = true, cleared_at = NULL, version = version + 1"
            " WHERE id = :id AND NOT active"
        ),
        {"id": id},
    )
    await tell_rules_changed(tx, location=id)
    return await get(tx, LOCATIONS, id)


# --- what orders ask ------------------------------------------------------------------------


async def unknown_skus(tx: AsyncConnection, skus: set[str]) -> set[str]:
    """Which of these are no articles that may be sold."""
    found = await tx.scalars(
        text("SELECT sku FROM products WHERE sellable AND sku = ANY(CAST(:skus AS text[]))"),
        {"skus": sorted(skus)},
    )
    return skus - set(found)


def ask_for_unknown(channel: str, skus: Sequence[str]) -> Statement:
    """Ask whether the channel `is_open`, and which are `unknown`: no articles that may be sold."""
    return Statement(
        "SELECT EXISTS (SELECT FROM channels WHERE id = :channel AND active) AS is_open,"
        " ARRAY(SELECT k.sku FROM (SELECT * FROM"
        "  jsonb_array_elements_text(CAST(:skus AS jsonb)) LIMIT (SELECT 10000)) k(sku)"
        "  WHERE NOT EXISTS (SELECT FROM products p WHERE p.sku = k.sku AND p.sellable)"
        " ) AS unknown",
        {"channel": channel, "skus": json.dumps(sorted(set(skus)))},
    )


async def channel_ids(tx: AsyncConnection) -> list[str]:
    """All channels there are."""
    return list(await tx.scalars(text("SELECT id FROM channels ORDER BY id")))


async def channel_is_open(tx: AsyncConnection, id: str) -> bool:
    """Say whether the channel exists and takes orders."""
    found = await tx.scalar(text("SELECT active FROM channels WHERE id = :id"), {"id": id})
    return bool(found)
