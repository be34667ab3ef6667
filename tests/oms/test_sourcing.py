import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.places import Point, distance_km
from oms.router import Router
from oms.sourcing import Ask, Decision, Demand, Missing, Pick, Plan
from tests.oms.candidates import Candidate, shelves_of

PARIS = Point(48.8566, 2.3522)
SKUS = ("LAMP", "MUG", "SOFA")
DEMANDS = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 4)), min_size=1, max_size=4).map(
    lambda lines: [Demand(n, sku, units) for n, (sku, units) in enumerate(lines, start=1)]
)
SHELVES = st.dictionaries(st.sampled_from(SKUS), st.integers(0, 5), max_size=3)
DISTANCES = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 2.0, 3.5, 40.0]))
CANDIDATES = st.lists(st.tuples(DISTANCES, SHELVES), max_size=6).map(
    lambda places: [Candidate(f"place-{n}", km, shelf) for n, (km, shelf) in enumerate(places)]
)


def place(location: str, km: float | None, **available: int) -> Candidate:
    return Candidate(location, km, available)


def plan_what_is_there(
    demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
) -> Decision:
    """By the default rule set."""
    shelves = shelves_of(candidates)
    return Router(shelves.locations).plan(
        Ask(allow_split=allow_split), demands, shelves, told=False
    )


def plan_sourcing(
    demands: Sequence[Demand], candidates: Sequence[Candidate], *, allow_split: bool
) -> Plan | tuple[Missing, ...]:
    """All of it, or what is missing."""
    found = plan_what_is_there(demands, candidates, allow_split=allow_split)
    return found.left or found.plan


def served(picks: Sequence[Pick]) -> dict[int, int]:
    units: Counter[int] = Counter()
    for pick in picks:
        units[pick.line] += pick.quantity
    return dict(units)


def given_by(picks: Sequence[Pick]) -> Mapping[tuple[str, str], int]:
    units: Counter[tuple[str, str]] = Counter()
    for pick in picks:
        units[pick.location, pick.sku] += pick.quantity
    return units


def test_one_parcel_from_afar_beats_two_from_nearby() -> None:
    plan = plan_sourcing(
        [Demand(1, "LAMP", 1), Demand(2, "MUG", 1)],
        [place("near", 1, LAMP=1), place("next", 2, MUG=1), place("far", 900, LAMP=1, MUG=1)],
        allow_split=True,
    )

    assert plan == Plan((Pick(1, "far", 1, "LAMP"), Pick(2, "far", 1, "MUG")))


def test_of_equal_parcels_the_nearest_and_of_equally_near_the_first_by_name() -> None:
    candidates = [place("b", 5, LAMP=9), place("a", 5, LAMP=9), place("unknown", None, LAMP=9)]

    nearest = plan_sourcing([Demand(1, "LAMP", 2)], candidates, allow_split=True)
    only_far = plan_sourcing([Demand(1, "LAMP", 2)], candidates[2:], allow_split=True)

    assert nearest == Plan((Pick(1, "a", 2, "LAMP"),))
    assert only_far == Plan((Pick(1, "unknown", 2, "LAMP"),))


def test_the_nearer_place_gives_all_it_can() -> None:
    plan = plan_sourcing(
        [Demand(1, "LAMP", 5)],
        [place("far", 80, LAMP=4), place("near", 3, LAMP=3)],
        allow_split=True,
    )

    assert plan == Plan((Pick(1, "near", 3, "LAMP"), Pick(1, "far", 2, "LAMP")))


def test_an_order_that_must_not_be_split_comes_from_one_place_or_not_at_all() -> None:
    demands = [Demand(1, "LAMP", 2), Demand(2, "MUG", 1)]
    candidates = [place("near", 1, LAMP=1, MUG=1), place("far", 9, LAMP=2)]

    refused = plan_sourcing(demands, candidates, allow_split=False)
    whole = plan_sourcing(
        demands, [*candidates, place("farther", 10, LAMP=2, MUG=2)], allow_split=False
    )

    assert refused == (Missing(1, "LAMP", wanted=2, missing=1, available=1),)
    assert isinstance(whole, Plan)
    assert {pick.location for pick in whole.picks} == {"farther"}


def test_a_shortfall_names_each_short_line_and_what_there_is() -> None:
    refused = plan_sourcing(
        [Demand(1, "LAMP", 2), Demand(2, "MUG", 1), Demand(3, "LAMP", 2), Demand(4, "SOFA", 1)],
        [place("a", 1, LAMP=2), place("b", 1, LAMP=1, MUG=5)],
        allow_split=True,
    )

    assert refused == (
        Missing(3, "LAMP", wanted=2, missing=1, available=3),
        Missing(4, "SOFA", wanted=1, missing=1, available=0),
    )


def test_what_is_there_is_served_and_the_rest_is_told() -> None:
    found = plan_what_is_there(
        [Demand(1, "LAMP", 2), Demand(2, "LAMP", 2)], [place("a", 1, LAMP=3)], allow_split=True
    )

    assert found.plan.picks == (Pick(1, "a", 2, "LAMP"), Pick(2, "a", 1, "LAMP"))
    assert found.left == (Missing(2, "LAMP", wanted=2, missing=1, available=3),)


def test_who_turned_a_line_down_is_not_asked_for_that_article_again() -> None:
    again = Demand(1, "LAMP", 1, not_from=frozenset({"near"}))
    candidates = [place("near", 1, LAMP=9, MUG=9), place("far", 9, LAMP=9)]

    plan = plan_sourcing([again, Demand(2, "MUG", 1)], candidates, allow_split=True)

    assert plan == Plan((Pick(1, "far", 1, "LAMP"), Pick(2, "near", 1, "MUG")))


def test_without_any_place_everything_is_missing() -> None:
    assert plan_sourcing([Demand(1, "LAMP", 2)], [], allow_split=True) == (
        Missing(1, "LAMP", wanted=2, missing=2, available=0),
    )
    assert plan_sourcing([], [], allow_split=True) == Plan(())


@given(demands=DEMANDS, candidates=CANDIDATES, allow_split=st.booleans())
def test_a_plan_serves_what_was_ordered_from_what_there_is(
    demands: list[Demand], candidates: list[Candidate], allow_split: bool
) -> None:
    plan = plan_sourcing(demands, candidates, allow_split=allow_split)

    if isinstance(plan, Plan):
        assert served(plan.picks) == {demand.line: demand.quantity for demand in demands}
        shelves = {candidate.location: candidate.available for candidate in candidates}
        for (location, sku), units in given_by(plan.picks).items():
            assert 0 < units <= shelves[location][sku]
        if not allow_split:
            assert len({pick.location for pick in plan.picks}) == 1


@given(demands=DEMANDS, candidates=CANDIDATES, allow_split=st.booleans())
def test_the_plan_is_the_best_there_is(
    demands: list[Demand], candidates: list[Candidate], allow_split: bool
) -> None:
    best = min(every_cover(demands, candidates, allow_split), default=None)

    plan = plan_sourcing(demands, candidates, allow_split=allow_split)

    if best is None:
        assert isinstance(plan, tuple)
    else:
        assert isinstance(plan, Plan)
        assert plan.exact
        metres = {
            c.location: 40_075_000 if c.distance_km is None else c.distance_km * 1000
            for c in candidates
        }
        chosen = {pick.location for pick in plan.picks}
        assert (len(chosen), sum(metres[location] for location in chosen)) == best[:2]
        if len(chosen) == 1:
            assert chosen == set(best[2])


def every_cover(
    demands: list[Demand], candidates: list[Candidate], allow_split: bool
) -> Iterator[tuple[int, float, tuple[str, ...]]]:
    """Every set of places that could serve all, as (parcels, metres, names nearest first)."""
    wanted: Counter[str] = Counter()
    for demand in demands:
        wanted[demand.sku] += demand.quantity

    def metres(candidate: Candidate) -> float:
        return 40_075_000 if candidate.distance_km is None else candidate.distance_km * 1000

    nearest = sorted(candidates, key=lambda c: (metres(c), c.location))
    for size in range(1, (len(nearest) if allow_split else 1) + 1):
        for chosen in itertools.combinations(nearest, size):
            if all(sum(c.available.get(s, 0) for c in chosen) >= n for s, n in wanted.items()):
                names = tuple(c.location for c in chosen)
                yield size, sum(map(metres, chosen)), names


@given(demands=DEMANDS, candidates=CANDIDATES, allow_split=st.booleans(), drawn=st.randoms())
def test_the_order_of_lines_and_places_does_not_matter(
    demands: list[Demand], candidates: list[Candidate], allow_split: bool, drawn: random.Random
) -> None:
    plan = plan_what_is_there(demands, candidates, allow_split=allow_split)

    drawn.shuffle(demands)
    drawn.shuffle(candidates)

    assert plan_what_is_there(demands, candidates, allow_split=allow_split) == plan


@given(demands=DEMANDS, candidates=CANDIDATES, allow_split=st.booleans())
def test_what_is_served_and_what_is_left_are_what_was_ordered(
    demands: list[Demand], candidates: list[Candidate], allow_split: bool
) -> None:
    found = plan_what_is_there(demands, candidates, allow_split=allow_split)

    units = Counter(served(found.plan.picks)) + Counter(
        {left.line: left.missing for left in found.left}
    )
    assert dict(units) == {demand.line: demand.quantity for demand in demands}
    if allow_split:
        for left in found.left:
            there = sum(c.available.get(left.sku, 0) for c in candidates)
            assert there == left.available < sum(d.quantity for d in demands if d.sku == left.sku)


@pytest.mark.parametrize("units", [1, 40])
def test_the_largest_order_over_all_places_is_planned_whole(units: int) -> None:
    drawn = random.Random(units)
    demands = [Demand(n, f"SKU-{n}", drawn.randint(1, units)) for n in range(500)]
    candidates = [
        Candidate(
            f"place-{n}",
            drawn.uniform(1, 5000),
            {f"SKU-{k}": drawn.randint(1, 3) for k in drawn.sample(range(500), 300)},
        )
        for n in range(160)
    ]

    plan = plan_sourcing(demands, candidates, allow_split=True)

    assert isinstance(plan, Plan)
    drawn.shuffle(demands)
    drawn.shuffle(candidates)
    assert plan_sourcing(demands, candidates, allow_split=True) == plan


def test_paris_is_as_far_from_lyon_as_the_map_says() -> None:
    assert round(distance_km(PARIS, Point(45.764, 4.8357))) == 391
    assert distance_km(PARIS, PARIS) == 0
