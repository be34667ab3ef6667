"""Collected in the store: ready, a code, and the goods against it."""

import pytest

from tests.scenarios.working import lets_pass, part, part_of, until_closed
from tests.world import World


@pytest.fixture
async def store(world: World) -> World:
    """A world with a store in Lyon that holds four lamps."""
    await world.has_place("store-lyon", kind="store")
    await world.holds("LAMP", "store-lyon", 4)
    await world.works_by_hand("store-lyon")
    return world


async def to_collect(world: World, units: int = 2) -> tuple[str, str]:
    """An order offered to the store: (order number, fulfillment order)."""
    pickup = {"method": "store_pickup", "location": "store-lyon"}
    number = (await world.place(units, delivery=pickup, shipping_minor=0))["number"]
    (offer,) = await world.until_offered(number)
    assert offer["location"] == "store-lyon"
    return number, offer["id"]


async def ready(world: World, id: str, units: int = 2) -> str:
    """The store has it ready; gives the customer's code."""
    await world.node(id, "accept")
    await world.node(id, "pick", {"lines": [{"line": 1, "picked": units}]})
    code: str = (await world.node(id, "ready"))["pickup_code"]
    return code


async def test_goods_are_handed_over_against_the_code_and_charged_then(store: World) -> None:
    world = store
    number, id = await to_collect(world)
    path = f"/v1/fulfillment-orders/{id}/hand-over"
    early = await world.call("POST", path, {"verified_by": "passport"}, who="node")
    assert (early.status_code, early.json()["code"]) == (409, "invalid_state")
    code = await ready(world, id)
    assert (await world.order(number))["payments"]["captured_minor"] == 0
    assert await world.node(id, "ready") == await part(world, id)

    for body in ({"code": "wrong"}, {"code": "é"}, {}):
        wrong = await world.call("POST", path, body, who="node")
        assert (wrong.status_code, wrong.json()["code"]) == (422, "code_wrong"), body
    given = await world.node(id, "hand-over", {"code": code})

    assert given["status"] == "closed"
    assert await world.node(id, "hand-over", {"code": code}) == given
    done = await world.until_status(number, "completed")
    assert (done["fulfillment_status"], done["payment_status"]) == ("delivered", "paid")
    assert await world.money_of(number) == [("authorize", 3998), ("capture", 3998)]
    level = await world.level("LAMP", "store-lyon")
    assert (level["on_hand"], level["allocated"]) == (2, 0)
    assert (await world.level("LAMP", "wh-lyon"))["on_hand"] == 10
    await world.audit_is_clean()


async def test_a_customer_without_the_code_shows_a_paper(store: World) -> None:
    world = store
    number, id = await to_collect(world)
    await ready(world, id)

    given = await world.node(id, "hand-over", {"verified_by": "passport"})

    assert given["status"] == "closed"
    await world.until_status(number, "completed")
    await world.audit_is_clean()


async def test_a_pickup_is_not_packed_and_a_parcel_is_not_made_ready(store: World) -> None:
    world = store
    _, id = await to_collect(world)
    await world.node(id, "accept")
    await world.node(id, "pick", {"lines": [{"line": 1, "picked": 2}]})
    parcel = {"weight_g": 900, "lines": [{"line": 1, "quantity": 2}]}

    packed = await world.call(
        "POST", f"/v1/fulfillment-orders/{id}/pack", {"parcels": [parcel]}, who="node"
    )

    assert (packed.status_code, packed.json()["code"]) == (409, "invalid_state")


async def test_only_that_stores_own_stock_is_collected_there(store: World) -> None:
    world = store
    pickup = {"method": "store_pickup", "location": "store-lyon"}

    refused = await world.call(
        "POST",
        "/v1/orders",
        world.an_order(5, delivery=pickup, shipping_minor=0),
        who="channel",
    )

    assert (refused.status_code, refused.json()["code"]) == (422, "insufficient_stock")
    assert refused.json()["errors"][0]["available"] == 4
    warehouse = world.an_order(1, delivery=pickup | {"location": "wh-lyon"}, shipping_minor=0)
    nowhere = await world.call("POST", "/v1/orders", warehouse, who="channel")
    assert (nowhere.status_code, nowhere.json()["code"]) == (422, "location_unknown")


async def test_what_nobody_collects_goes_back_on_the_shelf_and_is_not_charged(
    store: World,
) -> None:
    world = store
    number, id = await to_collect(world)
    await ready(world, id)

    await lets_pass(world, id, "collect_by")
    await world.until(number, lambda order: bool(order["attention"]))
    await world.ok(
        "POST",
        f"/v1/orders/{number}/resolve",
        {"step": "pickup:F1", "action": "fail", "actor": "kim", "reason": "never came"},
    )

    after = await until_closed(world, number)
    assert (after["status"], after["payment_status"]) == ("cancelled", "voided")
    assert part_of(after, id)["status"] == "cancelled"
    level = await world.level("LAMP", "store-lyon")
    assert (level["on_hand"], level["allocated"], level["available"]) == (4, 0, 4)
    await world.audit_is_clean()


async def test_a_store_works_its_pickups_by_itself(store: World) -> None:
    world = store
    await world.outside.ask("POST", "/nodes/store-lyon/behaviour", json={})
    await world.outside.hurries()
    pickup = {"method": "store_pickup", "location": "store-lyon"}

    number = (await world.place(1, delivery=pickup, shipping_minor=0))["number"]

    done = await world.until_status(number, "completed")
    assert (done["lines"][0]["delivered"], done["payments"]["captured_minor"]) == (1, 1999)
    await world.audit_is_clean()
