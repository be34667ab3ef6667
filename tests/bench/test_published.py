"""Days of the published setting: each order at its own minimum, and the sum beside its bound."""

from functools import partial

import numpy as np
import pytest

from oms.together import again, one_by_one
from workers.bench.highs import plan
from workers.bench.published import (
    CENTRES,
    CITIES,
    NOWHERE,
    PARCEL,
    USD,
    cheapest,
    some_setting,
)
from workers.bench.published_days import PublishedRun, exactly, released

PERIODS = 24


def test_every_order_costs_what_trying_every_set_of_centres_finds() -> None:
    setting = some_setting(0, PERIODS)
    left = setting.stock.copy()
    orders = setting.day(0)
    wishes = [setting.wish(kind, city) for _, kind, city in orders]

    for (_, kind, city), found in zip(orders, one_by_one(wishes, left).plans, strict=True):
        articles = setting.kinds[kind].articles
        assert found.cost == cheapest(articles, city, left)
        left[:, articles] -= found.units
    assert (left[:NOWHERE] >= 0).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_day_costs_less_than_the_bound_and_together_no_more_than_alone(seed: int) -> None:
    setting = some_setting(seed, PERIODS)
    orders = setting.day(seed)
    wishes = [setting.wish(kind, city) for _, kind, city in orders]
    alone = one_by_one(wishes, setting.stock)
    optimum = plan(wishes, setting.stock)
    relaxed = plan(wishes, setting.stock, whole=False)
    by_passes = released(setting, orders, PERIODS, again)
    exact = released(setting, orders, PERIODS, partial(exactly, seconds=60))

    assert optimum.solved
    assert relaxed.bound <= optimum.bound + 1
    assert optimum.bound - 1 <= exact.cost <= by_passes.cost <= alone.cost
    assert exact.cost <= optimum.bound + 1, "with one release all orders are known"
    for found in (alone, by_passes, exact):
        given = sum(done.units.sum() for done in found.plans)
        assert given == sum(len(wish.wanted) for wish in wishes)
        assert (found.left >= 0).all()
        assert found.left.sum() + given == setting.stock.sum()


def test_what_is_released_is_not_planned_again() -> None:
    setting = some_setting(0, PERIODS)
    orders = setting.day(0)
    never = released(setting, orders, 1, again)
    alone = one_by_one([setting.wish(k, c) for _, k, c in orders], setting.stock)

    assert [done.gives() for done in never.plans] == [done.gives() for done in alone.plans]


def test_the_setting_is_the_published_one() -> None:
    setting = some_setting(5, 10_000)

    assert (len(CENTRES), len(CITIES), PARCEL / USD) == (5, 10, 8.759)
    assert [len(kind.articles) for kind in setting.kinds] == [0] + [
        n for n in range(1, 6) for _ in "12345"
    ]
    assert setting.rates.sum() == pytest.approx(1)
    near = setting.wish(1, 4).unit[4, 0] / USD
    assert near == pytest.approx(0.423 + 0.000541 * 36, abs=0.001), "Dallas from near Fort Worth"
    assert (setting.wish(1, 4).unit[NOWHERE] == 2 * setting.wish(1, 4).unit[:NOWHERE].max()).all()
    wanted = 10_000 * sum(kind.rate * len(kind.articles) for kind in setting.kinds)
    assert setting.stock[:NOWHERE].sum() == pytest.approx(wanted, rel=0.1)
    assert not np.array_equal(setting.stock, some_setting(6, 10_000).stock)


def test_a_run_tells_all_of_it() -> None:
    found = PublishedRun(small=16, small_days=2, large=30, large_days=1).measure()

    for days in found.days:
        assert days.equal_to_enumeration == days.orders
        assert days.bound_usd <= days.one_by_one_usd <= days.nearest_usd
    assert [days.bound for days in found.days] == ["optimum", "linear program"]
    closed = {(way.release_hours, way.how): way.gap_closed for way in found.days[0].together}
    assert set(closed) == {(2, "passes"), (2, "exact"), (6, "passes"), (6, "exact"), (24, "passes")}
    assert 0 <= closed[24, "passes"] <= 1
