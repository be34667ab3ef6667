"""What a channel was offered is what its customer is promised, and what happens is told in time."""

from typing import Any

from sqlalchemy import text

from tests.world import World

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
POST = {
    "method": "home",
    "carrier": "simulator",
    "transit_days": {"min": 1, "max": 2},
    "picks_up_on": EVERY_DAY,
    "delivers_on": EVERY_DAY,
    "cost_minor": 490,
    "currency": "EUR",
}


async def _the_option(world: World, units: int) -> dict[str, Any]:
    query = f"sku=LAMP&quantity={units}&channel=web&country=FR&postal_code=69002"
    found = await world.ok("GET", f"/v1/availability?{query}", who="channel")
    option: dict[str, Any] = next(o for o in found["options"] if o["method"] == "home")
    return option


async def test_an_order_is_promised_what_was_offered_and_keeps_it(world: World) -> None:
    await world.outside.hurries()
    await world.ok("PUT", "/v1/shipping-services/post", POST)
    option = await _the_option(world, 2)

    order = await world.place(2, shipping_minor=option["cost_minor"])
    order = await world.until(order["number"], lambda o: o["promise"] is not None)
    done = await world.until_closed(order["number"])

    assert order["promise"]["by"] <= option["promise"]
    assert done["promise"]["by"] == order["promise"]["by"]
    assert done["promise"]["milestones"] == order["promise"]["milestones"]
    assert done["promise"]["status"] == "kept"
    assert done["promise"]["expected"] <= done["promise"]["by"]


async def test_goods_that_come_later_than_expected_put_the_promise_at_risk_until_they_come_sooner(
    world: World,
) -> None:
    await world.ok("PUT", "/v1/shipping-services/post", POST)
    await world.ok("PUT", "/v1/stock/LAMP/wh-lyon/policy", {"backorder_limit": 50})
    coming = {"sku": "LAMP", "location": "wh-lyon", "quantity": 50, "reference": "PO-1"}
    await world.ok("POST", "/v1/stock/incoming", coming | {"expected_at": "2036-03-03T08:00:00Z"})
    option = await _the_option(world, 40)
    placed = await world.place(40, allow_backorder=True)
    number = placed["number"]
    order = await world.until(number, lambda o: o["promise"] is not None)

    await _moves(world, "2036-05-05T08:00:00Z")
    at_risk = await world.until(number, lambda o: o["promise"]["status"] == "at_risk")
    await _moves(world, "2036-03-03T08:00:00Z")
    kept = await world.until(number, lambda o: o["promise"]["status"] == "kept")

    assert option["allow_backorder"] is True
    assert "2036-03-03" < order["promise"]["by"] <= option["promise"]
    assert at_risk["promise"]["by"] == order["promise"]["by"]
    assert at_risk["promise"]["expected"] > "2036-05-05"
    assert kept["promise"] == order["promise"]
    told = [e["kind"] for e in await world.timeline(number) if e["kind"].startswith("promise.")]
    assert told == ["promise.at_risk", "promise.recovered"]


async def _moves(world: World, at: str) -> None:
    async with world.engine.begin() as tx:
        await tx.execute(
            text("UPDATE incoming SET expected_at = CAST(:at AS timestamptz)"), {"at": at}
        )
