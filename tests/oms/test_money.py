import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.money import UnknownCurrency, allot, exponent, format_money, is_currency, share

TOTALS = st.one_of(st.integers(0, 50), st.integers(0, 10**12))
PARTS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)
WEIGHTS = st.lists(st.one_of(st.just(0), st.integers(0, 10**9)), min_size=1, max_size=40)
CURRENCIES = st.sampled_from(["JPY", "EUR", "KWD"])


@pytest.mark.parametrize(
    ("minor", "currency", "written"),
    [
        (1999, "EUR", "19.99 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-1999, "EUR", "-19.99 EUR"),
        (1999, "JPY", "1999 JPY"),
        (1999, "KWD", "1.999 KWD"),
        (50, "KWD", "0.050 KWD"),
        (0, "USD", "0.00 USD"),
    ],
)
def test_amounts_are_written_with_the_digits_of_their_currency(
    minor: int, currency: str, written: str
) -> None:
    assert format_money(minor, currency) == written


@given(minor=st.integers(-(10**12), 10**12), currency=CURRENCIES)
def test_a_written_amount_reads_back_as_the_same_minor_units(minor: int, currency: str) -> None:
    number, code = format_money(minor, currency).split()

    assert code == currency
    assert int(number.replace(".", "")) == minor
    assert len(number.partition(".")[2]) == exponent(currency)


@pytest.mark.parametrize("code", ["", "eur", "EURO", "XXX", "XAU", "DEM"])
def test_what_is_no_money_today_is_refused(code: str) -> None:
    assert not is_currency(code)
    with pytest.raises(UnknownCurrency):
        format_money(1, code)


@given(total=TOTALS, parts=PARTS)
def test_any_split_of_a_line_adds_up_to_its_total(total: int, parts: list[int]) -> None:
    units, first, charged = sum(parts), 0, 0
    for count in parts:
        amount = share(total, units=units, first=first, count=count)
        assert amount >= 0
        first, charged = first + count, charged + amount

    assert charged == total


@given(total=TOTALS, units=st.integers(1, 60), seed=st.integers(0, 99))
def test_a_unit_costs_the_same_whenever_it_is_charged(total: int, units: int, seed: int) -> None:
    each = [share(total, units=units, first=unit, count=1) for unit in range(units)]
    in_any_order = list(each)
    random.Random(seed).shuffle(in_any_order)

    assert sum(in_any_order) == total
    assert max(each) - min(each) <= 1
    assert sum(each[: units // 2]) == share(total, units=units, first=0, count=units // 2)


@given(total=TOTALS, units=st.integers(1, 60), count=st.integers(0, 59))
def test_more_units_never_cost_less(total: int, units: int, count: int) -> None:
    count = min(count, units - 1)

    fewer = share(total, units=units, first=0, count=count)
    assert fewer <= share(total, units=units, first=0, count=count + 1)


def test_three_units_of_ten_yen_or_a_thousand_fils() -> None:
    assert [share(10, units=3, first=unit, count=1) for unit in range(3)] == [3, 3, 4]
    assert [share(1000, units=3, first=unit, count=1) for unit in range(3)] == [333, 333, 334]


@given(total=TOTALS, weights=WEIGHTS)
def test_shipping_over_lines_adds_up_and_each_line_is_within_a_minor_unit_of_its_due(
    total: int, weights: list[int]
) -> None:
    parts = allot(total, weights)

    due = weights if any(weights) else [1] * len(weights)
    assert sum(parts) == total
    assert all(
        abs(part * sum(due) - total * weight) < sum(due)
        for part, weight in zip(parts, due, strict=True)
    )


@given(total=TOTALS, weights=WEIGHTS.filter(any))
def test_a_line_without_weight_bears_nothing(total: int, weights: list[int]) -> None:
    parts = allot(total, weights)

    assert all(part == 0 for part, weight in zip(parts, weights, strict=True) if not weight)


def test_free_lines_share_the_shipping_equally() -> None:
    assert allot(490, [0, 0, 0]) == (164, 163, 163)
    assert allot(0, []) == ()


def test_what_is_left_over_goes_to_the_largest_remainder_then_to_the_earlier_line() -> None:
    assert allot(10, [1, 1, 1]) == (4, 3, 3)
    assert allot(10, [1, 2, 3]) == (2, 3, 5)
    assert allot(1, [1, 999]) == (0, 1)
