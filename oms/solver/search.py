"""Branch and bound over the rows that are left in question.

Every node is a part of the sets of rows: some send, some do not. The relaxed problem bounds what
its plans cost; a part that cannot hold a better plan is dropped, the others are halved at the row
of which the relaxed problem sends about half. Batches of nodes are worked out at once.
"""

from dataclasses import dataclass, field

import numpy as np

from oms.solver.model import Core, Flags, Floats, Ints
from oms.solver.plans import Plans
from oms.solver.relaxed import Nodes, Relaxation, Relaxed, relax

_CELLS = 60_000
"""Rows times items times nodes worked out at once, about."""

_PAIRS = 50_000_000
"""Pairs of rows times items compared at most."""


@dataclass(slots=True)
class Found:
    """The best plan so far: rows that send, what it costs, and no plan costs less than `bound`."""

    rows: Ints
    cost: int
    bound: int = 0
    spent: int = field(default=0)

    @property
    def proven(self) -> bool:
        """Whether no plan costs less."""
        return self.bound >= self.cost

    def offer(self, rows: Ints, cost: int) -> None:
        """Take this plan if it costs less."""
        if cost < self.cost:
            self.rows, self.cost = rows, cost


class Search:
    """One search over one core; it betters what was `found` until that is proven."""

    def __init__(self, core: Core, relaxation: Relaxation, plans: Plans, found: Found) -> None:
        self.core, self.relaxation, self.plans, self.found = core, relaxation, plans, found
        self.dominates = _dominance(core)
        self.dearest = int(core.cost.max(axis=0) @ core.wanted)

    def run(self, pool: Nodes, effort: int) -> None:
        """Search the nodes of the pool until nothing is left or the effort is spent."""
        size = max(1, min(64, _CELLS // self.core.cap.size))
        while len(pool):
            if self.found.spent >= effort:
                self.found.bound = max(self.found.bound, min(self.found.cost, pool.bound.min()))
                return
            order = np.argsort(pool.bound, kind="stable")
            batch, pool = pool[order[:size]], pool[order[size:]]
            pool = _joined(pool, self._expanded(batch, effort - self.found.spent))
            pool = pool[pool.bound < self.found.cost]
        self.found.bound = self.found.cost

    def _expanded(self, batch: Nodes, effort: int) -> Nodes:
        """What is left to search of these nodes: two halves of each, or nothing."""
        relaxed = relax(self.relaxation, batch, self._below() + 1, effort)
        self.found.spent += relaxed.cells
        self._try(batch, relaxed)
        batch = self._fixed(batch, relaxed)
        decided = (batch.inside | batch.outside).all(axis=1)
        self._try_sets(batch.inside[decided])
        left = (batch.bound < self.found.cost) & ~decided
        return self._halves(batch[left], relaxed.share[left])

    def _below(self) -> int:
        """What a plan costs at most that costs less than the one found."""
        return (self.found.cost - 1) // self.core.step * self.core.step

    def _fixed(self, batch: Nodes, relaxed: Relaxed) -> Nodes:
        """The nodes with their new bounds, and without choices that lead to nothing better."""
        total, less = relaxed.proof.total, relaxed.proof.less
        step, scale = self.core.step, self.relaxation.scale
        bound = np.maximum(batch.bound, -(-total // (scale * step)) * step)
        room = self._below() * scale - total
        free = ~(batch.inside | batch.outside)
        inside = batch.inside | (free & (less > room[:, None]))
        outside = batch.outside | (free & (-less > room[:, None]))
        count = batch.count - (inside & ~batch.inside).sum(axis=1)
        return Nodes(inside, outside, count, relaxed.price, bound)

    def _try(self, batch: Nodes, relaxed: Relaxed) -> None:
        """Make plans of what the relaxed problem sends."""
        self._try_sets(relaxed.share > 0.5)
        node = int(np.argmin(batch.bound))
        start = np.flatnonzero(batch.inside[node] & ~self.core.sends)
        rows = self.plans.greedy(relaxed.price[node], start)
        near = np.argsort(-relaxed.proof.less[node], kind="stable")[:40]
        self.found.offer(*self.plans.bettered(rows, near))

    def _try_sets(self, masks: Flags) -> None:
        """Take the best of these sets if it costs less."""
        self.found.offer(*self.plans.best_of(masks))

    def _halves(self, nodes: Nodes, share: Floats) -> Nodes:
        """Each node with the row sending, and with it not sending."""
        free = ~(nodes.inside | nodes.outside)
        row = np.argmin(np.where(free, abs(share - 0.5), np.inf), axis=1)
        every = np.arange(len(nodes))
        inside, outside = nodes.inside.copy(), nodes.outside.copy()
        inside[every, row] = True
        outside[every, row] = True
        # A row sends only if those do that are better in every way.
        inside |= self.dominates.T[row]
        outside |= self.dominates[row]
        with_row = self._child(nodes, inside, nodes.outside)
        return _joined(with_row, self._child(nodes, nodes.inside, outside))

    def _child(self, nodes: Nodes, inside: Flags, outside: Flags) -> Nodes:
        """The nodes with these rows decided, without those in which not all can be served."""
        count = nodes.count - (inside & ~nodes.inside).sum(axis=1)
        if self.core.most is None:
            count = np.maximum(count, self._fewest(nodes.bound, inside, outside))
        else:
            outside = outside | ((count <= 0)[:, None] & ~inside)
        served = (~outside).astype(np.int64) @ self.core.cap >= self.core.wanted
        good = np.array(served.all(axis=1) & ~(inside & outside).any(axis=1))
        if self.core.most is not None:
            good &= count >= 0
        return Nodes(inside, outside, count, nodes.price, nodes.bound)[good]

    def _fewest(self, bound: Ints, inside: Flags, outside: Flags) -> Ints:
        """How many rows more each node needs at least."""
        core = self.core
        left = np.maximum(core.wanted - inside.astype(np.int64) @ core.cap, 0)
        free = ~(inside | outside)
        cap = np.minimum(np.where(free[:, :, None], core.cap, 0), left[:, None, :])
        most = np.cumsum(-np.sort(-cap, axis=1), axis=1)
        few: Ints = (most < left[:, None, :]).sum(axis=1).max(axis=1) + left.any(axis=1)
        alone = (cap == left[:, None, :]).all(axis=2).any(axis=1)
        few = np.where((few == 1) & ~alone, 2, few)
        # So many rows cannot cost as much as any plan here does: it takes more. In floats, as the
        # sum of all fixed costs may not fit 64 bits; they err by far less than is allowed for.
        fixed = np.where(free, core.fixed, 0).astype(float)
        highest = np.cumsum(-np.sort(-fixed, axis=1), axis=1)
        highest = np.c_[0.0 * bound, highest] + (inside @ core.fixed.astype(float))[:, None]
        highest = (highest + self.dearest) * (1 + 1e-9)
        few = np.maximum(few, (highest < bound[:, None]).sum(axis=1))
        return few


def root(core: Core, price: Floats, count: int, bound: int = 0) -> Nodes:
    """The one node that is everything."""
    inside = core.sends[None].copy()
    outside = np.zeros_like(inside)
    return Nodes(inside, outside, np.array([count]), price[None], np.array([bound]))


def _dominance(core: Core) -> Flags:
    """[a, b]: a has at least what b has, at no higher costs: b sends only if a does.

    Left out where there are too many pairs to compare.
    """
    rows = len(core.fixed)
    if rows * core.cap.size > _PAIRS:
        return np.zeros((rows, rows), np.bool_)
    better = core.fixed[:, None] <= core.fixed
    for item in range(len(core.wanted)):
        cap, cost = core.cap[:, item], core.cost[:, item]
        better &= (cap[:, None] >= cap) & ((cost[:, None] <= cost) | (cap == 0))
    same = better & better.T
    better &= ~same | (np.arange(rows)[:, None] < np.arange(rows))
    return better & ~core.sends[:, None] & ~core.sends


def _joined(one: Nodes, other: Nodes) -> Nodes:
    return Nodes(
        np.concatenate([one.inside, other.inside]),
        np.concatenate([one.outside, other.outside]),
        np.concatenate([one.count, other.count]),
        np.concatenate([one.price, other.price]),
        np.concatenate([one.bound, other.bound]),
    )
