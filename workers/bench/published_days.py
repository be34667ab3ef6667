"""Days of the published setting, planned in every way that `oms bench published` compares."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import BaseModel

from oms.solver import Solution
from oms.together import Together, Wish, again, one_by_one
from workers.bench.highs import Found, plan
from workers.bench.published import (
    NOWHERE,
    USD,
    Order,
    Setting,
    cheapest,
    parcels,
    some_setting,
    units,
)
from workers.bench.routing import Told

HOURS = 24
RELEASES = (2,)
RELEASES_SMALL = (2, 6, 24)
"""Hours between two releases; 24 is one release in the end, which knows of every order: done
exactly, that is the optimum."""
PASSES_LARGE, EXCHANGES_LARGE = 3, 6
"""With hundreds of orders in a window, so that a large day takes minutes."""

Replan = Callable[[Sequence[Wish], Together], Together]
"""Plans orders of one window again, before they are released."""


def released(setting: Setting, orders: Sequence[Order], window: int, replan: Replan) -> Together:
    """Plan orders as they come; those of each window again together, before they are released.

    Args:
        setting: Where the stock is at the beginning of the day.
        orders: Of one day.
        window: Periods between two releases.
        replan: What is done with the orders of a window.
    """
    left = setting.stock
    plans: list[Solution] = []
    for first in range(0, setting.periods, window):
        wishes = [setting.wish(k, c) for at, k, c in orders if first <= at < first + window]
        done = replan(wishes, one_by_one(wishes, left))
        plans.extend(done.plans)
        left = done.left
    return Together(tuple(plans), left)


def exactly(wishes: Sequence[Wish], before: Together, *, seconds: float) -> Together:
    """Let HiGHS plan the orders of a window together; what stands stays where it runs out of time.

    Args:
        wishes: At least none.
        before: Their plans, and what is left beside them.
        seconds: For HiGHS.
    """
    if not wishes:
        return before
    stock = before.left.copy()
    for wish, old in zip(wishes, before.plans, strict=True):
        stock[:, wish.articles] += old.units
    found = plan(wishes, stock, seconds=seconds)
    if found.units is None:
        return before
    plans = []
    for wish, given in zip(wishes, found.units, strict=True):
        stock[:, wish.articles] -= given
        cost = int(wish.fixed[given.any(axis=1)].sum() + (given * wish.unit).sum())
        unserved = wish.wanted - given.sum(axis=0)
        plans.append(Solution(given, unserved, cost, bound=0, exact=False))
    assert (stock >= 0).all(), "nothing is made of nothing"
    new = Together(tuple(plans), stock)
    return new if new.cost < before.cost else before


class Planned(BaseModel):
    """What planning the orders of each window again together comes to.

    Attributes:
        release_hours: Between two releases.
        how: By `oms.together`, or exactly.
        usd: The sum of all days.
        gap_closed: Which share of what one by one costs above the bound is saved.
    """

    release_hours: float
    how: str
    usd: float
    gap_closed: float


class Days(BaseModel):
    """Days of one size.

    Attributes:
        periods: In each at most one order comes.
        days: Each with a stock and kinds of order of its own.
        orders: All that came.
        units: All that they want.
        not_served: Units that one by one got none of.
        equal_to_enumeration: Orders that cost, one by one, what trying every set of places finds
            on the stock of the moment.
        nearest_usd: The sum if each article came from the nearest centre that has it.
        one_by_one_usd: The sum if each order is planned at its own least cost, as it comes.
        bound_usd: No way to plan the days costs less, even if all orders are known before.
        bound: What the bound is: the optimum of all days, or of the linear program, or what HiGHS
            had proven when its time was over.
        above_bound: By which share one by one is above it.
        together: What is won before release.
    """

    periods: int
    days: int
    orders: int
    units: int
    not_served: int
    equal_to_enumeration: int
    nearest_usd: float
    one_by_one_usd: float
    bound_usd: float
    bound: str
    above_bound: float
    together: list[Planned]


class PublishedBench(BaseModel):
    """What one run found."""

    days: list[Days]


@dataclass(frozen=True, eq=False)
class _Day:
    """One day, planned in every way."""

    setting: Setting
    orders: list[Order]
    alone: Together
    whole: Found
    ways: dict[tuple[float, str], Together]

    def equal(self) -> int:
        """Orders that cost, one by one, what trying every set of places finds."""
        left, equal = self.setting.stock.copy(), 0
        for (_, kind, city), done in zip(self.orders, self.alone.plans, strict=True):
            articles = self.setting.kinds[kind].articles
            equal += cheapest(articles, city, left) == done.cost
            left[:, articles] -= done.units
        return equal

    def nearest(self) -> int:
        """What it costs if each article comes from the nearest centre that has it."""
        left, cost = self.setting.stock.copy(), 0
        for _, kind, city in self.orders:
            sends = set()
            for article in self.setting.kinds[kind].articles:
                costs = units()[:, city]
                place = min(
                    (p for p in range(NOWHERE + 1) if left[p, article]), key=costs.__getitem__
                )
                left[place, article] -= 1
                sends.add(place)
                cost += int(costs[place])
            cost += sum(int(parcels()[place]) for place in sends)
        return cost


@dataclass
class PublishedRun:
    """Plans days of the published setting, and bounds them.

    Args:
        small: Periods of a small day, whose optimum HiGHS finds.
        small_days: How many of them.
        large: Periods of a large day, which the linear program bounds; the literature takes 10,000.
        large_days: How many of them.
        seconds: For HiGHS at each day or window.
        told: Hears of the progress.
    """

    small: int = 100
    small_days: int = 20
    large: int = 10_000
    large_days: int = 1
    seconds: float = 60
    told: Told = field(default=lambda what, done, total: None)

    def measure(self) -> PublishedBench:
        """Plan small and large days."""
        found = []
        if self.small_days:
            found.append(self._days(self.small, self.small_days, small=True))
        if self.large_days:
            found.append(self._days(self.large, self.large_days, small=False))
        return PublishedBench(days=found)

    def _days(self, periods: int, days: int, *, small: bool) -> Days:
        name = f"{periods:,}"
        one_day = []
        for seed in range(days):
            self.told(name, seed, days)
            one_day.append(self._day(some_setting(seed, periods), seed, small=small))
        self.told(name, days, days)
        return _sum_up(periods, one_day)

    def _day(self, setting: Setting, seed: int, *, small: bool) -> _Day:
        orders = setting.day(seed)
        wishes = [setting.wish(kind, city) for _, kind, city in orders]
        alone = one_by_one(wishes, setting.stock)
        whole = (
            plan(wishes, setting.stock, seconds=self.seconds)
            if small
            else _relaxed(setting, orders)
        )
        ways: dict[tuple[float, str], Together] = {}
        passes = again if small else partial(again, passes=PASSES_LARGE, exchanges=EXCHANGES_LARGE)
        for hours in RELEASES_SMALL if small else RELEASES:
            window = max(1, round(setting.periods * hours / HOURS))
            ways[hours, "passes"] = released(setting, orders, window, passes)
            if small and hours < HOURS:
                exact = partial(exactly, seconds=self.seconds)
                ways[hours, "exact"] = released(setting, orders, window, exact)
        return _Day(setting, orders, alone, whole, ways)


def _relaxed(setting: Setting, orders: Sequence[Order]) -> Found:
    """Let orders be sent by halves: orders alike are then one, that comes often."""
    alike = Counter((kind, city) for _, kind, city in orders)
    wishes = [setting.wish(kind, city) for kind, city in alike]
    return plan(wishes, setting.stock, times=list(alike.values()), whole=False)


def _sum_up(periods: int, days: Sequence[_Day]) -> Days:
    alone = sum(day.alone.cost for day in days)
    bound = sum(day.whole.bound for day in days)
    exact = all(day.whole.solved and day.whole.units is not None for day in days)
    relaxed = all(day.whole.units is None for day in days)
    over = max(alone - bound, 1)
    costs = {way: sum(day.ways[way].cost for day in days) for way in days[0].ways}
    return Days(
        periods=periods,
        days=len(days),
        orders=sum(len(day.orders) for day in days),
        units=sum(
            len(day.setting.kinds[kind].articles) for day in days for _, kind, _ in day.orders
        ),
        not_served=sum(int(p.units[NOWHERE].sum()) for day in days for p in day.alone.plans),
        equal_to_enumeration=sum(day.equal() for day in days),
        nearest_usd=_usd(sum(day.nearest() for day in days)),
        one_by_one_usd=_usd(alone),
        bound_usd=_usd(bound),
        bound="optimum" if exact else "linear program" if relaxed else "out of time",
        above_bound=round(alone / bound - 1, 5),
        together=[
            Planned(release_hours=h, how=how, usd=_usd(c), gap_closed=round((alone - c) / over, 4))
            for (h, how), c in costs.items()
        ],
    )


def _usd(mills: float) -> float:
    return round(mills / USD, 2)
