"""`oms stock`, over a real API and its database."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from adapters.db.credentials import store_credential
from adapters.db.engine import connect
from api import stock_imports
from api.main import create_app
from api.wiring import ApiSettings
from tests.api.conftest import no_temporal
from tests.world import serving
from workers import cli, reconcile_command, stock_import
from workers.api_client import ApiClient

KEY = "key-of-the-operator"
PLACES = ("wh-lyon", "wh-nice")


class Till:
    """The command line beside a running API."""

    def __init__(self, http: httpx.AsyncClient, home: Path, books: AsyncEngine) -> None:
        self.http, self.home, self.books = http, home, books

    async def oms(self, *words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli.app, ["stock", *words])

    def file(self, name: str, *lines: str) -> str:
        path = self.home / name
        text = "\n".join(lines) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return str(path)

    async def on_hand(self, sku: str, location: str = "wh-lyon") -> int:
        levels = (await self.http.get(f"/v1/stock/{sku}")).json()["locations"]
        return next((int(e["on_hand"]) for e in levels if e["location"] == location), 0)


@pytest.fixture
async def till(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Till]:
    engine = connect(database_url)
    async with engine.begin() as tx:
        await store_credential(tx, id="operator", key=KEY, role="operator", now=datetime.now(UTC))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        serving(create_app(ApiSettings(), engine, no_temporal)) as url,
        httpx.AsyncClient(base_url=url, headers=headers) as http,
    ):
        for sku in ("LAMP", "MUG", "SOFA"):
            await http.put(f"/v1/products/{sku}", json={"name": sku})
        for place in PLACES:
            body = {"name": place, "kind": "warehouse", "address": {"country": "FR"}}
            await http.put(f"/v1/locations/{place}", json=body)
        here = SimpleNamespace(database_url=database_url)
        monkeypatch.setattr(reconcile_command, "read_running", lambda home: here)
        monkeypatch.setenv("OMS_API_URL", url)
        monkeypatch.setenv("OMS_API_KEY", KEY)
        monkeypatch.setenv("COLUMNS", "160")
        yield Till(http, tmp_path, engine)
    await engine.dispose()


CSV = ("sku,location,on_hand", "LAMP,wh-lyon,4", "LAMP,wh-nice,2", "MUG,wh-lyon,7")
JSONL = tuple(
    json.dumps({"sku": sku, "location": place, "on_hand": units})
    for sku, place, units in [("LAMP", "wh-lyon", 4), ("LAMP", "wh-nice", 2), ("MUG", "wh-lyon", 7)]
)


@pytest.mark.parametrize(
    ("name", "lines"),
    [("stock.csv", CSV), ("stock.csv.gz", CSV), ("stock.jsonl", JSONL), ("stock.jsonl.gz", JSONL)],
)
async def test_a_file_is_imported_whatever_its_form_and_again_changes_nothing(
    till: Till, name: str, lines: tuple[str, ...]
) -> None:
    file = till.file(name, *lines)

    first = await till.oms("import", file, "--json")
    again = await till.oms("import", file)

    assert first.exit_code == again.exit_code == 0, first.output
    assert json.loads(first.stdout)["result"]["changed"] == 3
    assert "imported before" in again.stdout
    assert await till.on_hand("LAMP") == 4
    assert await till.on_hand("LAMP", "wh-nice") == 2
    assert await till.on_hand("MUG") == 7


async def test_every_error_of_a_file_is_told_by_its_line_and_nothing_is_sent(till: Till) -> None:
    file = till.file(
        "stock.csv", "sku,location,on_hand", "LAMP,wh-lyon,four", ",wh-lyon,1", "MUG,wh-lyon,-1",
        "MUG,wh-lyon,1,2", "SOFA,wh-lyon,1", "SOFA,wh-lyon,2", "LAMP,wh lyon,3", "LAMP,,3",
    )  # fmt: skip

    refused = await till.oms("import", file)

    assert refused.exit_code == 1
    assert "8 errors, nothing was changed" in refused.stderr
    for line, field in [
        (2, "on_hand"), (3, "sku"), (4, "on_hand"), (7, "sku"), (8, "location"), (9, "location"),
    ]:  # fmt: skip
        assert f"line {line}, {field}  " in refused.stderr
    assert "line 5  malformed" in refused.stderr
    assert (await till.http.get("/v1/stock/imports")).json()["data"] == []


async def test_what_only_the_books_know_is_told_by_its_line_too(till: Till) -> None:
    file = till.file("stock.csv", CSV[0], "", *CSV[1:], "NONE,wh-lyon,1", "LAMP,wh-oslo,1")

    refused = await till.oms("import", file)

    assert refused.exit_code == 1
    assert "line 6, sku  sku_unknown" in refused.stderr
    assert "line 7, location  location_unknown" in refused.stderr
    assert await till.on_hand("LAMP") == 0


async def test_a_snapshot_may_put_what_it_does_not_name_to_zero(till: Till) -> None:
    await till.oms("import", till.file("stock.csv", *CSV))
    snapshot = till.file("night.csv", "sku,on_hand", "LAMP,5")

    shown = await till.oms(
        "import", snapshot, "--snapshot", "--location", "wh-lyon", "--missing", "zero",
        "--results", str(till.home / "results.jsonl"),
    )  # fmt: skip

    assert shown.exit_code == 0, shown.output
    assert (await till.on_hand("LAMP"), await till.on_hand("MUG")) == (5, 0)
    assert await till.on_hand("LAMP", "wh-nice") == 2
    results = [json.loads(line) for line in (till.home / "results.jsonl").read_text().splitlines()]
    told = [(r.get("line"), r["sku"], r["outcome"], r["changed_by"]) for r in results]
    assert told == [(2, "LAMP", "changed", 1), (None, "MUG", "vanished", -7)]


async def test_a_dry_run_shows_the_differences_and_changes_nothing(till: Till) -> None:
    shown = await till.oms("import", till.file("stock.csv", *CSV), "--dry-run")

    assert shown.exit_code == 0
    assert "would do this" in shown.stdout
    assert "wh-nice" in shown.stdout
    assert await till.on_hand("LAMP") == 0


async def test_a_mended_file_is_taken_under_the_same_reference(till: Till) -> None:
    wrong = till.file("stock.csv", *CSV, "NONE,wh-lyon,1")
    assert (await till.oms("import", wrong, "--reference", "night")).exit_code == 1

    mended = await till.oms("import", till.file("stock.csv", *CSV), "--reference", "night")

    assert mended.exit_code == 0
    assert await till.on_hand("MUG") == 7


async def test_corrections_are_known_by_their_column(till: Till) -> None:
    await till.oms("import", till.file("stock.csv", *CSV))
    file = till.file("moves.csv", "sku,location,delta,reason", "LAMP,wh-lyon,-1,damaged")

    assert (await till.oms("import", file)).exit_code == 0
    assert (await till.oms("import", file)).exit_code == 0
    assert await till.on_hand("LAMP") == 3


async def test_a_command_that_died_on_the_way_is_finished_by_the_next(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock_import, "ROWS_IN_A_PART", 1)
    file = till.file("stock.csv", *CSV)

    def dies(answer: Callable[..., Awaitable[Any]], at: int) -> Callable[..., Awaitable[Any]]:
        calls = iter(range(at))

        async def call(*arguments: Any, **named: Any) -> Any:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return await answer(*arguments, **named)

        return call

    for method, at in (("put", 1), ("put", 2), ("post", 1)):
        with monkeypatch.context() as patched:
            patched.setattr(ApiClient, method, dies(getattr(ApiClient, method), at))
            assert (await till.oms("import", file)).exit_code != 0
        assert await till.on_hand("LAMP") == 0

    assert (await till.oms("import", file)).exit_code == 0
    assert [await till.on_hand("LAMP", place) for place in PLACES] == [4, 2]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("sku,location,on_hand",), "There are no rows"),
        (("article,location,on_hand", "A,b,1"), "not article"),
        (('{"sku": "LAMP"', "{}", '{"sku": "LAMP", "size": 2}', "[1]"), "line 4  wrong_type"),
        (("sku,location,delta", "LAMP,wh-lyon,1.0"), "'1.0' is no whole number"),
        (("sku,location,on_hand", 'LAMP,"wh-lyon,1'), "malformed"),
    ],
)
async def test_a_file_that_is_none_is_refused(
    till: Till, lines: tuple[str, ...], said: str
) -> None:
    refused = await till.oms("import", till.file("stock.csv", *lines))

    assert refused.exit_code == 1
    assert said in refused.stderr


async def test_a_damaged_archive_is_refused(till: Till) -> None:
    path = till.home / "stock.csv.gz"
    path.write_bytes(gzip.compress("\n".join(CSV).encode())[:-12])

    refused = await till.oms("import", str(path))

    assert refused.exit_code == 1
    assert "cannot be read" in refused.stderr


async def test_books_that_agree_need_no_repair(till: Till) -> None:
    await till.oms("import", till.file("stock.csv", *CSV))

    shown = await till.oms("reconcile")

    assert shown.exit_code == 0, shown.output
    assert "Looked at 3 levels, 3 of them counted" in shown.stdout


async def test_drift_is_explained_and_its_repair_is_a_file_to_import(till: Till) -> None:
    await till.oms("import", till.file("stock.csv", *CSV))
    night = till.file("night.csv", "sku,on_hand", "LAMP,4")
    await till.oms("import", night, "--snapshot", "--location", "wh-lyon")
    repair = str(till.home / "repair.jsonl")

    found = await till.oms("reconcile", "--json", "--repair", repair)
    imported = await till.oms("import", repair, "--counts")

    assert (found.exit_code, imported.exit_code) == (1, 0)
    (drift,) = json.loads(found.stdout)["found"]
    assert drift.items() >= {"kind": "vanished", "sku": "MUG", "books": 7, "expected": 0}.items()
    assert await till.on_hand("MUG") == 0
    assert (await till.oms("reconcile")).exit_code == 0


async def test_safe_repairs_are_made_by_somebody_for_a_reason(till: Till) -> None:
    await till.oms("import", till.file("stock.csv", *CSV))
    async with till.books.begin() as tx:
        await tx.execute(text("UPDATE stock_levels SET on_hand = 99 WHERE sku = 'MUG'"))

    shown = await till.oms("reconcile")
    nobody = await till.oms("reconcile", "--apply")
    mended = await till.oms("reconcile", "--apply", "--actor", "ada", "--reason", "ticket 7")

    assert (shown.exit_code, nobody.exit_code, mended.exit_code) == (1, 2, 0)
    assert "past the ledger" in " ".join(shown.stdout.split())
    assert "1 mended" in mended.stdout
    assert await till.on_hand("MUG") == 7


async def test_without_a_database_nothing_can_be_told(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = SimpleNamespace(database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    monkeypatch.setattr(reconcile_command, "read_running", lambda home: nowhere)

    assert (await till.oms("reconcile")).exit_code == 3


async def test_a_file_that_takes_long_to_be_refused_is_refused_once(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(stock_imports, "PATIENCE_SECONDS", 0)
        slow.setattr(stock_import, "ASK_AGAIN_SECONDS", 0.05)
        refused = await till.oms("import", till.file("stock.csv", *CSV, "NONE,wh-lyon,1"))

    taken = await till.oms("import", till.file("stock.csv", *CSV))

    assert (refused.exit_code, taken.exit_code) == (1, 0)
    assert "line 5, sku  sku_unknown" in refused.stderr
    assert await till.on_hand("LAMP") == 4
