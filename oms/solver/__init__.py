"""The best places to serve an order from: numbers in, numbers out; knows nothing of orders.

Serve as many units as can be served; among the plans that do, take the one of least cost. What is
found is proven in integers; where the effort does not suffice, a bound says how far it may be off.
"""

from dataclasses import replace

import numpy as np

from oms.solver.model import NOWHERE, Core, Flags, Ints, Problem, Solution, limited, reduced
from oms.solver.plans import earlier, filled
from oms.solver.question import best
from oms.solver.search import Found

__all__ = ["Flags", "Ints", "Problem", "Solution", "solve"]

_USUAL = 5_000_000
"""Effort by default, for what is larger than is always solved: a second or two."""

_ALWAYS, _ANY = (12, 200), 9_000_000_000
"""Items and places up to which a plan is proven in any case, and an effort that stands for any."""


def solve(problem: Problem, *, effort: int | None = None) -> Solution:
    """Serve as many units as can be served; among the plans that do, the one of least cost.

    Args:
        problem: The arrays; the answer is a function of them alone.
        effort: How much may be tried, in rows times items looked at. It counts work, never time.
            By default a plan of at most 12 items and 200 places is proven, whatever it takes.

    Returns:
        A plan, never infeasible; with a bound where it is not proven to be the best.
    """
    # Floats only steer: what overflows in them proves nothing, and harms nothing.
    with np.errstate(all="ignore"):
        return _solve(problem, effort)


def _solve(problem: Problem, effort: int | None) -> Solution:
    core, most = reduced(problem), problem.most_places
    if effort is None:
        rows, items = core.cap.shape
        effort = _ANY if items <= _ALWAYS[0] and rows <= _ALWAYS[1] else _USUAL
    if most is None or most > 1:
        # What costs nothing to begin with sends, whoever else does.
        free = replace(core, sends=core.sends | (core.fixed == 0))
        solution = _solution(problem, free, best(free, effort))
        if most is None or _counted(problem, solution) <= most:
            return solution
    # At most so many places need not serve all that there is.
    core = limited(core, min(most, int((~core.sends).sum())))
    return _solution(problem, core, best(core, effort))


def _counted(problem: Problem, solution: Solution) -> int:
    """How many places send of those that would not send anyway."""
    sends = solution.units.any(axis=1)
    return int((sends if problem.opened is None else sends & ~problem.opened).sum())


def _solution(problem: Problem, core: Core, found: Found) -> Solution:
    sends = np.zeros(len(problem.fixed), np.bool_)
    sends[core.places[core.sends & (core.places != NOWHERE)]] = True
    sends[core.places[found.rows]] = True
    units, cost = filled(problem, sends)
    first = earlier(problem, units)
    if not units[first].any(axis=1).all():
        units, cost = filled(problem, first)
    lost = core.lost * (int(core.wanted @ core.weight) - int(units.sum()))
    bound = (core.base + found.bound - lost) << core.shift
    exact = found.proven and core.shift == 0
    counted = core.base + found.cost - lost
    assert core.shift or cost == counted or (cost < counted and not exact), "counted wrongly"
    return Solution(units, problem.wanted - units.sum(axis=0), cost, min(bound, cost), exact)
