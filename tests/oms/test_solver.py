"""The plan of least cost, held against every plan there is."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.solver import Problem, Solution, solve


def problem(
    wanted: list[int],
    stock: list[list[int]],
    fixed: list[int],
    unit: list[list[int]] | None = None,
    *,
    divide: list[bool] | None = None,
    most_places: int | None = None,
    opened: list[bool] | None = None,
) -> Problem:
    shape = (len(fixed), len(wanted))
    unit = np.zeros(shape, np.int64).tolist() if unit is None else unit
    return Problem(
        wanted=np.array(wanted, np.int64),
        stock=np.array(stock, np.int64).reshape(shape),
        fixed=np.array(fixed, np.int64),
        unit=np.array(unit, np.int64).reshape(shape),
        divide=np.array([True] * len(wanted) if divide is None else divide, np.bool_),
        most_places=most_places,
        opened=None if opened is None else np.array(opened, np.bool_),
    )


def by_trying_all(asked: Problem) -> tuple[int, int]:
    """Units unserved and cost of the best plan: every set of places, cheapest units first."""
    places = range(len(asked.fixed))
    anyway = [p for p in places if asked.opened is not None and asked.opened[p]]
    others = [p for p in places if p not in anyway]
    most = len(others) if asked.most_places is None else min(asked.most_places, len(others))
    sets = [anyway + list(s) for size in range(most + 1) for s in combinations(others, size)]
    return min(_served_from(asked, chosen, anyway) for chosen in sets)


def _served_from(asked: Problem, chosen: list[int], anyway: list[int]) -> tuple[int, int]:
    unserved, cost, sends = 0, 0, set()
    for item, wanted in enumerate(asked.wanted.tolist()):
        left = wanted
        for place in sorted(chosen, key=lambda place: int(asked.unit[place, item])):
            units = min(left, int(asked.stock[place, item]))
            if units and (asked.divide[item] or units == wanted):
                left -= units
                cost += units * int(asked.unit[place, item])
                sends.add(place)
        unserved += left
    return unserved, cost + sum(int(asked.fixed[place]) for place in sends - set(anyway))


def assert_can_be_carried_out(asked: Problem, found: Solution) -> None:
    opened = np.zeros(len(asked.fixed), np.bool_) if asked.opened is None else asked.opened
    assert (found.units >= 0).all()
    assert (found.units <= asked.stock).all()
    assert (found.units.sum(axis=0) + found.unserved == asked.wanted).all()
    whole = found.units[:, ~asked.divide]
    assert ((whole == 0) | (whole == asked.wanted[~asked.divide])).all()
    sends = found.units.any(axis=1) & ~opened
    assert asked.most_places is None or sends.sum() <= asked.most_places
    assert found.cost == asked.fixed[sends].sum() + (found.units * asked.unit).sum()
    assert found.bound <= found.cost
    assert not found.exact or found.bound == found.cost


@st.composite
def problems(draw: st.DrawFn, *, places: int = 6, items: int = 4) -> Problem:
    n, m = draw(st.integers(0, places)), draw(st.integers(1, items))
    wanted = draw(st.lists(st.integers(1, 6), min_size=m, max_size=m))
    held = st.one_of(st.just(0), st.integers(0, 8))
    row = st.lists(held, min_size=m, max_size=m)
    fixed = draw(st.sampled_from([st.just(7), st.integers(0, 3), st.integers(0, 10**6)]))
    unit = draw(st.sampled_from([st.just(0), st.integers(-3, 3), st.integers(-(10**5), 10**5)]))
    flags = st.sampled_from([st.just(True), st.just(False), st.booleans()])
    return problem(
        wanted,
        draw(st.lists(row, min_size=n, max_size=n)),
        draw(st.lists(fixed, min_size=n, max_size=n)),
        draw(st.lists(st.lists(unit, min_size=m, max_size=m), min_size=n, max_size=n)),
        divide=draw(st.lists(draw(flags), min_size=m, max_size=m)),
        most_places=draw(st.none() | st.integers(0, n + 1)),
        opened=draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n)),
    )


@settings(max_examples=1500, deadline=None)
@given(asked=problems())
def test_no_plan_serves_more_or_costs_less(asked: Problem) -> None:
    found = solve(asked)
    assert_can_be_carried_out(asked, found)
    assert found.exact
    assert (int(found.unserved.sum()), found.cost) == by_trying_all(asked)


@settings(max_examples=300, deadline=None)
@given(asked=problems(), effort=st.integers(0, 50))
def test_with_hardly_any_effort_the_plan_is_sound_and_the_bound_true(
    asked: Problem, effort: int
) -> None:
    found = solve(asked, effort=effort)
    assert_can_be_carried_out(asked, found)
    unserved, cost = by_trying_all(asked)
    if asked.most_places is None:
        assert found.unserved.sum() == unserved
    if found.unserved.sum() == unserved:
        assert found.bound <= cost <= found.cost
    assert not found.exact or (found.unserved.sum(), found.cost) == (unserved, cost)
