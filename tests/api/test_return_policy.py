from typing import Any

from adapters.db.return_policies import current_policy, policy_of
from oms.return_policy import USUAL
from tests.api.conftest import Api

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
