from collections.abc import Mapping
from typing import Any

import numpy as np

from oms.locations import Location, Locations
from oms.reasons import words
from oms.router import Router
from oms.rules import RuleSet
from oms.sourcing import Ask, Decision, Demand, Levels, Pick, Shelves

PARIS, LYON, LILLE, BERLIN = (48.86, 2.35), (45.76, 4.84), (50.63, 3.06), (52.52, 13.40)
NEAR_LYON = (45.70, 4.80)
PLACES = Locations(
    [
        Location("wh-paris", "Warehouse Paris", "warehouse", "FR", frozenset({"fr"}), *PARIS, 90),
        Location("store-lyon", "Lyon", "store", "FR", frozenset({"fr"}), *LYON, 180),
        Location("store-lille", "Lille", "store", "FR", frozenset({"fr", "no-wine"}), *LILLE, 180),
        Location(
            "sup-berlin", "Supplier Berlin", "supplier", "DE", frozenset(), *BERLIN, 60, "EUR"
        ),
    ]
)
NEAREST: dict[str, Any] = {"name": "Nearest", "objective": {"parcel_km_minor": "1"}}
ASK = Ask("web-fr", "home", "FR", "standard", "EUR", 5000, NEAR_LYON)


def shelves(stock: Mapping[str, Mapping[str, int]], **more: Any) -> Shelves:
    skus = tuple(sorted({sku for units in stock.values() for sku in units}))
    available = np.array(
        [[stock.get(id, {}).get(sku, 0) for sku in skus] for id in PLACES.ids], dtype=np.int64
    )
    shut = np.zeros(len(PLACES), dtype="<U17")
    return Shelves(PLACES, skus, available, shut, np.zeros(len(PLACES), dtype=np.int64), **more)


def decide(
    rules: list[dict[str, Any]],
    stock: Mapping[str, Mapping[str, int]],
    *demands: Demand,
    ask: Ask = ASK,
    sets: Mapping[str, Any] | None = None,
    **more: Any,
) -> Decision:
    document = {"name": "Test", "currency": "EUR", "rules": rules} | dict(sets or {})
    router = Router(PLACES, RuleSet.model_validate(document), id="test", version=3)
    return router.plan(ask, demands, shelves(stock, **more))


def places(decision: Decision) -> list[tuple[str, int]]:
    return [(pick.location, pick.quantity) for pick in decision.plan.picks]


EVERYWHERE = {id: {"LAMP": 5, "MUG": 5} for id in PLACES.ids}


def test_the_nearest_place_serves() -> None:
    decision = decide([NEAREST], EVERYWHERE, Demand(1, "LAMP", 2))

    assert places(decision) == [("store-lyon", 2)]
    assert decision.plan.exact


def test_a_warehouse_comes_first_for_articles_in_high_demand_and_a_store_for_others() -> None:
    rules = [
        {"name": "Hot", "lines": {"tags": ["hot"]}, "from": {"kinds": ["warehouse"]}},
        NEAREST,
    ]
    hot = Demand(1, "LAMP", 7, tags=frozenset({"hot"}))

    decision = decide(rules, EVERYWHERE, hot, Demand(2, "MUG", 1))

    assert decision.plan.picks == (
        Pick(1, "store-lyon", 2, "LAMP"),
        Pick(1, "wh-paris", 5, "LAMP"),
        Pick(2, "store-lyon", 1, "MUG"),
    )
    assert decision.by == {"Hot": 5, "Nearest": 3}


def test_a_place_that_sends_anyway_costs_no_second_parcel() -> None:
    rules = [
        {"name": "Lamps", "lines": {"skus": ["LAMP"]}, "from": {"kinds": ["warehouse"]}},
        {"name": "Rest", "objective": {"parcel_minor": 500, "unit_km_minor": "0.01"}},
    ]

    decision = decide(rules, EVERYWHERE, Demand(1, "LAMP", 1), Demand(2, "MUG", 1))

    assert places(decision) == [("wh-paris", 1), ("wh-paris", 1)]


def test_a_category_is_kept_from_certain_stores_whatever_the_rule() -> None:
    never = [{"why": "no licence", "lines": {"tags": ["wine"]}, "from": {"groups": ["no-wine"]}}]
    lille = Ask("web-fr", "home", "FR", None, "EUR", 5000, LILLE)

    decision = decide(
        [NEAREST],
        EVERYWHERE,
        Demand(1, "LAMP", 1, tags=frozenset({"wine"})),
        ask=lille,
        sets={"never": never},
    )

    assert places(decision) == [("wh-paris", 1)]
    assert decision.record is not None
    assert "Lille was left out: no licence." in words(decision.record)


def test_what_is_kept_for_better_customers_is_not_given_to_others() -> None:
    rules = [
        {**NEAREST, "name": "Gold", "when": {"segments": ["gold"]}},
        {**NEAREST, "keep": 4},
    ]
    gold = Ask("web-fr", "home", "FR", "gold", "EUR", 5000, NEAR_LYON)

    assert places(decide(rules, EVERYWHERE, Demand(1, "LAMP", 3), ask=gold)) == [("store-lyon", 3)]
    assert len(places(decide(rules, EVERYWHERE, Demand(1, "LAMP", 3)))) == 3


def test_parts_of_a_kit_leave_from_one_place() -> None:
    stock = {
        "store-lyon": {"TABLE": 1, "CHAIR": 1},
        "store-lille": {"TABLE": 1, "CHAIR": 6},
        "wh-paris": {"TABLE": 3, "CHAIR": 2},
    }
    kit = [Demand(1, "TABLE", 2, kit="set"), Demand(2, "CHAIR", 4, kit="set")]

    decision = decide([NEAREST], stock, *kit)

    by_place = {
        place: {p.sku: p.quantity for p in decision.plan.picks if p.location == place}
        for place in {p.location for p in decision.plan.picks}
    }
    assert not decision.left
    assert by_place == {
        "wh-paris": {"TABLE": 1, "CHAIR": 2},
        "store-lille": {"TABLE": 1, "CHAIR": 2},
    }


def test_all_of_a_rules_lines_or_none_are_served_where_it_says_so() -> None:
    rules = [{"name": "One store", "from": {"kinds": ["store"]}, "complete": True}, NEAREST]
    stock = {"store-lyon": {"LAMP": 1}, "wh-paris": {"LAMP": 9}}

    decision = decide(rules, stock, Demand(1, "LAMP", 4))
    whole = decide([{**NEAREST, "split": {"most_places": 1}}], stock, Demand(1, "LAMP", 4))

    near = decide([NEAREST], {**stock, "wh-paris": {"LAMP": 3}}, Demand(1, "LAMP", 4))
    assert places(near) == [("store-lyon", 1), ("wh-paris", 3)]
    assert places(decision) == [("wh-paris", 4)]
    assert decision.record is not None
    assert [stage.undone for stage in decision.record.stages] == [True, False]
    assert decision.by == {"Nearest": 4}
    assert places(whole) == [("wh-paris", 4)]


def test_what_a_rule_serves_whole_or_not_at_all_is_left_as_it_says() -> None:
    whole = {"name": "One store", "from": {"kinds": ["store"]}, "complete": True, "left": "cancel"}

    decision = decide([whole], {"store-lyon": {"LAMP": 1}}, Demand(1, "LAMP", 4))
    enough = decide([whole], {"store-lyon": {"LAMP": 4}}, Demand(1, "LAMP", 4))

    assert (places(decision), decision.then) == ([], {1: "cancel"})
    assert (places(enough), enough.then) == ([("store-lyon", 4)], {})


def test_what_is_left_is_told_with_what_the_rule_says_of_it() -> None:
    rules = [{**NEAREST, "left": "cancel"}]

    decision = decide(rules, {"store-lyon": {"LAMP": 1}}, Demand(1, "LAMP", 4))

    assert [each.missing for each in decision.left] == [3]
    assert decision.then == {1: "cancel"}


def test_a_place_that_has_only_its_safety_stock_is_left_out_and_says_so() -> None:
    zero = np.zeros((len(PLACES), 1), dtype=np.int64)
    on_hand = np.where(np.array([[id == "store-lyon"] for id in PLACES.ids]), 2, zero)
    levels = Levels(on_hand, zero, on_hand, zero > 0)

    decision = decide([NEAREST], {"wh-paris": {"LAMP": 5}}, Demand(1, "LAMP", 1), levels=levels)

    assert decision.record is not None
    told = words(decision.record)
    assert "Lyon was left out: safety stock 2 of 2 (LAMP)." in told


def test_an_unsplit_order_goes_by_the_first_rule_by_which_one_place_serves_all() -> None:
    rules = [{**NEAREST, "name": "Stores", "from": {"kinds": ["store"]}}, NEAREST]
    stock = {"store-lyon": {"LAMP": 3}, "wh-paris": {"LAMP": 9}, "store-lille": {"LAMP": 2}}
    alone = Ask("web-fr", "home", "FR", None, "EUR", 5000, NEAR_LYON, allow_split=False)

    assert places(decide(rules, stock, Demand(1, "LAMP", 4), ask=alone)) == [("wh-paris", 4)]
    assert places(decide(rules, stock, Demand(1, "LAMP", 2), ask=alone)) == [("store-lyon", 2)]
