"""Orders as the books would tell them, made up for tests of what is worked out from them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from oms.orders import OPEN_BUCKETS, Order

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
PRICE = 1999
_BUCKETS = (*OPEN_BUCKETS, "cancelled", "delivered")


def a_line(line: int = 1, **units: int) -> dict[str, Any]:
    """A line with units in the buckets named; they are what was ordered."""
    ordered = sum(units.get(bucket, 0) for bucket in _BUCKETS)
    counters = dict.fromkeys((*_BUCKETS, "returned", "refunded", "charged"), 0) | units
    prices = {"unit_price_minor": PRICE, "total_minor": PRICE * ordered, "discount_minor": 0}
    shipping = {"tax_minor": 0, "shipping_minor": 0, "shipping_tax_minor": 0}
    return {"line": line, "sku": f"SKU-{line}", "ordered": ordered} | counters | prices | shipping


def a_row(id: int, line: int, quantity: int, **more: Any) -> dict[str, Any]:
    """A reservation or an allocation."""
    held = {"id": id, "line": line, "sku": f"SKU-{line}", "location": "lyon", "quantity": quantity}
    kinds = {"kind": "stock", "expires_at": None, "fulfillment_order": None}
    return held | kinds | {"picked": False, "turned_down": False} | more


def a_part(seq: int, lines: dict[int, int], **more: Any) -> dict[str, Any]:
    """A fulfillment order with units by line."""
    empty = dict.fromkeys(
        (
            *("reject_reason", "cancellation", "pickup_code", "offered_at", "answer_by"),
            *("accepted_at", "work_by", "picked_at", "packed_at", "ready_at", "collect_by"),
            *("handed_over_at", "cancel_answer_by", "ended_at"),
        )
    )
    asked = [
        {
            "line": line,
            "sku": f"SKU-{line}",
            "asked": units,
            "quantity": units,
            "picked": None,
            "cancel_asked": 0,
        }
        for line, units in lines.items()
    ]
    part = {"id": f"2222-2222-2-F{seq}", "seq": seq, "location": "lyon", "method": "home"}
    counts = {"cancellation_seq": 0, "cancellation_asked": 0, "version": 1, "created_at": NOW}
    return empty | part | counts | {"status": "open", "request": "requested", "lines": asked} | more


def a_parcel(**more: Any) -> dict[str, Any]:
    """A parcel of the first fulfillment order, handed over."""
    parcel: dict[str, Any] = {
        "id": "2222-2222-2-S1",
        "fulfillment_order": "2222-2222-2-F1",
        "seq": 1,
        "weight_g": 500,
        "status": "handed_over",
        "carrier": "simulator",
        "tracking_number": "SIM1",
        "tracking_url": None,
        "label_attempt": 1,
        "created_at": NOW,
        "handed_over_at": NOW,
        "last_heard_at": None,
        "last_asked_at": None,
        "delivered_at": None,
        "written_off_at": None,
        "lines": [{"line": 1, "quantity": 1}],
    }
    return parcel | more


def a_tender(**sums: int) -> dict[str, Any]:
    """A card with these sums."""
    none = dict.fromkeys(
        ("authorized_minor", "captured_minor", "refunded_minor", "voided_minor"), 0
    )
    card = {"tender": 1, "kind": "card", "provider": "simulator", "amount_minor": 10**6}
    return card | {"authorisation": "a", "capture_before": None} | none | sums


def an_entry(kind: str = "authorization", status: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A payment entry."""
    verb = "authorize" if kind == "authorization" else kind
    entry = {"key": f"2222-2222-2:{verb}:1", "tender": 1, "kind": kind, "seq": 1}
    money = {"amount_minor": 100, "currency": "EUR", "status": status, "cause": None}
    empty = {"provider_reference": None, "reason": None, "settled_by": None, "settled_at": None}
    return entry | money | empty | {"attempts": 0, "given_up": False, "at": NOW} | more


def an_order(*lines: dict[str, Any], **more: Any) -> Order:
    """A confirmed order of these lines, its grace window over."""
    past = NOW - timedelta(hours=1)
    plain: dict[str, Any] = {
        "number": "2222-2222-2",
        "channel": "web",
        "reference": "r-1",
        "currency": "EUR",
        "customer_id": "c-1",
        "customer_segment": None,
        "method": "home",
        "pickup_location": None,
        "country": "FR",
        "latitude": None,
        "longitude": None,
        "allow_split": True,
        "allow_backorder": False,
        "total_minor": sum(line["total_minor"] for line in lines) + 490,
        "shipping_minor": 490,
        "shipping_tax_minor": 0,
        "placed_at": past,
        "started_at": past,
        "confirmed_at": past,
        "grace_until": past,
        "promise_by": None,
        "closed_at": None,
        "refusal_code": None,
        "refusal_detail": None,
        "shortages": None,
        "shipping_captured": False,
        "version": 3,
        "lines": lines,
        "reservations": [],
        "allocations": [],
        "fulfillment_orders": [],
        "shipments": [],
        "tenders": [a_tender(authorized_minor=10**6)],
        "entries": [an_entry()],
        "holds": [],
        "parked": [],
    }
    return Order.model_validate(plain | more)
