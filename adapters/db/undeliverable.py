"""Parcels that turn round: refused, never collected, or nobody lives there.

They come back as returns that nobody asked for. What arrives is cancelled and paid back, like a
parcel that is written off, and put away like any other return.
"""

from datetime import timedelta

from adapters.db.return_policies import current_policy
from adapters.db.returns import Announced, NewReturn, request_return, set_return
from adapters.db.unit import OrderUnit
from oms.fulfillment import Shipment
from oms.orders import Order
from oms.return_money import parcel_refund
from oms.return_policy import VersionedPolicy
from oms.returns import Terms


async def turn_round(unit: OrderUnit, shipment: Shipment) -> str | None:
    """Expect a parcel back where it left from; once. Gives the return's id, None if there is none.

    What was gathered is flushed before.
    """
    order = unit.order
    under_way = shipment.handed_over_at is not None and shipment.delivered_at is None
    if not under_way or not any(line.quantity for line in shipment.lines):
        return None
    known = next((each.id for each in order.returns if each.shipment == shipment.id), None)
    if known is not None:
        return known
    policy = await current_policy(unit.tx)
    id = await request_return(unit, _new(order, shipment, policy))
    by = unit.at + timedelta(days=policy.policy.times.back_days)
    set_return(unit, id, scanned_at=unit.at, receive_by=by)
    unit.nudge_fulfillment(shipment.fulfillment_order, "it comes back")
    await unit.flush("turned_round")
    return id


def _new(order: Order, shipment: Shipment, policy: VersionedPolicy) -> NewReturn:
    """A return nobody has to approve. What cannot be sold again does not go to the customer."""
    units = {line.line: line.quantity for line in shipment.lines if line.quantity}
    times = policy.policy.times
    return NewReturn(
        lines=tuple(Announced(line, count, "undeliverable") for line, count in units.items()),
        terms=Terms(
            refund_at="receipt",
            refused="dispose",
            inspect_hours=times.inspect_hours,
            receive_days=times.back_days,
        ),
        refund_minor=0 if shipment.is_final else parcel_refund(order, shipment),
        kind="undeliverable",
        location=order.fulfillment_order(shipment.fulfillment_order).location,
        policy_version=policy.version,
        shipment=shipment.id,
    )
