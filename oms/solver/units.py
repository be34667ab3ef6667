"""The plan of least cost by counting units: exact, where the items have few units.

A state is how many units of each item are served; a row takes every state to those in which it
gives more (the dynamic programme of the knapsack; Bellman 1957). The work is rows times states, the
states the product of (wanted + 1) over the items, whatever the costs are.
"""

from itertools import pairwise

import numpy as np

from oms.solver.model import BEYOND, Core, Ints

_MEMORY = 8_000_000
"""Numbers kept to find the way back."""


def work(core: Core) -> int | None:
    """How many numbers `by_units` looks at; None if it would keep too many."""
    # Of hundreds of items this may be infinite: more than could ever be kept.
    states = float(np.prod(core.wanted + 1.0)) * _counts(core)
    if states * len(core.fixed) > _MEMORY:
        return None
    return int(states * (np.log2(core.cap + 1).sum() + 2 * len(core.fixed)))


def by_units(core: Core) -> Ints | None:
    """The rows that send in a plan of least cost; None if no plan serves all."""
    start = np.full((_counts(core), *(core.wanted + 1)), BEYOND)
    start[(0,) * start.ndim] = 0
    layers = [start]
    for row in range(len(core.fixed)):
        layers.append(np.minimum(layers[-1], _sending(core, layers[-1], row)))
    ends = layers[-1].reshape(len(start), -1)[:, -1]
    if ends.min() >= BEYOND:
        return None
    state = (int(np.argmin(ends)), *(int(units) for units in core.wanted))
    rows = []
    for row, (before, after) in reversed(list(enumerate(pairwise(layers)))):
        if before[state] != after[state]:
            state = _previous(core, before, row, state)
            if not core.sends[row]:
                rows.append(row)
    return np.array(rows[::-1], np.int64)


def _counts(core: Core) -> int:
    """How many numbers of places the states tell apart."""
    return 1 if core.most is None else core.most + 1


def _counted(core: Core, row: int) -> int:
    """By how much the row's sending raises the count of places."""
    return int(core.most is not None and not core.sends[row])


def _sending(core: Core, before: Ints, row: int) -> Ints:
    """The least cost of each state if the row sends, whatever it gives."""
    after = np.full_like(before, BEYOND)
    counted = _counted(core, row)
    after[counted:] = before[: len(before) - counted] + core.fixed[row]
    for item in np.flatnonzero(core.cap[row]):
        # By 1, 2, 4, ... more units at once, each with every number of units before it.
        along = np.moveaxis(after, item + 1, 0)
        cap, cost, given = int(core.cap[row, item]), int(core.cost[row, item]), 0
        while given < cap:
            more = min(given + 1, cap - given)
            np.minimum(along[more:], along[:-more] + cost * more, out=along[more:])
            given += more
    return after


def _previous(core: Core, before: Ints, row: int, state: tuple[int, ...]) -> tuple[int, ...]:
    """The state from which the row's sending led to this one at the least cost."""
    units = np.array(state[1:])
    most = np.minimum(core.cap[row], units)
    count = state[0] - _counted(core, row)
    box = tuple(slice(u - m, u + 1) for u, m in zip(units, most, strict=True))
    costs: Ints = before[count][box]
    for item, cap in enumerate(most):
        given = np.arange(cap, -1, -1) * core.cost[row, item]
        costs = costs + given.reshape([-1 if axis == item else 1 for axis in range(len(units))])
    found = np.unravel_index(int(np.argmin(costs)), costs.shape)
    return (count, *(int(u - m + f) for u, m, f in zip(units, most, found, strict=True)))
