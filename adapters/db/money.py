"""Money in the books: entries under business keys, and the tender's sums they move.

An entry is written as `requested` by the transaction that decides it, before any call. Each sum
moves by one conditional statement, together with the entry that explains it.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.unit import OrderUnit
from oms.money import format_money
from oms.orders import Order
from oms.payments import PaymentCall, PaymentEntry, PaymentOutcome
from oms.ports import Approved, Declined
from oms.return_money import (
    is_replaced,
    keeps_shipping,
    owed,
    shipping_left,
    unit_refund,
)

_SUM_MOVED_BY = {
    "authorization": "authorized_minor",
    "capture": "captured_minor",
    "refund": "refunded_minor",
    "void": "voided_minor",
}
_SUCCEEDED = {
    "authorization": ("payment.authorized", "{amount} authorised"),
    "capture": ("payment.captured", "{amount} captured"),
    "refund": ("refund.succeeded", "{amount} refunded"),
    "void": ("payment.voided", "{amount} of the authorisation given back"),
}


def request_payment(
    unit: OrderUnit, kind: str, amount_minor: int, *, cause: str, tender: int = 1
) -> None:
    """Decide a movement of money: store it under its key. Nothing is to be moved for 0."""
    if amount_minor == 0:
        return
    unit.run(
        """
        INSERT INTO payment_entries (key, order_number, tender, kind, seq, amount_minor,
            currency, status, cause, attempts, given_up, at)
        SELECT CAST(:n AS text) || ':' || :verb || ':' || (count(*) + 1), CAST(:n AS text), :tender,
            CAST(:kind AS text), count(*) + 1, :amount, :currency, 'requested', :cause, 0,
            false, :at
        FROM payment_entries WHERE order_number = CAST(:n AS text) AND kind = CAST(:kind AS text)
        """,
        n=unit.number,
        verb="authorize" if kind == "authorization" else kind,
        tender=tender,
        kind=kind,
        amount=amount_minor,
        currency=unit.order.currency,
        cause=cause,
        at=unit.at,
    )


async def charge_units(unit: OrderUnit, counts: dict[int, int], *, cause: str) -> None:
    """Ask for the money of units that were handed over; shipping goes with the first of them.

    What was paid upfront at a till is charged already and asks for nothing.
    """
    order = unit.order
    amount = 0
    for number, count in sorted(counts.items()):
        line = order.line(number)
        assert line is not None
        charged = unit.counted(number, "charged")
        due = min(count, line.ordered - charged)
        if due:
            amount += line.price_of(first=charged, count=due)
            unit.count(number, "charged", due)
    if not order.shipping_captured and order.tender is not None:
        amount += order.shipping_minor
        unit.set_order(shipping_captured=True)
    if order.tender is not None:
        request_payment(unit, "capture", amount, cause=cause)


async def refund_units(
    unit: OrderUnit, counts: dict[int, int], *, cause: str, nothing_left: bool
) -> int:
    """Ask to give back what charged units cost; and shipping when nothing is left to keep.

    Gives how much that is.
    """
    order = unit.order
    amount = 0
    for number, count in sorted(counts.items()):
        line = order.line(number)
        assert line is not None
        now = {name: unit.counted(number, name) for name in ("refunded", "charged")}
        due, minor = unit_refund(order, line.model_copy(update=now), count)
        if due:
            amount += minor
            unit.count(number, "refunded", due)
    if nothing_left and order.shipping_captured and not keeps_shipping(order):
        amount += order.shipping_minor
        unit.set_order(shipping_refunded=True)
    if order.tender is None:
        return 0
    request_payment(unit, "refund", amount, cause=cause)
    return amount


async def take_upfront(unit: OrderUnit, *, reference: str | None) -> None:
    """Book what was already taken at a till: authorised and captured at placement, all charged."""
    order = unit.order
    for kind in ("authorization", "capture"):
        request_payment(unit, kind, order.total_minor, cause="till")
        unit.run(
            "UPDATE payment_entries SET status = 'succeeded', settled_by = 'till',"
            " provider_reference = :r, settled_at = :at"
            " WHERE order_number = :n AND kind = :kind AND cause = 'till'",
            r=reference,
            at=unit.at,
            n=unit.number,
            kind=kind,
        )
        _move_sum(unit, kind, order.total_minor)
    for line in order.lines:
        unit.count(line.line, "charged", line.ordered)
    unit.set_order(shipping_captured=True)
    # Units may have been cancelled before the order's process began: the till took them too.
    gone = {line.line: line.cancelled for line in order.lines if line.cancelled}
    if gone:
        await refund_units(unit, gone, cause="cancel", nothing_left=False)


def _move_sum(unit: OrderUnit, kind: str, amount: int, *, tender: int = 1) -> None:
    assert any(each.tender == tender for each in unit.order.tenders), "an entry has a tender"
    column = _SUM_MOVED_BY[kind]
    # What was given back and never came in, once a provider takes a capture back, is a loss.
    lost = ", lost_minor = greatest(0, refunded_minor - captured_minor - :amount)"
    also = lost if kind == "capture" else ""
    unit.run(
        f"UPDATE tenders SET {column} = {column} + :amount{also}"
        " WHERE order_number = :n AND tender = :t",
        amount=amount,
        n=unit.number,
        t=tender,
    )


async def settle_entry(
    unit: OrderUnit, entry: PaymentEntry, result: Approved | Declined, *, settled_by: str
) -> PaymentOutcome:
    """Write what became of an entry.

    A late failure takes a success back; otherwise the first answer stands, so that old news
    arriving late does no harm. What an operator gave up is corrected by the provider's word.
    """
    if isinstance(result, Approved):
        if entry.status == "succeeded":
            return PaymentOutcome(status="succeeded")
        if entry.status == "failed" and entry.settled_by != "operator":
            return PaymentOutcome(status="failed", reason=entry.reason)
        await _succeed(unit, entry, result, settled_by)
        return PaymentOutcome(status="succeeded")
    if entry.status == "failed":
        return PaymentOutcome(status="failed", reason=entry.reason)
    if entry.status == "succeeded":
        _move_sum(unit, entry.kind, -entry.amount_minor, tender=entry.tender)
        _tell_loss(unit, entry)
        await _reopen(unit, entry)
    await _fail(unit, entry, result.reason, settled_by)
    return PaymentOutcome(status="failed", reason=result.reason)


def _tell_loss(unit: OrderUnit, entry: PaymentEntry) -> None:
    """Say what is lost: given back to the customer, and now taken back from us too."""
    tender = next(each for each in unit.order.tenders if each.tender == entry.tender)
    lost = tender.refunded_minor - (tender.captured_minor - entry.amount_minor)
    if entry.kind == "capture" and lost > 0:
        amount = format_money(lost, entry.currency)
        unit.tell(
            "payment.lost",
            f"{amount} were given back, and the capture was taken back after that",
            key=entry.key,
            amount_minor=lost,
        )


async def _reopen(unit: OrderUnit, entry: PaymentEntry) -> None:
    """Money that failed after all was closed: order or return is open again, and gets a run."""
    if entry.of_return is not None:
        reopen_return(unit, entry.of_return, "its refund failed")
    elif unit.order.closed_at is not None:
        unit.set_order(closed_at=None, started_at=None)
        unit.tell("order.reopened", "A payment failed after the order was closed")


def reopen_return(unit: OrderUnit, id: str, why: str) -> None:
    """Open a return again that was closed, of this order or of another; the relay starts its run.

    One row by its id, without the other order's lock. Its version rises: whoever is about to close
    it looks once more.
    """
    unit.run(
        "WITH opened AS (UPDATE returns SET version = version + 1, closed_at = NULL,"
        " started_at = CASE WHEN closed_at IS NULL THEN started_at END WHERE id = :id RETURNING 1)"
        " SELECT pg_notify('oms_returns', '') FROM opened",
        id=id,
    )
    unit.nudge_return(id, why)


async def _succeed(unit: OrderUnit, entry: PaymentEntry, result: Approved, settled_by: str) -> None:
    await _write_status(unit, entry, "succeeded", None, settled_by, result.provider_reference)
    _move_sum(unit, entry.kind, entry.amount_minor, tender=entry.tender)
    _let_refunds_go_on(unit, entry)
    if entry.kind == "authorization":
        unit.run(
            "UPDATE tenders SET authorisation = :a, capture_before = :b"
            " WHERE order_number = :n AND tender = :t",
            a=result.provider_reference,
            b=result.capture_before,
            n=unit.number,
            t=entry.tender,
        )
    kind, words = _SUCCEEDED[entry.kind]
    amount = format_money(entry.amount_minor, entry.currency)
    told = {"key": entry.key, "amount_minor": entry.amount_minor} | _for_return(entry)
    unit.tell(kind, words.format(amount=amount), **told)


async def _fail(unit: OrderUnit, entry: PaymentEntry, reason: str, settled_by: str) -> None:
    await _write_status(unit, entry, "failed", reason, settled_by, entry.provider_reference)
    kind = "refund.failed" if entry.kind == "refund" else "payment.failed"
    told = {"key": entry.key, "reason": reason} | _for_return(entry)
    unit.tell(kind, f"{entry.step} failed: {reason}", **told)


async def _write_status(
    unit: OrderUnit,
    entry: PaymentEntry,
    status: str,
    reason: str | None,
    settled_by: str,
    reference: str | None,
) -> None:
    unit.run(
        "UPDATE payment_entries SET status = :status, reason = :reason, settled_by = :by,"
        " provider_reference = :ref, settled_at = :at WHERE key = :key",
        status=status,
        reason=reason,
        by=settled_by,
        ref=reference,
        at=unit.at,
        key=entry.key,
    )


async def doubt_entry(unit: OrderUnit, entry: PaymentEntry, reason: str) -> None:
    """Write that nobody knows yet what became of an entry. Told once."""
    if not entry.is_open or (entry.status == "unknown" and entry.reason == reason):
        return
    await _write_status(unit, entry, "unknown", reason, "", entry.provider_reference)
    unit.tell(
        "payment.unknown",
        f"{entry.step}: the outcome is not known yet ({reason})",
        **{"key": entry.key} | _for_return(entry),
    )


def _for_return(entry: PaymentEntry) -> dict[str, str]:
    """The return that an event about money is told for, if there is one."""
    return {} if entry.of_return is None else {"return": entry.of_return}


_BEGIN_CALL = text(
    """
UPDATE payment_entries e
SET attempts = e.attempts + CAST(e.status IN ('requested', 'unknown') AS int)
FROM tenders t
WHERE e.key = :key AND t.order_number = e.order_number AND t.tender = e.tender
RETURNING e.key, e.order_number AS order, e.kind, e.status, e.amount_minor, e.currency,
    t.provider, t.token, t.authorisation, e.at,
    e.attempts > CAST(e.status IN ('requested', 'unknown') AS int) AS called_before
"""
)


async def begin_call(tx: AsyncConnection, key: str, at: datetime) -> PaymentCall:
    """Count a call that is about to be made, if one is to be made, and say what it takes."""
    entry = (await tx.execute(_BEGIN_CALL, {"key": key})).mappings().one()
    age = (at - entry["at"]).total_seconds()
    fields = {name: value for name, value in entry.items() if name != "at"}
    return PaymentCall.model_validate(fields | {"age_seconds": age})


async def reopen_entry(unit: OrderUnit, entry: PaymentEntry) -> None:
    """Ask once more for what was declined, under the same key."""
    unit.run(
        "UPDATE payment_entries SET status = 'requested', reason = NULL, settled_by = NULL,"
        " settled_at = NULL, given_up = false WHERE key = :k",
        k=entry.key,
    )


def refundable_minor(order: Order) -> int:
    """What came in, or will, and was not asked back: for what a person gave up, nothing did."""
    entries = [each for each in order.entries if not each.is_dropped]
    comes_in = sum(each.amount_minor for each in entries if each.kind == "capture")
    goes_back = sum(each.amount_minor for each in entries if each.kind == "refund")
    return max(0, comes_in - goes_back)


async def drop_refunds_of(unit: OrderUnit, capture: PaymentEntry) -> None:
    """Give back no money that never came in, now that a person has given up a capture.

    Refunds wait for captures, so none of these was asked for. What is left of one is asked anew.
    """
    entries = [each for each in unit.order.entries if not each.given_up]
    comes_in = sum(e.amount_minor for e in entries if e.kind == "capture" and e.key != capture.key)
    refunds = [each for each in entries if each.kind == "refund"]
    over = sum(each.amount_minor for each in refunds) - comes_in
    for each in reversed(refunds):
        if over <= 0:
            return
        if each.status not in ("requested", "failed"):
            continue
        if each.is_open:
            gone = Declined(reason="the money never came in")
            await settle_entry(unit, each, gone, settled_by="operator")
        await retire_entry(unit, each)
        over -= each.amount_minor
        if over < 0:
            request_payment(unit, "refund", -over, cause=each.cause or each.key)


async def retire_entry(unit: OrderUnit, entry: PaymentEntry) -> None:
    """Pursue a failed entry no further: a person decided, or a new attempt took its place."""
    unit.run("UPDATE payment_entries SET given_up = true WHERE key = :k", k=entry.key)
    _let_refunds_go_on(unit, entry)


def _let_refunds_go_on(unit: OrderUnit, entry: PaymentEntry) -> None:
    """Refunds of returns wait for captures: their processes hear that one is over."""
    if entry.kind == "capture":
        unit.nudge_open_returns("a capture is settled")


def open_authorisation_minor(order: Order) -> int:
    """What is still held on the customer's means and neither captured nor given back."""
    tender = order.tender
    if tender is None:
        return 0
    return tender.authorized_minor - tender.captured_minor - tender.voided_minor


async def refund_rest(unit: OrderUnit) -> bool:
    """Decide to give back all that a wholly cancelled order still has. False if there is none.

    What was refunded unit by unit is gone already; this is the shipping of an order whose parcels
    were lost and whose rest was cancelled, or sent back. What a person gave up is not asked for
    again, nor what a return gives back.
    """
    order = unit.order
    if order.tender is None or not order.all_cancelled:
        return order.tender is not None and _refund_shipping(unit)
    given_up = sum(e.amount_minor for e in order.entries if e.kind == "refund" and e.given_up)
    asked = sum(
        e.amount_minor
        for e in order.entries
        if e.of_return is not None and e.status != "succeeded" and not e.given_up
    )
    asked += sum(owed(order, back).amount_minor for back in order.returns if not back.fell_away)
    rest = order.tender.captured_minor - order.tender.refunded_minor - given_up - asked
    if rest <= 0 or any(is_replaced(back) for back in order.returns):
        return False
    request_payment(unit, "refund", rest, cause="close")
    return True


def _refund_shipping(unit: OrderUnit) -> bool:
    amount = shipping_left(unit.order)
    if amount:
        unit.set_order(shipping_refunded=True)
        request_payment(unit, "refund", amount, cause="close")
    return bool(amount)


async def void_rest(unit: OrderUnit) -> bool:
    """Decide to give back what is authorised and will not be captured. False if there is none."""
    rest = open_authorisation_minor(unit.order)
    if rest <= 0 or any(e.kind == "void" for e in unit.order.entries):
        return False
    request_payment(unit, "void", rest, cause="close")
    return True
