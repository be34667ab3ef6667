"""What a return gives back, worked out from what arrived and from what was agreed.

Each unit's value is what was paid for it, as allotted at placement, so that returns in any number
of parts add up to the line. The outbound way and the fee are those of the agreed terms.
"""

from dataclasses import dataclass, field

from oms.money import share
from oms.orders import Line, Order
from oms.returns import Return, ReturnLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is due now. `settle`, `refund`: units by line; the amounts in minor units.

    `amount_minor` of the order's own money; `carried_minor` by the order that holds money which an
    earlier exchange brought along. `fee_minor` and `shipping_minor` are in `amount_minor` already.
    """

    settle: dict[int, int] = field(default_factory=dict)
    refund: dict[int, int] = field(default_factory=dict)
    amount_minor: int = 0
    fee_minor: int = 0
    shipping_minor: int = 0
    carried_minor: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is due."""
        return bool(self.settle or self.refund)


def given_back(order: Order, line: Line) -> int:
    """Units of a line whose value left it: refunded, or carried over to exchanges."""
    carried = (each.line(line.line) for each in order.returns)
    return line.refunded + sum(each.settled - each.refunded for each in carried if each)


def due_units(back: Return, line: ReturnLine) -> int:
    """Units of a line whose moment has come, those settled before included."""
    if back.kind == "undeliverable" or back.approved_at is None:
        return 0
    if back.kind == "claim":
        return line.quantity
    lots = back.lots_of(line.line)
    taken = sum(lot.quantity for lot in lots if lot.may_be_refunded)
    if back.terms.refund_at == "inspection":
        return taken
    unseen = sum(
        lot.quantity
        for lot in lots
        if lot.state == "received" and lot.condition in back.terms.refund_unseen
    )
    if back.terms.refund_at == "receipt" or back.scanned_at is None:
        return taken + unseen
    refused = sum(lot.quantity for lot in lots if lot.state in ("rejected", "left"))
    return max(taken, line.quantity - line.missing - refused)


def owed(order: Order, back: Return) -> Owed:
    """What is due for a return now. Nothing is taken back that was given already."""
    settle, refund, carried = {}, {}, dict[str, int]()
    amount = 0
    for each in back.lines:
        line = order.line(each.line)
        assert line is not None, "a return is of lines of its order"
        count = max(0, due_units(back, each) - each.settled)
        if count:
            settle[each.line] = count
        if back.resolution == "exchange":
            amount += _difference(order, line, each, count)
            count = max(0, min(each.settled + count, each.exchange_cancelled) - each.refunded)
            if count:
                refund[each.line] = count
                amount += share(
                    each.carried_minor, units=each.quantity, first=each.refunded, count=count
                )
            continue
        count = min(count, line.charged - given_back(order, line))
        if count > 0:
            refund[each.line] = count
            first = given_back(order, line)
            amount += line.price_of(first=first, count=count)
            for source, whole in line.carried.items():
                part = share(whole, units=line.ordered, first=first, count=count)
                carried[source] = carried.get(source, 0) + part
    shipping = _shipping(order, back, settle)
    fee = min(back.fee_left_minor, amount + shipping)
    return Owed(
        settle=settle,
        refund=refund,
        amount_minor=amount + shipping - fee,
        fee_minor=fee,
        shipping_minor=shipping,
        carried_minor=carried,
    )


def _difference(order: Order, line: Line, each: ReturnLine, count: int) -> int:
    """What units exchanged for cheaper ones were worth beyond those."""
    if not count:
        return 0
    first = given_back(order, line)
    worth = line.price_of(first=first, count=count)
    return max(
        0, worth - share(each.carried_minor, units=each.quantity, first=each.settled, count=count)
    )


def _shipping(order: Order, back: Return, settle: dict[int, int]) -> int:
    """The outbound way, once all that was announced is settled, or all of the order."""
    if order.shipping_refunded or not order.shipping_captured or not settle:
        return 0
    if back.terms.shipping_whole:
        return back.terms.shipping_minor if _all_given_back(order, settle) else 0
    rest = sum(line.quantity - line.settled for line in back.lines)
    return back.terms.shipping_minor if sum(settle.values()) >= rest else 0


def _all_given_back(order: Order, settle: dict[int, int]) -> bool:
    """Whether with these units the customer keeps nothing; who has other goods for them does."""
    paid = [back for back in order.returns if back.resolution == "refund"]
    return all(
        settle.get(line.line, 0)
        + sum(found.settled for back in paid if (found := back.line(line.line)))
        >= line.kept
        for line in order.lines
    )
