"""`oms routing simulate`, from files and from the books, which it never changes."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from adapters.db.engine import connect
from adapters.db.past import looking
from tests.adapters.db.stockroom import Stockroom
from workers import cli, simulate_command

NEAREST = {
    "name": "Nearest",
    "currency": "EUR",
    "costs": [{"parcel_minor": 300, "kg_minor": 100}],
    "rules": [{"name": "The nearest", "objective": {"parcel_minor": 1, "unit_km_minor": "1"}}],
}
STORES = NEAREST | {
    "name": "Stores",
    "rules": [{"name": "A store", "from": {"kinds": ["store"]}, "objective": {"parcel_minor": 1}}],
}
LYON, PARIS = {"latitude": 45.76, "longitude": 4.84}, {"latitude": 48.86, "longitude": 2.35}
LOCATIONS = [
    {"id": "wh-lyon", "kind": "warehouse", "address": {"country": "FR"}, **LYON, "hours": "…"},
    {"id": "store-paris", "kind": "store", "address": {"country": "FR"}, **PARIS},
]
PRODUCTS = [{"sku": "LAMP", "name": "Lamp", "weight_g": 2000}, {"sku": "MUG", "name": "Mug"}]
STOCK = ["sku,location,on_hand", "LAMP,wh-lyon,3", "LAMP,store-paris,2", "MUG,store-paris,9"]


def an_order(reference: str, hour: int, lines: dict[str, int], **more: Any) -> dict[str, Any]:
    address = {"country": "FR", "postal_code": "69002", "name": "Ada"}
    order = {
        "channel": "web",
        "reference": reference,
        "currency": "EUR",
        "customer": {"id": "c-1"},
        "lines": [{"sku": s, "quantity": q, "unit_price_minor": 999} for s, q in lines.items()],
        "delivery": {"method": "home", "address": address},
        "tenders": [{"kind": "terminal", "reference": "t", "amount_minor": 1}],
    }
    return {"at": f"2026-11-20T{hour:02d}:00:00Z", "order": order | more}


ORDERS = [
    an_order("1", 9, {"LAMP": 2}),
    an_order("2", 8, {"LAMP": 2, "MUG": 1}),
    an_order("3", 10, {"LAMP": 2}),
    an_order("4", 11, {"CHAIR": 1}),
    an_order("4", 11, {"MUG": 1}),
    an_order("5", 11, {"MUG": 1}, delivery={"method": "store_pickup", "location": "store-paris"}),
    an_order("6", 11, {"MUG": 1}, delivery={"method": "store_pickup", "location": "wh-lyon"}),
    an_order("7", 12, {"MUG": 1}, delivery={"method": "locker", "id": "x"}),
]


class Desk:
    """The command line, over some files."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.nearest = self.file("nearest.json", json.dumps(NEAREST))
        self.stores = self.file("stores.yaml", json.dumps(STORES))
        self.files = [
            *("--orders", self.file("orders.jsonl.gz", *map(json.dumps, ORDERS))),
            *("--locations", self.file("locations.jsonl", *map(json.dumps, LOCATIONS))),
            *("--stock", self.file("stock.csv", *STOCK)),
            *("--products", self.file("products.jsonl", *map(json.dumps, PRODUCTS))),
        ]

    def file(self, name: str, *lines: str) -> str:
        path = self.home / name
        whole = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
        return str(path)

    def simulate(self, *words: str) -> Result:
        return CliRunner().invoke(cli.app, ["routing", "simulate", *words])

    def compared(self, *words: str) -> dict[str, Any]:
        result = self.simulate("--json", *words)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(simulate_command, "read_running", lambda home: None)
    monkeypatch.setenv("COLUMNS", "140")
    return Desk(tmp_path)


def test_given_orders_are_decided_in_the_order_of_time(desk: Desk) -> None:
    out = desk.home / "out.jsonl"

    found = desk.compared("--rules", desk.nearest, *desk.files, "--orders-out", str(out))

    (measured,) = found["measured"]
    assert (measured["orders"], measured["served_orders"], measured["refused"]) == (4, 3, 1)
    assert found["left_out"] == {
        "location_unknown": 1,
        "not_supported": 1,
        "reference_taken": 1,
        "sku_unknown": 1,
    }
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["order"], row["outcomes"][0]["picks"]) for row in rows] == [
        ("web/2", [["LAMP", "wh-lyon", 2], ["MUG", "store-paris", 1]]),
        ("web/1", [["LAMP", "store-paris", 1], ["LAMP", "wh-lyon", 1]]),
        ("web/3", []),
        ("web/5", [["MUG", "store-paris", 1]]),
    ]
    # 5 parcels at 3.00, 4 lamps of 2 kg at 1.00 a kg.
    assert measured["costs"]["shipping_minor"] == 5 * 300 + 4 * 200
    assert (measured["mean_days"], found["days_are"]) == (1.33, "guessed by distance")


def test_two_rule_sets_stand_side_by_side_and_what_differs_is_marked(desk: Desk) -> None:
    words = ("--rules", desk.nearest, "--rules", desk.stores, *desk.files)

    found = desk.compared(*words)
    shown = desk.simulate(*words)

    assert [each["source"] for each in found["measured"]] == ["nearest.json", "stores.yaml"]
    assert found["changed_orders"] == 2
    assert found["compared_by"] == "Nearest"
    assert shown.exit_code == 0
    for words_shown in (
        "2 of 4 orders change",
        "by kind",
        "A store",
        "Costs are those of “Nearest” for all; days are guessed by distance.",
        "4 orders were left out: 1 location_unknown, 1 not_supported, 1 reference_taken,",
    ):
        assert words_shown in shown.stdout


def test_the_default_rules_can_be_compared_with_and_equal_rules_change_nothing(desk: Desk) -> None:
    same = desk.simulate("--rules", desk.nearest, "--rules", desk.nearest, "--quick", *desk.files)
    default = desk.compared("--rules", desk.nearest, "--against", "default", *desk.files)

    assert "No order changes, of 4." in same.stdout
    assert [each["source"] for each in default["measured"]] == ["default", "nearest.json"]
    assert default["compared_by"] == "Nearest"


def test_a_map_shows_who_serves_whom_by_each_rule_set(desk: Desk) -> None:
    out, again = desk.home / "map.svg", desk.home / "again.svg"
    words = ("--rules", desk.nearest, "--rules", desk.stores, *desk.files)

    for path in (out, again):
        assert desk.simulate(*words, "--plot", str(path)).exit_code == 0

    picture = out.read_text(encoding="utf-8")
    for shown in ("Nearest", "Stores", "wh-lyon", "store-paris", "5 parcels from 2 places"):
        assert f">{shown}<" in picture
    assert picture == again.read_text(encoding="utf-8")


def test_every_error_of_a_rule_file_is_shown_where_it_stands(desk: Desk) -> None:
    wrong = desk.file("wrong.yaml", "name: Wrong", "currency: EUR", "rules:", "  - from: {kind: x}")

    refused = desk.simulate("--rules", wrong, *desk.files)

    assert refused.exit_code == 2
    assert "wrong.yaml:4" in refused.stderr
    assert "/rules/0/from/kind" in refused.stderr
    assert "/rules/0/name" in refused.stderr


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("orders.jsonl", ["{}"], "orders.jsonl:1 /order"),
        ("orders.jsonl", ["{"], "orders.jsonl:1 /"),
        ("stock.csv", ["sku,location,on_hand", "LAMP,nowhere,3"], "stock.csv:2 location nowhere"),
        ("stock.csv", ["sku,location,on_hand", "LAMP,wh-lyon,many"], "stock.csv:2 on_hand"),
        ("locations.jsonl", [json.dumps(LOCATIONS[0])] * 2, "wh-lyon comes twice"),
        ("products.jsonl", ['{"sku": 3}'], "products.jsonl:1 /sku"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(
    desk: Desk, name: str, lines: list[str], said: str
) -> None:
    option = "--" + name.partition(".")[0]
    files = [each for each in desk.files if each != option]
    files.remove(next(each for each in files if Path(each).name.startswith(name)))

    refused = desk.simulate("--rules", desk.nearest, *files, option, desk.file(name, *lines))

    assert refused.exit_code == 1
    assert said in refused.stderr


def test_what_makes_no_sense_together_is_refused(desk: Desk) -> None:
    for words in (
        ["--rules", desk.nearest],
        desk.files,
        ["--rules", desk.nearest, "--since", "yesterday"],
        ["--rules", desk.nearest, *desk.files[:4]],
    ):
        assert desk.simulate(*words).exit_code == 2, words


def test_without_a_database_that_answers_it_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    here = SimpleNamespace(database_url=url)
    monkeypatch.setattr(simulate_command, "read_running", lambda home: here)

    refused = desk.simulate("--rules", desk.nearest, *desk.files[:2])

    assert refused.exit_code == 3
    assert "oms doctor" in refused.stderr


# --- with the books -------------------------------------------------------------------------


@pytest.fixture
async def books(
    desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncEngine]:
    """The books of a shop with a lamp and a mug in two places."""
    engine = connect(database_url)
    stockroom = Stockroom(engine)
    await stockroom.sells("LAMP", "MUG")
    for place in ("wh-lyon", "store-paris"):
        await stockroom.has_place(place)
    for sku, place, units in (("LAMP", "wh-lyon", 3), ("MUG", "store-paris", 9)):
        await stockroom.holds(sku, place, units)
    here = SimpleNamespace(database_url=database_url)
    monkeypatch.setattr(simulate_command, "read_running", lambda home: here)
    yield engine
    await engine.dispose()


async def everything(books: AsyncEngine) -> dict[str, str]:
    """All tables, each as one number."""
    async with books.connect() as tx:
        names = await tx.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        )
        digest = "SELECT coalesce(md5(string_agg(t::text, '' ORDER BY t::text)), '') FROM {} t"
        return {name: str(await tx.scalar(text(digest.format(name)))) for name in list(names)}


async def test_given_orders_are_tried_on_todays_stock_and_the_books_stay_as_they_are(
    desk: Desk, books: AsyncEngine
) -> None:
    before = await everything(books)

    found = await asyncio.to_thread(
        desk.compared, "--rules", desk.nearest, "--against", "active", *desk.files[:2]
    )
    nothing = await asyncio.to_thread(
        desk.compared, "--rules", desk.nearest, "--since", "2020-01-01"
    )

    assert [each["source"] for each in found["measured"]] == [
        "default, as none is active",
        "nearest.json",
    ]
    assert found["measured"][1]["served_units"] == 3
    assert nothing["measured"][0]["orders"] == 0
    assert await everything(books) == before


async def test_nothing_can_be_written_while_looking(books: AsyncEngine) -> None:
    with pytest.raises(DBAPIError, match="read-only"):
        async with looking(books) as tx:
            await tx.execute(text("UPDATE stock_levels SET on_hand = 0"))


async def test_a_rule_set_that_is_not_there_is_named(desk: Desk, books: AsyncEngine) -> None:
    for wanted in ("ours", "ours:2", "ours:x"):
        refused = await asyncio.to_thread(
            desk.simulate, "--rules", desk.nearest, "--against", wanted, *desk.files
        )
        assert refused.exit_code == 1
        assert wanted in refused.stderr
