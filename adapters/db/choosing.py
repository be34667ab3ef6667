"""What an order gets as it is placed: what is there by the rules, then what may come later."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.sourcing import Around, Wanted, room_for
from oms.sourcing import Decision, Demand, Missing, Pick


class Chosen(NamedTuple):
    """What to hold, what to backorder, what is missing after both, and why."""

    picks: tuple[Pick, ...]
    late: Sequence[Pick]
    missing: tuple[Missing, ...]
    decision: Decision


async def choose(
    tx: AsyncConnection,
    order: Wanted,
    demands: Sequence[Demand],
    around: Around,
    *,
    told: bool = True,
) -> Chosen:
    """Plan an order as it is placed, and a basket that only asks.

    What no place has is backordered where the order allows it, unless its rule says otherwise.
    """
    found = await around.plan(demands, told=told)
    if not found.left:
        return Chosen(found.plan.picks, (), (), found)
    unsold = [each for each in found.left if found.then.get(each.line) == "cancel"]
    if unsold or not order.allow_backorder:
        return Chosen((), (), found.left, found)
    room = await room_for(tx, order, [missing.sku for missing in found.left])
    only = None if order.allow_split else _one_place(found, room)
    never = {each.line: around.never(each) for each in demands}
    late, still_missing = _place_backorders(found.left, room, only, never)
    return Chosen(found.plan.picks, late, still_missing, found)


def _one_place(found: Decision, room: dict[tuple[str, str], int]) -> set[str]:
    """Where an unsplit order may be backordered: where its stock is, else where most room is."""
    if found.plan.picks:
        return {pick.location for pick in found.plan.picks}
    by_place: dict[str, int] = {}
    for (_, location), units in room.items():
        by_place[location] = by_place.get(location, 0) + units
    return {max(sorted(by_place), key=lambda location: by_place[location])} if by_place else set()


def _place_backorders(
    left: Sequence[Missing],
    room: dict[tuple[str, str], int],
    only: set[str] | None,
    never: Mapping[int, frozenset[str]],
) -> tuple[list[Pick], tuple[Missing, ...]]:
    """Spread missing units over places with room, in their order: where goods come soonest.

    `only`: the places an unsplit order may use. `never`: those a line is not served from.
    """
    picks: list[Pick] = []
    short: list[Missing] = []
    for missing in left:
        rest = missing.missing
        for (sku, location), units in list(room.items()):
            if (
                sku != missing.sku
                or not units
                or not rest
                or (only is not None and location not in only)
                or location in never[missing.line]
            ):
                continue
            taken = min(units, rest)
            room[(sku, location)] -= taken
            rest -= taken
            picks.append(Pick(line=missing.line, location=location, quantity=taken, sku=sku))
        if rest:
            short.append(missing)
    return picks, tuple(short)
