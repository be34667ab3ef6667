"""The books are lost and come back older; the outside went on meanwhile and forgot nothing."""

import os
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.db.mode import begin_reconciling, end_reconciling, read_mode
from adapters.http import Http
from oms.recovery import RecoveryReport
from tests.world import POLICY, World, a_shop, a_world
from workers.auditing import SimulatorBooks, audit
from workers.commands_recover import parties
from workers.embedded.postgres import Postgres, binaries
from workers.recovering import Recovery
from workers.restarting import restart_missing

RULES = POLICY.model_copy(update={"silent": timedelta(seconds=2)})
"""A parcel whose scans were lost is asked after soon."""


class Backup:
    """A copy of one database at one moment, put into another when all is lost."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self._postgres, self._file = postgres, folder / "oms.dump"
        self.moment = datetime.now(UTC)

    def take(self, database_url: str) -> None:
        self.moment = datetime.now(UTC)
        self._run("pg_dump", "-Fc", "-f", str(self._file), "-d", _plain(database_url))

    async def restore(self) -> str:
        name = f"r{os.urandom(6).hex()}"
        await self._postgres.create(name)
        url = self._postgres.url(name)
        self._run("pg_restore", "-d", _plain(url), str(self._file))
        return url

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([str(binaries() / program), *arguments], check=True, timeout=60)


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def backup(postgres: Postgres, tmp_path: Path) -> Backup:
    return Backup(postgres, tmp_path)


async def forgets(temporal: Client, *numbers: str) -> None:
    """Temporal's data is lost, for these orders and their parts."""
    for number in numbers:
        for run in (f"order/{number}", f"fulfillment/{number}-F1"):
            await temporal.get_workflow_handle(run).terminate("its data is lost")


async def rests(engine: AsyncEngine, moment: datetime) -> None:
    async with engine.begin() as tx:
        await begin_reconciling(tx, moment=moment, reason="restored", now=datetime.now(UTC))


async def recovers(world: World) -> RecoveryReport:
    """Compare with the outside, as `oms recover` does."""
    async with world.engine.connect() as tx:
        mode = await read_mode(tx)
    async with Http(world.outside.url, timeout=timedelta(seconds=10)) as http:
        recovery = Recovery(
            world.engine, world.book, parties(http), world.temporal, now=datetime.now(UTC)
        )
        return await recovery.run(mode)


async def finds(world: World, *numbers: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """What the reconciliation says of these orders: other tests left runs of their own."""
    report = await recovers(world)
    return {(each.about, each.kind): each.effects for each in report.found if each.about in numbers}


async def goes_on(world: World) -> None:
    """Lift the rest, as `oms recover finish` does."""
    await restart_missing(world.engine, world.temporal, task_queue=world.queue, heal_seconds=1)
    async with world.engine.begin() as tx:
        await end_reconciling(tx, RULES, datetime.now(UTC))


async def violations(world: World) -> list[str]:
    async with Http(world.outside.url, timeout=timedelta(seconds=10)) as http:
        report = await audit(
            world.engine, world.temporal, SimulatorBooks(http), silent=RULES.silent
        )
    return [found.about for found in report.violations]


async def happened_once(world: World) -> bool:
    """Whether no key outside has two effects of a kind."""
    entries = [
        (party, *entry)
        for party in ("payments", "carriers", "nodes")
        for entry in await world.outside.books(party)
    ]
    return max(Counter(entries).values()) == 1


async def test_what_was_done_after_the_backup_is_neither_done_twice_nor_forgotten(
    database_url: str, temporal: Client, backup: Backup, tmp_path: Path
) -> None:
    books = tmp_path / "outside.db"
    async with a_shop(database_url, temporal, policy=RULES, books=books) as world:
        known = (await world.place())["number"]
        cancelled = (await world.place())["number"]
        await world.until_offered(known)
        await world.until_offered(cancelled)
        backup.take(database_url)
        await world.ok("POST", f"/v1/orders/{cancelled}/cancel", {"reason": "changed my mind"})
        lost_order = world.an_order()
        lost = (await world.ok("POST", "/v1/orders", lost_order, who="channel"))["number"]
        stopped = (await world.place())["number"]
        await world.ok("POST", f"/v1/orders/{stopped}/holds", {"reason": "fraud"})
        await world.outside.hurries()
        for number in (known, cancelled, lost):
            await world.until_closed(number)

    async with a_world(await backup.restore(), temporal, policy=RULES, books=books) as world:
        await rests(world.engine, backup.moment)
        refused = await world.call("POST", "/v1/orders", lost_order, who="channel")
        waits = (await world.ok("GET", f"/v1/orders/{known}/explain"))["data"]
        found = await finds(world, lost, stopped, known, cancelled)
        again = await finds(world, lost, stopped, known, cancelled)
        await goes_on(world)
        await world.outside.hurries()
        delivered = await world.until_closed(known)
        doubted = await world.order(cancelled)
        await world.ok("POST", f"/v1/orders/{cancelled}/cancel", {"reason": "he had already"})
        (hold,) = doubted["holds"]
        await world.ok("POST", f"/v1/orders/{cancelled}/holds/{hold['id']}/release", {})
        ended = await world.until_closed(cancelled)
        replaced = await world.ok("POST", "/v1/orders", lost_order, who="channel")
        await world.until_closed(replaced["number"])

        assert (refused.status_code, refused.json()["code"]) == (503, "reconciling")
        assert refused.headers["Retry-After"]
        assert "compared with the outside" in waits[0]["waiting_for"]
        assert found.keys() == {
            (known, "asked_again"),
            (cancelled, "in_doubt"),
            (lost, "order_unknown"),
            (stopped, "order_unknown"),
            (stopped, "run_unknown"),
        }
        assert again == found
        money = f"payments: capture of 2489 EUR under {lost}:capture:1"
        assert money in found[lost, "order_unknown"]
        assert delivered["status"] == "completed"
        assert await world.money_of(known) == [("authorize", 2489), ("capture", 2489)]
        assert (doubted["status"], hold["reason"]) == ("open", "reconciliation")
        assert ended["status"] == "cancelled"
        assert await world.money_of(cancelled) == [("authorize", 2489), ("void", 2489)]
        assert await happened_once(world)
        assert {about[:11] for about in await violations(world)} == {lost, stopped}


async def test_a_key_that_was_used_for_another_amount_parks_and_moves_nothing(
    world: World,
) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await world.place(2))["number"]
    id = str((await world.until_offered(number))[0]["id"])
    held = await world.outside.ask(
        "GET", "/payments/lookup", params={"key": f"{number}:authorize:1"}
    )
    taken = {"reference": number, "amount_minor": 700, "currency": "EUR"}
    await world.outside.ask(  # what our books forgot in the restore
        "POST",
        "/payments/capture",
        json=taken | {"authorization": held["id"]},
        headers={"Idempotency-Key": f"{number}:capture:1"},
    )

    await world.node(id, "accept")
    await world.node(id, "pick", {"lines": [{"line": 1, "picked": 2}]})
    parcel = {"weight_g": 500, "lines": [{"line": 1, "quantity": 2}]}
    await world.node(id, "pack", {"parcels": [parcel]})
    await world.until_labelled(number)
    await world.node(id, "hand-over")
    await world.until_parked(number, "capture:1")
    await world.resolve(number, "capture:1", "retry")
    await world.until_parked(number, "capture:1")

    waits = await world.ok("GET", f"/v1/orders/{number}/explain")
    (parked,) = [wait for wait in waits["data"] if wait["step"] == "capture:1"]
    assert {each["body"]["action"] for each in parked["actions"]} == {
        "retry",
        "done_manually",
        "fail",
    }
    assert await world.money_of(number) == [("authorize", 4488), ("capture", 700)]
    assert (await world.order(number))["payments"]["captured_minor"] == 0
