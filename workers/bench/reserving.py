"""`oms bench routing --database`: plan and reserve on a PostgreSQL of its own, beside the floor.

A thousand places with coordinates; each article is at a share of them between 0.3 and 0.9, with 0
to 20 units, as in `workers.bench.routing`. Ours and the floor take turns, one call at a time.
"""

import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.book import SqlBook
from adapters.db.choosing import choose
from adapters.db.placing import record_order
from adapters.db.sourcing import places_for, wants
from adapters.db.stock import Short, take
from oms.numbers import number_from
from oms.placing import OrderRequest, content_hash
from oms.policy import Policy
from oms.rules import DEFAULT, Cost, Objective, Rule, RuleSet
from oms.sourcing import Demand
from workers.bench.routing import (
    SHARE_WITH_THE_ARTICLE,
    UNITS_THERE,
    UNITS_WANTED,
    FromDatabase,
    RoutingBench,
    Told,
    part,
)

PLACES = 1_000
ARTICLES = 100
LINES = (1, 5, 12)
REPEAT = 300
WARM = 10
CHANNEL = "bench"
SOUTH_NORTH, WEST_EAST = (25.0, 49.0), (-124.0, -67.0)

LOWEST_COST = RuleSet(
    name="Lowest cost",
    currency="EUR",
    costs=(Cost(parcel_minor=400, unit_minor=40, unit_km_minor="0.02"),),
    rules=(Rule(name="Lowest cost", objective=Objective(shipping="1", handling="1")),),
)
RULE_SETS = {"default": DEFAULT, "lowest cost": LOWEST_COST}

# What cannot be done without: read the levels, as compactly as they come, and take the units.
BARE_LEVELS = text(
    "SELECT sku, string_agg(location, ','), string_agg(CAST("
    " on_hand - reserved - allocated - safety_stock AS text), ',')"
    " FROM stock_levels WHERE sku = ANY(CAST(:skus AS text[])) AND on_hand > 0 GROUP BY sku"
)
BARE_TAKE = text(
    """
WITH taken AS (
  UPDATE stock_levels s SET reserved = s.reserved + w.units
  FROM unnest(CAST(:skus AS text[]), CAST(:places AS text[]), CAST(:units AS bigint[]))
    AS w(sku, location, units)
  WHERE s.sku = w.sku AND s.location = w.location
    AND s.on_hand - s.reserved - s.allocated - s.safety_stock >= w.units
  RETURNING s.sku, s.location, w.units
)
INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)
SELECT :at, sku, location, 'reserved', units, 'reserve', :key FROM taken
"""
)


@dataclass(frozen=True)
class Basket:
    """A delivery at home that asks for places."""

    lines: tuple[tuple[str, int], ...]
    latitude: float
    longitude: float
    channel: str = CHANNEL
    method: str = "home"
    pickup_location: str | None = None
    country: str | None = "US"
    customer_segment: str | None = None
    currency: str | None = "EUR"
    goods_minor: int | None = None
    allow_split: bool = True
    allow_backorder: bool = False

    @property
    def skus(self) -> list[str]:
        """The articles."""
        return [sku for sku, _ in self.lines]


@dataclass
class ReservingRun:
    """One measurement on a database of its own.

    Args:
        db: An empty, migrated database.
        lines: Sizes of orders.
        repeat: Orders of each size, for each rule set.
        places: How many.
        articles: How many, at least as many as an order has lines.
        told: Hears of the progress.
    """

    db: AsyncEngine
    lines: Sequence[int] = LINES
    repeat: int = REPEAT
    places: int = PLACES
    articles: int = ARTICLES
    told: Told = field(default=lambda what, done, total: None)
    _drawn: random.Random = field(default_factory=lambda: random.Random(3), init=False)
    _orders: int = field(default=0, init=False)

    async def measure(self) -> RoutingBench:
        """Lay out the shelves, and let orders of each size reserve by each rule set."""
        await self._lay_out()
        found = []
        for name, rules in RULE_SETS.items():
            await self._activate(rules)
            for lines in self.lines:
                found.append(await self._case(name, lines))
        return RoutingBench(database=found)

    async def _case(self, rules: str, lines: int) -> FromDatabase:
        ours: list[float] = []
        cpu: list[float] = []
        plans: list[float] = []
        floor: list[float] = []
        orders: list[float] = []
        book = SqlBook(self.db, Policy())
        for count in range(WARM + self.repeat):
            number = await self._recorded(lines)
            floor.append(await _seconds(self._floor(lines)))
            working = time.process_time()
            ours.append(await _seconds(self._plan_and_reserve(lines, plans)))
            cpu.append(time.process_time() - working)
            orders.append(await _seconds(book.reserve(number, datetime.now(UTC))))
            assert not (await book.read(number)).refusal_code, "the shelves hold enough"
            self.told(f"{rules}, {lines}", count + 1, WARM + self.repeat)
        ours, cpu, plans, floor, orders = (
            each[WARM:] for each in (ours, cpu, plans, floor, orders)
        )
        return FromDatabase(
            lines=lines,
            locations=self.places,
            rules=rules,
            orders=self.repeat,
            p50_ms=part(ours, 0.5),
            p99_ms=part(ours, 0.99),
            cpu_p99_ms=part(cpu, 0.99),
            plan_p50_ms=part(plans, 0.5),
            floor_p50_ms=part(floor, 0.5),
            floor_p99_ms=part(floor, 0.99),
            of_floor=round(part(ours, 0.5) / part(floor, 0.5), 1),
            order_p50_ms=part(orders, 0.5),
            order_p99_ms=part(orders, 0.99),
        )

    async def _plan_and_reserve(self, lines: int, plans: list[float]) -> None:
        basket, at = self._basket(lines), datetime.now(UTC)
        demands = [Demand(n, sku, units) for n, (sku, units) in enumerate(basket.lines, start=1)]
        async with self.db.begin() as tx:
            around = await places_for(tx, basket, basket.skus, at=at)
            began = time.perf_counter()
            chosen = await choose(tx, basket, demands, around)
            plans.append(time.perf_counter() - began)
            assert not chosen.missing, "the shelves hold enough"
            stock = wants(chosen.picks, around.buffers)
            key = self._key()
            taken = await take(tx, stock, cause="reserve", key=key, at=at, in_attempt=True)
            assert not isinstance(taken, Short), "nobody else takes anything"

    async def _floor(self, lines: int) -> None:
        basket, at = self._basket(lines), datetime.now(UTC)
        async with self.db.begin() as tx:
            found = (await tx.execute(BARE_LEVELS, {"skus": basket.skus})).all()
            first = {row[0]: row[1].partition(",")[0] for row in found}
            await tx.execute(
                BARE_TAKE,
                {
                    "skus": basket.skus,
                    "places": [first[sku] for sku in basket.skus],
                    "units": [units for _, units in basket.lines],
                    "at": at,
                    "key": self._key(),
                },
            )

    def _basket(self, lines: int) -> Basket:
        skus = sorted(self._drawn.sample(range(self.articles), lines))
        return Basket(
            tuple((_sku(number), self._drawn.randint(1, UNITS_WANTED)) for number in skus),
            latitude=self._drawn.uniform(*SOUTH_NORTH),
            longitude=self._drawn.uniform(*WEST_EAST),
        )

    def _key(self) -> str:
        self._orders += 1
        return f"bench:{self._orders}"

    async def _recorded(self, lines: int) -> str:
        """Store an order that has reserved nothing yet."""
        basket = self._basket(lines)
        self._orders += 1
        number = number_from(self._orders)
        total = sum(units for _, units in basket.lines) * 100
        request = OrderRequest.model_validate(
            {
                "channel": CHANNEL,
                "reference": number,
                "currency": "EUR",
                "customer": {"id": "bench"},
                "lines": [
                    {"sku": sku, "quantity": units, "unit_price_minor": 100}
                    for sku, units in basket.lines
                ],
                "delivery": {"method": "home", "address": {"country": "US"}},
                "tenders": [
                    {
                        "kind": "card",
                        "provider": "simulator",
                        "token": "tok_ok",
                        "amount_minor": total,
                    }
                ],
            }
        )
        async with self.db.begin() as tx:
            await record_order(
                tx,
                number,
                request,
                content_hash=content_hash(request),
                place=("US", basket.latitude, basket.longitude),
                at=datetime.now(UTC),
            )
        return number

    async def _activate(self, rules: RuleSet) -> None:
        async with self.db.begin() as tx:
            await tx.execute(text("UPDATE rule_sets SET active = false WHERE active"))
            document = rules.model_dump_json(by_alias=True)
            await tx.execute(_RULES, {"id": rules.name.partition(",")[0], "document": document})

    async def _lay_out(self) -> None:
        drawn = np.random.default_rng(4)
        ids = [f"place-{number:04d}" for number in range(self.places)]
        async with self.db.begin() as tx:
            await tx.execute(text(_CHANNEL), {"channel": CHANNEL})
            await tx.execute(
                text(_PLACES),
                {
                    "ids": ids,
                    "north": drawn.uniform(*SOUTH_NORTH, self.places).tolist(),
                    "east": drawn.uniform(*WEST_EAST, self.places).tolist(),
                    "handling": drawn.integers(0, 500, self.places).tolist(),
                },
            )
            for number in range(self.articles):
                share = drawn.uniform(*SHARE_WITH_THE_ARTICLE)
                has = np.flatnonzero(drawn.random(self.places) < share)
                units = drawn.integers(0, UNITS_THERE + 1, len(has))
                await tx.execute(text(_ARTICLE), {"sku": _sku(number)})
                await tx.execute(
                    text(_LEVELS),
                    {"sku": _sku(number), "ids": [ids[p] for p in has], "units": units.tolist()},
                )
        async with self.db.connect() as plain:
            alone = await plain.execution_options(isolation_level="AUTOCOMMIT")
            await alone.execute(text("VACUUM ANALYZE"))


def _sku(number: int) -> str:
    return f"SKU-{number:04d}"


async def _seconds(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


_CHANNEL = "INSERT INTO channels (id, name, active, version) VALUES (:channel, 'Bench', true, 1)"
_PLACES = """
INSERT INTO locations (id, name, kind, address, country, time_zone, handling_minor, active, version,
    serves, channels, latitude, longitude)
SELECT i, i, 'store', '{}', 'US', 'UTC', h, true, 1, '{home}', '{*}', n, e
FROM unnest(CAST(:ids AS text[]), CAST(:north AS float8[]), CAST(:east AS float8[]),
    CAST(:handling AS int[])) AS p(i, n, e, h)
"""
_ARTICLE = "INSERT INTO products (sku, name, sellable, version) VALUES (:sku, 'Article', true, 1)"
_LEVELS = """
INSERT INTO stock_levels (sku, location, on_hand)
SELECT :sku, l, u FROM unnest(CAST(:ids AS text[]), CAST(:units AS bigint[])) AS s(l, u)
"""
_RULES = text(
    "INSERT INTO rule_sets (id, version, document, active, created_at)"
    " VALUES (:id, 1, CAST(:document AS jsonb), true, now())"
)
