"""One stock for every channel: what is shown can be ordered, and nothing else."""

from typing import Any

from tests.scenarios.working import until_closed
from tests.world import World


async def shown(world: World, sku: str) -> int:
    """What the channel is told it could have."""
    path = f"/v1/availability?sku={sku}&channel=web"
    return int((await world.call("GET", path, who="channel")).json()["available"])


async def refused(world: World, sku: str, units: int) -> int:
    """Order more than there is; what the refusal says could be had."""
    answer = await world.call("POST", "/v1/orders", world.an_order({sku: units}), who="channel")
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told["code"]) == (422, "insufficient_stock")
    await until_closed(world, told["number"])
    return int(told["errors"][0]["available"])


async def test_a_channel_orders_what_it_is_shown_and_leaves_its_buffers(world: World) -> None:
    await world.sells("MUG")
    await world.has_place("store-nice", kind="store")
    await world.has_place("agent", kind="reseller")
    for place, units in (("wh-lyon", 2), ("store-nice", 3), ("agent", 50)):
        await world.holds("MUG", place, units)
    rules = {"location_kinds": ["warehouse", "store"], "buffers": {"store": 1}}
    await world.ok("PUT", "/v1/channels/web", {"name": "Web", **rules})

    assert await shown(world, "MUG") == 4
    assert await refused(world, "MUG", 5) == 4
    order = await world.place({"MUG": 4})

    assert order["lines"][0]["allocated"] == 4
    assert await shown(world, "MUG") == 0
    stock = await world.ok("GET", "/v1/stock/MUG?channel=web")
    given = {level["location"]: level["for_channel"]["why_not"] for level in stock["locations"]}
    assert given == {
        "agent": ["kind_does_not_count"],
        "store-nice": ["nothing_left"],
        "wh-lyon": ["nothing_left"],
    }
    await world.audit_is_clean()


async def test_goods_from_another_place_are_sold_once_they_have_arrived(world: World) -> None:
    await world.sells("MUG")
    await world.has_place("elsewhere", channels=["other"])
    await world.holds("MUG", "elsewhere", 5)
    lines = {"lines": [{"sku": "MUG", "quantity": 3}]}
    ends = {"from": "elsewhere", "to": "wh-lyon"}

    transfer = (await world.ok("POST", "/v1/transfers", {**ends, **lines}))["id"]
    await world.ok("POST", f"/v1/transfers/{transfer}/ship", {})
    on_the_road = await refused(world, "MUG", 1)
    await world.audit_is_clean()
    await world.ok("POST", f"/v1/transfers/{transfer}/receive", lines)
    order = await world.place({"MUG": 3})

    assert on_the_road == 0
    assert order["lines"][0]["allocated"] == 3
    level = await world.level("MUG", "wh-lyon")
    assert (level["on_hand"], level["incoming"], level["available"]) == (3, 0, 0)
    await world.audit_is_clean()
