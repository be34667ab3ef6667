"""Which rules, lines and places fit an order, and why a place does not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oms.costs import Prices
from oms.locations import UNKNOWN_METRES, Flags, Ints
from oms.rules import MILLS, From, Lines, Rule, When
from oms.sourcing import Ask, Demand, Shelves

Codes = NDArray[np.str_]
"""By location: why it may not serve (`oms.reasons.Code`), the empty text where it may."""

_ALL = From()


@dataclass(frozen=True, slots=True)
class Group:
    """The places that a rule asks at one time. `number`: of its `prefer`, None without."""

    number: int | None
    places: Flags


class Asked:
    """An order as rules look at it, over the locations there are."""

    def __init__(self, prices: Prices, ask: Ask, shelves: Shelves) -> None:
        self.prices = prices
        self.ask = ask
        self.shelves = shelves
        self.locations = shelves.locations
        self.metres = shelves.metres_from(ask.point)
        value = None if ask.value_minor is None else prices.mills(ask.value_minor, ask.currency)
        self._value = None if value is None else value // MILLS
        self._fits: dict[From, Flags] = {}

    def is_for(self, when: When) -> bool:
        """Whether a condition fits the order."""
        ask = self.ask
        wished = (
            (when.channels, ask.channel),
            (when.countries, ask.country),
            (when.methods, ask.method),
            (when.segments, ask.segment),
        )
        if any(wish is not None and given not in wish for wish, given in wished):
            return False
        if when.except_countries is not None and ask.country in when.except_countries:
            return False
        if when.value_minor is None:
            return True
        return self._value is not None and when.value_minor.holds(self._value)

    def fits(self, filter: From) -> Flags:
        """Which locations a filter allows for this order."""
        found = self._fits.get(filter)
        if found is None:
            found = self._fits[filter] = self._look(filter)
        return found

    def _look(self, filter: From) -> Flags:
        found = self.locations.fits(filter)
        if filter.same_country is not None:
            found = found & ((self.locations.countries == self.ask.country) == filter.same_country)
        if filter.within_km is not None:
            found = found & (self.metres <= filter.within_km * 1000)
            found = found & (self.metres < UNKNOWN_METRES)
        if filter.carriers is not None:
            found = found & self.shelves.carried_by(filter.carriers)
        if filter.has_capacity and self.shelves.load is not None:
            found = found & (self.shelves.load < self.locations.capacity)
        return found

    def cost_rows(self, rows: Ints) -> Ints:
        """Which row of the costs counts for some locations: the first that fits, -1 for none."""
        found = np.full(len(rows), -1, dtype=np.int64)
        for number, cost in enumerate(self.prices.rules.costs):
            if cost.countries is None or self.ask.country in cost.countries:
                found[(found < 0) & self.fits(cost.from_)[rows]] = number
        return found

    def groups(self, rule: Rule) -> list[Group]:
        """The places of a rule, those it prefers first; those in no group come last."""
        rest = np.ones(len(self.locations), dtype=np.bool_)
        groups = []
        for number, filter in enumerate(rule.prefer):
            here = self.fits(filter) & rest
            rest &= ~here
            groups.append(Group(number, here))
        return [*groups, Group(len(groups) if groups else None, rest)]

    def codes(self, rule: Rule, group: Group) -> Codes:
        """Why each location may not serve by a rule."""
        codes: Codes = self.shelves.shut.astype("<U17")
        handled = bool(rule.objective.handling.strip("0."))
        tests = (
            ("filter", ~self.fits(self._but_capacity(rule.from_))),
            ("capacity", ~self.fits(rule.from_)),
            ("except", _none(codes) if rule.except_ is None else self.fits(rule.except_)),
            ("tier", ~group.places),
            ("no_rate", ~self.prices.has_rate if handled else _none(codes)),
        )
        for code, out in tests:
            codes[(codes == "") & out] = code
        return codes

    @staticmethod
    def _but_capacity(filter: From) -> From:
        if filter.has_capacity is None:
            return filter
        return filter.model_copy(update={"has_capacity": None})

    def never(self, demands: Sequence[Demand]) -> tuple[Flags, dict[int, str]]:
        """Where lines are never served from, and why; rows by location."""
        out = np.zeros(len(self.locations), dtype=np.bool_)
        why: dict[int, str] = {}
        for each in self.prices.rules.never:
            if self.is_for(each.when) and any(is_about(each.lines, d) for d in demands):
                here = self.fits(each.from_)
                why |= {int(row): each.why for row in np.flatnonzero(here & ~out)}
                out |= here
        return out, why


def _none(codes: Codes) -> Flags:
    return np.zeros(len(codes), dtype=np.bool_)


def is_about(lines: Lines, demand: Demand) -> bool:
    """Whether a line is one of those a rule is about."""
    if lines.skus is not None and demand.sku not in lines.skus:
        return False
    if lines.tags is not None and demand.tags.isdisjoint(lines.tags):
        return False
    return lines.without_tags is None or demand.tags.isdisjoint(lines.without_tags)
