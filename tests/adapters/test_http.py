"""What a failing call means for the effect it asked for."""

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from pydantic import BaseModel

from adapters.http import Http
from oms.errors import BadRequest, KeyReused, OmsError, OutcomeUnknown, Unreachable


class Receipt(BaseModel):
    status: str


def an_http(answer: Callable[[httpx.Request], httpx.Response]) -> Http:
    return Http("http://party", timeout=timedelta(seconds=1), transport=httpx.MockTransport(answer))


def raising(error: type[httpx.HTTPError]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error("no luck")

    return answer


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, BadRequest),
        (401, BadRequest),
        (404, BadRequest),
        (302, BadRequest),
        (408, OutcomeUnknown),
        (409, KeyReused),
        (422, BadRequest),
        (429, Unreachable),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (504, OutcomeUnknown),
    ],
)
async def test_a_status_says_whether_anything_was_done(
    status: int, meaning: type[OmsError]
) -> None:
    async with an_http(lambda request: httpx.Response(status, json={"code": "because"})) as http:
        with pytest.raises(meaning, match=f"POST /x answered {status} because"):
            await http.post("/x", {}, key="k", answer=Receipt)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (httpx.ConnectError, Unreachable),
        (httpx.ConnectTimeout, Unreachable),
        (httpx.PoolTimeout, Unreachable),
        (httpx.LocalProtocolError, BadRequest),
        (httpx.ReadTimeout, OutcomeUnknown),
        (httpx.WriteTimeout, OutcomeUnknown),
        (httpx.ReadError, OutcomeUnknown),
        (httpx.WriteError, OutcomeUnknown),
        (httpx.RemoteProtocolError, OutcomeUnknown),
    ],
)
async def test_a_call_that_broke_after_it_was_sent_may_have_been_done(
    error: type[httpx.HTTPError], meaning: type[OmsError]
) -> None:
    async with an_http(raising(error)) as http:
        with pytest.raises(meaning):
            await http.post("/x", {}, key="k", answer=Receipt)


async def test_whoever_asks_us_to_slow_down_says_for_how_long() -> None:
    async with an_http(lambda request: httpx.Response(429, headers={"Retry-After": "7"})) as http:
        with pytest.raises(Unreachable) as fault:
            await http.post("/x", {}, key="k", answer=Receipt)

    assert fault.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status": 1}'])
async def test_a_yes_that_cannot_be_read_is_an_unknown_outcome(body: bytes) -> None:
    async with an_http(lambda request: httpx.Response(200, content=body)) as http:
        with pytest.raises(OutcomeUnknown, match="unreadable"):
            await http.post("/x", {}, key="k", answer=Receipt)


async def test_the_business_key_travels_with_the_call() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["idempotency-key"])
        return httpx.Response(200, json={"status": "done"})

    async with an_http(answer) as http:
        await http.post("/x", {}, key="A-1:capture:1", answer=Receipt)

    assert seen == ["A-1:capture:1"]


async def test_what_a_party_does_not_know_is_no_fault() -> None:
    async with an_http(lambda request: httpx.Response(404)) as http:
        assert await http.get("/x", {}, answer=Receipt) is None


async def test_an_error_carries_the_partys_code_and_none_of_its_words() -> None:
    body = {"code": "address_wrong", "detail": "Ada Martin does not live there"}
    async with an_http(lambda request: httpx.Response(422, json=body)) as http:
        with pytest.raises(BadRequest) as fault:
            await http.post("/x", {}, key="k", answer=Receipt)

    assert "address_wrong" in str(fault.value)
    assert "Ada" not in str(fault.value)
