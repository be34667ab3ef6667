"""What came back to a real shop, where its records lie beside the project: what was sold may.

Each order is taken as delivered when it was placed. A row finds its line by the order's reference;
what the shop never sold finds none.
"""

import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from oms.orders import Order
from oms.return_policy import ReturnPolicy, ReturnRule, VersionedPolicy
from oms.return_requests import Agreed, ReturnRequest, agree
from tests.oms.orders import a_line, a_parcel, an_order

REAL = Path(__file__).parents[3] / "shared" / "data"
PATIENT = VersionedPolicy(
    version=1, policy=ReturnPolicy(rules=(ReturnRule(name="two months and more", window_days=90),))
)
Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    with gzip.open(REAL / f"{name}.jsonl.gz", "rt") as text:
        return [json.loads(line) for line in text]


def as_delivered(placed: Row) -> Order:
    """An order of the file, at its customer's door at once."""
    lines = [
        a_line(i, delivered=each["quantity"], charged=each["quantity"])
        | {
            "sku": each["sku"],
            "unit_price_minor": each["unit_price_minor"],
            "total_minor": each["unit_price_minor"] * each["quantity"],
        }
        for i, each in enumerate(placed["order"]["lines"], 1)
    ]
    at = datetime.fromisoformat(placed["at"])
    held = [{"line": line["line"], "quantity": line["delivered"]} for line in lines]
    parcel = a_parcel(status="delivered", handed_over_at=at, delivered_at=at, lines=held)
    return an_order(*lines, shipments=[parcel], shipping_captured=True, closed_at=at)


def asked(order: Order, line: int, quantity: int, at: datetime) -> Agreed | str:
    """Terms for these units, or the code of why not."""
    units = {"line": line, "quantity": quantity, "reason": "other"}
    request = ReturnRequest.model_validate(
        {"order": order.number, "via": "store", "location": "any", "lines": [units]}
    )
    told = agree(order, request, PATIENT, tags={}, now=at)
    return told if isinstance(told, Agreed) else told[0].code


def with_return(order: Order, agreed: Agreed, at: datetime) -> Order:
    """The order with what is announced now."""
    seq = len(order.returns) + 1
    lines = [
        {"line": each.line, "sku": each.sku, "quantity": each.quantity, "reason": each.reason}
        for each in agreed.lines
    ]
    back = {"id": f"2222-2222-2-R{seq}", "seq": seq, "kind": "return", "via": "store"}
    terms = {"terms": agreed.terms, "refund_minor": agreed.refund_minor, "resolution": "refund"}
    times = {"requested_at": at, "approved_at": at, "location": "any", "lines": lines}
    return Order.model_validate(
        order.model_dump() | {"returns": [*order.returns, back | terms | times]}
    )


if REAL.is_dir():  # not part of the project

    def test_all_that_was_sold_may_come_back_and_nothing_else() -> None:
        placed = {row["order"]["reference"]: row for row in rows("orders")}
        orders: dict[str, Order] = {}
        last_of = {row["order"]["customer"]["id"]: ref for ref, row in placed.items()}
        outcome: Counter[str] = Counter()

        for row in rows("returns"):
            at = datetime.fromisoformat(row["at"])
            reference = row["reference"]
            if reference is None:
                outcome["never sold"] += 1
                if other := last_of.get(row["customer"]):
                    order = as_delivered(placed[other])
                    assert asked(order, len(order.lines) + 1, 1, at) == "line_unknown"
                    outcome["of somebody who bought other things"] += 1
                continue
            order = orders.get(reference) or as_delivered(placed[reference])
            told = asked(order, row["line"], row["quantity"], at)
            assert isinstance(told, Agreed), (row, told)
            outcome["accepted"] += 1
            orders[reference] = order = with_return(order, told, at)
            left = order.returnable(row["line"])
            assert asked(order, row["line"], left + 1, at) == "more_than_sent"

        print(dict(outcome))
        assert outcome["never sold"] == 561
        assert outcome["accepted"] == 802
