"""The relaxed problem, in which places send in part: bounds that are proven, and where to look.

With a price for each item in place of "all that is wanted is served", the places no longer have
anything to do with each other, and each price gives a bound (Lagrangian duality; Geoffrion 1974):

    bound(price, each) = price . wanted + each * most_or_least
                         - sum over rows of max(0, worth(row) - fixed + each)
    worth(row) = sum over items of cap * max(0, price - cost)

`proven` evaluates it in integers: whatever the prices, no plan costs less. The prices come from an
interior-point method in floats (primal-dual path following, Mehrotra 1992, without his corrector),
on the linear programme whose dual this is. It is solved for many nodes of the search at once.
"""

from dataclasses import dataclass

import numpy as np

from oms.solver.model import BEYOND, Core, Flags, Floats, Ints

_LEAST_STEPS, _MOST_STEPS = 10, 40
_ITEMS = 64
"""So many items make a step cost twice as much for each of them: each is looked at with each."""

_CLOSE, _NEAR = 1e-12, 0.1
"""The method ends where the two sides are this close: of a plan's cost, and of what is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Parts of the search: rows that must send, rows that must not, and how many more may.

    Attributes:
        inside: Rows that send; shape (nodes, rows).
        outside: Rows that do not; shape (nodes, rows).
        count: So many rows at least (at most where the core has a limit) beyond those inside;
            shape (nodes,).
        price: Where to start, in float costs; shape (nodes, items).
        bound: No plan of the node costs less; shape (nodes,).
    """

    inside: Flags
    outside: Flags
    count: Ints
    price: Floats
    bound: Ints

    def __len__(self) -> int:
        return len(self.bound)

    def __getitem__(self, which: Ints | Flags | slice) -> "Nodes":
        return Nodes(
            self.inside[which],
            self.outside[which],
            self.count[which],
            self.price[which],
            self.bound[which],
        )

    def columns(self, rows: Ints) -> "Nodes":
        """The same for these rows alone."""
        inside, outside = self.inside[:, rows], self.outside[:, rows]
        return Nodes(inside, outside, self.count, self.price, self.bound)


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """What prices prove, in costs times `scale`.

    Attributes:
        total: No plan of the node costs less; shape (nodes,).
        less: By how much each row's part is below 0; shape (nodes, rows). Where it is above, not
            to send costs at least so much more than `total`; where below, to send does.
        each: What a row that sends is worth besides; in `less`; shape (nodes,).
    """

    total: Ints
    less: Ints
    each: Ints


class Relaxation:
    """The relaxed problem of one core. `above`: what a plan costs that is known, at least 1."""

    def __init__(self, core: Core, above: int) -> None:
        self.core = core
        self.above = above
        items = len(core.wanted) + 1
        room = 2**58 // (above * items)
        self.scale = 2 ** max(0, min(20, room.bit_length() - 1))
        # What all units of an item are worth at most: a row is worth less than 2**60, and costs
        # beyond that, which might not fit 64 bits, matter no more than these do.
        self.limit = min(4 * above * self.scale, 2**60 // items)
        self._dearest = self.limit // core.wanted
        self._cost = np.minimum(core.cost, self._dearest // self.scale + 1) * self.scale
        self._fixed = np.minimum(core.fixed, 2**60 // self.scale) * self.scale
        self.sign = 1.0 if core.most is None else -1.0
        # In floats, a plan costs about 1.
        self.wanted, self.cap = core.wanted.astype(float), core.cap.astype(float)
        self.cost, self.fixed = core.cost / above, core.fixed / above

    def proven(self, nodes: Nodes, price: Floats) -> Proof:
        """The bound by these prices, in integers.

        Args:
            nodes: The parts of the search.
            price: Of each item, in floats where `above` is 1; shape (nodes, items).
        """
        prices = np.clip(np.nan_to_num(price) * self.above * self.scale, 0, self._dearest)
        prices = np.minimum(np.rint(prices).astype(np.int64), self._dearest)
        worth = (np.maximum(prices[:, None, :] - self._cost, 0) * self.core.cap).sum(axis=2)
        less = worth - self._fixed
        free = ~(nodes.inside | nodes.outside)
        each = self._each(np.where(free, -less, BEYOND), nodes.count)
        inside = np.where(nodes.inside, less, 0)
        less += each[:, None]
        sends = np.where(free, np.maximum(less, 0), 0)
        total = prices @ self.core.wanted + each * nodes.count - inside.sum(axis=1)
        fits = sends.sum(axis=1, dtype=float) + abs(inside.sum(axis=1, dtype=float)) < 2**60
        total = np.where(fits, total - sends.sum(axis=1), -BEYOND)
        return Proof(total, less, each)

    def _each(self, parts: Ints, count: Ints) -> Ints:
        """What sending is worth besides, so that as many rows do as must, or not more than may."""
        count = np.clip(count, 0, parts.shape[1] - 1)
        least = self.core.most is None
        which = (np.maximum(count - 1, 0) if least else count)[:, None]
        each = np.take_along_axis(_ordered(parts, which), which, 1)[:, 0]
        limit = self.limit // np.maximum(1, count)
        return (
            np.where(count > 0, np.clip(each, 0, limit), 0) if least else np.clip(each, -limit, 0)
        )


def _ordered(parts: Ints, which: Ints) -> Ints:
    """The parts of each node in order, at least as far as the one asked for."""
    return np.partition(parts, which[0, 0], axis=1) if len(parts) == 1 else np.sort(parts, axis=1)


def raised(
    relaxation: Relaxation, rows: Ints, price: Floats, each: float, *, rounds: int
) -> Floats:
    """Prices that prove more: one item after the other gets the best one at the others' prices.

    With the other prices as they are, a row begins to give an item at a price of its own; the best
    price is where those that give have as much as is wanted.
    """
    price, wanted = price.copy(), relaxation.wanted
    cap, cost, fixed = (of[rows] for of in (relaxation.cap, relaxation.cost, relaxation.fixed))
    worth = cap * np.maximum(price - cost, 0)
    needed = fixed - each - worth.sum(axis=1)
    begins = np.where(cap > 0, cost, np.inf)
    for item in [*range(len(price))] * rounds:
        needed += worth[:, item]
        at = begins[:, item] + np.maximum(needed, 0) / np.maximum(cap[:, item], 1)
        order = np.argsort(at, kind="stable")
        enough = int(np.searchsorted(np.cumsum(cap[order, item]), wanted[item]))
        price[item] = at[order[min(enough, len(order) - 1)]]
        worth[:, item] = cap[:, item] * np.maximum(price[item] - cost[:, item], 0)
        needed -= worth[:, item]
    return price


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """What the relaxed problem tells of each node.

    Attributes:
        proof: By the best prices found.
        share: How much of each row sends; shape (nodes, rows).
        price: The prices; shape (nodes, items).
        cells: Rows times items looked at, and more where there are many items.
    """

    proof: Proof
    share: Floats
    price: Floats
    cells: int


def relax(relaxation: Relaxation, nodes: Nodes, enough: int, effort: int) -> Relaxed:
    """Look for the prices that prove the most; stop where all prove that plans cost `enough`.

    It also stops where the effort ends, and `_LEAST_STEPS` were taken.
    """
    goal, cells = enough / relaxation.above, 0
    price, share = nodes.price.copy(), np.zeros(nodes.inside.shape)
    left, inner = np.arange(len(nodes)), _Interior(relaxation, nodes)
    steps = 0
    while len(left) and steps < _MOST_STEPS and (cells <= effort or steps < _LEAST_STEPS):
        # A node without any plan runs off to where floats end; what was proven before stands.
        try:
            inner.step()
        except np.linalg.LinAlgError:
            break
        steps += 1
        cells += inner.x.size * (_ITEMS + inner.x.shape[2]) // _ITEMS
        done = inner.done(goal)
        price[left[done]], share[left[done]] = inner.best_price[done], inner.y[done]
        left = left[~done]
        if done.any():
            inner.go_on(~done)
    price[left], share[left] = inner.best_price, inner.y
    return Relaxed(relaxation.proven(nodes, price), np.nan_to_num(share), price, cells)


class _Interior:
    """The primal-dual method; x: units given, y: share of a row that sends; one batch of nodes.

    Primal: min fixed y + cost x, sum over rows x = wanted, x <= cap y, 0 <= y <= 1, and
    sign (sum y - count) >= 0. With s = cap y - x, q = 1 - y, z = sign (sum y - count), the products
    x r, s t, y p, q w, z u of each with its dual go to 0 together; r = cost - price + t and
    p = fixed - sign u - cap t + w hold throughout, so that the dual is feasible at every step.
    """

    def __init__(self, relaxation: Relaxation, nodes: Nodes) -> None:
        self.of = relaxation
        self.inside = nodes.inside
        self.free = ~nodes.inside & ~nodes.outside
        self.some = (relaxation.cap > 0) & ~nodes.outside[:, :, None]
        self.count = nodes.count.astype(float)
        self.size = 2.0 * self.some.sum(axis=(1, 2)) + 2.0 * self.free.sum(axis=1) + 1
        self.sigma = np.full(len(nodes), 0.1)
        self.price = nodes.price.copy()
        self.u = np.full(len(nodes), 0.05)
        self.best = np.full(len(nodes), -np.inf)
        self.best_price = self.price.copy()
        self._start()
        self._measure()

    def _start(self) -> None:
        of, some, free = self.of, self.some, self.free
        self.y = np.where(free, 0.5, np.where(self.inside, 1.0, 0.0))
        self.x = np.where(some, of.cap * self.y[:, :, None] / 2, 1.0)
        self.s = np.where(some, of.cap * self.y[:, :, None] - self.x, 1.0)
        price = self.price[:, None, :]
        t = np.maximum(price - of.cost, 0) + 0.1 / np.maximum(1, of.cap)
        self.t = np.where(some, t, 1.0)
        self.r = np.where(some, of.cost - price + t, 1.0)
        worth = (of.cap * self.t).sum(axis=2) + of.sign * self.u[:, None] - of.fixed
        self.w = np.where(free, np.maximum(worth, 0) + 0.1, 1.0)
        self.p = np.where(free, self.w - worth, 1.0)
        self.q = np.where(free, 1 - self.y, 1.0)
        self.z = np.maximum(of.sign * (self._sending() - self.count), 0.5)

    def _sending(self) -> Floats:
        sending: Floats = (self.y * self.free).sum(axis=1)
        return sending

    def _measure(self) -> None:
        """The bound by the prices as they stand, and how far from the end the method is."""
        of, each = self.of, self.of.sign * self.u
        worth = (of.cap * np.maximum(self.price[:, None, :] - of.cost, 0)).sum(axis=2) - of.fixed
        part = np.where(self.inside, worth, np.maximum(worth + each[:, None], 0) * self.free)
        bound = self.price @ of.wanted + each * self.count - part.sum(axis=1)
        better = bound > self.best
        self.best = np.where(better, bound, self.best)
        self.best_price[better] = self.price[better]
        products = (self.x * self.r + self.s * self.t) * self.some
        rows = (self.y * self.p + self.q * self.w) * self.free
        self.mu = (products.sum(axis=(1, 2)) + rows.sum(axis=1) + self.z * self.u) / self.size

    def done(self, goal: float) -> Flags:
        """Whether each node has reached the goal, or nearly what there is to reach."""
        apart = self.mu * self.size
        near = np.maximum(_CLOSE, _NEAR * (goal - self.best))
        reached: Flags = (self.best >= goal) | ~(apart > near)
        return reached

    def go_on(self, which: Flags) -> None:
        """Keep these nodes only."""
        for name, value in vars(self).items():
            if name != "of":
                setattr(self, name, value[which])

    def step(self) -> None:
        """One Newton step towards products that are a part of what they are now."""
        of, free, some = self.of, self.free, self.some
        x, s, r, t, y, q, p, w = self.x, self.s, self.r, self.t, self.y, self.q, self.p, self.w
        y = np.where(free, y, 1.0)
        target = self.sigma * self.mu
        ex, es = target[:, None, None] - x * r, target[:, None, None] - s * t
        ey, eq = target[:, None] - y * p, target[:, None] - q * w
        ez = target - self.z * self.u
        over = some / (s * r + t * x)
        a, e = (r * es + t * ex) * over, t * x * over
        columns = np.concatenate([of.cap * e, np.full((*free.shape, 1), of.sign)], axis=2)
        d = free / (p / y + w / q + (of.cap * of.cap * t * r * over).sum(axis=2))
        h = ey / y - eq / q + (of.cap * a).sum(axis=2)
        base, xs = (s * ex - x * es) * over, x * s * over
        matrix = np.matmul(columns.transpose(0, 2, 1) * d[:, None, :], columns)
        every = np.arange(matrix.shape[1])
        matrix[:, every, every] += np.c_[xs.sum(axis=1), self.z / self.u]
        matrix[:, every, every] *= 1 + 1e-13
        short = of.wanted - ((x * some).sum(axis=1) + base.sum(axis=1))
        few = of.sign * (self.count - self._sending()) + self.z + ez / self.u
        right = np.c_[short, few] - np.matmul((h * d)[:, None, :], columns)[:, 0]
        move = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
        dy = (h + np.matmul(columns, move[:, :, None])[:, :, 0]) * d
        dv, du = move[:, None, :-1], move[:, -1]
        dt = (a - of.cap * t * r * over * dy[:, :, None] + e * dv) * some
        dx = (base + of.cap * e * dy[:, :, None] + xs * dv) * some
        ds = (of.cap * dy[:, :, None] - dx) * some
        dr = (dt - dv) * some
        dw = (eq + w * dy) / q * free
        dp = (dw - (of.cap * dt).sum(axis=2) - of.sign * du[:, None]) * free
        dz = (ez - self.z * du) / self.u
        primal = _length((x, dx), (s, ds), (y, dy), (q, -dy), (self.z, dz))
        dual = _length((r, dr), (t, dt), (p, dp), (w, dw), (self.u, du))
        one, two = primal[:, None], primal[:, None, None]
        self.x, self.s, self.y = x + two * dx, s + two * ds, self.y + one * dy
        self.q, self.z = q - one * dy, self.z + primal * dz
        one, two = dual[:, None], dual[:, None, None]
        self.r, self.t, self.p, self.w = r + two * dr, t + two * dt, p + one * dp, w + one * dw
        self.price, self.u = self.price + dual[:, None] * move[:, :-1], self.u + dual * du
        slow = np.minimum(primal, dual)
        self.sigma = np.where(slow > 0.9, 0.01, np.where(slow > 0.5, 0.1, 0.3))
        self._measure()


def _length(*moves: tuple[Floats, Floats]) -> Floats:
    """How far each node may go so that all stay above 0."""
    most = np.full(len(moves[0][0]), 1.0)
    for at, move in moves:
        ratio = (move / np.maximum(at, 1e-150)).reshape(len(most), -1).min(axis=1, initial=0.0)
        most = np.minimum(most, -0.99 / np.minimum(ratio, -0.99))
    return most
