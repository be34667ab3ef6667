"""Closing and recalling by HTTP: who may, what is answered, and that asking twice does it once."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from tests.api.conftest import Api, key

FLOOD = {"reason": "water damage", "reroute": True}


async def post(api: Api, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await api.operator.post(path, json=body, headers=key() | headers)


async def a_place(api: Api) -> str:
    """A place of its own, with an article."""
    id = f"store-{uuid4().hex[:8]}"
    await api.has("LAMP-01", id)
    return id


async def test_a_place_closes_once_however_often_it_is_told(api: Api) -> None:
    place, same = await a_place(api), key()

    first = await api.operator.post(f"/v1/locations/{place}/close", json=FLOOD, headers=same)
    repeated = await api.operator.post(f"/v1/locations/{place}/close", json=FLOOD, headers=same)
    again = await post(api, f"/v1/locations/{place}/close", FLOOD)

    told = first.json()
    assert (first.status_code, told["location"]["active"]) == (200, False)
    assert first.headers["etag"] == f'"{told["location"]["version"]}"'
    assert repeated.headers["idempotent-replayed"] == "true"
    assert again.json()["reroute"]["id"] == told["reroute"]["id"]
    assert again.json()["location"]["version"] == told["location"]["version"]
    reroute = told["reroute"]
    assert {name: reroute[name] for name in ("kind", "location", "sku", "reason", "status")} == {
        "kind": "location",
        "location": place,
        "sku": None,
        "reason": "water damage",
        "status": "running",
    }
    assert (reroute["done"], reroute["left"], reroute["outcomes"]) == (0, 0, {})
    assert (await api.operator.get(f"/v1/reroutes/{reroute['id']}")).json() == reroute


async def test_a_place_that_only_closes_has_no_reroute_and_opens_again(api: Api) -> None:
    place = await a_place(api)

    closed = (await post(api, f"/v1/locations/{place}/close", {"reason": "stocktaking"})).json()
    opened = (await post(api, f"/v1/locations/{place}/open")).json()

    assert (closed["location"]["active"], closed["reroute"]) == (False, None)
    assert (opened["location"]["active"], opened["reroute"]) == (True, None)


async def test_a_place_that_is_put_active_keeps_what_it_has(api: Api) -> None:
    place = await a_place(api)
    await post(api, f"/v1/locations/{place}/close", FLOOD)

    body = {"name": "A place", "kind": "warehouse", "address": {"country": "FR"}}
    for active in (True, False):
        await api.operator.put(f"/v1/locations/{place}", json=body | {"active": active})

    async with api.engine.connect() as tx:
        cleared = await tx.scalar(
            text("SELECT cleared_at FROM locations WHERE id = :id"), {"id": place}
        )
    assert cleared is None, "closed by that, it ends what it has"


async def test_an_article_is_recalled_at_a_place_and_everywhere_and_sold_again(api: Api) -> None:
    sku, here, there = f"MUG-{uuid4().hex[:8]}", await a_place(api), await a_place(api)
    for place in (here, there):
        await api.has(sku, place)

    at_one = (
        await post(api, f"/v1/stock/{sku}/recall", {"reason": "sharp", "location": here})
    ).json()
    everywhere = (
        await post(api, f"/v1/stock/{sku}/recall", {"reason": "sharp", "reroute": False})
    ).json()
    level = (await api.operator.get(f"/v1/stock/{sku}")).json()
    ended = (await post(api, f"/v1/stock/{sku}/recall/end")).json()

    assert (at_one["everywhere"], at_one["blocked"]) == (False, [here])
    assert (at_one["reroute"]["kind"], at_one["reroute"]["location"]) == ("sku", here)
    assert (everywhere["everywhere"], everywhere["reroute"]) == (True, None)
    assert everywhere["blocked"] == sorted([here, there])
    assert (level["available"], level["totals"]["on_hand"]) == (0, 20)
    assert all(each["blocked"] for each in level["locations"])
    assert (ended["everywhere"], ended["blocked"]) == (False, [])


async def test_reroutes_are_listed_newest_first_and_steered(api: Api) -> None:
    ids = []
    for _ in range(3):
        told = await post(api, f"/v1/locations/{await a_place(api)}/close", FLOOD)
        ids.append(told.json()["reroute"]["id"])

    first = (await api.operator.get("/v1/reroutes?limit=2")).json()
    rest = (await api.operator.get(f"/v1/reroutes?limit=1&cursor={first['next_cursor']}")).json()

    assert [each["id"] for each in first["data"] + rest["data"]] == ids[::-1]
    path = f"/v1/reroutes/{ids[0]}"
    for word, status in (("pause", "paused"), ("pause", "paused"), ("resume", "running")):
        assert (await post(api, f"{path}/{word}")).json()["status"] == status
    stopped = (await post(api, f"{path}/stop")).json()
    assert (stopped["status"], stopped["left"]) == ("cancelled", None)
    assert stopped["ended_at"] is not None
    late = await post(api, f"{path}/resume")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
    nothing = (await api.operator.get(f"{path}/orders?outcome=kept")).json()
    assert nothing == {"data": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/locations/wh-paris/close", FLOOD),
        ("/v1/locations/wh-paris/open", None),
        ("/v1/stock/LAMP-01/recall", {"reason": "sharp"}),
        ("/v1/stock/LAMP-01/recall/end", None),
        ("/v1/reroutes/RR-1/pause", None),
    ],
)
async def test_only_operators_close_recall_and_steer(api: Api, path: str, body: Any) -> None:
    for who in (api.channel, api.node):
        answer = await who.post(path, json=body, headers=key())
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/locations/mars/close", FLOOD, (404, "not_found")),
        ("/v1/locations/mars/open", None, (404, "not_found")),
        ("/v1/locations/mars/close", {"reroute": True}, (422, "validation_failed")),
        ("/v1/stock/GHOST/recall", {"reason": "sharp"}, (404, "not_found")),
        (
            "/v1/stock/LAMP-01/recall",
            {"reason": "sharp", "location": "mars"},
            (422, "location_unknown"),
        ),
        ("/v1/stock/GHOST/recall/end", None, (404, "not_found")),
        ("/v1/reroutes/RR-1/pause", None, (404, "not_found")),
    ],
)
async def test_what_is_not_there_is_refused(
    api: Api, path: str, body: Any, expected: tuple[int, str]
) -> None:
    await a_place(api)

    answer = await post(api, path, body)

    assert (answer.status_code, answer.json()["code"]) == expected


async def test_a_reroute_that_is_not_there_is_not_read(api: Api) -> None:
    for path in ("/v1/reroutes/RR-1", "/v1/reroutes/RR-1/orders"):
        assert (await api.operator.get(path)).status_code == 404
    odd = await api.operator.get("/v1/reroutes/RR-1/orders?outcome=eaten")
    assert (odd.status_code, odd.json()["code"]) == (422, "query_invalid")
