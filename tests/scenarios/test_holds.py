"""Stopping an order for a reason, and letting it go on."""

from tests.scenarios.working import (
    accepted_work,
    an_offer,
    delivers,
    has_kinds,
    part,
    part_of,
    until_closed,
)
from tests.world import World


async def hold(world: World, number: str, reason: str = "fraud") -> str:
    placed = await world.call(
        "POST", f"/v1/orders/{number}/holds", {"reason": reason, "note": "Ada rang twice"}
    )
    assert placed.status_code == 201, placed.text
    body = placed.json()
    assert (body["reason"], body["note"], body["released_at"]) == (reason, "Ada rang twice", None)
    id: str = body["id"]
    return id


async def release(world: World, number: str, id: str) -> None:
    answer = await world.call("POST", f"/v1/orders/{number}/holds/{id}/release", {})
    assert answer.status_code == 200
    assert answer.json()["released_at"] is not None


async def test_an_offer_on_hold_cannot_be_accepted_and_is_offered_again_after_release(
    world: World,
) -> None:
    number, id = await an_offer(world)

    held = await hold(world, number)

    order = await world.order(number)
    assert (order["status"], order["fulfillment_status"]) == ("open", "on_hold")
    assert [each["id"] for each in order["holds"]] == [held]
    assert part_of(order, id)["status"] == "on_hold"
    refused = await world.call("POST", f"/v1/fulfillment-orders/{id}/accept", {}, who="node")
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    waits = (await world.ok("GET", f"/v1/orders/{number}/explain"))["data"]
    assert any("hold" in each["waiting_for"] for each in waits)

    await release(world, number, held)

    (again,) = await world.until_offered(number)
    assert (again["id"], again["status"], again["request"]) == (id, "open", "requested")
    assert (await world.order(number))["fulfillment_status"] == "unfulfilled"
    done = await delivers(world, number, id)
    assert done["payment_status"] == "paid"
    kinds = await has_kinds(world, number)
    assert kinds.index("order.held") < kinds.index("order.released")
    await world.audit_is_clean()


async def test_accepted_work_goes_on_under_a_hold(world: World) -> None:
    number, id = await accepted_work(world)

    await hold(world, number, "customer_request")

    order = await world.order(number)
    assert order["fulfillment_status"] == "on_hold"
    assert part_of(order, id)["status"] == "in_progress"
    done = await delivers(world, number, id)
    assert (done["status"], done["fulfillment_status"]) == ("completed", "delivered")
    await world.audit_is_clean()


async def test_nothing_is_offered_until_the_last_hold_is_lifted(world: World) -> None:
    number, id = await an_offer(world)
    first, second = await hold(world, number), await hold(world, number, "address")

    await release(world, number, first)

    assert (await part(world, id))["status"] == "on_hold"
    await release(world, number, first)  # lifted twice is lifted once
    assert (await world.order(number))["fulfillment_status"] == "on_hold"
    await release(world, number, second)
    await world.until_offered(number)
    await delivers(world, number, id)
    await world.audit_is_clean()


async def test_what_a_location_turned_down_waits_for_the_release(world: World) -> None:
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-nice", 5)
    await world.works_by_hand("wh-nice")
    number, id = await an_offer(world)
    held = await hold(world, number)

    rejected = await world.node(id, "reject", {"reason": "capacity"})

    assert (rejected["status"], rejected["request"]) == ("cancelled", "rejected")
    order = await world.order(number)
    assert [each["id"] for each in order["fulfillment_orders"]] == [id]
    assert order["lines"][0]["allocated"] == 2
    await release(world, number, held)
    (offer,) = await world.until_offered(number)
    assert offer["location"] == "wh-nice"
    await delivers(world, number, offer["id"])
    await world.audit_is_clean()


async def test_an_order_on_hold_can_be_cancelled_and_a_closed_one_not_held(world: World) -> None:
    number, id = await an_offer(world)
    await hold(world, number)

    cancelled = await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "fraud"})

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert part_of(cancelled.json(), id)["status"] == "cancelled"
    after = await until_closed(world, number)
    assert after["payment_status"] == "voided"
    again = await world.call("POST", f"/v1/orders/{number}/holds", {"reason": "fraud"})
    assert (again.status_code, again.json()["code"]) == (409, "invalid_state")
    await world.audit_is_clean()


async def test_holds_are_the_operators_and_have_reasons(world: World) -> None:
    number, _ = await an_offer(world)
    path = f"/v1/orders/{number}/holds"

    for who in ("channel", "node"):
        answer = await world.call("POST", path, {"reason": "fraud"}, who=who)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    odd = await world.call("POST", path, {"reason": "mood"})
    assert (odd.status_code, odd.json()["code"]) == (422, "validation_failed")
    assert odd.json()["errors"][0]["pointer"] == "/reason"
    unknown = await world.call("POST", f"{path}/{number}-H9/release", {})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    nowhere = await world.call("POST", "/v1/orders/2222-2222-2/holds", {"reason": "fraud"})
    assert nowhere.status_code == 404
    stale = await world.call("POST", path, {"reason": "fraud"}, **{"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")
    assert (await world.order(number))["holds"] == []
