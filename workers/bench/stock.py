"""`oms bench stock`: the stock ledger, availability and imports, each beside its floor.

On a PostgreSQL of its own, durable as in production, so that no stock of anybody is touched. The
product and its floor take turns, a moment each, through the same driver and pool, with as many at
once: what else the machine does then hits both alike.
"""

import asyncio
import hashlib
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.availability import availability, read_availability
from adapters.db.engine import by_statement
from adapters.db.importing import Applied, apply_import
from adapters.db.imports import StagedRow, open_import, put_part
from adapters.db.offers import Line, Offering, ask, offers
from adapters.db.promises import Where
from adapters.db.stock import Short, Want, take
from oms.policy import Policy
from workers.bench.pgbench import PgBench, one_line, three_lines
from workers.bench.shelf import (
    CHANNEL,
    EVERYWHERE,
    HOT,
    LOCATIONS,
    PLACES_A_SKU,
    Shelf,
    place_name,
    sku_name,
)

TURNS = 12
ASKED_AT_ONCE = 2
"""Questions in the air: a longer queue would be measured, not the answer."""

SKUS_SOLD = 10_000
ROWS_IMPORTED = 100_000
ROWS_A_PART = 5_000
IMPORTED = "place-imported"
SIZES = (10_000, 100_000, 1_000_000)
"""Stock rows at which availability is measured."""

Told = Callable[[str, int, int], None]
Call = Callable[[], Awaitable[object]]
Ask = Callable[[AsyncConnection, str], Awaitable[None]]


class Case(BaseModel):
    """One thing measured: calls a second, and what each took, of ours and of the floor."""

    case: str
    per_second: float
    floor_per_second: float
    of_floor: float
    pgbench_per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    floor_p50_ms: float | None = None
    floor_p99_ms: float | None = None
    rows: int | None = None


class StockBench(BaseModel):
    """What one run measured."""

    concurrency: int
    locations: int
    skus: int
    stock_rows: int
    cases: list[Case]


@dataclass
class Turns:
    """Two sides measured in turns: calls a second in each turn, and how long each call took."""

    ours: list[float]
    floor: list[float]
    took: list[float]
    floor_took: list[float]

    def as_case(self, name: str, *, pgbench: float | None = None, rows: int | None = None) -> Case:
        """Put the medians of all turns together."""
        ours, floor = statistics.median(self.ours), statistics.median(self.floor)
        return Case(
            case=name,
            per_second=round(ours, 1),
            floor_per_second=round(floor, 1),
            of_floor=round(ours / floor, 2),
            pgbench_per_second=None if pgbench is None else round(pgbench, 1),
            p50_ms=_part(self.took, 0.5),
            p99_ms=_part(self.took, 0.99),
            floor_p50_ms=_part(self.floor_took, 0.5),
            floor_p99_ms=_part(self.floor_took, 0.99),
            rows=rows,
        )


def _part(seconds: Sequence[float], part: float) -> float:
    """Milliseconds within which this part of the calls was answered."""
    return round(1000 * sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * part))], 2)


async def in_turns(ours: Call, floor: Call, *, at_once: int, seconds: float) -> Turns:
    """Call both sides in turns, `at_once` in the air, each for `seconds` in all."""
    found = Turns([], [], [], [])
    for _ in range(TURNS):
        found.floor.append(await _rate(floor, found.floor_took, at_once, seconds / TURNS))
        found.ours.append(await _rate(ours, found.took, at_once, seconds / TURNS))
    return found


async def _rate(call: Call, took: list[float], at_once: int, seconds: float) -> float:
    """Calls a second; each of those at once calls one time at least."""
    began, before = time.perf_counter(), len(took)

    async def repeat() -> None:
        end = began
        while end == began or end < began + seconds:
            start = time.perf_counter()
            await call()
            end = time.perf_counter()
            took.append(end - start)

    await asyncio.gather(*(repeat() for _ in range(at_once)))
    return (len(took) - before) / (time.perf_counter() - began)


# --- reservations ---------------------------------------------------------------------------

# What a reservation cannot do without: the level falls if it is high enough, and a movement says
# so. It asks for no key that was used, keeps no order of locks, takes the lines it can get, and
# cannot say what was short.
BARE_ONE = text(
    """
WITH taken AS (
  UPDATE stock_levels SET reserved = reserved + 1
  WHERE sku = :sku AND location = :location
    AND on_hand - reserved - allocated - safety_stock >= 1
  RETURNING sku, location
)
INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)
SELECT :at, sku, location, 'reserved', 1, 'reserve', :key FROM taken
"""
)
BARE_SEVERAL = text(
    """
WITH taken AS (
  UPDATE stock_levels s SET reserved = s.reserved + 1
  FROM unnest(CAST(:sku AS text[]), CAST(:location AS text[])) AS w(sku, location)
  WHERE s.sku = w.sku AND s.location = w.location
    AND s.on_hand - s.reserved - s.allocated - s.safety_stock >= 1
  RETURNING s.sku, s.location
)
INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)
SELECT :at, sku, location, 'reserved', 1, 'reserve', :key FROM taken
"""
)

Place = tuple[str, str]


@dataclass(frozen=True)
class Baskets:
    """A way to shop: what each reservation asks for, and the same in pgbench's words."""

    case: str
    draw: Callable[[random.Random, Shelf], list[Place]]
    pgbench: str


def _hot(_: random.Random, shelf: Shelf) -> list[Place]:
    return [(HOT, shelf.first_place(0))]


def _some(lines: int, sold: int) -> Callable[[random.Random, Shelf], list[Place]]:
    def draw(drawn: random.Random, shelf: Shelf) -> list[Place]:
        numbers = sorted(drawn.sample(range(sold), lines))
        return [(sku_name(number), shelf.first_place(number)) for number in numbers]

    return draw


def ways_to_shop(sold: int) -> tuple[Baskets, ...]:
    """The cases, with so many articles to choose from."""
    return (
        Baskets("reservations, a hot SKU", _hot, one_line(0, 0)),
        Baskets(f"reservations, {sold:,} SKUs", _some(1, sold), one_line(0, sold - 1)),
        Baskets("reservations, three lines", _some(3, sold), three_lines(sold)),
    )


class Reservations:
    """Measures the ledger's statement against the bare one."""

    def __init__(self, db: AsyncEngine, shelf: Shelf, *, at_once: int, seconds: float) -> None:
        # Both commit by themselves: nothing but the statement is between the two.
        self._db = by_statement(db)
        self._shelf, self._at_once, self._seconds = shelf, at_once, seconds
        self._drawn = random.Random(1)
        self._keys = (f"bench:{time.time_ns():x}:{n}" for n in itertools.count())

    async def measure(self, baskets: Baskets) -> Turns:
        """Let buyers shop, ours and the floor's in turns."""

        async def ours() -> None:
            wanted = [
                Want(sku=sku, location=location, quantity=1)
                for sku, location in baskets.draw(self._drawn, self._shelf)
            ]
            async with self._db.connect() as tx:
                taken = await take(
                    tx,
                    wanted,
                    cause="reserve",
                    key=next(self._keys),
                    at=datetime.now(UTC),
                    in_attempt=True,
                )
            assert not isinstance(taken, Short), "the shelves of the benchmark are never empty"

        async def floor() -> None:
            await self._bare(baskets.draw(self._drawn, self._shelf))

        return await in_turns(ours, floor, at_once=self._at_once, seconds=self._seconds)

    async def _bare(self, basket: Sequence[Place]) -> None:
        skus, locations = [sku for sku, _ in basket], [location for _, location in basket]
        one = len(basket) == 1
        statement: TextClause = BARE_ONE if one else BARE_SEVERAL
        names = {
            "sku": skus[0] if one else skus,
            "location": locations[0] if one else locations,
            "at": datetime.now(UTC),
            "key": next(self._keys),
        }
        async with self._db.connect() as tx:
            await tx.execute(statement, names)


# --- availability ---------------------------------------------------------------------------

BARE_SUM = text(
    "SELECT sum(greatest(0, on_hand - reserved - allocated - safety_stock))"
    " FROM stock_levels WHERE sku = :sku"
)


WHERE = Where("FR", None, 45.76, 4.84)
POLICY = Policy()


async def how_many(tx: AsyncConnection, sku: str) -> None:
    """What a channel can have of an article, and what is coming."""
    await availability(tx, sku=sku, channel=CHANNEL, now=datetime.now(UTC))


async def how_and_when(tx: AsyncConnection, sku: str) -> None:
    """The whole answer of `GET /v1/availability`: also each way of delivery, with its date."""
    now = datetime.now(UTC)
    baskets = [[Line(1, sku, 1)]]
    offering = Offering(CHANNEL, WHERE, now + POLICY.offer, POLICY)
    _, levels, places = await ask(tx, [sku], baskets, offering, now)
    read_availability(levels, [sku])
    await offers(tx, baskets, offering, places)


async def measure_availability(
    db: AsyncEngine, asks: Ask, draw: Callable[[], str], *, seconds: float
) -> Turns:
    """Ask what a channel can have, beside a bare sum over the article's levels."""
    single = by_statement(db)

    async def ours() -> None:
        async with single.connect() as tx:
            await asks(tx, draw())

    async def floor() -> None:
        async with single.connect() as tx:
            await tx.scalar(BARE_SUM, {"sku": draw()})

    return await in_turns(ours, floor, at_once=ASKED_AT_ONCE, seconds=seconds)


# --- imports --------------------------------------------------------------------------------


class Imports:
    """Imports full snapshots of a new place, beside a bare COPY of the same rows."""

    def __init__(self, db: AsyncEngine, rows: int) -> None:
        self._db, self._rows = db, rows

    async def measure(self) -> list[Case]:
        """A snapshot whose levels are all new, then one that counts a unit more of each."""
        place = {"id": IMPORTED, "like": place_name(0)}
        async with self._db.begin() as tx:
            await tx.execute(_NEW_PLACE, place)
            await tx.execute(
                text("CREATE TABLE bench_copy (sku text, location text, units bigint)")
            )
        cases = []
        for case, units in (("new levels", 100), ("changed levels", 101)):
            rows = [
                StagedRow(sku_name(number), IMPORTED, units, None) for number in range(self._rows)
            ]
            floor = self._rows / await _seconds(self._copy(rows))
            ours = self._rows / await _seconds(self._import(case, rows))
            cases.append(
                Case(
                    case=f"import, {self._rows:,} {case}",
                    per_second=round(ours, 1),
                    floor_per_second=round(floor, 1),
                    of_floor=round(ours / floor, 3),
                    rows=self._rows,
                )
            )
        return cases

    async def _copy(self, rows: Sequence[StagedRow]) -> None:
        async with self._db.begin() as tx:
            connection: Any = (await tx.get_raw_connection()).driver_connection
            async with (
                connection.cursor() as cursor,
                cursor.copy("COPY bench_copy FROM STDIN") as copy,
            ):
                for row in rows:
                    await copy.write_row(row[:3])

    async def _import(self, reference: str, rows: Sequence[StagedRow]) -> None:
        now = datetime.now(UTC)
        async with self._db.begin() as tx:
            opened = await open_import(
                tx,
                scope="bench",
                reference=reference,
                kind="snapshot",
                location=IMPORTED,
                taken_at=now,
                missing="report",
                now=now,
            )
        assert isinstance(opened, tuple)
        for part, first in enumerate(range(0, len(rows), ROWS_A_PART), start=1):
            some = rows[first : first + ROWS_A_PART]
            digest = hashlib.sha256(f"{reference}:{part}".encode()).digest()
            async with self._db.begin() as tx:
                await put_part(tx, opened[0], part, some, digest)
        async with self._db.begin() as tx:
            applied = await apply_import(tx, opened[0].id, rows=len(rows), now=now)
        assert isinstance(applied, Applied)
        assert applied.stored.moved == len(rows), "every row moves its level"


async def _seconds(work: Coroutine[object, object, None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


_NEW_PLACE = text(
    "INSERT INTO locations (id, name, kind, address, country, time_zone, handling_minor, active,"
    " version, serves, channels) SELECT :id, name, kind, address, country, time_zone,"
    " handling_minor, active, version, serves, channels FROM locations WHERE id = :like"
)


# --- all of it ------------------------------------------------------------------------------


class StockRun:
    """One measurement on a database of its own.

    Args:
        db: An empty, migrated database.
        pgbench: Says what PostgreSQL's own tool reaches; None where it is not installed.
        at_once: How many calls are in the air at once.
        seconds: How long each side of a case is called in all.
        sizes: Stock rows at which availability is measured, growing.
        sold: How many articles the reservations are drawn from; there must be as many.
        told: Hears of the progress.
    """

    def __init__(
        self,
        db: AsyncEngine,
        pgbench: PgBench | None,
        *,
        at_once: int,
        seconds: float,
        sizes: Sequence[int] = SIZES,
        sold: int = SKUS_SOLD,
        told: Told = lambda what, done, total: None,
    ) -> None:
        self._db, self._pgbench, self._told = db, pgbench, told
        self._at_once, self._seconds, self._sizes = at_once, seconds, sizes
        self._sold = sold
        self._shelf = Shelf(db)
        self._drawn = random.Random(2)
        self._cases: list[Case] = []

    async def measure(self) -> StockBench:
        """Lay out the shelves, measure, and let them grow."""
        assert self._sizes[-1] >= self._sold * PLACES_A_SKU
        await self._shelf.lay_out()
        had_buyers = False
        for size in self._sizes:
            await self._grow(size)
            if self._shelf.skus >= self._sold and not had_buyers:
                await self._reservations()
                had_buyers = True
            await self._availability(f"availability, {size:,} rows", how_many)
        await self._availability("availability, at all places", how_many, EVERYWHERE)
        await self._availability("options", how_and_when)
        await self._availability("options, at all places", how_and_when, EVERYWHERE)
        for case in await Imports(self._db, min(self._shelf.skus, ROWS_IMPORTED)).measure():
            self._keep(case)
        return StockBench(
            concurrency=self._at_once,
            locations=LOCATIONS,
            skus=self._shelf.skus,
            stock_rows=self._shelf.rows,
            cases=self._cases,
        )

    async def _grow(self, rows: int) -> None:
        self._told("rows", self._shelf.rows, self._sizes[-1])
        await self._shelf.grow(rows)
        self._told("rows", self._shelf.rows, self._sizes[-1])

    async def _reservations(self) -> None:
        measured = Reservations(self._db, self._shelf, at_once=self._at_once, seconds=self._seconds)
        for baskets in ways_to_shop(self._sold):
            turns = await measured.measure(baskets)
            pgbench = None
            if self._pgbench is not None:
                pgbench = await self._pgbench.rate(
                    baskets.pgbench, at_once=self._at_once, seconds=self._seconds
                )
            self._keep(turns.as_case(baskets.case, pgbench=pgbench))

    async def _availability(self, case: str, asks: Ask, sku: str | None = None) -> None:
        turns = await measure_availability(
            self._db, asks, lambda: sku or self._any_sku(), seconds=self._seconds
        )
        self._keep(turns.as_case(case, rows=self._shelf.rows))

    def _any_sku(self) -> str:
        return sku_name(self._drawn.randrange(self._shelf.skus))

    def _keep(self, case: Case) -> None:
        self._cases.append(case)
        self._told("cases", len(self._cases), len(self._sizes) + 8)
