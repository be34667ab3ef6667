"""A worker that remembers nothing between two tasks replays each run from its start, every time."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.world import World, a_shop


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    async with a_shop(database_url, temporal, worker_options={"max_cached_workflows": 0}) as world:
        await world.works_by_hand("wh-lyon")
        yield world


async def test_an_order_is_delivered(world: World) -> None:
    number = (await world.place(2))["number"]

    await world.scan(await world.sends(number, 2), "delivered")
    done = await world.until_closed(number)

    assert (done["status"], done["payment_status"]) == ("completed", "paid")
    await world.audit_is_clean()


async def test_an_order_is_cancelled_while_its_location_works(world: World) -> None:
    number = (await world.place())["number"]
    id = await world.packs(number)

    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
    await world.node(id, "cancel-response", {"accepted": True})
    done = await world.until_closed(number)

    assert (done["status"], done["payment_status"]) == ("cancelled", "voided")
    await world.audit_is_clean()


async def test_a_parked_step_is_resolved(world: World) -> None:
    number = (await world.place(token="tok_capture_fails"))["number"]
    tracking_number = await world.sends(number)
    await world.until_parked(number, "capture:1")

    await world.resolve(number, "capture:1", "done_manually", result={"reference": "till 4"})
    await world.scan(tracking_number, "delivered")
    done = await world.until_closed(number)

    assert (done["status"], done["payment_status"]) == ("completed", "paid")
    await world.audit_is_clean()
