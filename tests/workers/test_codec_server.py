"""The codec server over real HTTP, as Temporal's UI and command line speak to it."""

import asyncio
import base64
import json
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from oms.errors import BadSetting
from tests.world import serving
from workers.codec_server import MOST_BYTES, app_of
from workers.embedded.toolchains import fetch_temporal
from workers.encryption import EncryptingCodec, KeyRing, new_codec_key
from workers.settings import Settings
from workers.temporal import data_converter

KEYS = f"{new_codec_key('new')},{new_codec_key('old')}"
UI = "http://localhost:8233"
TOKEN = "a-token-for-people"


def config(**more: Any) -> Settings:
    return Settings.model_validate({"codec_keys": KEYS} | more)


@pytest.fixture
async def server() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(app_of(config(codec_token=TOKEN))) as url,
        httpx.AsyncClient(
            base_url=url,
            trust_env=False,
            headers={"Authorization": f"Bearer {TOKEN}", "X-Namespace": "default"},
        ) as client,
    ):
        yield client


async def sealed(words: str, keys: str = KEYS) -> dict[str, Any]:
    """A payload as it stands in a history, in the JSON of protobuf."""
    clear = pydantic_data_converter.payload_converter.to_payloads([words])
    codec = EncryptingCodec(KeyRing.read(keys))
    return json_format.MessageToDict(Payloads(payloads=await codec.encode(clear)))


async def test_what_a_history_holds_is_opened(server: httpx.AsyncClient) -> None:
    answer = await server.post("/decode", json=await sealed("2 units at wh-lyon"))

    assert answer.status_code == 200
    payload = answer.json()["payloads"][0]
    assert base64.b64decode(payload["data"]) == b'"2 units at wh-lyon"'
    assert base64.b64decode(payload["metadata"]["encoding"]) == b"json/plain"


async def test_what_a_person_sends_to_a_run_is_sealed_first(server: httpx.AsyncClient) -> None:
    clear = {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "IndoeSI="}]}

    there = (await server.post("/encode", json=clear)).json()
    back = (await server.post("/decode", json=there)).json()

    assert base64.b64decode(there["payloads"][0]["metadata"]["encryption-key-id"]) == b"new"
    assert back == clear


async def test_payloads_keep_their_number_and_order_and_clear_ones_pass(
    server: httpx.AsyncClient,
) -> None:
    clear = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "IndoeSI="}
    secret = (await sealed("1"))["payloads"][0]

    answer = await server.post("/decode", json={"payloads": [clear, secret, clear]})

    assert [base64.b64decode(each["data"]) for each in answer.json()["payloads"]] == [
        b'"why"',
        b'"1"',
        b'"why"',
    ]
    assert (await server.post("/decode", json={})).json() == {}


async def test_a_browser_may_ask_from_the_page_of_the_ui_only(server: httpx.AsyncClient) -> None:
    wants = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
    }
    theirs = await server.options("/decode", headers={"Origin": UI} | wants)
    foreign = await server.options("/decode", headers={"Origin": "https://evil.example"} | wants)
    body = await sealed("2 units")
    shown = await server.post("/decode", json=body, headers={"Origin": UI})
    hidden = await server.post("/decode", json=body, headers={"Origin": "https://evil.example"})

    assert theirs.status_code == 200
    assert theirs.headers["access-control-allow-origin"] == UI
    assert "x-namespace" in theirs.headers["access-control-allow-headers"].lower()
    assert foreign.status_code == 400
    assert "access-control-allow-origin" not in foreign.headers
    assert (shown.status_code, shown.headers["access-control-allow-origin"]) == (200, UI)
    assert (hidden.status_code, hidden.json()["code"]) == (403, "origin_not_allowed")


@pytest.mark.parametrize("shown", ["", "Bearer wrong", f"Basic {TOKEN}", "Bearer ü"])
async def test_without_the_token_nothing_is_opened(server: httpx.AsyncClient, shown: str) -> None:
    body = await sealed("2 units")

    answer = await server.post("/decode", json=body, headers={b"Authorization": shown.encode()})

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        '{"payloads": 1}',
        '{"payloads": [{"data": 1}]}',
        '{"payloads": [{"metadata": 5}]}',
        '{"payloads": [{"data": "\udcff"}]}',
        "[" * 100_000,
    ],
)
async def test_a_body_that_cannot_be_read_is_a_problem(
    server: httpx.AsyncClient, body: str
) -> None:
    answer = await server.post(
        "/decode",
        content=body.encode(errors="surrogateescape"),
        headers={"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_without_end_is_cut_off(server: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MOST_BYTES // 2**16 + 1):
            yield bytes(2**16)

    answer = await server.post(
        "/decode", content=endless(), headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_key_that_is_missing_is_named_and_a_changed_payload_is_refused(
    server: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lost = await sealed("2 units", new_codec_key("lost"))
    changed = await sealed("2 units")
    changed["payloads"][0]["data"] = base64.b64encode(bytes(60)).decode()

    missing = await server.post("/decode", json=lost)
    refused = await server.post("/decode", json=changed)

    assert (missing.status_code, missing.json()["code"]) == (400, "codec_key_missing")
    assert "lost" in missing.json()["detail"]
    assert (refused.status_code, refused.json()["code"]) == (400, "payload_damaged")
    assert lost["payloads"][0]["data"] not in caplog.text


async def test_a_form_of_another_page_cannot_ask(server: httpx.AsyncClient) -> None:
    answer = await server.post("/decode", content="{}", headers={"Content-Type": "text/plain"})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_it_does_not_open_to_the_network_by_oversight() -> None:
    with pytest.raises(BadSetting, match="OMS_CODEC_TOKEN"):
        app_of(config(codec_host="0.0.0.0"))
    with pytest.raises(BadSetting, match="OMS_CODEC_KEYS"):
        app_of(Settings(codec_keys=None))

    app_of(config(codec_host="0.0.0.0", codec_token=TOKEN))
    app_of(config(codec_host="0.0.0.0", codec_token="none"))
    app_of(config(codec_host="::1"))


async def test_the_command_line_of_temporal_shows_what_a_sealed_run_was_told(
    temporal: Client, temporal_address: str, server: httpx.AsyncClient, say: Callable[[str], None]
) -> None:
    program = await asyncio.to_thread(fetch_temporal, say)
    settings = temporal.config()
    settings["data_converter"] = data_converter(KEYS)
    id = f"order/{os.urandom(4).hex()}"
    await Client(**settings).start_workflow(
        "Order", {"number": "K3M9-QXZ4-7"}, id=id, task_queue=id, static_summary="2 units"
    )

    def shown(*more: str) -> str:
        command = [str(program), "workflow", "show", "-w", id, "-o", "json", *more]
        told = subprocess.run(
            [*command, "--address", temporal_address], capture_output=True, text=True, check=True
        )
        return told.stdout

    hidden = await asyncio.to_thread(shown)
    opened = await asyncio.to_thread(
        shown,
        "--codec-endpoint",
        str(server.base_url).rstrip("/"),
        "--codec-auth",
        f"Bearer {TOKEN}",
    )
    await temporal.get_workflow_handle(id).terminate()

    assert b"K3M9-QXZ4-7" in base64.b64decode(_input(opened)["data"])
    assert b"K3M9-QXZ4-7" not in base64.b64decode(_input(hidden)["data"])


def _input(shown: str) -> dict[str, str]:
    """The first payload that a run was started with, as the command line shows it."""
    started = json.loads(shown)["events"][0]["workflowExecutionStartedEventAttributes"]
    payload: dict[str, str] = started["input"]["payloads"][0]
    return payload
