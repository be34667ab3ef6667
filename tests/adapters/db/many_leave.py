"""Many orders at one place that closes, made from two real ones, and the process's own steps."""

import time
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from temporalio.testing import ActivityEnvironment
from typing_extensions import override

from activities.messages import AtReroute
from activities.reroutes import RerouteActivities
from adapters.db import reroutes
from adapters.db.reroute_book import SqlReroutes
from oms.numbers import number_from
from oms.rerouting import RerouteProgress
from tests.adapters.db.leaving import LATER, Shop

ID = "RR-1"

# Each table of an order, and what names a row of it apart; `n` is the new order's number.
_COPIED = {
    "orders": "'number', n, 'reference', n",
    "order_lines": "'order_number', n",
    "events": "'order_number', n",
    "allocations": "'order_number', n, 'id', nextval('allocations_id_seq'),"
    " 'fulfillment_order', n || substr(o.fulfillment_order, length(o.order_number) + 1)",
    "fulfillment_orders": "'order_number', n, 'id', n || substr(o.id, length(o.order_number) + 1)",
}
_COPY = """
INSERT INTO {table} SELECT (jsonb_populate_record(
  NULL::{table}, to_jsonb(o) || jsonb_build_object({named}))).*
FROM {table} o CROSS JOIN unnest(CAST(:numbers AS text[])) n WHERE o.{key} = :model
"""
_COPY_LINES = """
INSERT INTO fulfillment_lines SELECT (jsonb_populate_record(NULL::fulfillment_lines, to_jsonb(o)
  || jsonb_build_object('fulfillment_order', n || substr(o.fulfillment_order, 12)))).*
FROM fulfillment_lines o CROSS JOIN unnest(CAST(:numbers AS text[])) n
WHERE left(o.fulfillment_order, 11) = :model
"""


async def crowd(shop: Shop, orders: int) -> None:
    """So many orders for two lamps each at Lyon, half of them offered, half in their grace."""
    for place in ("lyon", "nice", "paris"):
        await shop.stockroom.counts(f"many:{place}", "LAMP", place, off_by=2 * orders)
    models = [await shop.in_grace(), await shop.offered()]
    drawn = [number_from(1_000 + n) for n in range(orders - 2)]
    async with shop.db.begin() as tx:
        for model, numbers in zip(models, (drawn[::2], drawn[1::2]), strict=True):
            names = {"model": model, "numbers": numbers}
            for table, named in _COPIED.items():
                key = "number" if table == "orders" else "order_number"
                await tx.execute(text(_COPY.format(table=table, named=named, key=key)), names)
            await tx.execute(text(_COPY_LINES), names)
        await tx.execute(
            text(
                "INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)"
                " SELECT now(), 'LAMP', 'lyon', 'allocated', 2, 'confirm', n || ':1:confirm'"
                " FROM unnest(CAST(:numbers AS text[])) n"
            ),
            {"numbers": drawn},
        )
        await tx.execute(
            text(
                "UPDATE stock_levels SET allocated = allocated + :units"
                " WHERE sku = 'LAMP' AND location = 'lyon'"
            ),
            {"units": 2 * len(drawn)},
        )
        await tx.execute(text("ANALYZE"))


class Took(NamedTuple):
    """How a reroute went: batches, and seconds for each order, in order."""

    progress: RerouteProgress
    batches: int
    seconds: list[float]


class Timed(SqlReroutes):
    """Notes how long each order took."""

    seconds: list[float]

    @override
    async def reroute_order(self, id: str, number: str, at: datetime) -> None:
        begun = time.perf_counter()
        await super().reroute_order(id, number, at)
        self.seconds.append(time.perf_counter() - begun)


async def begins(shop: Shop) -> None:
    """Lyon closes, and its reroute is written."""
    await shop.closes()
    async with shop.db.begin() as tx:
        await reroutes.begin(
            tx,
            ID,
            kind="location",
            location="lyon",
            sku=None,
            reason="water damage",
            actor="operator:ines",
            at=LATER,
        )


async def all_leave(shop: Shop) -> Took:
    """Do what the process does, until it is over."""
    book = Timed(shop.db, shop.book)
    book.seconds = []
    work = RerouteActivities(book)
    batches, last = 0, False
    while True:
        about = AtReroute(id=ID, at=LATER, last=last)
        progress = await ActivityEnvironment().run(work.reroute_orders, about)
        batches += 1
        if progress.is_over:
            return Took(progress, batches, book.seconds)
        last = not progress.left
