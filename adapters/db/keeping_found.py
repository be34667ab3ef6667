"""Goods that are nobody's are written down as they lie there, until a person says what they are."""

from collections.abc import Sequence
from typing import Any

from adapters.db.unit import OrderUnit
from oms.found import Found
from oms.orders import Order

# That they wait for a person from here on is told with them: once, like them.
KEEP_FOUND = """
WITH kept AS (
    INSERT INTO found_goods (location, reference, line, sku, quantity, condition, return_id, at,
        actor)
    VALUES (:location, :reference, :line, :sku, :quantity, :condition, :back, :at, :actor)
    ON CONFLICT DO NOTHING RETURNING *
)
INSERT INTO stock_events (at, kind, sku, location, data)
SELECT at, 'found_goods.waiting', sku, location, jsonb_build_object('found', id::text,
    'quantity', quantity, 'condition', condition, 'return', return_id) FROM kept
"""


def found_rows(
    found: Sequence[Found],
    *,
    location: str,
    reference: str,
    order: Order | None = None,
    back: str | None = None,
) -> list[dict[str, Any]]:
    """What `KEEP_FOUND` writes of a scan, but when and by whom.

    `reference` names the scan at its place. Goods of a line of the `order` are its article, unless
    somebody named another; what a wrong item is instead, nobody else said. `back`: the return they
    lay beside.
    """
    rows = []
    for number, each in enumerate(found, start=1):
        line = order.line(each.line) if order and each.line else None
        sold = line if each.condition != "wrong_item" else None
        rows.append(
            {
                "location": location,
                "reference": reference,
                "line": number,
                "sku": each.sku or (sold.sku if sold else None),
                "quantity": each.quantity,
                "condition": each.condition,
                "back": back,
            }
        )
    return rows


def keep_found(
    unit: OrderUnit, found: Sequence[Found], *, location: str, reference: str, back: str | None
) -> None:
    """Keep what is beyond all that was sent of an order, as it lies there."""
    rows = found_rows(found, location=location, reference=reference, order=unit.order, back=back)
    for row in rows:
        unit.run(KEEP_FOUND, **row, at=unit.at, actor=unit.actor)
