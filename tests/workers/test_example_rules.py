"""Each ready-made rule set is in order, and an order goes where its first line says."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oms.locations import Location, Locations
from oms.reasons import words
from oms.router import Router
from oms.rules import RuleSet
from oms.sourcing import Ask, Decision, Demand, Levels, Shelves
from workers.example_rules import about, names, text
from workers.routing_views import as_file
from workers.rule_files import parse_rules

RENO, DALLAS = (39.53, -119.81), (32.78, -96.80)
BURBANK, FRESNO, TRACY, HAMBURG = (
    (34.18, -118.31),
    (36.74, -119.79),
    (37.74, -121.43),
    (53.54, 9.99),
)
LOS_ANGELES, SALT_LAKE, BERLIN = (34.05, -118.24), (40.76, -111.89), (52.52, 13.40)
PLACES = Locations(
    [
        Location("wh-reno", "Reno", "warehouse", "US", frozenset(), *RENO, 90),
        Location("wh-dallas", "Dallas", "warehouse", "US", frozenset(), *DALLAS, 90),
        Location("burbank", "Burbank", "store", "US", frozenset(), *BURBANK, 180, None, 40),
        Location("fresno", "Fresno", "store", "US", frozenset({"clear-out"}), *FRESNO, 180),
        Location("tracy", "Tracy", "store", "US", frozenset(), *TRACY, 180),
        Location("sup-hamburg", "Hamburg", "supplier", "DE", frozenset(), *HAMBURG, 60),
    ]
)
IN_LA = Ask("web-us", "home", "US", "standard", "USD", 5000, LOS_ANGELES)
IN_SALT_LAKE = Ask("web-us", "home", "US", "standard", "USD", 5000, SALT_LAKE)
IN_BERLIN = Ask("web-us", "home", "DE", "standard", "USD", 5000, BERLIN)
EVERYWHERE = {id: {"LAMP": 5, "MUG": 5} for id in PLACES.ids}


def rule_set(name: str) -> RuleSet:
    read = parse_rules(text(name).encode())
    assert read.content is not None, read.errors
    return read.content


def route(
    name: str,
    *demands: Demand,
    ask: Ask = IN_LA,
    stock: Mapping[str, Mapping[str, int]] = EVERYWHERE,
    **more: Any,
) -> Decision:
    skus = tuple(sorted({sku for units in stock.values() for sku in units}))
    available = np.array(
        [[stock.get(id, {}).get(sku, 0) for sku in skus] for id in PLACES.ids], dtype=np.int64
    )
    shut = np.zeros(len(PLACES), dtype="<U17")
    none = np.zeros_like(available)
    more["levels"] = Levels(available, none, none, none > 0)
    shelves = Shelves(PLACES, skus, available, shut, np.zeros(len(PLACES), dtype=np.int64), **more)
    return Router(PLACES, rule_set(name), id=name, version=1).plan(ask, demands, shelves)


def places(decision: Decision) -> list[tuple[str, int]]:
    return [(pick.location, pick.quantity) for pick in decision.plan.picks]


def why(decision: Decision) -> str:
    assert decision.record is not None
    return "\n".join(words(decision.record))


def lamps(units: int = 1, *tags: str) -> Demand:
    return Demand(1, "LAMP", units, tags=frozenset(tags), weight_g=1000, price_minor=1999)


@pytest.mark.parametrize("name", names())
def test_an_example_is_in_order_says_what_it_is_for_and_survives_being_written_anew(
    name: str,
) -> None:
    written = as_file(rule_set(name).model_dump(mode="json", by_alias=True, exclude_unset=True))

    assert parse_rules(written.encode()).content == rule_set(name)
    assert about(name).endswith(".")


def test_the_nearest_place_serves_whatever_it_costs() -> None:
    decision = route("nearest", lamps())

    assert places(decision) == [("burbank", 1)]
    assert "Next best: fresno" in why(decision)


def test_the_lowest_cost_is_a_cheaper_place_further_away() -> None:
    stock = {"tracy": {"LAMP": 1}, "wh-reno": {"LAMP": 1}}

    # Tracy is 90 km nearer, for 0.11 less; a parcel is packed for 0.90 less in Reno.
    assert places(route("nearest", lamps(), stock=stock)) == [("tracy", 1)]
    decision = route("lowest-cost", lamps(), stock=stock)

    assert places(decision) == [("wh-reno", 1)]
    assert "Tracy could have served it alone, 0." in why(decision)


def test_one_parcel_from_far_is_better_than_two_from_near_by() -> None:
    stock = {"burbank": {"LAMP": 1}, "fresno": {"MUG": 1}, "wh-dallas": {"LAMP": 1, "MUG": 1}}
    both = (lamps(), Demand(2, "MUG", 1))

    assert len({place for place, _ in places(route("nearest", *both, stock=stock))}) == 2
    assert {place for place, _ in places(route("fewest-parcels", *both, stock=stock))} == {
        "wh-dallas"
    }


def test_the_best_margin_is_where_the_goods_were_bought_cheap() -> None:
    cost = np.full((len(PLACES), 2), 900_000, dtype=np.int64)
    cost[PLACES.row_of["wh-dallas"]] = 600_000

    assert places(route("best-margin", lamps(), goods=cost)) == [("wh-dallas", 1)]
    assert places(route("lowest-cost", lamps())) != [("wh-dallas", 1)]


def test_warehouses_serve_what_sells_fast_and_stores_what_they_lack() -> None:
    stock = {"burbank": {"LAMP": 9, "MUG": 9}, "wh-reno": {"LAMP": 2}}

    decision = route("warehouse-first", lamps(3, "in-demand"), Demand(2, "MUG", 1), stock=stock)

    assert places(decision) == [("burbank", 1), ("wh-reno", 2), ("burbank", 1)]
    assert "rule “Warehouses first for what sells fast”: Reno (2)" in why(decision)
    assert places(route("warehouse-first", lamps(3), stock=stock)) == [("burbank", 3)]


def test_a_store_near_by_serves_if_it_has_all_else_whoever_costs_least() -> None:
    stock = {"burbank": {"LAMP": 2}, "wh-reno": {"LAMP": 9}}

    assert places(route("store-near-by", lamps(2), stock=stock)) == [("burbank", 2)]
    assert places(route("store-near-by", lamps(3), stock=stock)) != [("burbank", 3)]
    far = route("store-near-by", lamps(2), ask=IN_SALT_LAKE, stock=stock)
    assert places(far) == [("wh-reno", 2)]
    assert "Burbank was left out: the rule asks for kinds store; within km 60." in why(far)


def test_the_supplier_serves_abroad_and_never_at_home_while_others_can() -> None:
    assert places(route("supplier-abroad", lamps(), ask=IN_BERLIN)) == [("sup-hamburg", 1)]
    home = route(
        "supplier-abroad", lamps(), stock={"sup-hamburg": {"LAMP": 9}, "tracy": {"LAMP": 1}}
    )
    assert places(home) == [("tracy", 1)]
    lacking = route("supplier-abroad", lamps(), ask=IN_BERLIN, stock={"tracy": {"LAMP": 1}})
    assert places(lacking) == [("tracy", 1)]


def test_the_last_two_units_are_for_gold() -> None:
    stock = {"burbank": {"LAMP": 3}}
    gold = Ask("web-us", "home", "US", "gold", "USD", 5000, LOS_ANGELES)

    assert places(route("best-customers-first", lamps(2), ask=gold, stock=stock)) == [
        ("burbank", 2)
    ]
    others = route("best-customers-first", lamps(2), stock=stock)
    assert places(others) == [("burbank", 1)]
    assert [each.missing for each in others.left] == [1]


def test_the_store_that_must_clear_its_shelf_serves_from_further_away() -> None:
    assert places(route("lowest-cost", lamps(2))) != [("fresno", 2)]
    assert places(route("clear-a-store", lamps(2))) == [("fresno", 2)]


@pytest.mark.parametrize("name", names())
def test_whoever_comes_to_collect_is_served(name: str) -> None:
    collected = replace(IN_LA, method="store_pickup")
    busy = np.full(len(PLACES), 40, dtype=np.int64)
    stock = {"burbank": {"LAMP": 5}}

    decision = route(name, lamps(1, "fragile"), ask=collected, stock=stock, load=busy)

    assert places(decision) == [("burbank", 1)]


def test_no_store_packs_what_is_fragile() -> None:
    decision = route("keep-from-stores", lamps(1, "fragile"))

    assert places(decision) == [("wh-reno", 1)]
    assert "Burbank was left out: stores do not pack fragile goods." in why(decision)


def test_a_full_place_gets_no_more_and_a_warehouse_takes_it() -> None:
    load = np.zeros(len(PLACES), dtype=np.int64)
    load[PLACES.row_of["burbank"]] = 40
    stock = {"burbank": {"LAMP": 9}, "wh-dallas": {"LAMP": 9}}

    free = route("daily-capacity", lamps(), stock=stock, load=load - load)
    full = route("daily-capacity", lamps(), stock=stock, load=load)

    assert places(free) == [("burbank", 1)]
    assert places(full) == [("wh-dallas", 1)]
    assert "Burbank was left out: capacity 40 of 40 today." in why(full)


def test_wishes_stand_together_in_one_list() -> None:
    nothing = np.zeros(len(PLACES), dtype=np.int64)
    gold = Ask("web-us", "home", "US", "gold", "USD", 5000, LOS_ANGELES)

    def served(*tags: str, ask: Ask = IN_LA) -> list[tuple[str, int]]:
        return places(route("all-together", lamps(1, *tags), ask=ask, load=nothing))

    assert served(ask=gold) == [("burbank", 1)]
    assert served(ask=IN_BERLIN) == [("sup-hamburg", 1)]
    assert served("in-demand") == [("wh-reno", 1)]
    assert served("fragile") == [("wh-reno", 1)]
    assert served() == [("fresno", 1)]
