"""Who gets what arrived: by the policy, no more than there is, and nobody passed over for ever."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from oms.backorders import (
    BackorderPolicy,
    Buyer,
    Decision,
    Kind,
    Lying,
    Serves,
    Waiting,
    WaitingLine,
    blocked_by,
    decide,
    in_order,
    place_of,
)
from oms.locations import Location, Locations
from oms.router import Router
from tests.oms.orders import NOW

WEB, MARKET = Buyer("web", "home", None), Buyer("market", "home", None)
OLDEST = BackorderPolicy()


def waits(order: str, days: float, units: int | Mapping[str, int] = 1, **more: object) -> Waiting:
    wanted = {"LAMP": units} if isinstance(units, int) else units
    lines = tuple(WaitingLine(n, sku, count) for n, (sku, count) in enumerate(wanted.items(), 1))
    given: dict[str, object] = {"buyer": WEB} | more
    return Waiting(order=order, since=NOW - timedelta(days=days), lines=lines, **given)  # type: ignore[arg-type]


class Shelf(NamedTuple):
    """What lies at a place; `buffer`: units of each article that the buyer's channel leaves."""

    location: str
    units: Mapping[str, int]
    buffer: int = 0


def lies(units: int | Mapping[str, int], location: str = "lyon", *, buffer: int = 0) -> Shelf:
    held = {"LAMP": units} if isinstance(units, int) else units
    return Shelf(location, held, buffer=buffer)


def lying(serving: Mapping[Buyer, Sequence[Shelf]]) -> tuple[Router, Lying]:
    """What the places of each buyer hold, over all of them."""
    places = {shelf.location: shelf for shelves in serving.values() for shelf in shelves}
    router = Router(Locations(Location(id) for id in places))
    skus = tuple(sorted({sku for shelf in places.values() for sku in shelf.units}))
    ids = router.locations.ids
    units = np.array([[places[id].units.get(sku, 0) for sku in skus] for id in ids], dtype=np.int64)
    serves = {}
    for buyer, shelves in serving.items():
        buffers = {shelf.location: shelf.buffer for shelf in shelves}
        shut = np.array(["" if id in buffers else "channel" for id in ids], dtype="<U17")
        buffer = np.array([buffers.get(id, 0) for id in ids], dtype=np.int64)
        serves[buyer] = Serves(shut, buffer)
    return router, Lying(skus, units.reshape(len(ids), len(skus)), serves)


def decided(
    policy: BackorderPolicy, queue: list[Waiting], *shelves: Shelf, market: Shelf | None = None
) -> Decision:
    router, there = lying({WEB: shelves, MARKET: (market,) if market else ()})
    return decide(policy, queue, there, NOW, router)


def given_to(decision: Decision) -> dict[str, int]:
    return {r.order: sum(pick.quantity for pick in r.picks) for r in decision.releases}


def reason(decision: Decision, order: str) -> str:
    return next(each.reason for each in decision.verdicts if each.waiting.order == order)


# --- three policies, one queue --------------------------------------------------------------

QUEUE = [
    waits("big", 9, 3),
    waits("gold", 2, 1, segment="gold"),
    waits("small", 5, 2),
    waits("silver", 1, 2, segment="silver"),
]


def test_the_oldest_is_served_first_with_what_is_there() -> None:
    assert given_to(decided(OLDEST, QUEUE, lies(2))) == {"big": 2}
    assert given_to(decided(OLDEST, QUEUE, lies(4))) == {"big": 3, "small": 1}


def test_named_segments_come_first_in_their_order_then_the_oldest() -> None:
    policy = BackorderPolicy(policy="priority", segments=("gold", "silver"))

    decision = decided(policy, QUEUE, lies(4))

    assert given_to(decision) == {"gold": 1, "silver": 2, "big": 1}
    assert "segment gold, waiting since" in reason(decision, "gold")


def test_complete_orders_leave_nothing_half_on_the_shelf() -> None:
    policy = BackorderPolicy(policy="ship_complete", patience_days=30)

    decision = decided(policy, QUEUE, lies(2))

    assert given_to(decision) == {"small": 2}
    assert reason(decision, "big") == "not all of its units are there, and it is served complete"


def test_who_waits_to_be_complete_for_too_long_gets_what_is_there() -> None:
    policy = BackorderPolicy(policy="ship_complete", patience_days=9)

    decision = decided(policy, QUEUE, lies(2))

    assert given_to(decision) == {"big": 2}
    assert reason(decision, "big").startswith("in part, after 9 days: waiting since")


def test_an_order_is_complete_when_all_its_articles_are_there() -> None:
    policy = BackorderPolicy(policy="ship_complete")
    queue = [waits("both", 9, {"LAMP": 1, "VASE": 1}), waits("lamp", 1)]

    one = decided(policy, queue, lies({"LAMP": 1}))
    both = decided(policy, queue, lies({"LAMP": 1}), lies({"VASE": 1}, "nice"))

    assert given_to(one) == {"lamp": 1}
    assert given_to(both) == {"both": 2}


# --- who may not go on ----------------------------------------------------------------------


def test_who_may_not_go_on_is_passed_over_with_the_reason_and_keeps_the_place() -> None:
    queue = [waits("held", 9, 2, blocked="on hold (fraud)"), waits("next", 5, 2)]

    decision = decided(OLDEST, queue, lies(2))

    (release,) = decision.releases
    standing = release.standings["LAMP"]
    assert (release.order, standing.place, standing.waiting) == ("next", 2, 2)
    assert standing.passed == (("held", 1, "on hold (fraud)"),)
    assert reason(decision, "held") == "on hold (fraud)"
    assert place_of("held", "LAMP", in_order(OLDEST, queue)) == (1, 2)


def test_the_reason_names_every_hold_and_the_restore_before_all() -> None:
    assert blocked_by(confirmed=True, holds=[]) is None
    assert blocked_by(confirmed=False, holds=[]) == "not confirmed yet"
    assert blocked_by(confirmed=True, holds=["fraud", "customer_request"]) == (
        "on hold (customer request, fraud)"
    )
    assert "in doubt" in str(blocked_by(confirmed=True, holds=["fraud", "reconciliation"]))


def test_the_record_says_who_came_next_and_since_when() -> None:
    decision = decided(OLDEST, QUEUE, lies(3))

    (release,) = decision.releases
    standing = release.standings["LAMP"]
    assert release.reason == "oldest first: waiting since 2026-11-13 09:00 UTC"
    assert (standing.place, standing.waiting, standing.passed) == (1, 4, ())
    assert standing.behind == (("small", 2, "waiting since 2026-11-17 09:00 UTC"),)


# --- where from -----------------------------------------------------------------------------


def test_a_place_that_turned_a_line_down_gives_it_nothing() -> None:
    line = WaitingLine(1, "LAMP", 2, frozenset({"lyon"}))
    queue = [Waiting("o", NOW, (line,), WEB)]

    assert given_to(decided(OLDEST, queue, lies(9))) == {}
    assert given_to(decided(OLDEST, queue, lies(9), lies(1, "nice"))) == {"o": 1}


def test_an_order_that_must_not_be_split_gets_the_rest_from_where_it_is_served() -> None:
    queue = [waits("whole", 1, 2, allow_split=False, only=frozenset({"nice"}))]

    assert given_to(decided(OLDEST, queue, lies(9))) == {}
    assert given_to(decided(OLDEST, queue, lies(9), lies(1, "nice"))) == {"whole": 1}


def test_what_a_channel_leaves_at_a_place_is_left_by_its_queue_and_not_by_others() -> None:
    queue = [waits("market", 9, 3, buyer=MARKET), waits("web", 1, 3)]
    market = lies(4, buffer=2)

    assert given_to(decided(OLDEST, queue, lies(4), market=market)) == {"market": 2, "web": 2}


# --- whatever the queue ---------------------------------------------------------------------

ORDERS = st.lists(
    st.tuples(
        st.integers(0, 20),  # days
        st.dictionaries(st.sampled_from(("LAMP", "VASE")), st.integers(1, 4), min_size=1),
        st.sampled_from((None, "gold", "silver")),
        st.sampled_from((None, None, None, "on hold (fraud)")),
    ),
    max_size=8,
)
SHELVES = st.lists(
    st.dictionaries(st.sampled_from(("LAMP", "VASE")), st.integers(1, 6)), max_size=3
)
POLICIES = st.builds(
    BackorderPolicy,
    policy=st.sampled_from(("oldest_first", "priority", "ship_complete")),
    segments=st.sampled_from(((), ("gold",), ("silver", "gold"))),
    patience_days=st.integers(0, 30),
)


def a_queue(orders: list[tuple[int, dict[str, int], str | None, str | None]]) -> list[Waiting]:
    return [
        waits(f"o{n}", days, units, segment=segment, blocked=blocked)
        for n, (days, units, segment, blocked) in enumerate(orders)
    ]


@given(policy=POLICIES, orders=ORDERS, shelves=SHELVES)
def test_nobody_gets_more_than_they_wait_for_and_no_unit_goes_twice(
    policy: BackorderPolicy,
    orders: list[tuple[int, dict[str, int], str | None, str | None]],
    shelves: list[dict[str, int]],
) -> None:
    queue = a_queue(orders)
    places = [Shelf(f"place-{n}", units) for n, units in enumerate(shelves)]

    decision = decided(policy, queue, *places)

    picks = [pick for release in decision.releases for pick in release.picks]
    gone: Counter[tuple[str, str]] = Counter()
    for pick in picks:
        gone[(pick.location, pick.sku)] += pick.quantity
    there = {(p.location, sku): units for p in places for sku, units in p.units.items()}
    assert all(units <= there[place] for place, units in gone.items())
    wanted = {(w.order, line.line): line.quantity for w in queue for line in w.lines}
    for release in decision.releases:
        got: Counter[int] = Counter()
        for pick in release.picks:
            got[pick.line] += pick.quantity
        assert all(units <= wanted[(release.order, line)] for line, units in got.items())


@given(policy=POLICIES, orders=ORDERS, shelves=SHELVES, seed=st.randoms())
def test_the_order_in_which_the_queue_is_read_changes_nothing(
    policy: BackorderPolicy,
    orders: list[tuple[int, dict[str, int], str | None, str | None]],
    shelves: list[dict[str, int]],
    seed: object,
) -> None:
    queue = a_queue(orders)
    places = [Shelf(f"place-{n}", units) for n, units in enumerate(shelves)]
    shuffled = list(queue)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]

    assert decided(policy, queue, *places) == decided(policy, shuffled, *reversed(places))


@given(policy=POLICIES, orders=ORDERS, shelves=SHELVES, most=st.integers(0, 4))
def test_deciding_only_so_far_decides_the_same(
    policy: BackorderPolicy,
    orders: list[tuple[int, dict[str, int], str | None, str | None]],
    shelves: list[dict[str, int]],
    most: int,
) -> None:
    queue = a_queue(orders)
    router, there = lying({WEB: [Shelf(f"place-{n}", units) for n, units in enumerate(shelves)]})

    some = decide(policy, queue, there, NOW, router, most=most)

    everything = decide(policy, queue, there, NOW, router)
    assert some.releases == everything.releases[:most]


@given(orders=ORDERS, units=st.integers(0, 12), kind=st.sampled_from(("oldest_first", "priority")))
def test_nobody_gets_a_unit_that_somebody_before_could_have_had(
    orders: list[tuple[int, dict[str, int], str | None, str | None]], units: int, kind: Kind
) -> None:
    policy = BackorderPolicy(policy=kind, segments=("gold", "silver"))
    queue = [each for each in a_queue(orders) if each.skus == {"LAMP"}]

    decision = decided(policy, queue, lies(units))

    got = given_to(decision)
    free = [each for each in in_order(policy, queue) if each.blocked is None]
    unsatisfied = False
    for each in free:
        assert not (unsatisfied and got.get(each.order)), "served past one who still waits"
        unsatisfied |= got.get(each.order, 0) < each.lines[0].quantity


@given(orders=ORDERS, arrivals=st.lists(st.integers(1, 3), min_size=1, max_size=40))
def test_whoever_is_oldest_is_served_before_more_have_come_than_they_and_those_before_wait_for(
    orders: list[tuple[int, dict[str, int], str | None, str | None]], arrivals: list[int]
) -> None:
    queue = {each.order: each for each in a_queue(orders) if each.blocked is None}
    queue = {name: each for name, each in queue.items() if each.skus == {"LAMP"}}
    owed = {name: each.lines[0].quantity for name, each in queue.items()}
    ahead, bound = 0, {}
    for each in in_order(OLDEST, queue.values()):
        ahead += owed[each.order]
        bound[each.order] = ahead
    came = 0
    for n, units in enumerate(arrivals):
        came += units
        newcomer = waits(f"late-{n}", -1 - n)
        left = [
            Waiting(name, queue[name].since, (WaitingLine(1, "LAMP", owed[name]),), WEB)
            for name in queue
            if owed[name]
        ]
        for name, given_units in given_to(decided(OLDEST, [*left, newcomer], lies(units))).items():
            if name in owed:
                owed[name] -= given_units
        for name, most in bound.items():
            assert owed[name] == 0 or came < most
