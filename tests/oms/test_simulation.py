"""A simulation decides past orders again, sells no unit twice, and loses none."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.comparison import Column, Comparison, compare
from oms.locations import Location, Locations
from oms.past import Arrival, Channel, Event, GivenBack, PastOrder, Serving, World
from oms.router import Router
from oms.rules import DEFAULT, RuleSet
from oms.simulation import Outcome, Replay, as_it_was, replay
from oms.sourcing import Ask, Demand, Pick

PARIS, LYON, LILLE = (48.86, 2.35), (45.76, 4.84), (50.63, 3.06)
PLACES = Locations(
    [
        Location("wh-paris", "Paris", "warehouse", "FR", frozenset(), *PARIS, 90),
        Location("store-lyon", "Lyon", "store", "FR", frozenset({"south"}), *LYON, 180),
        Location("store-lille", "Lille", "store", "FR", frozenset(), *LILLE, 180, None, 2),
    ]
)
STORE = Serving(methods=frozenset({"home", "store_pickup"}), time_zone="Europe/Paris")
SERVING = {"wh-paris": Serving(), "store-lyon": STORE, "store-lille": STORE}
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
COSTS = [{"parcel_minor": 300, "parcel_km_minor": "0.5"}]


def rules(*rules: dict[str, Any], **changes: Any) -> RuleSet:
    named = [{"name": f"rule {i}"} | rule for i, rule in enumerate(rules)]
    document = {"name": "Test", "currency": "EUR", "costs": COSTS, "rules": named} | changes
    return RuleSet.model_validate(document)


NEAREST = rules({"name": "Nearest", "objective": {"parcel_km_minor": "1"}}, name="Nearest")
WAREHOUSE = rules({"name": "Warehouse", "from": {"kinds": ["warehouse"]}}, name="Warehouse")


def world(stock: Mapping[str, Mapping[str, int]], **more: Any) -> World:
    rows = {
        sku: np.array([units.get(id, 0) for id in PLACES.ids], dtype=np.int64)
        for sku, units in stock.items()
    }
    return World(PLACES, SERVING, rows, **more)


def order(id: str, *lines: tuple[str, int], hours: float = 0, **more: Any) -> PastOrder:
    ask: dict[str, Any] = {"channel": "web", "country": "FR", "point": LYON, "currency": "EUR"}
    ask |= more.pop("ask", {})
    return PastOrder(
        id=id,
        at=NOON + timedelta(hours=hours),
        ask=Ask(**ask),
        demands=tuple(Demand(n, sku, units) for n, (sku, units) in enumerate(lines, start=1)),
        **more,
    )


def play(
    world: World, events: Iterable[Event], *sets: RuleSet, **more: Any
) -> tuple[list[PastOrder], list[Replay]]:
    routers = [Router(PLACES, each) for each in sets]
    replays = [Replay(world, router, routers[0], **more) for router in routers]
    return list(replay(world, events, replays)), replays


def compared(world: World, events: Iterable[Event], *sets: RuleSet, **more: Any) -> Comparison:
    orders, replays = play(world, events, *sets, **more)
    columns = [
        Column(r.router.rules.name, "test", r.outcomes, own="EUR", common="EUR") for r in replays
    ]
    return compare(orders, columns, world, sets[0].name)


def picks(outcome: Outcome) -> list[tuple[str, int]]:
    return [(pick.location, pick.quantity) for pick in outcome.picks]


def test_each_order_finds_what_those_before_it_left() -> None:
    shelves = world({"LAMP": {"store-lyon": 3, "wh-paris": 5}})

    _, (nearest,) = play(shelves, [order("a", ("LAMP", 2)), order("b", ("LAMP", 6))], NEAREST)

    assert picks(nearest.outcomes["a"]) == [("store-lyon", 2)]
    assert picks(nearest.outcomes["b"]) == [("store-lyon", 1), ("wh-paris", 5)]
    assert nearest.left("LAMP").tolist() == [0, 0, 0]
    assert shelves.stock["LAMP"].tolist() == [0, 3, 5]


def test_an_order_that_cannot_be_served_whole_is_refused_and_takes_nothing() -> None:
    shelves = world({"LAMP": {"store-lyon": 3}, "MUG": {"wh-paris": 9}})

    events = [order("a", ("LAMP", 4), ("MUG", 1)), order("b", ("LAMP", 3))]
    found = compared(shelves, events, NEAREST).measured[0]

    assert (found.refused, found.refused_units) == (1, 5)
    assert (found.unfillable_lines, found.unfillable_units) == (1, 1)
    assert (found.served_orders, found.served_units) == (1, 3)


def test_what_is_there_of_it_can_be_served_for_the_asking() -> None:
    shelves = world({"LAMP": {"store-lyon": 3}})

    events = [order("a", ("LAMP", 4)), order("b", ("LAMP", 1))]
    found = compared(shelves, events, NEAREST, partial=True).measured[0]

    assert (found.served_units, found.refused, found.unfillable_units) == (3, 1, 2)


def test_who_may_wait_is_served_first_when_goods_come() -> None:
    shelves = world({"LAMP": {"wh-paris": 1}})
    events: list[Event] = [
        order("patient", ("LAMP", 3), allow_backorder=True),
        order("hasty", ("LAMP", 1), hours=1),
        Arrival(NOON + timedelta(hours=2), "LAMP", "store-lyon", 3),
        order("late", ("LAMP", 1), hours=3),
    ]

    _, (nearest,) = play(shelves, events, NEAREST)

    assert picks(nearest.outcomes["patient"]) == [("store-lyon", 2), ("wh-paris", 1)]
    assert nearest.outcomes["hasty"].refused
    assert picks(nearest.outcomes["late"]) == [("store-lyon", 1)]


def test_an_order_that_must_not_be_split_waits_for_all_of_the_rest_at_its_place() -> None:
    shelves = world({"LAMP": {"wh-paris": 1}})
    ask = {"allow_split": False}
    events: list[Event] = [
        order("whole", ("LAMP", 3), allow_backorder=True, ask=ask),
        Arrival(NOON, "LAMP", "store-lyon", 9),
        Arrival(NOON, "LAMP", "wh-paris", 1),
        Arrival(NOON, "LAMP", "wh-paris", 1),
    ]

    _, (nearest,) = play(shelves, events, NEAREST)

    whole = nearest.outcomes["whole"]
    assert {pick.location for pick in whole.picks} == {"wh-paris"}
    assert (whole.waiting, len(whole.sendings)) == (0, 2)


def test_a_rule_that_cancels_what_is_left_lets_nobody_wait() -> None:
    cancels = rules({"from": {"kinds": ["warehouse"]}, "left": "cancel"})
    events = [order("a", ("LAMP", 3), allow_backorder=True)]

    _, (found,) = play(world({"LAMP": {"store-lyon": 9}}), events, cancels)

    assert found.outcomes["a"].refused


def test_cancelled_units_go_back_where_they_were_taken() -> None:
    shelves = world({"LAMP": {"store-lyon": 2, "wh-paris": 2}})
    events: list[Event] = [
        order("a", ("LAMP", 4)),
        GivenBack(NOON, "a", {1: 1}),
        order("b", ("LAMP", 1), hours=1),
    ]

    _, (nearest, warehouse) = play(shelves, events, NEAREST, rules({}, name="All"))

    for each in (nearest, warehouse):
        assert picks(each.outcomes["b"]) == [("wh-paris", 1)]
        assert sum(each.left("LAMP")) == 0


def test_goods_that_were_lost_are_not_sold() -> None:
    events: list[Event] = [
        Arrival(NOON, "LAMP", "store-lyon", -3),
        order("a", ("LAMP", 1), hours=1),
    ]

    _, (nearest,) = play(world({"LAMP": {"store-lyon": 2}}), events, NEAREST)

    assert nearest.outcomes["a"].refused
    assert nearest.left("LAMP").tolist() == [0, 0, 0]


def test_only_places_that_may_serve_the_order_are_asked() -> None:
    stock = {"LAMP": dict.fromkeys(PLACES.ids, 5)}
    shelves = world(
        stock,
        channels={"outlet": Channel(frozenset({"store"}), {"store": 2})},
        blocked={"LAMP": np.array([id == "store-lyon" for id in PLACES.ids])},
    )
    at_lille = {"method": "store_pickup", "point": LILLE}
    events: list[Event] = [
        order("home", ("LAMP", 1)),
        order("pickup", ("LAMP", 1), ask=at_lille, pickup="store-lille"),
        order("elsewhere", ("LAMP", 1), ask=at_lille, pickup="store-lyon"),
        order("outlet", ("LAMP", 2), ask={"channel": "outlet"}),
        order("outlet again", ("LAMP", 1), ask={"channel": "outlet"}),
    ]

    _, (nearest,) = play(shelves, events, NEAREST)

    served = {id: picks(outcome) for id, outcome in nearest.outcomes.items()}
    assert served == {
        "home": [("wh-paris", 1)],
        "pickup": [("store-lille", 1)],
        "elsewhere": [],
        "outlet": [("store-lille", 2)],
        "outlet again": [],
    }


def test_nothing_is_sold_before_its_day() -> None:
    shelves = world({"LAMP": {"wh-paris": 5}}, on_sale_from={"LAMP": NOON + timedelta(hours=1)})
    events = [order("early", ("LAMP", 1)), order("then", ("LAMP", 1), hours=1)]

    _, (nearest,) = play(shelves, events, NEAREST)

    assert [each.refused for each in nearest.outcomes.values()] == [True, False]


def test_a_places_capacity_counts_its_own_day() -> None:
    spared = rules({"from": {"has_capacity": True}, "objective": {"parcel_km_minor": "1"}})
    shelves = world({"LAMP": {"store-lille": 9, "wh-paris": 9}})
    lille = {"point": LILLE}
    events: list[Event] = [
        order(str(hours), ("LAMP", 1), hours=hours, ask=lille) for hours in (0, 1, 2, 10.9, 11)
    ]

    _, (found,) = play(shelves, events, spared)

    served = [picks(each)[0][0] for each in found.outcomes.values()]
    assert served == ["store-lille", "store-lille", "wh-paris", "wh-paris", "store-lille"]


def test_costs_are_compared_in_one_measure() -> None:
    dear = rules(
        {"name": "Warehouse", "from": {"kinds": ["warehouse"]}},
        costs=[{"parcel_minor": 1000}],
        name="Dear",
    )
    shelves = world({"LAMP": {"store-lyon": 5, "wh-paris": 5}})

    found = compared(shelves, [order("a", ("LAMP", 1))], NEAREST, dear)

    near, far = found.measured
    assert (near.costs.shipping_minor, near.costs.handling_minor) == (300, 180)
    assert near.costs == near.own_costs
    assert far.mean_km == 392.5
    assert far.costs.shipping_minor == 300 + 196
    assert (far.own_costs.shipping_minor, far.own_costs.handling_minor) == (1000, 90)
    assert [(each.mean_days, each.p95_days) for each in found.measured] == [(1, 1), (2, 2)]
    assert [each.by_rule for each in found.measured] == [{"Nearest": 1}, {"Warehouse": 1}]
    assert [each.by_kind[0].name for each in found.measured] == ["store", "warehouse"]
    assert near.by_group[0].name == "south"


def test_parcels_without_a_price_are_counted() -> None:
    found = compared(world({"LAMP": {"wh-paris": 5}}), [order("a", ("LAMP", 1))], DEFAULT)

    assert found.measured[0].costs.unpriced_parcels == 1


def test_the_orders_that_change_are_named_with_what_was_and_would_be() -> None:
    shelves = world({"LAMP": {"store-lyon": 1, "wh-paris": 5}})
    events = [order("a", ("LAMP", 1)), order("b", ("LAMP", 1))]

    found = compared(shelves, events, NEAREST, WAREHOUSE)

    assert [change.order for change in found.changed] == ["a"]
    assert [each.picks for each in found.changed[0].outcomes] == [
        (("LAMP", "store-lyon", 1),),
        (("LAMP", "wh-paris", 1),),
    ]


def test_what_was_decided_then_is_measured_alike() -> None:
    past = order("a", ("LAMP", 2), was=(Pick(1, "wh-paris", 2, "LAMP"),))
    refused = order("b", ("LAMP", 2), was=(), was_refused=True)
    waits = order("c", ("LAMP", 2), was=(Pick(1, "wh-paris", 1, "LAMP"),), allow_backorder=True)
    common = Router(PLACES, NEAREST)

    was = {each.id: as_it_was(world({}), each, common) for each in (past, refused, waits)}

    assert was["a"].sendings[0].common.total == 586_228
    assert was["b"].refused
    assert (was["c"].waiting, was["c"].missing) == (1, {1: 1})


# --- whatever happens -----------------------------------------------------------------------

SKUS = ("LAMP", "MUG", "TABLE")
units = st.integers(0, 6)
shelf = st.fixed_dictionaries({id: units for id in PLACES.ids})
stocks = st.fixed_dictionaries({sku: shelf for sku in SKUS})
lines = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 5)), min_size=1, max_size=3)
flags = st.booleans()
sets = st.sampled_from([NEAREST, WAREHOUSE, DEFAULT, rules({"split": {"lines": "whole"}})])


@st.composite
def happenings(draw: st.DrawFn) -> list[Event]:
    found: list[Event] = []
    for hours in range(draw(st.integers(1, 8))):
        at = NOON + timedelta(hours=hours)
        what = draw(st.sampled_from(["order", "order", "order", "arrival", "cancel"]))
        if what == "arrival":
            place = draw(st.sampled_from(PLACES.ids))
            found.append(Arrival(at, draw(st.sampled_from(SKUS)), place, draw(st.integers(-3, 6))))
        elif what == "order":
            ask = {"allow_split": draw(flags)}
            waits = draw(flags)
            found.append(
                order(str(hours), *draw(lines), hours=hours, allow_backorder=waits, ask=ask)
            )
        elif orders := [each for each in found if isinstance(each, PastOrder)]:
            chosen = draw(st.sampled_from(orders))
            found.append(GivenBack(at, chosen.id, {1: draw(st.integers(1, 5))}))
    return found


@settings(max_examples=150)
@given(stock=stocks, events=happenings(), rule_set=sets, partial=flags)
def test_no_unit_is_sold_twice_and_none_is_lost(
    stock: dict[str, dict[str, int]], events: list[Event], rule_set: RuleSet, partial: bool
) -> None:
    shelves = world(stock)

    orders, (found,) = play(shelves, events, rule_set, partial=partial)

    came = {each for each in events if isinstance(each, Arrival)}
    gone = {each.sku for each in came if each.units < 0}
    back = any(isinstance(each, GivenBack) for each in events)
    for each in orders:
        outcome = found.outcomes[each.id]
        sent = sum(pick.quantity for pick in outcome.picks)
        unserved = each.units if outcome.refused else sum(outcome.missing.values())
        assert sent + unserved >= each.units
        assert sent + unserved == each.units or (outcome.sendings and each.allow_backorder)
        assert len({pick.location for pick in outcome.picks}) <= 1 or each.ask.allow_split
    for sku in SKUS:
        assert found.left(sku).min() >= 0
        if sku not in gone and not back:
            there = sum(stock[sku].values()) + sum(e.units for e in came if e.sku == sku)
            sold = sum(
                pick.quantity
                for outcome in found.outcomes.values()
                for pick in outcome.picks
                if pick.sku == sku
            )
            assert found.left(sku).sum() == there - sold


@settings(max_examples=40)
@given(stock=stocks, events=happenings(), rule_set=sets)
def test_two_equal_rule_sets_change_no_order_and_the_same_input_gives_the_same_report(
    stock: dict[str, dict[str, int]], events: list[Event], rule_set: RuleSet
) -> None:
    other = rule_set.model_copy()

    first = compared(world(stock), events, rule_set, other)
    again = compared(world(stock), events, rule_set, other)

    assert first == again
    assert not first.changed
    assert first.measured[0] == first.measured[1]


def test_counts_add_up() -> None:
    shelves = world({"LAMP": {"store-lyon": 3, "wh-paris": 2}, "MUG": {"wh-paris": 1}})
    events: list[Event] = [
        order("a", ("LAMP", 4), ("MUG", 1)),
        order("b", ("LAMP", 2), allow_backorder=True),
        order("c", ("MUG", 2)),
    ]

    for found in compared(shelves, events, NEAREST, DEFAULT).measured:
        assert found.served_units + found.refused_units + found.waiting_units == found.units == 9
        assert sum(each.units for each in found.by_location) == found.served_units
        assert Counter(each.parcels > 0 for each in found.by_location)[False] == 0
        assert (found.split_orders, found.divided_lines) == (1, 1)
