"""Stores that are sold out are refilled from what came back, and each unit goes on a shelf once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client

from tests.world import World, a_shop

ELSEWHERE = {
    "name": "where it is needed",
    "when": {"conditions": ["as_new", "opened"]},
    "disposition": "restock_elsewhere",
}
COLLECTED = {"method": "store_pickup", "location": "store-nice"}


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """Mugs are kept only by the store in Nice, which has one; parcels come back to Lyon."""
    async with a_shop(database_url, temporal) as world:
        await world.sells("MUG")
        await world.has_place("store-nice", kind="store")
        await world.holds("MUG", "store-nice", 1)
        policy = {"return_to": "wh-lyon", "rules": [{"name": "usual"}], "restock": [ELSEWHERE]}
        await world.ok("PUT", "/v1/return-policy", policy)
        await world.outside.hurries()
        yield world


async def sold_out_and_asked_back(world: World) -> str:
    """The store's only mug is delivered to a customer, who sends it back by post."""
    number = (await world.place({"MUG": 1}))["number"]
    await world.until_closed(number)
    asked = await world.ask_return(number)
    assert asked["location"] == "wh-lyon"
    return str(asked["id"])


async def the_lot(world: World, **narrowed: str) -> dict[str, Any]:
    query = "&".join(f"{name}={value}" for name, value in narrowed.items())
    (lot,) = (await world.ok("GET", f"/v1/return-lots?sku=MUG&{query}"))["data"]
    return dict(lot)


async def test_a_store_that_is_sold_out_is_refilled_from_what_came_back(world: World) -> None:
    id = await sold_out_and_asked_back(world)
    refused = await world.call("POST", "/v1/orders", world.an_order({"MUG": 1}), who="channel")
    assert refused.json()["code"] == "insufficient_stock"
    assert (await world.level("MUG", "wh-lyon"))["incoming"] == 1

    await world.takes_back(id)
    await world.until_return(id, "closed")

    lot = await the_lot(world, location="wh-lyon", disposition="restock_elsewhere")
    assert "store-nice is out of stock" in lot["why"]
    moving = await world.ok("GET", f"/v1/transfers/{lot['transfer']}")
    assert (moving["from"], moving["to"], moving["status"]) == (
        "wh-lyon",
        "store-nice",
        "requested",
    )
    lyon = await world.level("MUG", "wh-lyon")
    assert (lyon["on_hand"], lyon["incoming"], lyon["available"]) == (1, 0, 0)
    await world.audit_is_clean()
    path, mug = f"/v1/transfers/{moving['id']}", {"lines": [{"sku": "MUG", "quantity": 1}]}
    await world.ok("POST", f"{path}/ship", {}, who="node")
    await world.ok("POST", f"{path}/receive", mug, who="node")
    again = await world.place({"MUG": 1}, delivery=COLLECTED, shipping_minor=0)

    assert again["lines"][0]["allocated"] == 1
    await world.until_closed(again["number"])
    assert (await world.level("MUG", "store-nice"))["on_hand"] == 0
    await world.audit_is_clean()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_step_that_breaks_puts_nothing_on_a_shelf_twice(world: World, when: str) -> None:
    id = await sold_out_and_asked_back(world)
    world.breaks("put_away", when, times=2)

    await world.takes_back(id)
    await world.until_return(id, "closed")

    assert (await the_lot(world))["state"] == "placed"
    transfers = (await world.ok("GET", "/v1/transfers?sku=MUG"))["data"]
    assert [each["status"] for each in transfers] == ["requested"]
    assert (await world.level("MUG", "wh-lyon"))["on_hand"] == 1
    await world.audit_is_clean()


async def test_what_was_set_aside_is_sold_once_it_was_mended(world: World) -> None:
    id = await sold_out_and_asked_back(world)
    await world.receive(id, condition="damaged")
    await world.inspect(id)
    await world.until_return(id, "closed")
    assert (await world.level("MUG", "wh-lyon"))["damaged"] == 1

    lot = await the_lot(world, disposition="quarantine")
    await world.ok(
        "POST",
        f"/v1/returns/{id}/lots/{lot['id']}/place",
        {"disposition": "restock"},
        who="node",
    )
    order = await world.place({"MUG": 1})

    assert order["lines"][0]["allocated"] == 1
    level = await world.level("MUG", "wh-lyon")
    assert (level["on_hand"], level["damaged"], level["available"]) == (1, 0, 0)
    await world.until_closed(order["number"])
    await world.audit_is_clean()
