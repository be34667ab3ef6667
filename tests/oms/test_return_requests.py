"""What may come back, on which terms, and what the customer is told; and why something may not."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oms.orders import Order
from oms.return_money import owed
from oms.return_policy import (
    FAULTS_OF_OURS,
    MOMENTS,
    USUAL,
    ReturnPolicy,
    VersionedPolicy,
)
from oms.return_requests import (
    Agreed,
    Buyer,
    ClaimRequest,
    ReturnRequest,
    agree,
    agree_claim,
    check_request,
)
from oms.return_terms import delivered_at
from tests.oms.orders import NOW, PRICE, a_line, a_parcel, a_part, an_order

THERE = NOW - timedelta(days=5)


def an_order_that_arrived(*units: int, at: datetime = THERE, **more: Any) -> Order:
    """An order whose lines have so many units each, all delivered at once."""
    lines = [a_line(i, delivered=count, charged=count) for i, count in enumerate(units, 1)]
    held = [{"line": i, "quantity": count} for i, count in enumerate(units, 1)]
    parcel = a_parcel(status="delivered", delivered_at=at, lines=held)
    plain = {"shipments": [parcel], "shipping_captured": True, "closed_at": at}
    return an_order(*lines, **(plain | more))


def a_request(*lines: tuple[int, int], reason: str = "too_small", **more: Any) -> ReturnRequest:
    """So many units of these lines, by post, for money."""
    asked = [{"line": line, "quantity": count, "reason": reason} for line, count in lines]
    body = {"order": "2222-2222-2", "via": "post", "lines": asked}
    return ReturnRequest.model_validate(body | more)


def a_policy(*rules: dict[str, Any], **more: Any) -> VersionedPolicy:
    """The third version of a policy with these rules."""
    named = [{"name": f"rule {i}"} | rule for i, rule in enumerate(rules)]
    return VersionedPolicy(
        version=3, policy=ReturnPolicy.model_validate({"rules": named, "currency": "EUR"} | more)
    )


def asked(
    order: Order,
    request: ReturnRequest,
    policy: VersionedPolicy = USUAL,
    *,
    tags: dict[str, tuple[str, ...]] | None = None,
    buyer: Buyer | None = None,
) -> Agreed:
    """What is agreed, where nothing is wrong."""
    found = agree(order, request, policy, tags=tags or {}, now=NOW, buyer=buyer)
    assert isinstance(found, Agreed), found
    return found


def refused(
    order: Order,
    request: ReturnRequest,
    policy: VersionedPolicy = USUAL,
    *,
    tags: dict[str, tuple[str, ...]] | None = None,
    buyer: Buyer | None = None,
) -> list[tuple[str, str, str]]:
    """What is wrong, where something is."""
    found = agree(order, request, policy, tags=tags or {}, now=NOW, buyer=buyer)
    assert isinstance(found, tuple)
    return [(flaw.pointer, flaw.code, flaw.detail) for flaw in found]


def with_return(order: Order, agreed: Agreed, **more: Any) -> Order:
    """The order with a return as it was agreed, that nothing was heard of since."""
    seq = len(order.returns) + 1
    lines = [
        {
            "line": each.line,
            "sku": each.sku,
            "quantity": each.quantity,
            "reason": each.reason,
            "exchange_sku": each.exchange and each.exchange.sku,
            "carried_minor": each.exchange.carried_minor if each.exchange else 0,
        }
        for each in agreed.lines
    ]
    back = {
        "id": f"2222-2222-2-R{seq}",
        "seq": seq,
        "kind": "return",
        "via": "post",
        "resolution": "refund",
        "location": "lyon",
        "terms": agreed.terms,
        "refund_minor": agreed.refund_minor,
        "requested_at": NOW,
        "approved_at": NOW,
        "lines": lines,
    }
    returns = [*(each.model_dump() for each in order.returns), back | more]
    return Order.model_validate(order.model_dump() | {"returns": returns})


# --- what may come back ---------------------------------------------------------------------


def test_units_that_were_delivered_may_come_back_for_what_was_paid() -> None:
    agreed = asked(an_order_that_arrived(2, 1), a_request((1, 1)))

    assert agreed.refund_minor == PRICE
    assert (agreed.policy_version, agreed.needs_approval) == (0, None)
    assert agreed.remind_at == NOW + timedelta(days=14)
    assert agreed.expire_at == NOW + timedelta(days=28)


def test_units_under_way_may_be_announced_before_they_arrive() -> None:
    order = an_order(a_line(1, shipped=2, charged=2), shipments=[a_parcel()])

    assert asked(order, a_request((1, 2))).lines[0].quantity == 2


def test_what_is_brought_to_a_store_is_neither_reminded_of_nor_expires() -> None:
    agreed = asked(an_order_that_arrived(1), a_request((1, 1), via="store", location="lyon"))

    assert (agreed.remind_at, agreed.expire_at) == (None, None)


def test_each_flaw_stands_at_its_line_and_tells_what_would_have_been_possible() -> None:
    sent = an_order_that_arrived(2, 1)
    order = Order.model_validate(
        sent.model_dump() | {"lines": [*sent.model_dump()["lines"], a_line(3, allocated=1)]}
    )

    assert refused(order, a_request((9, 1), (1, 3), (3, 1))) == [
        ("/lines/0", "line_unknown", "The order has no line 9; its lines go from 1 to 3."),
        ("/lines/1", "more_than_sent", "2 of SKU-1 were sent, 3 are asked."),
        (
            "/lines/2",
            "not_sent",
            "Nothing of SKU-3 has been sent yet: it can be cancelled instead.",
        ),
    ]


def test_units_that_are_announced_already_are_not_announced_again() -> None:
    order = an_order_that_arrived(3)
    order = with_return(order, asked(order, a_request((1, 2))))

    assert refused(order, a_request((1, 2))) == [
        (
            "/lines/0",
            "more_than_sent",
            "3 of SKU-1 were sent, 2 of them are announced, claimed or back:"
            " 1 can be returned, 2 are asked.",
        )
    ]
    assert asked(order, a_request((1, 1))).lines


def test_what_is_on_its_way_back_undelivered_is_neither_announced_nor_claimed() -> None:
    parcels = [
        a_parcel(delivered_at=THERE),
        a_parcel(id="2222-2222-2-S2", seq=2, status="returned_to_sender"),
    ]
    order = an_order(a_line(1, delivered=1, shipped=1, charged=2), shipments=parcels)
    back = asked(order, a_request((1, 1)))
    order = with_return(order, back, kind="undeliverable", shipment="2222-2222-2-S2")

    assert asked(order, a_request((1, 1))).lines
    assert [each[1] for each in refused(order, a_request((1, 2)))] == ["more_than_sent"]
    assert isinstance(agree_claim(order, a_claim((1, 2)), USUAL, tags={}, now=NOW), tuple)
    delivered = Order.model_validate(
        order.model_dump() | {"shipments": [each | {"delivered_at": THERE} for each in parcels]}
    )
    assert asked(delivered, a_request((1, 2))).lines


# --- the window -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late", "is_in_time"), [(timedelta(0), True), (timedelta(seconds=1), False)]
)
def test_the_window_closes_so_many_days_after_delivery(late: timedelta, is_in_time: bool) -> None:
    there = NOW - timedelta(days=30) - late
    found = agree(an_order_that_arrived(1, at=there), a_request((1, 1)), USUAL, tags={}, now=NOW)

    assert isinstance(found, Agreed) == is_in_time


def test_who_is_too_late_is_told_until_when_it_was_possible() -> None:
    order = an_order_that_arrived(1, at=datetime.fromisoformat("2026-09-01T10:30:00Z"))

    assert refused(order, a_request((1, 1)), a_policy({"window_days": 14})) == [
        (
            "/lines/0",
            "outside_window",
            "SKU-1 could be returned until 2026-09-15 10:30 UTC, 14 days after delivery.",
        )
    ]


def test_the_window_runs_from_the_last_parcel_that_holds_the_line() -> None:
    parcels = [
        a_parcel(delivered_at=NOW - timedelta(days=40)),
        a_parcel(id="2222-2222-2-S2", seq=2, delivered_at=NOW - timedelta(days=10)),
    ]
    order = an_order(a_line(1, delivered=2, charged=2), shipments=parcels)

    assert delivered_at(order, 1) == NOW - timedelta(days=10)
    assert asked(order, a_request((1, 2))).lines


def test_while_a_parcel_is_under_way_no_window_closes_unless_it_was_written_off() -> None:
    old = a_parcel(delivered_at=NOW - timedelta(days=40))
    under_way = a_parcel(id="2222-2222-2-S2", seq=2)
    line = a_line(1, delivered=1, shipped=1, charged=2)

    assert asked(an_order(line, shipments=[old, under_way]), a_request((1, 2))).lines
    lost = under_way | {"written_off_at": NOW}
    assert refused(an_order(line, shipments=[old, lost]), a_request((1, 1)))


def test_the_window_of_a_pickup_runs_from_the_hand_over() -> None:
    line = a_line(1, delivered=1, charged=1)
    for days, is_in_time in ((29, True), (31, False)):
        part = a_part(
            1,
            {1: 1},
            method="store_pickup",
            status="closed",
            ready_at=NOW - timedelta(days=60),
            handed_over_at=NOW - timedelta(days=days),
        )
        order = an_order(line, method="store_pickup", fulfillment_orders=[part])
        found = agree(order, a_request((1, 1)), USUAL, tags={}, now=NOW)

        assert isinstance(found, Agreed) == is_in_time


def test_a_window_differs_by_product_and_country() -> None:
    policy = a_policy(
        {"when": {"tags": ["underwear"]}, "returnable": False},
        {"when": {"countries": ["FR"]}, "window_days": 3},
        {},
    )
    order = an_order_that_arrived(1, 1)

    assert [
        each[:2]
        for each in refused(
            order, a_request((1, 1), (2, 1)), policy, tags={"SKU-2": ("underwear",)}
        )
    ] == [
        ("/lines/0", "outside_window"),
        ("/lines/1", "final_sale"),
    ]
    assert asked(an_order_that_arrived(1, country="DE"), a_request((1, 1)), policy).lines


# --- rules ----------------------------------------------------------------------------------


def test_a_final_sale_is_named_by_its_rule_and_so_is_a_line_that_no_rule_fits() -> None:
    order = an_order_that_arrived(1)
    policy = a_policy({"name": "outlet", "when": {"skus": ["SKU-1"]}, "returnable": False})

    assert refused(order, a_request((1, 1)), policy) == [
        ("/lines/0", "final_sale", "SKU-1 is a final sale by the rule “outlet”.")
    ]
    assert refused(order, a_request((1, 1)), a_policy({"when": {"skus": ["OTHER"]}})) == [
        ("/lines/0", "final_sale", "No rule lets SKU-1 come back for the reason too_small.")
    ]


def test_a_reason_that_needs_a_photo_is_refused_without_one() -> None:
    order, policy = an_order_that_arrived(1), a_policy({"photo_for": ["damaged"]})

    assert refused(order, a_request((1, 1), reason="damaged"), policy) == [
        ("/lines/0", "photo_missing", "The reason damaged needs a photo of SKU-1.")
    ]
    line = {"line": 1, "quantity": 1, "reason": "damaged", "photos": ["https://p.example/1.jpg"]}
    assert asked(order, a_request(lines=[line]), policy).lines


def test_some_reasons_and_great_sums_wait_for_a_person() -> None:
    order = an_order_that_arrived(3)
    policy = a_policy({"approval_for": ["damaged"], "approval_above_minor": 2 * PRICE})

    assert asked(order, a_request((1, 2)), policy).needs_approval is None
    assert asked(order, a_request((1, 1), reason="damaged"), policy).needs_approval is not None
    assert asked(order, a_request((1, 3)), policy).needs_approval == (
        "it is worth 59.97 EUR; more than 39.98 EUR is approved by a person"
    )


def test_a_limit_in_another_currency_is_for_a_person_to_judge() -> None:
    order = an_order_that_arrived(1, currency="JPY")

    assert asked(order, a_request((1, 1)), a_policy({"approval_above_minor": 10**6})).needs_approval


def test_a_fee_is_deducted_once_and_never_for_faults_of_ours_or_in_another_currency() -> None:
    policy = a_policy(
        {"when": {"skus": ["SKU-1"]}, "fees_minor": {"post": 300}}, {"fees_minor": {"post": 500}}
    )
    order = an_order_that_arrived(2, 2)

    assert asked(order, a_request((1, 1), (2, 1)), policy).refund_minor == 2 * PRICE - 500
    assert asked(order, a_request((1, 1)), policy).terms.fee_minor == 300
    assert asked(order, a_request((1, 1), reason="damaged"), policy).refund_minor == PRICE
    assert (
        asked(order, a_request((1, 1), via="store", location="lyon"), policy).terms.fee_minor == 0
    )
    foreign = an_order_that_arrived(2, 2, currency="USD")
    assert asked(foreign, a_request((1, 1)), policy).refund_minor == PRICE


def test_the_outbound_way_is_told_with_the_last_units_of_the_order() -> None:
    order = an_order_that_arrived(2, 1)
    first = asked(order, a_request((1, 2)))
    assert first.refund_minor == 2 * PRICE

    second = asked(with_return(order, first), a_request((2, 1)))
    assert second.refund_minor == PRICE + 490
    assert asked(order, a_request((1, 2), (2, 1))).refund_minor == 3 * PRICE + 490


@pytest.mark.parametrize(("rule", "told"), [("never", 0), ("whole", 0), ("always", 490)])
def test_the_outbound_way_is_given_back_by_the_rule(rule: str, told: int) -> None:
    order, policy = an_order_that_arrived(2), a_policy({"refund_shipping": rule})

    assert asked(order, a_request((1, 1)), policy).refund_minor == PRICE + told


def test_the_outbound_way_is_told_once_and_for_a_fault_of_ours_with_the_whole_order() -> None:
    order, always = an_order_that_arrived(2), a_policy({"refund_shipping": "always"})
    again = with_return(order, asked(order, a_request((1, 1)), always))
    never = a_policy({"refund_shipping": "never"})

    assert asked(again, a_request((1, 1)), always).refund_minor == PRICE
    assert asked(order, a_request((1, 2)), never).refund_minor == 2 * PRICE
    assert (
        asked(order, a_request((1, 2), reason="defective"), never).refund_minor == 2 * PRICE + 490
    )


def test_goods_that_were_exchanged_are_kept_so_the_order_is_not_whole_back() -> None:
    order = an_order_that_arrived(2)
    swap = asked(order, a_request((1, 1), resolution="exchange"))
    order = with_return(order, swap, resolution="exchange")

    assert asked(order, a_request((1, 1))).refund_minor == PRICE


def test_the_worked_example_of_the_page_is_right() -> None:
    order, policy = an_order_that_arrived(2), a_policy({"fees_minor": {"post": 490}})
    first = asked(order, a_request((1, 1)), policy)
    then = asked(with_return(order, first), a_request((1, 1)), policy)
    broken = asked(order, a_request((1, 1), reason="damaged"), policy)
    both = asked(order, a_request((1, 2), via="store", location="lyon"), policy)

    told = [each.refund_minor for each in (first, then, broken, both)]
    page = Path(__file__).parents[2] / "docs/integrate.md"
    table = page.read_text(encoding="utf-8").partition("| asked | `refund_minor` |")[2]
    assert told == [int(found) for found in re.findall(r"^\|.*\| (\d+) \|", table, re.M)[:4]]


# --- exchanges ------------------------------------------------------------------------------


def an_exchange(**line: Any) -> ReturnRequest:
    """One unit of the first line for something else."""
    plain = {"line": 1, "quantity": 1, "reason": "too_small"}
    return a_request(lines=[plain | line], resolution="exchange")


def test_an_exchange_for_the_same_price_costs_and_gives_back_nothing() -> None:
    agreed = asked(an_order_that_arrived(1), an_exchange())

    assert (agreed.refund_minor, agreed.pay_minor) == (0, 0)
    new = agreed.lines[0].exchange
    assert new is not None
    assert (new.sku, new.carried_minor, new.total_minor) == ("SKU-1", PRICE, 0)
    assert agreed.terms.shipping_minor == 0


def test_an_exchange_settles_the_difference_either_way() -> None:
    order = an_order_that_arrived(1)
    cheaper = asked(order, an_exchange(sku="B", unit_price_minor=1500))
    dearer = asked(order, an_exchange(sku="B", unit_price_minor=2500))

    assert (cheaper.refund_minor, cheaper.pay_minor) == (499, 0)
    assert (dearer.refund_minor, dearer.pay_minor) == (0, 501)


# --- whose it is ----------------------------------------------------------------------------

BUYER = Buyer(id="c-1", email="Ada@Example.org", postal_code="SW1A 1AA")


@pytest.mark.parametrize(
    "proof",
    [
        {"id": "c-1"},
        {"email": "ada@example.ORG"},
        {"email": "ada@example.org", "postal_code": "sw1a1aa"},
    ],
)
def test_who_proves_it_theirs_may_send_it_back(proof: dict[str, str]) -> None:
    assert asked(an_order_that_arrived(1), a_request((1, 1), customer=proof), buyer=BUYER).lines


@pytest.mark.parametrize(
    "proof",
    [{"id": "c-2"}, {"email": "eve@example.org"}, {"id": "c-1", "postal_code": "69001"}],
)
def test_a_stranger_learns_nothing_of_the_order(proof: dict[str, str]) -> None:
    order = an_order_that_arrived(1, at=NOW - timedelta(days=99))
    request = a_request((1, 5), (7, 1), customer=proof)

    told = refused(order, request, buyer=BUYER)
    assert [each[:2] for each in told] == [("/customer", "not_theirs")]
    assert "SKU" not in told[0][2]


# --- requests that contradict themselves ----------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "pointer", "code"),
    [
        (a_request((1, 1), (1, 2)), "/lines/1/line", "repeated"),
        (a_request((1, 1), via="store"), "/location", "required"),
        (a_request((1, 1), via="store", location="lyon", parcels=2), "/parcels", "not_allowed"),
        (a_request((1, 1), customer={}), "/customer", "required"),
        (
            a_request(lines=[{"line": 1, "quantity": 1, "reason": "x", "sku": "B"}]),
            "/lines/0/sku",
            "not_allowed",
        ),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(
    request_: ReturnRequest, pointer: str, code: str
) -> None:
    found = check_request(request_)

    assert found is not None
    assert found.code == "validation_failed"
    assert [(flaw.pointer, flaw.code) for flaw in found.errors] == [(pointer, code)]


def test_store_credit_is_not_given_yet() -> None:
    found = check_request(a_request((1, 1), resolution="store_credit"))

    assert found is not None
    assert found.code == "resolution_unsupported"
    assert check_request(a_request((1, 1))) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"lines": []},
        {"lines": [{"line": 1, "quantity": "2", "reason": "x"}]},
        {"lines": [{"line": 0, "quantity": 1, "reason": "x"}]},
        {"lines": [{"line": 1, "quantity": 1, "reason": "Too Small"}]},
        {"lines": [{"line": 1, "quantity": 1, "reason": "x", "photos": ["no address"]}]},
        {"via": "pigeon"},
        {"parcels": 0},
        {"more": 1},
    ],
)
def test_a_body_of_another_shape_is_no_request(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_request((1, 1), **wrong)


# --- claims ---------------------------------------------------------------------------------


def a_claim(*lines: tuple[int, int], reason: str = "lost", **more: Any) -> ClaimRequest:
    """So many units of these lines never arrived, or not as they should."""
    claimed = [{"line": line, "quantity": count, "reason": reason} for line, count in lines]
    return ClaimRequest.model_validate({"order": "2222-2222-2", "lines": claimed} | more)


def test_a_claim_is_paid_in_full_or_replaced_by_the_same_article() -> None:
    order, policy = an_order_that_arrived(2), a_policy({"fees_minor": {"post": 500}})
    paid = agree_claim(order, a_claim((1, 1)), policy, tags={}, now=NOW)
    replaced = agree_claim(order, a_claim((1, 1), resolution="replace"), policy, tags={}, now=NOW)

    assert isinstance(paid, Agreed)
    assert isinstance(replaced, Agreed)
    assert (paid.refund_minor, paid.terms.fee_minor) == (PRICE, 0)
    new = replaced.lines[0].exchange
    assert new is not None
    assert (replaced.refund_minor, new.sku, new.carried_minor) == (0, "SKU-1", PRICE)


def test_a_claim_is_refused_by_line_for_what_was_not_sent_and_after_the_window() -> None:
    late = an_order_that_arrived(1, 1, at=NOW - timedelta(days=31))
    told = agree_claim(late, a_claim((1, 1), (2, 2), (3, 1)), USUAL, tags={}, now=NOW)

    assert isinstance(told, tuple)
    assert [(flaw.pointer, flaw.code) for flaw in told] == [
        ("/lines/0", "outside_window"),
        ("/lines/1", "more_than_sent"),
        ("/lines/2", "line_unknown"),
    ]


def test_a_final_sale_may_be_claimed_for_and_units_claimed_cannot_come_back() -> None:
    order, policy = an_order_that_arrived(1), a_policy({"returnable": False})
    claimed = agree_claim(order, a_claim((1, 1)), policy, tags={}, now=NOW)
    assert isinstance(claimed, Agreed)

    order = with_return(order, claimed, kind="claim", via="none", location=None)
    assert [each[1] for each in refused(order, a_request((1, 1)))] == ["more_than_sent"]


# --- properties -----------------------------------------------------------------------------

_FEW = st.integers(1, 6)
_REASONS = st.sampled_from(["too_small", "no_longer_wanted", *FAULTS_OF_OURS])
_RULES = st.builds(
    lambda **fields: fields,
    window_days=st.integers(5, 40),
    refund_at=st.sampled_from(MOMENTS),
    fees_minor=st.fixed_dictionaries({}, optional={"post": st.integers(0, 900)}),
    refund_shipping=st.sampled_from(["never", "whole", "always"]),
    refused=st.sampled_from(["send_back", "dispose"]),
    exchange_ships=st.sampled_from(["at_once", "scan", "receipt", "inspection"]),
    refund_unseen=st.lists(st.sampled_from(["as_new", "opened", "damaged"]), unique=True),
)


@given(
    units=st.lists(_FEW, min_size=1, max_size=3),
    wanted=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), max_size=12),
)
def test_whatever_is_asked_never_more_is_agreed_than_was_handed_over(
    units: list[int], wanted: list[tuple[int, int]]
) -> None:
    order = an_order_that_arrived(*units)
    for line, count in wanted:
        found = agree(order, a_request((line, count)), USUAL, tags={}, now=NOW)
        if isinstance(found, Agreed):
            order = with_return(order, found)
        else:
            assert found[0].code in ("more_than_sent", "line_unknown")

    for each in order.lines:
        assert order.spoken_for(each.line) <= each.handed_over


@given(
    parts=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    total=st.integers(0, 10_000),
)
def test_what_is_told_of_returns_in_any_parts_adds_up_to_the_line(
    parts: list[int], total: int
) -> None:
    line = a_line(1, delivered=sum(parts), charged=sum(parts)) | {"total_minor": total}
    order = an_order(line, shipments=[a_parcel(delivered_at=THERE)])
    told = 0
    for count in parts:
        agreed = asked(order, a_request((1, count)))
        told += agreed.refund_minor
        order = with_return(order, agreed)

    assert told == total + order.shipping_minor


@given(rules=st.lists(_RULES, min_size=1, max_size=4), data=st.data())
def test_terms_never_pay_earlier_or_more_than_each_lines_rule_alone(
    rules: list[dict[str, Any]], data: st.DataObject
) -> None:
    policy = a_policy(*({"when": {"skus": [f"SKU-{i}"]}} | rule for i, rule in enumerate(rules, 1)))
    order = an_order_that_arrived(*(2 for _ in rules))
    lines = [
        {"line": i, "quantity": data.draw(st.integers(1, 2)), "reason": data.draw(_REASONS)}
        for i in range(1, len(rules) + 1)
    ]
    together = asked(order, a_request(lines=lines), policy)
    alone = [asked(order, a_request(lines=[line]), policy) for line in lines]

    ships = ("at_once", "scan", "receipt", "inspection")
    for each in alone:
        assert MOMENTS.index(together.terms.refund_at) >= MOMENTS.index(each.terms.refund_at)
        assert ships.index(together.terms.exchange_ships) >= ships.index(each.terms.exchange_ships)
        assert together.terms.fee_minor >= each.terms.fee_minor
        assert set(together.terms.refund_unseen) <= set(each.terms.refund_unseen)
        assert together.terms.shipping_minor <= each.terms.shipping_minor
        assert together.terms.shipping_whole >= (
            each.terms.shipping_whole and bool(together.terms.shipping_minor)
        )
        assert (together.terms.refused, each.terms.refused) != ("dispose", "send_back")
    goods = sum(each.worth_minor for each in together.lines)
    assert together.refund_minor <= goods + order.shipping_minor - together.terms.fee_minor


@given(
    price=st.integers(0, 5000),
    new=st.lists(st.integers(0, 5000), min_size=2, max_size=2),
    counts=st.lists(_FEW, min_size=2, max_size=2),
)
def test_an_exchange_neither_makes_money_nor_loses_it(
    price: int, new: list[int], counts: list[int]
) -> None:
    lines = [
        a_line(i, delivered=count, charged=count) | {"total_minor": price}
        for i, count in enumerate(counts, 1)
    ]
    order = an_order(*lines, shipments=[a_parcel(delivered_at=THERE)])
    wanted = [
        {"line": i, "quantity": counts[i - 1], "reason": "x", "unit_price_minor": new[i - 1]}
        for i in (1, 2)
    ]
    agreed = asked(order, a_request(lines=wanted, resolution="exchange"))

    cost = sum(a * b for a, b in zip(new, counts, strict=True))
    assert 2 * price - agreed.refund_minor + agreed.pay_minor == cost
    for each in agreed.lines:
        assert each.exchange is not None
        assert 0 <= each.exchange.carried_minor <= each.worth_minor


def settled(order: Order, id: str) -> tuple[Order, int]:
    """The order after all of a return came, was accepted and paid back; and what was paid."""
    raw = order.model_dump()
    back = next(each for each in raw["returns"] if each["id"] == id)
    back["lots"] = [
        {
            "id": line["line"],
            "line": line["line"],
            "sku": line["sku"],
            "condition": "as_new",
            "location": "lyon",
            "quantity": line["quantity"],
            "state": "accepted",
            "at": NOW,
        }
        for line in back["lines"]
    ]
    for line in back["lines"]:
        line["received"] = line["quantity"]
    arrived = Order.model_validate(raw)
    due = owed(arrived, arrived.return_(id))
    for line in back["lines"]:
        line["settled"] = line["refunded"] = due.refund[line["line"]]
        raw["lines"][line["line"] - 1]["refunded"] += due.refund[line["line"]]
    back["closed_at"] = NOW
    back["fee_left_minor"] -= due.fee_minor
    raw["shipping_refunded"] = raw["shipping_refunded"] or bool(due.shipping_minor)
    return Order.model_validate(raw), due.amount_minor


@given(
    units=st.lists(_FEW, min_size=1, max_size=3),
    prices=st.lists(st.integers(0, 4000), min_size=3, max_size=3),
    rule=_RULES,
    wanted=st.lists(
        st.tuples(st.dictionaries(st.integers(1, 3), _FEW, min_size=1), _REASONS), max_size=8
    ),
)
def test_what_was_told_is_what_is_paid_when_all_of_it_comes_back(
    units: list[int],
    prices: list[int],
    rule: dict[str, Any],
    wanted: list[tuple[dict[int, int], str]],
) -> None:
    lines = [
        a_line(i, delivered=count, charged=count) | {"total_minor": price}
        for i, (count, price) in enumerate(zip(units, prices, strict=False), 1)
    ]
    order = an_order(*lines, shipments=[a_parcel(delivered_at=THERE)], shipping_captured=True)
    policy, given, fees = a_policy(rule), 0, 0
    for counts, reason in wanted:
        agreed = agree(order, a_request(*counts.items(), reason=reason), policy, tags={}, now=NOW)
        if isinstance(agreed, Agreed):
            order = with_return(order, agreed, fee_left_minor=agreed.terms.fee_minor)
            order, paid = settled(order, order.returns[-1].id)
            assert paid == agreed.refund_minor
            given, fees = given + paid, fees + agreed.terms.fee_minor

    whole = sum(line.total_minor for line in order.lines) + order.shipping_minor
    assert given <= whole
    if not any(order.returnable(line.line) for line in order.lines):
        kept_shipping = 0 if order.shipping_refunded else order.shipping_minor
        assert given + kept_shipping + fees >= whole
