"""Goods that were looked at: accepted, or refused and handed back."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from adapters.db.returns import Announced, at_line, everywhere, insert_parcels, set_return, unfit
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.return_policy import Condition, Disposition
from oms.returns import Lot, Return
from oms.words import count_of


class Inspected(NamedTuple):
    """What was decided about units of one line. `condition`: only of those found in it."""

    line: int
    quantity: int
    accepted: bool
    disposition: Disposition | None = None
    condition: Condition | None = None


async def inspect_goods(
    unit: OrderUnit,
    back: Return,
    decisions: Sequence[Inspected],
    reaches: Callable[[str], bool] = everywhere,
) -> Refusal | None:
    """Accept or refuse units that arrived; what was decided alike before counts once.

    `reaches`: whether one may decide about goods at a location.
    """
    here = back.model_copy(
        update={"lots": tuple(lot for lot in back.lots if reaches(lot.location))}
    )
    left = {lot.id: lot.quantity for lot in back.lots if lot.state == "received"}
    taken: list[tuple[Lot, int, Inspected]] = []
    for at, each in enumerate(decisions):
        refusal = _choose_lots(here, at, each, left, taken)
        if refusal is not None:
            return refusal
    if not taken:
        return None
    for lot, units, each in taken:
        _decide_lot(unit, lot, units, each)
    accepted = sum(units for _, units, each in taken if each.accepted)
    refused = sum(units for _, units, _ in taken) - accepted
    if refused and back.terms.refused == "send_back":
        _send_out(unit, back, taken)
    if refused and not any(left.values()):
        leave_by = unit.at + timedelta(hours=max(1, back.terms.inspect_hours))
        set_return(unit, back.id, inspect_by=leave_by)
    unit.tell(
        "return.inspected",
        f"{back.id}: {count_of(accepted, 'unit')} accepted, {refused} refused",
        **{"return": back.id, "accepted": accepted, "refused": refused},
    )
    return None


def _choose_lots(
    back: Return,
    at: int,
    each: Inspected,
    left: dict[int, int],
    taken: list[tuple[Lot, int, Inspected]],
) -> Refusal | None:
    fitting = [lot for lot in back.lots_of(each.line) if each.condition in (None, lot.condition)]
    wanted = each.quantity
    for lot in fitting:
        units = min(wanted, left.get(lot.id, 0))
        if units:
            left[lot.id] -= units
            taken.append((lot, units, each))
            wanted -= units
    states = ("accepted", "placed") if each.accepted else ("rejected", "left")
    decided = sum(lot.quantity for lot in fitting if lot.state in states)
    if wanted == 0 or (wanted == each.quantity and decided >= wanted):
        return None
    if back.line(each.line) is None:
        return at_line(at, "line_unknown", f"{back.id} has no line {each.line}.")
    if wanted == each.quantity and fitting:
        done = f"nothing of line {each.line} is left to decide, and it was decided otherwise"
        return unfit(back, f"inspected: {done}")
    there = each.quantity - wanted
    return at_line(
        at,
        "quantity_too_large",
        f"Of line {each.line}, {there} are there to be inspected, {each.quantity} are decided.",
    )


def _decide_lot(unit: OrderUnit, lot: Lot, units: int, each: Inspected) -> None:
    """Decide about units of a lot; the others stay behind as a lot of their own."""
    values = {
        "lot": lot.id,
        "units": units,
        "state": "accepted" if each.accepted else "rejected",
        "disposition": each.disposition,
        "at": unit.at,
    }
    here = "id = :lot AND state = 'received'"
    unit.run(
        "UPDATE return_lots SET state = :state, disposition = :disposition, decided_at = :at"
        f" WHERE {here} AND quantity = :units",
        **values,
    )
    unit.run(
        f"""
        INSERT INTO return_lots (return_id, receipt, line, sku, condition, location, quantity,
            state, disposition, at, decided_at)
        SELECT return_id, receipt, line, sku, condition, location, CAST(:units AS int), :state,
            CAST(:disposition AS text), at, CAST(:at AS timestamptz)
        FROM return_lots WHERE {here} AND quantity > :units
        """,
        **values,
    )
    unit.run(
        f"UPDATE return_lots SET quantity = quantity - :units WHERE {here} AND quantity > :units",
        **values,
    )


def _send_out(unit: OrderUnit, back: Return, taken: Sequence[tuple[Lot, int, Inspected]]) -> None:
    """A parcel for what goes back to the customer; at a till they take it along."""
    refused = [
        Announced(lot.line, units, "refused") for lot, units, each in taken if not each.accepted
    ]
    if back.via != "store":
        first = max((parcel.seq for parcel in back.parcels), default=0) + 1
        insert_parcels(unit, back.id, refused, count=1, first=first, direction="out")


async def hand_back(
    unit: OrderUnit, back: Return, reaches: Callable[[str], bool] = everywhere
) -> Refusal | None:
    """What was refused has left for the customer. Nothing left to go: nothing changes.

    `reaches`: whether one may speak for goods at a location.
    """
    here = [lot for lot in back.lots if reaches(lot.location)]
    gone = [lot for lot in here if lot.state == "rejected"]
    if not gone:
        return None if any(lot.state == "left" for lot in here) else unfit(back, "handed back")
    unit.run(
        "UPDATE return_lots SET state = 'left', placed_at = :at"
        " WHERE id = ANY(:lots) AND state = 'rejected'",
        at=unit.at,
        lots=[lot.id for lot in gone],
    )
    for lot in gone:
        if lot.is_sold_article and back.brings_goods:
            unit.count(lot.line, "returned", -lot.quantity)
    units = sum(lot.quantity for lot in gone)
    unit.tell("return.handed_back", f"{back.id}: {units} refused units left", **{"return": back.id})
    return None
