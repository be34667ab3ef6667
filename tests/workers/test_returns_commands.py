"""`oms returns`, against an API whose every answer is known."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from adapters.http import Http
from workers import cli
from workers.api_client import ApiClient

Run = Callable[..., Result]

NONE = dict.fromkeys(("announced", "returned", "accepted", "refused", "claimed", "undelivered"), 0)
MUG = NONE | {"key": "MUG", "sold": 2, "announced": 2, "returned": 1, "accepted": 1,
              "refunded_minor": 1999, "currency": "EUR", "rate_percent": 50.0}  # fmt: skip
LAMP = NONE | {"key": "LAMP", "sold": 40, "returned": 5, "refused": 1, "refunded_minor": 0,
               "currency": "EUR", "rate_percent": 12.5, "undelivered": 3}  # fmt: skip
REPORT: dict[str, Any] = {
    "by": "sku", "from": "2026-08-24T10:00:00Z", "to": "2026-11-22T10:00:00Z", "data": [MUG, LAMP],
}  # fmt: skip

ID = "K3M9-QXZ4-7-R1"
BACK: dict[str, Any] = {
    "id": ID, "order": "K3M9-QXZ4-7", "kind": "return", "status": "partially_received",
    "via": "post", "resolution": "refund", "location": "wh-lyon", "refund_minor": 3998,
    "currency": "EUR", "exchange_order": None, "travels_with": None, "version": 4,
    "requested_at": "2026-11-20T10:00:00Z", "expires_at": None, "closed_at": None,
    "refunds": [{"id": "K3M9-QXZ4-7:refund:1", "amount_minor": 1999, "currency": "EUR",
                 "status": "succeeded"}],
    "lines": [{"line": 1, "sku": "MUG", "quantity": 2, "extra": 0, "reason": "too_small",
               "received": 1, "missing": 0, "accepted": 1, "rejected": 0, "settled": 1,
               "exchange_sku": None}],
    "lots": [{"id": 7, "line": 1, "sku": "MUG", "condition": "as_new", "location": "wh-nice",
              "quantity": 1, "state": "placed", "disposition": "restock_elsewhere",
              "transfer": "T-1", "why": "paris is out of stock"}],
    "parcels": [{"id": f"{ID}-P1", "direction": "in", "carrier": "post", "tracking_number": "SIM1",
                 "tracking_url": None, "status": "in_transit"}],
}  # fmt: skip
EVENT = {"seq": 5, "at": "2026-11-20T10:00:00Z", "actor": "web", "kind": "return.requested",
         "summary": f"{ID}: 2 units are to come back (post)", "data": {}}  # fmt: skip
WAIT = {"waiting_for": "The rest to arrive at wh-lyon.", "step": None, "last_error": None,
        "since": "2026-11-21T10:00:00Z", "until": "2026-12-12T10:00:00Z",
        "then": "a person is called",
        "actions": [{"action": "receive", "method": "POST", "path": f"/v1/returns/{ID}/receive",
                     "body": {}}]}  # fmt: skip

WHY = "Line 1, 2 x MUG (too small): 19.99 EUR for 1, 1 not here yet."


@pytest.fixture
def asked() -> list[httpx.Request]:
    return []


@pytest.fixture
def answers() -> dict[str, Any]:
    """What each path answers."""
    return {
        "/v1/reports/returns": REPORT,
        "/v1/returns": {"data": [BACK], "next_cursor": None},
        f"/v1/returns/{ID}": BACK,
        f"/v1/returns/{ID}/timeline": {"data": [EVENT], "next_cursor": None},
        f"/v1/returns/{ID}/explain": {"data": [WAIT], "refund": [WHY]},
    }


@pytest.fixture
def oms(
    monkeypatch: pytest.MonkeyPatch, asked: list[httpx.Request], answers: dict[str, Any]
) -> Run:
    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=answers[request.url.path])

    def at(url: str, key: str) -> ApiClient:
        http = Http(url, timeout=timedelta(seconds=1), transport=httpx.MockTransport(reply))
        return ApiClient(http, key, pause=timedelta())

    monkeypatch.setattr(ApiClient, "at", at)
    monkeypatch.setenv("OMS_API_KEY", "oms_operator_x")
    monkeypatch.setenv("OMS_API_URL", "http://api.example")
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: CliRunner().invoke(cli.app, words)


def test_the_report_shows_each_article_with_a_bar_as_long_as_its_rate(oms: Run) -> None:
    shown = oms("returns", "report")

    assert shown.exit_code == 0, shown.output
    title, headings, mug, lamp = shown.output.splitlines()[:4]
    assert title == "Returns of what was handed over from 2026-08-24 to 2026-11-22"
    assert headings.split()[:2] == ["article", "rate"]
    assert (mug.count("█"), lamp.count("█")) == (24, 6)
    assert "50.0 %" in mug
    assert "19.99" in mug
    assert lamp.split()[-1] == "3", "undelivered parcels stand apart"


def test_the_period_and_the_filters_are_asked_of_the_api(
    oms: Run, asked: list[httpx.Request]
) -> None:
    oms(
        "returns", "report", "--by", "reason", "--from", "2026-10-01", "--to", "2026-11-01",
        "--channel", "web", "--location", "store-lyon", "--min-sold", "20", "--limit", "5",
    )  # fmt: skip

    assert dict(asked[-1].url.params) == {
        "by": "reason", "from": "2026-10-01T00:00:00+00:00", "to": "2026-11-01T00:00:00+00:00",
        "channel": "web", "location": "store-lyon", "min_sold": "20", "limit": "5",
    }  # fmt: skip


def test_machines_and_spreadsheets_get_the_same_rows(oms: Run) -> None:
    as_csv = oms("returns", "report", "--csv").output.splitlines()

    assert json.loads(oms("returns", "report", "--json").output) == REPORT
    assert as_csv[0].startswith("key,currency,sold,announced,returned")
    assert as_csv[1] == "MUG,EUR,2,2,1,1,0,1999,50.0,0,0"
    assert oms("returns", "report", "--csv", "--json").exit_code == 2


def test_where_nothing_came_back_it_says_so(oms: Run, answers: dict[str, Any]) -> None:
    answers["/v1/reports/returns"] = REPORT | {"data": []}

    assert "Nothing came back." in oms("returns", "report").output


# --- one return -----------------------------------------------------------------------------


def test_a_return_is_shown_with_what_arrived_where_it_went_and_what_was_paid(oms: Run) -> None:
    shown = oms("returns", "show", ID)

    assert shown.exit_code == 0, shown.output
    for words in (
        f"Return {ID}", "partially_received", "39.98", "19.99", "1 x MUG", "restock elsewhere",
        "paris is out of stock", "SIM1", "2 units are to come back",
    ):  # fmt: skip
        assert words in shown.output, words
    assert json.loads(oms("returns", "show", ID, "--json").output)["return"] == BACK


def test_an_exchange_says_what_it_is_for_and_a_claim_that_nothing_is_sent(
    oms: Run, answers: dict[str, Any]
) -> None:
    (line,) = BACK["lines"]
    answers[f"/v1/returns/{ID}"] = BACK | {
        "resolution": "exchange", "lines": [line | {"exchange_sku": "CUSHION"}],
    }  # fmt: skip
    exchange = oms("returns", "show", ID).output
    answers[f"/v1/returns/{ID}"] = BACK | {"kind": "claim", "via": "none"}
    claim = oms("returns", "show", ID).output

    assert "CUSHION" in exchange
    assert "exchanged" in exchange
    assert "claim, nothing is sent back" in claim


def test_what_a_return_waits_for_is_said_with_what_may_be_done(oms: Run) -> None:
    shown = oms("returns", "explain", ID).output

    assert "The rest to arrive at wh-lyon." in shown
    assert WHY in shown
    assert "2026-12-12 10:00:00 UTC" in shown
    assert f"POST /v1/returns/{ID}/receive" in shown


def test_returns_are_listed_as_they_were_asked_for(oms: Run, asked: list[httpx.Request]) -> None:
    shown = oms("returns", "list", "--status", "received", "--location", "wh-lyon", "--limit", "5")

    assert ID in shown.output
    assert "2 x MUG" in shown.output
    assert dict(asked[-1].url.params) == {
        "status": "received", "location": "wh-lyon", "limit": "5",
    }  # fmt: skip


def test_where_there_is_no_such_return_it_says_so(oms: Run, answers: dict[str, Any]) -> None:
    answers["/v1/returns"] = {"data": [], "next_cursor": None}

    assert "No such return." in oms("returns", "list").output
