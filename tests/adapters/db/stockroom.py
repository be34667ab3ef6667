"""A database with articles and places in it, and the questions tests ask of its ledger."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db import master
from adapters.db.placing import record_order
from adapters.db.stock import BUCKETS, Short, StockChange, Taken, Want, apply_changes, take
from oms.placing import OrderRequest, content_hash

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


class Stockroom:
    def __init__(self, db: AsyncEngine) -> None:
        self.db = db

    async def sells(self, *skus: str) -> None:
        async with self.db.begin() as tx:
            await tx.execute(
                text(
                    "INSERT INTO products (sku, name, sellable, version)"
                    " SELECT s, s, true, 1 FROM unnest(CAST(:skus AS text[])) s"
                ),
                {"skus": list(skus)},
            )

    async def has_place(
        self,
        location: str,
        *,
        kind: str = "store",
        serves: Sequence[str] = ("home",),
        channels: Sequence[str] = ("*",),
        active: bool = True,
        at: tuple[float, float] | None = None,
    ) -> None:
        async with self.db.begin() as tx:
            await tx.execute(
                text(
                    "INSERT INTO locations (id, name, kind, address, country, time_zone,"
                    " handling_minor, active, version, created_at, serves, channels, latitude,"
                    " longitude)"
                    " SELECT i, i, :kind, '{}', 'FR', 'UTC', 0, :active, 1, :now,"
                    " CAST(:serves AS text[]), CAST(:channels AS text[]), :lat, :lon"
                    " FROM (VALUES (CAST(:id AS text))) AS v(i)"
                ),
                {
                    "id": location,
                    "kind": kind,
                    "active": active,
                    "now": NOW,
                    "serves": list(serves),
                    "channels": list(channels),
                    "lat": at and at[0],
                    "lon": at and at[1],
                },
            )

    async def has_channel(
        self,
        channel: str,
        *,
        location_kinds: Sequence[str] | None = None,
        buffers: Mapping[str, int] | None = None,
    ) -> None:
        async with self.db.begin() as tx:
            values = {"name": channel, "location_kinds": location_kinds, "buffers": buffers or {}}
            await master.put(tx, master.CHANNELS, channel, values, None)

    async def holds(self, sku: str, location: str, on_hand: int) -> None:
        await self.change(
            f"received:{sku}:{location}", StockChange(sku=sku, location=location, on_hand=on_hand)
        )

    async def counts(self, key: str, sku: str, location: str, *, off_by: int) -> None:
        await self.change(key, StockChange(sku=sku, location=location, on_hand=off_by))

    async def keeps(
        self, sku: str, location: str, *, safety_stock: int = 0, backorder_limit: int = 0
    ) -> None:
        async with self.db.begin() as tx:
            await tx.execute(
                text(
                    "INSERT INTO stock_levels (sku, location, safety_stock, backorder_limit)"
                    " VALUES (:sku, :location, :safety, :limit) ON CONFLICT (sku, location)"
                    " DO UPDATE SET safety_stock = :safety, backorder_limit = :limit"
                ),
                {
                    "sku": sku,
                    "location": location,
                    "safety": safety_stock,
                    "limit": backorder_limit,
                },
            )

    async def change(self, key: str, *changes: StockChange) -> bool:
        async with self.db.begin() as tx:
            return await apply_changes(tx, changes, cause="test", key=key, at=NOW)

    async def take(
        self, key: str, *wanted: Want, also: Iterable[StockChange] = ()
    ) -> Taken | Short:
        async with self.db.begin() as tx:
            return await take(tx, wanted, also=also, cause="test", key=key, at=NOW)

    async def level(self, sku: str, location: str) -> dict[str, int]:
        """The buckets that are not zero."""
        async with self.db.begin() as tx:
            found = await tx.execute(
                text("SELECT * FROM stock_levels WHERE sku = :sku AND location = :location"),
                {"sku": sku, "location": location},
            )
            row = found.mappings().one_or_none()
        return {bucket: row[bucket] for bucket in BUCKETS if row and row[bucket]}

    async def until_waiting(self, transactions: int) -> None:
        """Return once so many transactions wait for a lock."""
        async with asyncio.timeout(10), self.db.connect() as tx:
            statement = text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            while await tx.scalar(statement) != transactions:
                await tx.rollback()  # the view is frozen within a transaction

    async def adds_up(self) -> bool:
        """Whether the movements add up to every level, bucket by bucket."""
        columns = ", ".join(f"('{bucket}', {bucket})" for bucket in BUCKETS)
        async with self.db.begin() as tx:
            differences = await tx.scalar(
                text(
                    f"SELECT count(*) FROM (SELECT sku, location, bucket, units FROM stock_levels,"
                    f" LATERAL (VALUES {columns}) AS b(bucket, units)) l FULL JOIN ("
                    " SELECT sku, location, bucket, sum(delta) AS units FROM stock_movements"
                    " GROUP BY 1, 2, 3) m USING (sku, location, bucket)"
                    " WHERE coalesce(l.units, 0) <> coalesce(m.units, 0)"
                )
            )
        return bool(differences == 0)

    async def is_emptied(self) -> None:
        """Forget all stock, and whatever was imported."""
        async with self.db.begin() as tx:
            await tx.execute(
                text(
                    "TRUNCATE stock_levels, stock_movements, stock_imports, stock_import_parts,"
                    " stock_import_rows, stock_import_notes"
                )
            )


async def record(
    db: AsyncEngine,
    number: str,
    request: OrderRequest,
    *,
    at: datetime = NOW,
    point: tuple[float, float] = (45.7, 4.8),
) -> None:
    """Put an order into the books as a channel does, going to a point in France."""
    async with db.begin() as tx:
        stored = await record_order(
            tx, number, request, content_hash=content_hash(request), place=("FR", *point), at=at
        )
    assert stored, "the reference is taken"
