"""Parcels on their way back: labels and scans."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.parcels import place_of
from adapters.db.unit import OrderUnit
from oms.ports import LabelBought, LabelRequest, Scan
from oms.returns import Return, ReturnParcel

_LABEL = """
SELECT p.id, p.direction, p.tracking_number, p.label_attempt, p.weight_g, r.id AS return_id,
    r.order_number, l.id AS location, l.name AS place, l.address AS place_address,
    coalesce(o.document->'delivery'->'address', l.address) AS customer_address,
    o.document->'customer'->>'name' AS customer
FROM return_parcels p JOIN returns r ON r.id = p.return_id
JOIN orders o ON o.number = r.order_number
JOIN locations l ON l.id = r.location WHERE p.id = :id
"""


async def return_label_request(tx: AsyncConnection, parcel: str) -> LabelRequest | None:
    """Gather what a label needs; None if the parcel has one. Holds personal data."""
    row = (await tx.execute(text(_LABEL), {"id": parcel})).one()
    if row.tracking_number is not None:
        return None
    customer = place_of(row.customer_address, row.customer or "Customer")
    place = place_of(row.place_address, row.place)
    comes = row.direction == "in"
    return LabelRequest(
        key=f"{row.id}:label:{row.label_attempt}",
        reference=row.order_number,
        shipment=row.id,
        fulfillment_order=row.return_id,
        location=row.location,
        sender=customer if comes else place,
        recipient=place if comes else customer,
        weight_g=row.weight_g,
    )


def _parcel(back: Return, id: str) -> ReturnParcel:
    return next(each for each in back.parcels if each.id == id)


async def write_return_label(
    unit: OrderUnit, back: Return, parcel: str, label: LabelBought
) -> None:
    """The carrier took the parcel on. The first label stands."""
    if _parcel(back, parcel).tracking_number is not None:
        return
    unit.run(
        "UPDATE return_parcels SET carrier = :c, tracking_number = :t, tracking_url = :u"
        " WHERE id = :id",
        c=label.carrier,
        t=label.tracking_number,
        u=label.tracking_url,
        id=parcel,
    )
    unit.tell(
        "return.label_created",
        f"{parcel} travels with {label.carrier} as {label.tracking_number}",
        **{"return": back.id, "parcel": parcel, "tracking_number": label.tracking_number},
    )


async def record_return_scan(
    unit: OrderUnit, back: Return, parcel: str, *, event_id: str, status: str, at: datetime
) -> bool:
    """Write down a carrier's scan of a return's parcel. False if it was known."""
    new = await unit.ask(
        "INSERT INTO return_scans (parcel, event_id, status, at, heard_at)"
        " VALUES (:p, :e, :status, :at, :heard) ON CONFLICT DO NOTHING RETURNING 1",
        p=parcel,
        e=event_id,
        status=status,
        at=at,
        heard=unit.at,
    )
    if not new or status == "label_created":
        return bool(new)
    unit.run(
        "UPDATE return_parcels SET status = :status, last_heard_at = :at,"
        " scanned_at = coalesce(scanned_at, :at) WHERE id = :id",
        status=status,
        at=unit.at,
        id=parcel,
    )
    if back.scanned_at is None:
        receive_by = unit.at + timedelta(days=back.terms.receive_days)
        unit.run(
            "UPDATE returns SET scanned_at = :at, receive_by = :by WHERE id = :id",
            at=unit.at,
            by=receive_by,
            id=back.id,
        )
        unit.tell("return.in_transit", f"{back.id} is on its way", **{"return": back.id})
    return True


async def record_look_up(unit: OrderUnit, back: Return, parcel: str, scans: Sequence[Scan]) -> None:
    """Write what the carrier said when it was asked; perhaps nothing new."""
    for scan in scans:
        await record_return_scan(
            unit, back, parcel, event_id=scan.event_id, status=scan.status, at=scan.at
        )
    unit.run("UPDATE return_parcels SET last_asked_at = :at WHERE id = :id", at=unit.at, id=parcel)
