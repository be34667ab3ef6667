"""Webhooks: what is signed is stored once, and nothing else is."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from standardwebhooks import Webhook

from api.main import create_app
from api.wiring import ApiSettings
from tests.api.conftest import Api, client, no_temporal

SECRETS = {
    party: f"whsec_{letter * 32}"
    for party, letter in (("payments", "A"), ("carriers", "B"), ("nodes", "C"))
}

SCAN = {
    "event_id": "evt-1",
    "tracking_number": "SIM123",
    "status": "in_transit",
    "at": "2026-11-22T10:00:00Z",
}
PAYMENT = {
    "event_id": "evt-1",
    "key": "K3M9-QXZ4-7:capture:1",
    "kind": "capture",
    "status": "succeeded",
    "amount_minor": 100,
    "currency": "EUR",
    "at": "2026-11-22T10:00:00Z",
}
REPORT = {
    "event_id": "evt-1",
    "fulfillment_order": "K3M9-QXZ4-7-F1",
    "action": "pick",
    "body": {"lines": [{"line": 1, "picked": 2}]},
}


@pytest.fixture
async def outside(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A sender without an API key, and empty books of events."""
    async with api.engine.begin() as tx:
        await tx.execute(text("DELETE FROM inbound_events"))
    app = create_app(ApiSettings(webhook_secrets=SECRETS), api.engine, no_temporal)
    async with client(app, None) as sender:
        yield sender


def signed(
    body: bytes, party: str = "carriers", at: datetime | None = None, id: str = "msg-1"
) -> dict[str, str]:
    now = at or datetime.now(UTC)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRETS[party]).sign(id, now, body.decode()),
    }


async def send(
    outside: httpx.AsyncClient, path: str, body: dict[str, Any], party: str
) -> httpx.Response:
    raw = json.dumps(body).encode()
    return await outside.post(f"/v1/inbound/{path}", content=raw, headers=signed(raw, party))


async def stored(api: Api) -> list[tuple[str, str, str]]:
    async with api.engine.connect() as tx:
        rows = await tx.execute(text("SELECT party, source, event_id FROM inbound_events"))
        return sorted((row.party, row.source, row.event_id) for row in rows)


async def test_what_is_signed_is_stored(api: Api, outside: httpx.AsyncClient) -> None:
    answers = [
        await send(outside, "carriers/simulator", SCAN, "carriers"),
        await send(outside, "payments/simulator", PAYMENT, "payments"),
        await send(outside, "nodes/wh-paris", REPORT, "nodes"),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert await stored(api) == [
        ("carriers", "simulator", "evt-1"),
        ("nodes", "wh-paris", "evt-1"),
        ("payments", "simulator", "evt-1"),
    ]


async def test_an_event_sent_twice_is_stored_once(api: Api, outside: httpx.AsyncClient) -> None:
    answers = [await send(outside, "carriers/simulator", SCAN, "carriers") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len(await stored(api)) == 1


RAW = json.dumps(SCAN).encode()
GOOD = signed(RAW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**GOOD, "webhook-signature": ""},
        {**GOOD, "webhook-signature": "v1,"},
        {**GOOD, "webhook-signature": "v1"},
        {**GOOD, "webhook-signature": "v1,!!!"},
        {**GOOD, "webhook-signature": "v2," + GOOD["webhook-signature"][3:]},
        {**GOOD, "webhook-id": "other"},
        {**GOOD, "webhook-timestamp": "soon"},
        {**GOOD, "webhook-timestamp": "nan"},
        {**GOOD, "webhook-timestamp": "1e400"},
        {**GOOD, "webhook-timestamp": "9" * 30},
        signed(RAW, "payments"),
        signed(RAW, at=datetime.now(UTC) - timedelta(days=1)),
        signed(RAW, at=datetime.now(UTC) + timedelta(days=1)),
        signed(RAW + b" "),
    ],
)
async def test_what_is_not_signed_for_us_is_refused(
    api: Api, outside: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    refused = await outside.post("/v1/inbound/carriers/simulator", content=RAW, headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (401, "signature_invalid")
    assert await stored(api) == []


async def test_a_signed_body_may_still_be_nonsense(api: Api, outside: httpx.AsyncClient) -> None:
    path = "/v1/inbound/carriers/simulator"
    for raw, expected in (
        (b"{", (400, "malformed_json")),
        (b"{}", (422, "validation_failed")),
        (json.dumps({**SCAN, "status": "eaten"}).encode(), (422, "validation_failed")),
        (json.dumps({**SCAN, "event_id": "a\u0000"}).encode(), (422, "validation_failed")),
        (json.dumps({**SCAN, "at": "yesterday"}).encode(), (422, "validation_failed")),
    ):
        refused = await outside.post(path, content=raw, headers=signed(raw))
        assert (refused.status_code, refused.json()["code"]) == expected
    hidden = {**REPORT, "body": {"a": "\u0000"}}
    refused = await send(outside, "nodes/wh-paris", hidden, "nodes")
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    binary = await outside.post(path, content=b"\xff\xfe", headers=GOOD)
    assert binary.status_code == 401
    assert await stored(api) == []


async def test_a_party_we_do_not_know_is_not_found(outside: httpx.AsyncClient) -> None:
    for path, body, party in (
        ("payments/other", PAYMENT, "payments"),
        ("carriers/other", SCAN, "carriers"),
    ):
        assert (await send(outside, path, body, party)).status_code == 404


async def test_without_a_secret_nothing_is_let_in(api: Api) -> None:
    refused = await api.anonymous.post("/v1/inbound/carriers/simulator", content=RAW, headers=GOOD)

    assert (refused.status_code, refused.json()["code"]) == (401, "signature_invalid")
