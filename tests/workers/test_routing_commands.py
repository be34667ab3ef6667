"""`oms routing`, over a real API and its database."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.workers.desk import CommandDesk, an_api
from workers import commands_routing
from workers.doctor import Health, routing_rules
from workers.example_rules import names, text

FIRST = """\
name: Stores first # a comment
currency: EUR
rules:
  - name: Stores
    from: {kinds: [store]}
    objective: {parcel_km_minor: "0.50"}
"""


class Desk(CommandDesk):
    """A merchandiser's command line beside a running API."""

    async def routes(self) -> tuple[str, int] | None:
        active = (await self.http.get("/v1/routing/rule-sets?active=true")).json()["data"]
        return (active[0]["id"], active[0]["version"]) if active else None


@pytest.fixture
async def desk(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    async with an_api(database_url, monkeypatch) as http:
        yield Desk(tmp_path, http, "routing")


async def test_rules_are_put_live_changed_and_rolled_back(desk: Desk) -> None:
    file = desk.file(FIRST)
    second = FIRST.replace("store]", "store, warehouse]")

    put = await desk.oms("put", "shop", file)
    assert (put.exit_code, await desk.routes()) == (0, None)
    assert "shop v1 does not route" in put.stdout
    await desk.oms("activate", "shop", "1")
    assert await desk.routes() == ("shop", 1)
    live = await desk.oms("put", "shop", desk.file(second), "--activate")
    assert await desk.routes() == ("shop", 2)
    assert "shop v2 routes" in live.stdout
    await desk.oms("rollback")
    assert await desk.routes() == ("shop", 1)
    await desk.oms("rollback")
    assert await desk.routes() == ("shop", 2)
    await desk.oms("deactivate", "shop")
    assert await desk.routes() is None
    await desk.oms("rollback")
    assert await desk.routes() == ("shop", 2)
    listed = await desk.oms("list")
    assert [line.split()[:3] for line in listed.stdout.splitlines()[1:]] == [
        ["shop", "2", "routes"],
        ["shop", "1", listed.stdout.splitlines()[2].split()[2]],
    ]


async def test_the_first_rollback_ends_at_the_default(desk: Desk) -> None:
    nothing = await desk.oms("rollback")
    await desk.oms("put", "shop", desk.file(FIRST), "--activate")
    await desk.oms("rollback")

    assert nothing.exit_code == 1
    assert "Nothing was ever activated." in nothing.stderr
    assert await desk.routes() is None
    assert "the default routes" in (await desk.oms("show")).stdout


async def test_what_is_shown_can_be_put_again_and_compared(desk: Desk) -> None:
    await desk.oms("put", "shop", desk.file(FIRST), "--activate")

    shown = await desk.oms("show")
    again = await desk.oms("put", "shop", desk.file(shown.stdout))
    same = await desk.oms("diff", "shop", "1", "2")
    file = desk.file(FIRST.replace("0.50", "0.75"))
    other = await desk.oms("diff", "shop", "2", file)

    assert shown.stdout.startswith("# shop v1, routes\nname: Stores first\n")
    assert again.exit_code == 0
    assert same.stdout == "They are the same.\n"
    assert "-    parcel_km_minor: '0.50'\n+    parcel_km_minor: '0.75'\n" in other.stdout


WRONG = FIRST.replace("[store]", "[stre]") + "    when: {channels: [web-xx]}\n"


async def test_a_wrong_file_is_told_whole_by_line_and_changes_nothing(desk: Desk) -> None:
    file = desk.file(WRONG)
    unheard = desk.file(FIRST + "    when: {channels: [web-xx]}\n", "unheard.yaml")

    checked = await desk.oms("check", file)
    for refused in (await desk.oms("check", unheard), await desk.oms("put", "shop", unheard)):
        assert refused.exit_code == 2
        assert refused.stderr.splitlines() == [
            f"{unheard}:7:23 /rules/0/when/channels/0 There is no channel web-xx.",
            "1 error, nothing was changed.",
        ]
    told = json.loads((await desk.oms("check", unheard, "--json")).stdout)["errors"]

    assert checked.exit_code == 2
    assert checked.stderr.splitlines()[0].startswith(
        f'{file}:5:20 /rules/0/from/kinds/0 "stre" is none of warehouse, store, supplier'
    )
    assert [(e["line"], e["column"], e["code"]) for e in told] == [(7, 23, "channel_unknown")]
    assert (await desk.oms("list", "--json")).stdout == '{\n  "data": []\n}\n'


async def test_what_may_be_a_slip_is_noted_and_no_error(desk: Desk) -> None:
    file = desk.file(FIRST.replace("kinds: [store]", "groups: [clear-outt]"))

    checked = await desk.oms("check", file)

    assert checked.exit_code == 0
    assert checked.stdout.splitlines() == [
        f"{file}:5:21 /rules/0/from/groups/0 No location has the group clear-outt.",
        f"{file} is in order.",
    ]


async def test_a_rule_set_that_lacks_a_rate_is_not_even_put_to_go_live(desk: Desk) -> None:
    place = {"name": "Oslo", "kind": "store", "address": {"country": "NO"}}
    costly = {**place, "handling_minor": 100, "currency": "NOK"}
    await desk.http.put("/v1/locations/oslo", json=costly)
    handled = desk.file(FIRST.replace('"0.50"', '"0.50", handling: "1"'))

    live = await desk.oms("put", "shop", handled, "--activate")
    kept = await desk.oms("put", "shop", handled)
    refused = await desk.oms("activate", "shop", "1")

    assert (live.exit_code, kept.exit_code, refused.exit_code) == (2, 0, 1)
    assert "NOK has no rate, and location oslo counts in it." in live.stderr
    assert "rate_missing" in refused.stderr


async def test_the_doctor_says_what_routes_and_whom_it_cannot_count(
    desk: Desk, database_url: str
) -> None:
    default = await routing_rules(database_url)
    file = desk.file(FIRST.replace('"0.50"', '"0.50", handling: "1"'))
    await desk.oms("put", "shop", file, "--activate")
    well = await routing_rules(database_url)
    late = {"name": "Oslo", "kind": "store", "address": {"country": "NO"}, "handling_minor": 100}
    await desk.http.put("/v1/locations/oslo", json={**late, "currency": "NOK"})
    lacking = await routing_rules(database_url)

    assert (default.health, default.detail) == (
        Health.GOOD,
        "the default: fewest parcels, then nearest",
    )
    assert (well.health, well.detail) == (Health.GOOD, "shop v1")
    assert lacking.health is Health.NOTE
    assert lacking.detail == "shop v1: NOK has no rate, and location oslo counts in it."


async def test_ready_made_rules_are_printed_and_may_be_put_as_they_are(desk: Desk) -> None:
    listed = await desk.oms("examples")
    for name in names():
        printed = await desk.oms("examples", name)
        put = await desk.oms("put", name, desk.file(printed.stdout), "--activate")

        assert f"\n{name} " in f"\n{listed.stdout}"
        assert printed.stdout == text(name)
        assert put.exit_code == 0, put.stderr
        assert await desk.routes() == (name, 1)
    assert (await desk.oms("examples", "none-such")).exit_code == 1


async def test_a_file_is_checked_without_a_stack_as_far_as_it_goes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMS_API_KEY")
    monkeypatch.setattr(commands_routing, "read_running", lambda home: None)

    good = await desk.oms("check", desk.file(FIRST + "    when: {channels: [web-xx]}\n"))
    wrong = await desk.oms("check", desk.file(WRONG))

    assert (good.exit_code, wrong.exit_code) == (0, 2)
    assert "as far as can be told without a stack" in good.stdout
