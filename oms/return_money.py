"""What a return gives back, worked out from what arrived and from what was agreed.

Each unit's value is what was paid for it, as allotted at placement, so that returns in any number
of parts add up to the line. The outbound way and the fee are those of the agreed terms. Of an
exchange only what its order does not take over is given back (`oms.exchanges`), and in the end
what that order could not deliver.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from oms.exchanges import taken_over, unit_worth
from oms.fulfillment import Shipment
from oms.orders import Line, Order
from oms.returns import CALLED_OFF, LEAVES, LEAVING, Return, ReturnLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is due now. `settle`, `refund`: units by line; the amounts in minor units.

    `amount_minor` of the order's own money; `carried_minor` by the order that holds money which an
    earlier exchange brought along. `fee_minor` and `shipping_minor` are in them already.
    `lines_minor`: what the units are worth, by line, before both.
    """

    settle: dict[int, int] = field(default_factory=dict)
    refund: dict[int, int] = field(default_factory=dict)
    lines_minor: dict[int, int] = field(default_factory=dict)
    amount_minor: int = 0
    fee_minor: int = 0
    shipping_minor: int = 0
    carried_minor: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is due."""
        return bool(self.settle or self.refund)


def given_back(order: Order, line: Line) -> int:
    """Units of a line whose value left it: refunded, or carried over to exchanges."""
    return line.refunded + carried_over(order, line.line)


def carried_over(order: Order, line: int) -> int:
    """Units of a line whose value exchange orders have."""
    exchanges = (each for each in order.returns if each.resolution == "exchange")
    found = (each.line(line) for each in exchanges)
    return sum(each.settled - each.refunded for each in found if each)


def promised_over(order: Order, line: int, *, but: str = "") -> int:
    """Units of a line whose value exchange orders have, or take along as they leave.

    `but`: a return that is left out.
    """
    found = (
        (each, each.line(line))
        for each in order.returns
        if each.resolution == "exchange" and each.id != but
    )
    return sum(
        max(part.settled - part.refunded, part.exchanged if _leaves(each) else 0)
        for each, part in found
        if part is not None
    )


def _leaves(back: Return) -> bool:
    return back.exchange_told in (LEAVING, LEAVES)


def unit_refund(order: Order, line: Line, count: int) -> tuple[int, int]:
    """What units that are cancelled after they were charged give back: how many, and how much.

    Units that exchanges took over, or take along, are theirs. The next to leave the line are paid,
    so that whatever leaves it later is paid at what is left.
    """
    gone = line.refunded + promised_over(order, line.line)
    due = max(0, min(count, line.charged - gone))
    return due, line.price_of(first=given_back(order, line), count=due)


def keeps_shipping(order: Order) -> bool:
    """Whether the outbound way is not given back with the rest: it was, or the goods came anew."""
    return (
        order.shipping_refunded
        or any(is_replaced(back) for back in order.returns)
        or any(promised_over(order, line.line) for line in order.lines)
    )


def is_replaced(back: Return) -> bool:
    """Whether other goods came for those of a claim, and keep their value."""
    keeps = back.resolution == "exchange" and back.approved_at is not None and not back.fell_away
    return keeps and any(line.exchanged for line in back.lines)


def was_given_up(order: Order, cause: str) -> bool:
    """Whether a person gave up the money of what `cause` names, so that none came in for it."""
    captures = [e for e in order.entries if e.kind == "capture" and e.cause == cause]
    return bool(captures) and all(e.is_dropped for e in captures)


def beyond_claims(order: Order, shipment: Shipment) -> dict[int, int]:
    """Units of a parcel by line, less those that claims for lost goods have paid or replaced."""
    counts = {line.line: line.quantity for line in shipment.lines if line.quantity}
    return {
        line: units - claimed
        for line, units in counts.items()
        if units > (claimed := min(units, order.claimed_as_lost(line)))
    }


def parcel_refund(order: Order, shipment: Shipment) -> int:
    """What its order gives back of its own money for a parcel, if it is given up now.

    What an exchange order's goods carry is given back by the return that they were for.
    """
    if order.tender is None or was_given_up(order, shipment.fulfillment_order):
        return 0
    amount = 0
    for number, count in beyond_claims(order, shipment).items():
        line = order.line(number)
        assert line is not None, "a parcel holds lines of its order"
        amount += unit_refund(order, line, count)[1]
    held = sum(line.quantity for line in shipment.lines)
    nothing_left = sum(line.kept for line in order.lines) == held
    goes_too = nothing_left and order.shipping_captured and not keeps_shipping(order)
    return amount + (order.shipping_minor if goes_too else 0)


def due_units(back: Return, line: ReturnLine) -> int:
    """Units of a line whose moment has come, those settled before included.

    What left in exchange took the value along, whether or not the goods came back; else nothing of
    an exchange is settled before the goods are there.
    """
    came = _due_by_arrival(back, line)
    gone = back.resolution == "exchange" and back.exchange_told == LEAVES
    return max(came, line.exchanged) if gone else came


def _due_by_arrival(back: Return, line: ReturnLine) -> int:
    if back.kind == "undeliverable" or back.approved_at is None:
        return 0
    if back.kind == "claim":
        waits = back.resolution == "exchange" and back.exchange_told not in (LEAVES, CALLED_OFF)
        return 0 if waits else line.quantity
    lots = back.lots_of(line.line)
    taken = sum(lot.quantity for lot in lots if lot.may_be_refunded)
    if back.terms.refund_at == "inspection":
        return taken
    unseen = sum(
        lot.quantity
        for lot in lots
        if lot.state == "received" and lot.condition in back.terms.refund_unseen
    )
    on_trust = back.terms.refund_at == "scan" and back.resolution == "refund"
    if not on_trust or back.scanned_at is None:
        return taken + unseen
    refused = sum(lot.quantity for lot in lots if lot.state in ("rejected", "left"))
    return max(taken, line.quantity - line.missing - refused)


class _Part(NamedTuple):
    """What is due for one line. `money`: by the order that holds it."""

    settle: int
    refund: int
    money: Counter[str]


def owed(order: Order, back: Return) -> Owed:
    """What is due for a return now. Nothing is taken back that was given already."""
    settle, refund, worth, money = {}, {}, {}, Counter[str]()
    for each in back.lines:
        line = order.line(each.line)
        assert line is not None, "a return is of lines of its order"
        exchanged = back.resolution == "exchange"
        part = (_exchanged if exchanged else _refunded)(order, back, line, each)
        money += part.money
        if part.money:
            worth[each.line] = part.money.total()
        if part.settle:
            settle[each.line] = part.settle
        if part.refund:
            refund[each.line] = part.refund
    own = money.pop(order.number, 0)
    shipping = _shipping(order, back, settle)
    fee, (amount, *rest) = _less_fee(back.fee_left_minor, [own + shipping, *money.values()])
    return Owed(
        settle=settle,
        refund=refund,
        lines_minor=worth,
        amount_minor=amount,
        fee_minor=fee,
        shipping_minor=shipping,
        carried_minor={holder: minor for holder, minor in zip(money, rest, strict=True) if minor},
    )


def _less_fee(fee: int, amounts: list[int]) -> tuple[int, list[int]]:
    """Deduct a fee from amounts, the first first; how much of it, and what is left of them."""
    left = fee
    rest = []
    for amount in amounts:
        off = min(left, amount)
        left -= off
        rest.append(amount - off)
    return fee - left, rest


def _worth(order: Order, line: Line, count: int) -> Counter[str]:
    """What the next units of a line to leave it are worth, by the order that holds the money."""
    worth = {holder: minor * count for holder, minor in unit_worth(order.number, line).items()}
    worth[order.number] = line.price_of(first=given_back(order, line), count=count)
    return Counter(worth)


def _refunded(order: Order, back: Return, line: Line, each: ReturnLine) -> _Part:
    count = max(0, due_units(back, each) - each.settled)
    paid = min(count, line.charged - given_back(order, line))
    return _Part(count, paid, _worth(order, line, paid))


def _exchanged(order: Order, back: Return, line: Line, each: ReturnLine) -> _Part:
    """Units beyond those of the exchange order, and those it does not deliver, are paid."""
    due = due_units(back, each)
    count = min(max(0, due - each.settled), line.charged - given_back(order, line))
    ordered = each.quantity - each.extra
    over = max(0, each.settled + count - ordered) - max(0, each.settled - ordered)
    taken = taken_over(order.number, line, each.carried_minor // ordered if ordered else 0)

    money = _worth(order, line, count)
    money.subtract({holder: minor * (count - over) for holder, minor in taken.items()})
    undelivered = _undelivered(each, min(due, each.settled + count))
    money.update({holder: minor * undelivered for holder, minor in taken.items()})
    assert all(minor >= 0 for minor in money.values()), "an exchange takes over what there is"
    return _Part(count, over + undelivered, +money)


def _undelivered(each: ReturnLine, came: int) -> int:
    """Units that came back while the exchange order does not deliver theirs, not paid before."""
    ordered = each.quantity - each.extra
    paid = each.refunded - max(0, each.settled - ordered)
    return max(0, min(came, ordered) - each.exchanged - paid)


def _shipping(order: Order, back: Return, settle: dict[int, int]) -> int:
    """The outbound way, once all that was announced is settled, or all of the order."""
    if order.shipping_refunded or not order.shipping_captured or not settle:
        return 0
    if back.terms.shipping_whole:
        return back.terms.shipping_minor if _all_given_back(order, settle) else 0
    rest = sum(line.quantity - line.settled for line in back.lines)
    return back.terms.shipping_minor if sum(settle.values()) >= rest else 0


def shipping_left(order: Order) -> int:
    """The outbound way, where the terms of returns give it back with all, and the rest was lost.

    Units that were cancelled, or lost on the way, after the others were given back.
    """
    terms = [
        back.terms.shipping_minor
        for back in order.returns
        if back.terms.shipping_whole and any(line.settled for line in back.lines)
    ]
    if not terms or order.shipping_refunded or not order.shipping_captured:
        return 0
    return max(terms) if _all_given_back(order, {}) else 0


def _all_given_back(order: Order, settle: dict[int, int]) -> bool:
    """Whether with these units the customer keeps nothing; who has other goods for them does."""
    paid = [back for back in order.returns if back.resolution == "refund"]
    return all(
        settle.get(line.line, 0)
        + sum(found.settled for back in paid if (found := back.line(line.line)))
        >= line.kept + order.given_up_claimed(line.line)
        for line in order.lines
    )
