"""The best places to serve an order from: numbers in, numbers out; knows nothing of orders."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

DEFAULT = 200_000
"""Effort by default: sets of places looked at before the best found so far stands."""

_EXHAUSTIVE = 12


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is wanted, and what each place can give at what cost.

    Places come in the order that breaks ties. All costs are integers of one unit; the caller
    promises that no plan's total, of either sign, reaches 2**61.

    Attributes:
        wanted: Units of each item, at least 1; shape (items,).
        stock: Units each place can give, at least 0; shape (places, items).
        fixed: Cost as soon as a place sends anything, at least 0; shape (places,).
        unit: Cost of one unit, of either sign; shape (places, items).
        divide: Whether units of the item may come from several places; shape (items,). An item
            that may not is served whole by one place, or not at all.
        most_places: At most so many places send; None for any number.
        opened: Places that send anyway: they have no fixed cost and are not counted in
            `most_places`; shape (places,). None for none.
    """

    wanted: Ints
    stock: Ints
    fixed: Ints
    unit: Ints
    divide: Flags
    most_places: int | None = None
    opened: Flags | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A plan that can be carried out, and how good it is.

    Attributes:
        units: What each place gives; shape (places, items).
        unserved: Units of each item that no place gives; shape (items,).
        cost: Fixed and unit costs of the plan.
        bound: No plan that serves as many units costs less.
        exact: The plan is proven the best: it serves the most units, and `cost == bound`.
    """

    units: Ints
    unserved: Ints
    cost: int
    bound: int
    exact: bool

    def gives(self) -> list[tuple[int, int, int]]:
        """What is sent as (place, item, units), sorted; units at least 1."""
        places, items = np.nonzero(self.units)
        found = zip(places, items, self.units[places, items], strict=True)
        return [(int(place), int(item), int(units)) for place, item, units in found]


def solve(problem: Problem, *, effort: int = DEFAULT) -> Solution:
    """Serve as many units as can be served; among the plans that do, the one of least cost.

    Args:
        problem: The arrays; the answer is a function of them alone.
        effort: How much may be tried. It counts work, never time.

    Returns:
        A plan, never infeasible; with a bound where it is not proven to be the best.
    """
    opened = np.zeros(len(problem.fixed), np.bool_) if problem.opened is None else problem.opened
    givers = np.flatnonzero((np.minimum(problem.stock, problem.wanted) > 0).any(axis=1) & ~opened)
    most = len(givers) if problem.most_places is None else min(problem.most_places, len(givers))
    if len(givers) <= _EXHAUSTIVE and 2 ** len(givers) <= effort:
        sets = [s for size in range(most + 1) for s in combinations(givers.tolist(), size)]
        best = min((_fill(problem, opened, s) for s in sets), key=_rank)
        return _solution(problem, best, bound=best[1], exact=True)
    best = _greedy(problem, opened, givers.tolist(), most)
    cheapest = int(np.minimum(problem.unit, 0).min(axis=0, initial=0) @ problem.wanted)
    if problem.most_places is None:
        cheapest = _fill(problem, np.ones_like(opened), ())[1]
    return _solution(problem, best, bound=min(cheapest, best[1]), exact=False)


_Filled = tuple[int, int, Ints]


def _rank(filled: _Filled) -> tuple[int, int]:
    return filled[0], filled[1]


def _greedy(problem: Problem, opened: Flags, givers: list[int], most: int) -> _Filled:
    """Add the place that helps most until none does, then drop those that can be spared."""
    chosen: list[int] = []
    best = _fill(problem, opened, ())
    while len(chosen) < most:
        tries = [(_fill(problem, opened, (*chosen, g)), g) for g in givers if g not in chosen]
        found, giver = min(tries, key=lambda t: _rank(t[0]))
        if _rank(found) >= _rank(best):
            break
        best = found
        chosen.append(giver)
    for giver in sorted(chosen, reverse=True):
        found = _fill(problem, opened, tuple(c for c in chosen if c != giver))
        if _rank(found) < _rank(best):
            best = found
            chosen.remove(giver)
    return best


def _fill(problem: Problem, opened: Flags, chosen: tuple[int, ...]) -> _Filled:
    """Units unserved, cost, and units if the opened and the chosen places send."""
    sends = opened.copy()
    sends[list(chosen)] = True
    stock = np.where(sends[:, None], np.minimum(problem.stock, problem.wanted), 0)
    stock = np.where(problem.divide | (stock == problem.wanted), stock, 0)
    units = np.zeros_like(stock)
    for item, wanted in enumerate(problem.wanted):
        order = np.lexsort((problem.unit[:, item], stock[:, item] == 0))
        before = np.cumsum(stock[order, item]) - stock[order, item]
        units[order, item] = np.clip(wanted - before, 0, stock[order, item])
    paid = units.any(axis=1) & ~opened & (problem.fixed > 0)
    cost = int(problem.fixed[paid].sum() + (units * problem.unit).sum())
    return int(problem.wanted.sum() - units.sum()), cost, units


def _solution(problem: Problem, filled: _Filled, *, bound: int, exact: bool) -> Solution:
    _, cost, units = filled
    return Solution(units, problem.wanted - units.sum(axis=0), cost, bound, exact)
