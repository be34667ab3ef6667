"""Many at once: the last unit is sold once, and one request makes one order."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from temporalio.client import Client

from oms.numbers import is_order_number
from tests.scenarios.working import until_closed
from tests.world import POLICY, World, a_world

BUYERS = 200


async def numbers_of(world: World) -> list[tuple[str, str | None]]:
    """(number, refusal) of every order in the books."""
    async with world.engine.connect() as connection:
        rows = await connection.execute(text("SELECT number, refusal_code FROM orders"))
        return [(row.number, row.refusal_code) for row in rows]


@pytest.fixture
async def patient(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A world that holds stock for as long as a crowd may take to pay."""
    policy = POLICY.model_copy(update={"reservation": timedelta(minutes=10)})
    async with a_world(database_url, temporal, policy=policy) as world:
        await world.sells("LAMP")
        await world.has_place("wh-lyon")
        yield world


async def test_of_two_hundred_buyers_one_gets_the_last_unit(patient: World) -> None:
    world = patient
    await world.works_by_hand("wh-lyon")
    await world.holds("LAMP", "wh-lyon", 1)
    bodies = [world.an_order(1) for _ in range(BUYERS)]
    at_once = asyncio.Semaphore(50)

    async def buys(body: dict[str, Any]) -> httpx.Response:
        async with at_once:
            return await world.call("POST", "/v1/orders", body, who="channel")

    answers = await asyncio.gather(*(buys(body) for body in bodies))

    assert {answer.status_code for answer in answers} <= {201, 202, 422}
    numbers = {answer.json()["number"] for answer in answers}
    assert len(numbers) == BUYERS
    assert all(map(is_order_number, numbers))
    refused = [answer.json() for answer in answers if answer.status_code == 422]
    # On a busy machine a verdict may take longer than a channel waits: those were told 202.
    assert {body["code"] for body in refused} <= {"insufficient_stock"}
    assert {body["errors"][0]["available"] for body in refused} <= {0, 1}

    async def all_decided() -> bool:
        refusals = Counter(refusal for _, refusal in await numbers_of(world))
        return refusals["insufficient_stock"] == BUYERS - 1

    await world.wait(all_decided, within=240)
    level = await world.level("LAMP", "wh-lyon")
    assert level["reserved"] + level["allocated"] == 1
    assert level["available"] == 0

    async def the_winner_is_authorised() -> bool:
        return "authorize" in [kind for kind, _ in await world.outside.books("payments")]

    await world.wait(the_winner_is_authorised, within=240)
    books = await world.outside.books("payments")
    assert [kind for kind, _ in books].count("authorize") == 1
    (winner,) = [number for number, refusal in await numbers_of(world) if refusal is None]
    await world.until_offered(winner)
    await world.audit_is_clean()


async def test_the_same_request_ten_times_at_once_is_one_order(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    body = world.an_order(2)

    answers = await asyncio.gather(
        *(world.call("POST", "/v1/orders", body, who="channel") for _ in range(10))
    )

    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) <= {200, 201, 202}, [answer.text for answer in answers]
    assert codes[201] + codes[202] == 1
    assert len({answer.json()["number"] for answer in answers}) == 1
    assert len(await numbers_of(world)) == 1
    number = answers[0].json()["number"]
    await world.until_offered(number)
    assert await world.money_of(number) == [("authorize", 4488)]
    assert (await world.level("LAMP", "wh-lyon"))["allocated"] == 2
    await world.audit_is_clean()


async def test_the_same_key_ten_times_at_once_is_one_order(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    body = world.an_order(2)

    async def places() -> httpx.Response:
        return await world.call("POST", "/v1/orders", body, who="channel", Idempotency_Key="k-1")

    answers = await asyncio.gather(*(places() for _ in range(10)))

    for answer in answers:
        in_flight = answer.status_code == 409
        assert in_flight or answer.status_code in (201, 202), answer.text
        assert not in_flight or answer.json()["code"] == "idempotency_key_in_flight"
    first = next(answer for answer in answers if answer.status_code != 409)
    again = await places()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(await numbers_of(world)) == 1
    other = await world.call(
        "POST", "/v1/orders", world.an_order(1), who="channel", Idempotency_Key="k-1"
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_reference_names_one_order(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    body = world.an_order(2)
    number = (await world.ok("POST", "/v1/orders", body, who="channel"))["number"]

    same = await world.call("POST", "/v1/orders", body, who="channel")
    other = await world.call(
        "POST",
        "/v1/orders",
        world.an_order(1) | {"reference": body["reference"]},
        who="channel",
    )

    assert (same.status_code, same.json()["number"]) == (200, number)
    assert (other.status_code, other.json()["code"]) == (409, "reference_reused")
    assert len(await numbers_of(world)) == 1
    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "x"})
    await until_closed(world, number)
    assert (await world.call("POST", "/v1/orders", body, who="channel")).status_code == 200
