from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from adapters.db.return_policies import current_policy, policy_of
from oms.return_policy import USUAL
from tests.api.conftest import Api, key
from tests.api.test_returns import a_request, ask, codes, delivered

POLICY = "/v1/return-policy"


def a_policy(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """These rules, and none else; one for everything where none is said."""
    return {
        "rules": [{"name": f"rule {i}", **rule} for i, rule in enumerate(rules or ({},))],
        **more,
    }


async def test_the_usual_policy_stands_until_another_is_put_and_each_version_is_kept(
    api: Api,
) -> None:
    usual = await api.operator.get(POLICY)
    first = await api.operator.put(POLICY, json=a_policy({"window_days": 14}))
    second = await api.operator.put(POLICY, json=a_policy({"window_days": 60}))
    now = await api.operator.get(POLICY)
    listed = await api.operator.get(f"{POLICY}/versions?limit=1")
    rest = await api.operator.get(f"{POLICY}/versions?cursor={listed.json()['next_cursor']}")

    assert (usual.headers["etag"], usual.json()["rules"][0]["window_days"]) == ('"0"', 30)
    assert (first.status_code, second.status_code) == (201, 200)
    assert (second.headers["etag"], second.json()["actor"]) == ('"2"', "operator")
    assert now.json() == second.json()
    assert [each["version"] for each in listed.json()["data"]] == [2]
    assert rest.json()["data"] == [first.json()]
    assert (await api.operator.get(f"{POLICY}?version=1")).json() == first.json()
    assert (await api.operator.get(f"{POLICY}?version=0")).json() == usual.json()
    assert (await api.operator.get(f"{POLICY}?version=9")).status_code == 404
    async with api.engine.connect() as tx:
        stands, old, none = await current_policy(tx), await policy_of(tx, 1), await policy_of(tx, 9)
    assert (stands.version, stands.policy.rules[0].window_days) == (2, 60)
    assert old is not None
    assert (old.policy.policy.rules[0].window_days, none) == (14, None)
    assert USUAL.version == 0


async def test_who_read_an_older_version_changes_nothing(api: Api) -> None:
    await api.operator.put(POLICY, json=a_policy())
    version = (await api.operator.get(POLICY)).headers["etag"]

    kept = await api.operator.put(POLICY, json=a_policy(), headers={"if-match": version})
    late = await api.operator.put(POLICY, json=a_policy(), headers={"if-match": version})

    assert kept.status_code == 200
    assert (late.status_code, late.json()["code"]) == (412, "version_conflict")


async def test_only_operators_read_and_change_it(api: Api) -> None:
    for client in (api.channel, api.node):
        assert (await client.get(POLICY)).status_code == 403
        assert (await client.put(POLICY, json=a_policy())).status_code == 403


async def test_names_of_what_there_is_not_are_told_with_everything_else(api: Api) -> None:
    before = (await api.operator.get(POLICY)).headers["etag"]
    wrong = a_policy(
        {"when": {"skus": ["NO-SUCH"], "channels": ["no-shop"]}, "window_days": -1},
        return_to="nowhere",
        restock=[{"name": "r", "disposition": "restock_elsewhere", "to": "nowhere-else"}],
    )
    refused = await api.operator.put(POLICY, json=wrong)

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [(each["pointer"], each["code"]) for each in refused.json()["errors"]] == [
        ("/rules/0/window_days", "too_small"),
        ("/rules/0/when/skus/0", "sku_unknown"),
        ("/rules/0/when/channels/0", "channel_unknown"),
        ("/return_to", "location_unknown"),
        ("/restock/0/to", "location_unknown"),
    ]
    assert (await api.operator.get(POLICY)).headers["etag"] == before


async def test_a_check_stores_nothing_and_notes_what_may_be_a_slip(api: Api) -> None:
    before = (await api.operator.get(POLICY)).headers["etag"]
    found = await api.operator.post(
        f"{POLICY}/check", json=a_policy({"when": {"tags": ["no-such-tag"]}})
    )

    assert found.json()["errors"] == []
    assert [each["pointer"] for each in found.json()["notes"]] == [
        "/rules/0/when/tags/0",
        "/rules",
    ]
    assert (await api.operator.get(POLICY)).headers["etag"] == before


async def test_returns_are_agreed_by_the_policy_that_stands_and_keep_their_terms(api: Api) -> None:
    number = await delivered(api, ago=timedelta(days=20))
    await api.operator.put(
        POLICY, json=a_policy({"window_days": 30, "fees_minor": {"post": 490}}, currency="EUR")
    )
    first = await ask(api, number)
    shut = a_policy({"name": "Ten days", "window_days": 10})
    version = (await api.operator.put(POLICY, json=shut)).json()["version"]
    late = await api.channel.post("/v1/returns", json=a_request(number), headers=key())
    kept = (await api.operator.get(f"/v1/returns/{first['id']}")).json()
    async with api.engine.connect() as tx:
        stored = await tx.execute(
            text("SELECT policy_version, terms FROM returns WHERE id = :id"), {"id": first["id"]}
        )
        by, terms = stored.one()

    assert first["refund_minor"] == kept["refund_minor"] == 1999 - 490
    assert codes(late) == [("/lines/0", "outside_window")]
    assert "10 days after delivery" in late.json()["errors"][0]["detail"]
    assert (by, terms["fee_minor"]) == (version - 1, 490)


async def test_a_reason_may_want_a_photo_and_a_person(api: Api) -> None:
    number = await delivered(api)
    await api.operator.put(
        POLICY, json=a_policy({"photo_for": ["damaged"], "approval_for": ["damaged"]})
    )
    line = {"line": 1, "quantity": 1, "reason": "damaged"}
    bare = await api.channel.post(
        "/v1/returns", json=a_request(number, lines=[line]), headers=key()
    )
    waits = await ask(api, number, lines=[{**line, "photos": ["https://p.example/1.jpg"]}])
    approved = await api.operator.post(f"/v1/returns/{waits['id']}/approve", json={}, headers=key())

    assert codes(bare) == [("/lines/0", "photo_missing")]
    assert waits["status"] == "requested"
    assert approved.json()["status"] == "approved"


async def test_a_final_sale_by_tag_and_country_does_not_come_back(api: Api) -> None:
    number = await delivered(api)
    lamp = {"name": "Desk lamp", "tags": ["outlet"]}
    await api.operator.put("/v1/products/LAMP-01", json=lamp)
    outlet = {"name": "Outlet", "when": {"tags": ["outlet"]}, "returnable": False}
    await api.operator.put(POLICY, json=a_policy(outlet, {"name": "Rest"}))
    refused = await api.channel.post("/v1/returns", json=a_request(number), headers=key())
    await api.operator.put(POLICY, json=a_policy({**outlet, "when": {"countries": ["NO"]}}, {}))

    assert codes(refused) == [("/lines/0", "final_sale")]
    assert "Outlet" in refused.json()["errors"][0]["detail"]
    assert (await ask(api, number))["status"] == "approved"


async def test_the_refund_is_told_before_the_customer_agrees_and_nothing_is_stored(
    api: Api,
) -> None:
    number = await delivered(api, ago=timedelta(days=2))
    policy = a_policy({"window_days": 30, "fees_minor": {"post": 490}}, currency="EUR")
    await api.operator.put(POLICY, json=policy)
    quote = await api.channel.post("/v1/returns/quote", json=a_request(number))
    told = quote.json()
    late = await api.channel.post("/v1/returns/quote", json=a_request(number, 99))
    theirs = await api.other_channel.post("/v1/returns/quote", json=a_request(number))
    none = (await api.channel.get(f"/v1/returns?order={number}")).json()["data"]
    asked = await ask(api, number)

    assert (quote.status_code, none) == (200, [])
    assert (told["goods_minor"], told["fee_minor"], told["shipping_minor"]) == (1999, 490, 0)
    assert told["refund_minor"] == asked["refund_minor"] == 1509
    assert (told["refund_at"], told["needs_approval"]) == ("inspection", False)
    assert datetime.fromisoformat(told["lines"][0]["until"]) - datetime.now(UTC) > timedelta(27)
    assert codes(late) == [("/lines/0", "more_than_sent")]
    assert theirs.status_code == 404
