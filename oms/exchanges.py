"""Goods in exchange: what they cost, and what of it the goods sent back have paid already.

Nothing is refunded for an exchange: the value of the units sent back is carried over to the order
that replaces them, and the money stays in the order that it was paid for. So an order's line may
have two kinds of value: what its own tender paid, and what earlier orders' tenders did.

Value is carried in whole minor units per unit. So each unit of an exchange carries the same,
whichever of them is sent back, lost or cancelled; what a division leaves over, less than one minor
unit for each unit, is given back when the units are settled.
"""

from dataclasses import dataclass

from oms.orders import EXCHANGE_HOLD, Line, Order
from oms.placing import OrderedLine
from oms.ports import Message


def unit_worth(number: str, line: Line) -> dict[str, int]:
    """What one unit of a line is worth, in minor units by the order that holds the money.

    At least this much: single units may have cost one minor unit more of the order's own money.
    """
    worth = {holder: whole // line.ordered for holder, whole in line.carried.items()}
    return worth | {number: line.total_minor // line.ordered}


def taken_over(number: str, line: Line, per_unit: int) -> dict[str, int]:
    """Divide what an exchange takes over of one unit, by the order that holds the money.

    Money that came along from earlier orders goes first, so that what is left, to be refunded, is
    what was paid last. The order's own money comes after all others.
    """
    worth = unit_worth(number, line)
    taken = {}
    for holder in (*sorted(line.carried), number):
        taken[holder] = min(worth[holder], per_unit)
        per_unit -= taken[holder]
    assert per_unit == 0, "an exchange takes over no more than the goods were worth"
    return {holder: minor for holder, minor in taken.items() if minor}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a customer wants instead of units of a line.

    `sku` None: the same article. `unit_price_minor` None: whatever was paid for it, so that nobody
    owes anything.
    """

    quantity: int
    sku: str | None = None
    unit_price_minor: int | None = None


class ExchangedLine(Message):
    """A line of an exchange order. `carried`: of all its units, by the order that holds it."""

    line: int
    sku: str
    quantity: int
    unit_price_minor: int
    discount_minor: int
    tax_minor: int
    carried: dict[str, int]

    @property
    def carried_minor(self) -> int:
        """What the goods sent back pay of it."""
        return sum(self.carried.values())

    @property
    def total_minor(self) -> int:
        """What is still to pay."""
        return self.unit_price_minor * self.quantity - self.discount_minor

    def as_ordered(self) -> OrderedLine:
        """The line as a channel would order it."""
        return OrderedLine(
            sku=self.sku,
            quantity=self.quantity,
            unit_price_minor=self.unit_price_minor,
            discount_minor=self.discount_minor,
            tax_minor=self.tax_minor,
        )


def exchanged_line(number: str, line: Line, wanted: Wanted) -> ExchangedLine:
    """Price a line of an exchange: what the goods sent back are worth is off its price.

    What is still to pay is taxed at the rate of the article sent back.
    """
    worth = sum(unit_worth(number, line).values())
    price = worth if wanted.unit_price_minor is None else wanted.unit_price_minor
    per_unit = min(worth, price)
    to_pay = (price - per_unit) * wanted.quantity
    return ExchangedLine(
        line=line.line,
        sku=wanted.sku or line.sku,
        quantity=wanted.quantity,
        unit_price_minor=price,
        discount_minor=per_unit * wanted.quantity,
        tax_minor=to_pay * line.tax_minor // line.total_minor if line.total_minor else 0,
        carried={
            holder: minor * wanted.quantity
            for holder, minor in taken_over(number, line, per_unit).items()
        },
    )


# --- the order ------------------------------------------------------------------------------


def is_of_exchange(order: Order, hold: str) -> bool:
    """Whether a hold is the one that only the return lifts."""
    return any(each.id == hold and each.reason == EXCHANGE_HOLD for each in order.open_holds)


def cancellable(line: Line) -> int:
    """Units of a line that have not left and may still be kept."""
    return line.unplanned + line.reserved + line.backordered + line.allocated + line.picked


def undelivered(order: Order) -> dict[int, int]:
    """Units that an exchange order will not deliver, by line, so that money is due for theirs.

    What was claimed as lost and then given up was paid by the claim.
    """
    return {line.line: line.cancelled - order.given_up_claimed(line.line) for line in order.lines}
