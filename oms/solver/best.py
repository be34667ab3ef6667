"""The way to a proven plan: one place at first, then what the relaxation leaves in question."""

import numpy as np

from oms.solver.model import BEYOND, Core, Flags, Floats, Ints
from oms.solver.plans import Plans
from oms.solver.relaxed import Nodes, Proof, Relaxation, relax
from oms.solver.search import Found, Search, root
from oms.solver.units import by_units, work

_FEW = 64
"""So many rows are searched without leaving out first what the prices rule out."""

_ROUNDS = 8
_CHEAP = 300_000
_NUMBERS = 30
"""Numbers of states that take as long as one cell of the relaxed problem."""


def best(core: Core, effort: int) -> Found:
    """The plan of least cost; one with a bound on how far it may be off, if the effort ends."""
    plans = Plans(core)
    found, count = _first(core, plans)
    if found.proven:
        return found
    above, price = found.cost, _shares(core, found.rows)
    relaxation = Relaxation(core, above)
    everything = root(core, price, count)
    proof = relaxation.proven(everything, price[None], np.zeros(1))
    rows = np.flatnonzero(_kept(core, relaxation, proof, found))
    if len(rows) > _FEW and not found.proven:
        rows, price = _sifted(core, plans, found, rows, everything, above)
    if not found.proven:
        _finish(core, found, rows, price, count, above, effort)
    return found


def _first(core: Core, plans: Plans) -> tuple[Found, int]:
    """The best plan with one place, or a fair one; and how many places it takes at least."""
    alone, none = plans.singles(), np.zeros(0, np.int64)
    found = Found(none, plans.cost(none))
    count = 0 if found.cost < BEYOND else 1
    if len(alone):
        row = int(np.argmin(alone))
        found.offer(np.array([row]), int(alone[row]))
    if found.cost >= BEYOND:
        count = 2
        rows = plans.greedy(np.ones(len(core.wanted)), none)
        found.offer(*plans.bettered(rows, none))
    if core.most is not None:
        count = core.most
    if found.cost == 0 or (core.most is not None and core.most <= 1):
        found.bound = found.cost
    return found, count


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


def _kept(core: Core, relaxation: Relaxation, proof: Proof, found: Found) -> Flags:
    """Whether each row may be in a better plan; the bound of what is found is raised."""
    total, step = int(proof.total[0]), core.step
    bound = -(-total // (relaxation.scale * step)) * step
    found.bound = max(found.bound, min(found.cost, bound))
    room = (found.cost - step) * relaxation.scale - total
    kept: Flags = core.sends | (-proof.less[0] <= room)
    return kept


def _sifted(
    core: Core, plans: Plans, found: Found, rows: Ints, everything: Nodes, above: int
) -> tuple[Ints, Floats]:
    """The rows that the best prices do not rule out, and the prices.

    The prices come from a part of the rows. Rows that are worth more than they cost at these
    prices are added to it, until there are none (sifting; Bixby et al. 1992).
    """
    relaxation = Relaxation(core, above)
    price = everything.price[0]
    needed = np.isin(rows, found.rows) | core.sends[rows]
    part = rows[needed | _promising(core.only(rows), price * above)]
    kept = np.zeros(len(core.fixed), np.bool_)
    kept[rows] = True
    for _ in range(_ROUNDS):
        small = Relaxation(core.only(part), above)
        relaxed = relax(small, everything.columns(part), found.cost)
        found.spent += relaxed.cells
        price = relaxed.price[0]
        proof = relaxation.proven(everything, relaxed.price, relaxed.each)
        likely = part[np.argsort(-relaxed.share[0], kind="stable")[:_FEW]]
        found.offer(*plans.bettered(plans.greedy(price, part[:0]), likely))
        kept &= _kept(core, relaxation, proof, found)
        more = np.flatnonzero((proof.less[0] > 0) & kept)
        more = np.setdiff1d(more[np.argsort(-proof.less[0][more], kind="stable")], part)[:_FEW]
        if found.proven or not len(more):
            break
        part = np.append(part, more)
    return np.flatnonzero(kept), price


def _promising(core: Core, price: Floats) -> Flags:
    """Rows to begin with: for each item those that give it at the least cost, and the worthiest."""
    good = np.zeros(len(core.fixed), np.bool_)
    spread = np.where(
        core.cap > 0, core.cost + core.fixed[:, None] / np.maximum(1, core.cap), np.inf
    )
    good[np.argpartition(spread, 3, axis=0)[:4]] = True
    worth = (core.cap * np.maximum(price - core.cost, 0)).sum(axis=1) - core.fixed
    good[np.argsort(-worth, kind="stable")[: _FEW // 2]] = True
    return good


def _finish(
    core: Core, found: Found, rows: Ints, price: Floats, count: int, above: int, effort: int
) -> None:
    """Search among the rows that are left, or count units where that is less work."""
    small = core.only(rows)
    if (small.cap.sum(axis=0) < small.wanted).any():
        found.bound = found.cost
        return
    plans, numbers = Plans(small), work(small)
    local = Found(rows[:0], found.cost, found.bound, found.spent)
    if numbers is None or numbers > _CHEAP:
        search = Search(small, Relaxation(small, above), plans, local)
        limit = effort if numbers is None else min(effort, numbers // _NUMBERS)
        search.run(root(small, price, count, found.bound), limit)
    if not local.proven and numbers is not None and numbers <= max(_CHEAP, effort * _NUMBERS):
        counted = by_units(small)
        if counted is not None:
            local.offer(counted, plans.cost(counted))
        local.bound = local.cost
    found.offer(rows[local.rows], local.cost)
    found.bound, found.spent = local.bound, local.spent
