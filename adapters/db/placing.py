"""An order's first steps in the books: recorded, reserved, confirmed; or refused with no trace."""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.allocations import (
    as_rows,
    change_rows,
    insert_allocations,
    insert_reservations,
)
from adapters.db.at_once import Statement, at_once
from adapters.db.choosing import Chosen, choose
from adapters.db.exchange_money import tell_closed, tell_confirmed
from adapters.db.money import refund_rest, request_payment, take_upfront, void_rest
from adapters.db.promise_watch import told_of
from adapters.db.promises import promise_order
from adapters.db.routing_decisions import record_decision, told_with
from adapters.db.sourcing import demand_of, places_for, wants
from adapters.db.stock import Short, StockChange, Want, take
from adapters.db.unit import OrderUnit
from adapters.metrics import RACES_LOST
from oms.money import allot, format_money
from oms.orders import EXCHANGE_HOLD, UPFRONT_TENDERS, Order
from oms.outlook import Outlook
from oms.placing import HomeDelivery, OrderRequest, StorePickup, TerminalTender
from oms.policy import Policy
from oms.sourcing import Missing
from oms.words import count_of

RACES = 50
"""How often a plan that lost a race is made again before the transaction gives up."""


# --- recorded -------------------------------------------------------------------------------


async def record_order(
    tx: AsyncConnection,
    number: str,
    request: OrderRequest,
    *,
    content_hash: bytes,
    place: tuple[str, float | None, float | None],
    at: datetime,
) -> bool:
    """Store a new order as pending. False if the channel's reference is taken.

    `place`: country, latitude and longitude of where it goes. The caller has checked the request
    (`oms.placing.check_order`) and that channel, articles and store exist.
    """
    delivery = request.delivery
    assert isinstance(delivery, HomeDelivery | StorePickup)
    country, latitude, longitude = place
    stored = await tx.execute(
        text(
            """
            INSERT INTO orders (number, channel, reference, content_hash, currency, customer_id,
                customer_segment, method, pickup_location, country, latitude, longitude,
                allow_split, allow_backorder, total_minor, shipping_minor, shipping_tax_minor,
                document, placed_at, shipping_captured, version)
            VALUES (:number, :channel, :reference, :hash, :currency, :customer, :segment, :method,
                :pickup, :country, :latitude, :longitude, :split, :backorder, :total, :shipping,
                :shipping_tax, CAST(:document AS jsonb), :at, false, 1)
            ON CONFLICT (channel, reference) WHERE refusal_code IS NULL DO NOTHING
            RETURNING 1
            """
        ),
        {
            "number": number,
            "channel": request.channel,
            "reference": request.reference,
            "hash": content_hash,
            "currency": request.currency,
            "customer": request.customer.id,
            "segment": request.customer.segment,
            "method": delivery.method,
            "pickup": delivery.location if isinstance(delivery, StorePickup) else None,
            "country": country,
            "latitude": latitude,
            "longitude": longitude,
            "split": request.allow_split,
            "backorder": request.allow_backorder,
            "total": request.total_minor,
            "shipping": request.shipping_minor,
            "shipping_tax": request.shipping_tax_minor,
            "document": request.model_dump_json(exclude={"tenders"}),
            "at": at,
        },
    )
    if stored.first() is None:
        return False
    await at_once(
        tx, [_lines(number, request), _tenders(number, request), _placed(number, request, at)]
    )
    return True


def _lines(number: str, request: OrderRequest) -> Statement:
    weights = [line.total_minor for line in request.lines]
    shipping = allot(request.shipping_minor, weights)
    shipping_tax = allot(request.shipping_tax_minor, weights)
    rows = [
        {
            "line": index + 1,
            "sku": line.sku,
            "kit": line.kit,
            "price": line.unit_price_minor,
            "discount": line.discount_minor,
            "tax": line.tax_minor,
            "total": line.total_minor,
            "shipping": shipping[index],
            "shipping_tax": shipping_tax[index],
            "units": line.quantity,
        }
        for index, line in enumerate(request.lines)
    ]
    return Statement(
        """
        INSERT INTO order_lines (order_number, line, sku, kit, unit_price_minor, discount_minor,
            tax_minor, total_minor, shipping_minor, shipping_tax_minor, ordered, unplanned,
            cancelled, reserved, backordered, allocated, picked, shipped, delivered, returned,
            refunded, charged)
        SELECT :n, r.line, r.sku, r.kit, r.price, r.discount, r.tax, r.total, r.shipping,
            r.shipping_tax, r.units, r.units, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, sku text, kit text,
            price bigint, discount bigint, tax bigint, total bigint, shipping bigint,
            shipping_tax bigint, units int)
        """,
        {"n": number, "rows": json.dumps(rows)},
    )


def _tenders(number: str, request: OrderRequest) -> Statement:
    rows = [
        {
            "tender": index + 1,
            "kind": tender.kind,
            "provider": getattr(tender, "provider", None),
            "token": getattr(tender, "token", None),
            "reference": tender.reference if isinstance(tender, TerminalTender) else None,
            "amount": tender.amount_minor,
        }
        for index, tender in enumerate(request.tenders)
    ]
    return Statement(
        "INSERT INTO tenders (order_number, tender, kind, provider, token, reference,"
        " amount_minor) SELECT :n, r.tender, r.kind, r.provider, r.token, r.reference, r.amount"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(tender int, kind text, provider text,"
        " token text, reference text, amount bigint)",
        {"n": number, "rows": json.dumps(rows)},
    )


def _placed(number: str, request: OrderRequest, at: datetime) -> Statement:
    """Open the order's timeline."""
    units = sum(line.quantity for line in request.lines)
    total = format_money(request.total_minor, request.currency)
    return Statement(
        "INSERT INTO events (order_number, seq, at, actor, kind, summary, data)"
        " VALUES (:n, 1, :at, :actor, 'order.placed', :summary, CAST(:data AS jsonb))",
        {
            "n": number,
            "at": at,
            "actor": f"channel:{request.channel}",
            "summary": f"Order of {count_of(units, 'unit')} for {total}"
            f" taken from {request.channel}",
            "data": json.dumps({"channel": request.channel, "total_minor": request.total_minor}),
        },
    )


# --- reserved -------------------------------------------------------------------------------


async def reserve_order(unit: OrderUnit, policy: Policy) -> None:
    """Plan and hold stock for all units that have none; or refuse the order.

    A plan that loses a race is made again on what is left, so nothing that could be served is
    refused. Also decides the authorisation, unless money is held already.
    """
    order = unit.order
    if order.confirmed_at is not None or not any(line.unplanned for line in order.lines):
        return
    demands = [demand_of(line, line.unplanned) for line in order.lines if line.unplanned]
    skus = [demand.sku for demand in demands]
    for _ in range(RACES):
        around = await places_for(
            unit.tx, order, skus, at=unit.at, policy=policy, number=order.number
        )
        chosen = await choose(unit.tx, order, demands, around)
        if chosen.missing:
            record_decision(unit, chosen.decision.record, "reserve")
            await refuse_for_stock(unit, chosen.missing)
            return
        if await _hold(unit, wants(chosen.picks, around.buffers), chosen, policy):
            return
    raise AssertionError("stock changed faster than it could be planned")


async def _hold(unit: OrderUnit, stock: Sequence[Want], chosen: Chosen, policy: Policy) -> bool:
    """Write a plan and take its stock, last, so that hot rows are locked for one statement.

    False, with nothing written, if others were faster.
    """
    room = [
        Want(sku=p.sku, location=p.location, quantity=p.quantity, into="backordered")
        for p in chosen.late
    ]
    told = len(unit.told)
    async with unit.tx.begin_nested() as attempt:
        await _write_reservations(unit, chosen, policy)
        await _request_authorisation(unit)
        await unit.flush("reserved")
        await unit.send()
        taken = await take(
            unit.tx,
            [*stock, *room],
            cause="reserve",
            key=unit.key("reserve"),
            at=unit.at,
            in_attempt=True,
        )
        if isinstance(taken, Short):
            await attempt.rollback()
            del unit.told[told:]
            RACES_LOST.inc()
            return False
    return True


async def _write_reservations(unit: OrderUnit, chosen: Chosen, policy: Policy) -> None:
    picks, late, record = chosen.picks, chosen.late, chosen.decision.record
    record_decision(unit, record, "reserve")
    expires_at = unit.at + policy.reservation
    unit.set_order(started_at=unit.order.started_at or unit.at)
    await insert_reservations(unit, as_rows(picks), kind="stock", expires_at=expires_at)
    if late:
        await insert_reservations(unit, as_rows(late), kind="backorder", expires_at=None)
    for pick in picks:
        unit.move(pick.line, "unplanned", "reserved", pick.quantity)
    for pick in late:
        unit.move(pick.line, "unplanned", "backordered", pick.quantity)
    places = sorted({pick.location for pick in picks})
    units = sum(pick.quantity for pick in picks)
    words = (
        f"{count_of(units, 'unit')} reserved at {', '.join(places)}"
        if picks
        else "No stock to reserve"
    )
    backordered = sum(pick.quantity for pick in late)
    if backordered:
        words += f", {count_of(backordered, 'unit')} backordered"
    short, why = told_with(record)
    unit.tell(
        "order.reserved",
        words + short,
        locations=places,
        units=units,
        backordered=backordered,
        **why,
    )


async def _request_authorisation(unit: OrderUnit) -> None:
    tender = unit.order.tender
    if tender is None or unit.order.authorization is not None:
        return
    if tender.kind in UPFRONT_TENDERS:
        (row,) = await unit.ask(
            "SELECT reference FROM tenders WHERE order_number = :n AND tender = :t",
            n=unit.number,
            t=tender.tender,
        )
        await take_upfront(unit, reference=row.reference)
    else:
        request_payment(unit, "authorization", tender.amount_minor, cause="placement")


async def release_reservation(unit: OrderUnit) -> None:
    """Give back stock held for an order that is not paid in time. It may be reserved again."""
    held = [each for each in unit.order.reservations if each.kind == "stock"]
    if unit.order.confirmed_at is not None or not held:
        return
    await _release(unit, "unplanned")
    unit.tell("order.reservation_expired", "The reservation ended before the payment's outcome")
    await unit.flush("reservation_expired")


async def place_elsewhere(unit: OrderUnit, policy: Policy) -> None:
    """Plan an order that is not confirmed anew, whole, or refuse it: its places may not serve."""
    await _release(unit, "unplanned")
    await unit.flush("place_elsewhere")
    await unit.again()
    await reserve_order(unit, policy)


async def _release(unit: OrderUnit, target: str) -> None:
    """End every open reservation and move its units to `target`."""
    order = unit.order
    await change_rows(
        unit, "reservations", [(r.id, r.quantity) for r in order.reservations], state="released"
    )
    for each in order.reservations:
        bucket = "reserved" if each.kind == "stock" else "backordered"
        unit.move(each.line, bucket, target, each.quantity)
        unit.stock(
            StockChange(sku=each.sku, location=each.location, reserved=-each.quantity)
            if each.kind == "stock"
            else StockChange(sku=each.sku, location=each.location, backordered=-each.quantity)
        )


# --- confirmed or refused -------------------------------------------------------------------


async def confirm_order(unit: OrderUnit, policy: Policy) -> None:
    """Turn reservations into allocations and give the promise. Does nothing when not possible."""
    order = unit.order
    waiting = order.confirmed_at is not None or order.all_cancelled or not order.is_paid_for
    if waiting or any(line.unplanned for line in order.lines):
        return
    held = [each for each in order.reservations if each.kind == "stock"]
    await change_rows(unit, "reservations", [(r.id, r.quantity) for r in held], state="allocated")
    await insert_allocations(
        unit,
        as_rows(held),
    )
    for each in held:
        unit.move(each.line, "reserved", "allocated", each.quantity)
        unit.stock(
            StockChange(
                sku=each.sku,
                location=each.location,
                reserved=-each.quantity,
                allocated=each.quantity,
            )
        )
    await _promise(unit, policy)
    tell_confirmed(unit)
    await unit.flush("confirm")


async def _promise(unit: OrderUnit, policy: Policy) -> None:
    """Write by when the customer has the goods, and tell it; what is held for an exchange later."""
    held = any(hold.reason == EXCHANGE_HOLD for hold in unit.order.open_holds)
    promise = None if held else await promise_order(unit, policy)
    by = None if promise is None else promise.by
    told = None if promise is None else promise.model_dump(mode="json", exclude={"by"})
    unit.set_order(
        confirmed_at=unit.at,
        grace_until=unit.at + policy.grace,
        promise_by=by,
        expected_by=by,
        promise_status="kept",
        promise=None if told is None else json.dumps(told),
    )
    words = "no date is known yet" if by is None else f"promised by {by:%Y-%m-%d %H:%M} UTC"
    unit.tell(
        "order.confirmed",
        f"Order confirmed, {words}",
        promise_by=None if by is None else by.isoformat(),
        milestones=[] if told is None else told["milestones"],
    )


async def promise_now(unit: OrderUnit, policy: Policy) -> None:
    """Promise a date for an order that was held until now; none if it is not confirmed."""
    if unit.order.confirmed_at is None or unit.order.promise_by is not None:
        return
    promise = await promise_order(unit, policy)
    if promise is None:
        return
    told = promise.model_dump(mode="json", exclude={"by"})
    unit.set_order(promise_by=promise.by, expected_by=promise.by, promise=json.dumps(told))
    unit.tell(
        "order.promised",
        f"Promised by {promise.by:%Y-%m-%d %H:%M} UTC",
        promise_by=promise.by.isoformat(),
        milestones=told["milestones"],
    )
    await unit.flush("promise")


async def refuse_for_stock(unit: OrderUnit, missing: Sequence[Missing]) -> None:
    """Refuse an order because of stock, naming each short line."""
    names = ", ".join(sorted({each.sku for each in missing}))
    unit.set_order(
        shortages=json.dumps(
            [
                {
                    "line": each.line,
                    "sku": each.sku,
                    "wanted": each.wanted,
                    "available": each.available,
                }
                for each in missing
            ]
        )
    )
    await refuse_order(unit, "insufficient_stock", f"Not enough stock of {names}.")


async def refuse_order(unit: OrderUnit, code: str, detail: str) -> None:
    """End a pending order without a sale and release everything; closing it voids its payment."""
    order: Order = unit.order
    assert order.confirmed_at is None, "a confirmed order is cancelled, not refused"
    await _release(unit, "cancelled")
    for line in order.lines:
        if line.unplanned:
            unit.move(line.line, "unplanned", "cancelled", line.unplanned)
    unit.set_order(refusal_code=code, refusal_detail=detail)
    unit.tell("order.cancelled", f"Order refused: {detail}", code=code)
    await unit.flush("refuse")


# --- closed ---------------------------------------------------------------------------------


async def close_order(unit: OrderUnit) -> None:
    """Give back what is left of the authorisation; once that is settled, end the order."""
    order = unit.order
    if order.closed_at is not None or order.has_open_units or not order.is_settled:
        return
    voids, refunds = await void_rest(unit), await refund_rest(unit)
    if voids or refunds:
        await unit.flush("give_back_rest")
        return
    _close_promise(unit)
    tell_closed(unit)
    if order.all_cancelled:
        unit.tell("order.closed", "Nothing is left of the order; it is closed")
    else:
        unit.tell("order.completed", "Delivered and settled; the order is complete")
    await unit.flush("close")


def _close_promise(unit: OrderUnit) -> None:
    """Close the order, with what became of its promise; it is not watched any more."""
    order, there_at = unit.order, unit.order.goods_there_at
    before = order.promise_status or "kept"
    if order.promise_by is None or there_at is None:
        unit.set_order(closed_at=unit.at)
        return
    late = before == "missed" or there_at > order.promise_by
    found = Outlook("missed" if late else "kept", there_at)
    unit.set_order(closed_at=unit.at, promise_status=found.standing, expected_by=found.expected)
    if found.standing != before:
        kind, summary = told_of(found, order.promise_by)
        unit.tell(
            kind,
            summary,
            promise_by=order.promise_by.isoformat(),
            expected=there_at.isoformat(),
        )
