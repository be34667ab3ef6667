"""What is offered: the ways to have an article or a basket, each with its date and price."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from tests.api.conftest import Api, key
from tests.api.orders import Carried

LYON = {
    "address": {"country": "FR", "postal_code": "69001"},
    "latitude": 45.767,
    "longitude": 4.834,
}
PARIS = {"address": {"country": "FR", "postal_code": "75001"}, "latitude": 48.86, "longitude": 2.34}
NICE = {"address": {"country": "FR", "postal_code": "06000"}, "latitude": 43.7, "longitude": 7.27}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALWAYS_OPEN = {day: ["00:00", "24:00"] for day in DAYS}
STORE = {"kind": "store", "opening_hours": ALWAYS_OPEN, "open_on_holidays": True, "currency": "EUR"}
POST: dict[str, Any] = {
    "method": "home",
    "carrier": "simulator",
    "transit_days": {"min": 1, "max": 2},
    "picks_up_on": DAYS,
    "delivers_on": DAYS,
    "cost_minor": 490,
    "currency": "EUR",
}


@pytest.fixture
async def shop(api: Api) -> Api:
    """Three places with nothing in them, and a service that comes every day."""
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    await api.operator.put("/v1/shipping-services/post", json=POST)
    warehouse = {"name": "Paris", "kind": "warehouse", "open_on_holidays": True, "cutoff": "23:59"}
    places: dict[str, Any] = {
        "wh-paris": {**PARIS, **warehouse},
        "store-lyon": {**LYON, **STORE, "name": "Lyon"},
        "store-nice": {**NICE, **STORE, "name": "Nice"},
    }
    for id, place in places.items():
        assert (await api.operator.put(f"/v1/locations/{id}", json=place)).is_success
    return api


async def has(api: Api, sku: str, **units: int) -> None:
    await api.operator.put(f"/v1/products/{sku}", json={"name": sku})
    for place, count in units.items():
        location = place.replace("_", "-")
        if count:
            await api.adjust({"sku": sku, "location": location, "set": count})


async def expects(api: Api, sku: str, location: str, units: int, *, in_days: float) -> None:
    at = datetime.now(UTC) + timedelta(days=in_days)
    body = {
        "sku": sku,
        "location": location,
        "quantity": units,
        "expected_at": at.isoformat(),
        "reference": f"PO-{sku}-{location}-{in_days}",
    }
    answer = await api.operator.post("/v1/stock/incoming", json=body, headers=key())
    assert answer.is_success, answer.text


async def may_backorder(api: Api, sku: str, location: str, limit: int) -> None:
    await api.operator.put(
        f"/v1/stock/{sku}/{location}/policy", json={"safety_stock": 0, "backorder_limit": limit}
    )


async def offered(api: Api, sku: str, quantity: int = 1, more: str = "") -> dict[str, Any]:
    query = f"sku={sku}&quantity={quantity}&channel=web-fr&country=FR&postal_code=69002{more}"
    answer = await api.channel.get(f"/v1/availability?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def asked(api: Api, **units: int) -> dict[str, Any]:
    body = {
        "channel": "web-fr",
        "lines": [{"sku": sku, "quantity": count} for sku, count in units.items()],
        "delivery": {"country": "FR", "postal_code": "69002"},
    }
    answer = await api.channel.post("/v1/availability", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_an_article_is_offered_at_home_and_in_the_nearest_stores(shop: Api) -> None:
    await has(shop, "LAMP", wh_paris=5, store_lyon=2, store_nice=3)

    found = await offered(shop, "LAMP")
    home, lyon, nice = found["options"]

    assert (home["method"], home["location"]) == ("home", None)
    assert (home["cost_minor"], home["currency"], home["parcels"]) == (490, "EUR", 1)
    assert moment(home["promise"]) > datetime.now(UTC) + timedelta(days=1)
    assert [each["location"] for each in (lyon, nice)] == ["store-lyon", "store-nice"]
    assert (lyon["method"], lyon["cost_minor"], lyon["currency"]) == ("store_pickup", 0, "EUR")
    ready = moment(lyon["promise"]) - datetime.now(UTC)
    assert timedelta(minutes=60) < ready < timedelta(minutes=60 + 15 + 1 + 15 + 1)


async def test_only_stores_that_have_all_of_it_are_offered(shop: Api) -> None:
    await has(shop, "VASE", wh_paris=5, store_lyon=2, store_nice=3)

    found = await offered(shop, "VASE", 3)

    assert [each["location"] for each in found["options"]] == [None, "store-nice"]


async def test_no_more_than_ten_stores_are_offered(shop: Api) -> None:
    await has(shop, "TINY")
    for number in range(13):
        store = {**STORE, "name": "S", "address": {"country": "FR"}, "serves": ["store_pickup"]}
        store |= {"latitude": 40 + number, "longitude": 4.8, "channels": ["web-fr"]}
        await shop.operator.put(f"/v1/locations/s-{number}", json=store)
        await shop.adjust({"sku": "TINY", "location": f"s-{number}", "set": 1})

    found = await offered(shop, "TINY")

    places = [each["location"] for each in found["options"]]
    assert len(places) == 10
    assert places[:3] == ["s-6", "s-5", "s-7"]  # 45.8 degrees north is asked for
    for number in range(13):
        await shop.adjust({"sku": "TINY", "location": f"s-{number}", "set": 0})


async def test_several_articles_are_answered_as_a_list_in_the_order_asked_for(shop: Api) -> None:
    await has(shop, "ONE", wh_paris=1)
    await has(shop, "NONE")
    await has(shop, "TWO", store_lyon=2)

    found = await offered(shop, "TWO,NONE,ONE")

    assert [each["sku"] for each in found["data"]] == ["TWO", "NONE", "ONE"]
    assert [each["available"] for each in found["data"]] == [2, 0, 1]
    assert [len(each["options"]) for each in found["data"]] == [2, 0, 1]
    assert found["data"][0] == await offered(shop, "TWO")


async def test_many_articles_that_nobody_holds_cost_no_statement_each(shop: Api) -> None:
    skus = [f"NO-{number}" for number in range(20)]
    for sku in skus:
        await has(shop, sku)
    statements: list[str] = []

    def count(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(shop.engine.sync_engine, "before_cursor_execute", count)
    try:
        found = await offered(shop, ",".join(skus))
    finally:
        event.remove(shop.engine.sync_engine, "before_cursor_execute", count)

    assert [each["options"] for each in found["data"]] == [[]] * 20
    assert len(statements) <= 3  # beside those that travel together


async def test_without_a_destination_an_article_is_offered_all_the_same(shop: Api) -> None:
    await has(shop, "FREE", wh_paris=1, store_lyon=1)

    found = (await shop.channel.get("/v1/availability?sku=FREE&channel=web-fr")).json()

    assert [each["method"] for each in found["options"]] == ["home", "store_pickup"]


async def test_what_is_not_there_is_offered_when_it_comes_if_it_may_be_backordered(
    shop: Api,
) -> None:
    await has(shop, "LATE", wh_paris=1)
    await expects(shop, "LATE", "wh-paris", 5, in_days=10)

    refused = await offered(shop, "LATE", 3)
    await may_backorder(shop, "LATE", "wh-paris", 5)
    late = await offered(shop, "LATE", 3)
    too_many = await offered(shop, "LATE", 7)

    assert refused["options"] == []
    (home,) = late["options"]
    assert home["allow_backorder"] is True
    assert moment(home["promise"]) > datetime.now(UTC) + timedelta(days=11)
    assert too_many["options"] == []


async def test_no_date_is_made_up_for_what_nobody_expects(shop: Api) -> None:
    await has(shop, "GONE")
    await may_backorder(shop, "GONE", "wh-paris", 5)
    nobody = await offered(shop, "GONE", 2)
    await expects(shop, "GONE", "wh-paris", 1, in_days=3)
    too_few = await offered(shop, "GONE", 2)
    await expects(shop, "GONE", "wh-paris", 1, in_days=9)
    enough = await offered(shop, "GONE", 2)

    assert nobody["options"] == too_few["options"] == []
    assert moment(enough["options"][0]["promise"]) > datetime.now(UTC) + timedelta(days=10)


async def test_a_basket_that_one_place_holds_has_one_way_home(shop: Api) -> None:
    await has(shop, "CUP", wh_paris=9, store_lyon=2)
    await has(shop, "PAN", wh_paris=9, store_nice=2)

    found = await asked(shop, CUP=2, PAN=1)
    (home,) = found["options"]

    assert found["in_stock"] is True
    assert (home["parcels"], home["allow_split"], home["allow_backorder"]) == (1, False, False)
    assert {each["location"] for each in home["lines"]} == {"wh-paris"}


async def test_a_basket_that_no_place_holds_is_split_or_waits(shop: Api) -> None:
    await has(shop, "BED", store_lyon=5)
    await has(shop, "LEG", store_nice=4)
    await may_backorder(shop, "LEG", "store-lyon", 9)
    await expects(shop, "LEG", "store-lyon", 9, in_days=20)

    found = await asked(shop, BED=5, LEG=4)
    split, together = found["options"]

    assert (split["parcels"], split["allow_split"], split["allow_backorder"]) == (2, True, False)
    assert (together["allow_split"], together["allow_backorder"]) == (False, True)
    assert [(each["location"], each["backordered"]) for each in together["lines"]] == [
        ("store-lyon", False),
        ("store-lyon", True),
    ]
    assert moment(split["promise"]) < moment(together["promise"])
    assert split["cost_minor"] == 490


async def test_a_basket_tells_what_is_short(shop: Api) -> None:
    await has(shop, "RARE", wh_paris=3)

    found = await shop.channel.post(
        "/v1/availability",
        json={
            "channel": "web-fr",
            "lines": [{"sku": "RARE", "quantity": 2}, {"sku": "RARE", "quantity": 2}],
            "delivery": {"country": "FR"},
        },
    )

    assert found.json() == {
        "in_stock": False,
        "lines": [
            {"line": 1, "sku": "RARE", "quantity": 2, "available": 3, "short": 0},
            {"line": 2, "sku": "RARE", "quantity": 2, "available": 3, "short": 1},
        ],
        "options": [],
    }


@pytest.mark.parametrize(
    ("changes", "status", "code", "pointer"),
    [
        ({"channel": "elsewhere"}, 404, "not_found", None),
        ({"lines": []}, 422, "validation_failed", "/lines"),
        (
            {"lines": [{"sku": "LAMP", "quantity": 0}]},
            422,
            "validation_failed",
            "/lines/0/quantity",
        ),
        ({"lines": [{"sku": "NOPE", "quantity": 1}]}, 422, "sku_unknown", "/lines/0/sku"),
        ({"delivery": {"country": "ZZ"}}, 422, "validation_failed", "/delivery/country"),
        (
            {"delivery": {"country": "FR", "postal_code": "1"}},
            422,
            "address_invalid",
            "/delivery/postal_code",
        ),
        (
            {"delivery": {"country": "FR", "latitude": 1.5}},
            422,
            "validation_failed",
            "/delivery/longitude",
        ),
        ({"colour": "red"}, 422, "validation_failed", "/colour"),
    ],
)
async def test_a_basket_that_makes_no_sense_is_refused(
    shop: Api, changes: dict[str, Any], status: int, code: str, pointer: str | None
) -> None:
    await has(shop, "LAMP", wh_paris=5)
    body = {
        "channel": "web-fr",
        "lines": [{"sku": "LAMP", "quantity": 1}],
        "delivery": {"country": "FR"},
        **changes,
    }

    refused = await shop.channel.post("/v1/availability", json=body)

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    if pointer is not None:
        assert refused.json()["errors"][0]["pointer"] == pointer


# --- what is offered can be ordered ---------------------------------------------------------


async def _placed(api: Api, basket: dict[str, int], option: dict[str, Any]) -> dict[str, Any]:
    """Order exactly what an option says, and carry the order until it is confirmed."""
    delivery: dict[str, Any] = {"method": "store_pickup", "location": option["location"]}
    if option["method"] == "home":
        address = {"name": "Ada", "line1": "1 Road", "city": "Lyon", "country": "FR"}
        delivery = {"method": "home", "address": {**address, "postal_code": "69002"}}
    order = {
        "channel": "web-fr",
        "reference": key()["Idempotency-Key"],
        "currency": "EUR",
        "customer": {"id": "c-1"},
        "lines": [
            {"sku": sku, "quantity": units, "unit_price_minor": 0} for sku, units in basket.items()
        ],
        "allow_split": option["allow_split"],
        "allow_backorder": option["allow_backorder"],
        "delivery": delivery,
        "tenders": [],
    }
    placed = await api.channel.post("/v1/orders", json=order, headers=key())
    number = placed.json()["number"]
    await Carried(api).order(number, until_routed=False)
    found: dict[str, Any] = (await api.operator.get(f"/v1/orders/{number}")).json()
    return found


def _units_by_place(served: list[dict[str, Any]]) -> dict[tuple[int, str], int]:
    units: dict[tuple[int, str], int] = {}
    for each in served:
        if not each["backordered"]:
            where = (each["line"], each["location"])
            units[where] = units.get(where, 0) + each["quantity"]
    return units


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_offered_can_be_ordered_and_is_promised_no_later(
    shop: Api, seed: int
) -> None:
    chance = random.Random(seed)
    skus = [f"R{seed}-{n}" for n in range(3)]
    places = ("wh-paris", "store-lyon", "store-nice")
    for sku in skus:
        await has(shop, sku)
        for place in places:
            if units := chance.choice((0, 0, 1, 2, 5)):
                await shop.adjust({"sku": sku, "location": place, "set": units})
            if limit := chance.choice((0, 0, 3)):
                await may_backorder(shop, sku, place, limit)
            if coming := chance.choice((0, 2, 4)):
                await expects(shop, sku, place, coming, in_days=chance.choice((1, 2.5, 9)))
    for _ in range(4):
        basket = {sku: chance.randint(1, 3) for sku in chance.sample(skus, chance.randint(1, 3))}
        found = await asked(shop, **basket)
        if len(basket) == 1:
            ((sku, units),) = basket.items()
            single = await offered(shop, sku, units)
            assert single["in_stock"] == found["in_stock"]
            assert bool(single["options"]) == bool(found["options"])
        if not found["options"]:
            continue
        option = chance.choice(found["options"])

        order = await _placed(shop, basket, option)

        assert order["status"] == "open", order["refusal"]
        assert moment(order["promise"]["by"]) <= moment(option["promise"])
        late = sum(each["quantity"] for each in option["lines"] if each["backordered"])
        assert sum(line["backordered"] for line in order["lines"]) == late


async def test_the_promise_is_told_with_its_milestones(shop: Api) -> None:
    await has(shop, "TOLD", wh_paris=5)
    option = (await offered(shop, "TOLD"))["options"][0]

    order = await _placed(shop, {"TOLD": 1}, option)
    timeline = (await shop.operator.get(f"/v1/orders/{order['number']}/timeline")).json()["data"]
    confirmed = next(each for each in timeline if each["kind"] == "order.confirmed")

    promise = order["promise"]
    assert promise["status"] == "kept"
    assert promise["expected"] == promise["by"]
    kinds = ["release_by", "hand_over_by", "deliver_by"]
    assert [each["kind"] for each in promise["milestones"]] == kinds
    assert promise["milestones"][-1]["at"] == promise["by"]
    assert confirmed["data"]["milestones"] == promise["milestones"]


async def test_an_order_for_what_nobody_expects_is_promised_no_date(shop: Api) -> None:
    await has(shop, "SOME")
    await may_backorder(shop, "SOME", "wh-paris", 5)
    wish = {"method": "home", "location": None, "allow_split": True, "allow_backorder": True}

    order = await _placed(shop, {"SOME": 1}, wish)

    assert order["status"] == "open"
    assert order["promise"] == {"by": None, "milestones": [], "status": "kept", "expected": None}
