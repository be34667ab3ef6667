import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from oms.placing import OrderRequest, check_order, content_hash

AMOUNTS = st.integers(0, 10**9)


def an_order(**changes: Any) -> OrderRequest:
    """Two lamps by post for 44.88 EUR; a test names what it is about."""
    order = {
        "channel": "web-fr",
        "reference": "100234",
        "currency": "EUR",
        "customer": {"id": "c-77"},
        "lines": [{"sku": "LAMP-01", "quantity": 2, "unit_price_minor": 1999}],
        "shipping_minor": 490,
        "delivery": {"method": "home", "address": {"country": "FR"}},
        "tenders": [
            {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": 4488}
        ],
    }
    return OrderRequest.model_validate_json(json.dumps({**order, **changes}))


def line(quantity: int, price: int, discount: int = 0, tax: int = 0) -> dict[str, Any]:
    return {
        "sku": "LAMP-01",
        "quantity": quantity,
        "unit_price_minor": price,
        "discount_minor": discount,
        "tax_minor": tax,
    }


def test_a_good_order_has_nothing_wrong_with_it() -> None:
    assert check_order(an_order()) is None


@given(quantity=st.integers(1, 9999), price=AMOUNTS, shipping=AMOUNTS, data=st.data())
def test_the_tenders_must_add_up_to_the_lines_after_discount_and_shipping(
    quantity: int, price: int, shipping: int, data: st.DataObject
) -> None:
    goods = quantity * price
    assume(goods + shipping <= min(goods, 10**12) + 10**12)  # a discount may make it payable
    discount = data.draw(st.integers(max(0, goods + shipping - 10**12), min(goods, 10**12)))
    total = goods - discount + shipping
    tenders = [{"kind": "terminal", "reference": "till-1", "amount_minor": total}] if total else []

    order = an_order(
        lines=[line(quantity, price, discount)], shipping_minor=shipping, tenders=tenders
    )
    wrong = an_order(
        lines=[line(quantity, price, discount)],
        shipping_minor=shipping,
        tenders=[{"kind": "terminal", "reference": "till-1", "amount_minor": total % 1000 + 1}],
    )

    assert order.total_minor == total
    assert check_order(order) is None
    refused = check_order(wrong)
    assert (refused is None) == (total % 1000 + 1 == total)


def test_flaws_come_before_what_is_not_offered_and_that_before_sums() -> None:
    flawed = line(1, 100, discount=101)
    later = {"method": "locker"}
    gift_card = [{"kind": "gift_card", "amount_minor": 1}]

    codes = [
        problem and problem.code
        for problem in (
            check_order(an_order(lines=[flawed], delivery=later, tenders=gift_card)),
            check_order(an_order(delivery=later, tenders=gift_card)),
            check_order(an_order(tenders=gift_card)),
            check_order(an_order(tenders=[])),
        )
    ]

    assert codes == [
        "validation_failed",
        "delivery_method_unsupported",
        "tender_unsupported",
        "tenders_do_not_match_total",
    ]


@pytest.mark.parametrize(
    "token", ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004"]
)
def test_card_numbers_never_enter(token: str) -> None:
    tender = {"kind": "card", "provider": "simulator", "token": token, "amount_minor": 4488}

    with pytest.raises(ValidationError, match="card numbers never enter"):
        an_order(tenders=[tender])


def test_two_orders_are_the_same_if_only_what_is_left_out_differs() -> None:
    said = an_order(allow_split=True, shipping_tax_minor=0)

    assert content_hash(said) == content_hash(an_order())
    assert content_hash(said) != content_hash(an_order(allow_split=False))


def test_a_kit_makes_another_order_and_one_taken_before_there_were_kits_is_still_known() -> None:
    in_a_kit = an_order(lines=[{**line(2, 1999), "kit": "set-1"}])
    hash_of_before = "14cd33a26c0c545094ee1016489ed96fc431bbd0c99c41db125238c7349c6d56"

    assert content_hash(in_a_kit) != content_hash(an_order())
    assert content_hash(an_order()).hex() == hash_of_before
