"""Orders that are not released yet, planned again together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.solver import Ints
from oms.together import Together, Wish, again, one_by_one


def wish(articles: list[int], costs: list[int], *, fixed: int = 100) -> Wish:
    """Wants one unit of each article; a unit costs so much at each place."""
    return Wish(
        articles=np.array(articles, np.int64),
        wanted=np.ones(len(articles), np.int64),
        fixed=np.full(len(costs), fixed, np.int64),
        unit=np.repeat(np.array(costs, np.int64)[:, None], len(articles), axis=1),
        divide=np.ones(len(articles), np.bool_),
    )


def stock(*rows: list[int]) -> Ints:
    return np.array(rows, np.int64)


def test_an_order_that_came_first_leaves_the_near_unit_to_the_one_that_needs_it() -> None:
    shelf = stock([1], [1])
    wishes = [wish([0], [1, 2]), wish([0], [1, 50])]

    alone = one_by_one(wishes, shelf)
    together = again(wishes, alone)

    assert [plan.gives() for plan in alone.plans] == [[(0, 0, 1)], [(1, 0, 1)]]
    assert [plan.gives() for plan in together.plans] == [[(1, 0, 1)], [(0, 0, 1)]]
    assert (alone.cost, together.cost, together.settled) == (251, 203, True)


def test_an_order_goes_to_units_that_were_given_back() -> None:
    wishes = [wish([0], [1, 2])]
    alone = one_by_one(wishes, stock([0], [1]))
    given_back = Together(alone.plans, stock([1], [0]))

    assert again(wishes, given_back).cost == 101


def test_two_articles_are_brought_into_one_parcel_by_an_exchange() -> None:
    shelf = stock([1, 1], [1, 0])
    wishes = [wish([0], [1, 1]), wish([0, 1], [1, 1])]

    alone = one_by_one(wishes, shelf)
    together = again(wishes, alone)

    assert (alone.cost, together.cost) == (303, 203)
    assert not together.left[:, 0].any()


def test_what_is_short_stays_short_and_nothing_is_made_of_nothing() -> None:
    wishes = [wish([0], [5, 1]), wish([0], [1, 5]), wish([0], [3, 3])]
    together = again(wishes, one_by_one(wishes, stock([1], [1])))

    assert together.unserved == 1
    assert not together.left.any()
    assert together.cost == 202


@st.composite
def _shelves(draw: st.DrawFn) -> tuple[list[Wish], Ints]:
    places, articles = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    units = st.integers(0, 2)
    shelf = draw(st.lists(st.lists(units, min_size=articles, max_size=articles), min_size=places,
                          max_size=places))  # fmt: skip
    asked = st.lists(st.integers(0, articles - 1), min_size=1, unique=True)
    costs = st.lists(st.integers(0, 9), min_size=places, max_size=places)
    orders = st.builds(wish, asked, costs, fixed=st.integers(0, 20))
    return draw(st.lists(orders, min_size=1, max_size=4)), stock(*shelf)


@given(_shelves())
@settings(max_examples=150)
def test_together_no_fewer_units_are_served_and_no_more_is_paid(
    shelves: tuple[list[Wish], Ints],
) -> None:
    wishes, shelf = shelves
    before = shelf.copy()
    alone = one_by_one(wishes, shelf)
    together = again(wishes, alone)

    assert (together.unserved, together.cost) <= (alone.unserved, alone.cost)
    assert together.settled
    for found in (alone, together):
        held = found.left.copy()
        for order, plan in zip(wishes, found.plans, strict=True):
            held[:, order.articles] += plan.units
            assert (plan.units.sum(axis=0) + plan.unserved == order.wanted).all()
        assert (held == shelf).all()
        assert (found.left >= 0).all()
    assert (shelf == before).all(), "the caller's stock is not changed"
