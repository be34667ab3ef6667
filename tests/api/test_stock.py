from typing import Any

import pytest

from tests.api.conftest import Api, key


async def on_hand(api: Api, sku: str, location: str) -> int:
    levels = (await api.operator.get(f"/v1/stock/{sku}")).json()["locations"]
    return next((int(level["on_hand"]) for level in levels if level["location"] == location), 0)


async def test_counts_and_corrections_are_answered_with_their_movements(api: Api) -> None:
    await api.has("MOVED", units=0)

    answered = await api.adjust(
        {"sku": "MOVED", "location": "wh-paris", "set": 12, "reason": "count"},
        {"sku": "MOVED", "location": "wh-paris", "delta": -2, "expected_on_hand": 12},
    )
    stock = (await api.operator.get("/v1/stock/MOVED")).json()
    ledger = (await api.operator.get("/v1/stock/MOVED/movements")).json()

    assert [move["delta"] for move in answered.json()["data"]] == [12, -2]
    level = {
        "on_hand": 10,
        "reserved": 0,
        "allocated": 0,
        "safety_stock": 0,
        "incoming": 0,
        "in_transit": 0,
        "coming_back": 0,
        "requested": 0,
        "damaged": 0,
        "backordered": 0,
        "available": 10,
    }
    assert stock == {
        "sku": "MOVED",
        "available": 10,
        "available_for_channel": None,
        "totals": level,
        "locations": [{**level, "location": "wh-paris", "blocked": False, "for_channel": None}],
        "incoming": [],
    }
    assert [move["delta"] for move in ledger["data"]] == [-2, 12]
    assert ledger["data"][1].items() >= {"bucket": "on_hand", "cause": "count"}.items()
    assert ledger["data"][0]["at"].endswith("Z")


@pytest.mark.parametrize(
    ("adjustment", "status", "code", "pointer"),
    [
        ({"set": 1, "delta": 1}, 422, "validation_failed", "/adjustments/1"),
        ({}, 422, "validation_failed", "/adjustments/1"),
        ({"set": -1}, 422, "validation_failed", "/adjustments/1/set"),
        ({"set": 1.0}, 422, "validation_failed", "/adjustments/1/set"),
        ({"set": "1"}, 422, "validation_failed", "/adjustments/1/set"),
        ({"set": True}, 422, "validation_failed", "/adjustments/1/set"),
        ({"delta": -1000}, 422, "stock_negative", "/adjustments/1/delta"),
        (
            {"set": 1, "expected_on_hand": 77},
            409,
            "stock_changed",
            "/adjustments/1/expected_on_hand",
        ),
        ({"sku": "NONE", "set": 1}, 422, "sku_unknown", "/adjustments/1/sku"),
        ({"location": "none", "set": 1}, 422, "location_unknown", "/adjustments/1/location"),
    ],
)
async def test_one_adjustment_that_cannot_be_made_spoils_all(
    api: Api, adjustment: dict[str, Any], status: int, code: str, pointer: str
) -> None:
    await api.has("ALL", units=5)
    place = {"sku": "ALL", "location": "wh-paris"}

    refused = await api.adjust({**place, "set": 50}, {**place, **adjustment})

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert await on_hand(api, "ALL", "wh-paris") == 5


async def test_a_node_adjusts_its_own_stock_and_sees_no_other_place(api: Api) -> None:
    await api.has("OWN", units=1)
    await api.has("OWN", location="wh-oslo", units=1)
    body = {"adjustments": [{"sku": "OWN", "location": "wh-paris", "delta": 1}]}

    mine = await api.node.post("/v1/stock/adjustments", json=body, headers=key())
    theirs = await api.other_node.post("/v1/stock/adjustments", json=body, headers=key())
    never = await api.channel.post("/v1/stock/adjustments", json=body, headers=key())

    assert (mine.status_code, theirs.status_code, never.status_code) == (200, 404, 403)
    assert await on_hand(api, "OWN", "wh-paris") == 2


async def test_a_policy_keeps_units_back(api: Api) -> None:
    await api.has("KEPT", units=10)
    path = "/v1/stock/KEPT/wh-paris/policy"

    first = await api.operator.put(path, json={"safety_stock": 2, "backorder_limit": 0})
    second = await api.operator.put(path, json={"safety_stock": 3}, headers={"If-Match": '"1"'})
    stale = await api.operator.put(path, json={"safety_stock": 9}, headers={"If-Match": '"1"'})

    assert (first.status_code, second.status_code, stale.status_code) == (201, 200, 412)
    assert (await api.operator.get("/v1/stock/KEPT")).json()["available"] == 7
    unknown = await api.operator.put("/v1/stock/KEPT/none/policy", json={"safety_stock": 2})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "location_unknown")


async def test_a_place_says_what_goods_cost_there_until_it_says_so_no_more(api: Api) -> None:
    await api.has("COSTS", units=10)
    path = "/v1/stock/COSTS/wh-paris/policy"

    first = await api.operator.put(path, json={"unit_cost_minor": 640, "cost_currency": "EUR"})
    second = await api.operator.put(path, json={"safety_stock": 1})

    assert (first.json()["unit_cost_minor"], first.json()["cost_currency"]) == (640, "EUR")
    assert (second.json()["unit_cost_minor"], second.json()["cost_currency"]) == (None, None)


async def test_incoming_units_of_one_reference_count_once(api: Api) -> None:
    await api.has("COMING", units=0)
    order = {
        "sku": "COMING",
        "location": "wh-paris",
        "quantity": 100,
        "expected_at": "2036-12-01T09:00:00+01:00",
        "reference": "PO-1",
    }

    first = await api.operator.post("/v1/stock/incoming", json=order, headers=key())
    again = await api.operator.post("/v1/stock/incoming", json=order, headers=key())
    other = await api.operator.post(
        "/v1/stock/incoming", json={**order, "quantity": 7}, headers=key()
    )
    stock = (await api.operator.get("/v1/stock/COMING")).json()

    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert first.json()["expected_at"] == "2036-12-01T08:00:00Z"
    assert stock["locations"][0]["incoming"] == 100


@pytest.mark.parametrize(
    "time", ["2036-12-01", "2036-12-01T08:00:00", "1700000000", 1700000000, "0001-01-01T00:00:00Z"]
)
async def test_a_time_without_its_offset_is_no_time(api: Api, time: object) -> None:
    body = {
        "sku": "COMING",
        "location": "wh-paris",
        "quantity": 1,
        "reference": "PO-2",
        "expected_at": time,
    }
    refused = await api.operator.post("/v1/stock/incoming", json=body, headers=key())

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert refused.json()["errors"][0]["pointer"] == "/expected_at"


async def test_a_channel_sees_what_it_could_have(api: Api) -> None:
    await api.has("HAVE", units=3)
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    path = "/v1/availability?sku=HAVE&channel=web-fr"

    some = (await api.channel.get(path)).json()
    more = (await api.channel.get(f"{path}&quantity=4&country=FR&postal_code=69001")).json()

    (at_home,) = some.pop("options")
    assert some == {
        "sku": "HAVE",
        "available": 3,
        "in_stock": True,
        "backorderable": 0,
        "preorder": False,
        "available_from": None,
        "incoming": [],
    }
    assert at_home["method"] == "home"
    assert more["in_stock"] is False
    assert more["options"] == []


async def test_a_preorder_shows_from_when_it_is_there_and_how_many_may_be_had(api: Api) -> None:
    await api.has("NOVEL", units=40)
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    book = {"name": "Novel", "available_from": "2036-03-01T00:00:00Z"}
    await api.operator.put("/v1/products/NOVEL", json=book)
    await api.operator.put("/v1/stock/NOVEL/wh-paris/policy", json={"backorder_limit": 5})

    shown = (await api.channel.get("/v1/availability?sku=NOVEL&channel=web-fr")).json()

    (preorder,) = shown.pop("options")
    assert preorder["promise"] > "2036-03-01"
    assert shown == {
        "sku": "NOVEL",
        "available": 0,
        "in_stock": False,
        "backorderable": 5,
        "preorder": True,
        "available_from": "2036-03-01T00:00:00Z",
        "incoming": [],
    }


async def test_what_is_coming_may_be_promised_where_the_policy_says_so(api: Api) -> None:
    await api.has("SOON", units=0)
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    coming = {
        "sku": "SOON",
        "location": "wh-paris",
        "quantity": 30,
        "expected_at": "2036-12-01T08:00:00Z",
        "reference": "PO-30",
    }
    await api.operator.post("/v1/stock/incoming", json=coming, headers=key())
    path, policy = "/v1/availability?sku=SOON&channel=web-fr", "/v1/stock/SOON/wh-paris/policy"

    await api.operator.put(policy, json={"backorder_limit": 2})
    limited = (await api.channel.get(path)).json()["backorderable"]
    made = await api.operator.put(
        policy, json={"backorder_limit": 2, "backorder_from_incoming": True}
    )

    assert made.json()["backorder_from_incoming"] is True
    assert (limited, (await api.channel.get(path)).json()["backorderable"]) == (2, 32)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("sku=HAVE", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&colour=red", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&quantity=0", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&quantity=1.0", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&quantity=%2B1", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&quantity=1&quantity=2", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&country=ZZ", 422, "query_invalid"),
        ("sku=HA%00VE&channel=web-fr", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&country=FR&postal_code=%00", 422, "query_invalid"),
        ("sku=HAVE&channel=web-fr&country=FR&postal_code=1", 422, "address_invalid"),
        ("sku=NONE&channel=web-fr", 422, "sku_unknown"),
        ("sku=HAVE,NONE&channel=web-fr", 422, "sku_unknown"),
        ("sku=HAVE,&channel=web-fr", 422, "query_invalid"),
        ("sku=HAVE,HAVE&channel=web-fr", 422, "query_invalid"),
        (f"sku={','.join(f'A{i}' for i in range(101))}&channel=web-fr", 422, "query_invalid"),
        ("sku=HAVE&sku=NONE&channel=web-fr", 422, "query_invalid"),
        ("sku=HAVE&channel=elsewhere", 404, "not_found"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    api: Api, query: str, status: int, code: str
) -> None:
    await api.has("HAVE", units=3)
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})

    refused = await api.channel.get(f"/v1/availability?{query}")

    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_stock_is_read_as_a_channel_sees_it_and_says_why_a_place_does_not_count(
    api: Api,
) -> None:
    sku = "SEEN"
    places: dict[str, dict[str, Any]] = {
        "depot": {"kind": "warehouse"},
        "shop": {"kind": "store"},
        "bare-shop": {"kind": "store"},
        "closed": {"active": False},
        "outlet": {"channels": ["outlet"]},
        "agent": {"kind": "reseller"},
        "lockers": {"serves": ["locker"]},
    }
    for place, more in places.items():
        await api.has(sku, location=place, units=1 if place == "bare-shop" else 5)
        body = {"name": place, "kind": "warehouse", "address": {"country": "FR"}, **more}
        await api.operator.put(f"/v1/locations/{place}", json=body)
    rules = {"location_kinds": ["warehouse", "store"], "buffers": {"store": 1}}
    await api.operator.put("/v1/channels/picky", json={"name": "Picky", **rules})

    stock = (await api.operator.get(f"/v1/stock/{sku}?channel=picky")).json()
    listed = (await api.operator.get(f"/v1/stock?sku={sku}&channel=picky")).json()["data"]

    given = {level["location"]: level["for_channel"] for level in stock["locations"]}
    assert {place: (each["available"], each["why_not"]) for place, each in given.items()} == {
        "depot": (5, []),
        "shop": (4, []),
        "bare-shop": (0, ["nothing_left"]),
        "closed": (0, ["location_inactive"]),
        "outlet": (0, ["serves_other_channels"]),
        "agent": (0, ["kind_does_not_count"]),
        "lockers": (0, ["serves_no_method"]),
    }
    assert (stock["available"], stock["available_for_channel"]) == (31, 9)
    assert (stock["totals"]["on_hand"], given["shop"]["buffer"]) == (31, 1)
    assert [level["location"] for level in listed] == sorted(places)
    assert {level["location"]: level["for_channel"] for level in listed} == given


async def test_an_article_that_may_not_be_sold_says_so(api: Api) -> None:
    await api.has("SOON", units=5)
    await api.operator.put("/v1/channels/any", json={"name": "Any", "active": False})
    soon = {"name": "Lamp", "available_from": "2036-01-01T00:00:00Z", "sellable": False}
    await api.operator.put("/v1/products/SOON", json=soon)

    stock = (await api.operator.get("/v1/stock/SOON?channel=any")).json()
    unknown = await api.operator.get("/v1/stock/SOON?channel=none")

    assert stock["locations"][0]["for_channel"]["why_not"] == [
        "article_not_sellable",
        "article_not_on_sale_yet",
        "channel_closed",
    ]
    assert (unknown.status_code, unknown.json()["code"]) == (422, "channel_unknown")


async def test_stock_shows_what_is_coming_with_its_dates(api: Api) -> None:
    await api.has("DUE", units=8)
    await api.has("DUE", location="wh-oslo", units=0)
    order = {"sku": "DUE", "location": "wh-paris", "quantity": 3, "reference": "PO-DUE"}
    for late, reference in (("2036-12-01T08:00:00Z", "PO-DUE"), ("2026-01-01T08:00:00Z", "OLD")):
        body = {**order, "expected_at": late, "reference": reference}
        await api.operator.post("/v1/stock/incoming", json=body, headers=key())
    lines = [{"sku": "DUE", "quantity": 2}]
    body = {"from": "wh-paris", "to": "wh-oslo", "lines": lines}
    id = (await api.operator.post("/v1/transfers", json=body, headers=key())).json()["id"]
    await api.operator.post(f"/v1/transfers/{id}/ship", json={}, headers=key())

    stock = (await api.operator.get("/v1/stock/DUE")).json()

    coming = [
        (each["source"], each["reference"] or each["id"], each["quantity"], each["overdue"])
        for each in stock["incoming"]
    ]
    assert coming == [
        ("purchase_order", "OLD", 3, True),
        ("purchase_order", "PO-DUE", 3, False),
        ("transfer", id, 2, False),
    ]
    assert stock["totals"].items() >= {"on_hand": 6, "incoming": 8, "in_transit": 2}.items()


async def test_levels_are_listed_page_by_page_and_a_node_sees_its_own(api: Api) -> None:
    for sku in ("PAGE-1", "PAGE-2", "PAGE-3"):
        await api.has(sku, location="wh-oslo", units=1)
    await api.has("PAGE-2", location="wh-rome", units=1)

    first = (await api.other_node.get("/v1/stock?limit=2")).json()
    pages, cursor = [first], first["next_cursor"]
    while cursor:
        pages.append((await api.other_node.get(f"/v1/stock?limit=2&cursor={cursor}")).json())
        cursor = pages[-1]["next_cursor"]
    one = (await api.operator.get("/v1/stock?location=wh-rome")).json()["data"]
    never = await api.channel.get("/v1/stock")

    listed = [(level["sku"], level["location"]) for page in pages for level in page["data"]]
    assert listed == sorted(listed)
    assert {place for _, place in listed} == {"wh-oslo"}
    assert [sku for sku, _ in listed if sku.startswith("PAGE")] == ["PAGE-1", "PAGE-2", "PAGE-3"]
    assert [(level["sku"], level["location"]) for level in one] == [("PAGE-2", "wh-rome")]
    assert never.status_code == 403
