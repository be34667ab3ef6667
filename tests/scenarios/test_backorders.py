"""Orders wait for goods in a queue, and get them by themselves when their turn has come."""

from typing import Any

import pytest

from tests.scenarios.working import delivers, has_kinds
from tests.world import World


@pytest.fixture
async def shop(world: World) -> World:
    """A sofa that nobody has, and of which three may be promised."""
    await world.sells("SOFA")
    await world.has_place("wh-nice", latitude=43.7, longitude=7.26)
    await world.works_by_hand("wh-lyon", "wh-nice")
    await world.ok("PUT", "/v1/stock/SOFA/wh-lyon/policy", {"backorder_limit": 5})
    return world


async def waits(world: World, units: int = 1, **more: Any) -> str:
    """An order that nothing is there for."""
    order = await world.place({"SOFA": units}, allow_backorder=True, **more)
    await world.until(order["number"], lambda o: o["lines"][0]["backordered"] == units)
    return str(order["number"])


async def backordered(world: World, number: str) -> int:
    return int((await world.order(number))["lines"][0]["backordered"])


async def until_served(world: World, number: str, left: int = 0) -> None:
    await world.until(number, lambda order: order["lines"][0]["backordered"] == left)


async def queue(world: World) -> dict[str, Any]:
    found: dict[str, Any] = await world.ok("GET", "/v1/stock/SOFA/backorders")
    return found


async def test_goods_that_arrive_go_to_those_who_wait_in_turn_and_are_sent(shop: World) -> None:
    world = shop
    first, second = await waits(world, 2), await waits(world, 1)
    coming = {
        "sku": "SOFA",
        "location": "wh-lyon",
        "quantity": 9,
        "expected_at": "2036-12-01T08:00:00Z",
        "reference": "PO-1",
    }
    await world.ok("POST", "/v1/stock/incoming", coming)
    (wait,) = (await world.ok("GET", f"/v1/orders/{second}/explain", who="channel"))["data"]
    assert wait["waiting_for"].endswith("of SOFA: place 2 of 2 in the queue")
    assert wait["then"].endswith("oldest first; expected: 9 at wh-lyon on 2036-12-01")
    shown = await queue(world)
    assert [(each["place"], each["order"], each["units"]) for each in shown["queue"]] == [
        (1, first, 2),
        (2, second, 1),
    ]

    await world.holds("SOFA", "wh-lyon", 2)

    (offer,) = await world.until_offered(first)
    assert await backordered(world, second) == 1
    await world.holds("SOFA", "wh-lyon", 3)
    (other,) = await world.until_offered(second)
    for number, work in ((first, offer), (second, other)):
        await delivers(world, number, work["id"])
        assert "order.backorder_released" in await has_kinds(world, number)
    releases = (await queue(world))["releases"]
    assert [(each["order"], each["quantity"], each["place"]) for each in releases] == [
        (second, 1, 1),
        (first, 2, 1),
    ]
    assert releases[1]["behind"][0]["order"] == second
    channel_sees = str(await world.ok("GET", f"/v1/orders/{first}/timeline", who="channel"))
    assert second not in channel_sees
    await world.audit_is_clean()


async def test_what_a_cancelled_order_gives_back_goes_to_who_waits(shop: World) -> None:
    world = shop
    await world.holds("SOFA", "wh-lyon", 1)
    sold = (await world.place({"SOFA": 1}))["number"]
    waiting = await waits(world)

    await world.ok("POST", f"/v1/orders/{sold}/cancel", {"reason": "changed mind"})

    await until_served(world, waiting)
    await world.until_offered(waiting)
    await world.audit_is_clean()


async def test_what_a_transfer_brings_goes_to_who_waits(shop: World) -> None:
    world = shop
    number = await waits(world)
    await world.has_place("store-nice", kind="store", serves=["store_pickup"])
    await world.holds("SOFA", "store-nice", 4)
    units = [{"sku": "SOFA", "quantity": 2}]
    sent = await world.ok(
        "POST", "/v1/transfers", {"from": "store-nice", "to": "wh-lyon", "lines": units}
    )
    await world.ok("POST", f"/v1/transfers/{sent['id']}/ship", {})

    await world.ok("POST", f"/v1/transfers/{sent['id']}/receive", {"lines": units})

    await until_served(world, number)
    assert (await world.level("SOFA", "wh-lyon"))["available"] == 1
    await world.audit_is_clean()


async def test_what_is_coming_is_sold_before_it_comes_and_is_the_buyers_when_it_is_here(
    shop: World,
) -> None:
    world = shop
    await world.ok("PUT", "/v1/stock/SOFA/wh-nice/policy", {"backorder_from_incoming": True})
    announced = {
        "sku": "SOFA",
        "location": "wh-nice",
        "quantity": 3,
        "expected_at": "2036-12-01T08:00:00Z",
        "reference": "PO-1",
    }
    order = await world.ok("POST", "/v1/stock/incoming", announced)

    numbers = [await waits(world, 1) for _ in range(2)]

    assert (await world.level("SOFA", "wh-nice"))["backordered"] == 2, "they wait where goods come"
    await world.ok("POST", f"/v1/stock/incoming/{order['id']}/receive", {"quantity": 3})
    for number in numbers:
        await until_served(world, number)
    assert (await world.level("SOFA", "wh-nice"))["available"] == 1
    await world.audit_is_clean()


async def test_a_held_order_is_passed_over_and_gets_the_next_goods_when_it_is_free(
    shop: World,
) -> None:
    world = shop
    held, free = await waits(world), await waits(world)
    hold = await world.ok("POST", f"/v1/orders/{held}/holds", {"reason": "fraud"})
    await world.holds("SOFA", "wh-lyon", 2)
    await until_served(world, free)
    (entry,) = (await queue(world))["queue"]
    assert (entry["order"], entry["waits"]) == (held, "on hold (fraud)")
    assert (await world.level("SOFA", "wh-lyon"))["available"] == 0, "one is kept for the queue"
    refused = await world.call("POST", "/v1/orders", world.an_order({"SOFA": 1}), who="channel")
    assert refused.json()["code"] == "insufficient_stock"

    await world.ok("POST", f"/v1/orders/{held}/holds/{hold['id']}/release", {})

    await until_served(world, held)
    (release, before) = (await queue(world))["releases"]
    assert (release["order"], before["order"]) == (held, free)
    assert before["passed"] == [{"order": held, "place": 1, "words": "on hold (fraud)"}]
    await world.audit_is_clean()


async def test_an_operator_serves_an_order_out_of_turn_by_rerouting_it(shop: World) -> None:
    world = shop
    first, favoured = await waits(world), await waits(world)
    # A place that cannot serve by itself: only the operator's word opens it in time.
    hold = await world.ok("POST", f"/v1/orders/{first}/holds", {"reason": "inventory"})
    other = await world.ok("POST", f"/v1/orders/{favoured}/holds", {"reason": "inventory"})
    await world.holds("SOFA", "wh-lyon", 1)

    await world.ok("POST", f"/v1/orders/{favoured}/reroute", {})

    assert await backordered(world, favoured) == 0
    (release,) = (await queue(world))["releases"]
    assert (release["order"], release["policy"], release["place"]) == (favoured, "reroute", None)
    assert release["actor"] == "operator"
    for number, id in ((first, hold["id"]), (favoured, other["id"])):
        await world.ok("POST", f"/v1/orders/{number}/holds/{id}/release", {})
    await world.until_offered(favoured)
    assert await backordered(world, first) == 1
    await world.audit_is_clean()


async def test_a_preorder_is_promised_before_its_day_and_sent_after_it(shop: World) -> None:
    world = shop
    day = "2036-03-01T00:00:00Z"
    await world.ok("PUT", "/v1/products/SOFA", {"name": "Sofa", "available_from": day})
    await world.holds("SOFA", "wh-lyon", 9)
    impatient = await world.call("POST", "/v1/orders", world.an_order({"SOFA": 1}), who="channel")
    greedy = await world.call(
        "POST", "/v1/orders", world.an_order({"SOFA": 6}, allow_backorder=True), who="channel"
    )
    assert {answer.json()["code"] for answer in (impatient, greedy)} == {"insufficient_stock"}
    number = await waits(world, 2)
    (wait,) = (await world.ok("GET", f"/v1/orders/{number}/explain"))["data"]
    assert wait["until"] == day
    assert "not before 2036-03-01 00:00 UTC" in wait["then"]
    shown = await queue(world)
    assert shown["available_from"] == day
    assert shown["queue"][0]["waits"] == "a preorder, not before 2036-03-01 00:00 UTC"

    await world.ok("PUT", "/v1/products/SOFA", {"name": "Sofa"})

    await until_served(world, number)
    assert (await world.level("SOFA", "wh-lyon"))["available"] == 7
    await world.audit_is_clean()
