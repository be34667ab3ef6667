"""Goods that arrive and were not announced: what they are, worked out from the order they are of.

First they are what was expected of that order; then units of it that may come back; what is beyond
that was never sent, or is not of this order, and a person must say what it is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from oms.orders import Line, Order
from oms.return_policy import Condition
from oms.returns import Return


class Found(NamedTuple):
    """Units that lay in a parcel. `line` or `sku` as far as somebody knows."""

    quantity: int
    condition: Condition
    line: int | None = None
    sku: str | None = None


class SortedOut(NamedTuple):
    """`expected`: by the return that waits for them; `new`: may come back; `beyond`: neither.

    Each of `expected` and `new` names its line.
    """

    expected: dict[str, list[Found]]
    new: list[Found]
    beyond: list[Found]


def sort_out(order: Order, found: Sequence[Found], *, first: str | None = None) -> SortedOut:
    """Say what units are, each once. `first`: the return in whose parcel they lay."""
    rooms = _rooms(order, first)
    sorted_out = SortedOut(defaultdict(list), [], [])
    for each in found:
        left = each.quantity
        for target, line in _fitting(order, each, rooms):
            units = min(left, rooms[target, line])
            if not units:
                continue
            rooms[target, line] -= units
            left -= units
            part = each._replace(quantity=units, line=line)
            (sorted_out.expected[target] if target else sorted_out.new).append(part)
        if left:
            sorted_out.beyond.append(each._replace(quantity=left))
    return sorted_out


def _rooms(order: Order, first: str | None) -> Counter[tuple[str, int]]:
    """Units that each return waits for, in turn, and under "" those nothing was said of."""
    free = Counter({line.line: order.returnable(line.line) for line in order.lines})
    rooms: Counter[tuple[str, int]] = Counter()
    for back in _waiting(order, first):
        for line in back.lines:
            units = line.expected
            if (
                not back.is_live and back.brings_goods
            ):  # what is expected no longer may be announced in another one
                own = back.speaks_beyond_arrived(line.line)
                units = min(units, free[line.line] + own)
                free[line.line] -= max(0, units - own)
            rooms[back.id, line.line] = units
    for number, units in free.items():
        rooms["", number] = units
    return rooms


def _waiting(order: Order, first: str | None) -> list[Return]:
    waiting = [back for back in order.returns if _may_get_goods(order, back, first)]
    return sorted(waiting, key=lambda back: (back.id != first, back.seq))


def _may_get_goods(order: Order, back: Return, first: str | None) -> bool:
    """Whether a return takes what arrives; what its customer got is no parcel that turned round."""
    if back.shipment is not None and order.shipment(back.shipment).delivered_at is not None:
        return False
    return back.kind != "claim" and (back.is_live or back.id == first)


def _fitting(
    order: Order, each: Found, rooms: Counter[tuple[str, int]]
) -> Iterator[tuple[str, int]]:
    lines = {line.line for line in order.lines if _fits(line, each)}
    yield from (room for room in rooms if room[1] in lines)


def _fits(line: Line, each: Found) -> bool:
    if each.condition == "wrong_item":
        return line.line == each.line
    return each.line in (None, line.line) and each.sku in (None, line.sku)
