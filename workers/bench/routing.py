"""`oms bench routing`: how long the solver takes, with the candidates given, beside HiGHS."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pydantic import BaseModel

from oms.rules import MILLS
from oms.solver import Ints, Problem, solve
from oms.together import Wish

if TYPE_CHECKING:  # the extra `solvers`, which not everybody has
    from workers.bench.highs import Found

LINES = (1, 5, 12, 50)
LOCATIONS = (10, 100, 1_000, 10_000)
REPEAT = 200
AT_LEAST = 20

SHARE_WITH_THE_ARTICLE = (0.3, 0.9)
UNITS_THERE = 20
UNITS_WANTED = 5
FIXED_MINOR = (300, 900)
METRES = 4_000_000
UNIT_MINOR = 40
UNIT_MILLS_A_KM = 20
"""A unit costs 40 minor units and 0.02 a kilometre: 120 at the far end of the country."""

Told = Callable[[str, int, int], None]


class Referee(Protocol):
    """Somebody else's solver: `workers.bench.highs.plan`."""

    def __call__(self, wishes: Sequence[Wish], stock: Ints, *, seconds: float) -> "Found":
        """Plan these orders together."""
        ...


class Case(BaseModel):
    """One size of order and network.

    Attributes:
        lines: Items of each order.
        locations: Places that may serve.
        orders: How many different ones were planned, each once.
        p50_ms: Half of them were planned within so long.
        p99_ms: 99 of 100 were.
        cpu_p50_ms: The same of processor time, which others on the machine hardly change.
        cpu_p99_ms: The same.
        optimal_share: How many plans are proven to be the best.
        bound_gap: By how much the worst plan may be off, as a share of its cost.
        highs_p50_ms: As long did HiGHS take in the middle, for those it was given; None if none.
        highs_cases: How many HiGHS was given, the first of the same orders.
        highs_solved: How many of them it solved within its time.
        times_faster: HiGHS's middle over the solver's own on the same orders.
        differ: Orders of which both say that their plan is the best, and one costs more.
    """

    lines: int
    locations: int
    orders: int
    p50_ms: float
    p99_ms: float
    cpu_p50_ms: float
    cpu_p99_ms: float
    optimal_share: float
    bound_gap: float
    highs_p50_ms: float | None = None
    highs_cases: int = 0
    highs_solved: int = 0
    times_faster: float | None = None
    differ: int = 0


class FromDatabase(BaseModel):
    """Planning and reserving orders of one size by one rule set, on a database.

    Attributes:
        lines: Of each order.
        locations: In the network.
        rules: Which rule set: `default`, or `lowest cost`.
        orders: How many.
        p50_ms: A transaction that reads, plans, and takes the stock.
        p99_ms: The same.
        cpu_p99_ms: Of it processor time of our process; PostgreSQL's is not in it.
        plan_p50_ms: The part of it that is no statement: rules and solver, on what was read.
        floor_p50_ms: A transaction that reads the levels and takes as many units, with no plan.
        floor_p99_ms: The same.
        of_floor: Ours over the floor, in the middle.
        order_p50_ms: The whole step of an order that is stored: under its lock, explained, with
            reservations, authorisation to ask for, timeline, and what is due next.
        order_p99_ms: The same.
    """

    lines: int
    locations: int
    rules: str
    orders: int
    p50_ms: float
    p99_ms: float
    cpu_p99_ms: float
    plan_p50_ms: float
    floor_p50_ms: float
    floor_p99_ms: float
    of_floor: float
    order_p50_ms: float
    order_p99_ms: float


class RoutingBench(BaseModel):
    """What one run measured: of the solver alone, or from the database."""

    cases: list[Case] = []
    database: list[FromDatabase] = []


def some_order(lines: int, locations: int, seed: int) -> Problem:
    """Draw an order and a network; the same for the same numbers.

    Each article is at a share of the places between 0.3 and 0.9, with 0 to 20 units; 1 to 5 are
    wanted. A parcel costs 3 to 9, a unit by distance. Items that all places together have too few
    of are wanted in the units there are, so that every order can be served whole.
    """
    drawn = np.random.default_rng([seed, lines, locations])
    has = drawn.random((locations, lines)) < drawn.uniform(*SHARE_WITH_THE_ARTICLE, lines)
    stock = np.where(has, drawn.integers(0, UNITS_THERE + 1, (locations, lines)), 0)
    stock[0] = np.maximum(stock[0], stock.sum(axis=0) == 0)
    km = drawn.integers(0, METRES + 1, locations) // 1_000
    unit = UNIT_MINOR * MILLS + UNIT_MILLS_A_KM * km
    wanted = drawn.integers(1, UNITS_WANTED + 1, lines)
    return Problem(
        wanted=np.minimum(wanted, stock.sum(axis=0)),
        stock=stock,
        fixed=drawn.integers(FIXED_MINOR[0], FIXED_MINOR[1] + 1, locations) * MILLS,
        unit=np.repeat(unit[:, None], lines, axis=1),
        divide=np.ones(lines, np.bool_),
    )


@dataclass
class RoutingRun:
    """Measures every combination of sizes.

    Args:
        lines: Sizes of orders.
        locations: Sizes of networks.
        repeat: Orders of each size.
        seconds: No further order of a size is begun after so long, once there are `AT_LEAST`.
        highs: Plans the same orders; None to leave it out.
        highs_seconds: It is given no further order of a size after so long, and gives an order up
            after as long.
        told: Hears of the progress.
    """

    lines: Sequence[int] = LINES
    locations: Sequence[int] = LOCATIONS
    repeat: int = REPEAT
    seconds: float = 60
    highs: Referee | None = None
    highs_seconds: float = 20
    told: Told = field(default=lambda what, done, total: None)

    def measure(self) -> RoutingBench:
        """Plan every order, and let HiGHS plan as many of them as its time allows."""
        sizes = [(lines, locations) for lines in self.lines for locations in self.locations]
        cases = []
        for done, (lines, locations) in enumerate(sizes):
            self.told("sizes", done, len(sizes))
            cases.append(self._case(lines, locations))
        self.told("sizes", len(sizes), len(sizes))
        return RoutingBench(cases=cases)

    def _case(self, lines: int, locations: int) -> Case:
        solve(some_order(lines, locations, self.repeat))  # warm
        took, cpu, costs, proven, gaps = [], [], [], [], []
        first = time.perf_counter()
        for seed in range(self.repeat):
            if seed >= AT_LEAST and time.perf_counter() > first + self.seconds:
                break
            order = some_order(lines, locations, seed)
            began, working = time.perf_counter(), time.process_time()
            found = solve(order)
            cpu.append(time.process_time() - working)
            took.append(time.perf_counter() - began)
            assert not found.unserved.any(), "every order drawn can be served"
            costs.append(found.cost)
            proven.append(found.exact)
            gaps.append((found.cost - found.bound) / found.cost)
            self.told(f"{lines} × {locations:,}", seed + 1, self.repeat)
        case = Case(
            lines=lines,
            locations=locations,
            orders=len(took),
            p50_ms=part(took, 0.5),
            p99_ms=part(took, 0.99),
            cpu_p50_ms=part(cpu, 0.5),
            cpu_p99_ms=part(cpu, 0.99),
            optimal_share=sum(proven) / len(proven),
            bound_gap=round(max(gaps), 5),
        )
        if self.highs is None:
            return case
        return self._beside_highs(self.highs, case, took, costs, proven)

    def _beside_highs(
        self, highs: Referee, case: Case, took: list[float], costs: list[int], proven: list[bool]
    ) -> Case:
        theirs: list[float] = []
        solved = differ = 0
        began = time.perf_counter()
        while len(theirs) < len(took) and (
            not theirs or time.perf_counter() < began + self.highs_seconds
        ):
            order = some_order(case.lines, case.locations, len(theirs))
            found = highs([as_wish(order)], order.stock, seconds=self.highs_seconds)
            if found.solved and proven[len(theirs)]:
                assert found.units is not None
                differ += cost_of(order, found.units[0]) != costs[len(theirs)]
            solved += found.solved
            theirs.append(found.seconds)
            self.told(f"HiGHS {case.lines} × {case.locations:,}", len(theirs), len(took))
        middle = part(theirs, 0.5)
        return case.model_copy(
            update={
                "highs_p50_ms": middle,
                "highs_cases": len(theirs),
                "highs_solved": solved,
                "times_faster": round(middle / part(took[: len(theirs)], 0.5), 1),
                "differ": differ,
            }
        )


def as_wish(order: Problem) -> Wish:
    """Take the order as one of several, the only one."""
    articles = np.arange(len(order.wanted))
    return Wish(articles, order.wanted, order.fixed, order.unit, order.divide, order.most_places)


def cost_of(order: Problem, units: Ints) -> int:
    """What a plan costs, exactly: places that send, and units."""
    return int(order.fixed[units.any(axis=1)].sum() + (units * order.unit).sum())


def part(seconds: Sequence[float], part: float) -> float:
    """Milliseconds within which this part of the orders was planned."""
    return round(1000 * sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * part))], 3)
