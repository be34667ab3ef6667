"""Where goods go that came back and were accepted."""

from adapters.db.stock import StockChange
from adapters.db.unit import OrderUnit
from oms.return_policy import VersionedPolicy
from oms.returns import Return


async def put_away(unit: OrderUnit, back: Return, policy: VersionedPolicy) -> None:
    """Put accepted units on the shelf where they lie, damaged ones beside it; each lot once."""
    for lot in back.lots:
        if lot.state == "rejected" and back.terms.refused == "dispose":
            unit.run(
                "UPDATE return_lots SET state = 'left', disposition = 'dispose', placed_at = :at"
                " WHERE id = :id",
                at=unit.at,
                id=lot.id,
            )
        if lot.state != "accepted":
            continue
        sellable = lot.condition in ("as_new", "opened")
        unit.run(
            "UPDATE return_lots SET state = 'placed', disposition = :disposition, placed_at = :at"
            " WHERE id = :id",
            disposition=lot.disposition or ("restock" if sellable else "quarantine"),
            at=unit.at,
            id=lot.id,
        )
        if sellable:
            unit.stock(StockChange(sku=lot.sku, location=lot.location, on_hand=lot.quantity))
        elif lot.condition == "damaged":
            unit.stock(StockChange(sku=lot.sku, location=lot.location, damaged=lot.quantity))
        unit.tell(
            "return.restocked",
            f"{back.id}: {lot.quantity} of line {lot.line} put away at {lot.location}",
            **{"return": back.id, "lot": lot.id, "location": lot.location},
        )
