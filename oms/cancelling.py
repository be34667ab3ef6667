"""Which units a cancellation takes, and from where. Pure; the books carry it out.

Units are taken where they cost least: not held yet, backordered, held, not offered, offered and
not accepted; last of all those a node works on, which must be asked.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field

from oms.orders import Line, Order, OrderStatus
from oms.ports import Message
from oms.words import count_of


class Refusal(Message):
    """A command that cannot be carried out: a stable code, a sentence, the field it concerns."""

    code: str
    detail: str
    pointer: str = ""


class CancelPlan(Message):
    """Units to cancel now and units to ask nodes for.

    `loose`: by line and bucket (`unplanned`, `reserved`, `backordered`). `allocations`: (row id,
    units) held but not accepted by a node. `ask`: by fulfillment order and line.
    """

    loose: dict[int, dict[str, int]] = Field(default_factory=dict)
    allocations: tuple[tuple[int, int], ...] = ()
    ask: dict[str, dict[int, int]] = Field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to cancel."""
        return not (self.loose or self.allocations or self.ask)


def plan_cancel(order: Order, wanted: Mapping[int, int] | None) -> CancelPlan | Refusal:
    """Choose the units to cancel.

    Args:
        order: As the books tell it.
        wanted: Units by line, all or nothing; None for every unit not handed over.

    Returns:
        A plan (empty if it is all cancelled already), or why not: `line_unknown`,
        `already_shipped`, `quantity_too_large`.
    """
    if wanted is None:
        return _plan_all(order)
    for index, (number, units) in enumerate(wanted.items()):
        line = order.line(number)
        if line is None:
            return Refusal(
                code="line_unknown",
                detail=f"The order has no line {number}.",
                pointer=f"/lines/{index}/line",
            )
        if refusal := _check(order, line, units, index):
            return refusal
    if order.status is OrderStatus.CANCELLED:
        return CancelPlan()
    todo = {n: units for n, units in wanted.items() if not _is_done(order, n, units)}
    return _plan(order, todo)


def _plan_all(order: Order) -> CancelPlan | Refusal:
    todo = {line.line: _cancellable(order, line) for line in order.lines}
    if order.status is OrderStatus.CANCELLED or any(todo.values()) or _asked(order):
        return _plan(order, {line: units for line, units in todo.items() if units})
    return Refusal(code="already_shipped", detail="Every unit has left; ask for a return instead.")


def _asked(order: Order) -> bool:
    return any(line.cancel_asked for f in order.fulfillment_orders for line in f.lines)


def _cancellable(order: Order, line: Line) -> int:
    """Units not handed over, less those a node is being asked for."""
    asked = sum(
        each.cancel_asked
        for f in order.fulfillment_orders
        for each in f.lines
        if each.line == line.line
    )
    return line.kept - line.handed_over - asked


def _is_done(order: Order, number: int, units: int) -> bool:
    """A line with nothing left to cancel whose cancellation is asked for again."""
    line = order.line(number)
    assert line is not None
    return _cancellable(order, line) == 0 and units <= line.ordered - line.handed_over


def _check(order: Order, line: Line, units: int, index: int) -> Refusal | None:
    if units <= _cancellable(order, line) or _is_done(order, line.line, units):
        return None
    if units <= line.ordered and line.handed_over:
        return Refusal(
            code="already_shipped",
            detail=f"Of line {line.line}, {count_of(line.handed_over, 'unit')} left already.",
            pointer=f"/lines/{index}/quantity",
        )
    left = count_of(_cancellable(order, line), "unit")
    return Refusal(
        code="quantity_too_large",
        detail=f"Line {line.line} has {left} left to cancel.",
        pointer=f"/lines/{index}/quantity",
    )


def _plan(order: Order, todo: Mapping[int, int]) -> CancelPlan:
    loose: dict[int, dict[str, int]] = {}
    allocations: list[tuple[int, int]] = []
    ask: dict[str, dict[int, int]] = {}
    for number, units in sorted(todo.items()):
        line = order.line(number)
        assert line is not None
        rest = units
        for bucket in ("unplanned", "backordered", "reserved"):
            taken = min(rest, getattr(line, bucket))
            if taken:
                loose.setdefault(number, {})[bucket] = taken
                rest -= taken
        rest = _take_allocations(order, number, rest, allocations)
        rest = _ask_nodes(order, number, rest, ask)
        assert rest == 0, "checked before: there are enough units"
    return CancelPlan(loose=loose, allocations=tuple(allocations), ask=ask)


def _take_allocations(
    order: Order, number: int, rest: int, allocations: list[tuple[int, int]]
) -> int:
    offered = {f.id for f in order.fulfillment_orders if f.is_offered}
    mine = [a for a in order.allocations if a.line == number]
    free = [a for a in mine if a.fulfillment_order is None]
    for each in [*free, *(a for a in mine if a.fulfillment_order in offered)]:
        taken = min(rest, each.quantity)
        if taken:
            allocations.append((each.id, taken))
            rest -= taken
    return rest


def _ask_nodes(order: Order, number: int, rest: int, ask: dict[str, dict[int, int]]) -> int:
    working = [f for f in order.fulfillment_orders if f.status == "in_progress"]
    for each in sorted(working, key=lambda f: f.seq):
        for line in each.lines:
            if line.line != number:
                continue
            still = line.quantity if line.picked is None else line.picked
            taken = min(rest, still - line.cancel_asked)
            if taken > 0:
                ask.setdefault(each.id, {})[number] = taken
                rest -= taken
    return rest


def cancelled_lines(lines: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Add up the units asked for by line; a line named twice counts together."""
    wanted: dict[int, int] = {}
    for line, units in lines:
        wanted[line] = wanted.get(line, 0) + units
    return wanted
