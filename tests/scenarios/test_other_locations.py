"""A location that says no, says nothing or finds too little: elsewhere, later, or not at all."""

import pytest

from tests.scenarios.working import (
    accepted_work,
    an_offer,
    delivers,
    has_kinds,
    lets_pass,
    part_of,
    sends,
    until_closed,
)
from tests.world import World


async def has_nice(world: World, units: int = 5) -> None:
    """A second warehouse, further away, where people work by hand."""
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-nice", units)
    await world.works_by_hand("wh-nice")


@pytest.mark.parametrize(
    ("reason", "on_hand", "damaged"),
    [("out_of_stock", 8, 0), ("damaged", 8, 2), ("capacity", 10, 0), ("closed", 10, 0)],
)
async def test_what_one_location_rejects_another_serves(
    world: World, reason: str, on_hand: int, damaged: int
) -> None:
    await has_nice(world)
    number, id = await an_offer(world)

    rejected = await world.node(id, "reject", {"reason": reason})

    assert (rejected["status"], rejected["request"]) == ("cancelled", "rejected")
    assert rejected["reject_reason"] == reason
    (second,) = await world.until_offered(number)
    assert (second["location"], second["id"]) == ("wh-nice", f"{number}-F2")
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["damaged"], level["allocated"]) == (on_hand, damaged, 0)
    assert (await world.level("LAMP", "wh-nice"))["allocated"] == 2
    assert await world.node(id, "reject", {"reason": reason}) == rejected
    late = await world.call("POST", f"/v1/fulfillment-orders/{id}/accept", {}, who="node")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
    done = await delivers(world, number, second["id"])
    assert done["payment_status"] == "paid"
    await world.audit_is_clean()


async def test_a_location_that_does_not_answer_in_time_loses_the_work(world: World) -> None:
    await has_nice(world)
    number, id = await an_offer(world)

    await lets_pass(world, id, "answer_by")
    after = await world.until(number, lambda o: len(o["fulfillment_orders"]) == 2)

    assert (part_of(after, id)["status"], part_of(after, id)["request"]) == ("cancelled", "expired")
    (second,) = await world.until_offered(number)
    assert second["location"] == "wh-nice"
    late = await world.call("POST", f"/v1/fulfillment-orders/{id}/accept", {}, who="node")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"]) == (10, 0)
    await delivers(world, number, second["id"])
    assert ("cancel", f"{id}:cancel:1") in await world.outside.books("nodes")
    await world.audit_is_clean()


async def test_units_rejected_in_part_are_served_elsewhere_and_the_rest_here(world: World) -> None:
    await has_nice(world)
    number, id = await an_offer(world, 3)
    body = {"reason": "out_of_stock", "lines": [{"line": 1, "quantity": 2}]}

    first = await world.node(id, "reject", body)

    assert (first["status"], first["request"]) == ("open", "requested")
    assert first["lines"][0]["quantity"] == 1
    again = await world.node(id, "reject", body)
    assert again["lines"] == first["lines"], "told twice counts once"
    offers = await world.until_offered(number, 2)
    assert {offer["location"]: offer["lines"][0]["quantity"] for offer in offers} == {
        "wh-lyon": 1,
        "wh-nice": 2,
    }
    assert (await world.level("LAMP", "wh-lyon"))["on_hand"] == 8
    done = await delivers(world, number, *(offer["id"] for offer in offers))
    assert done["payments"]["captured_minor"] == 3 * 1999 + 490
    await world.audit_is_clean()


async def test_a_short_pick_sends_the_missing_units_elsewhere(world: World) -> None:
    await has_nice(world)
    number, id = await accepted_work(world, 3)

    picked = await world.node(id, "pick", {"lines": [{"line": 1, "picked": 1}]})

    assert picked["lines"] == [{"line": 1, "sku": "LAMP", "quantity": 1, "picked": 1}]
    assert await world.node(id, "pick", {"lines": [{"line": 1, "picked": 1}]}) == picked
    (second,) = await world.until_offered(number)
    assert (second["location"], second["lines"][0]["quantity"]) == ("wh-nice", 2)
    # They stayed allocated here until there was somebody to take over.
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"]) == (8, 1)
    assert "fulfillment_order.short_picked" in await has_kinds(world, number)
    parcel = {"weight_g": 500, "lines": [{"line": 1, "quantity": 1}]}
    await world.node(id, "pack", {"parcels": [parcel]})
    await sends(world, id)
    done = await delivers(world, number, second["id"])
    assert done["payments"]["captured_minor"] == 3 * 1999 + 490
    await world.audit_is_clean()


async def test_what_nobody_has_is_cancelled_and_not_charged(world: World) -> None:
    number, id = await accepted_work(world, 3)

    await world.node(id, "pick", {"lines": [{"line": 1, "picked": 2}]})

    after = await world.until(number, lambda o: o["lines"][0]["cancelled"] == 1)
    assert (after["status"], after["lines"][0]["picked"]) == ("open", 2)
    parcel = {"weight_g": 500, "lines": [{"line": 1, "quantity": 2}]}
    await world.node(id, "pack", {"parcels": [parcel]})
    await sends(world, id)
    done = await world.until_status(number, "completed")
    assert done["payments"]["captured_minor"] == 2 * 1999 + 490
    assert done["payments"]["voided_minor"] == 1999
    assert done["payment_status"] == "paid"
    await world.audit_is_clean()


async def test_an_order_nobody_can_serve_is_cancelled_and_nothing_is_charged(world: World) -> None:
    number, id = await an_offer(world)

    await world.node(id, "reject", {"reason": "out_of_stock"})

    after = await until_closed(world, number)
    assert (after["status"], after["payment_status"]) == ("cancelled", "voided")
    assert after["refusal"] is None
    assert await world.money_of(number) == [("authorize", 4488), ("void", 4488)]
    assert (await world.level("LAMP", "wh-lyon"))["on_hand"] == 8
    await world.audit_is_clean()


async def test_an_order_that_may_wait_is_backordered_instead(world: World) -> None:
    number, id = await an_offer(world, allow_backorder=True)

    await world.node(id, "reject", {"reason": "out_of_stock"})

    after = await world.until(number, lambda o: o["lines"][0]["backordered"] == 2)
    assert (after["status"], after["payment_status"]) == ("open", "authorized")
    assert after["fulfillment_status"] == "unfulfilled"
    waits = (await world.ok("GET", f"/v1/orders/{number}/explain"))["data"]
    assert any("stock" in each["waiting_for"].lower() for each in waits)
    await has_nice(world, 2)
    await world.ok("POST", f"/v1/orders/{number}/reroute", {})
    (second,) = await world.until_offered(number)
    assert second["location"] == "wh-nice"
    await delivers(world, number, second["id"])
    await world.audit_is_clean()


async def test_an_order_that_must_not_be_split_moves_whole_or_not_at_all(world: World) -> None:
    await has_nice(world, 2)
    number, id = await an_offer(world, 2, allow_split=False)
    await world.node(id, "reject", {"reason": "capacity"})

    (second,) = await world.until_offered(number)

    assert (second["location"], second["lines"][0]["quantity"]) == ("wh-nice", 2)
    await world.node(second["id"], "accept")
    # One of two is found: the other may not come from elsewhere, and may not wait.
    await world.node(second["id"], "pick", {"lines": [{"line": 1, "picked": 1}]})
    after = await world.until(number, lambda o: o["lines"][0]["cancelled"] == 1)
    assert len(after["fulfillment_orders"]) == 2
    await world.audit_is_clean()


async def test_one_place_that_cannot_serve_all_of_an_unsplit_order_serves_nothing(
    world: World,
) -> None:
    await has_nice(world, 8)
    await world.works_by_hand("wh-lyon")

    refused = await world.call(
        "POST", "/v1/orders", world.an_order(12, allow_split=False), who="channel"
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "insufficient_stock")
    split = await world.place(12)

    offers = await world.until_offered(split["number"], 2)
    assert sorted(offer["lines"][0]["quantity"] for offer in offers) == [2, 10]
    await world.audit_is_clean()
