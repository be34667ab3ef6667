"""Bring a retailer's channels, places, goods and stock into the system, through its API."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

from workers.api_client import ApiClient
from workers.demo.catalogue import Catalogue, Json, StockRow

AT_ONCE = 12
"""Requests in flight; more only queue up in the API's connection pool."""

BATCHES_AT_ONCE = 3
ROWS_IN_A_BATCH = 2_000
"""Rows in one adjustment. With the longest ids they stay well below the API's 1 MiB."""

Report = Callable[[str, int, int], None]
"""Told what is being loaded, how much of it is there, and how much there will be."""


async def load(api: ApiClient, catalogue: Catalogue, *, run: str, report: Report) -> None:
    """Load everything but the orders. May be repeated: stock is counted afresh, not added.

    Raises:
        ApiRefused: the API does not like a row; what follows it was not loaded.
        ApiUnreachable
    """
    await _put(api, "channels", catalogue.channel_bodies().items(), report)
    await _put(api, "locations", catalogue.locations.items(), report)
    await _put(api, "products", catalogue.products.items(), report)
    await _count_stock(api, catalogue.stock, run, report)


async def _put(
    api: ApiClient, kind: str, bodies: Iterable[tuple[str, Json]], report: Report
) -> None:
    todo = list(bodies)
    done = 0

    async def one(id_: str, body: Json) -> None:
        nonlocal done
        async with slots:
            await api.put(f"/v1/{kind}/{quote(id_, safe='')}", body)
        done += 1
        report(kind, done, len(todo))

    slots = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for id_, body in todo:
            group.create_task(one(id_, body))


async def _count_stock(api: ApiClient, rows: Sequence[StockRow], run: str, report: Report) -> None:
    done = 0

    async def one(first: int) -> None:
        nonlocal done
        batch = rows[first : first + ROWS_IN_A_BATCH]
        async with slots:
            body = {"adjustments": [_counted(row) for row in batch]}
            await api.post("/v1/stock/adjustments", body, key=f"{run}:stock:{first}")
        done += len(batch)
        report("stock", done, len(rows))

    slots = asyncio.Semaphore(BATCHES_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for first in range(0, len(rows), ROWS_IN_A_BATCH):
            group.create_task(one(first))


def _counted(row: StockRow) -> Json:
    return {"sku": row.sku, "location": row.location, "set": row.on_hand, "reason": "count"}
