"""How parcels end: delivered, or written off and paid back."""

from adapters.db.money import refund_units
from adapters.db.stock import StockChange
from adapters.db.unit import OrderUnit
from oms.fulfillment import Shipment
from oms.return_money import beyond_claims, was_given_up
from oms.returns import Return
from oms.words import count_of, is_or_are


def write_delivered(unit: OrderUnit, shipment: Shipment) -> None:
    """The customer has it. If it was on its way back, as somebody said, it is no longer."""
    unit.run(
        "UPDATE shipments SET status = 'delivered', delivered_at = :at WHERE id = :id",
        at=unit.at,
        id=shipment.id,
    )
    for line in shipment.lines:
        if line.quantity:  # none, where a location stopped all of a line after it had packed it
            unit.move(line.line, "shipped", "delivered", line.quantity)
    back = unit.order.undeliverable(shipment.id)
    if back is not None:
        _call_off(unit, back)
    unit.nudge_fulfillment(shipment.fulfillment_order, "delivered")
    unit.nudge_order("delivered")


def _call_off(unit: OrderUnit, back: Return) -> None:
    """A parcel that was said to have turned round reached its customer after all."""
    assert not back.lots, "a parcel that arrived here was written off"
    unit.run(
        "UPDATE returns SET cancelled_at = :at, version = version + 1 WHERE id = :id",
        at=unit.at,
        id=back.id,
    )
    for (sku, location), units in sorted(back.coming().items()):
        unit.stock(StockChange(sku=sku, location=location, incoming=-units, coming_back=-units))
    unit.tell(
        "return.cancelled",
        f"{back.id} is called off: {back.shipment} was delivered after all",
        **{"return": back.id, "shipment": back.shipment},
    )
    unit.nudge_return(back.id, "delivered")


def prove_delivered(unit: OrderUnit) -> None:
    """What customers sent back had reached them: its parcels are delivered, heard of or not."""
    for line in unit.order.lines:
        for shipment in _may_have_brought(unit, line.line):
            if unit.counted(line.line, "returned") <= unit.counted(line.line, "delivered"):
                break
            unit.tell(
                "shipment.delivered",
                f"{shipment.id} is delivered, as goods of it that came back prove",
                shipment=shipment.id,
                status="delivered",
            )
            write_delivered(unit, shipment)


def _may_have_brought(unit: OrderUnit, line: int) -> list[Shipment]:
    """Parcels under way that hold units of a line; those that turned round, as it seemed, last."""
    order = unit.order
    found = [
        each
        for each in order.shipments
        if each.handed_over_at is not None
        and not each.is_final
        and any(held.line == line and held.quantity for held in each.lines)
    ]
    return sorted(found, key=lambda each: (order.undeliverable(each.id) is not None, each.seq))


async def write_off(unit: OrderUnit, shipment: Shipment) -> None:
    """The parcel will never arrive: its units are cancelled, and paid back where they were paid.

    What was claimed as lost is paid or replaced already.
    """
    if shipment.is_final:
        return
    unit.run("UPDATE shipments SET written_off_at = :at WHERE id = :id", at=unit.at, id=shipment.id)
    counts = {line.line: line.quantity for line in shipment.lines if line.quantity}
    for line, units in counts.items():
        unit.move(line, "shipped", "cancelled", units)
    total = sum(counts.values())
    unit.tell(
        "order.cancelled",
        f"{shipment.id} is given up; {count_of(total, 'unit')} {is_or_are(total)} cancelled",
        shipment=shipment.id,
        lines=counts,
    )
    unpaid = _write_claimed(unit, shipment, counts)
    paid = 0
    if not was_given_up(unit.order, shipment.fulfillment_order):
        nothing_left = unit.nothing_is_kept
        paid = await refund_units(unit, unpaid, cause=shipment.id, nothing_left=nothing_left)
    if unit.order.undeliverable(shipment.id) is not None:
        unit.run(
            "UPDATE returns SET refund_minor = :paid, version = version + 1 WHERE shipment = :id",
            paid=paid,
            id=shipment.id,
        )
    unit.nudge_order("written off")
    unit.nudge_fulfillment(shipment.fulfillment_order, "written off")


def _write_claimed(unit: OrderUnit, shipment: Shipment, counts: dict[int, int]) -> dict[int, int]:
    """Note what claims for lost goods have paid or replaced of a parcel; gives the other units."""
    unpaid = beyond_claims(unit.order, shipment)
    for line, units in counts.items():
        if claimed := units - unpaid.get(line, 0):
            unit.run(
                "UPDATE shipment_lines SET claimed = :units WHERE shipment = :id AND line = :line",
                units=claimed,
                id=shipment.id,
                line=line,
            )
    return unpaid
