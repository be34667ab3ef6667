from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import Api, key

FIRST, LATER = "2036-12-01T08:00:00Z", "2036-12-09T08:00:00Z"
PAST = "2026-01-01T08:00:00Z"


async def announced(api: Api, quantity: int = 10, **more: Any) -> dict[str, Any]:
    """Units of an article of this test's own, on their way to Paris by a purchase order."""
    sku = f"COMES-{uuid4().hex[:8]}"
    await api.has(sku, units=0)
    body = {"sku": sku, "location": "wh-paris", "quantity": quantity, "reference": uuid4().hex}
    body |= {"expected_at": FIRST} | more
    answered = await api.operator.post("/v1/stock/incoming", json=body, headers=key())
    assert answered.status_code == 201, answered.text
    return dict(answered.json())


async def arrived(
    api: Api, id: str, *, by: httpx.AsyncClient | None = None, **units: int
) -> httpx.Response:
    path = f"/v1/stock/incoming/{id}/receive"
    return await (by or api.node).post(path, json=units, headers=key())


async def level(api: Api, sku: str) -> dict[str, int]:
    """The buckets in Paris that are not zero."""
    (found,) = (await api.operator.get(f"/v1/stock/{sku}")).json()["locations"]
    return {name: units for name, units in found.items() if name != "location" and units}


async def test_a_date_that_moves_can_be_explained(api: Api) -> None:
    order = await announced(api)
    path = f"/v1/stock/incoming/{order['id']}"

    later = {"quantity": 8, "expected_at": LATER}
    moved = await api.operator.put(path, json=later, headers={"If-Match": '"1"'})
    stale = await api.operator.put(path, json=later, headers={"If-Match": '"1"'})
    read = (await api.operator.get(path)).json()

    assert (moved.status_code, stale.status_code) == (200, 412)
    assert (read["announced_at"], read["expected_at"]) == (FIRST, LATER)
    history = [(step["kind"], step["quantity"], step["expected_at"]) for step in read["history"]]
    assert history == [("announced", 10, FIRST), ("changed", 8, LATER)]
    assert await level(api, order["sku"]) == {"incoming": 8}


async def test_goods_come_in_parts_and_more_than_was_announced(api: Api) -> None:
    order = await announced(api)

    first = (await arrived(api, order["id"], quantity=6, damaged=2)).json()
    part = await level(api, order["sku"])
    rest = (await arrived(api, order["id"], quantity=7)).json()

    assert (first["status"], first["outstanding"]) == ("partially_received", 4)
    assert part == {"on_hand": 4, "damaged": 2, "incoming": 4, "available": 4}
    assert (rest["status"], rest["received"], rest["damaged"]) == ("received", 13, 2)
    assert await level(api, order["sku"]) == {"on_hand": 11, "damaged": 2, "available": 11}


async def test_what_was_called_off_and_comes_all_the_same_is_recorded(api: Api) -> None:
    order = await announced(api)
    path = f"/v1/stock/incoming/{order['id']}"

    cancelled = (await api.operator.post(f"{path}/cancel", headers=key())).json()
    again = await api.operator.post(f"{path}/cancel", headers=key())
    none_left = await level(api, order["sku"])
    change = await api.operator.put(path, json={"quantity": 1, "expected_at": LATER})
    came = (await arrived(api, order["id"], quantity=3)).json()

    assert (cancelled["status"], again.json()["version"]) == ("cancelled", cancelled["version"])
    assert none_left == {}
    assert (change.status_code, change.json()["code"]) == (409, "invalid_state")
    assert (came["status"], came["outstanding"]) == ("closed", 0)
    assert await level(api, order["sku"]) == {"on_hand": 3, "available": 3}


async def test_a_receipt_sent_twice_counts_once(api: Api) -> None:
    order, once = await announced(api), key()
    path = f"/v1/stock/incoming/{order['id']}/receive"

    first = await api.node.post(path, json={"quantity": 4}, headers=once)
    again = await api.node.post(path, json={"quantity": 4}, headers=once)
    without = await api.node.post(path, json={"quantity": 4})

    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert without.json()["code"] == "idempotency_key_missing"
    assert (await level(api, order["sku"]))["on_hand"] == 4


async def test_the_same_announcement_is_the_same_after_its_date_has_moved(api: Api) -> None:
    order = await announced(api)
    body = {name: order[name] for name in ("sku", "location", "quantity", "reference")}
    body["expected_at"] = FIRST
    path = "/v1/stock/incoming"
    await api.operator.put(f"{path}/{order['id']}", json={"quantity": 9, "expected_at": LATER})

    again = await api.operator.post(path, json=body, headers=key())
    other = await api.operator.post(path, json={**body, "quantity": 9}, headers=key())

    assert (again.status_code, again.json()["id"]) == (201, order["id"])
    assert (other.status_code, other.json()["code"]) == (409, "reference_reused")
    assert await level(api, order["sku"]) == {"incoming": 9}


async def test_nothing_is_promised_on_a_date_that_has_passed(api: Api) -> None:
    late, coming = await announced(api, expected_at=PAST), await announced(api)
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    await arrived(api, coming["id"], quantity=4)

    async def promised(order: dict[str, Any]) -> list[dict[str, Any]]:
        query = f"/v1/availability?sku={order['sku']}&channel=web-fr"
        return list((await api.channel.get(query)).json()["incoming"])

    overdue = (await api.operator.get("/v1/stock/incoming?overdue=true")).json()["data"]

    assert late["overdue"]
    assert late["id"] in [each["id"] for each in overdue]
    assert coming["id"] not in [each["id"] for each in overdue]
    assert await promised(late) == []
    assert await promised(coming) == [{"quantity": 6, "expected_at": FIRST}]


async def test_goods_on_the_road_are_promised_with_their_date(api: Api) -> None:
    order = await announced(api)
    sku = order["sku"]
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    await arrived(api, order["id"], quantity=10)
    await api.has(sku, location="wh-oslo", units=0)
    units = [{"sku": sku, "quantity": 4}]
    body = {"from": "wh-paris", "to": "wh-oslo", "lines": units, "expected_at": LATER}
    transfer = (await api.operator.post("/v1/transfers", json=body, headers=key())).json()
    query = f"/v1/availability?sku={sku}&channel=web-fr"

    requested = (await api.channel.get(query)).json()
    await api.node.post(f"/v1/transfers/{transfer['id']}/ship", json={}, headers=key())
    shipped = (await api.channel.get(query)).json()

    assert (requested["available"], requested["incoming"]) == (6, [])
    assert shipped["available"] == 6
    assert shipped["incoming"] == [{"quantity": 4, "expected_at": LATER}]


async def test_a_node_receives_its_own_and_only_operators_change_what_is_expected(
    api: Api,
) -> None:
    order = await announced(api)
    path = f"/v1/stock/incoming/{order['id']}"
    change = {"quantity": 1, "expected_at": LATER}

    answers = {
        "stranger receives": (await arrived(api, order["id"], by=api.other_node, quantity=1)),
        "stranger looks": await api.other_node.get(path),
        "node looks": await api.node.get(path),
        "node changes": await api.node.put(path, json=change),
        "node cancels": await api.node.post(f"{path}/cancel", headers=key()),
        "channel looks": await api.channel.get(path),
        "nothing there": await api.operator.get("/v1/stock/incoming/999999999"),
        "no number": await api.operator.get("/v1/stock/incoming/PO-1"),
    }
    mine = (await api.node.get(f"/v1/stock/incoming?sku={order['sku']}")).json()["data"]
    theirs = (await api.other_node.get(f"/v1/stock/incoming?sku={order['sku']}")).json()["data"]

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "stranger receives": 404,
        "stranger looks": 404,
        "node looks": 200,
        "node changes": 403,
        "node cancels": 403,
        "channel looks": 403,
        "nothing there": 404,
        "no number": 404,
    }
    assert ([each["id"] for each in mine], theirs) == ([order["id"]], [])


@pytest.mark.parametrize(
    ("receipt", "pointer"),
    [
        ({}, "/quantity"),
        ({"quantity": 0}, "/quantity"),
        ({"quantity": 1, "damaged": 2}, "/damaged"),
        ({"quantity": 1, "broken": 1}, "/broken"),
    ],
)
async def test_a_flawed_receipt_is_refused_by_the_name_of_its_field(
    api: Api, receipt: dict[str, Any], pointer: str
) -> None:
    order = await announced(api)

    refused = await arrived(api, order["id"], **receipt)

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert refused.json()["errors"][0]["pointer"] == pointer


async def test_what_is_expected_is_listed_by_what_is_asked(api: Api) -> None:
    order, other = await announced(api), await announced(api)
    await arrived(api, other["id"], quantity=1)
    path = "/v1/stock/incoming?limit=1"

    by_sku = (await api.operator.get(f"{path}&sku={order['sku']}")).json()
    by_reference = (await api.operator.get(f"{path}&reference={other['reference']}")).json()
    by_status = (await api.operator.get(f"{path}&status=partially_received")).json()
    first = (await api.operator.get(path)).json()
    second = (await api.operator.get(f"{path}&cursor={first['next_cursor']}")).json()

    assert [each["id"] for each in by_sku["data"]] == [order["id"]]
    assert [each["id"] for each in by_reference["data"]] == [other["id"]]
    assert [each["id"] for each in by_status["data"]] == [other["id"]]
    assert [each["data"][0]["id"] for each in (first, second)] == [other["id"], order["id"]]
