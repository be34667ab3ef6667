"""Where goods go that came back: which shelf, which other place, or none for sale.

What becomes of a lot is said by who inspected it, else by the policy's restock rules
(`oms.return_policy.disposition_of`). Here is what that means: which stock it makes, and where
units go that shall go elsewhere without a place being named. Pure; `adapters.db.restocking`
carries it out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from heapq import heapify, heapreplace
from typing import Literal

from oms.return_policy import (
    Condition,
    Disposition,
    ReturnPolicy,
    UnitFacts,
    disposition_of,
    restock_rule,
)
from oms.returns import Lot, Return

SOLD_WITHIN = timedelta(days=28)
"""What counts as sold lately."""

FOR_SALE: tuple[Disposition, ...] = ("restock", "restock_elsewhere")
"""What puts units on a shelf, from where they are sold."""

LIES_ABOUT: tuple[Disposition, ...] = ("refurbish", "quarantine", "return_to_supplier")
"""What leaves units at the place, for somebody to decide about again."""

OWN_SHELVES = ("warehouse", "store", "third_party_logistics")
"""The kinds of places that units are sent to without being named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the books know of the units of a lot, beside the lot itself.

    `free`: units here that nobody is promised and nothing keeps back, these not counted; below
    zero where they are short. `unnamed`: something else than was sold, and nobody said what.
    """

    facts: UnitFacts
    country: str
    recalled: bool = False
    blocked: bool = False
    known: bool = True
    unnamed: bool = False
    free: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A place that holds an article and may sell it.

    `supply`: units available there or on their way from other places of ours; below zero where
    they are short. `keeps`: a safety stock or a low mark is set, so that it shall have some.
    `sold`: units within `SOLD_WITHIN`.
    """

    location: str
    country: str
    supply: int
    sold: int = 0
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """What becomes of some units of a lot. `to`: where to, of those that go elsewhere."""

    disposition: Disposition
    units: int
    why: str
    to: str | None = None


def bucket_of(
    condition: Condition, disposition: Disposition
) -> Literal["on_hand", "damaged"] | None:
    """Which bucket of the level here units count in once they are put away, if in any."""
    if disposition in FOR_SALE:
        return "on_hand"
    return "damaged" if condition == "damaged" and disposition == "quarantine" else None


def decide(policy: ReturnPolicy, lot: Lot, found: Found) -> tuple[Way, str | None]:
    """What becomes of a lot, and the place a rule names for it."""
    if lot.disposition is not None:
        disposition, to, why = lot.disposition, None, "as it was inspected"
    else:
        disposition, to = disposition_of(policy, found.facts)
        rule = restock_rule(policy, found.facts)
        how = lot.condition.replace("_", " ")
        why = f"{how}, by the rule “{rule.name}”" if rule else f"{how}, no rule says otherwise"
    if disposition in FOR_SALE and (kept := kept_off(found)):
        return Way("quarantine", lot.quantity, kept), None
    return Way(disposition, lot.quantity, why), to


def kept_off(found: Found) -> str | None:
    """Why units may not go on a shelf for sale; None: they may."""
    if found.unnamed or not found.known:
        return "nobody has said what article it is"
    if found.recalled:
        return f"{found.facts.sku} is recalled"
    if found.blocked:
        return f"{found.facts.sku} is blocked at {found.facts.location}"
    return None


def facts_of(back: Return, lot: Lot, found: Found) -> Found:
    """The same, with what the return itself knows: the reason, and whether it is what was sold."""
    line = back.line(lot.line)
    assert line is not None, "what arrives is of a line"
    facts = found.facts.model_copy(update={"reason": line.reason})
    unnamed = not lot.is_sold_article and lot.sku == line.sku
    return replace(found, facts=facts, unnamed=unnamed)


def to_place(way: Way, found: Found, to: str) -> tuple[Way, ...]:
    """Units that shall go to a place, but for those that are promised or kept back here."""
    free = min(way.units, max(0, found.free + way.units))
    go = Way("restock_elsewhere", free, way.why, to)
    return tuple(each for each in (go, *_staying(way.units - free)) if each.units)


def _staying(units: int) -> Iterator[Way]:
    if units:
        yield Way("restock", units, f"{units} are promised or kept back here")


# --- elsewhere ------------------------------------------------------------------------------


def spread(units: int, found: Found, shelves: Iterable[Shelf]) -> tuple[Way, ...]:
    """Where units go that shall go elsewhere, each in turn.

    What is promised or kept back here stays. Then, in the country first: places that have none,
    those that sold most of it before others, until each has one; then wherever most was sold for
    each unit in stock, here included. If nobody sells it, here.
    """
    here = found.facts.location
    free = min(units, max(0, found.free + units))
    ways = [*_staying(units - free)]
    known = [shelf for shelf in shelves if shelf.location != here]
    own = next((s for s in shelves if s.location == here), None)
    home = [shelf for shelf in known if shelf.country == found.country]
    abroad = [shelf for shelf in known if shelf.country != found.country]
    mine = None if own is None else replace(own, supply=own.supply + units - free)
    if free:
        for group, with_own in ((home, mine), (abroad, None)):
            given = list(_to_the_empty(free, group))
            ways += given
            free -= sum(way.units for way in given)
            supplied = [_with(shelf, given) for shelf in group]
            sellers = [s for s in (*supplied, *([with_own] if with_own else ())) if s.sold]
            if free and sellers:
                ways += _to_the_sellers(free, sellers, here)
                free = 0
    if free:
        ways.append(Way("restock", free, "no other place needs it or sells it"))
    return _joined(ways)


def _to_the_empty(units: int, group: Sequence[Shelf]) -> Iterator[Way]:
    empty = [s for s in group if s.supply <= 0 and (s.sold or s.keeps)]
    for shelf in sorted(empty, key=lambda s: (-s.sold, s.location)):
        count = min(units, 1 - shelf.supply)
        if not count:
            return
        units -= count
        why = f"{shelf.location} is out of stock, {_sales(shelf)}"
        yield Way("restock_elsewhere", count, why, shelf.location)


def _with(shelf: Shelf, given: Iterable[Way]) -> Shelf:
    more = sum(way.units for way in given if way.to == shelf.location)
    return replace(shelf, supply=shelf.supply + more)


def _to_the_sellers(units: int, sellers: Sequence[Shelf], here: str) -> Iterator[Way]:
    """Each unit where most was sold for each unit in stock, this one counted; as good, here."""
    counts = [0] * len(sellers)
    turns = [(_worth(s, 0), s.location != here, s.location, i) for i, s in enumerate(sellers)]
    heapify(turns)
    for _ in range(units):
        _, elsewhere, location, i = turns[0]
        counts[i] += 1
        heapreplace(turns, (_worth(sellers[i], counts[i]), elsewhere, location, i))
    for shelf, count in zip(sellers, counts, strict=True):
        if count and shelf.location == here:
            yield Way("restock", count, f"it sells best here, {_sales(shelf)}")
        elif count:
            why = f"it sells best at {shelf.location}, {_sales(shelf)}"
            yield Way("restock_elsewhere", count, why, shelf.location)


def _worth(shelf: Shelf, more: int) -> Fraction:
    return -Fraction(shelf.sold, max(0, shelf.supply) + more + 1)


def _sales(shelf: Shelf) -> str:
    return f"{shelf.sold} sold in {SOLD_WITHIN.days} days, {max(0, shelf.supply)} there or coming"


def _joined(ways: Iterable[Way]) -> tuple[Way, ...]:
    """One way for each place, in the order they were found; the first reason stands."""
    found: dict[str | None, Way] = {}
    for way in ways:
        before = found.get(way.to)
        more = before.units if before else 0
        found[way.to] = replace(before or way, units=way.units + more)
    return tuple(found.values())
