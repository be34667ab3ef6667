"""`oms location`, `oms sku` and `oms reroute`, against an API whose every answer is known."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from adapters.http import Http
from workers import cli, commands_closing
from workers.api_client import ApiClient

ID = "RR-K3M9-QXZ4-7"
RUNNING: dict[str, Any] = {
    "id": ID, "kind": "location", "location": "store-lyon", "sku": None, "reason": "flood",
    "status": "running", "actor": "operator", "at": "2026-11-22T10:00:00Z", "ended_at": None,
    "done": 1, "left": 2, "outcomes": {"moved": 1}, "problems": [], "version": 1,
}  # fmt: skip
DONE = RUNNING | {"status": "done", "done": 3, "left": None, "outcomes": {"asked": 1, "moved": 2}}
FAILED = DONE | {
    "problems": [{"order": "K3M9-QXZ4-7", "outcome": "failed", "detail": "broken_invariant: x",
                  "tries": 2, "at": "2026-11-22T10:00:00Z"}]
}  # fmt: skip
CLOSED = {"location": {"id": "store-lyon"}, "reroute": RUNNING}
RECALLED = {"sku": "LAMP-01", "everywhere": True, "blocked": ["store-lyon"], "reroute": RUNNING}

Run = Callable[..., Result]


class PretendApi:
    """Answers in turn what it was told to, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        status = 409 if "code" in body else 200
        return httpx.Response(status, json=body)

    @property
    def last(self) -> tuple[str, str, Any]:
        request = self.asked[-1]
        return request.method, request.url.path, json.loads(request.content or b"null")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> PretendApi:
    pretend = PretendApi()

    def at(url: str, key: str) -> ApiClient:
        http = Http(url, timeout=timedelta(seconds=1), transport=httpx.MockTransport(pretend))
        return ApiClient(http, key, pause=timedelta())

    monkeypatch.setattr(ApiClient, "at", at)
    monkeypatch.setattr(commands_closing, "ASK_AGAIN_SECONDS", 0)
    monkeypatch.setenv("OMS_API_KEY", "oms_operator_x")
    monkeypatch.setenv("OMS_API_URL", "http://api.example")
    monkeypatch.setenv("COLUMNS", "160")
    return pretend


@pytest.fixture
def oms(api: PretendApi) -> Run:
    return lambda *words: CliRunner().invoke(cli.app, words)


def test_a_place_is_closed_and_the_way_to_watch_is_told(oms: Run, api: PretendApi) -> None:
    api.answers = [CLOSED]

    shown = oms("location", "close", "store-lyon", "--reason", "flood", "--reroute")

    assert shown.exit_code == 0
    assert api.last == (
        "POST",
        "/v1/locations/store-lyon/close",
        {"reason": "flood", "reroute": True},
    )
    assert "2 orders are to be served from elsewhere" in shown.output
    assert f"oms reroute watch {ID}" in shown.output


def test_a_place_that_opens_again_says_so(oms: Run, api: PretendApi) -> None:
    api.answers = [CLOSED | {"reroute": None}]

    shown = oms("location", "open", "store-lyon")

    assert (shown.exit_code, shown.output) == (0, "store-lyon is open.\n")


def test_an_article_is_recalled_and_sold_again(oms: Run, api: PretendApi) -> None:
    api.answers = [RECALLED, RECALLED | {"everywhere": False, "blocked": [], "reroute": None}]

    recalled = oms("sku", "recall", "LAMP-01", "--reason", "sharp edges")
    assert api.last[1:] == (
        "/v1/stock/LAMP-01/recall",
        {"reason": "sharp edges", "location": None, "reroute": True},
    )
    again = oms("sku", "release", "LAMP-01", "--location", "store-lyon")

    assert "recalled everywhere" in recalled.output
    assert api.last[1:] == ("/v1/stock/LAMP-01/recall/end", {"location": "store-lyon"})
    assert again.output == "LAMP-01 is sold again.\n"


def test_watching_ends_with_the_reroute_and_tells_each_outcome(oms: Run, api: PretendApi) -> None:
    api.answers = [RUNNING, RUNNING, DONE]

    shown = oms("reroute", "watch", ID)

    assert shown.exit_code == 0
    assert len(api.asked) == 3
    assert f"{ID} is done: 3 orders done" in shown.output
    assert "asked 1" in " ".join(shown.output.split())


def test_watching_for_machines_ends_with_one_document(oms: Run, api: PretendApi) -> None:
    api.answers = [RUNNING, FAILED]

    shown = oms("reroute", "watch", ID, "--json")

    assert shown.exit_code == 1, "an order failed"
    assert json.loads(shown.stdout) == FAILED


@pytest.mark.parametrize("word", ["pause", "resume", "stop"])
def test_a_reroute_is_steered(oms: Run, api: PretendApi, word: str) -> None:
    api.answers = [RUNNING]

    shown = oms("reroute", word, ID)

    assert shown.exit_code == 0
    assert api.last[:2] == ("POST", f"/v1/reroutes/{ID}/{word}")
    assert "1 order done, 2 left" in shown.output


def test_what_the_api_refuses_is_told(oms: Run, api: PretendApi) -> None:
    api.answers = [{"code": "invalid_state", "detail": "RR-1 is done: it cannot pause now."}]

    shown = oms("reroute", "pause", ID)

    assert shown.exit_code == 1
    assert "invalid_state" in shown.output
