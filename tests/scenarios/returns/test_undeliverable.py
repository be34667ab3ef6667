"""A parcel turns round: nobody asked for it back, and everything still ends as it should."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client

from tests.returning import Back
from tests.scenarios.returns.sending_back import time_passes_to
from tests.scenarios.working import accepted_work, delivers, ships
from tests.world import World, a_shop


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop of its own: its only article is counted as a whole."""
    async with a_shop(database_url, temporal) as world:
        yield world


async def coming_back(world: World, number: str) -> Back:
    """Wait for the return as which an order's parcel is expected."""
    found: list[Back] = []

    async def is_expected() -> bool:
        listed = await world.ok("GET", f"/v1/returns?order={number}&kind=undeliverable")
        found[:] = listed["data"]
        return bool(found) and found[0]["status"] == "in_transit"

    await world.wait(is_expected)
    (back,) = found
    return back


async def turned(world: World, units: int | dict[str, int] = 2) -> tuple[str, str, Back]:
    """An order that nobody took: number, tracking number, and what is expected back."""
    number, id = await accepted_work(world, units)
    parcel = await ships(world, id)
    await world.until(number, lambda order: bool(order["payment_status"] == "paid"))
    await world.scan(parcel, "returned_to_sender")
    return number, parcel, await coming_back(world, number)


async def shelf(world: World) -> dict[str, Any]:
    level = await world.level("LAMP", "wh-lyon")
    return {name: level[name] for name in ("on_hand", "incoming", "damaged")}


async def test_a_parcel_nobody_took_comes_back_is_paid_back_and_sold_again(world: World) -> None:
    number, _, back = await turned(world)
    order = await world.order(number)
    assert (order["attention"], order["status"]) == (False, "open")
    (wait,) = (await world.ok("GET", f"/v1/orders/{number}/explain"))["data"]
    assert wait["waiting_for"] == f"{number}-S1 to come back to wh-lyon undelivered, as {number}-R1"
    assert await shelf(world) == {"on_hand": 8, "incoming": 2, "damaged": 0}
    assert (back["status"], back["refund_minor"]) == ("in_transit", 4488)

    for _ in range(2):
        await world.receive(back["id"], 2)

    closed = await world.until_closed(number)
    assert (closed["status"], closed["payment_status"]) == ("cancelled", "refunded")
    assert await world.money_of(number) == [
        ("authorize", 4488),
        ("capture", 4488),
        ("refund", 4488),
    ]
    assert (await world.until_return(back["id"], "closed"))["lots"][0]["state"] == "placed"
    assert await shelf(world) == {"on_hand": 10, "incoming": 0, "damaged": 0}
    await world.audit_is_clean()


async def test_what_the_road_broke_is_looked_at_and_stays_off_the_shelf(world: World) -> None:
    number, _, back = await turned(world)

    await world.receive(back["id"], 2, condition="damaged")
    assert (await world.until_closed(number))["payment_status"] == "refunded"
    await world.inspect(back["id"], 2)

    await world.until_return(back["id"], "closed")
    assert await shelf(world) == {"on_hand": 8, "incoming": 0, "damaged": 2}
    await world.audit_is_clean()


async def test_a_parcel_that_finds_its_customer_after_all_is_expected_no_longer(
    world: World,
) -> None:
    number, parcel, back = await turned(world)

    await world.scan(parcel, "delivered")

    assert (await world.until_closed(number))["status"] == "completed"
    await world.until_return(back["id"], "cancelled")
    assert await shelf(world) == {"on_hand": 8, "incoming": 0, "damaged": 0}
    assert await world.money_of(number) == [("authorize", 4488), ("capture", 4488)]
    await world.audit_is_clean()


async def test_a_parcel_that_never_comes_back_calls_a_person_who_accepts_the_loss(
    world: World,
) -> None:
    number, _, back = await turned(world)
    await time_passes_to(world, back["id"], "receive_by")
    await world.until_return_parked(back["id"], "overdue:R1")

    await world.resolve(number, "overdue:R1", "done_manually")

    assert (await world.until_closed(number))["payment_status"] == "refunded"
    await world.until_return(back["id"], "closed")
    assert await shelf(world) == {"on_hand": 8, "incoming": 0, "damaged": 0}
    await world.audit_is_clean()


async def test_goods_that_are_back_before_anybody_heard_of_delivery_were_delivered(
    world: World,
) -> None:
    number, id = await accepted_work(world)
    await ships(world, id)
    back = await world.ask_return(number, 1)

    await world.takes_back(back["id"], 1)

    await world.until_return(back["id"], "closed")
    order = await world.until_closed(number)
    assert (order["lines"][0]["delivered"], order["lines"][0]["returned"]) == (2, 1)
    assert order["payment_status"] == "partially_refunded"
    await world.audit_is_clean()


async def test_a_return_lost_on_its_way_calls_a_person_and_may_be_asked_for_again(
    world: World,
) -> None:
    number, id = await accepted_work(world)
    await delivers(world, number, id)
    asked = await world.ask_return(number, 2)
    labelled = await world.until_back(
        asked["id"], lambda back: bool(back["parcels"][0]["tracking_number"])
    )

    await world.scan(labelled["parcels"][0]["tracking_number"], "lost")
    await world.until_return_parked(asked["id"], "parcel:R1-P1")
    await world.resolve(number, "parcel:R1-P1", "done_manually")

    await world.until_return(asked["id"], "closed")
    assert (await world.try_return(number, 2)).status_code == 201
    await world.audit_is_clean()
