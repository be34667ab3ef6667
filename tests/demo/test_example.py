"""The retailer that comes with the product is one a real shop could be."""

from collections import Counter

import pytest

from oms.places import is_country, locate, postal_code_possible, postal_table
from workers.demo.catalogue import Catalogue
from workers.demo.customers import MORE_THAN_ANYBODY_HAS, SHOWPIECE
from workers.demo.example import example_retailer


@pytest.fixture(scope="module")
def retailer() -> Catalogue:
    return example_retailer(orders=200, seed=7, prefix="t")


def test_it_has_about_forty_stores_three_warehouses_and_a_supplier(retailer: Catalogue) -> None:
    kinds = Counter(place["kind"] for place in retailer.locations.values())

    assert kinds == {"store": 42, "warehouse": 3, "supplier": 1}


def test_its_places_and_customers_have_addresses_that_can_be_found(retailer: Catalogue) -> None:
    table = postal_table()
    addresses = [place["address"] for place in retailer.locations.values()] + [
        order["delivery"]["address"]
        for order in retailer.orders
        if order["delivery"]["method"] == "home"
    ]

    for address in addresses:
        country, code = address["country"], address["postal_code"]
        assert is_country(country)
        assert postal_code_possible(country, code), address
        assert locate(country, code, table) != locate(country, None, table), address


def test_its_goods_carry_valid_trade_item_numbers(retailer: Catalogue) -> None:
    for product in retailer.products.values():
        digits = [int(digit) for digit in product["gtin"]]
        assert len(digits) == 13
        assert (sum(digits[::2]) + 3 * sum(digits[1::2])) % 10 == 0, product


def test_its_stock_is_spread_unevenly_over_all_goods(retailer: Catalogue) -> None:
    held = Counter[str]()
    for row in retailer.stock:
        held[row.sku] += row.on_hand

    assert held.keys() == retailer.products.keys()
    assert min(held.values()) < 40
    assert max(held.values()) > 200


def test_tenders_pay_each_order_to_the_cent_and_the_tax_lies_in_the_price(
    retailer: Catalogue,
) -> None:
    for order in retailer.orders:
        total = order.get("shipping_minor", 0)
        for line in order["lines"]:
            paid = line["quantity"] * line["unit_price_minor"] - line["discount_minor"]
            assert 0 < line["tax_minor"] < paid / 4
            total += paid
        assert [tender["amount_minor"] for tender in order["tenders"]] == [total]


def test_most_orders_are_paid_and_some_meet_trouble(retailer: Catalogue) -> None:
    tokens = Counter(order["tenders"][0].get("token", "till") for order in retailer.orders)

    assert tokens["tok_ok"] > 120
    assert tokens["tok_declined"] == tokens["tok_pending"] == tokens["tok_error_after"] == 10
    assert tokens["tok_capture_fails"] == 1
    assert retailer.orders[SHOWPIECE]["tenders"][0]["token"] == "tok_capture_fails"


def test_some_orders_ask_for_more_than_anybody_has(retailer: Catalogue) -> None:
    asked = [line["quantity"] for order in retailer.orders for line in order["lines"]]

    assert asked.count(MORE_THAN_ANYBODY_HAS) == 10


def test_customers_collect_only_what_lies_in_that_store(retailer: Catalogue) -> None:
    held = {(row.sku, row.location): row.on_hand for row in retailer.stock}
    collected = Counter(
        (line["sku"], order["delivery"]["location"])
        for order in retailer.orders
        if order["delivery"]["method"] == "store_pickup"
        for line in order["lines"]
    )

    assert len(collected) > 20
    assert all(units <= held[place] for place, units in collected.items())


def test_the_same_seed_shows_the_same_day_and_another_seed_another_one() -> None:
    day = example_retailer(orders=30, seed=1, prefix="t")

    assert day == example_retailer(orders=30, seed=1, prefix="t")
    assert day.orders != example_retailer(orders=30, seed=2, prefix="t").orders


def test_the_prefix_sets_references_apart_and_changes_nothing_else() -> None:
    first = example_retailer(orders=5, seed=1, prefix="a").orders
    again = example_retailer(orders=5, seed=1, prefix="b").orders

    assert {order["reference"] for order in first}.isdisjoint(o["reference"] for o in again)
    assert [order["lines"] for order in first] == [order["lines"] for order in again]
