"""Statuses follow from units and money, whatever these are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.orders import FulfillmentStatus, OrderStatus, PaymentStatus
from tests.oms.orders import NOW, PRICE, a_line, a_part, a_tender, an_entry, an_order

BUCKETS = ("unplanned", "cancelled", "reserved", "backordered", "allocated", "picked", "shipped")
UNITS = st.dictionaries(st.sampled_from((*BUCKETS, "delivered")), st.integers(1, 5), min_size=1)
HOLD = {"id": "h", "reason": "fraud", "note": None, "placed_at": NOW, "released_at": None}


@given(
    lines=st.lists(UNITS, min_size=1, max_size=3),
    sums=st.tuples(*[st.integers(0, 9)] * 4),
    paid=st.booleans(),
    held=st.booleans(),
    closed=st.booleans(),
)
def test_every_order_has_its_statuses(
    lines: list[dict[str, int]],
    sums: tuple[int, int, int, int],
    paid: bool,
    held: bool,
    closed: bool,
) -> None:
    names = ("authorized_minor", "captured_minor", "refunded_minor", "voided_minor")
    order = an_order(
        *(a_line(number, **units) for number, units in enumerate(lines, start=1)),
        tenders=[a_tender(**dict(zip(names, sums, strict=True)))] if paid else [],
        holds=[HOLD] if held else [],
        closed_at=NOW if closed else None,
    )

    assert order.status in OrderStatus
    assert order.payment_status in PaymentStatus
    assert (order.fulfillment_status is FulfillmentStatus.CANCELLED) == order.all_cancelled
    assert (order.status is OrderStatus.CANCELLED) == order.all_cancelled
    for line in order.lines:
        assert line.kept == line.open_units + line.delivered
    if not paid:
        assert order.payment_status is PaymentStatus.PAID


@pytest.mark.parametrize(
    ("units", "status"),
    [
        ({"cancelled": 2}, "cancelled"),
        ({"delivered": 1, "cancelled": 1}, "delivered"),
        ({"delivered": 1, "shipped": 1}, "fulfilled"),
        ({"shipped": 1, "allocated": 1}, "partially_fulfilled"),
        ({"allocated": 2}, "unfulfilled"),
        ({"backordered": 2}, "unfulfilled"),
        ({"reserved": 2}, "unfulfilled"),
    ],
)
def test_the_first_status_that_fits_the_units_is_shown(units: dict[str, int], status: str) -> None:
    assert an_order(a_line(**units)).fulfillment_status == status


def test_a_hold_shows_before_work_and_what_left_before_a_hold() -> None:
    work = [a_part(1, {1: 1}, status="in_progress", request="accepted")]

    assert an_order(a_line(allocated=1), fulfillment_orders=work).fulfillment_status == (
        "in_progress"
    )
    held = an_order(a_line(allocated=1), fulfillment_orders=work, holds=[HOLD])
    assert held.fulfillment_status == "on_hold"
    half = an_order(a_line(allocated=1, shipped=1), holds=[HOLD])
    assert half.fulfillment_status == "partially_fulfilled"


@pytest.mark.parametrize(
    ("sums", "entry", "status"),
    [
        ({}, an_entry(status="requested"), "pending"),
        ({}, an_entry(status="unknown"), "pending"),
        ({}, an_entry(status="failed"), "none"),
        ({"authorized_minor": 9999}, an_entry(), "authorized"),
        ({"authorized_minor": 9999, "voided_minor": 9999}, an_entry(), "voided"),
        ({"authorized_minor": 9999, "captured_minor": PRICE}, an_entry(), "partially_paid"),
        ({"authorized_minor": 9999, "captured_minor": 2 * PRICE + 490}, an_entry(), "paid"),
        (
            {"authorized_minor": 9999, "captured_minor": 5000, "refunded_minor": 1},
            an_entry(),
            "partially_refunded",
        ),
        (
            {"authorized_minor": 9999, "captured_minor": 5000, "refunded_minor": 5000},
            an_entry(),
            "refunded",
        ),
    ],
)
def test_money_tells_the_payment_status(
    sums: dict[str, int], entry: dict[str, object], status: str
) -> None:
    order = an_order(a_line(shipped=2), tenders=[a_tender(**sums)], entries=[entry])

    assert order.payment_status == status


def test_units_cancelled_after_a_capture_make_it_paid_in_full() -> None:
    tender = a_tender(authorized_minor=9999, captured_minor=PRICE + 490)

    half = an_order(a_line(shipped=1, allocated=1), tenders=[tender])
    rest_cancelled = an_order(a_line(shipped=1, cancelled=1), tenders=[tender])

    assert half.payment_status == "partially_paid"
    assert rest_cancelled.payment_status == "paid"
