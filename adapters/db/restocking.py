"""Goods that came back are put where they belong, each unit once.

What becomes of them is decided in `oms.restocking`; here it is written. Locks are taken in one
order: the order (by the caller), its articles against a recall that begins meanwhile, the names of
the transfers to come, and then every level this touches, sorted, in one statement. A new transfer's
row is nobody else's; what moves stock afterwards finds its rows locked. So no circle arises.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from adapters.db.stock import StockChange, apply_changes, create_places, lock_places
from adapters.db.transfers import NewTransfer, request_transfer
from adapters.db.unit import OrderUnit
from oms.numbers import NUMBERS, transfer_id
from oms.restocking import (
    FOR_SALE,
    OWN_SHELVES,
    SOLD_WITHIN,
    Found,
    Shelf,
    Way,
    bucket_of,
    decide,
    facts_of,
    spread,
    to_place,
)
from oms.return_policy import UnitFacts, VersionedPolicy
from oms.returns import Lot, Return
from oms.transfers import Transfer

CAUSES = PUT_AWAY, PLACE_AGAIN = "put_away", "place_again"
"""Of the movements. Their keys name the lot: `{return}:put_away:{lot}`."""


Given = Counter[tuple[str, str]]
"""Units by article and place."""


class Placing(NamedTuple):
    """A lot, its way, and the key of the stock that it makes here."""

    lot: Lot
    way: Way
    key: str


class Leaving(NamedTuple):
    """Units that stop to count here, in a bucket where they were put before."""

    change: StockChange
    key: str


async def put_away(unit: OrderUnit, back: Return, policy: VersionedPolicy) -> None:
    """Put away what was accepted, and dispose of what was refused where the terms say so.

    For `change_return`, which moves what is coming by the difference: `incoming` and `coming_back`
    are not touched here. What was placed before is left alone.
    """
    if back.terms.refused == "dispose":
        _dispose_of_refused(unit, back)
    lots = [lot for lot in back.lots if lot.state == "accepted"]
    if not lots:
        return
    found = await read_found(unit, back, lots)
    decided = [(lot, *decide(policy.policy, lot, found[lot.id])) for lot in lots]
    placings: list[Placing] = []
    given: Given = Counter()
    for lot, way, to in decided:
        ways = await ways_of(unit, way, found[lot.id], to, given)
        parts = await split(unit, lot, ways)
        placings += [
            Placing(part, each, f"{back.id}:{PUT_AWAY}:{part.id}")
            for part, each in zip(parts, ways, strict=True)
        ]
    await place(unit, back, placings, cause=PUT_AWAY)


def _dispose_of_refused(unit: OrderUnit, back: Return) -> None:
    why = "refused, and the terms say so"
    for lot in back.lots:
        if lot.state != "rejected":
            continue
        unit.run(
            "UPDATE return_lots SET state = 'left', disposition = 'dispose', why = :why,"
            " placed_at = :at WHERE id = :id",
            id=lot.id,
            why=why,
            at=unit.at,
        )
        _tell(unit, back, lot, Way("dispose", lot.quantity, why))


# --- read -----------------------------------------------------------------------------------

_FREE = "coalesce(s.on_hand - s.reserved - s.allocated - s.safety_stock - s.backordered, 0)"

# A recall waits for whoever looks at the article here, and they for it.
_HOLD_ARTICLES = """
SELECT sku FROM products
WHERE sku = :sku OR sku IN (SELECT sku FROM return_lots WHERE return_id = :id)
ORDER BY sku FOR KEY SHARE
"""
_FOUND = f"""
SELECT r.id, a.sku, r.location, r.condition, l.kind, l.groups, l.country,
    coalesce(p.tags, '{{}}') AS tags, p.sku IS NOT NULL AS known,
    coalesce(p.recalled, false) AS recalled, coalesce(s.blocked, false) AS blocked,
    {_FREE} AS free
FROM return_lots r CROSS JOIN LATERAL (SELECT coalesce(CAST(:sku AS text), r.sku) AS sku) a
JOIN locations l ON l.id = r.location LEFT JOIN products p ON p.sku = a.sku
LEFT JOIN stock_levels s ON s.sku = a.sku AND s.location = r.location
WHERE r.return_id = :id
"""

# The article's movements are read from the newest backwards, no more of them than say enough.
_SHELVES = f"""
WITH sold AS (
    SELECT m.location, -sum(m.delta)::bigint AS units FROM (
        SELECT location, bucket, delta, cause, at FROM stock_movements WHERE sku = :sku
        ORDER BY id DESC LIMIT 10000) m
    WHERE m.bucket = 'on_hand' AND m.cause IN ('hand_over', 'scan') AND m.at >= :since
    GROUP BY 1
)
SELECT s.location, l.country, coalesce(sold.units, 0) AS sold,
    ({_FREE} + s.requested + s.in_transit)::bigint AS supply,
    s.safety_stock > 0 OR s.low_at IS NOT NULL AS keeps
FROM stock_levels s JOIN locations l ON l.id = s.location JOIN products p ON p.sku = s.sku
LEFT JOIN sold ON sold.location = s.location
WHERE s.sku = :sku AND l.active AND cardinality(l.serves) > 0
    AND l.kind IN ({", ".join(map(repr, OWN_SHELVES))}) AND p.sellable AND NOT s.blocked
ORDER BY s.location
"""
_TAKES = """
SELECT 1 FROM locations l LEFT JOIN stock_levels s ON s.sku = :sku AND s.location = l.id
WHERE l.id = :location AND l.active AND NOT coalesce(s.blocked, false)
"""


async def read_found(
    unit: OrderUnit, back: Return, lots: Iterable[Lot], *, named: str | None = None
) -> dict[int, Found]:
    """What the books know of lots, by their ids. No recall of their articles begins from here.

    `named`: what the lots really are, if somebody has said so only now.
    """
    await unit.ask(_HOLD_ARTICLES, id=back.id, sku=named)
    rows = {row.id: row for row in await unit.ask(_FOUND, id=back.id, sku=named)}
    found = {}
    for lot in lots:
        row = rows[lot.id]
        facts = UnitFacts(
            location=row.location,
            kind=row.kind,
            groups=tuple(row.groups),
            condition=lot.condition,
            reason="",
            sku=row.sku,
            tags=tuple(row.tags),
        )
        known = Found(
            facts=facts,
            country=row.country,
            recalled=row.recalled,
            blocked=row.blocked,
            known=row.known,
            free=row.free,
        )
        found[lot.id] = facts_of(back, lot, known)
    return found


async def ways_of(
    unit: OrderUnit, way: Way, found: Found, to: str | None, given: Given
) -> Sequence[Way]:
    """Where units go: to the place that is named, or where they are needed or sell.

    `given`: units that lots before this one got there; counted on.
    """
    sku, here = found.facts.sku, found.facts.location
    ways: Sequence[Way] = [way]
    if way.disposition == "restock_elsewhere":
        ways = await _elsewhere(
            unit, way, replace(found, free=found.free + given[sku, here]), to, given
        )
    for each in ways:
        if each.disposition in FOR_SALE:
            given[sku, each.to or here] += each.units
    return ways


async def _elsewhere(
    unit: OrderUnit, way: Way, found: Found, to: str | None, given: Given
) -> Sequence[Way]:
    sku, here = found.facts.sku, found.facts.location
    if to is None:
        shelves = await _shelves(unit, sku)
        supplied = [replace(s, supply=s.supply + given[sku, s.location]) for s in shelves]
        return spread(way.units, found, supplied)
    if to == here:
        return [Way("restock", way.units, way.why)]
    if not await unit.ask(_TAKES, sku=sku, location=to):
        return [Way("restock", way.units, f"{to} does not take it")]
    return to_place(way, found, to)


async def _shelves(unit: OrderUnit, sku: str) -> Sequence[Shelf]:
    rows = await unit.ask(_SHELVES, sku=sku, since=unit.at - SOLD_WITHIN)
    return [
        Shelf(
            location=row.location,
            country=row.country,
            supply=row.supply,
            sold=row.sold,
            keeps=row.keeps,
        )
        for row in rows
    ]


# --- write ----------------------------------------------------------------------------------


async def split(unit: OrderUnit, lot: Lot, ways: Sequence[Way]) -> list[Lot]:
    """Make a lot of each part that goes another way. The first keeps the lot's id."""
    assert sum(way.units for way in ways) == lot.quantity, "each unit goes one way"
    parts = [lot.model_copy(update={"quantity": ways[0].units})]
    for way in ways[1:]:
        parts.append(await split_off(unit, lot, way.units))
    return parts


async def split_off(unit: OrderUnit, lot: Lot, units: int) -> Lot:
    """Make a lot of its own of some units."""
    (row,) = await unit.ask(
        "WITH rest AS (UPDATE return_lots SET quantity = quantity - :units WHERE id = :id"
        "  RETURNING *)"
        " INSERT INTO return_lots (return_id, receipt, line, sku, condition, location, quantity,"
        "  state, disposition, at, decided_at, placed_at)"
        " SELECT return_id, receipt, line, sku, condition, location, CAST(:units AS int),"
        "  state, disposition, at, decided_at, placed_at FROM rest RETURNING id",
        id=lot.id,
        units=units,
    )
    return lot.model_copy(update={"id": row.id, "quantity": units})


async def place(
    unit: OrderUnit,
    back: Return,
    placings: Sequence[Placing],
    *,
    cause: str,
    leaving: Leaving | None = None,
) -> None:
    """Book the ways of lots, and what becomes of stock: first what stops to count."""
    await _lock(unit, back, placings)
    if leaving is not None:
        await apply_changes(unit.tx, [leaving.change], cause=cause, key=leaving.key, at=unit.at)
    for lot, way, key in placings:
        bucket = bucket_of(lot.condition, way.disposition)
        if bucket is not None:
            change = StockChange(sku=lot.sku, location=lot.location, **{bucket: lot.quantity})
            await apply_changes(unit.tx, [change], cause=cause, key=key, at=unit.at)
    # All of it is on the shelf first: what stays covers what is promised there.
    for lot, way, _ in placings:
        taken = (way, None) if way.to is None else await _send_on(unit, back, lot, way)
        await _write(unit, back, lot, *taken)


async def _lock(unit: OrderUnit, back: Return, placings: Sequence[Placing]) -> None:
    going = [(lot, way.to) for lot, way, _ in placings if way.to is not None]
    for reference in sorted(_reference(back, lot) for lot, _ in going):
        # As `request_transfer` does, and before any stock: who asks for a transfer does the same.
        await unit.ask(
            "SELECT pg_advisory_xact_lock(hashtextextended('transfer:' || CAST(:r AS text), 0))",
            r=reference,
        )
    if going:
        ends = {lot.location for lot, _ in going} | {to for _, to in going}
        await unit.ask(
            "SELECT id FROM locations WHERE id = ANY(CAST(:ids AS text[]))"
            " ORDER BY id FOR KEY SHARE",
            ids=sorted(ends),
        )
    here = {(lot.sku, lot.location) for lot, _, _ in placings}
    there = {(lot.sku, to) for lot, to in going}
    await unit.send()
    counted = (each for each in placings if bucket_of(each.lot.condition, each.way.disposition))
    await create_places(unit.tx, {(lot.sku, lot.location) for lot, _, _ in counted} | there)
    await lock_places(unit.tx, here | there)


def _reference(back: Return, lot: Lot) -> str:
    return f"{back.id}:{lot.id}"


async def _send_on(unit: OrderUnit, back: Return, lot: Lot, way: Way) -> tuple[Way, str | None]:
    """Ask for a transfer of units on the shelf here; they stay if they are needed here after all.

    Returns what becomes of them, and the transfer.
    """
    assert way.to is not None
    new = NewTransfer(
        id=transfer_id(secrets.randbelow(NUMBERS)),
        origin=lot.location,
        destination=way.to,
        lines=((lot.sku, lot.quantity),),
        reference=_reference(back, lot),
    )
    made = await request_transfer(unit.tx, new, actor=unit.actor, at=unit.at)
    if isinstance(made, Transfer):
        return way, made.id
    return Way("restock", way.units, "promised or kept back here meanwhile"), None


async def _write(
    unit: OrderUnit, back: Return, lot: Lot, way: Way, transfer: str | None = None
) -> None:
    _tell(unit, back, lot, way, transfer)
    unit.run(
        "UPDATE return_lots SET state = 'placed', disposition = :disposition, why = :why,"
        " placed_at = :at, transfer = :transfer, sku = :sku WHERE id = :id",
        id=lot.id,
        sku=lot.sku,
        disposition=way.disposition,
        why=way.why,
        at=unit.at,
        transfer=transfer,
    )
    await unit.send()


_TOLD_AS = {"restock": "restocked", "restock_elsewhere": "restocked", "dispose": "disposed"}


def _tell(unit: OrderUnit, back: Return, lot: Lot, way: Way, transfer: str | None = None) -> None:
    words = way.disposition.replace("_", " ")
    where = f" to {way.to}" if way.to else ""
    unit.tell(
        f"return.{_TOLD_AS.get(way.disposition, 'set_aside')}",
        f"{lot.quantity} of {lot.sku} at {lot.location}: {words}{where}, {way.why}",
        **{
            "return": back.id,
            "lot": lot.id,
            "line": lot.line,
            "sku": lot.sku,
            "quantity": lot.quantity,
            "condition": lot.condition,
            "disposition": way.disposition,
            "location": lot.location,
            "to": way.to,
            "transfer": transfer,
            "why": way.why,
        },
    )
