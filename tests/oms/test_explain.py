"""What an order says it waits for, at each station of its way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oms.audit import check_waits
from oms.backorders import Coming, InTheQueue
from oms.explain import Wait, explain
from oms.orders import Order

N = "K3M9-QXZ4-7"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SILENT = timedelta(days=1)
Json = dict[str, Any]


def later(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def a_line(**units: int) -> Json:
    """Three units in the buckets given."""
    buckets = dict.fromkeys(
        ("unplanned", "cancelled", "reserved", "backordered", "allocated", "picked", "shipped",
         "delivered", "returned", "refunded", "charged"), 0,
    )  # fmt: skip
    return {
        "line": 1, "sku": "LAMP", "unit_price_minor": 1999, "discount_minor": 0, "tax_minor": 0,
        "total_minor": 5997, "shipping_minor": 490, "shipping_tax_minor": 0, "ordered": 3,
    } | buckets | units  # fmt: skip


def an_order(units: dict[str, int], **more: Any) -> Order:
    """An order of three lamps; confirmed and paid for unless told otherwise."""
    return Order.model_validate(
        {
            "number": N, "channel": "web", "reference": "r-1", "currency": "EUR",
            "customer_id": "c-1", "customer_segment": None, "method": "home",
            "pickup_location": None, "country": "FR", "latitude": None, "longitude": None,
            "allow_split": True, "allow_backorder": True, "total_minor": 6487,
            "shipping_minor": 490, "shipping_tax_minor": 0, "placed_at": NOW, "started_at": NOW,
            "confirmed_at": NOW, "grace_until": NOW, "promise_by": None, "closed_at": None,
            "refusal_code": None, "refusal_detail": None, "shortages": None,
            "shipping_captured": False, "version": 7, "lines": [a_line(**units)],
            "reservations": [], "allocations": [], "fulfillment_orders": [], "shipments": [],
            "tenders": [a_tender()], "entries": [], "holds": [], "parked": [],
        }
        | more
    )  # fmt: skip


def a_tender(**more: Any) -> Json:
    return {
        "tender": 1, "kind": "card", "provider": "simulator", "amount_minor": 6487,
        "authorized_minor": 6487, "captured_minor": 0, "refunded_minor": 0, "voided_minor": 0,
        "authorisation": "auth_1", "capture_before": later(168),
    } | more  # fmt: skip


def an_entry(kind: str, status: str, reason: str | None = None) -> Json:
    return {
        "key": f"{N}:{kind}:1", "tender": 1, "kind": kind, "seq": 1, "amount_minor": 6487,
        "currency": "EUR", "status": status, "cause": None, "attempts": 1,
        "provider_reference": None, "reason": reason, "settled_by": None, "given_up": False,
        "at": NOW, "settled_at": None,
    }  # fmt: skip


def at_lyon(**more: Any) -> Json:
    """A fulfillment order for the three lamps, offered and not answered."""
    line = {"line": 1, "sku": "LAMP", "asked": 3, "quantity": 3, "picked": None, "cancel_asked": 0}
    picked = more.pop("picked", None)
    return {
        "id": f"{N}-F1", "seq": 1, "location": "lyon", "method": "home", "status": "open",
        "request": "requested", "reject_reason": None, "cancellation": None,
        "cancellation_seq": 0, "cancellation_asked": 0, "pickup_code": None, "created_at": NOW,
        "offered_at": NOW, "answer_by": None, "accepted_at": None, "work_by": None,
        "picked_at": None, "packed_at": None, "ready_at": None, "collect_by": None,
        "handed_over_at": None, "cancel_answer_by": None, "ended_at": None, "version": 1,
        "lines": [line | {"picked": picked}],
    } | more  # fmt: skip


def a_parcel(**more: Any) -> Json:
    return {
        "id": f"{N}-S1", "fulfillment_order": f"{N}-F1", "seq": 1, "weight_g": 900,
        "status": "created", "carrier": None, "tracking_number": None, "tracking_url": None,
        "label_attempt": 1, "created_at": NOW, "handed_over_at": None, "last_heard_at": None,
        "last_asked_at": None, "delivered_at": None, "written_off_at": None,
        "lines": [{"line": 1, "quantity": 3}],
    } | more  # fmt: skip


def held(kind: str, **more: Any) -> Json:
    return {
        "id": 1, "line": 1, "sku": "LAMP", "location": "lyon", "quantity": 3, "kind": kind,
        "expires_at": None, "fulfillment_order": None, "picked": False, "turned_down": False,
    } | more  # fmt: skip


WORKING = {"status": "in_progress", "request": "accepted", "accepted_at": NOW, "work_by": later(24)}

STATIONS: dict[str, tuple[Order, str, datetime | None]] = {
    "the payment's outcome": (
        an_order(
            {"reserved": 3},
            confirmed_at=None,
            grace_until=None,
            tenders=[a_tender(authorized_minor=0)],
            entries=[an_entry("authorization", "unknown", "pending")],
            reservations=[held("stock", expires_at=later(0.5))],
        ),
        "the payment provider to authorise",
        later(0.5),
    ),
    "the end of the grace window": (
        an_order({"allocated": 3}, grace_until=later(0.25), allocations=[held("stock")]),
        "the end of the grace window, in which the order may be changed freely",
        later(0.25),
    ),
    "a node's answer": (
        an_order({"allocated": 3}, fulfillment_orders=[at_lyon(answer_by=later(1))]),
        f"lyon to accept or reject {N}-F1",
        later(1),
    ),
    "picking": (
        an_order({"allocated": 3}, fulfillment_orders=[at_lyon(**WORKING)]),
        f"lyon to pick {N}-F1",
        later(24),
    ),
    "packing": (
        an_order({"picked": 3}, fulfillment_orders=[at_lyon(**WORKING, picked=3)]),
        f"lyon to pack {N}-F1",
        later(24),
    ),
    "a label": (
        an_order(
            {"picked": 3},
            fulfillment_orders=[at_lyon(**WORKING, picked=3, packed_at=NOW)],
            shipments=[a_parcel()],
        ),
        f"the carrier's label for {N}-S1",
        later(24),
    ),
    "the hand-over": (
        an_order(
            {"picked": 3},
            fulfillment_orders=[at_lyon(**WORKING, picked=3, packed_at=NOW)],
            shipments=[a_parcel(tracking_number="SIM1", carrier="simulator")],
        ),
        f"lyon to hand {N}-F1 over to the carrier",
        later(24),
    ),
    "the customer at the counter": (
        an_order(
            {"picked": 3},
            method="store_pickup",
            fulfillment_orders=[
                at_lyon(**WORKING, method="store_pickup", ready_at=NOW, collect_by=later(168))
            ],
        ),
        f"the customer to collect {N}-F1 at lyon",
        later(168),
    ),
    "the carrier": (
        an_order(
            {"shipped": 3},
            fulfillment_orders=[at_lyon(**(WORKING | {"status": "closed"}), picked=3)],
            shipments=[
                a_parcel(
                    tracking_number="SIM1", handed_over_at=NOW, last_heard_at=later(2),
                    status="in_transit",
                )
            ],
        ),
        f"the carrier to deliver {N}-S1 (in transit)",
        later(26),
    ),
    "a capture": (
        an_order({"delivered": 3}, entries=[an_entry("capture", "requested")]),
        "the payment provider to settle capture:1",
        later(168),
    ),
    "a person who holds it": (
        an_order(
            {"allocated": 3},
            allocations=[held("stock")],
            holds=[{"id": f"{N}-H1", "reason": "credit_limit", "note": None, "placed_at": NOW,
                    "released_at": None}],
        ),
        "a person to release the hold (credit limit)",
        None,
    ),
    "stock": (
        an_order({"backordered": 3}, reservations=[held("backorder")]),
        "stock for 3 backordered units",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("station", STATIONS)
def test_an_order_names_what_it_waits_for_until_when_and_what_then(station: str) -> None:
    order, waiting_for, until = STATIONS[station]

    (wait,) = explain(order, silent=SILENT)

    assert (wait.waiting_for, wait.until, wait.step) == (waiting_for, until, None)
    assert wait.since <= later(2)
    assert wait.then


def test_a_backordered_order_tells_its_place_what_is_coming_and_what_happens_then() -> None:
    order = an_order({"backordered": 3}, reservations=[held("backorder")])
    coming = Coming(location="wh-paris", quantity=40, expected_at=later(48))
    stands = InTheQueue(
        sku="LAMP", units=3, place=2, waiting=5, since=NOW, rule="oldest first", coming=(coming,)
    )
    preorder = stands.model_copy(update={"coming": (), "available_from": later(24)})

    (wait,) = explain(order, silent=SILENT, queue=[stands])
    (early,) = explain(order, silent=SILENT, queue=[preorder])

    assert wait.waiting_for == "stock for 3 backordered units of LAMP: place 2 of 5 in the queue"
    assert wait.then == (
        "what arrives is given to the queue, oldest first; expected: 40 at wh-paris on 2026-11-24"
    )
    assert [action.action for action in wait.actions] == ["reroute", "cancel"]
    assert (wait.until, early.until) == (None, later(24))
    assert early.then == (
        "what arrives is given to the queue, oldest first, not before 2026-11-23 12:00 UTC;"
        " no delivery is announced"
    )


@pytest.mark.parametrize("station", STATIONS)
def test_no_order_is_stuck_silently(station: str) -> None:
    order, _, _ = STATIONS[station]

    assert [found for found in check_waits(order, NOW, silent=SILENT) if not found.pending] == []


def test_a_closed_order_waits_for_nothing() -> None:
    assert explain(an_order({"delivered": 3}, closed_at=NOW), silent=SILENT) == ()


def test_an_order_whose_process_is_about_to_act_says_so() -> None:
    (wait,) = explain(an_order({"delivered": 3}), silent=SILENT)

    assert wait.waiting_for == "its process to take the next step"


def test_a_location_that_is_asked_to_stop_is_waited_for_beside_its_work() -> None:
    asked = at_lyon(**WORKING, cancellation="requested", cancel_answer_by=later(1))
    waits = explain(an_order({"allocated": 3}, fulfillment_orders=[asked]), silent=SILENT)

    stop, work = waits
    assert stop.waiting_for == f"lyon to say whether it stopped {N}-F1"
    assert stop.until == later(1)
    assert calls(stop) == [("cancel-response", f"/v1/fulfillment-orders/{N}-F1/cancel-response")]
    assert work.until == later(24)


def calls(wait: Wait) -> list[tuple[str, str]]:
    assert {action.method for action in wait.actions} <= {"POST"}
    return [(action.action, action.path) for action in wait.actions]


def test_what_may_be_done_is_a_call_that_can_be_made() -> None:
    (hold,) = explain(STATIONS["a person who holds it"][0], silent=SILENT)
    (stock,) = explain(STATIONS["stock"][0], silent=SILENT)
    (offer,) = explain(STATIONS["a node's answer"][0], silent=SILENT)

    cancel = ("cancel", f"/v1/orders/{N}/cancel")
    assert calls(hold) == [("release", f"/v1/orders/{N}/holds/{N}-H1/release"), cancel]
    assert calls(stock) == [("reroute", f"/v1/orders/{N}/reroute"), cancel]
    assert calls(offer) == [
        ("accept", f"/v1/fulfillment-orders/{N}-F1/accept"),
        ("reject", f"/v1/fulfillment-orders/{N}-F1/reject"),
        ("reroute", f"/v1/orders/{N}/reroute"),
        cancel,
    ]
    assert offer.actions[2].body == {"fulfillment_order": f"{N}-F1"}


def parked(step: str, heals_at: datetime | None, *actions: str) -> Json:
    return {
        "step": step, "workflow_id": f"order/{N}", "since": NOW, "heals_at": heals_at,
        "error_code": "unreachable", "last_error": "no connection", "actions": list(actions),
    }  # fmt: skip


def test_a_parked_step_says_what_failed_when_it_heals_and_how_to_settle_it() -> None:
    order = an_order(
        {"delivered": 3},
        entries=[an_entry("capture", "requested")],
        parked=[parked("capture:1", later(1), "retry", "done_manually")],
    )

    (wait,) = explain(order, silent=SILENT)

    assert (wait.step, wait.since, wait.until) == ("capture:1", NOW, later(1))
    assert wait.last_error == "no connection"
    retry, by_hand = wait.actions
    assert (retry.method, retry.path) == ("POST", f"/v1/orders/{N}/resolve")
    assert retry.body == {"step": "capture:1", "action": "retry", "actor": "", "reason": ""}
    assert by_hand.body == retry.body | {"action": "done_manually", "result": {"reference": ""}}


def test_a_label_made_by_hand_is_asked_for_its_number() -> None:
    order = an_order({"picked": 3}, parked=[parked("label:S1", None, "done_manually")])

    (wait,) = explain(order, silent=SILENT)

    assert wait.until is None
    assert wait.actions[0].body["result"] == {"carrier": "", "tracking_number": ""}


def test_what_is_parked_is_not_named_twice() -> None:
    order = an_order(
        {"picked": 3},
        fulfillment_orders=[at_lyon(**WORKING, picked=3, packed_at=NOW)],
        shipments=[a_parcel()],
        parked=[parked("label:S1", None, "retry")],
    )

    assert [wait.step for wait in explain(order, silent=SILENT)] == ["label:S1"]
