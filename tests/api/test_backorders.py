from typing import Any

import pytest

from tests.api.conftest import Api

POLICY = "/v1/stock/backorder-policy"


async def test_the_queue_is_served_oldest_first_until_somebody_says_otherwise(api: Api) -> None:
    before = await api.operator.get(POLICY)

    made = await api.operator.put(POLICY, json={"policy": "ship_complete", "patience_days": 3})
    stale = await api.operator.put(
        POLICY, json={"policy": "oldest_first"}, headers={"If-Match": '"0"'}
    )
    body = {"policy": "priority", "segments": ["gold", "silver"]}
    changed = await api.operator.put(POLICY, json=body, headers={"If-Match": '"1"'})
    read = await api.operator.get(POLICY)
    first = (await api.operator.get(f"{POLICY}/history?limit=1")).json()
    rest = (await api.operator.get(f"{POLICY}/history?cursor={first['next_cursor']}")).json()

    assert before.json() == {
        "policy": "oldest_first",
        "segments": [],
        "patience_days": 14,
        "version": 0,
        "set_at": None,
        "set_by": None,
    }
    assert (made.status_code, stale.status_code, changed.status_code) == (201, 412, 200)
    assert read.json() == changed.json()
    assert read.headers["etag"] == '"2"'
    assert read.json().items() >= {**body, "version": 2, "set_by": "operator"}.items()
    assert [each["version"] for each in first["data"] + rest["data"]] == [2, 1]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/policy", "required"),
        ({"policy": "fairest"}, "/policy", "not_allowed"),
        ({"policy": "priority"}, "/segments", "required"),
        ({"policy": "priority", "segments": ["a", "a"]}, "/segments", "repeated"),
        ({"policy": "oldest_first", "segments": ["gold"]}, "/segments", "not_allowed"),
        ({"policy": "ship_complete", "patience_days": -1}, "/patience_days", "too_small"),
        ({"policy": "ship_complete", "patience": 3}, "/patience", "unknown_field"),
    ],
)
async def test_a_rule_that_says_nothing_sensible_is_refused(
    api: Api, body: dict[str, Any], pointer: str, code: str
) -> None:
    refused = await api.operator.put(POLICY, json=body)

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [(e["pointer"], e["code"]) for e in refused.json()["errors"]] == [(pointer, code)]


async def test_rule_and_queue_are_the_operators(api: Api) -> None:
    for who in (api.channel, api.node):
        assert (await who.put(POLICY, json={"policy": "oldest_first"})).status_code == 403
        assert (await who.get(POLICY)).status_code == 403
        assert (await who.get("/v1/stock/LAMP-01/backorders")).status_code == 403


async def test_an_article_that_nobody_waits_for_has_an_empty_queue(api: Api) -> None:
    await api.has("CALM", units=3)

    shown = (await api.operator.get("/v1/stock/CALM/backorders")).json()
    unknown = await api.operator.get("/v1/stock/NONE/backorders")

    assert shown.items() >= {"sku": "CALM", "orders": 0, "units": 0, "queue": []}.items()
    assert (shown["releases"], shown["next_cursor"]) == ([], None)
    assert unknown.status_code == 404
