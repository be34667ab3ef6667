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

_UNKNOWN_METRES = 40_075_000  # once round the earth: a place without coordinates comes last
_EARTH_KM = 6371.0
_SEARCH_LIMIT = 200_000  # availabilities looked at, about a quarter of a second


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
    """A place that may serve. `available` units by SKU; `distance_km` is None where unknown."""

    location: str
    distance_km: float | None
    available: Mapping[str, int]


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
    chosen, exact = _cover(places, reachable)
    picks = _share_out(demands, chosen)
    return WhatIsThere(Plan(picks, exact), _left(demands, picks, stock))


def distance_km(latitude: float, longitude: float, to: tuple[float, float]) -> float:
    """Great-circle distance between two places in degrees, in kilometres."""
    north, south = radians(latitude), radians(to[0])
    half_lat, half_lon = (south - north) / 2, radians(to[1] - longitude) / 2
    chord = sin(half_lat) ** 2 + cos(north) * cos(south) * sin(half_lon) ** 2
    return 2 * _EARTH_KM * asin(min(1.0, sqrt(chord)))


@dataclass(frozen=True, slots=True)
class _Place:
    """A candidate reduced to what is wanted of it. Metres are integers, so that sums are exact."""

    location: str
    metres: int
    units: dict[str, int]


def _places(demands: Sequence[Demand], candidates: Sequence[Candidate]) -> list[_Place]:
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
            places.append(_Place(candidate.location, _metres(candidate), units))
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


def _best_alone(places: list[_Place], wanted: dict[str, int]) -> list[_Place]:
    def units(place: _Place) -> int:
        return sum(min(place.units.get(sku, 0), units) for sku, units in wanted.items())

    return [max(places, key=units)] if places else []


def _share_out(demands: Sequence[Demand], chosen: list[_Place]) -> tuple[Pick, ...]:
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


def _cover(places: list[_Place], wanted: dict[str, int]) -> tuple[list[_Place], bool]:
    """The places that together hold what is wanted, and whether that choice is proven best."""
    search = _Search(places, wanted)
    search.explore((), frozenset(), wanted)
    return [places[rank] for rank in search.best], not search.gave_up


def _greedy(places: list[_Place], wanted: dict[str, int]) -> tuple[int, ...]:
    """Take the place that serves the most units still wanted, until all are; then drop spares."""
    chosen: list[int] = []
    rest = dict(wanted)
    while rest:
        free = (rank for rank in range(len(places)) if rank not in chosen)
        best = max(free, key=lambda rank: (_serves(places[rank], rest), -rank))
        chosen.append(best)
        rest = _less(rest, places[best])
    for rank in sorted(chosen, reverse=True):
        without = [other for other in chosen if other != rank]
        if _enough(places, without, wanted):
            chosen = without
    return tuple(sorted(chosen))


def _serves(place: _Place, rest: dict[str, int]) -> int:
    return sum(min(units, rest.get(sku, 0)) for sku, units in place.units.items())


def _less(rest: dict[str, int], place: _Place) -> dict[str, int]:
    left = {sku: units - place.units.get(sku, 0) for sku, units in rest.items()}
    return {sku: units for sku, units in left.items() if units > 0}


def _enough(places: list[_Place], ranks: Sequence[int], wanted: dict[str, int]) -> bool:
    rest = wanted
    for rank in ranks:
        rest = _less(rest, places[rank])
    return not rest


class _Search:
    """Branch and bound over sets of places, starting from the greedy answer.

    It branches over the places that hold the scarcest SKU still wanted. A branch is dropped when
    even the most hopeful way on needs more places than the best set, or as many and further.
    """

    def __init__(self, places: list[_Place], wanted: dict[str, int]) -> None:
        self.places = places
        self.best = _greedy(places, wanted)
        self.work = 0
        self.gave_up = False
        # By SKU: who holds it, most units first, so that the fewest needed can be counted.
        self.holders = {
            sku: sorted(
                ((p.units[sku], rank) for rank, p in enumerate(places) if sku in p.units),
                key=lambda holder: (-holder[0], holder[1]),
            )
            for sku in sorted(wanted)
        }

    def cost(self, ranks: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
        return len(ranks), sum(self.places[rank].metres for rank in ranks), ranks

    def explore(self, chosen: tuple[int, ...], out: frozenset[int], rest: dict[str, int]) -> None:
        """Try every way to serve `rest` that takes `chosen` and leaves `out` alone."""
        if not rest:
            self.best = min(self.best, tuple(sorted(chosen)), key=self.cost)
            return
        if self.gave_up:
            return
        branch = self._branch(chosen, out, rest)
        for rank in branch:
            self.explore((*chosen, rank), out, _less(rest, self.places[rank]))
            out |= {rank}

    def _branch(
        self, chosen: tuple[int, ...], out: frozenset[int], rest: dict[str, int]
    ) -> list[int]:
        """The places to try next, nearest first; none if this way cannot beat the best."""
        most_needed = 0
        fewest: list[int] = []
        for sku, units in rest.items():
            self.work += len(self.holders[sku])
            free = [h for h in self.holders[sku] if h[1] not in out and h[1] not in chosen]
            needed = _count_needed(free, units)
            if needed is None:
                return []
            most_needed = max(most_needed, needed)
            if not fewest or len(free) < len(fewest):
                fewest = sorted(rank for _, rank in free)
        self.gave_up = self.work > _SEARCH_LIMIT
        hopeful = self._hopeful(chosen, out, most_needed)
        return fewest if hopeful <= self.cost(self.best)[:2] else []

    def _hopeful(self, chosen: tuple[int, ...], out: frozenset[int], more: int) -> tuple[int, int]:
        """At least so many places and metres, if `more` places are needed."""
        count, metres, _ = self.cost(chosen)
        taken = out.union(chosen)
        nearest = (place.metres for rank, place in enumerate(self.places) if rank not in taken)
        return count + more, metres + sum(m for m, _ in zip(nearest, range(more), strict=False))


def _count_needed(holders: list[tuple[int, int]], units: int) -> int | None:
    """The fewest holders that have so many units; None if all of them have less."""
    for count, (held, _) in enumerate(holders, start=1):
        units -= held
        if units <= 0:
            return count
    return None
