"""Orders go by the rule set that is active, and say why."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.api.conftest import Api, key
from tests.api.orders import Carried, a_shop, an_order, place

NEAREST = {"name": "Nearest", "objective": {"parcel_km_minor": "1"}}
STORES = {**NEAREST, "name": "Stores first", "from": {"kinds": ["store"]}}
PLACES = {
    "store-nice": ("Nice", "store", 43.70, 7.26, 5),
    "store-lille": ("Lille", "store", 50.63, 3.06, 5),
    "wh-paris": ("Warehouse Paris", "warehouse", 48.86, 2.35, 100),
}


@pytest.fixture
async def shop(api: Api) -> AsyncIterator[Api]:
    """A warehouse and two stores that send; no rule set is active before and after."""
    await a_shop(api)
    for id, (name, kind, north, east, units) in PLACES.items():
        place = {
            "name": name,
            "kind": kind,
            "address": {"country": "FR"},
            "latitude": north,
            "longitude": east,
            "serves": ["home"],
        }
        await api.operator.put(f"/v1/locations/{id}", json=place)
        await counted(api, id, await held_at(api, id) + units)
    yield api
    await api.operator.post("/v1/routing/rule-sets/fr/deactivate", headers=key())
    for id in PLACES:
        policy = {"safety_stock": 0, "backorder_limit": 0}
        await api.operator.put(f"/v1/stock/LAMP-01/{id}/policy", json=policy)


async def live(api: Api, *rules: dict[str, Any], id: str = "fr", **more: Any) -> int:
    """Put a rule set live; its version."""
    document = {"name": "France", "currency": "EUR", "rules": list(rules)} | more
    put = await api.operator.put(f"/v1/routing/rule-sets/{id}", json=document)
    assert put.status_code in (200, 201), put.text
    version: int = put.json()["version"]
    done = await api.operator.post(
        f"/v1/routing/rule-sets/{id}/activate", json={"version": version}, headers=key()
    )
    assert done.status_code == 200, done.text
    return version


async def placed(api: Api, lamps: int = 1, **changes: Any) -> str:
    """Place an order for delivery in Lyon, and let it be confirmed; its number."""
    number: str = (await place(api, an_order(lamps, **changes))).json()["number"]
    await Carried(api).order(number, until_routed=False)
    return number


async def decisions(api: Api, number: str) -> list[dict[str, Any]]:
    answer = await api.channel.get(f"/v1/orders/{number}/routing")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def senders(decision: dict[str, Any]) -> list[str]:
    return [s["location"] for stage in decision["record"]["stages"] for s in stage["senders"]]


async def test_an_order_goes_by_the_rules_that_are_live_and_says_why(shop: Api) -> None:
    version = await live(shop, STORES, NEAREST)
    policy = {"safety_stock": 5, "backorder_limit": 0}
    await shop.operator.put("/v1/stock/LAMP-01/store-nice/policy", json=policy)

    number = await placed(shop)

    (decision,) = await decisions(shop, number)
    assert (decision["cause"], decision["rule_set"], decision["version"]) == (
        "reserve",
        "fr",
        version,
    )
    assert senders(decision) == ["store-lille"]
    out = "Nice was left out: safety stock 5 of 5 (LAMP-01)"
    assert f"{out}." in decision["words"]
    told = (await shop.channel.get(f"/v1/orders/{number}/explain")).json()["routing"]
    assert told == decision["words"]
    events = (await shop.channel.get(f"/v1/orders/{number}/timeline")).json()["data"]
    reserved = next(event for event in events if event["kind"] == "order.reserved")
    assert f"(by France v{version}; {out})" in reserved["summary"]
    assert reserved["data"]["routing"] == decision["words"]


async def test_going_back_to_an_older_version_routes_as_before(shop: Api) -> None:
    first = await live(shop, STORES, NEAREST)
    before = await placed(shop)
    await live(shop, {**NEAREST, "from": {"kinds": ["warehouse"]}})
    between = await placed(shop)

    await shop.operator.post(
        "/v1/routing/rule-sets/fr/activate", json={"version": first}, headers=key()
    )
    after = await placed(shop)

    chosen = [senders((await decisions(shop, n))[0]) for n in (before, between, after)]
    assert chosen == [["store-nice"], ["wh-paris"], ["store-nice"]]


async def test_what_a_rule_says_is_not_sold_is_refused_even_where_it_could_wait(shop: Api) -> None:
    await live(shop, {**STORES, "left": "cancel"})
    policy = {"safety_stock": 0, "backorder_limit": 50}
    await shop.operator.put("/v1/stock/LAMP-01/wh-paris/policy", json=policy)

    number = await placed(shop, 60, allow_backorder=True)

    order = (await shop.channel.get(f"/v1/orders/{number}")).json()
    assert order["refusal"]["code"] == "insufficient_stock"
    (decision,) = await decisions(shop, number)
    assert decision["words"][-1].endswith("(line 1) are left: they are not sold.")


async def test_a_closed_place_serves_nobody_from_the_next_order_on(shop: Api) -> None:
    await live(shop, NEAREST)
    first = await placed(shop)
    closed = {"name": "Nice", "kind": "store", "address": {"country": "FR"}, "active": False}
    await shop.operator.put("/v1/locations/store-nice", json=closed)

    second = await placed(shop)

    (before,), (after,) = await decisions(shop, first), await decisions(shop, second)
    assert (senders(before), senders(after)) == (["store-nice"], ["wh-paris"])
    assert "Nice was left out: it is closed." in after["words"]


async def test_a_place_is_given_no_more_orders_a_day_than_it_can_do(shop: Api) -> None:
    await live(shop, {**NEAREST, "from": {"has_capacity": True}})
    store = {
        "name": "Nice",
        "kind": "store",
        "address": {"country": "FR"},
        "latitude": 43.7,
        "longitude": 7.26,
        "daily_capacity": 2,
    }
    busy = await shop.operator.get("/v1/fulfillment-orders?location=store-nice")
    held = [await placed(shop) for _ in range(2)]
    await shop.operator.put("/v1/locations/store-nice", json=store)

    number = await placed(shop)

    (decision,) = await decisions(shop, number)
    assert busy.json()["data"] == []
    assert len(held) == 2
    assert senders(decision) == ["wh-paris"]
    assert any(word.startswith("Nice was left out: capacity ") for word in decision["words"])


async def test_carriers_days_and_costs_of_goods_are_looked_at_where_rules_ask(shop: Api) -> None:
    service = {
        "method": "home",
        "carrier": "fast",
        "countries": ["FR"],
        "from_kinds": ["warehouse"],
        "transit_days": {"min": 0, "max": 0},
        "picks_up_on": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "delivers_on": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "deliver_until": "18:00",
        "cost_minor": 490,
        "currency": "EUR",
    }
    put = await shop.operator.put("/v1/shipping-services/fast", json=service)
    assert put.status_code in (200, 201), put.text
    policy = {"backorder_limit": 0, "safety_stock": 0}
    cheap = {**policy, "unit_cost_minor": 100, "cost_currency": "EUR"}
    dear = {**policy, "unit_cost_minor": 900, "cost_currency": "EUR"}
    for id, cost in (("store-lille", cheap), ("store-nice", dear), ("wh-paris", dear)):
        done = await shop.operator.put(f"/v1/stock/LAMP-01/{id}/policy", json=cost)
        assert done.status_code == 200, done.text

    chosen = []
    for rule in (
        {**NEAREST, "from": {"carriers": ["fast"]}},
        {"name": "Soonest", "objective": {"late_day_minor": 100}},
        {"name": "Margin", "objective": {"goods": "1"}},
    ):
        await live(shop, rule)
        chosen.append(senders((await decisions(shop, await placed(shop)))[0]))
        asked = await shop.channel.get("/v1/availability?sku=LAMP-01&channel=web-fr")
        assert asked.status_code == 200, asked.text

    await shop.operator.put("/v1/shipping-services/fast", json={**service, "active": False})
    assert chosen == [["wh-paris"], ["wh-paris"], ["store-lille"]]


async def test_a_basket_is_offered_as_the_rules_would_serve_it(shop: Api) -> None:
    store = {"name": "Nice", "kind": "store", "address": {"country": "FR"}, "groups": ["dry"]}
    await shop.operator.put("/v1/locations/store-nice", json=store)
    never = {"why": "no licence", "lines": {"skus": ["LAMP-01"]}, "from": {"groups": ["dry"]}}
    await live(shop, STORES, NEAREST, never=[never])

    basket = {
        "channel": "web-fr",
        "lines": [{"sku": "LAMP-01", "quantity": 1}],
        "delivery": {"country": "FR", "postal_code": "69002"},
    }
    options = (await shop.channel.post("/v1/availability", json=basket)).json()["options"]

    (at_home,) = [each for each in options if each["method"] == "home"]
    assert [line["location"] for line in at_home["lines"]] == ["store-lille"]
    assert not [each for each in options if each["location"] == "store-nice"]


async def test_the_routing_of_an_order_is_its_channels_and_names_no_customer(shop: Api) -> None:
    number = await placed(shop)

    stranger = await shop.other_channel.get(f"/v1/orders/{number}/routing")
    own = await shop.channel.get(f"/v1/orders/{number}/routing")

    assert stranger.status_code == 404
    (decision,) = own.json()["data"]
    assert (decision["rule_set"], decision["version"]) == (None, None)
    assert not any(word in own.text for word in ("Ada", "Martin", "Tilsitt", "69002"))


# --- again, before places are told ----------------------------------------------------------


async def released(api: Api, number: str) -> dict[str, int]:
    """Let the grace window pass; units offered by place."""
    await Carried(api).order(number)
    order = (await api.channel.get(f"/v1/orders/{number}")).json()
    return {
        each["location"]: sum(line["quantity"] for line in each["lines"])
        for each in order["fulfillment_orders"]
    }


async def held_at(api: Api, location: str) -> int:
    """Units held there."""
    shelf = (await api.operator.get("/v1/stock/LAMP-01")).json()["locations"]
    found: Iterator[int] = (
        e["allocated"] + e["reserved"] for e in shelf if e["location"] == location
    )
    return next(found, 0)


async def counted(api: Api, location: str, units: int) -> None:
    done = await api.adjust({"sku": "LAMP-01", "location": location, "set": units})
    assert done.status_code == 200, done.text


async def test_what_is_still_best_stays_where_it_is_and_is_not_told_twice(shop: Api) -> None:
    await live(shop, NEAREST)
    number = await placed(shop)

    assert await released(shop, number) == {"store-nice": 1}
    assert [each["cause"] for each in await decisions(shop, number)] == ["reserve"]


async def test_rules_that_change_before_release_move_what_is_held(shop: Api) -> None:
    await live(shop, STORES)
    number = await placed(shop, 2)
    before = await held_at(shop, "store-nice")
    version = await live(shop, {**NEAREST, "from": {"kinds": ["warehouse"]}})

    assert await released(shop, number) == {"wh-paris": 2}

    assert await held_at(shop, "store-nice") == before - 2
    _, again = await decisions(shop, number)
    assert (again["cause"], again["version"], senders(again)) == (
        "route_again",
        version,
        ["wh-paris"],
    )
    events = (await shop.channel.get(f"/v1/orders/{number}/timeline")).json()["data"]
    (moved,) = [event for event in events if event["kind"] == "order.sourced_again"]
    assert "now served from wh-paris instead of store-nice" in moved["summary"]
    (routed,) = [event for event in events if event["kind"] == "order.routed"]
    assert routed["summary"].endswith(f", by France v{version}")


@pytest.mark.parametrize(
    ("missing", "offered"),
    [(2, {"store-nice": 1, "wh-paris": 2}), (3, {"wh-paris": 3})],
)
async def test_a_low_count_before_release_lets_another_place_serve(
    shop: Api, missing: int, offered: dict[str, int]
) -> None:
    await live(shop, {"name": "Near", "objective": {"unit_km_minor": "1"}})
    number = await placed(shop, 3)
    held = await held_at(shop, "store-nice")
    await counted(shop, "store-nice", held - missing)

    assert await released(shop, number) == offered


async def test_an_order_that_must_not_be_split_moves_whole_or_not_at_all(shop: Api) -> None:
    await live(shop, STORES)
    number = await placed(shop, 3, allow_split=False)
    await counted(shop, "store-nice", await held_at(shop, "store-nice") - 2)
    await counted(shop, "store-lille", await held_at(shop, "store-lille") + 2)

    assert await released(shop, number) == {"store-nice": 3}


async def test_what_no_other_place_has_stays_where_it_is_held(shop: Api) -> None:
    await live(shop, {**NEAREST, "from": {"locations": ["store-nice"]}})
    number = await placed(shop, 2)
    await counted(shop, "store-nice", 0)

    assert await released(shop, number) == {"store-nice": 2}


async def test_a_place_that_closed_to_new_orders_still_sends_those_it_has(shop: Api) -> None:
    await live(shop, NEAREST)
    number = await placed(shop)
    closed = {"name": "Nice", "kind": "store", "address": {"country": "FR"}, "active": False}
    await shop.operator.put(
        "/v1/locations/store-nice",
        json=closed | {"latitude": 43.7, "longitude": 7.26, "serves": ["home"]},
    )

    assert await released(shop, number) == {"store-nice": 1}


async def test_units_leave_a_place_that_was_cleared_before_release(shop: Api) -> None:
    await live(shop, NEAREST)
    number = await placed(shop)
    cleared = await shop.operator.post(
        "/v1/locations/store-nice/close", json={"reason": "flood", "reroute": True}, headers=key()
    )
    assert cleared.status_code in (200, 201, 202), cleared.text

    assert await released(shop, number) == {"wh-paris": 1}


async def test_no_unit_moves_where_the_customer_would_have_it_later(shop: Api) -> None:
    await live(shop, NEAREST)
    number = await placed(shop)
    slow = {
        "method": "home",
        "carrier": "slow",
        "countries": ["FR"],
        "from_kinds": ["warehouse"],
        "transit_days": {"min": 9, "max": 9},
        "picks_up_on": ["mon"],
        "delivers_on": ["mon"],
        "deliver_until": "18:00",
        "cost_minor": 490,
        "currency": "EUR",
    }
    await shop.operator.put("/v1/shipping-services/slow", json=slow)
    cheaper_there = {"from": {"kinds": ["warehouse"]}, "parcel_minor": -(10**8)}
    worse = {"parcel_km_minor": "1", "parcel_minor": 10**8, "adjust": [cheaper_there]}
    await live(shop, {"name": "Warehouse", "objective": worse})

    offered = await released(shop, number)

    await shop.operator.put("/v1/shipping-services/slow", json={**slow, "active": False})
    assert offered == {"store-nice": 1}


async def test_goods_that_came_nearer_are_sent_by_the_default_rules_too(shop: Api) -> None:
    await counted(shop, "store-nice", await held_at(shop, "store-nice"))
    number = await placed(shop)
    await counted(shop, "store-nice", await held_at(shop, "store-nice") + 1)

    assert await released(shop, number) == {"store-nice": 1}
    assert (await decisions(shop, number))[0]["record"]["stages"][0]["senders"][0][
        "location"
    ] == "wh-paris"


# --- beyond stock; what waits at a place would be in the way of the others ---------------------


async def test_units_wait_for_no_place_that_never_serves_them(shop: Api) -> None:
    never = {"why": "no licence", "lines": {"skus": ["LAMP-01"]}, "from": {"kinds": ["store"]}}
    await live(shop, NEAREST, never=[never])
    policy = {"safety_stock": 0, "backorder_limit": 500}
    for id in ("store-nice", "wh-paris"):
        await shop.operator.put(f"/v1/stock/LAMP-01/{id}/policy", json=policy)
    number = await placed(shop, 300, allow_backorder=True)

    shelf = (await shop.operator.get("/v1/stock/LAMP-01")).json()["locations"]

    order = (await shop.channel.get(f"/v1/orders/{number}")).json()
    assert order["lines"][0]["backordered"] > 0
    waiting = {each["location"]: each["backordered"] for each in shelf}
    assert (waiting["store-nice"], waiting["wh-paris"]) == (0, order["lines"][0]["backordered"])
