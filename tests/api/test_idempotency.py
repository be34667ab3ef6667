"""A request under a key has one effect and one answer, whoever repeats it and whenever."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from adapters.db import idempotency as claims
from adapters.db.idempotency import Answered, Claim, ClaimLost, InFlight
from api.main import create_app
from api.wiring import ApiSettings
from tests.api.conftest import OPERATOR, Api, client, key, no_temporal

HASH = b"\x01" * 32


def more(sku: str, units: int = 1) -> dict[str, Any]:
    return {"adjustments": [{"sku": sku, "location": "wh-paris", "delta": units}]}


async def units(api: Api, sku: str) -> int:
    return int((await api.operator.get(f"/v1/stock/{sku}")).json()["available"])


async def test_the_first_answer_is_given_again(api: Api) -> None:
    await api.has("ONCE", units=0)
    same = key()

    first = await api.operator.post("/v1/stock/adjustments", json=more("ONCE"), headers=same)
    again = await api.operator.post("/v1/stock/adjustments", json=more("ONCE"), headers=same)

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await units(api, "ONCE") == 1


async def test_a_refusal_is_an_answer_and_is_given_again(api: Api) -> None:
    await api.has("NO", units=1)
    same = key()

    first = await api.operator.post("/v1/stock/adjustments", json=more("NO", -5), headers=same)
    await api.adjust({"sku": "NO", "location": "wh-paris", "set": 100})
    again = await api.operator.post("/v1/stock/adjustments", json=more("NO", -5), headers=same)

    assert (first.status_code, first.json()["code"]) == (422, "stock_negative")
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == "application/problem+json"
    assert await units(api, "NO") == 100


async def test_the_same_request_ten_times_at_once_has_one_effect(api: Api) -> None:
    await api.has("RUSH", units=0)
    same = key()

    answers = await asyncio.gather(
        *(
            api.operator.post("/v1/stock/adjustments", json=more("RUSH"), headers=same)
            for _ in range(10)
        )
    )

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert sum(answer.status_code == 200 for answer in answers) >= 1
    refused = [answer for answer in answers if answer.status_code == 409]
    assert all(answer.json()["code"] == "idempotency_key_in_flight" for answer in refused)
    assert await units(api, "RUSH") == 1


async def test_a_key_names_one_request_only(api: Api) -> None:
    await api.has("REUSED", units=0)
    same = key()
    await api.operator.post("/v1/stock/adjustments", json=more("REUSED"), headers=same)

    other = await api.operator.post("/v1/stock/adjustments", json=more("REUSED", 2), headers=same)

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await units(api, "REUSED") == 1


async def test_how_the_json_is_written_does_not_make_another_request(api: Api) -> None:
    await api.has("SPACED", units=0)
    same = key()
    written = (
        b'{"adjustments":[{"sku":"SPACED","location":"wh-paris","delta":1}]}',
        b'{ "adjustments": [ {"delta": 1, "location": "wh-paris", "sku": "SPACED"} ] }',
    )

    answers = [
        await api.operator.post("/v1/stock/adjustments", content=body, headers=same)
        for body in written
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert await units(api, "SPACED") == 1


async def test_two_credentials_may_use_the_same_key(api: Api) -> None:
    await api.has("SHARED", units=0)
    same = key()

    for who in (api.operator, api.node):
        answer = await who.post("/v1/stock/adjustments", json=more("SHARED"), headers=same)
        assert answer.status_code == 200

    assert await units(api, "SHARED") == 2


@pytest.mark.parametrize("bad", ["", " ", "a b", "x" * 256, "é", "tab\there"])
async def test_a_key_is_visible_ascii(api: Api, bad: str) -> None:
    headers = {b"Idempotency-Key": bad.encode("latin-1")}
    refused = await api.operator.post("/v1/stock/adjustments", json=more("ANY"), headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_invalid")


async def test_moving_goods_without_a_key_is_refused(api: Api) -> None:
    refused = await api.operator.post("/v1/stock/adjustments", json=more("ANY"))

    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_missing")


@pytest.mark.parametrize("flawed", [b"{", b"{}", b'{"adjustments": []}'])
async def test_a_request_that_was_not_well_formed_leaves_its_key_free(
    api: Api, flawed: bytes
) -> None:
    await api.has("FREE", units=0)
    same = key()

    await api.operator.post("/v1/stock/adjustments", content=flawed, headers=same)
    mended = await api.operator.post("/v1/stock/adjustments", json=more("FREE"), headers=same)

    assert mended.status_code == 200
    assert "idempotent-replayed" not in mended.headers


async def test_a_request_cut_off_in_the_middle_leaves_no_effect_and_can_be_made_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.has("CUT", units=0)
    same = key()

    async def power_cut(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(claims, "store_answer", power_cut)
        with pytest.raises(ConnectionResetError):
            await api.operator.post("/v1/stock/adjustments", json=more("CUT"), headers=same)
    assert await units(api, "CUT") == 0

    again = await api.operator.post("/v1/stock/adjustments", json=more("CUT"), headers=same)
    assert again.status_code == 200
    assert await units(api, "CUT") == 1


async def test_a_request_that_ran_out_of_time_leaves_its_key_free(api: Api) -> None:
    await api.has("SLOW", units=1)
    app = create_app(ApiSettings(request_seconds=0.3), api.engine, no_temporal)
    same = key()
    body = more("SLOW")

    async with client(app, OPERATOR) as hurried, api.engine.begin() as locker:
        await locker.execute(text("SELECT 1 FROM stock_levels WHERE sku = 'SLOW' FOR UPDATE"))
        late = await hurried.post("/v1/stock/adjustments", json=body, headers=same)
    async with asyncio.timeout(10):
        while (
            again := await api.operator.post("/v1/stock/adjustments", json=body, headers=same)
        ).status_code == 409:
            await asyncio.sleep(0.05)

    assert (late.status_code, late.json()["code"]) == (503, "unavailable")
    assert again.status_code == 200
    assert await units(api, "SLOW") == 2


async def claim(api: Api, name: str, at: datetime) -> object:
    return await claims.claim(
        api.engine, credential="operator", key=name, request_hash=HASH, now=at
    )


async def test_a_claim_whose_process_died_is_taken_over_after_a_while(api: Api) -> None:
    start = datetime.now(UTC)

    first = await claim(api, "dead", start)
    early = await claim(api, "dead", start + claims.TAKEN_OVER_AFTER - timedelta(seconds=1))
    late = await claim(api, "dead", start + claims.TAKEN_OVER_AFTER)

    assert isinstance(first, Claim)
    assert isinstance(early, InFlight)
    assert isinstance(late, Claim)


async def test_whoever_lost_a_claim_can_neither_answer_nor_give_it_up(api: Api) -> None:
    start = datetime.now(UTC)
    slow = await claim(api, "slow", start)
    quick = await claim(api, "slow", start + timedelta(minutes=2))
    assert isinstance(slow, Claim)
    assert isinstance(quick, Claim)

    with pytest.raises(ClaimLost):
        async with api.engine.begin() as tx:
            await claims.store_answer(tx, slow, Answered(200, {}, "slow"))
    async with api.engine.begin() as tx:
        await claims.give_up(tx, slow)
    async with api.engine.begin() as tx:
        await claims.store_answer(tx, quick, Answered(200, {}, "quick"))

    assert await claim(api, "slow", start + timedelta(days=1)) == Answered(200, {}, "quick")


async def test_a_request_that_stored_its_order_is_finished_and_not_repeated(api: Api) -> None:
    start = datetime.now(UTC)
    first = await claim(api, "order", start)
    assert isinstance(first, Claim)
    async with api.engine.begin() as tx:
        await claims.attach_order(tx, first, "K3M9-QXZ4-7")
    async with api.engine.begin() as tx:
        await claims.give_up(tx, first)

    second = await claim(api, "order", start + timedelta(seconds=1))

    assert isinstance(second, Claim)
    assert second.order_number == "K3M9-QXZ4-7"


async def test_a_key_is_forgotten_after_thirty_days(api: Api) -> None:
    start = datetime.now(UTC)
    first = await claim(api, "month", start)
    assert isinstance(first, Claim)
    async with api.engine.begin() as tx:
        await claims.store_answer(tx, first, Answered(200, {}, "then"))

    assert isinstance(await claim(api, "month", start + timedelta(days=29)), Answered)
    assert isinstance(await claim(api, "month", start + timedelta(days=31)), Claim)
    async with api.engine.begin() as tx:
        assert await claims.sweep(tx, start + timedelta(days=90)) > 0
        left = await tx.scalar(
            text("SELECT count(*) FROM idempotency_keys WHERE claimed_at < :t"),
            {"t": start + timedelta(days=32)},
        )
    assert left == 0
