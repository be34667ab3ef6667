"""Parcels of returns in the books: labels, and what carriers say of them.

A parcel comes `in` from the customer, or goes `out` to them again with goods that were refused.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.money import reopen_return
from adapters.db.parcels import SCAN_RANK, place_of
from adapters.db.return_inspections import hand_back
from adapters.db.returns import set_return
from adapters.db.unit import OrderUnit
from oms.ports import LabelBought, LabelRequest, Place, Scan
from oms.returns import TROUBLED_RETURN_PARCELS, Return, ReturnParcel

# Where it goes, or where what goes out was refused; an order without an address was collected.
_REQUEST = """
SELECT p.id, p.direction, p.weight_g, p.label_attempt, p.tracking_number, r.id AS return_id, r.via,
    r.order_number, l.id AS location, l.name AS place, l.country AS place_country,
    l.address AS place_address, o.country, o.document->'delivery'->'address' AS address,
    o.document->'customer'->>'name' AS customer, c.name AS counter, c.address AS counter_address
FROM return_parcels p JOIN returns r ON r.id = p.return_id
JOIN orders o ON o.number = r.order_number
JOIN locations l ON l.id = CASE p.direction WHEN 'in' THEN r.location ELSE coalesce(
    (SELECT location FROM return_lots WHERE return_id = r.id AND state IN ('rejected', 'left')
     ORDER BY id LIMIT 1), r.location) END
LEFT JOIN locations c ON c.id = o.pickup_location
WHERE p.id = :id
"""


# --- labels ---------------------------------------------------------------------------------


async def return_label_request(tx: AsyncConnection, parcel: str) -> LabelRequest | None:
    """Gather what a label needs; None if the parcel has one. Holds personal data."""
    row = (await tx.execute(text(_REQUEST), {"id": parcel})).one()
    return None if row.tracking_number is not None else _request(row)


async def ends_of(tx: AsyncConnection, parcel: str) -> tuple[Place, Place]:
    """Who sends a parcel, and who gets it. Holds personal data."""
    request = _request((await tx.execute(text(_REQUEST), {"id": parcel})).one())
    return request.sender, request.recipient


async def carries_others(tx: AsyncConnection, id: str) -> bool:
    """Whether goods of other returns are still to travel in the parcels of this one."""
    others = await tx.execute(
        text(
            "SELECT 1 FROM returns WHERE leader = :id AND closed_at IS NULL"
            " AND coalesce(declined_at, cancelled_at, expired_at) IS NULL LIMIT 1"
        ),
        {"id": id},
    )
    return others.first() is not None


def _request(row: Any) -> LabelRequest:
    place = place_of({"country": row.place_country} | row.place_address, row.place)
    comes_in = row.direction == "in"
    customer = _customer(row, sends=comes_in)
    return LabelRequest(
        key=f"{row.id}:label:{row.label_attempt}",
        reference=row.order_number,
        shipment=row.id,
        fulfillment_order=row.return_id,
        location=row.location,
        sender=customer if comes_in else place,
        recipient=place if comes_in else customer,
        weight_g=row.weight_g,
        of_return=True,
        collect=comes_in and row.via == "carrier_pickup",
    )


def _customer(row: Any, *, sends: bool) -> Place:
    """Where the customer is, as far as the order tells.

    Who collected an order at a counter told no address: they send from its area, and what goes
    back to them waits at that counter again.
    """
    name = row.customer or "Customer"
    if row.address is not None:
        return place_of(row.address, name)
    counter = {"country": row.country} | (row.counter_address or {})
    if not sends and row.counter is not None:
        return place_of(counter | {"name": f"{name}, {row.counter}"}, name)
    return Place(name=name, postal_code=counter.get("postal_code"), country=counter["country"])


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


def _parcel(back: Return, id: str) -> ReturnParcel:
    return next(each for each in back.parcels if each.id == id)


# --- scans ----------------------------------------------------------------------------------


async def record_look_up(unit: OrderUnit, back: Return, parcel: str, scans: Sequence[Scan]) -> None:
    """Write what the carrier said when it was asked; perhaps nothing new."""
    await record_return_scans(unit, back, parcel, scans)
    if _parcel(back, parcel).last_asked_at != unit.at:  # else it was written, and is told again
        asked = "UPDATE return_parcels SET last_asked_at = :at WHERE id = :id"
        unit.run(asked, at=unit.at, id=parcel)


async def record_return_scans(
    unit: OrderUnit, back: Return, id: str, scans: Sequence[Scan]
) -> bool:
    """Write down what a carrier scanned. False if all of it was known.

    Order of arrival does not matter: `delivered` stands against any other scan, else the latest by
    the carrier's own clock counts. A parcel that moves starts the wait for the goods; one that
    goes out takes what was refused along, once none is left to go.
    """
    news = [scan for scan in scans if await _is_news(unit, id, scan)]
    if not news:
        return False
    parcel = _parcel(back, id)
    moves = any(scan.status != "label_created" for scan in news)
    unit.run(
        "UPDATE return_parcels SET status = :status, last_heard_at = :at, scanned_at = CASE"
        " WHEN :moves THEN coalesce(scanned_at, :at) ELSE scanned_at END WHERE id = :id",
        status=await _status_now(unit, parcel),
        at=unit.at,
        moves=moves,
        id=id,
    )
    if moves and parcel.direction == "in":
        write_scanned(unit, back)
    elif moves and all(p.scanned_at for p in back.parcels if p.direction == "out" and p.id != id):
        await hand_back(unit, back)  # a refusal: it was told to have left before
        if back.closed_at is not None:
            _look_again(unit, back, parcel, news)
    for scan in news:
        if scan.status in (*TROUBLED_RETURN_PARCELS, "delivered"):
            words = scan.status.replace("_", " ")
            told = {"return": back.id, "parcel": id, "status": scan.status}
            unit.tell(f"return.parcel_{scan.status}", f"{id} is {words}", **told)
    return True


def _look_again(unit: OrderUnit, back: Return, parcel: ReturnParcel, news: Sequence[Scan]) -> None:
    """What left for the customer is in trouble: its return gets a process that calls a person."""
    if any(scan.status in TROUBLED_RETURN_PARCELS for scan in news):
        reopen_return(unit, back.id, f"{parcel.id} is in trouble")


async def _is_news(unit: OrderUnit, parcel: str, scan: Scan) -> bool:
    return bool(
        await unit.ask(
            "INSERT INTO return_scans (parcel, event_id, status, at, heard_at)"
            " VALUES (:p, :e, :status, :at, :heard) ON CONFLICT DO NOTHING RETURNING 1",
            p=parcel,
            e=scan.event_id,
            status=scan.status,
            at=scan.at,
            heard=unit.at,
        )
    )


async def _status_now(unit: OrderUnit, parcel: ReturnParcel) -> str:
    rows = await unit.ask("SELECT status, at FROM return_scans WHERE parcel = :p", p=parcel.id)
    scans = [(row.status == "delivered", row.at, SCAN_RANK[row.status], row.status) for row in rows]
    status = str(max(scans)[3])
    return parcel.status if status == "label_created" else status


def write_scanned(unit: OrderUnit, back: Return) -> None:
    """The goods are on their way: told once, and from now on they are waited for."""
    if back.scanned_at is not None:
        return
    receive_by = unit.at + timedelta(days=back.terms.receive_days)
    set_return(unit, back.id, scanned_at=unit.at, receive_by=receive_by)
    unit.tell("return.in_transit", f"{back.id} is on its way", **{"return": back.id})


class Follower(NamedTuple):
    """A return of another order whose goods travel in the same parcels."""

    number: str
    id: str


async def followers_of(tx: AsyncConnection, parcel: str) -> list[Follower]:
    """The returns of other orders whose goods come in this parcel too."""
    rows = await tx.execute(
        text(
            "SELECT f.order_number, f.id FROM return_parcels p"
            " JOIN returns f ON f.leader = p.return_id"
            " WHERE p.id = :id AND p.direction = 'in' ORDER BY f.id"
        ),
        {"id": parcel},
    )
    return [Follower(*row) for row in rows]


async def follow_scan(unit: OrderUnit, back: Return) -> None:
    """The parcel in which this return's goods travel too was scanned."""
    write_scanned(unit, back)


async def find_return_parcel(tx: AsyncConnection, tracking_number: str) -> str | None:
    """The parcel of a return by its tracking number."""
    found = await tx.execute(
        text("SELECT id FROM return_parcels WHERE tracking_number = :t"), {"t": tracking_number}
    )
    id: str | None = found.scalar_one_or_none()
    return id
