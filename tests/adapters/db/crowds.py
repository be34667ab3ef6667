"""Crowds of buyers over one stock, and what must be true when they have left."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.audit import read_snapshot
from adapters.db.book import SqlBook
from adapters.db.choosing import choose
from adapters.db.engine import connect
from adapters.db.placing import RACES
from adapters.db.sourcing import places_for, wants
from adapters.db.stock import Short, take
from oms.locations import UNKNOWN_METRES
from oms.numbers import number_from
from oms.placing import OrderRequest
from oms.policy import Policy
from oms.sourcing import Demand
from tests.adapters.db.stockroom import NOW, Stockroom, record
from tests.oms.candidates import Candidate

TILLS = 16
"""How many of a crowd are served at a time: fewer than connections."""


@dataclass(frozen=True)
class Basket:
    """Lines as (SKU, units), bought for delivery at home."""

    lines: tuple[tuple[str, int], ...]
    channel: str = "web"
    method: str = "home"
    pickup_location: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    allow_split: bool = True
    allow_backorder: bool = False
    country: str | None = "FR"
    customer_segment: str | None = None
    currency: str | None = "EUR"
    goods_minor: int | None = 1000


async def buy(stockroom: Stockroom, key: str, basket: Basket) -> bool:
    """Plan and reserve as an order does, with stock and solver only. False: refused.

    A refusal is told only of a moment at which there was too little.
    """
    demands = [Demand(n, sku, units) for n, (sku, units) in enumerate(basket.lines, start=1)]
    wanted = Counter[str]()
    for sku, units in basket.lines:
        wanted[sku] += units
    for _ in range(RACES):
        async with stockroom.db.begin() as tx:
            around = await places_for(tx, basket, wanted)
            picks, _, missing, _ = await choose(tx, basket, demands, around, told=False)
            if missing:
                there = {sku: around.there(sku) for sku in wanted}
                assert any(there[sku] < units for sku, units in wanted.items()), "sold out falsely"
                return False
            stock = wants(picks, around.buffers)
            taken = await take(tx, stock, cause="reserve", key=key, at=NOW, in_attempt=True)
            if not isinstance(taken, Short):
                return True
            await tx.rollback()
    raise AssertionError("lost more races than an order may")


async def order(stockroom: Stockroom, book: SqlBook, number: str, sku: str) -> bool:
    """Place an order for one unit, and let it reserve. False: refused."""
    request = OrderRequest.model_validate(
        {
            "channel": "web",
            "reference": number,
            "currency": "EUR",
            "customer": {"id": "c-1"},
            "lines": [{"sku": sku, "quantity": 1, "unit_price_minor": 100}],
            "delivery": {"method": "home", "address": {"country": "FR"}},
            "tenders": [
                {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": 100}
            ],
        }
    )
    await record(stockroom.db, number, request)
    await book.reserve(number, NOW)
    return (await book.read(number)).refusal_code is None


def numbers(count: int) -> Iterator[str]:
    """Order numbers."""
    return (number_from(1_000_000 + n) for n in range(count))


async def served(
    buyers: int, buys: Callable[[int], Awaitable[bool]], *, tills: int = TILLS
) -> Counter[bool]:
    """Serve a crowd, some at a time; how many got what they wanted."""
    queue = iter(range(buyers))
    outcomes: Counter[bool] = Counter()

    async def till() -> None:
        for buyer in queue:
            outcomes[await buys(buyer)] += 1

    async with asyncio.TaskGroup() as open_tills:
        for _ in range(tills):
            open_tills.create_task(till())
    return outcomes


async def spread(stockroom: Stockroom, sku: str, *, locations: int, units: int) -> None:
    """Let so many locations of their own hold so many units each."""
    for n in range(locations):
        await stockroom.has_place(f"place-{n:02d}")
        await stockroom.holds(sku, f"place-{n:02d}", units)


async def reserved(stockroom: Stockroom, sku: str) -> int:
    """Units held over all locations."""
    async with stockroom.db.connect() as tx:
        found = await tx.scalar(
            text("SELECT coalesce(sum(reserved), 0)::bigint FROM stock_levels WHERE sku = :sku"),
            {"sku": sku},
        )
    return int(found or 0)


async def violations(stockroom: Stockroom) -> list[str]:
    """What the audit finds in the books."""
    async with stockroom.db.connect() as plain:
        tx = await plain.execution_options(isolation_level="REPEATABLE READ")
        snapshot = await read_snapshot(tx, NOW)
    return [str(finding) for finding in snapshot.findings if not finding.pending]


async def deadlocks(stockroom: Stockroom, database_url: str) -> int:
    """How often PostgreSQL had to break a circle, once all have left and been counted."""
    await stockroom.db.dispose()
    alone = connect(database_url, pool_size=1)
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    try:
        async with asyncio.timeout(30), alone.connect() as tx:
            while await tx.scalar(others):
                await tx.rollback()  # the view is frozen within a transaction
            await tx.rollback()
            found = await tx.scalar(
                text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            )
    finally:
        await alone.dispose()
    return int(found or 0)


POLICY = Policy()


async def candidates(
    tx: AsyncConnection,
    *,
    skus: Sequence[str],
    channel: str,
    method: str,
    pickup_location: str | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
    for_queue: bool = False,
) -> list[Candidate]:
    """Places that may serve and have some of the articles, by their ids."""
    asks = Basket(
        (),
        channel=channel,
        method=method,
        pickup_location=pickup_location,
        latitude=latitude,
        longitude=longitude,
    )
    around = await places_for(tx, asks, skus, for_queue=for_queue)
    metres = around.shelves.metres_from(around.ask.point)
    found = []
    for row, id in enumerate(around.shelves.locations.ids):
        units = dict(zip(around.shelves.skus, around.shelves.available[row].tolist(), strict=True))
        there = {sku: count for sku, count in units.items() if count}
        away = None if metres[row] == UNKNOWN_METRES else metres[row] / 1000
        if there and around.shelves.shut[row] == "":
            found.append(Candidate(id, away, there, int(around.shelves.buffer[row])))
    return found
