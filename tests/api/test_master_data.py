from typing import Any

import pytest

from tests.api.conftest import Api

LAMP = {
    "name": "Desk lamp",
    "gtin": "4006381333931",
    "weight_g": 1200,
    "dimensions_mm": [300, 200, 150],
    "tags": ["fragile"],
    "sellable": True,
    "image_url": None,
    "available_from": "2036-12-01T08:00:00Z",
    "low_at": 40,
    "unit_cost_minor": 780,
    "cost_currency": "EUR",
}
LYON: dict[str, Any] = {
    "name": "Store Lyon",
    "kind": "store",
    "address": {
        "line1": "1 rue de la République",
        "city": "Lyon",
        "postal_code": "69001",
        "country": "FR",
    },
    "latitude": 45.767,
    "longitude": 4.834,
    "time_zone": "Europe/Paris",
    "cutoff": "16:00",
    "opening_hours": {"mon": ["10:00", "19:00"]},
    "handling_minutes": 90,
    "closed_on": ["2026-12-24", "2026-12-31"],
    "open_on_holidays": True,
    "serves": ["home", "pickup_point", "locker", "store_pickup", "carry_out"],
    "channels": ["*"],
    "groups": ["fr"],
    "daily_capacity": 40,
    "handling_minor": 120,
    "currency": "EUR",
    "active": True,
}


async def test_an_article_is_made_once_and_read_as_it_was_written(api: Api) -> None:
    made = await api.operator.put("/v1/products/LAMP-01", json=LAMP)
    again = await api.operator.put("/v1/products/LAMP-01", json=LAMP)
    read = await api.operator.get("/v1/products/LAMP-01")

    assert (made.status_code, again.status_code, read.status_code) == (201, 200, 200)
    assert read.json() == {**LAMP, "sku": "LAMP-01", "version": 2}
    assert read.headers["etag"] == '"2"'


@pytest.mark.parametrize(
    ("cost", "pointer"),
    [
        ({"unit_cost_minor": 780}, "/cost_currency"),
        ({"cost_currency": "EUR"}, "/unit_cost_minor"),
        ({"unit_cost_minor": -1, "cost_currency": "EUR"}, "/unit_cost_minor"),
        ({"unit_cost_minor": 780, "cost_currency": "eur"}, "/cost_currency"),
    ],
)
async def test_what_goods_cost_is_said_whole(api: Api, cost: dict[str, Any], pointer: str) -> None:
    article = await api.operator.put("/v1/products/COSTED", json={"name": "Lamp", **cost})
    there = await api.operator.put("/v1/stock/COSTED/wh-paris/policy", json=cost)

    for refused in (article, there):
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_a_location_is_read_as_it_was_written(api: Api) -> None:
    made = await api.operator.put("/v1/locations/store-lyon", json=LYON)
    read = await api.operator.get("/v1/locations/store-lyon")

    assert made.status_code == 201
    assert read.json()["address"].items() >= LYON["address"].items()
    assert {**read.json(), "address": LYON["address"]} == {**LYON, "id": "store-lyon", "version": 1}


@pytest.mark.parametrize(
    ("kind", "serves"),
    [("warehouse", ["home"]), ("store", ["home", "store_pickup", "carry_out"])],
)
async def test_what_a_location_serves_follows_from_its_kind_unless_said(
    api: Api, kind: str, serves: list[str]
) -> None:
    bare = {"name": "A place", "kind": kind, "address": {"country": "FR"}}
    made = await api.operator.put(f"/v1/locations/bare-{kind}", json=bare)

    assert made.json()["serves"] == serves
    assert made.json()["channels"] == ["*"]
    assert made.json()["time_zone"] == "UTC"
    assert made.json()["active"] is True


async def test_locations_are_listed_newest_first_page_by_page(api: Api) -> None:
    for name in ("page-1", "page-2", "page-3"):
        await api.operator.put(f"/v1/locations/{name}", json={**LYON, "name": name})

    first = (await api.operator.get("/v1/locations?limit=2")).json()
    rest = (await api.operator.get(f"/v1/locations?cursor={first['next_cursor']}")).json()

    assert [place["id"] for place in first["data"]] == ["page-3", "page-2"]
    assert rest["data"][0]["id"] == "page-1"
    assert rest["next_cursor"] is None


async def test_a_channel_is_made_and_changed(api: Api) -> None:
    made = await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    changed = await api.operator.put("/v1/channels/web-fr", json={"name": "Web", "active": False})

    assert (made.status_code, changed.status_code) == (201, 200)
    assert changed.json() == {
        "id": "web-fr",
        "name": "Web",
        "active": False,
        "location_kinds": None,
        "buffers": {},
        "version": 2,
    }


async def test_a_channel_says_which_places_count_for_it_and_what_it_leaves_there(api: Api) -> None:
    rules = {"location_kinds": ["store", "warehouse"], "buffers": {"store": 1}}

    made = await api.operator.put("/v1/channels/market", json={"name": "Market", **rules})

    assert made.json().items() >= rules.items()
    assert (await api.operator.get("/v1/channels/market")).json() == made.json()


@pytest.mark.parametrize(
    ("rules", "pointer"),
    [
        ({"location_kinds": ["kiosk"]}, "/location_kinds/0"),
        ({"location_kinds": []}, "/location_kinds"),
        ({"location_kinds": ["store", "store"]}, "/location_kinds"),
        ({"buffers": {"kiosk": 1}}, "/buffers/kiosk"),
        ({"buffers": {"store": -1}}, "/buffers/store"),
        ({"buffers": {"store": 1.0}}, "/buffers/store"),
    ],
)
async def test_a_flawed_rule_of_a_channel_is_refused_by_the_name_of_its_field(
    api: Api, rules: dict[str, Any], pointer: str
) -> None:
    refused = await api.operator.put("/v1/channels/flawed", json={"name": "Market", **rules})

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert pointer in [error["pointer"] for error in refused.json()["errors"]]


async def test_a_stale_version_changes_nothing(api: Api) -> None:
    await api.operator.put("/v1/products/STALE", json={"name": "First"})
    await api.operator.put("/v1/products/STALE", json={"name": "Second"})

    for stale in ('"1"', 'W/"2"', "2", '"99"'):
        late = await api.operator.put(
            "/v1/products/STALE", json={"name": "Late"}, headers={"If-Match": stale}
        )
        assert (late.status_code, late.json()["code"]) == (412, "version_conflict")
    unborn = await api.operator.put(
        "/v1/products/UNBORN", json={"name": "x"}, headers={"If-Match": '"1"'}
    )
    fresh = await api.operator.put(
        "/v1/products/STALE", json={"name": "Third"}, headers={"If-Match": '"2"'}
    )

    assert unborn.status_code == 412
    assert (await api.operator.get("/v1/products/UNBORN")).status_code == 404
    assert (fresh.status_code, fresh.json()["version"]) == (200, 3)
    assert (await api.operator.get("/v1/products/STALE")).json()["name"] == "Third"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"kind": "shed"}, "/kind"),
        ({"name": ""}, "/name"),
        ({"name": "a\u0000b"}, "/name"),
        ({"name": "x" * 256}, "/name"),
        ({"address": {}}, "/address/country"),
        ({"address": {"country": "XX"}}, "/address/country"),
        ({"address": {"country": "fr"}}, "/address/country"),
        ({"address": {"country": "FR", "zip": "1"}}, "/address/zip"),
        ({"latitude": 91}, "/latitude"),
        ({"latitude": "45"}, "/latitude"),
        ({"longitude": None}, "/longitude"),
        ({"time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone"),
        ({"cutoff": "25:00"}, "/cutoff"),
        ({"opening_hours": {"mon": ["19:00", "10:00"]}}, "/opening_hours/mon"),
        ({"opening_hours": {"mon": ["10:00"]}}, "/opening_hours/mon"),
        ({"serves": ["home", "home"]}, "/serves"),
        ({"serves": ["drone"]}, "/serves/0"),
        ({"channels": ["no spaces"]}, "/channels/0"),
        ({"daily_capacity": 1.0}, "/daily_capacity"),
        ({"daily_capacity": True}, "/daily_capacity"),
        ({"handling_minor": 10**12 + 1}, "/handling_minor"),
        ({"currency": "eur"}, "/currency"),
        ({"active": "yes"}, "/active"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_flawed_location_is_refused_by_the_name_of_its_field(
    api: Api, change: dict[str, Any], pointer: str
) -> None:
    refused = await api.operator.put("/v1/locations/flawed", json={**LYON, **change})

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert (await api.operator.get("/v1/locations/flawed")).status_code == 404


async def test_an_impossible_postal_code_is_an_invalid_address(api: Api) -> None:
    address = {"country": "FR", "postal_code": "690"}
    refused = await api.operator.put("/v1/locations/flawed", json={**LYON, "address": address})

    assert (refused.status_code, refused.json()["code"]) == (422, "address_invalid")
    assert refused.json()["errors"][0]["pointer"] == "/address/postal_code"
