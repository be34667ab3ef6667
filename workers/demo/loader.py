"""Bring a retailer's channels, places, goods and stock into the system, through its API."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

from workers.api_client import ApiClient
from workers.demo.catalogue import Catalogue, Json, StockRow
from workers.stock_import import import_stock

AT_ONCE = 12
"""Requests in flight; more only queue up in the API's connection pool."""

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
    def sent(what: str, done: int, total: int) -> None:
        if what == "sent":
            report("stock", done, total)

    if rows:
        header = {"reference": f"{run}:stock", "kind": "counts"}
        await import_stock(api, header, [row._asdict() for row in rows], report=sent)
