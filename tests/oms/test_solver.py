"""The plan of least cost, held against every plan there is."""

import numpy as np

from oms.solver import Problem, solve


def problem(
    wanted: list[int],
    stock: list[list[int]],
    fixed: list[int],
    unit: list[list[int]],
    *,
    divide: bool = True,
) -> Problem:
    return Problem(
        wanted=np.array(wanted, np.int64),
        stock=np.array(stock, np.int64).reshape(len(fixed), len(wanted)),
        fixed=np.array(fixed, np.int64),
        unit=np.array(unit, np.int64).reshape(len(fixed), len(wanted)),
        divide=np.full(len(wanted), divide),
    )


def test_one_place_that_has_all_is_cheaper_than_two_parcels() -> None:
    found = solve(problem([1, 1], [[1, 0], [0, 1], [1, 1]], [5, 5, 7], [[0, 0]] * 3))
    assert found.gives() == [(2, 0, 1), (2, 1, 1)]
    assert (found.cost, found.bound, found.exact) == (7, 7, True)


def test_what_no_place_has_is_unserved() -> None:
    found = solve(problem([3], [[1], [1]], [5, 5], [[0], [0]]))
    assert found.unserved.tolist() == [1]
    assert found.cost == 10


def test_an_item_not_to_be_divided_comes_whole_or_not_at_all() -> None:
    found = solve(problem([3], [[2], [2]], [5, 5], [[0], [0]], divide=False))
    assert found.unserved.tolist() == [3]


def test_no_place_at_all_serves_nothing() -> None:
    found = solve(problem([3], [], [], []))
    assert (found.unserved.tolist(), found.cost, found.exact) == ([3], 0, True)
