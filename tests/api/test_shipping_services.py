from typing import Any

import pytest

from tests.api.conftest import Api

EXPRESS: dict[str, Any] = {
    "method": "home",
    "carrier": "simulator",
    "countries": ["FR", "DE"],
    "from_kinds": ["warehouse"],
    "from_groups": ["fr"],
    "transit_days": {"min": 1, "max": 2},
    "transit_days_by_country": {"DE": {"min": 2, "max": 3}},
    "picks_up_on": ["mon", "tue", "wed", "thu", "fri", "sat"],
    "delivers_on": ["mon", "tue", "wed", "thu", "fri"],
    "deliver_until": "17:30",
    "cost_minor": 490,
    "currency": "EUR",
    "active": True,
}


async def test_a_service_is_made_once_and_read_as_it_was_written(api: Api) -> None:
    made = await api.operator.put("/v1/shipping-services/express", json=EXPRESS)
    again = await api.operator.put("/v1/shipping-services/express", json=EXPRESS)
    read = await api.operator.get("/v1/shipping-services/express")

    assert (made.status_code, again.status_code, read.status_code) == (201, 200, 200)
    assert read.json() == {**EXPRESS, "id": "express", "version": 2}
    assert read.headers["etag"] == '"2"'


async def test_a_service_needs_little(api: Api) -> None:
    little = {
        "method": "home",
        "carrier": "simulator",
        "transit_days": {"min": 2, "max": 4},
        "cost_minor": 0,
        "currency": "EUR",
    }
    made = (await api.operator.put("/v1/shipping-services/standard", json=little)).json()

    weekdays = ["mon", "tue", "wed", "thu", "fri"]
    assert made["countries"] == ["*"]
    assert (made["from_kinds"], made["from_groups"]) == ([], [])
    assert (made["picks_up_on"], made["delivers_on"]) == (weekdays, weekdays)
    assert (made["deliver_until"], made["active"]) == ("18:00", True)


async def test_services_are_listed_newest_first_page_by_page(api: Api) -> None:
    for name in ("page-1", "page-2", "page-3"):
        await api.operator.put(f"/v1/shipping-services/{name}", json=EXPRESS)

    first = (await api.operator.get("/v1/shipping-services?limit=2")).json()
    rest = (await api.operator.get(f"/v1/shipping-services?cursor={first['next_cursor']}")).json()

    assert [each["id"] for each in first["data"]] == ["page-3", "page-2"]
    assert rest["data"][0]["id"] == "page-1"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"method": "store_pickup"}, "/method"),
        ({"countries": ["XX"]}, "/countries/0"),
        ({"countries": []}, "/countries"),
        ({"transit_days": {"min": 3, "max": 2}}, "/transit_days"),
        ({"transit_days_by_country": {"DE": {"min": 3, "max": 2}}}, "/transit_days_by_country/DE"),
        ({"delivers_on": []}, "/delivers_on"),
        ({"delivers_on": ["mon", "mon"]}, "/delivers_on"),
        ({"deliver_until": "25:00"}, "/deliver_until"),
        ({"cost_minor": -1}, "/cost_minor"),
        ({"currency": "ABC"}, "/currency"),
        ({"speed": "high"}, "/speed"),
    ],
)
async def test_a_wrong_service_is_refused_where_it_is_wrong(
    api: Api, changes: dict[str, Any], pointer: str
) -> None:
    refused = await api.operator.put("/v1/shipping-services/wrong", json={**EXPRESS, **changes})

    assert refused.status_code == 422
    assert [each["pointer"] for each in refused.json()["errors"]] == [pointer]
    assert (await api.operator.get("/v1/shipping-services/wrong")).status_code == 404


@pytest.mark.parametrize("days", [["2026-02-30"], ["31.12.2026"], ["2026-12-31", "2026-12-31"]])
async def test_a_place_is_closed_on_days_of_the_calendar_only(api: Api, days: list[str]) -> None:
    place = {"name": "A", "kind": "store", "address": {"country": "FR"}, "closed_on": days}

    refused = await api.operator.put("/v1/locations/closed", json=place)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("/closed_on")
