"""The plan of least cost, held against every plan there is."""

from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.solver import Problem, Solution, question, solve
from oms.together import Wish
from workers.bench import highs
from workers.bench.routing import some_order


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
def problems(draw: st.DrawFn) -> Problem:
    """Small ones of all kinds. The sizes shrink; what they hold comes from one seed, for speed."""
    n, m = draw(st.integers(0, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    fixed = [(7, 8), (0, 4), (0, 10**6), (0, 2**57)][rng.integers(4)]
    unit = [(0, 1), (-3, 4), (-(10**5), 10**5), (0, 2**53)][rng.integers(4)]
    has = rng.random((n, m)) < rng.choice([0.4, 0.8, 1.0])
    return Problem(
        wanted=rng.integers(1, 7, m),
        stock=rng.integers(0, 9, (n, m)) * has,
        fixed=rng.integers(*fixed, n),
        unit=rng.integers(*unit, (n, m)),
        divide=rng.random(m) < rng.choice([0.0, 0.5, 1.0]),
        most_places=None if rng.random() < 0.5 else int(rng.integers(0, n + 2)),
        opened=None if rng.random() < 0.6 else rng.random(n) < 0.3,
    )


@settings(max_examples=1500)
@given(asked=problems())
def test_no_plan_serves_more_or_costs_less(asked: Problem) -> None:
    assert_best(asked)


@pytest.mark.parametrize("way", ["the search", "the sifted prices", "the counted units"])
def test_each_way_to_a_proof_is_right_alone(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "_SETS", 0)
    if way != "the counted units":
        monkeypatch.setattr(question, "_CHEAP", -1)
        monkeypatch.setattr(question, "work", lambda core: None)
    if way == "the sifted prices":
        monkeypatch.setattr(question, "_FEW", 2)

    @settings(max_examples=300)
    @given(asked=problems())
    def each(asked: Problem) -> None:
        assert_best(asked)

    each()


def _dearest(asked: Problem) -> int:
    return int(asked.fixed.max(initial=0)) + int(asked.unit.max(initial=0))


def assert_best(asked: Problem) -> None:
    found = solve(asked)
    assert_can_be_carried_out(asked, found)
    unserved, cost = by_trying_all(asked)
    assert found.unserved.sum() == unserved
    if asked.most_places is not None and _dearest(asked) > 2**50:
        # What serving more is worth does not fit 64 bits then: the last bits are not seen.
        assert found.bound <= cost <= found.cost <= cost + _dearest(asked) // 100
    else:
        assert found.exact
        assert found.cost == cost


@settings(max_examples=300)
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


@settings(max_examples=150)
@given(asked=problems(), items=st.randoms(use_true_random=False))
def test_the_order_of_the_items_changes_nothing(asked: Problem, items: Random) -> None:
    order = list(range(len(asked.wanted)))
    items.shuffle(order)
    other = replace(
        asked,
        wanted=asked.wanted[order],
        stock=asked.stock[:, order],
        unit=asked.unit[:, order],
        divide=asked.divide[order],
    )
    assert (solve(other).units == solve(asked).units[:, order]).all()


def stocks(seed: int, low: int, high: int, places: int = 200, items: int = 12) -> list[list[int]]:
    drawn: list[list[int]] = (
        np.random.default_rng(seed).integers(low, high, (places, items)).tolist()
    )
    return drawn


def far(seed: int, places: int = 200) -> list[int]:
    """Fixed costs by which a parcel less is worth any distance."""
    drawn: list[int] = (10**9 + np.random.default_rng(seed).integers(0, 10**6, places)).tolist()
    return drawn


NASTY = {
    "65 places with one unit each are needed": problem([65], [[1]] * 300, [7] * 300),
    "all 300 places are needed": problem([300], [[1]] * 300, list(range(300))),
    "65 of 300, the nearest": problem([65], [[1]] * 300, far(1, 300)),
    "twos and threes for 50": problem([50], stocks(2, 2, 4, 300, 1), far(2, 300)),
    "twos and threes for 50 of each of 12": problem([50] * 12, stocks(3, 2, 4), [9] * 200),
    "nothing to three for 50 of each of 12": problem([50] * 12, stocks(4, 0, 4), [9] * 200),
    "nine in each and ten wanted": problem([10] * 12, [[9] * 12] * 200, far(5)),
    "one in some and five wanted": problem([5] * 12, stocks(6, 0, 2), far(6)),
    "no fixed costs": problem([50] * 12, stocks(7, 0, 4), [0] * 200, stocks(8, 0, 1000)),
    "nothing costs anything": problem([50] * 12, stocks(9, 0, 4), [0] * 200),
    "all places are equal": problem([5] * 12, [[1] * 12] * 200, [9] * 200),
    "parcels cost far more than units": problem(
        [5] * 12, stocks(10, 0, 4), [2**45 + place for place in range(200)], stocks(11, 0, 3)
    ),
    "units cost far more than parcels": problem(
        [5] * 12, stocks(12, 0, 4), [place % 4 for place in range(200)], stocks(13, 0, 2**45)
    ),
    "each item from one place": problem([3] * 12, stocks(14, 0, 5), [9] * 200, divide=[False] * 12),
    "three places may send, and one more is needed": problem(
        [9] * 12, stocks(15, 0, 5), [9] * 200, stocks(16, 0, 9), most_places=3
    ),
}


@pytest.mark.parametrize("name", NASTY)
def test_what_is_hard_is_proven_too_with_little_effort(name: str) -> None:
    found = solve(NASTY[name], effort=9_000_000)
    assert_can_be_carried_out(NASTY[name], found)
    assert found.exact


@pytest.mark.parametrize(
    ("lines", "places", "parcels_first"), [(8, 40, 0), (8, 40, 1), (12, 60, 0), (12, 60, 1)]
)
def test_another_solver_finds_nothing_cheaper(lines: int, places: int, parcels_first: int) -> None:
    for seed in range(5):
        asked = some_order(lines, places, seed)
        asked = replace(asked, fixed=asked.fixed + parcels_first * 10**8)
        wish = Wish(np.arange(lines), asked.wanted, asked.fixed, asked.unit, asked.divide)
        theirs = highs.plan([wish], asked.stock)
        assert theirs.solved
        assert theirs.units is not None
        sends = theirs.units[0].any(axis=1)
        found = solve(asked)
        assert_can_be_carried_out(asked, found)
        assert found.exact
        assert found.cost == asked.fixed[sends].sum() + (theirs.units[0] * asked.unit).sum()


def test_the_earlier_of_equal_places_gives_all_it_can() -> None:
    found = solve(problem([5], [[3], [3], [3]], [7, 7, 7]))
    assert found.gives() == [(0, 0, 3), (1, 0, 2)]


def test_of_places_that_cost_the_same_the_first_send() -> None:
    found = solve(problem([2, 2], [[0, 2], [0, 2], [2, 0], [0, 2], [2, 0]], [7] * 5))
    assert found.gives() == [(0, 1, 2), (2, 0, 2)]


def test_one_place_that_has_all_is_cheaper_than_two_parcels() -> None:
    found = solve(problem([1, 1], [[1, 0], [0, 1], [1, 1]], [5, 5, 7]))
    assert found.gives() == [(2, 0, 1), (2, 1, 1)]
    assert (found.cost, found.bound, found.exact) == (7, 7, True)


def test_what_no_place_has_is_unserved() -> None:
    found = solve(problem([3], [[1], [1]], [5, 5]))
    assert found.unserved.tolist() == [1]
    assert found.cost == 10


def test_an_item_not_to_be_divided_comes_whole_or_not_at_all() -> None:
    found = solve(problem([3], [[2], [2]], [5, 5], divide=[False]))
    assert found.unserved.tolist() == [3]


def test_no_place_at_all_serves_nothing() -> None:
    found = solve(problem([3], [], []))
    assert (found.unserved.tolist(), found.cost, found.exact) == ([3], 0, True)


def test_a_limit_of_places_serves_the_most_units_rather_than_the_cheapest() -> None:
    found = solve(problem([4], [[3], [1], [1]], [100, 1, 1], most_places=1))
    assert (found.gives(), found.exact) == ([(0, 0, 3)], True)


def test_a_place_that_sends_anyway_costs_nothing_more_and_is_not_counted() -> None:
    asked = problem([2], [[1], [1], [2]], [50, 9, 9], most_places=1, opened=[True, False, False])
    found = solve(asked)
    assert (found.gives(), found.cost) == ([(0, 0, 1), (1, 0, 1)], 9)


def test_costs_near_the_end_of_64_bits_still_serve_the_most() -> None:
    huge = 2**57
    asked = problem([2, 2], [[2, 0], [0, 1], [1, 2]], [huge, huge, huge + 1], most_places=1)
    found = solve(asked)
    assert (found.unserved.sum(), found.gives()) == (1, [(2, 0, 1), (2, 1, 2)])
    assert found.bound <= found.cost
