"""The drill: back up a shop at work, lose everything, restore, reconcile, go on. Real processes.

Too dear for every run: `make test-restore`.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.on_a_stack import PRICE, Channel, until, violations
from workers.stack import Server, Stack

UNHURRIED = {"OMS_SILENT_SECONDS": "5"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: PostgreSQL's account must pass through."""
    made = Path(tempfile.mkdtemp(prefix="oms-drill-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


async def oms(home: Path, *arguments: str, may_end: tuple[int, ...] = (0,)) -> str:
    """Run a command as an operator does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.cli", *arguments),
        env={**os.environ, "OMS_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode in may_end, f"{process.returncode}: {out.decode()} {err.decode()}"
    return out.decode()


async def outside_books(stack: Stack) -> list[tuple[str, str, str]]:
    """(party, kind, key) of every effect."""
    running = stack.status()
    assert running is not None
    async with httpx.AsyncClient(base_url=running.simulator, trust_env=False) as outside:
        return [
            (party, entry["kind"], entry["key"])
            for party in ("payments", "carriers", "nodes")
            for entry in (await outside.get(f"/books/{party}")).json()["data"]
        ]


async def slows_the_outside(stack: Stack) -> None:
    """Let a location take six seconds for half an hour, so that a backup meets work under way."""
    running = stack.status()
    assert running is not None
    async with httpx.AsyncClient(base_url=running.simulator, trust_env=False) as outside:
        (await outside.post("/clock", json={"speed": 300})).raise_for_status()


def a_stack(home: Path, server: Server, say: Callable[[str], None]) -> Stack:
    return Stack(home, server=server, environment=UNHURRIED, report=say)


@pytest.mark.parametrize("server", Server)
@pytest.mark.parametrize("how", ["at work", "standing"])
async def test_nothing_is_charged_or_shipped_twice_after_all_was_lost(
    folder: Path, server: Server, how: str, say: Callable[[str], None]
) -> None:
    home, copy = folder / "home", folder / "backup"
    stack = a_stack(home, server, say)
    await stack.start()
    async with Channel.of(stack) as shop:
        await shop.opens("LAMP", 100)
        before = [await shop.places("LAMP") for _ in range(5)]
        await shop.until_delivered("LAMP")
        await slows_the_outside(stack)
        before += [await shop.places("LAMP") for _ in range(6)]
        if how == "standing":
            await stack.stop()
        say(await timed("backup", oms(home, "backup", str(copy))))
        if how == "standing":
            await stack.start()
    async with Channel.of(stack) as shop:
        await shop.hurries_the_outside()
        requests = [shop.an_order("LAMP") | {"reference": f"lost-{n}"} for n in range(4)]
        lost = [(await shop.ask("POST", "/v1/orders", each))["number"] for each in requests]
        await shop.until_delivered("LAMP")
    await stack.stop()

    home.rename(folder / "lost")
    say(await timed("restore", oms(home, "restore", str(copy))))
    for books in (folder / "lost").glob("simulator.db*"):
        shutil.copy2(books, home / books.name)  # the outside lives
    stack = a_stack(home, server, say)
    await stack.start()
    try:
        async with Channel.of(stack) as shop:
            await goes_on(shop, stack, before, lost, requests[0], say)
    finally:
        await stack.stop()


async def goes_on(
    shop: Channel,
    stack: Stack,
    before: list[str],
    lost: list[str],
    lost_request: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    home = stack.home
    refused = await shop.call("POST", "/v1/orders", lost_request)
    assert refused.json()["code"] == "reconciling"

    shown = await timed("recover", oms(home, "recover", "--json", may_end=(1,)))
    found = json.loads(shown.partition("\n")[2])["found"]
    kinds = {(each["about"], each["kind"]) for each in found}
    assert {number for number, kind in kinds if kind == "order_unknown"} == set(lost)
    say(f"{shown.partition(chr(10))[0]}, found {Counter(kind for _, kind in kinds)}")
    await oms(home, "recover", "finish", may_end=(1,))  # a person must look first
    await oms(home, "recover", "finish", "--despite-findings")

    await shop.hurries_the_outside()
    in_doubt = {number for number, kind in kinds if kind == "in_doubt"}
    assert in_doubt <= set(before)
    for number in in_doubt:
        (hold,) = (await shop.order(number))["holds"]
        await released(shop, f"/v1/orders/{number}/holds/{hold['id']}/release")
    replaced = (await shop.ask("POST", "/v1/orders", lost_request))["number"]
    orders = await shop.until_delivered("LAMP")

    assert {order["number"] for order in orders} == {*before, replaced}
    for number in (*before, replaced):
        assert await shop.money_of(number) == [("authorize", PRICE), ("capture", PRICE)]
    assert max(Counter(await outside_books(stack)).values()) == 1
    assert await shop.on_hand("LAMP") == 100 - len(before) - 1
    assert {each["about"][:11] for each in await violations(stack)} == set(lost)


async def released(shop: Channel, path: str) -> None:
    """Release a hold, as soon as the order's run is back."""

    async def done() -> bool:
        answer = await shop.call("POST", path, {})
        assert answer.is_success or answer.status_code == 503, answer.text
        return answer.is_success

    await until(done)


async def timed(what: str, work: Any) -> str:
    began = time.monotonic()
    out = await work
    return f"{what} took {time.monotonic() - began:.1f} s\n{out}"
