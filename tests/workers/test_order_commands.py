"""`oms order`, against an API whose every answer is known."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from adapters.http import Http
from workers import asking, commands_order
from workers.api_client import ApiClient

NUMBER = "K3M9-QXZ4-7"
ORDER: dict[str, Any] = {
    "number": NUMBER, "channel": "web-fr", "reference": "100234", "status": "open",
    "payment_status": "authorized", "fulfillment_status": "in_progress", "return_status": "none",
    "refusal": None, "currency": "EUR", "total_minor": 4488, "version": 3,
    "promise": {"by": "2026-11-25T18:00:00Z"},
    "lines": [
        {"line": 1, "sku": "LAMP-01", "ordered": 2, "cancelled": 0, "reserved": 0,
         "backordered": 0, "allocated": 2, "picked": 0, "shipped": 0, "delivered": 0,
         "returned": 0, "refunded": 0}
    ],
    "payments": {"authorized_minor": 4488, "captured_minor": 0, "refunded_minor": 0,
                 "voided_minor": 0},
    "fulfillment_orders": [
        {"id": f"{NUMBER}-F1", "location": "wh-paris", "status": "in_progress",
         "request": "accepted", "cancellation": None, "pickup_code": None,
         "lines": [{"line": 1, "quantity": 2, "picked": 0}],
         "shipments": [
             {"id": f"{NUMBER}-S1", "carrier": "simulator", "tracking_number": "SIM123",
              "status": "created", "tracking_url": None, "lines": [{"line": 1, "quantity": 2}]}
         ]}
    ],
}  # fmt: skip
TIMELINE = [
    {"at": "2026-11-22T10:00:00Z", "actor": "channel", "kind": "order.placed", "summary": "Placed.",
     "data": {}},
    {"at": "2026-11-22T10:00:02.500Z", "actor": "system", "kind": "payment.authorized",
     "summary": "44.88 EUR authorised.", "data": {}},
]  # fmt: skip
WAIT = {
    "waiting_for": "a person to settle the capture", "step": "capture:1",
    "since": "2026-11-22T10:00:00Z", "until": None, "then": None, "last_error": "declined",
    "actions": [{"action": "retry", "method": "POST", "path": f"/v1/orders/{NUMBER}/resolve",
                 "body": {}}],
}  # fmt: skip


class PretendApi:
    """Answers what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            f"/v1/orders/{NUMBER}": (200, ORDER),
            f"/v1/orders/{NUMBER}/timeline": (200, {"data": TIMELINE, "next_cursor": None}),
            f"/v1/orders/{NUMBER}/explain": (200, {"data": [WAIT]}),
            f"/v1/orders/{NUMBER}/cancel": (200, ORDER),
            f"/v1/orders/{NUMBER}/resolve": (200, ORDER),
        }
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status, body = self.answers[request.url.path]
        return httpx.Response(status, json=body)

    @property
    def last_body(self) -> Any:
        return json.loads(self.asked[-1].content)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> PretendApi:
    pretend = PretendApi()

    def at(url: str, key: str) -> ApiClient:
        http = Http(url, timeout=timedelta(seconds=1), transport=httpx.MockTransport(pretend))
        return ApiClient(http, key, pause=timedelta())

    monkeypatch.setattr(ApiClient, "at", at)
    monkeypatch.setenv("OMS_API_KEY", "oms_operator_x")
    monkeypatch.setenv("OMS_API_URL", "http://api.example")
    monkeypatch.setenv("COLUMNS", "160")
    return pretend


@pytest.fixture
def oms(api: PretendApi) -> Callable[..., Result]:
    def run(*words: str) -> Result:
        return CliRunner().invoke(commands_order.app, words)

    return run


Run = Callable[..., Result]


def test_show_tells_lines_money_parcels_and_what_happened(oms: Run) -> None:
    shown = oms("show", NUMBER)

    assert shown.exit_code == 0
    for words in (NUMBER, "LAMP-01", "44.88 EUR", "wh-paris", "SIM123", "+2.5 s", "in_progress"):
        assert words in shown.output


def test_show_for_machines_is_one_json_document(oms: Run) -> None:
    shown = json.loads(oms("show", NUMBER, "--json").output)

    assert shown == {"order": ORDER, "timeline": TIMELINE}


def test_explain_tells_the_parked_step_its_error_and_what_may_be_done(oms: Run) -> None:
    shown = oms("explain", NUMBER).output

    for words in ("a person to settle the capture", "capture:1", "declined", "retry"):
        assert words in shown


def test_a_closed_order_waits_for_nothing(oms: Run, api: PretendApi) -> None:
    api.answers[f"/v1/orders/{NUMBER}/explain"] = 200, {"data": []}

    assert "waits for nothing" in oms("explain", NUMBER).output


def test_explain_says_why_the_order_is_served_from_there(oms: Run, api: PretendApi) -> None:
    out = "Lyon was left out: safety stock 2 of 2 (LAMP-01)."
    api.answers[f"/v1/orders/{NUMBER}/explain"] = 200, {"data": [], "routing": [out]}

    assert out in oms("explain", NUMBER).output


def test_a_whole_order_is_cancelled_under_a_key_of_its_own(oms: Run, api: PretendApi) -> None:
    assert oms("cancel", NUMBER, "--reason", "no longer wanted").exit_code == 0
    assert oms("cancel", NUMBER, "--reason", "no longer wanted").exit_code == 0

    assert api.last_body == {"reason": "no longer wanted"}
    assert len({request.headers["Idempotency-Key"] for request in api.asked}) == 2
    assert api.asked[-1].headers["Authorization"] == "Bearer oms_operator_x"


def test_units_of_lines_are_cancelled(oms: Run, api: PretendApi) -> None:
    pairs = ("--line", "1", "--quantity", "1", "--line", "2", "--quantity", "3")
    oms("cancel", NUMBER, "--reason", "x", *pairs)

    assert api.last_body["lines"] == [{"line": 1, "quantity": 1}, {"line": 2, "quantity": 3}]


def test_a_line_without_a_quantity_is_a_mistake(oms: Run, api: PretendApi) -> None:
    assert oms("cancel", NUMBER, "--reason", "x", "--line", "1").exit_code == 2
    assert api.asked == []


def test_a_cancellation_that_a_location_must_agree_to_says_so(oms: Run, api: PretendApi) -> None:
    api.answers[f"/v1/orders/{NUMBER}/cancel"] = 202, ORDER

    assert "location is asked" in oms("cancel", NUMBER, "--reason", "x").output


def test_a_parked_step_is_settled_by_a_named_person_for_a_reason(oms: Run, api: PretendApi) -> None:
    who = ("--actor", "grace", "--reason", "paid by transfer", "--result", '{"reference": "T1"}')
    assert oms("resolve", NUMBER, "capture:1", "done_manually", *who).exit_code == 0

    assert api.last_body == {
        "step": "capture:1",
        "action": "done_manually",
        "actor": "grace",
        "reason": "paid by transfer",
        "result": {"reference": "T1"},
    }


@pytest.mark.parametrize(
    "words",
    [
        ("resolve", NUMBER, "capture:1", "explode", "--actor", "a", "--reason", "b"),
        ("resolve", NUMBER, "capture:1", "retry", "--reason", "b"),
        ("resolve", NUMBER, "capture:1", "retry", "--actor", "a"),
        ("resolve", NUMBER, "x", "retry", "--actor", "a", "--reason", "b", "--result", "{"),
        ("cancel", NUMBER),
    ],
)
def test_a_command_that_makes_no_sense_asks_nothing(
    oms: Run, api: PretendApi, words: tuple[str, ...]
) -> None:
    assert oms(*words).exit_code == 2
    assert api.asked == []


def test_a_refusal_shows_its_code_its_reason_and_the_fields(oms: Run, api: PretendApi) -> None:
    flaw = {"pointer": "/lines/0/quantity", "code": "too_large", "detail": "at most 2"}
    problem = {"code": "quantity_too_large", "detail": "More than is open.", "errors": [flaw]}
    api.answers[f"/v1/orders/{NUMBER}/cancel"] = 422, problem

    refused = oms("cancel", NUMBER, "--reason", "x")

    assert refused.exit_code == 1
    for words in ("quantity_too_large", "More than is open.", "/lines/0/quantity", "at most 2"):
        assert words in refused.output


def test_a_busy_api_is_asked_again_and_then_given_up(oms: Run, api: PretendApi) -> None:
    api.answers[f"/v1/orders/{NUMBER}"] = 503, {"code": "unavailable", "detail": "later"}

    assert oms("show", NUMBER).exit_code == 3
    assert len(api.asked) == 5


def test_without_a_stack_or_a_key_it_says_how_to_get_one(
    oms: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMS_API_KEY")
    monkeypatch.setattr(asking, "read_running", lambda home: None)

    told = oms("show", NUMBER)

    assert told.exit_code == 3
    assert "oms up" in told.output
