"""The fewest places that together hold what is wanted; among equals the nearest, then the first.

Branch and bound with a limit on the work. Beyond it the best choice found so far stands: never
worse than the greedy one it starts from, and the same for the same input.
"""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

_SEARCH_LIMIT = 200_000
"""Holdings looked at before the search gives up: about a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place and what it can give of what is wanted. Metres are integers: sums are exact."""

    location: str
    metres: int
    units: dict[str, int]


def cover(places: list[Source], wanted: dict[str, int]) -> tuple[list[Source], bool]:
    """Choose the places that together hold all that is wanted.

    Args:
        places: Nearest first. Equal distances are in the order that breaks ties.
        wanted: Units by SKU, at least 1; all places together hold them.

    Returns:
        The chosen places, nearest first, and whether no better choice exists.
    """
    # Sorted, so that where the search stops does not depend on the order of the input.
    wanted = dict(sorted(wanted.items()))
    search = _Search(places, wanted)
    search.explore((), frozenset(), wanted)
    return [places[rank] for rank in search.best], not search.gave_up


def _greedy(places: list[Source], wanted: dict[str, int]) -> tuple[int, ...]:
    """Take the place that serves the most units still wanted, until all are; then drop spares."""
    # What a place serves only falls as others are taken: only the top of the heap is worked out
    # again, and if it is still the top it is the best.
    heap = [(-_serves(place, wanted), rank) for rank, place in enumerate(places)]
    heapify(heap)
    chosen: list[int] = []
    rest = wanted
    while rest:
        _, rank = heappop(heap)
        now = (-_serves(places[rank], rest), rank)
        if heap and heap[0] < now:
            heappush(heap, now)
            continue
        chosen.append(rank)
        rest = _less(rest, places[rank])
    return _without_spares(places, chosen, wanted)


def _without_spares(
    places: list[Source], chosen: list[int], wanted: dict[str, int]
) -> tuple[int, ...]:
    """Leave out, the farthest first, each place that the others can do without."""
    held = {sku: sum(places[rank].units.get(sku, 0) for rank in chosen) for sku in wanted}
    needed = []
    for rank in sorted(chosen, reverse=True):
        units = places[rank].units
        if any(held[sku] - given < wanted[sku] for sku, given in units.items() if sku in wanted):
            needed.append(rank)
            continue
        for sku in units.keys() & wanted.keys():
            held[sku] -= units[sku]
    return tuple(reversed(needed))


def _serves(place: Source, rest: dict[str, int]) -> int:
    return sum(min(units, rest.get(sku, 0)) for sku, units in place.units.items())


def _less(rest: dict[str, int], place: Source) -> dict[str, int]:
    left = {sku: units - place.units.get(sku, 0) for sku, units in rest.items()}
    return {sku: units for sku, units in left.items() if units > 0}


class _Search:
    """Branch and bound over sets of places, starting from the greedy answer.

    It branches over the places that hold the scarcest SKU still wanted. A branch is dropped when
    even the most hopeful way on needs more places than the best set, or as many and further.
    """

    def __init__(self, places: list[Source], wanted: dict[str, int]) -> None:
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
            for sku in wanted
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
