"""What a plan costs under an objective: fixed costs of places and costs of units, in mills.

Everything is worked out by columns over the candidate places. Products of amounts, factors and
distances are rounded once, each to the nearest thousandth of the minor unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from oms.locations import Flags, Ints, Locations
from oms.money import exponent
from oms.rules import MILLS, From, Objective, RuleSet

Floats = NDArray[np.float64]

MOST_FIXED = 10**14
MOST_UNIT = 10**11
"""Bounds of what a place and a unit may cost in mills, so that no plan's total overflows."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """The candidates of one decision, by columns; what is not needed for a rule set is None.

    Attributes:
        rows: Rows of the candidates in `Locations`; shape (places,).
        metres: Distance of each; shape (places,).
        weight_g: Weight of a unit of each item; shape (items,).
        available: Units of each item at each place; shape (places, items).
        fullest: Units of each item on the fullest shelf that serves the order; shape (items,).
        days: Days until the customer has it; shape (places,).
        goods: What a unit of each item costs there, in mills; shape (places, items).
        cost_row: Which row of `RuleSet.costs` counts, -1 for none; shape (places,).
        adjusted: Whom each filter of `Objective.adjust` fits; shapes (places,).
    """

    rows: Ints
    metres: Ints
    weight_g: Ints
    available: Ints
    fullest: Ints
    days: Ints | None
    goods: Floats | None
    cost_row: Ints
    adjusted: Mapping[From, Flags]


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Of each place once it sends, and of each unit; named by what they are for."""

    fixed: Ints
    unit: Ints
    parts: Mapping[str, tuple[Floats, Floats]]


class Prices:
    """A rule set's costs as columns. Made once for a rule set and the locations."""

    def __init__(self, rules: RuleSet, locations: Locations) -> None:
        self.rules = rules
        self._rates = {code: Decimal(rate) for code, rate in rules.rates.items()}
        self.handling = np.array(
            [self.mills(each.handling_minor, each.currency) or 0 for each in locations.rows],
            dtype=np.float64,
        )
        self.has_rate = np.array(
            [self.mills(each.handling_minor, each.currency) is not None for each in locations.rows],
            dtype=np.bool_,
        )
        self._costs = _columns(rules)

    def mills(self, minor: int, currency: str | None) -> int | None:
        """An amount in mills of the rule set's currency; None if there is no rate for it."""
        own = self.rules.currency
        if currency is None or currency == own or not minor:
            return minor * MILLS
        rate = self._rates.get(currency)
        if rate is None:
            return None
        shift = exponent(own) - exponent(currency)
        return int((minor * rate * MILLS).scaleb(shift).to_integral_value())

    def of(self, objective: Objective, setting: Setting) -> Costs:
        """Price the candidates."""
        parts = {
            name: part
            for name, part in _parts(self, objective, setting).items()
            if part[0].any() or part[1].any()
        }
        places, items = setting.available.shape
        fixed = np.zeros(places)
        unit = np.zeros((places, items))
        for of_place, of_unit in parts.values():
            fixed += of_place
            unit += of_unit
        return Costs(
            np.rint(np.clip(fixed, 0, MOST_FIXED)).astype(np.int64),
            np.rint(np.clip(unit, -MOST_UNIT, MOST_UNIT)).astype(np.int64),
            parts,
        )

    def shipping(self, setting: Setting) -> tuple[Floats, Floats]:
        """What parcels and units cost to send, in mills; nothing where no row of costs fits."""
        row, km = setting.cost_row, setting.metres / 1000
        parcel, unit, kg, parcel_km, unit_km = (column[row] for column in self._costs)
        fixed = parcel + parcel_km * km
        by_weight = np.outer(kg, setting.weight_g / 1000)
        return fixed, (unit + unit_km * km)[:, None] + by_weight


def _columns(rules: RuleSet) -> tuple[Floats, ...]:
    """By row of the costs; the last row, which -1 finds, is free."""
    return tuple(
        np.array([*(float(getattr(row, name)) * MILLS for row in rules.costs), 0.0])
        for name in ("parcel_minor", "unit_minor", "kg_minor", "parcel_km_minor", "unit_km_minor")
    )


def _parts(
    prices: Prices, objective: Objective, setting: Setting
) -> dict[str, tuple[Floats, Floats]]:
    places, items = setting.available.shape
    nothing = np.zeros(places)
    no_units = np.zeros((places, items))
    km = setting.metres / 1000
    parts: dict[str, tuple[Floats, Floats]] = {}
    if factor := float(objective.shipping):
        fixed, unit = prices.shipping(setting)
        parts["shipping"] = np.rint(fixed * factor), np.rint(unit * factor)
    if factor := float(objective.handling):
        parts["handling"] = np.rint(prices.handling[setting.rows] * factor), no_units
    if (factor := float(objective.goods)) and setting.goods is not None:
        parts["goods"] = nothing, np.rint(setting.goods * factor)
    if objective.parcel_minor:
        parts["parcels"] = np.full(places, float(objective.parcel_minor * MILLS)), no_units
    per_parcel, per_unit = float(objective.parcel_km_minor), float(objective.unit_km_minor)
    if per_parcel or per_unit:
        by_unit = np.repeat(np.rint(km * per_unit * MILLS)[:, None], items, axis=1)
        parts["distance"] = np.rint(km * per_parcel * MILLS), by_unit
    if objective.late_day_minor and setting.days is not None:
        late = np.maximum(0, setting.days - objective.due_days) * float(
            objective.late_day_minor * MILLS
        )
        parts["lateness"] = nothing, np.repeat(late[:, None], items, axis=1)
    if objective.balance_minor:
        empty = 1 - setting.available / np.maximum(1, setting.fullest)
        parts["balance"] = nothing, np.rint(empty * objective.balance_minor * MILLS)
    if objective.adjust:
        parts["adjusted"] = _adjusted(objective, setting)
    return parts


def _adjusted(objective: Objective, setting: Setting) -> tuple[Floats, Floats]:
    places, items = setting.available.shape
    fixed, unit = np.zeros(places), np.zeros((places, items))
    for each in objective.adjust:
        here = setting.adjusted[each.from_]
        fixed[here] += each.parcel_minor * MILLS
        unit[here] += each.unit_minor * MILLS
    return fixed, unit
