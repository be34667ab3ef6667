"""One word for an order, and when it has its verdict."""

from typing import Any

import pytest

from workers.demo.stages import Entry, Stage, stage_of, sum_up


def an_order(
    status: str, fulfillment: str = "unfulfilled", refusal: str | None = None
) -> dict[str, Any]:
    return {
        "number": "N-1",
        "version": 1,
        "status": status,
        "fulfillment_status": fulfillment,
        "refusal": {"code": refusal, "detail": ""} if refusal else None,
    }


@pytest.mark.parametrize(
    ("order", "stage"),
    [
        (an_order("pending"), Stage.PENDING),
        (an_order("open"), Stage.CONFIRMED),
        (an_order("open", "on_hold"), Stage.CONFIRMED),
        (an_order("open", "in_progress"), Stage.PICKING),
        (an_order("open", "partially_fulfilled"), Stage.SHIPPED),
        (an_order("open", "fulfilled"), Stage.SHIPPED),
        (an_order("open", "delivered"), Stage.SHIPPED),
        (an_order("completed", "delivered"), Stage.DELIVERED),
        (an_order("cancelled", "cancelled", refusal="payment_declined"), Stage.REFUSED),
        (an_order("cancelled", "cancelled"), Stage.CANCELLED),
    ],
)
def test_an_order_stands_where_its_statuses_say(order: dict[str, Any], stage: Stage) -> None:
    assert stage_of(order) is stage


def test_an_open_order_that_needs_a_person_is_parked_and_a_closed_one_is_not() -> None:
    assert stage_of(an_order("open", "fulfilled"), attention=True) is Stage.PARKED
    assert stage_of(an_order("completed", "delivered"), attention=True) is Stage.DELIVERED


def test_a_parked_order_has_its_verdict_only_when_it_does_not_heal_by_itself() -> None:
    entry = Entry("r-1", "web-de")
    entry.see(an_order("open"), now=10, attention=True)
    entry.see(an_order("open"), now=15, attention=True)

    assert not entry.has_verdict(now=29, patience=20)
    assert entry.has_verdict(now=30, patience=20)

    entry.see(an_order("open"), now=31)
    entry.see(an_order("open"), now=32, attention=True)
    assert not entry.has_verdict(now=33, patience=20)


def test_the_outcome_counts_verdicts_and_names_who_has_none() -> None:
    delivered, refused, stuck = (Entry(f"r-{i}", "web-de") for i in range(3))
    delivered.see(an_order("completed"), now=1)
    refused.see(an_order("cancelled", refusal="insufficient_stock"), now=1)
    stuck.see(an_order("open"), now=1)

    outcome = sum_up([delivered, refused, stuck], now=600, patience=20)

    assert outcome.orders == 3
    assert outcome.counts == {Stage.DELIVERED: 1, Stage.REFUSED: 1, Stage.CONFIRMED: 1}
    assert outcome.refusals == {"insufficient_stock": 1}
    assert outcome.unsettled == (stuck,)
