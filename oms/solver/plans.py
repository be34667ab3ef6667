"""Sets of rows that send: what they cost, and how to better them.

Once it is known who sends, each item is served from the cheapest units first: that is optimal, as
the items no longer have anything to do with each other.
"""

import numpy as np

from oms.solver.model import BEYOND, Core, Flags, Floats, Ints, Problem

_SWAPS = 100_000
"""Rows in all sets tried in one round of exchanges times items, about."""


class Plans:
    """The sets of rows of one core. A set is rows in any order, filled up with `nobody`."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.nobody = len(core.fixed)
        none = np.zeros((1, len(core.wanted)), np.int64)
        self._cap, self._cost = np.vstack([core.cap, none]), np.vstack([core.cost, none])
        self._fixed = np.append(core.fixed, 0)
        self._anyway = np.flatnonzero(core.sends)
        self._counted = np.append(~core.sends, False)

    def costs(self, sets: Ints) -> Ints:
        """What each set costs; BEYOND where it does not serve all. Shapes (n, size), (n,)."""
        anyway = np.broadcast_to(self._anyway, (len(sets), len(self._anyway)))
        sets = np.concatenate([sets, anyway], axis=1)
        cap, cost = self._cap[sets], self._cost[sets]
        order = np.argsort(cost, axis=1)
        cap, cost = np.take_along_axis(cap, order, 1), np.take_along_axis(cost, order, 1)
        sofar = np.cumsum(cap, axis=1)
        given = np.clip(self.core.wanted - (sofar - cap), 0, cap)
        total = (given * cost).sum(axis=(1, 2)) + self._fixed[sets].sum(axis=1)
        short = (cap.sum(axis=1) < self.core.wanted).any(axis=1)
        if self.core.most is not None:
            short |= self._counted[sets].sum(axis=1) > self.core.most
        return np.where(short, BEYOND, total)

    def singles(self) -> Ints:
        """What each row costs if it alone sends, with those that do anyway."""
        core = self.core
        if len(self._anyway):
            rows = np.arange(len(core.fixed))
            return self.costs(np.where(core.sends, self.nobody, rows)[:, None])
        total = core.fixed + core.cost @ core.wanted
        return np.where((core.cap == core.wanted).all(axis=1), total, BEYOND)

    def cost(self, rows: Ints) -> int:
        """What the set of these rows costs."""
        return int(self.costs(rows[None])[0])

    def best_of(self, masks: Flags) -> tuple[Ints, int]:
        """Of these sets the one that costs least, and what it costs; BEYOND if none serves all."""
        core = self.core
        masks = masks | core.sends
        # In floats for their speed: units of one item are exact in them.
        served = (masks.astype(float) @ core.cap.astype(float) >= core.wanted).all(axis=1)
        sets = self._as_sets(masks[served] & ~core.sends)
        if not len(sets):
            return np.zeros(0, np.int64), BEYOND
        costs = self.costs(sets)
        best = int(np.argmin(costs))
        return sets[best][sets[best] < self.nobody], int(costs[best])

    def _as_sets(self, masks: Flags) -> Ints:
        """Rows of each mask, ascending, filled up with nobody."""
        sizes = masks.sum(axis=1)
        sets = np.full((len(masks), int(sizes.max(initial=0))), self.nobody)
        which, rows = np.nonzero(masks)
        sets[which, np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)] = rows
        return sets

    def greedy(self, price: Floats, start: Ints) -> Ints:
        """Add to `start` the row that serves what is left at the least cost for its worth.

        Args:
            price: What a unit is worth, of any scale; shape (items,).
            start: Rows that send in any case.
        """
        core, chosen = self.core, [int(row) for row in start]
        closed = core.sends.copy()
        closed[chosen] = True
        left = np.maximum(core.wanted - core.cap[closed].sum(axis=0), 0)
        price = np.maximum(price, max(1e-9, 1e-3 * float(price.max(initial=0))))
        while left.any() and (core.most is None or len(chosen) < core.most):
            given = np.minimum(core.cap, left)
            worth = given @ price
            worth[closed] = 0
            if not worth.any():
                break
            spent = core.fixed + (given * core.cost).sum(axis=1)
            row = int(np.argmin(np.where(worth > 0, spent / np.maximum(worth, 1e-12), np.inf)))
            chosen.append(row)
            closed[row] = True
            left -= given[row]
        return np.array(chosen, np.int64)

    def bettered(self, rows: Ints, candidates: Ints) -> tuple[Ints, int]:
        """Leave rows out and exchange them for candidates as long as that costs less.

        Returns:
            The rows, ascending, and what they cost.
        """
        rows, cost = np.sort(rows), self.cost(rows)
        while True:
            sets = self._neighbours(rows, candidates)
            if not len(sets):
                return rows, cost
            costs = self.costs(sets)
            best = int(np.argmin(costs))
            if costs[best] >= cost:
                return rows, cost
            cost = int(costs[best])
            rows = np.sort(sets[best][sets[best] < self.nobody])

    def _neighbours(self, rows: Ints, candidates: Ints) -> Ints:
        """The sets with one row less, another in its place, or one more."""
        fresh = ~self.core.sends
        fresh[rows] = False
        numbers = (len(rows) + 1) ** 2 * len(self.core.wanted)
        candidates = candidates[fresh[candidates]][: _SWAPS // numbers]
        others = np.append(candidates, self.nobody)
        sets = np.broadcast_to(rows, (len(rows), len(others), len(rows))).copy()
        every = np.arange(len(rows))
        sets[every, :, every] = others
        sets = np.concatenate([sets, np.full((*sets.shape[:2], 1), self.nobody)], axis=2)
        more = np.concatenate([np.broadcast_to(rows, (len(others), len(rows))), others[:, None]], 1)
        return np.concatenate([sets.reshape(-1, len(rows) + 1), more[:-1]])


def earlier(problem: Problem, units: Ints) -> Flags:
    """Who sends, with each place exchanged for the first that gives the same at the same cost."""
    units = units.copy()
    opened = np.zeros(len(units), np.bool_) if problem.opened is None else problem.opened
    for place in np.flatnonzero(units.any(axis=1) & ~opened)[::-1]:
        items = np.flatnonzero(units[place])
        given = units[place, items]
        costs = problem.fixed[: place + 1] + problem.unit[: place + 1, items] @ given
        same = (costs[:place] == costs[place]) & ~opened[:place] & ~units[:place].any(axis=1)
        same &= (problem.stock[:place, items] >= given).all(axis=1)
        if same.any():
            units[int(np.argmax(same)), items] = given
            units[place] = 0
    return np.array(units.any(axis=1))


def subsets(costs: Ints, room: int, most: int) -> Flags | None:
    """All sets whose costs together are at most `room`, as masks; None if more than `most`.

    Args:
        costs: Of each member, at least 0; shape (members,).
        room: At least 0.
        most: So many sets are still listed.
    """
    order = np.argsort(costs, kind="stable")
    sorted_ = costs[order]
    level, spent, last = np.zeros((1, len(costs)), np.bool_), np.zeros(1, np.int64), np.array([-1])
    levels, listed = [level], 1
    while len(level):
        # Each set goes on with any later member that still fits.
        more = np.maximum(np.searchsorted(sorted_, room - spent, side="right") - last - 1, 0)
        listed += int(more.sum())
        if listed > most:
            return None
        parent = np.repeat(np.arange(len(level)), more)
        last = np.arange(len(parent)) - np.repeat(np.cumsum(more) - more - last - 1, more)
        level, spent = level[parent], spent[parent] + sorted_[last]
        level[np.arange(len(level)), order[last]] = True
        levels.append(level)
    return np.concatenate(levels)


def filled(problem: Problem, sends: Flags) -> tuple[Ints, int]:
    """Units from the places that send, cheapest first and the earlier among equals; the cost.

    Args:
        problem: Its arrays as they were given.
        sends: Whether the place sends, besides those `opened`; shape (places,).
    """
    opened = np.zeros_like(sends) if problem.opened is None else problem.opened
    units = np.zeros_like(problem.stock)
    rows = np.flatnonzero(sends | opened)
    cap = np.minimum(problem.stock[rows], problem.wanted)
    cap = np.where(problem.divide | (cap == problem.wanted), cap, 0)
    # Where there is nothing, the cost does not matter: nothing is taken.
    order = np.argsort(problem.unit[rows], axis=0, kind="stable")
    cap = np.take_along_axis(cap, order, 0)
    given = np.clip(problem.wanted - (np.cumsum(cap, axis=0) - cap), 0, cap)
    units[rows[order], np.arange(len(problem.wanted))] = given
    paid = units.any(axis=1) & ~opened
    return units, int(problem.fixed[paid].sum() + (units * problem.unit).sum())
