"""Each ready-made return policy is in order, and does what its first line says."""

from datetime import timedelta
from typing import Any

import pytest

from oms.orders import Order
from oms.return_policy import Condition, ReturnPolicy, UnitFacts, VersionedPolicy, disposition_of
from oms.return_policy_checks import policy_notes, read_policy
from oms.return_requests import Agreed, ReturnRequest, agree
from tests.oms.orders import NOW, PRICE, a_line, a_parcel, an_order
from workers.commands_return_policy import as_file
from workers.document_files import parse
from workers.example_policies import about, names, text

PHOTO = ["https://photos.example/1.jpg"]


def policy(name: str) -> ReturnPolicy:
    read = parse(text(name).encode(), read_policy)
    assert read.content is not None, read.errors
    return read.content


def an_order_of(days: int, **more: Any) -> Order:
    """Two units, 19.99 EUR each and 4.90 EUR for the way, delivered so many days ago."""
    parcel = a_parcel(delivered_at=NOW - timedelta(days=days), lines=[{"line": 1, "quantity": 2}])
    line = a_line(1, delivered=2, charged=2)
    return an_order(line, shipments=[parcel], shipping_captured=True, **more)


def answer(
    name: str,
    order: Order,
    *,
    reason: str = "too_small",
    photos: list[str] | None = None,
    tags: tuple[str, ...] = (),
    quantity: int = 1,
    **more: Any,
) -> Agreed | str:
    """What a customer is told: what was agreed, or the code of what is wrong."""
    line = {"line": 1, "quantity": quantity, "reason": reason, "photos": photos or []}
    body = {"order": order.number, "via": "post", "lines": [line]}
    found = agree(
        order,
        ReturnRequest.model_validate(body | more),
        VersionedPolicy(version=1, policy=policy(name)),
        tags={"SKU-1": tags},
        now=NOW,
    )
    return found if isinstance(found, Agreed) else found[0].code


def agreed(name: str, order: Order, **more: Any) -> Agreed:
    found = answer(name, order, **more)
    assert isinstance(found, Agreed), found
    return found


def goes(name: str, condition: Condition, **more: Any) -> str:
    """What becomes of a unit that came back."""
    facts: dict[str, Any] = {"location": "wh", "kind": "warehouse", "groups": (), "tags": ()}
    facts |= {"condition": condition, "reason": "too_small", "sku": "SKU-1"} | more
    return disposition_of(policy(name), UnitFacts.model_validate(facts))[0]


@pytest.mark.parametrize("name", names())
def test_a_ready_made_policy_is_in_order_and_says_what_it_is_for(name: str) -> None:
    shown = policy(name).model_dump(mode="json") | {"version": 1, "actor": "a", "created_at": None}

    assert policy_notes(policy(name)) == []
    assert about(name).endswith(".")
    assert parse(as_file(shown).encode(), read_policy).content == policy(name)


def test_the_eu_web_shop_gives_everyone_14_days_and_members_30() -> None:
    shop = "eu-web-shop"

    assert agreed(shop, an_order_of(14)).refund_minor == PRICE - 490
    assert answer(shop, an_order_of(16)) == "outside_window"
    member = agreed(shop, an_order_of(30, customer_segment="gold"), quantity=2)
    assert member.refund_minor == 2 * PRICE + 490
    assert (member.terms.refund_at, member.terms.fee_minor) == ("inspection", 0)
    assert agreed(shop, an_order_of(9), via="store", location="lyon").refund_minor == PRICE


def test_the_eu_web_shop_answers_for_its_faults_two_years_also_for_sealed_goods() -> None:
    shop, sealed = "eu-web-shop", ("hygiene",)

    assert answer(shop, an_order_of(1), tags=sealed) == "final_sale"
    assert answer(shop, an_order_of(700), reason="defective") == "photo_missing"
    broken = agreed(shop, an_order_of(700), reason="defective", photos=PHOTO, tags=sealed)
    assert broken.refund_minor == PRICE
    assert goes(shop, "opened") == "refurbish"
    assert goes(shop, "opened", kind="store") == "quarantine"
    assert goes(shop, "damaged", reason="defective") == "return_to_supplier"


def test_the_trusting_shop_pays_at_the_first_scan_and_charges_nothing() -> None:
    shop = "trusting-shop"
    told = agreed(shop, an_order_of(99))

    assert (told.terms.refund_at, told.terms.exchange_ships) == ("scan", "at_once")
    assert (told.refund_minor, told.needs_approval) == (PRICE + 490, None)
    assert goes(shop, "as_new") == "restock_elsewhere"
    assert goes(shop, "as_new", kind="store") == "restock"
    assert goes(shop, "damaged") == "dispose"


def test_the_trusting_shop_looks_at_great_sums_first() -> None:
    order = an_order_of(1)
    dear = Order.model_validate(
        order.model_dump() | {"lines": [order.lines[0].model_dump() | {"total_minor": 200_000}]}
    )
    told = agreed("trusting-shop", dear, tags=("electronics",))

    assert told.terms.refund_at == "inspection"
    assert told.needs_approval is not None


def test_outlet_is_final_but_for_our_faults_and_who_is_far_away_pays_more() -> None:
    shop, outlet = "outlet-and-marketplace", ("outlet",)

    assert answer(shop, an_order_of(1), tags=outlet) == "final_sale"
    assert agreed(shop, an_order_of(1), tags=outlet, reason="damaged", photos=PHOTO).lines
    assert agreed(shop, an_order_of(1, country="FR")).terms.fee_minor == 490
    far = agreed(shop, an_order_of(40, country="NO"), quantity=2)
    assert (far.terms.fee_minor, far.terms.shipping_minor, far.terms.refused) == (
        1490,
        0,
        "dispose",
    )


def test_the_marketplace_pays_new_goods_at_receipt_and_asks_a_person_about_other_reasons() -> None:
    shop = "outlet-and-marketplace"
    order = an_order_of(29, channel="marketplace")

    told = agreed(shop, order)
    assert (told.terms.refund_at, told.terms.refund_unseen) == ("receipt", ("as_new",))
    assert (told.terms.fee_minor, told.needs_approval) == (390, None)
    assert agreed(shop, order, reason="other").needs_approval is not None
    assert goes(shop, "as_new") == "restock_elsewhere"
    assert goes(shop, "as_new", tags=("outlet",)) == "restock"
