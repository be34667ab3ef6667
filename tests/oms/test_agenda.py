"""What is due follows from the books alone: nothing is forgotten, nothing is done too early."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from oms.agenda import fulfillment_agenda, order_agenda
from oms.orders import Order
from oms.returns import Return, ReturnLine, Terms
from tests.oms.orders import NOW, a_line, a_parcel, a_part, a_row, a_tender, an_entry, an_order

HOLD = {"id": "h", "reason": "fraud", "note": None, "placed_at": NOW, "released_at": None}
LATER = NOW + timedelta(minutes=5)
PENDING = {"confirmed_at": None, "grace_until": None}


def due(order: Order) -> list[str]:
    """What the order's process does now."""
    return [each.do for each in order_agenda(order, NOW).due]


def part_due(order: Order, now: datetime = NOW) -> list[tuple[str, str]]:
    """What the first fulfillment order's process does now, and under which step."""
    id = order.fulfillment_orders[0].id
    agenda = fulfillment_agenda(order, id, now, silent=timedelta(days=1))
    return [(each.do, each.step) for each in agenda.due]


def one_part(status: str, **more: Any) -> Order:
    """An order of one unit that one location serves."""
    request = "accepted" if status in {"in_progress", "closed"} else "requested"
    part = a_part(1, {1: 1}, **({"status": status, "request": request} | more))
    row = a_row(1, 1, 1, fulfillment_order=part["id"])
    return an_order(a_line(allocated=1), fulfillment_orders=[part], allocations=[row])


def test_a_new_order_is_reserved_then_paid_then_confirmed() -> None:
    unpaid, paid = [a_tender()], [a_tender(authorized_minor=9999)]
    new = an_order(a_line(unplanned=2), tenders=unpaid, entries=[], **PENDING)
    asked = an_order(
        a_line(reserved=2), tenders=unpaid, entries=[an_entry(status="requested")], **PENDING
    )
    approved = an_order(a_line(reserved=2), tenders=paid, **PENDING)
    free = an_order(a_line(reserved=2), tenders=[], entries=[], **PENDING)

    assert [due(order) for order in (new, asked, approved, free)] == [
        ["reserve"],
        ["settle"],
        ["confirm"],
        ["confirm"],
    ]


def test_an_approval_after_the_reservation_ended_reserves_again() -> None:
    order = an_order(a_line(unplanned=2), tenders=[a_tender(authorized_minor=9999)], **PENDING)

    assert due(order) == ["reserve"]


def test_a_reservation_that_is_over_is_given_back_while_the_payment_is_awaited() -> None:
    waits = [an_entry(status="unknown")]
    over = an_order(
        a_line(reserved=2),
        tenders=[a_tender()],
        entries=waits,
        reservations=[a_row(1, 1, 2, expires_at=NOW)],
        **PENDING,
    )
    still = an_order(
        a_line(reserved=2),
        tenders=[a_tender()],
        entries=waits,
        reservations=[a_row(1, 1, 2, expires_at=LATER)],
        **PENDING,
    )

    assert due(over) == ["settle", "release_reservation"]
    assert due(still) == ["settle"]
    assert order_agenda(still, NOW).wake_at == LATER


def test_units_are_routed_after_the_grace_window_and_not_under_a_hold() -> None:
    rows = [a_row(1, 1, 2)]
    line = a_line(allocated=2)

    assert due(an_order(line, allocations=rows)) == ["route"]
    early = an_order(line, allocations=rows, grace_until=LATER)
    assert due(early) == []
    assert order_agenda(early, NOW).wake_at == LATER
    assert due(an_order(line, allocations=rows, holds=[HOLD])) == []


@pytest.mark.parametrize("capture", ["requested", "unknown", "failed"])
def test_money_goes_back_only_after_what_was_to_come_in_has_come_in(capture: str) -> None:
    refund = an_entry("refund", "requested")
    waits = an_order(a_line(delivered=1), entries=[an_entry("capture", capture), refund])
    goes = an_order(a_line(delivered=1), entries=[an_entry("capture", "succeeded"), refund])

    assert [each.about for each in order_agenda(waits, NOW).due] == ["2222-2222-2:capture:1"]
    assert [each.about for each in order_agenda(goes, NOW).due] == ["2222-2222-2:refund:1"]


def test_an_order_closes_when_no_unit_is_open_and_no_money() -> None:
    done = a_line(delivered=1, cancelled=1)

    assert due(an_order(done)) == ["close"]
    assert due(an_order(a_line(cancelled=2))) == ["close"]
    assert due(an_order(done, entries=[an_entry("capture", "requested")])) == ["settle"]
    assert due(an_order(done, entries=[an_entry("capture", "failed")])) == ["settle"]
    given_up = an_entry("capture", "failed", given_up=True)
    assert due(an_order(done, entries=[given_up])) == ["close"]
    assert due(an_order(a_line(delivered=1, backordered=1))) == []
    closed = an_order(done, closed_at=NOW)
    assert due(closed) == []
    assert order_agenda(closed, NOW).ended


def test_an_offer_goes_out_once_and_is_taken_back_in_time() -> None:
    offered = {"offered_at": NOW - timedelta(hours=1)}

    assert part_due(one_part("open")) == [("offer", "offer:F1")]
    assert part_due(one_part("open", **offered, answer_by=LATER)) == []
    assert part_due(one_part("open", **offered, answer_by=NOW)) == [("expire", "")]
    assert part_due(one_part("on_hold", **offered)) == []


@pytest.mark.parametrize(
    ("deadlines", "step"),
    [
        ({"work_by": NOW}, "pick:F1"),
        ({"ready_at": NOW, "collect_by": NOW}, "pickup:F1"),
        (
            {"cancellation": "requested", "cancel_answer_by": NOW, "work_by": LATER},
            "cancel:F1",
        ),
    ],
)
def test_a_location_that_lets_its_time_pass_calls_a_person(
    deadlines: dict[str, Any], step: str
) -> None:
    order = one_part("in_progress", offered_at=NOW, **deadlines)

    assert part_due(order) == [("attend", step)]
    earlier = min(value for value in deadlines.values() if isinstance(value, datetime))
    assert part_due(order, earlier - timedelta(seconds=1)) == []


def test_a_location_is_asked_to_stop_until_it_has_heard() -> None:
    asked = {"cancellation": "requested", "cancellation_seq": 1, "cancel_answer_by": LATER}

    assert part_due(one_part("in_progress", offered_at=NOW, **asked)) == [
        ("ask_to_stop", "cancel:F1")
    ]
    assert part_due(one_part("in_progress", offered_at=NOW, **asked, cancellation_asked=1)) == []


def shipped(**more: Any) -> Order:
    """An order of one unit that is under way."""
    part = a_part(1, {1: 1}, status="closed", request="accepted", handed_over_at=NOW)
    parcel = a_parcel(**more)
    return an_order(a_line(shipped=1), fulfillment_orders=[part], shipments=[parcel])


def test_a_silent_parcel_is_asked_after_and_one_in_trouble_calls_a_person() -> None:
    day = timedelta(days=1)

    assert part_due(shipped()) == []
    assert part_due(shipped(), NOW + day) == [("poll", "poll:S1")]
    assert part_due(shipped(last_asked_at=NOW + day), NOW + day) == []
    for status in ("lost", "damaged", "attempt_failed", "returned_to_sender"):
        assert part_due(shipped(status=status)) == [("attend", "parcel:S1")]
    assert part_due(shipped(last_asked_at=NOW + 14 * day), NOW + 14 * day) == [
        ("attend", "parcel:S1")
    ]


def test_a_parcel_that_turned_round_is_its_returns_affair() -> None:
    back = Return(
        id="2222-2222-2-R1",
        seq=1,
        kind="undeliverable",
        via="post",
        resolution="refund",
        location="lyon",
        terms=Terms(),
        refund_minor=0,
        requested_at=NOW,
        approved_at=NOW,
        scanned_at=NOW,
        receive_by=NOW + timedelta(days=21),
        shipment="2222-2222-2-S1",
        lines=(ReturnLine(line=1, sku="LAMP", quantity=1, reason="undeliverable"),),
    )
    order = shipped(status="returned_to_sender").model_copy(update={"returns": (back,)})
    later = NOW + timedelta(days=15)

    agenda = fulfillment_agenda(order, "2222-2222-2-F1", later, silent=timedelta(days=1))
    assert (agenda.due, agenda.wake_at, agenda.ended) == ((), None, False)
    assert agenda.waiting == "To come back undelivered 2222-2222-2-S1"
    gone = order.model_copy(update={"returns": (back.model_copy(update={"closed_at": NOW}),)})
    assert part_due(gone) == [("attend", "parcel:S1")]


def test_a_delivered_or_written_off_parcel_ends_its_process() -> None:
    for ended in ({"delivered_at": NOW}, {"written_off_at": NOW}):
        order = shipped(**ended)
        agenda = fulfillment_agenda(order, "2222-2222-2-F1", NOW, silent=timedelta(days=1))
        assert agenda.ended
        assert agenda.due == ()
