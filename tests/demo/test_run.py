"""A run against a pretended API."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import httpx
import pytest
from rich.console import Console

from adapters.http import Http
from tests.demo.pretend import PretendOms
from workers import stock_import
from workers.api_client import ApiClient, ApiRefused
from workers.demo import runner
from workers.demo.board import board_view, loading, outcome_view, watching
from workers.demo.catalogue import Catalogue, StockRow
from workers.demo.closing import Ending
from workers.demo.loader import load
from workers.demo.runner import Run
from workers.demo.stages import Stage

Json = dict[str, Any]


def an_order(reference: str, token: str = "tok_ok") -> Json:
    return {"channel": "web-de", "reference": reference, "tenders": [{"token": token}]}


@pytest.fixture
def oms() -> PretendOms:
    return PretendOms()


@pytest.fixture
def api(oms: PretendOms) -> ApiClient:
    http = Http("http://x", timeout=timedelta(seconds=1), transport=httpx.MockTransport(oms))
    return ApiClient(http, "key", pause=timedelta())


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LOOK_EVERY_SECONDS", 0.001)
    monkeypatch.setattr(runner, "PARKED_FOR_GOOD_SECONDS", 0.05)


@pytest.mark.parametrize("orders", [3, 40])
async def test_every_order_is_followed_to_its_verdict(api: ApiClient, orders: int) -> None:
    placed = [an_order(f"r-{i}", "tok_declined" if i % 3 == 0 else "tok_ok") for i in range(orders)]

    outcome = await Run(api, placed, run="t").to_the_end(within=20)

    refused = len(range(0, orders, 3))
    assert outcome.unsettled == ()
    assert outcome.counts == {Stage.REFUSED: refused, Stage.DELIVERED: orders - refused}
    assert outcome.refusals == {"payment_declined": refused}


async def test_an_api_that_is_away_for_a_while_loses_no_order(
    api: ApiClient, oms: PretendOms
) -> None:
    oms.away = 40

    outcome = await Run(api, [an_order("r-1"), an_order("r-2")], run="t").to_the_end(within=20)

    assert outcome.counts == {Stage.DELIVERED: 2}
    assert len(oms.orders) == 2


async def test_the_showpiece_is_repaired_as_an_operator_would(
    api: ApiClient, oms: PretendOms
) -> None:
    run = Run(api, [an_order("r-1"), an_order("r-2", "tok_capture_fails")], run="t", repair="r-2")

    outcome = await run.to_the_end(within=20)

    assert outcome.counts == {Stage.DELIVERED: 2}
    assert [(done["step"], done["action"]) for done in oms.resolved] == [
        ("capture:1", "done_manually")
    ]
    assert all(done["actor"] and done["reason"] for done in oms.resolved)
    assert run.repaired == oms.resolved[0]["number"]


async def test_any_other_order_that_parks_counts_as_parked(api: ApiClient, oms: PretendOms) -> None:
    run = Run(api, [an_order("r-1"), an_order("r-2", "tok_capture_fails")], run="t")

    outcome = await run.to_the_end(within=20)

    assert outcome.counts == {Stage.DELIVERED: 1, Stage.PARKED: 1}
    assert outcome.unsettled == ()
    assert oms.resolved == []


async def test_an_order_without_a_verdict_in_time_is_named(api: ApiClient) -> None:
    run = Run(api, [an_order("r-1"), an_order("r-2", "tok_stuck")], run="t")

    outcome = await run.to_the_end(within=0.5)

    assert [entry.reference for entry in outcome.unsettled] == ["r-2"]
    ending = Ending(outcome, seconds=0.5, violations=[])
    assert not ending.is_good
    assert json.loads(ending.as_json())["without_verdict"] == ["N-1"]


async def test_a_run_in_which_nothing_happens_any_more_is_given_up(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GIVE_UP_SECONDS", 0.3)

    outcome = await Run(api, [an_order("r-1", "tok_stuck")], run="t").to_the_end(within=60)

    assert [entry.reference for entry in outcome.unsettled] == ["r-1"]


async def test_orders_wait_to_be_placed_until_those_before_them_have_shipped(
    api: ApiClient, oms: PretendOms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MOST_UNDER_WAY", 3)
    monkeypatch.setattr(runner, "GIVE_UP_SECONDS", 0.3)
    stuck = [an_order(f"r-{i}", "tok_stuck") for i in range(50)]

    await Run(api, stuck, run="t").to_the_end(within=60)

    assert 3 <= len(oms.orders) < 3 + runner.AT_ONCE


async def test_an_order_placed_by_an_earlier_run_is_watched_too(
    api: ApiClient, oms: PretendOms
) -> None:
    await Run(api, [an_order("r-1")], run="first").to_the_end(within=20)

    outcome = await Run(api, [an_order("r-1"), an_order("r-2")], run="again").to_the_end(within=20)

    assert outcome.counts == {Stage.DELIVERED: 2}
    assert len(oms.orders) == 2


async def test_everything_a_retailer_has_is_loaded_and_told(
    api: ApiClient, oms: PretendOms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock_import, "ROWS_IN_A_PART", 7)
    told: dict[str, tuple[int, int]] = {}
    retailer = Catalogue(
        channels={"web-de": "Web"},
        locations={"s-1": {"name": "One"}, "s-2": {"name": "Two"}},
        products={f"A-{i}": {"name": "Lamp"} for i in range(30)},
        stock=tuple(StockRow(f"A-{i}", "s-1", i) for i in range(30)),
        orders=(),
    )

    await load(api, retailer, run="t", report=lambda what, n, of: told.update({what: (n, of)}))

    assert oms.put == {"channels": 1, "locations": 2, "products": 30}
    assert oms.stock == {(f"A-{i}", "s-1"): i for i in range(30)}
    assert told == {
        "channels": (1, 1), "locations": (2, 2), "products": (30, 30), "stock": (30, 30),
    }  # fmt: skip


async def test_a_row_the_api_refuses_stops_the_loading() -> None:
    api_of_nothing = ApiClient(
        Http(
            "http://x",
            timeout=timedelta(seconds=1),
            transport=httpx.MockTransport(
                lambda request: httpx.Response(422, json={"code": "validation_failed"})
            ),
        ),
        "key",
    )
    retailer = Catalogue(channels={"c": "C"}, locations={}, products={}, stock=(), orders=())

    with pytest.raises(ExceptionGroup) as refused:
        await load(api_of_nothing, retailer, run="t", report=lambda what, n, of: None)

    assert refused.group_contains(ApiRefused, match="validation_failed")


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_an_api_that_takes_no_orders_is_no_verdict_on_them(status: int) -> None:
    refusing = httpx.MockTransport(lambda request: httpx.Response(status, json={"code": "no"}))
    api = ApiClient(Http("http://x", timeout=timedelta(seconds=1), transport=refusing), "key")

    with pytest.raises(ExceptionGroup) as refused:
        await Run(api, [an_order("r-1")], run="t").to_the_end(within=20)

    assert refused.group_contains(ApiRefused)


async def test_the_outcome_for_machines_has_exactly_the_promised_numbers(api: ApiClient) -> None:
    run = Run(api, [an_order("r-1"), an_order("r-2", "tok_declined")], run="t")
    outcome = await run.to_the_end(within=20)

    written = json.loads(Ending(outcome, seconds=1.23, violations=[]).as_json())

    assert written["audit"] == {"violations": []}
    assert {
        key: written[key]
        for key in ("orders", "delivered", "refused", "parked", "returns", "returns_closed")
    } == {
        "orders": 2, "delivered": 1, "refused": 1, "parked": 0, "returns": 0, "returns_closed": 0,
    }  # fmt: skip
    assert written["seconds"] == 1.2


async def test_the_board_and_the_outcome_can_be_read(api: ApiClient) -> None:
    run = Run(api, [an_order("r-1"), an_order("r-2", "tok_declined")], run="t")
    outcome = await run.to_the_end(within=20)
    console = Console(record=True, width=120, file=None, quiet=False)

    with console.capture() as shown:
        console.print(board_view(run.entries, seconds=60), outcome_view(outcome))

    for words in ("2 orders", "delivered", "1 payment_declined", "2 verdicts, 2 a minute"):
        assert words in shown.get()


@pytest.mark.parametrize("terminal", [True, False])
async def test_a_run_is_watched_in_a_terminal_and_in_a_log(api: ApiClient, terminal: bool) -> None:
    told = StringIO()
    console = Console(file=told, force_terminal=terminal, width=80)
    run = Run(api, [an_order("r-1"), an_order("r-2", "tok_declined")], run="t")

    async with watching(console, run):
        await run.to_the_end(within=20)

    assert "2 orders" in told.getvalue()
    assert "delivered" in told.getvalue()


async def test_loading_is_shown(api: ApiClient) -> None:
    told = StringIO()
    retailer = Catalogue(channels={"c": "C"}, locations={}, products={}, stock=(), orders=())

    with loading(Console(file=told, width=80)) as report:
        await load(api, retailer, run="t", report=report)

    assert "channels" in told.getvalue()
    assert "1/1" in told.getvalue()


def test_books_that_disagree_end_badly(api: ApiClient) -> None:
    outcome = Run(api, [], run="t").outcome

    assert Ending(outcome, seconds=1, violations=[]).is_good
    assert not Ending(outcome, seconds=1, violations=[{"rule": 4}]).is_good
