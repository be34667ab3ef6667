"""`oms demo`, with everything around it pretended."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from adapters.http import Http
from oms.places import postal_table
from tests.demo.pretend import WHY, PretendOms
from workers.api_client import ApiClient
from workers.demo import closing, command, returning, runner
from workers.demo.example import example_retailer
from workers.demo.returning import Scan
from workers.demo.surroundings import Audit, Place, with_coordinates
from workers.state import Running

RUNNING = Running(
    api="http://api.example",
    simulator="http://simulator.example",
    temporal_ui="http://ui.example",
    keys={"operator": "key"},
    webhook_secrets={},
    temporal="127.0.0.1:7233",
    database_url="",
    supervisor=1,
    processes={},
)
COMMAND = typer.Typer()
COMMAND.command()(command.demo)


class Machine:
    """A machine with a stack on it, or none."""

    def __init__(self) -> None:
        self.oms = PretendOms()
        self.has_stack = False
        self.violations: list[object] = []
        self.environment: Mapping[str, str] = {}
        self.speeds: list[str] = []

    @asynccontextmanager
    async def a_stack(
        self, environment: Mapping[str, str], report: Callable[[str], None], server: object
    ) -> AsyncIterator[Place]:
        self.environment = environment
        yield Place(RUNNING, ours=not self.has_stack)

    @asynccontextmanager
    async def at_speed(self, simulator: str) -> AsyncIterator[None]:
        self.speeds.append("fast")
        yield
        self.speeds.append("as before")

    @asynccontextmanager
    async def a_carrier(self, simulator: str) -> AsyncIterator[Scan]:
        yield self.oms.scan

    async def audit(self) -> Audit:
        return Audit(violations=self.violations)

    def client(self, url: str, key: str) -> ApiClient:
        http = Http(url, timeout=timedelta(seconds=1), transport=httpx.MockTransport(self.oms))
        return ApiClient(http, key, pause=timedelta())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(command, "a_stack", machine.a_stack)
    monkeypatch.setattr(command, "at_speed", machine.at_speed)
    monkeypatch.setattr(command, "a_carrier", machine.a_carrier)
    monkeypatch.setattr(returning, "SPEED", 36e8)
    monkeypatch.setattr(returning, "LOOK_EVERY_SECONDS", 0.001)
    monkeypatch.setattr(closing, "audit", machine.audit)
    monkeypatch.setattr(ApiClient, "at", machine.client)
    monkeypatch.setattr(runner, "LOOK_EVERY_SECONDS", 0.001)
    monkeypatch.setattr(runner, "PARKED_FOR_GOOD_SECONDS", 0.2)
    monkeypatch.setattr(runner, "GIVE_UP_SECONDS", 2)
    return machine


def demo(*words: str | Path) -> Result:
    return CliRunner().invoke(COMMAND, [str(word) for word in words])


def test_a_good_run_leaves_zero_and_its_outcome_for_machines(
    machine: Machine, tmp_path: Path
) -> None:
    ended = demo("--orders", "25", "--json", tmp_path / "out.json")

    assert ended.exit_code == 0, ended.output
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["orders"] == 25
    assert written["delivered"] + written["refused"] == 25
    assert written["refused"] == 2
    assert written["parked"] == 0
    assert written["audit"] == {"violations": []}
    assert (written["returns"], written["returns_closed"]) == (2, 2)
    assert [status for _, status in machine.oms.scans] == ["in_transit", "delivered"]
    assert "at the till of" in ended.output
    assert machine.speeds == ["fast", "as before"]


def test_it_tells_the_story_of_what_came_back_by_post_and_why_it_gave_back_so_much(
    machine: Machine,
) -> None:
    told = demo("--orders", "25").output

    (by_post,) = (id for id, back in machine.oms.returns.items() if back["parcels"])
    for words in (
        f"Return {by_post}: by post", f"{by_post} came", WHY, "restock at wh-1",
        f"oms returns show {by_post}",
    ):  # fmt: skip
        assert words in told, words


def test_it_tells_the_story_of_the_order_that_was_repaired_and_where_to_look(
    machine: Machine,
) -> None:
    told = demo("--orders", "8").output

    number = machine.oms.resolved[0]["number"]
    for words in (
        "parked, and repaired",
        f"{number} was placed",
        "Audit: all books agree.",
        f"http://ui.example/namespaces/default/workflows/order%2F{number}",
        "http://api.example/docs",
        "make up",
    ):
        assert words in told


def test_books_that_disagree_leave_one(machine: Machine) -> None:
    machine.violations = [{"invariant": 4, "about": "N-1", "detail": "captured twice"}]

    ended = demo("--orders", "1")

    assert ended.exit_code == 1
    assert "captured twice" in ended.output


def test_an_order_without_a_verdict_leaves_one_and_is_explained(
    machine: Machine, tmp_path: Path
) -> None:
    a_retailer(tmp_path, token="tok_stuck")

    ended = demo("--data", tmp_path)

    assert ended.exit_code == 1
    assert "N-0 has no verdict" in ended.output


def test_what_a_retailer_says_came_back_is_taken_and_what_was_never_sold_is_refused(
    machine: Machine, tmp_path: Path
) -> None:
    a_retailer(tmp_path)
    rows: list[dict[str, object]] = [
        {"reference": "1", "line": 1, "quantity": 1},
        {"reference": None, "customer": "c-1", "sku": "B", "quantity": 1},
        {"reference": None, "customer": "c-2", "sku": "B", "quantity": 1},
        {"reference": "1", "line": 1, "quantity": 1},
        {"reference": "another run's", "line": 1, "quantity": 1},
    ]
    (tmp_path / "returns.jsonl").write_text("\n".join(map(json.dumps, rows)))

    ended = demo("--data", tmp_path, "--json", tmp_path / "out.json")

    written = json.loads((tmp_path / "out.json").read_text())
    assert ended.exit_code == 0, ended.output
    assert (written["returns"], written["returns_closed"]) == (1, 1)
    assert written["returns_refused"] == {"line_unknown": 1, "not_found": 1, "more_than_sent": 1}
    assert written["returns_wrong"] == []


def test_an_oms_that_takes_back_what_was_never_sold_leaves_one(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_retailer(tmp_path)
    (tmp_path / "returns.jsonl").write_text(
        json.dumps({"reference": "1", "line": 1, "quantity": 3})
    )
    monkeypatch.setattr(machine.oms, "returnable", lambda line: 9)

    ended = demo("--data", tmp_path)

    assert ended.exit_code == 1
    assert "3 were taken and 1 were sold" in ended.output


def test_a_stack_of_ours_knows_the_retailers_postal_codes(machine: Machine, tmp_path: Path) -> None:
    a_retailer(tmp_path)

    assert demo("--data", tmp_path).exit_code == 0
    assert machine.environment == {"OMS_POSTAL_TABLE": str(tmp_path / "postal_codes.csv")}


def test_a_broken_retailer_leaves_one_and_starts_nothing(machine: Machine, tmp_path: Path) -> None:
    ended = demo("--data", tmp_path)

    assert ended.exit_code == 1
    assert "holds neither" in " ".join(ended.output.split())
    assert machine.speeds == []


def test_an_api_that_refuses_leaves_one_and_says_why(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, json={"code": "forbidden", "detail": "Not for the role node."})

    monkeypatch.setattr(machine, "oms", refuse)

    ended = demo("--orders", "1")

    assert ended.exit_code == 1
    assert "403 forbidden: Not for the role node." in ended.output


def test_addresses_for_a_stack_with_another_table_carry_their_coordinates(tmp_path: Path) -> None:
    table = tmp_path / "postal_codes.csv"
    table.write_text("country,postal_code,latitude,longitude\nFR,69001,1,2\n")
    retailer = replace(example_retailer(orders=40, seed=7, prefix="t"), postal_table=table)

    located = with_coordinates(retailer)

    assert postal_table(table)
    for before, after in zip(retailer.orders, located.orders, strict=True):
        if before["delivery"]["method"] == "home":
            assert after["delivery"]["address"].keys() >= {"latitude", "longitude"}
            assert "latitude" not in before["delivery"]["address"]
        else:
            assert after == before


def a_retailer(directory: Path, *, token: str = "tok_ok") -> None:
    order = {
        "channel": "web",
        "reference": "1",
        "customer": {"id": "c-1"},
        "lines": [{"sku": "A", "quantity": 1}],
        "delivery": {"method": "home", "address": {"country": "FR", "postal_code": "69001"}},
        "tenders": [{"token": token}],
    }
    files = {
        "locations.jsonl": json.dumps({"id": "s-1", "name": "One", "kind": "store"}),
        "products.jsonl": json.dumps({"sku": "A", "name": "Lamp"}),
        "stock.csv": "sku,location,on_hand\nA,s-1,3",
        "orders.jsonl": json.dumps({"at": "2010-12-01T08:26:00Z", "order": order}),
        "postal_codes.csv": "country,postal_code,latitude,longitude\nFR,69001,45.7,4.8\n",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
