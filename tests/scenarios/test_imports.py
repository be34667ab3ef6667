"""Feeds of stock meet orders: what was counted, what is promised, what has left since."""

from datetime import UTC, datetime
from typing import Any

from tests.scenarios.working import accepted_work, packs
from tests.world import World


async def snapshot(world: World, taken_at: datetime, **units: int) -> dict[str, Any]:
    header = {"reference": f"night {taken_at}", "kind": "snapshot", "location": "wh-lyon"}
    header |= {"taken_at": taken_at.isoformat(), "missing": "zero"}
    id = (await world.ok("POST", "/v1/stock/imports", header, who="node"))["id"]
    rows = [{"sku": sku, "on_hand": count} for sku, count in units.items()]
    path = f"/v1/stock/imports/{id}"
    await world.ok("PUT", f"{path}/parts/1", {"rows": rows}, who="node")
    done: dict[str, Any] = await world.ok("POST", f"{path}/apply", {"rows": len(rows)}, who="node")
    return done


async def test_a_parcel_that_left_after_the_count_is_not_put_back_on_the_shelf(
    world: World,
) -> None:
    number, work = await accepted_work(world, 2)
    before_the_van = datetime.now(UTC)
    await packs(world, work)
    await world.node(work, "hand-over", {})

    done = await snapshot(world, before_the_van, LAMP=9)

    assert done["result"]["units_removed"] == 1
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"]) == (7, 0), "9 were counted, 2 have left since"
    await world.outside.hurries()
    await world.audit_is_clean()
    assert (await world.order(number))["fulfillment_status"] in ("fulfilled", "delivered")


async def test_a_low_snapshot_is_recorded_and_what_was_promised_stays_promised(
    world: World,
) -> None:
    number, _ = await accepted_work(world, 3)

    await snapshot(world, datetime.now(UTC), LAMP=2)

    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"], level["available"]) == (2, 3, 0)
    refused = await world.call("POST", "/v1/orders", world.an_order(1), who="channel")
    assert refused.json()["code"] == "insufficient_stock"
    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "x"})
    await world.audit_is_clean()
