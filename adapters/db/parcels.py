"""Parcels in the books: labels and scans."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.nodes import write_hand_over
from adapters.db.parcel_ends import write_delivered
from adapters.db.undeliverable import turn_round
from adapters.db.unit import OrderUnit
from oms.fulfillment import TROUBLED_PARCEL_STATUSES, Shipment
from oms.ports import LabelBought, LabelRequest, Place

SCAN_RANK = {
    "label_created": 0,
    "handed_over": 1,
    "in_transit": 2,
    "out_for_delivery": 3,
    "available_for_pickup": 4,
    "attempt_failed": 5,
    "damaged": 6,
    "returned_to_sender": 7,
    "lost": 8,
    "delivered": 9,
}
"""Which of two scans of one moment counts: the higher."""

_TOLD_AS = {
    "attempt_failed": "shipment.failed",
    "damaged": "shipment.failed",
    "lost": "shipment.failed",
}


# --- labels ---------------------------------------------------------------------------------


async def label_request(tx: AsyncConnection, shipment: str) -> LabelRequest:
    """Gather what a label needs. The answer holds personal data: for the carrier only."""
    row = (
        await tx.execute(
            text(
                """
                SELECT s.id, s.order_number, s.fulfillment_order, s.weight_g, s.label_attempt,
                    f.location, l.name AS sender, l.address AS from_address,
                    o.document->'delivery'->'address' AS to_address,
                    o.document->'customer'->>'name' AS customer
                FROM shipments s JOIN fulfillment_orders f ON f.id = s.fulfillment_order
                JOIN locations l ON l.id = f.location JOIN orders o ON o.number = s.order_number
                WHERE s.id = :id
                """
            ),
            {"id": shipment},
        )
    ).one()
    return LabelRequest(
        key=f"{row.id}:label:{row.label_attempt}",
        reference=row.order_number,
        shipment=row.id,
        fulfillment_order=row.fulfillment_order,
        location=row.location,
        sender=place_of(row.from_address, row.sender),
        recipient=place_of(row.to_address, row.customer or "Customer"),
        weight_g=row.weight_g,
    )


def place_of(address: dict[str, Any], name: str) -> Place:
    """An address as stored, with the name it has or this one."""
    return Place(
        name=address.get("name") or name,
        line1=address.get("line1"),
        line2=address.get("line2"),
        city=address.get("city"),
        region=address.get("region"),
        postal_code=address.get("postal_code"),
        country=address["country"],
    )


async def write_label(unit: OrderUnit, shipment: Shipment, label: LabelBought) -> None:
    """The carrier took the parcel on. The first label stands."""
    if shipment.tracking_number is not None:
        return
    unit.run(
        "UPDATE shipments SET carrier = :c, tracking_number = :t, tracking_url = :u WHERE id = :id",
        c=label.carrier,
        t=label.tracking_number,
        u=label.tracking_url,
        id=shipment.id,
    )
    unit.tell(
        "shipment.created",
        f"{shipment.id} travels with {label.carrier} as {label.tracking_number}",
        shipment=shipment.id,
        tracking_number=label.tracking_number,
    )
    await unit.flush("label")


# --- scans ----------------------------------------------------------------------------------


async def record_scan(
    unit: OrderUnit, shipment: Shipment, *, event_id: str, status: str, at: datetime
) -> bool:
    """Write down a carrier's scan. False if it was known. Order of arrival does not matter.

    A parcel that moves was handed over, whether or not the location said so. `delivered` stands
    against any other scan; else the latest by the carrier's own clock counts. One that turned round
    is expected back, as a return.
    """
    new = await unit.ask(
        "INSERT INTO shipment_scans (shipment, event_id, status, at, heard_at)"
        " VALUES (:s, :e, :status, :at, :heard) ON CONFLICT DO NOTHING RETURNING 1",
        s=shipment.id,
        e=event_id,
        status=status,
        at=at,
        heard=unit.at,
    )
    if not new:
        return False
    each = unit.order.fulfillment_order(shipment.fulfillment_order)
    if each.status == "in_progress" and status != "label_created" and each.packed_at is not None:
        await write_hand_over(unit, each, "handed over, as the carrier's scan proves,")
    status_now = await _status_now(unit, shipment.id)
    await _move_parcel(unit, shipment, status_now)
    kind = _TOLD_AS.get(status, f"shipment.{status}")
    if status not in ("label_created", "handed_over"):
        words = status.replace("_", " ")
        unit.tell(kind, f"{shipment.id} is {words}", shipment=shipment.id, status=status)
    await unit.flush("scan")
    if status_now == "returned_to_sender":
        await unit.again()
        await turn_round(unit, unit.order.shipment(shipment.id))
    return True


async def _status_now(unit: OrderUnit, shipment: str) -> str:
    rows = await unit.ask("SELECT status, at FROM shipment_scans WHERE shipment = :s", s=shipment)
    scans = [(row.status == "delivered", row.at, SCAN_RANK[row.status], row.status) for row in rows]
    return str(max(scans)[3])


async def _move_parcel(unit: OrderUnit, shipment: Shipment, status: str) -> None:
    if status == "label_created":
        status = shipment.status
    unit.run(
        "UPDATE shipments SET status = :status, last_heard_at = :at WHERE id = :id",
        status=status,
        at=unit.at,
        id=shipment.id,
    )
    if shipment.is_final:
        return
    if status == "delivered":
        write_delivered(unit, shipment)
    elif {status, shipment.status} & {*TROUBLED_PARCEL_STATUSES} or _is_parked(unit, shipment):
        unit.nudge_fulfillment(shipment.fulfillment_order, "the parcel is in trouble or out of it")


def _is_parked(unit: OrderUnit, shipment: Shipment) -> bool:
    """Whether a person was called to it, for whom news is news, be they ever so routine."""
    steps = {f"parcel:{shipment.short_id}", f"poll:{shipment.short_id}"}
    return any(each.step in steps for each in unit.order.parked)


async def find_parcel(tx: AsyncConnection, tracking_number: str) -> tuple[str, str] | None:
    """The order number and shipment id of a tracking number."""
    row = (
        await tx.execute(
            text("SELECT order_number, id FROM shipments WHERE tracking_number = :t"),
            {"t": tracking_number},
        )
    ).first()
    return (row.order_number, row.id) if row else None
