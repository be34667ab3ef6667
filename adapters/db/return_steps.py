"""A return's own steps: remind, expire, give the money back, close."""

from adapters.db.exchange_money import give_back_elsewhere
from adapters.db.money import refundable_minor, request_payment
from adapters.db.returns import count_units, set_return
from adapters.db.unit import OrderUnit
from oms.money import format_money
from oms.orders import Order
from oms.return_agenda import has_left, is_unsent, may_close
from oms.return_money import Owed, owed
from oms.return_reckoning import sum_in_words
from oms.returns import Return


async def remind(unit: OrderUnit, back: Return) -> None:
    """Tell that the customer has not sent anything yet. Once."""
    if back.reminded_at is not None or not is_unsent(back):
        return
    set_return(unit, back.id, reminded_at=unit.at)
    unit.tell(
        "return.reminded",
        f"{back.id} was not sent yet; it expires on {back.expire_at:%Y-%m-%d}"
        if back.expire_at
        else f"{back.id} was not sent yet",
        **{"return": back.id},
    )


async def expire(unit: OrderUnit, back: Return) -> None:
    """Expect nothing more of a return that was never sent."""
    if not is_unsent(back) or back.expire_at is None or back.expire_at > unit.at:
        return
    if has_left(back):
        return  # a person is called instead: the goods in exchange are gone
    set_return(unit, back.id, expired_at=unit.at)
    unit.tell("return.expired", f"{back.id} was not sent in time", **{"return": back.id})


async def give_back(unit: OrderUnit, back: Return) -> None:
    """Ask for the money that is due for a return now; each unit once."""
    order, due = unit.order, owed(unit.order, back)
    if not due:
        return
    # Before anything of this return is written: others hold those orders and wait for its row.
    carried = await give_back_elsewhere(unit.tx, due.carried_minor, cause=back.id, at=unit.at)
    for line in sorted({*due.settle, *due.refund}):
        settled, refunded = due.settle.get(line, 0), due.refund.get(line, 0)
        count_units(unit, back.id, line, settled=settled, refunded=refunded)
        if refunded:
            unit.count(line, "refunded", refunded)
    if due.shipping_minor:
        unit.set_order(shipping_refunded=True)
    if due.fee_minor:
        set_return(unit, back.id, fee_left_minor=back.fee_left_minor - due.fee_minor)
    amount = min(due.amount_minor, refundable_minor(order))
    request_payment(unit, "refund", amount, cause=back.id)
    unit.tell(
        "return.settled",
        _settled_words(order, back, due, amount + sum(carried.values())),
        **{
            "return": back.id,
            "lines": due.settle,
            "lines_minor": due.lines_minor,
            "amount_minor": amount,
            "carried_minor": carried,
            "fee_minor": due.fee_minor,
            "shipping_minor": due.shipping_minor,
        },
    )


def _settled_words(order: Order, back: Return, due: Owed, amount: int) -> str:
    if amount:
        words = f"{back.id}: {format_money(amount, order.currency)} to give back"
        goods = amount + due.fee_minor - due.shipping_minor
        made_of = sum_in_words(
            order.currency, goods, shipping_minor=due.shipping_minor, fee_minor=due.fee_minor
        )
        return f"{words}: {made_of}" if made_of else words
    return f"{back.id}: settled, nothing to give back"


async def close_return(unit: OrderUnit, back: Return) -> None:
    """End a return that has nothing left to do, whatever its process saw before."""
    if back.closed_at is not None or not may_close(unit.order, back):
        return
    # Its exchange order may have told something new meanwhile: then it is looked at once more.
    closed = await unit.ask(
        "UPDATE returns SET closed_at = :at WHERE id = :id AND version = :version RETURNING 1",
        at=unit.at,
        id=back.id,
        version=back.version,
    )
    if not closed:
        return
    unit.mark_changed()
    if not back.fell_away:
        done = "settled" if back.kind == "claim" else "settled and put away"
        unit.tell("return.closed", f"{back.id} is {done}", **{"return": back.id})
