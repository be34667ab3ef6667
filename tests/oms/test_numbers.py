import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.numbers import (
    ALPHABET,
    NUMBERS,
    fulfillment_order_id,
    fulfillment_workflow_id,
    is_order_number,
    number_from,
    order_of,
    order_workflow_id,
    return_id,
    shipment_id,
)

DRAWN = st.integers(0, NUMBERS - 1)


@given(drawn=DRAWN)
def test_every_number_drawn_is_an_order_number(drawn: int) -> None:
    number = number_from(drawn)

    assert is_order_number(number)
    assert [len(part) for part in number.split("-")] == [4, 4, 1]


@given(one=DRAWN, other=DRAWN)
def test_two_draws_give_two_numbers(one: int, other: int) -> None:
    assert (number_from(one) == number_from(other)) == (one == other)


@given(drawn=DRAWN, place=st.sampled_from([0, 1, 2, 3, 5, 6, 7, 8, 10]), wrong=st.integers(1, 30))
def test_one_wrong_character_is_always_noticed(drawn: int, place: int, wrong: int) -> None:
    number = number_from(drawn)
    heard = ALPHABET[(ALPHABET.index(number[place]) + wrong) % len(ALPHABET)]

    assert not is_order_number(number[:place] + heard + number[place + 1 :])


@given(drawn=DRAWN, place=st.integers(0, 7))
def test_two_neighbours_swapped_are_always_noticed(drawn: int, place: int) -> None:
    number = number_from(drawn)
    told = list(number.replace("-", ""))
    told[place], told[place + 1] = told[place + 1], told[place]
    swapped = "".join(told)
    swapped = f"{swapped[:4]}-{swapped[4:8]}-{swapped[8]}"

    assert is_order_number(swapped) == (swapped == number)


@pytest.mark.parametrize(
    "text", ["", "K3M9-QXZ4", "K3M9QXZ47", "k3m9-qxz4-7", "O3M9-QXZ4-7", "K3M9-QXZ4-7\n", "../x"]
)
def test_what_does_not_look_like_a_number_is_none(text: str) -> None:
    assert not is_order_number(text)


def test_no_character_can_be_taken_for_another() -> None:
    assert len(set(ALPHABET)) == 31
    assert not set(ALPHABET) & set("01IOU")


@given(drawn=DRAWN, seq=st.integers(1, 999))
def test_a_part_tells_its_order(drawn: int, seq: int) -> None:
    number = number_from(drawn)

    for part_id in (fulfillment_order_id, shipment_id, return_id):
        assert order_of(part_id(number, seq)) == number


@pytest.mark.parametrize("text", ["", "K3M9-QXZ4-7", "K3M9-QXZ4-7-F", "K3M9-QXZ4-7-F01", "x-F1"])
def test_what_is_no_part_has_no_order(text: str) -> None:
    with pytest.raises(ValueError, match="no part of an order"):
        order_of(text)


def test_workflows_are_found_by_what_people_read() -> None:
    assert order_workflow_id("K3M9-QXZ4-7") == "order/K3M9-QXZ4-7"
    assert fulfillment_workflow_id("K3M9-QXZ4-7-F1") == "fulfillment/K3M9-QXZ4-7-F1"
