"""Which units a cancellation takes: the cheapest first, never what has left."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oms.cancelling import CancelPlan, Refusal, plan_cancel
from oms.orders import Order
from tests.oms.orders import a_line, a_part, a_row, an_order

UNITS = st.integers(0, 4)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """One line with units everywhere: loose, held, offered, worked on, gone."""
    loose = {name: draw(UNITS) for name in ("unplanned", "reserved", "backordered")}
    gone = {name: draw(UNITS) for name in ("shipped", "delivered", "cancelled")}
    free, offered, working, picked = draw(UNITS), draw(UNITS), draw(UNITS), draw(UNITS)
    rows = [
        a_row(1, 1, free),
        a_row(2, 1, offered, fulfillment_order="2222-2222-2-F1"),
        a_row(3, 1, working, fulfillment_order="2222-2222-2-F2"),
        a_row(4, 1, picked, fulfillment_order="2222-2222-2-F3", picked=True),
    ]
    asked = draw(st.integers(0, working))
    parts = [
        a_part(1, {1: offered}, status=draw(st.sampled_from(("open", "on_hold")))),
        a_part(2, {1: working}, status="in_progress"),
        a_part(3, {1: picked}, status="in_progress"),
    ]
    parts[1]["lines"][0]["cancel_asked"] = asked
    parts[2]["lines"][0]["picked"] = picked
    line = a_line(1, allocated=free + offered + working, picked=picked, **loose, **gone)
    if not line["ordered"]:
        line = a_line(1, unplanned=1)
    return an_order(
        line,
        allocations=[row for row in rows if row["quantity"]],
        fulfillment_orders=[part for part in parts if part["lines"][0]["quantity"]],
    )


def taken(plan: CancelPlan) -> int:
    """Units that a plan cancels or asks for."""
    loose = sum(sum(buckets.values()) for buckets in plan.loose.values())
    held = sum(units for _, units in plan.allocations)
    return loose + held + sum(sum(lines.values()) for lines in plan.ask.values())


def open_units(order: Order) -> int:
    """Units that have not left, less those a location is asked for."""
    (line,) = order.lines
    asked = sum(each.cancel_asked for part in order.fulfillment_orders for each in part.lines)
    return line.kept - line.handed_over - asked


@given(orders(), st.integers(1, 40))
def test_units_are_cancelled_all_or_none_and_the_cheapest_first(order: Order, units: int) -> None:
    plan = plan_cancel(order, {1: units})

    (line,) = order.lines
    if isinstance(plan, Refusal):
        assert units > open_units(order)
        has_left = units <= line.ordered and line.handed_over
        assert plan.code == ("already_shipped" if has_left else "quantity_too_large")
        return
    assert taken(plan) in (0, units)
    assert taken(plan) == units or open_units(order) == 0
    loose = line.unplanned + line.backordered + line.reserved
    assert sum(plan.loose.get(1, {}).values()) == min(taken(plan), loose)
    rows = {row.id: row.quantity for row in order.allocations}
    assert all(0 < n <= rows[id] and id in {1, 2} for id, n in plan.allocations)
    if plan.ask:
        free = sum(quantity for id, quantity in rows.items() if id in {1, 2})
        assert sum(n for _, n in plan.allocations) == free, "a location is asked last"


@given(orders())
def test_everything_that_has_not_left_is_cancelled(order: Order) -> None:
    plan = plan_cancel(order, None)

    if isinstance(plan, Refusal):
        assert plan.code == "already_shipped"
        assert open_units(order) == 0
    else:
        assert taken(plan) == open_units(order)


def test_an_unknown_line_is_named() -> None:
    refusal = plan_cancel(an_order(a_line(1, unplanned=1)), {1: 1, 7: 1})

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.pointer) == ("line_unknown", "/lines/1/line")


def test_what_is_cancelled_may_be_cancelled_again() -> None:
    order = an_order(a_line(1, cancelled=2))

    for wanted in (None, {1: 1}, {1: 2}):
        plan = plan_cancel(order, wanted)
        assert isinstance(plan, CancelPlan)
        assert plan.is_empty


def test_goods_that_have_left_cannot_be_cancelled() -> None:
    order = an_order(a_line(1, shipped=1, delivered=1))

    answers: list[Any] = [plan_cancel(order, None), plan_cancel(order, {1: 1})]

    assert [answer.code for answer in answers] == ["already_shipped", "already_shipped"]
