"""The way to a proven plan: one place at first, then what the relaxation leaves in question."""

import numpy as np

from oms.solver.model import BEYOND, Core, Flags, Floats, Ints
from oms.solver.plans import Plans, subsets
from oms.solver.relaxed import Proof, Relaxation, raised, relax
from oms.solver.search import Found, Search, root
from oms.solver.units import by_units, work

_FEW = 64
"""So many rows are searched without leaving out first what the best prices rule out."""

_STARTS = 100
"""Rows with each of which a plan begins, where all else was not enough."""

_SETS, _MASKS = 5_000, 5_000_000
"""So few sets are all looked at; so many rows of them."""

_CHEAP = 300_000
_NUMBERS = 30
"""Numbers of states that take as long as one cell of the relaxed problem."""


def best(core: Core, effort: int) -> Found:
    """The plan of least cost; one with a bound on how far it may be off, if the effort ends."""
    plans = Plans(core)
    found = _first(core, plans)
    if not found.proven:
        _Question(core, plans, found).answer(effort)
    return found


def _first(core: Core, plans: Plans) -> Found:
    """The best plan with at most one place, or a fair one with more."""
    alone, none = plans.singles(), np.zeros(0, np.int64)
    found = Found(none, plans.cost(none))
    if len(alone):
        row = int(np.argmin(alone))
        found.offer(np.array([row]), int(alone[row]))
    if found.cost >= BEYOND:
        rows = plans.greedy(np.ones(len(core.wanted)), none)
        found.offer(*plans.bettered(rows, none))
    if found.cost == 0 or (core.most is not None and core.most <= 1):
        found.bound = found.cost
    return found


def _shares(core: Core, rows: Ints) -> Floats:
    """Prices at which the plan is worth what it costs: each place's fixed costs by its units."""
    rows = np.append(rows, np.flatnonzero(core.sends))
    cap, cost = core.cap[rows], core.cost[rows]
    order = np.argsort(cost, axis=0, kind="stable")
    ordered = np.take_along_axis(cap, order, 0)
    given = np.clip(core.wanted - (np.cumsum(ordered, axis=0) - ordered), 0, ordered)
    np.put_along_axis(cap, order, given, 0)
    fixed = core.fixed[rows] / np.maximum(1, cap.sum(axis=1))
    shares: Floats = (cap * (cost + fixed[:, None])).sum(axis=0) / core.wanted
    return shares / max(1.0, float(shares @ core.wanted))


class _Question:
    """Which rows may be in a better plan than the one found; fewer and fewer.

    Attributes:
        rows: Those rows.
        price: Of each item; a plan costs about 1.
    """

    def __init__(self, core: Core, plans: Plans, found: Found) -> None:
        self.core, self.plans, self.found = core, plans, found
        self.relaxation = Relaxation(core, found.cost)
        self.price = _shares(core, found.rows)
        # Plans with one place are all known: a better one takes two at least.
        self.everything = root(core, self.price, 2 if core.most is None else core.most)
        self.kept = np.ones(len(core.fixed), np.bool_)

    @property
    def rows(self) -> Ints:
        return np.flatnonzero(self.kept)

    def answer(self, effort: int) -> None:
        """Better what was found until it is proven or the effort ends."""
        proof = self._proven(self.price)
        if not self.found.proven:
            each = self._cheapest_fixed()
            self.price = raised(self.relaxation, self.rows, self.price, each, rounds=2)
            proof = self._proven(self.price)
        if not self.found.proven:
            self._better(proof)
            self._list(proof)
        if not self.found.proven and len(self.rows) > _FEW:
            proof = self._sift(effort)
            self._list(proof)
        if not self.found.proven:
            self._finish(effort)

    def _cheapest_fixed(self) -> float:
        """What every row that sends costs at least."""
        fixed = self.relaxation.fixed[self.kept & ~self.core.sends]
        return float(fixed.min(initial=np.inf)) if self.core.most is None else 0.0

    def _proven(self, price: Floats) -> Proof:
        """What the prices prove; rows that they rule out are."""
        proof = self.relaxation.proven(self.everything, price[None])
        self._rule_out(proof)
        return proof

    def _rule_out(self, proof: Proof) -> None:
        core, found, scale = self.core, self.found, self.relaxation.scale
        total = int(proof.total[0])
        bound = -(-total // (scale * core.step)) * core.step
        found.bound = max(found.bound, min(found.cost, bound))
        room = self._below() * scale - total
        self.kept &= core.sends | (-proof.less[0] <= room)
        if (core.cap[self.kept].sum(axis=0) < core.wanted).any():
            found.bound = found.cost

    def _better(self, proof: Proof) -> None:
        """Make a plan at these prices, and better it with the rows that are worth most."""
        rows = self.rows
        near = rows[np.argsort(-proof.less[0][rows], kind="stable")[:_FEW]]
        cost = self.found.cost
        start = self.plans.greedy(self.price, rows[:0])
        self.found.offer(start, self.plans.cost(start))
        self.found.offer(*self.plans.bettered(self.found.rows, near))
        if self.found.cost < cost:
            self._rule_out(proof)

    def _begin_anywhere(self, proof: Proof) -> None:
        """Make a plan that begins with each of the rows that are worth most."""
        rows = self.rows
        near = np.sort(rows[np.argsort(-proof.less[0][rows], kind="stable")[:_STARTS]])
        plans, cost = Plans(self.core.only(near)), self.found.cost
        for first in np.flatnonzero(~self.core.sends[near])[:, None]:
            chosen = plans.greedy(self.price, first)
            self.found.offer(near[chosen], plans.cost(chosen))
        if self.found.cost < cost:
            self._better(proof)
            self._rule_out(proof)

    def _list(self, proof: Proof) -> None:
        """Look at every set that may be better by these prices, if they are few.

        Next to the rows that are worth more than they cost, each row less or more costs what its
        part is away from 0.
        """
        if self.found.proven or proof.total[0] == -BEYOND:
            return
        rows, less, each = self.rows, proof.less[0], int(proof.each[0])
        bare = less - each
        counted = self.everything.count[0] * each - np.maximum(less[~self.core.sends], 0).sum()
        bound = int(proof.total[0] - counted) - int(np.maximum(bare[rows], 0).sum())
        bound += int(np.maximum(bare[self.core.sends], 0).sum())
        away = np.where(self.core.sends[rows], BEYOND, abs(bare[rows]))
        most = min(_SETS, _MASKS // max(1, len(rows)))
        sets = subsets(away, self._below() * self.relaxation.scale - bound, most)
        if sets is not None:
            small = Plans(self.core.only(rows))
            chosen, cost = small.best_of(sets ^ (bare > 0)[rows])
            self.found.offer(rows[chosen], cost)
            self.found.bound = self.found.cost

    def _below(self) -> int:
        """What a plan costs at most that costs less than the one found."""
        return (self.found.cost - 1) // self.core.step * self.core.step

    def _sift(self, effort: int) -> Proof:
        """Find the best prices, from a part of the rows at a time.

        Rows that are worth more than they cost at these prices are added to the part, until there
        are none (sifting; Bixby et al. 1992).
        """
        core, found = self.core, self.found
        part = _promising(core, self.price * self.relaxation.above) & self.kept
        part[found.rows] = True
        part |= core.sends
        while True:
            chosen = np.flatnonzero(part)
            small = Relaxation(core.only(chosen), self.relaxation.above)
            relaxed = relax(small, self.everything.columns(chosen), found.cost, effort)
            found.spent += relaxed.cells
            self.price = relaxed.price[0]
            proof = self._proven(self.price)
            self._better(proof)
            more = self.kept & ~part & (proof.less[0] > 0)
            if found.proven or not more.any() or found.spent >= effort:
                self._begin_anywhere(proof)
                return proof
            worth = np.where(more, proof.less[0], 0)
            part |= more & (worth >= np.sort(worth)[-_FEW:][0])

    def _finish(self, effort: int) -> None:
        """Search among the rows that are left, or count units where that is less work."""
        found, rows = self.found, self.rows
        small = self.core.only(rows)
        plans, numbers = Plans(small), work(small)
        local = Found(rows[:0], found.cost, found.bound, found.spent)
        if numbers is None or numbers > _CHEAP:
            relaxation = Relaxation(small, self.relaxation.above)
            nodes = root(small, self.price, int(self.everything.count[0]), found.bound)
            limit = effort if numbers is None else min(effort, numbers // _NUMBERS)
            Search(small, relaxation, plans, local).run(nodes, limit)
        cheap = numbers is not None and numbers <= max(_CHEAP, effort * _NUMBERS)
        if not local.proven and cheap:
            counted = by_units(small)
            if counted is not None:
                local.offer(counted, plans.cost(counted))
            local.bound = local.cost
        found.offer(rows[local.rows], local.cost)
        found.bound, found.spent = local.bound, local.spent


def _promising(core: Core, price: Floats) -> Flags:
    """Rows to begin with: for each item those that give it at the least cost, and the worthiest."""
    good = np.zeros(len(core.fixed), np.bool_)
    spread = np.where(
        core.cap > 0, core.cost + core.fixed[:, None] / np.maximum(1, core.cap), np.inf
    )
    few = min(len(good), max(1, min(4, 4 * _FEW // len(core.wanted))))
    good[np.argpartition(spread, few - 1, axis=0)[:few]] = True
    worth = (core.cap * np.maximum(price - core.cost, 0)).sum(axis=1) - core.fixed
    good[np.argsort(-worth, kind="stable")[: _FEW // 2]] = True
    return good
