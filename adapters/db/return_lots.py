"""What came back and lies about: what becomes of it later, and the list of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.restocking import (
    PLACE_AGAIN,
    Leaving,
    Placing,
    place,
    read_found,
    split,
    split_off,
    ways_of,
)
from adapters.db.stock import StockChange
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.restocking import FOR_SALE, LIES_ABOUT, Way, bucket_of, facts_of, kept_off
from oms.return_policy import Disposition
from oms.returns import Lot, Return
from oms.words import count_of


class NewWay(NamedTuple):
    """What becomes of a lot now. `units`: of so many of it; None for all. `sku`: what it really is.

    Only a wrong item needs to be named.
    """

    lot: int
    disposition: Disposition
    to: str | None = None
    units: int | None = None
    sku: str | None = None


async def place_again(
    unit: OrderUnit, back: Return, new: NewWay, reaches: Callable[[str], bool]
) -> Refusal | None:
    """Let units leave quarantine, refurbishing, or the shelf for the supplier, another way.

    For `change_return`. What is on a shelf for sale, or disposed of, was put away for good; the
    same way again changes nothing. `reaches`: whether one may decide about goods at a location.
    """
    lot = next((each for each in back.lots if each.id == new.lot), None)
    if lot is None or not reaches(lot.location):
        return Refusal(code="not_found", detail=f"{back.id} has no such lot.")
    if lot.state == "placed" and _is_so(lot, new.disposition):
        return None
    if lot.state != "placed" or lot.disposition not in LIES_ABOUT:
        how = lot.state if lot.disposition is None else f"{lot.state} ({lot.disposition})"
        return Refusal(code="invalid_state", detail=f"Lot {lot.id} is {how}: it stays so.")
    units = lot.quantity if new.units is None else new.units
    if units > lot.quantity:
        detail = f"Lot {lot.id} has {count_of(lot.quantity, 'unit')}."
        return Refusal(code="quantity_too_large", detail=detail, pointer="/quantity")
    found = (await read_found(unit, back, [lot], named=new.sku))[lot.id]
    if new.sku is not None:
        if lot.is_sold_article or not found.known:
            detail = "Only a wrong item is named, and as an article that there is."
            return Refusal(code="sku_unknown", detail=detail, pointer="/sku")
        lot = lot.model_copy(update={"sku": new.sku})
        found = facts_of(back, lot, found)
    if new.disposition in FOR_SALE and (kept := kept_off(found)):
        return Refusal(code="invalid_state", detail=f"It may not go on a shelf: {kept}.")
    way = Way(new.disposition, units, f"as {unit.actor} decided")
    ways = await ways_of(unit, way, found, new.to, Counter())
    await _go(unit, back, lot, units, ways)
    return None


def _is_so(lot: Lot, disposition: Disposition) -> bool:
    return lot.disposition == disposition or {lot.disposition, disposition} <= {*FOR_SALE}


async def _go(unit: OrderUnit, back: Return, lot: Lot, units: int, ways: Sequence[Way]) -> None:
    part = lot if units == lot.quantity else await split_off(unit, lot, units)
    parts = await split(unit, part, ways)
    turn = unit.order.version + 1
    leaving = None
    if lot.disposition is not None and bucket_of(lot.condition, lot.disposition) == "damaged":
        # It was counted under the whole lot's name, and leaves it under that.
        change = StockChange(sku=lot.sku, location=lot.location, damaged=-units)
        leaving = Leaving(change, f"{back.id}:{PLACE_AGAIN}:{lot.id}:{turn}:out")
    placings = [
        Placing(each, way, f"{back.id}:{PLACE_AGAIN}:{each.id}:{turn}")
        for each, way in zip(parts, ways, strict=True)
    ]
    await place(unit, back, placings, cause=PLACE_AGAIN, leaving=leaving)


# --- read -----------------------------------------------------------------------------------


class LotFilter(NamedTuple):
    """What the list is narrowed to. `reach`: only at these places; None for all."""

    location: str | None = None
    disposition: str | None = None
    state: str | None = None
    sku: str | None = None
    reach: list[str] | None = None


class LotPosition(NamedTuple):
    """Where a page of the list ended."""

    at: datetime
    id: int


async def list_lots(
    tx: AsyncConnection, wanted: LotFilter, *, after: LotPosition | None, limit: int
) -> list[RowMapping]:
    """What arrived, newest first, from the lot after `after`."""
    named = ("location", "disposition", "state", "sku")
    values: dict[str, Any] = {
        name: value for name in named if (value := getattr(wanted, name)) is not None
    }
    conditions = [f"t.{name} = :{name}" for name in values]
    if wanted.reach is not None:
        conditions.append("t.location = ANY(CAST(:reach AS text[]))")
        values["reach"] = wanted.reach
    if after is not None:
        conditions.append("(t.at, t.id) < (:after_at, :after_id)")
        values |= {"after_at": after.at, "after_id": after.id}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await tx.execute(
        text(
            "SELECT t.id, t.return_id, t.line, t.sku, t.condition, t.location, t.quantity, t.state,"
            " t.disposition, t.transfer, t.why, t.at, t.placed_at, l.reason"
            " FROM return_lots t JOIN return_lines l ON l.return_id = t.return_id"
            f" AND l.line = t.line {where} ORDER BY t.at DESC, t.id DESC LIMIT :limit"
        ),
        {**values, "limit": limit},
    )
    return list(rows.mappings())
