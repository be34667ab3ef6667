"""Which locations serve an order. One port, one plain solver.

The rule: fewest parcels (locations), then the smallest sum of distances, then the lower ids; among
the chosen places the nearer one gives all it can. Small cases are solved exactly. Beyond a bounded
amount of search the best plan found so far is taken: a greedy cover, improved as far as the search
came. What that gives up: it may use a parcel more, or go further, than the best plan would; it is
still complete, still the same for the same input in any order, and says so (`Plan.exact`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import asin, cos, radians, sin, sqrt
from typing import Protocol

from oms.cover import Source, cover

_UNKNOWN_METRES = 40_075_000  # once round the earth: a place without coordinates comes last
_EARTH_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Units of one order line to serve. `not_from`: places that turned this line down.

    Lines may name the same SKU; what turned down one of them gives none of that SKU to the others.
    """

    line: int
    sku: str
    quantity: int
    not_from: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that may serve. `available` units by SKU; `distance_km` is None where unknown.

    `buffer`: units of each SKU that the channel leaves there; they are not in `available`.
    """

    location: str
    distance_km: float | None
    available: Mapping[str, int]
    buffer: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Pick:
    """Units of one line from one place."""

    line: int
    location: str
    quantity: int
    sku: str


@dataclass(frozen=True, slots=True, order=True)
class Missing:
    """A line that cannot be served whole.

    `missing` of its `wanted` units have no place; `available` is what the candidates hold of the
    SKU altogether (in one place, where the order must not be split).
    """

    line: int
    sku: str
    wanted: int
    missing: int
    available: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Who gives what, sorted by line, nearer places first. `exact`: proven to be the best."""

    picks: tuple[Pick, ...]
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Shortfall:
    """No plan serves everything; why, by line."""

    missing: tuple[Missing, ...]


@dataclass(frozen=True, slots=True)
class WhatIsThere:
    """A plan for what can be served, and what is left."""

    plan: Plan
    left: tuple[Missing, ...] = field(default=())


class Solver(Protocol):
    """Chooses locations. Never a partial plan: all lines whole, or a `Shortfall`."""

    def plan(
        self, demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
    ) -> Plan | Shortfall:
        """Serve every line whole."""
        ...

    def plan_what_is_there(
        self, demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
    ) -> WhatIsThere:
        """Serve as many units as there are, for backorders and for planning again."""
        ...


class PlainSolver:
    """The solver used where no routing rules are active."""

    def plan(
        self, demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
    ) -> Plan | Shortfall:
        """See `plan_sourcing`."""
        return plan_sourcing(demands, candidates, allow_split=allow_split)

    def plan_what_is_there(
        self, demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
    ) -> WhatIsThere:
        """See `plan_what_is_there`."""
        return plan_what_is_there(demands, candidates, allow_split=allow_split)


def plan_sourcing(
    demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
) -> Plan | Shortfall:
    """Serve every line whole, by the rule on top of this file.

    Args:
        demands: What to serve; line numbers are distinct, quantities at least 1.
        candidates: Where it may come from; ids are distinct. Order does not matter.
        allow_split: Whether several places may serve; otherwise one serves all.

    Returns:
        A plan for all of it, or what is missing. Never a partial plan.
    """
    found = plan_what_is_there(demands, candidates, allow_split=allow_split)
    return Shortfall(found.left) if found.left else found.plan


def plan_what_is_there(
    demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
) -> WhatIsThere:
    """Serve as many units as there are, by the same rule, and tell what is left.

    Where a SKU is short, the earlier lines are served first. Without `allow_split` it is the one
    place that serves the most units, the nearer among equals.
    """
    places = _places(demands, candidates)
    wanted = _by_sku((demand.sku, demand.quantity) for demand in demands)
    if not allow_split:
        places = _best_alone(places, wanted)
    stock = _by_sku(pair for place in places for pair in place.units.items())
    reachable = {sku: min(units, stock.get(sku, 0)) for sku, units in wanted.items()}
    reachable = {sku: units for sku, units in reachable.items() if units}
    chosen, exact = cover(places, reachable)
    picks = _share_out(demands, chosen)
    return WhatIsThere(Plan(picks, exact), _left(demands, picks, stock))


def distance_km(latitude: float, longitude: float, to: tuple[float, float]) -> float:
    """Great-circle distance between two places in degrees, in kilometres."""
    north, south = radians(latitude), radians(to[0])
    half_lat, half_lon = (south - north) / 2, radians(to[1] - longitude) / 2
    chord = sin(half_lat) ** 2 + cos(north) * cos(south) * sin(half_lon) ** 2
    return 2 * _EARTH_KM * asin(min(1.0, sqrt(chord)))


def _places(demands: Sequence[Demand], candidates: Sequence[Candidate]) -> list[Source]:
    """The useful candidates, nearest first, each capped by what is wanted."""
    assert len({demand.line for demand in demands}) == len(demands), "a line comes twice"
    assert len({c.location for c in candidates}) == len(candidates), "a location comes twice"
    wanted = _by_sku((demand.sku, demand.quantity) for demand in demands)
    turned_down = {(d.sku, location) for d in demands for location in d.not_from}
    places = []
    for candidate in candidates:
        units = {
            sku: min(candidate.available[sku], wanted[sku])
            for sku in sorted(wanted.keys() & candidate.available.keys())
            if candidate.available[sku] > 0 and (sku, candidate.location) not in turned_down
        }
        if units:
            places.append(Source(candidate.location, _metres(candidate), units))
    return sorted(places, key=lambda place: (place.metres, place.location))


def _metres(candidate: Candidate) -> int:
    if candidate.distance_km is None:
        return _UNKNOWN_METRES
    return round(candidate.distance_km * 1000)


def _by_sku(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for sku, units in pairs:
        sums[sku] = sums.get(sku, 0) + units
    return sums


def _best_alone(places: list[Source], wanted: dict[str, int]) -> list[Source]:
    def units(place: Source) -> int:
        return sum(min(place.units.get(sku, 0), units) for sku, units in wanted.items())

    return [max(places, key=units)] if places else []


def _share_out(demands: Sequence[Demand], chosen: list[Source]) -> tuple[Pick, ...]:
    """The nearer place gives all it can, to the earlier lines first."""
    rest = [dict(place.units) for place in chosen]
    picks = []
    for demand in sorted(demands, key=lambda demand: demand.line):
        open_units = demand.quantity
        for place, units in zip(chosen, rest, strict=True):
            given = min(open_units, units.get(demand.sku, 0))
            if given:
                picks.append(Pick(demand.line, place.location, given, demand.sku))
                units[demand.sku] -= given
                open_units -= given
    return tuple(picks)


def _left(
    demands: Sequence[Demand], picks: tuple[Pick, ...], stock: dict[str, int]
) -> tuple[Missing, ...]:
    served: dict[int, int] = {}
    for pick in picks:
        served[pick.line] = served.get(pick.line, 0) + pick.quantity
    return tuple(
        Missing(d.line, d.sku, d.quantity, d.quantity - served.get(d.line, 0), stock.get(d.sku, 0))
        for d in sorted(demands, key=lambda demand: demand.line)
        if served.get(d.line, 0) < d.quantity
    )
