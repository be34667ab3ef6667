"""`oms returns policy`, over a real API and its database."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text as sql

from adapters.db.engine import connect
from tests.workers.desk import CommandDesk, an_api
from workers import commands_return_policy
from workers.doctor import Health, return_policy
from workers.example_policies import names, text

FIRST = """\
currency: EUR
rules:
  - name: Outlet # a comment
    when: {tags: [outlet]}
    returnable: false
  - name: Everything else
    window_days: 60
    fees_minor: {post: 490}
"""
WRONG = """\
return_to: nowhere
rules:
  - name: All
    window_days: 1000000
    fees_minor: {post: 490}
  - name: Never reached
    when: {skus: [NO-SUCH]}
"""


@pytest.fixture
async def desk(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CommandDesk]:
    async with an_api(database_url, monkeypatch) as http:
        yield CommandDesk(tmp_path, http, "returns", "policy")


async def test_a_policy_is_put_shown_listed_and_rolled_back_by_putting_it_again(
    desk: CommandDesk,
) -> None:
    nothing = await desk.oms("list")
    usual = await desk.oms("show")
    put = await desk.oms("put", desk.file(FIRST))
    shown = await desk.oms("show")
    again = await desk.oms("put", desk.file(shown.stdout))
    await desk.oms("put", desk.file(usual.stdout))
    listed = await desk.oms("list")
    as_json = json.loads((await desk.oms("list", "--json")).stdout)["data"]

    assert "the usual policy stands" in nothing.stdout
    assert "version 0, the usual one" in usual.stdout
    assert (put.exit_code, put.stdout.strip()) == (0, "The return policy v1 stands")
    assert "version 1, by operator" in shown.stdout
    assert again.exit_code == 0
    assert as_json[1]["rules"] == as_json[2]["rules"]
    assert listed.stdout.splitlines()[1].split()[:2] == ["3", "stands"]
    assert (await desk.oms("show", "--version", "1")).stdout == shown.stdout
    assert (await desk.oms("show", "--version", "9")).exit_code == 1


async def test_every_error_of_a_file_stands_at_its_line_and_nothing_is_changed(
    desk: CommandDesk,
) -> None:
    file = desk.file(WRONG)
    put = await desk.oms("put", file)
    fixed = desk.file(WRONG.replace("1000000", "60").replace("    fees_minor: {post: 490}\n", ""))
    first = await desk.oms("check", fixed)
    named = WRONG.partition("    window_days")[0]
    unknown = await desk.oms("check", desk.file(named), "--json")

    assert put.exit_code == 2
    assert f"{file}:4:18 /rules/0/window_days 3650 at most is wanted, not 1000000." in put.stderr
    assert first.exit_code == 2
    assert ":5:5 /rules/1 " in first.stderr
    assert [
        (each["line"], each["column"], each["code"])
        for each in json.loads(unknown.stdout)["errors"]
    ] == [(1, 12, "location_unknown")]
    assert (await desk.http.get("/v1/return-policy")).json()["version"] == 0


async def test_a_file_is_checked_without_a_stack_and_slips_are_noted_with_one(
    desk: CommandDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stack = await desk.oms("check", desk.file(FIRST))
    monkeypatch.delenv("OMS_API_KEY")
    monkeypatch.setattr(commands_return_policy, "read_running", lambda home: None)
    without = await desk.oms("check", desk.file(FIRST))

    assert (with_stack.exit_code, without.exit_code) == (0, 0)
    assert "No article has the tag outlet." in with_stack.stdout
    assert "as far as can be told without a stack" in without.stdout


async def test_every_ready_made_policy_can_be_printed_and_put(desk: CommandDesk) -> None:
    await desk.http.put("/v1/channels/marketplace", json={"name": "Marketplace", "active": True})

    assert len(names()) == 3
    for name in names():
        printed = await desk.oms("examples", name)
        assert printed.stdout == text(name)
        assert (await desk.oms("put", desk.file(printed.stdout))).exit_code == 0
    assert (await desk.oms("examples", "none")).exit_code == 1
    listed = await desk.oms("examples")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == names()


async def test_the_doctor_says_which_policy_stands_and_whether_parcels_can_go_there(
    desk: CommandDesk, database_url: str
) -> None:
    place = {"name": "Returns", "kind": "warehouse", "address": {"country": "FR"}}
    usual = await return_policy(database_url)
    await desk.http.put("/v1/locations/wh-back", json=place)
    await desk.oms("put", desk.file(f"return_to: wh-back\n{FIRST}"))
    well = await return_policy(database_url)
    await desk.http.put("/v1/locations/wh-back", json={**place, "active": False})
    closed = await return_policy(database_url)
    engine = connect(database_url)
    async with engine.begin() as tx:
        await tx.execute(sql("UPDATE return_policies SET document = '{}'"))
    await engine.dispose()
    unreadable = await return_policy(database_url)

    assert (usual.health, well.health, well.detail) == (Health.GOOD, Health.GOOD, "v1")
    assert (closed.health, unreadable.health) == (Health.BROKEN, Health.BROKEN)
    assert "wh-back, which is closed" in closed.detail
