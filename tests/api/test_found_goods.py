"""Goods of nothing we know are kept by place, seen by who may, and resolved once."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import Api, key
from tests.api.orders import a_shop
from tests.api.test_returns import ask, delivered
from tests.api.test_returns import found as found_units

LAMP = {"sku": "LAMP-01", "quantity": 1, "condition": "as_new"}


async def tells(
    api: Api, *lines: dict[str, Any], client: httpx.AsyncClient | None = None, **more: Any
) -> httpx.Response:
    """A place opens a parcel of nobody."""
    await a_shop(api)
    body = {"location": "wh-paris", "reference": uuid4().hex, "lines": list(lines) or [LAMP]}
    return await (client or api.node).post("/v1/returns/unannounced", json=body | more)


async def resolve(api: Api, id: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await api.operator.post(
        f"/v1/found-goods/{id}/resolve", json={"reason": "seen"} | body, headers=key()
    )
    return answer.status_code, answer.json()


async def test_each_thing_in_a_parcel_of_nobody_is_kept_for_itself(api: Api) -> None:
    lines = [LAMP, LAMP | {"condition": "damaged", "quantity": 2}, LAMP | {"sku": None}]

    answer = await tells(api, *lines)

    assert answer.status_code == 201
    found = answer.json()["found"]
    assert [(each["line"], each["sku"], each["quantity"]) for each in found] == [
        (1, "LAMP-01", 1),
        (2, "LAMP-01", 2),
        (3, None, 1),
    ]
    assert (found[0]["version"], found[0]["resolved_at"]) == (1, None)


async def test_a_scan_under_a_key_is_replayed(api: Api) -> None:
    await a_shop(api)
    body = {"location": "wh-paris", "reference": uuid4().hex, "lines": [LAMP]}
    headers = key()

    first = await api.node.post("/v1/returns/unannounced", json=body, headers=headers)
    again = await api.node.post("/v1/returns/unannounced", json=body, headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


async def test_a_parcel_whose_order_is_known_only_later_is_not_found_twice(api: Api) -> None:
    number, box = await delivered(api), uuid4().hex
    first = await tells(api, reference=box)

    alike = await tells(api, reference=box)
    otherwise = await tells(api, reference=box, order=number)

    assert (first.status_code, alike.status_code) == (201, 200)
    assert alike.json() == first.json()
    assert (otherwise.status_code, otherwise.json()["code"]) == (409, "reference_reused")
    assert otherwise.json()["errors"][0]["pointer"] == "/reference"
    order = (await api.operator.get(f"/v1/orders/{number}")).json()
    assert order["lines"][0]["returned"] == 0
    known = (await api.operator.get("/v1/found-goods?open=true")).json()["data"]
    assert [each["reference"] for each in known].count(box) == 1


async def test_another_parcel_under_the_same_reference_is_not_swallowed(api: Api) -> None:
    told: dict[str, Any] = {"order": await delivered(api), "reference": uuid4().hex}
    first = await tells(api, **told)

    other = await tells(api, LAMP | {"condition": "damaged"}, **told)
    again = await tells(api, **told)
    elsewhere = await tells(api, client=api.operator, location="store-lyon", **told)

    assert (first.status_code, again.status_code, elsewhere.status_code) == (201, 200, 201)
    assert again.json()["returns"][0]["lines"] == first.json()["returns"][0]["lines"]
    assert (other.status_code, other.json()["code"]) == (409, "reference_reused")
    order = (await api.operator.get(f"/v1/orders/{told['order']}")).json()
    assert order["lines"][0]["returned"] == 2


async def test_the_list_is_paged_newest_first_and_cut_to_ones_places(api: Api) -> None:
    ids = [(await tells(api)).json()["found"][0]["id"] for _ in range(3)]

    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = (await api.node.get(f"/v1/found-goods?limit=1&open=true{cursor}")).json()
        seen += [each["id"] for each in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"

    assert seen == ids[::-1]
    assert (await api.other_node.get("/v1/found-goods")).json()["data"] == []
    assert (await api.channel.get("/v1/found-goods")).status_code == 403
    elsewhere = await api.operator.get("/v1/found-goods?location=store-lyon")
    assert elsewhere.json()["data"] == []


async def test_a_place_tells_of_itself_alone(api: Api) -> None:
    assert (await tells(api, client=api.other_node)).status_code == 404
    assert (await tells(api, client=api.channel)).status_code == 403


async def test_what_is_set_aside_is_damaged_stock_once(api: Api) -> None:
    id = (await tells(api)).json()["found"][0]["id"]
    before = await damaged(api)

    for _ in range(2):
        status, done = await resolve(api, id, disposition="quarantine")
        assert (status, done["resolution"], done["reason"]) == (200, "quarantine", "seen")

    assert await damaged(api) == before + 1
    assert id not in [
        each["id"] for each in (await api.node.get("/v1/found-goods?open=true")).json()["data"]
    ]


async def damaged(api: Api) -> int:
    stock = (await api.operator.get("/v1/stock/LAMP-01")).json()
    return next(int(e["damaged"]) for e in stock["locations"] if e["location"] == "wh-paris")


async def test_that_goods_wait_is_told_once_and_once_that_they_no_longer_do(api: Api) -> None:
    await a_shop(api)
    body = {"location": "wh-paris", "reference": uuid4().hex, "lines": [LAMP]}
    scans = [await api.node.post("/v1/returns/unannounced", json=body) for _ in range(2)]
    id = scans[0].json()["found"][0]["id"]
    for _ in range(2):
        await resolve(api, id, disposition="dispose")

    told = (await api.operator.get("/v1/stock/events?location=wh-paris&limit=1000")).json()["data"]

    about = [each for each in told if each["data"].get("found") == id]
    assert [each["kind"] for each in about] == ["found_goods.waiting", "found_goods.resolved"]
    assert about[0]["data"] == {"found": id, "quantity": 1, "condition": "as_new", "return": None}
    assert about[1]["data"]["resolution"] == "dispose"


async def test_what_lay_in_a_parcel_beyond_all_that_was_sent_is_told_to_wait_too(api: Api) -> None:
    id = (await ask(api, await delivered(api), 2))["id"]
    for _ in range(2):
        scanned = await api.node.post(f"/v1/returns/{id}/receive", json=found_units(3))
        assert scanned.status_code == 200, scanned.text

    told = (await api.operator.get("/v1/stock/events?kind=found_goods.waiting")).json()["data"]

    assert [each["data"]["quantity"] for each in told if each["data"]["return"] == id] == [1]


async def test_an_article_nobody_knows_cannot_go_on_a_shelf(api: Api) -> None:
    odd = (await tells(api, LAMP | {"sku": "NO-SUCH"})).json()["found"][0]["id"]

    status, no = await resolve(api, odd, disposition="restock")

    assert (status, no["code"]) == (422, "sku_unknown")
    assert (await resolve(api, odd, disposition="dispose"))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"order": "K3M9-QXZ4-7"},
        {"line": 1},
        {"order": "K3M9-QXZ4-7", "line": 1, "disposition": "dispose"},
        {"line": 1, "disposition": "dispose"},
        {"disposition": "restock_elsewhere"},
    ],
)
async def test_goods_are_somebodys_or_get_a_fate(api: Api, body: dict[str, Any]) -> None:
    status, no = await resolve(api, "1", **body)

    assert (status, no["code"]) == (422, "validation_failed")


async def test_what_there_is_not_is_not_found(api: Api) -> None:
    id = (await tells(api)).json()["found"][0]["id"]

    assert (await resolve(api, "999999", disposition="dispose"))[0] == 404
    assert (await resolve(api, "x", disposition="dispose"))[0] == 404
    assert (await resolve(api, id, order="K3M9-QXZ4-7", line=1))[0] == 404
