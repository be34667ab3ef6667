import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.conftest import Api
from tests.api.orders import Carried, a_shop, place

SETS, ALL = "/v1/routing/rule-sets", "/v1/routing/activations"


def a_rule_set(*rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """One rule for everything; a test names what it is about."""
    named = [{"name": f"rule {i}", **rule} for i, rule in enumerate(rules or ({},))]
    return {"name": "Plain", "currency": "EUR", "rules": named, **changes}


async def test_rule_sets_keep_every_version_and_one_of_all_is_active(api: Api) -> None:
    written = a_rule_set({"from": {"kinds": ["store"]}, "objective": {"parcel_km_minor": "0.50"}})
    first = await api.operator.put(f"{SETS}/plain", json=written)
    second = await api.operator.put(f"{SETS}/plain", json=a_rule_set())
    other = await api.operator.put(f"{SETS}/other", json=a_rule_set())
    await api.operator.post(f"{SETS}/plain/activate", json={"version": 1})
    await api.operator.post(f"{SETS}/other/activate", json={"version": 1})

    listed = (await api.operator.get(SETS)).json()["data"]
    active = (await api.operator.get(f"{SETS}?active=true")).json()["data"]

    assert (first.status_code, second.status_code, other.status_code) == (201, 200, 201)
    assert [(s["id"], s["version"], s["active"]) for s in listed] == [
        ("other", 1, True),
        ("plain", 2, False),
        ("plain", 1, False),
    ]
    assert active == listed[:1]
    assert {name: listed[2][name] for name in written} == written
    assert (await api.operator.get(f"{SETS}/plain")).headers["etag"] == '"2"'
    assert (await api.operator.get(f"{SETS}/plain?version=1")).json() == listed[2]
    assert (await api.operator.get(f"{SETS}/plain?version=9")).status_code == 404
    unknown = await api.operator.post(f"{SETS}/plain/activate", json={"version": 9})
    assert unknown.status_code == 404


async def test_who_let_which_version_route_and_until_when_is_kept(api: Api) -> None:
    for _ in range(2):
        await api.operator.put(f"{SETS}/kept", json=a_rule_set())
    await api.operator.put(f"{SETS}/rival", json=a_rule_set())
    for id, version in (("kept", 1), ("kept", 2), ("kept", 2), ("rival", 1), ("kept", 1)):
        await api.operator.post(f"{SETS}/{id}/activate", json={"version": version})
    ended = await api.operator.post(f"{SETS}/kept/deactivate")
    again = await api.operator.post(f"{SETS}/kept/deactivate")

    of_it = (await api.operator.get(f"{SETS}/kept/activations")).json()["data"]
    first = (await api.operator.get(f"{ALL}?limit=1")).json()
    second = (await api.operator.get(f"{ALL}?limit=1&cursor={first['next_cursor']}")).json()

    assert [each["version"] for each in of_it] == [1, 2, 1]
    assert of_it[1]["until"] < of_it[0]["at"] < of_it[0]["until"]
    assert {each["actor"] for each in of_it} == {each["ended_by"] for each in of_it} == {"operator"}
    assert (ended.status_code, ended.json()["active"]) == (200, False)
    assert (again.status_code, again.json()["active"]) == (200, False)
    (now,) = first["data"]
    assert (now["rule_set"], now["version"], now["until"]) == (None, None, None)
    assert second["data"] == of_it[:1]
    assert (await api.operator.get(f"{SETS}?active=true")).json()["data"] == []


async def served_from(api: Api) -> str:
    """Where an order of two lamps for Lyon is served from now."""
    number = (await place(api)).json()["number"]
    await Carried(api).order(number)
    order = (await api.operator.get(f"/v1/orders/{number}")).json()
    (part,) = order["fulfillment_orders"]
    return str(part["location"])


async def test_the_next_order_goes_by_what_is_live_without_a_deploy(api: Api) -> None:
    await a_shop(api)
    near = {"kind": "store", "address": {"country": "FR"}, "latitude": 45.76, "longitude": 4.84}
    await api.operator.put("/v1/locations/store-presquile", json={"name": "Presqu'île", **near})
    await api.adjust({"sku": "LAMP-01", "location": "store-presquile", "set": 50})
    for kind in ("store", "warehouse"):
        await api.operator.put(f"{SETS}/only", json=a_rule_set({"from": {"kinds": [kind]}}))

    by_default = await served_from(api)
    await api.operator.post(f"{SETS}/only/activate", json={"version": 2})
    by_the_second = await served_from(api)
    await api.operator.post(f"{SETS}/only/activate", json={"version": 1})
    rolled_back = await served_from(api)
    await api.operator.post(f"{SETS}/only/deactivate")
    by_default_again = await served_from(api)

    assert (by_default, by_the_second) == ("store-presquile", "wh-paris")
    assert (rolled_back, by_default_again) == ("store-presquile", "store-presquile")


async def test_a_basket_is_offered_what_the_rules_would_do_with_its_order(api: Api) -> None:
    await a_shop(api)
    near = {"kind": "store", "address": {"country": "FR"}, "latitude": 45.76, "longitude": 4.84}
    await api.operator.put("/v1/locations/store-bellecour", json={"name": "Bellecour", **near})
    await api.adjust({"sku": "LAMP-01", "location": "store-bellecour", "set": 50})
    near_by = {"from": {"locations": ["store-bellecour"]}}
    rules = a_rule_set(
        {"when": {"segments": ["gold"]}, **near_by},
        {"when": {"value_minor": {"at_least": 3000}}, **near_by},
        {"from": {"kinds": ["warehouse"]}},
    )
    await api.operator.put(f"{SETS}/offers", json=rules)
    await api.operator.post(f"{SETS}/offers/activate", json={"version": 1})

    async def offered(discount: int = 0, **more: Any) -> set[str]:
        line = {"sku": "LAMP-01", "quantity": 2, "unit_price_minor": 1999}
        basket = {
            "channel": "web-fr",
            "lines": [{**line, "discount_minor": discount}],
            "delivery": {"country": "FR", "postal_code": "69002"},
        }
        found = await api.channel.post("/v1/availability", json={**basket, **more})
        (home,) = (each for each in found.json()["options"] if each["method"] == "home")
        return {each["location"] for each in home["lines"]}

    assert await offered() == {"wh-paris"}
    assert await offered(segment="gold") == {"store-bellecour"}
    assert await offered(currency="EUR") == {"store-bellecour"}
    assert await offered(discount=1500, currency="EUR") == {"wh-paris"}
    await api.operator.post(f"{SETS}/offers/deactivate")


async def test_a_basket_that_is_a_kit_is_not_offered_in_pieces(api: Api) -> None:
    await a_shop(api)
    for sku, location in (("TABLE", "wh-tables"), ("CHAIR", "wh-chairs")):
        await api.has(sku, location, units=5)
    lines = [{"sku": "TABLE", "quantity": 1}, {"sku": "CHAIR", "quantity": 4}]
    to = {"country": "FR", "postal_code": "69002"}

    async def options(**kit: str) -> list[Any]:
        basket = {"channel": "web-fr", "lines": [{**line, **kit} for line in lines], "delivery": to}
        found: list[Any] = (await api.channel.post("/v1/availability", json=basket)).json()[
            "options"
        ]
        return found

    assert [len(option["lines"]) for option in await options()] == [2]
    assert await options(kit="set-1") == []


async def test_a_wrong_rule_set_is_refused_whole_with_every_error(api: Api) -> None:
    await api.has("KNOWN", location="wh-known", units=0)
    wrong = a_rule_set(
        {"from": {"kinds": ["stre"], "locations": ["wh-known", "nowhere"]}, "left": "cancel"},
        {"when": {"channels": ["unheard-of"]}, "lines": {"skus": ["KNOWN", "NOTHING"]}},
        {"from": {"carriers": ["pigeon"]}, "left": "cancel"},
        {"name": "rule 0"},
        currency="EURO",
    )

    refused = await api.operator.put(f"{SETS}/wrong", json=wrong)
    checked = await api.operator.post("/v1/routing/check", json=wrong)

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [(e["pointer"], e["code"]) for e in refused.json()["errors"]] == [
        ("/currency", "currency_unknown"),
        ("/rules/0/from/kinds/0", "not_allowed"),
        ("/rules/3/name", "repeated"),
        ("/rules/3", "never_reached"),
        ("/rules/0/from/locations/1", "location_unknown"),
        ("/rules/1/when/channels/0", "channel_unknown"),
        ("/rules/1/lines/skus/1", "sku_unknown"),
        ("/rules/2/from/carriers/0", "carrier_unknown"),
    ]
    assert checked.json() == {"errors": refused.json()["errors"], "notes": []}
    assert (await api.operator.get(f"{SETS}/wrong")).status_code == 404


async def test_a_group_or_tag_that_nothing_has_is_noted_and_may_be_meant(api: Api) -> None:
    await api.operator.put("/v1/products/GLASS", json={"name": "Glass", "tags": ["fragile"]})
    rules = a_rule_set(
        {"lines": {"tags": ["fragile", "fragil"]}, "from": {"groups": ["clear-out"]}}, {}
    )

    checked = (await api.operator.post("/v1/routing/check", json=rules)).json()
    put = await api.operator.put(f"{SETS}/slip", json=rules)

    assert checked["errors"] == []
    assert [(note["pointer"], note["detail"]) for note in checked["notes"]] == [
        ("/rules/0/lines/tags/1", "No article has the tag fragil."),
        ("/rules/0/from/groups/0", "No location has the group clear-out."),
    ]
    assert put.status_code == 201


async def test_more_errors_than_anybody_reads_are_counted(api: Api) -> None:
    many = {f"field_{i}": i for i in range(3000)}

    refused = (await api.operator.put(f"{SETS}/many", json=a_rule_set(**many))).json()

    assert len(refused["errors"]) == 1001
    assert refused["errors"][-1]["detail"] == "2000 more errors are not listed."


async def test_a_list_of_too_many_is_refused_before_each_of_it_is(api: Api) -> None:
    many = a_rule_set({"lines": {"skus": [1] * 5001}})

    refused = (await api.operator.put(f"{SETS}/many", json=many)).json()

    assert [(e["pointer"], e["code"]) for e in refused["errors"]] == [
        ("/rules/0/lines/skus", "too_many")
    ]


async def test_a_rule_set_that_lacks_a_rate_does_not_go_live(api: Api) -> None:
    place = {"name": "Oslo", "kind": "store", "address": {"country": "NO"}}
    costly = {**place, "handling_minor": 100, "currency": "NOK"}
    await api.operator.put("/v1/locations/oslo", json=costly)
    goods = {"name": "Sofa", "unit_cost_minor": 9000, "cost_currency": "SEK"}
    await api.operator.put("/v1/products/SOFA", json=goods)
    looks_at = {"objective": {"handling": "1", "goods": "1"}}
    await api.operator.put(f"{SETS}/nordic", json=a_rule_set(looks_at))
    await api.operator.put(f"{SETS}/nordic", json=a_rule_set({}))
    rates = {"NOK": "0.085", "SEK": "0.09"}
    await api.operator.put(f"{SETS}/nordic", json=a_rule_set(looks_at, rates=rates))

    refused = await api.operator.post(f"{SETS}/nordic/activate", json={"version": 1})
    checked = await api.operator.post("/v1/routing/check", json=a_rule_set(looks_at))
    blind = await api.operator.post(f"{SETS}/nordic/activate", json={"version": 2})
    rated = await api.operator.post(f"{SETS}/nordic/activate", json={"version": 3})

    assert (refused.status_code, refused.json()["code"]) == (422, "rate_missing")
    assert [(e["pointer"], e["detail"]) for e in refused.json()["errors"]] == [
        ("/rates", "NOK has no rate, and location oslo counts in it."),
        ("/rates", "SEK has no rate, and article SOFA counts in it."),
    ]
    assert checked.json()["errors"] == refused.json()["errors"]
    assert (blind.status_code, rated.status_code) == (200, 200)
    await api.operator.post(f"{SETS}/nordic/deactivate")


async def test_a_document_of_before_rules_were_read_is_shown_and_never_goes_live(api: Api) -> None:
    async with api.engine.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO rule_sets (id, version, document, active, created_at)"
                """ VALUES ('old', 1, '{"rules": [{"if": "fr"}]}', false, now())"""
            )
        )

    shown = await api.operator.get(f"{SETS}/old")
    refused = await api.operator.post(f"{SETS}/old/activate", json={"version": 1})

    assert shown.json()["rules"] == [{"if": "fr"}]
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


async def test_of_many_activations_at_once_one_stands_and_the_log_says_which(api: Api) -> None:
    for id in ("left", "right"):
        await api.operator.put(f"{SETS}/{id}", json=a_rule_set())

    turns = [
        api.operator.post(f"{SETS}/{id}/activate", json={"version": 1})
        for id in ("left", "right") * 5
    ]
    answers = await asyncio.gather(*turns)
    (active,) = (await api.operator.get(f"{SETS}?active=true")).json()["data"]
    (last,) = (await api.operator.get(f"{ALL}?limit=1")).json()["data"]

    assert {each.status_code for each in answers} == {200}
    assert (last["rule_set"], last["until"]) == (active["id"], None)
    await api.operator.post(f"{SETS}/{active['id']}/deactivate")


async def test_a_stale_version_of_a_rule_set_changes_nothing(api: Api) -> None:
    await api.operator.put(f"{SETS}/stale", json=a_rule_set())
    second = await api.operator.put(f"{SETS}/stale", json=a_rule_set(), headers={"If-Match": '"1"'})
    late = await api.operator.put(f"{SETS}/stale", json=a_rule_set(), headers={"If-Match": '"1"'})

    assert (second.status_code, late.status_code) == (200, 412)
    assert (await api.operator.get(f"{SETS}/stale")).json()["version"] == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"id": "mine"}', "/id"),
        (b'{"rules": [{"name": "a\\u0000"}]}', "/rules/0/name"),
        (b'{"rules": {"a\\u0000": 1}}', "/rules"),
        (b'{"name": 99999999999999999999}', "/name"),
        (b'{"name": ' + b"9" * 400 + b"}", "/name"),
        (b'{"name": 1e999}', "/name"),
        (b"[]", ""),
    ],
)
async def test_a_rule_set_holds_only_what_can_be_kept(api: Api, body: bytes, pointer: str) -> None:
    refused = await api.operator.put(f"{SETS}/odd", content=body)

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert pointer in [error["pointer"] for error in refused.json()["errors"]]


async def test_rule_sets_are_the_operators(api: Api) -> None:
    for call in ("", "/plain", "/plain/activations"):
        assert (await api.channel.get(f"{SETS}{call}")).status_code == 403
    assert (await api.node.post("/v1/routing/check", json=a_rule_set())).status_code == 403
    assert (await api.node.get(ALL)).status_code == 403
