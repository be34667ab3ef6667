"""Several orders planned from one stock: one after the other, and again while none is released.

An order planned alone takes what is best for it on what the orders before it left. What it then
holds may be worth more to another. `again` looks for such exchanges among orders that may still be
planned again; it never serves fewer units and never costs more. Pure; the order process does not
use it (docs/routing.md says what it would win).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, islice

import numpy as np

from oms.solver import Flags, Ints, Problem, Solution, solve

PASSES = 10
EXCHANGES = 30


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What an order wants of a stock that it shares, and what each place costs it.

    Attributes:
        articles: Which column of the stock each item is; distinct; shape (items,).
        wanted: As in `Problem`, and so the rest.
    """

    articles: Ints
    wanted: Ints
    fixed: Ints
    unit: Ints
    divide: Flags
    most_places: int | None = None

    def on(self, stock: Ints) -> Problem:
        """Ask for a plan from this stock; shape (places, articles)."""
        return Problem(
            wanted=self.wanted,
            stock=stock[:, self.articles],
            fixed=self.fixed,
            unit=self.unit,
            divide=self.divide,
            most_places=self.most_places,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """Plans of several orders.

    Attributes:
        plans: One for each order, in their order.
        left: What they leave of the stock; shape (places, articles).
        settled: No single order and no exchange that was tried would make it better.
    """

    plans: tuple[Solution, ...]
    left: Ints
    settled: bool = True

    @property
    def unserved(self) -> int:
        """Units without a place."""
        return sum(int(plan.unserved.sum()) for plan in self.plans)

    @property
    def cost(self) -> int:
        """The sum of all plans, in the costs of the wishes."""
        return sum(plan.cost for plan in self.plans)


def one_by_one(wishes: Sequence[Wish], stock: Ints, *, effort: int | None = None) -> Together:
    """Plan each order alone, in turn, on what those before it left.

    Args:
        wishes: The orders, as they come.
        stock: What there is; it is not changed. Shape (places, articles).
        effort: For each order, as in `solve`.
    """
    left, plans = stock.copy(), []
    for wish in wishes:
        plan = solve(wish.on(left), effort=effort)
        left[:, wish.articles] -= plan.units
        plans.append(plan)
    return Together(tuple(plans), left)


def again(
    wishes: Sequence[Wish],
    before: Together,
    *,
    passes: int = PASSES,
    exchanges: int = EXCHANGES,
    effort: int | None = None,
) -> Together:
    """Plan orders again that have a plan already, from what they hold and what is left.

    In each pass each order gives back its units and is planned again. If it would do better with
    units that others hold, it and one or two of them give back, it is planned first, and they on
    the rest; that stands if fewer of their units are unserved, or as many at less cost. Passes end
    when nothing moves.

    Args:
        wishes: The orders, none of them released; the same as `before` was made for.
        before: Their plans, and what is left beside them.
        passes: At most so many.
        exchanges: So many may an order try in a pass.
        effort: For each plan, as in `solve`.
    """
    table = _Table(list(wishes), list(before.plans), before.left.copy(), exchanges, effort)
    settled = False
    for _ in range(passes):
        moved = [table.improve(number) for number in range(len(wishes))]
        settled = not any(moved)
        if settled:
            break
    return Together(tuple(table.plans), table.left, settled)


@dataclass(slots=True, eq=False)
class _Table:
    """The plans and the rest of the stock while they change."""

    wishes: list[Wish]
    plans: list[Solution]
    left: Ints
    exchanges: int
    effort: int | None
    everything: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.everything = self.left.copy()
        for wish, plan in zip(self.wishes, self.plans, strict=True):
            self.everything[:, wish.articles] += plan.units

    def improve(self, number: int) -> bool:
        """Plan this order again, alone or in exchange with one or two others; whether it helped."""
        if self._swap([number]):
            return True
        holders = self._holders(number)
        others = chain.from_iterable(combinations(holders, size) for size in (1, 2))
        return any(self._swap([number, *some]) for some in islice(others, self.exchanges))

    def _swap(self, numbers: Sequence[int]) -> bool:
        """Plan these again, the first one first; keep it if they are better off together."""
        for number in numbers:
            self.left[:, self.wishes[number].articles] += self.plans[number].units
        old = [self.plans[number] for number in numbers]
        new = one_by_one([self.wishes[n] for n in numbers], self.left, effort=self.effort).plans
        better = _rank(new) < _rank(old)
        for number, plan in zip(numbers, new if better else old, strict=True):
            self.left[:, self.wishes[number].articles] -= plan.units
            self.plans[number] = plan
        return better

    def _holders(self, number: int) -> list[int]:
        """Orders that hold units which this one would rather have."""
        wish, mine = self.wishes[number], self.plans[number]
        ideal = solve(wish.on(self.everything), effort=self.effort)
        if _rank([ideal]) >= _rank([mine]):
            return []
        short = np.zeros(self.left.shape, np.bool_)
        lacks = ideal.units > self.left[:, wish.articles] + mine.units
        short[:, wish.articles] = lacks
        return [
            other
            for other, plan in enumerate(self.plans)
            if other != number and plan.units[short[:, self.wishes[other].articles]].any()
        ]


def _rank(plans: Sequence[Solution]) -> tuple[int, int]:
    return sum(int(plan.unserved.sum()) for plan in plans), sum(plan.cost for plan in plans)
