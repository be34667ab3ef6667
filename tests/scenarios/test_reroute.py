"""An operator's word: move an offer, or plan what waits for stock again."""

from tests.scenarios.working import accepted_work, an_offer, delivers, part_of
from tests.world import World


async def reroute(world: World, number: str, **body: str) -> tuple[int, str | None, str | None]:
    """Status, code and pointer of the answer."""
    answer = await world.call("POST", f"/v1/orders/{number}/reroute", body)
    told = answer.json()
    errors = told.get("errors") or [{}]
    return answer.status_code, told.get("code"), errors[0].get("pointer")


async def test_an_offer_is_moved_to_the_location_named(world: World) -> None:
    for id, latitude in (("wh-nice", 43.7), ("wh-lille", 50.6)):
        await world.has_place(id, latitude=latitude, longitude=4.0)
        await world.holds("LAMP", id, 5)
    await world.works_by_hand("wh-lille")
    number, id = await an_offer(world)

    assert await reroute(world, number, fulfillment_order=id, location="wh-lille") == (
        200,
        None,
        None,
    )

    (offer,) = await world.until_offered(number)
    assert (offer["location"], offer["id"]) == ("wh-lille", f"{number}-F2")
    old = part_of(await world.order(number), id)
    assert (old["status"], old["request"]) == ("cancelled", "requested")
    assert (await world.level("LAMP", "wh-lyon"))["allocated"] == 0
    assert (await world.level("LAMP", "wh-lille"))["allocated"] == 2
    done = await delivers(world, number, offer["id"])
    assert done["payment_status"] == "paid"
    await world.audit_is_clean()


async def test_what_cannot_be_moved_stays_where_it_is(world: World) -> None:
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-nice", 1)
    number, id = await an_offer(world)

    nobody = await reroute(world, number, fulfillment_order=id)
    too_little = await reroute(world, number, fulfillment_order=id, location="wh-nice")
    unknown = await reroute(world, number, fulfillment_order=f"{number}-F9")

    assert nobody == (422, "insufficient_stock", "/fulfillment_order")
    assert too_little == (422, "insufficient_stock", "/location")
    assert unknown[0] in (404, 422)
    order = await world.order(number)
    assert part_of(order, id)["status"] == "open"
    assert (await world.level("LAMP", "wh-lyon"))["allocated"] == 2
    await world.node(id, "accept")
    assert (await reroute(world, number, fulfillment_order=id))[:2] == (409, "invalid_state")
    await world.audit_is_clean()


async def test_rerouting_is_the_operators(world: World) -> None:
    number, _ = await accepted_work(world)

    for who in ("channel", "node"):
        answer = await world.call("POST", f"/v1/orders/{number}/reroute", {}, who=who)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_backordered_units_wait_for_stock_however_often_they_are_planned(
    world: World,
) -> None:
    await world.sells("SOFA")
    await world.works_by_hand("wh-lyon")
    await world.ok("PUT", "/v1/stock/SOFA/wh-lyon/policy", {"backorder_limit": 3})
    await world.holds("SOFA", "wh-lyon", 1)
    too_many = await world.call(
        "POST", "/v1/orders", world.an_order({"SOFA": 5}, allow_backorder=True), who="channel"
    )
    assert (too_many.status_code, too_many.json()["code"]) == (422, "insufficient_stock")
    assert too_many.json()["errors"][0]["available"] >= 1

    order = await world.place({"SOFA": 3}, allow_backorder=True)
    number = order["number"]
    assert (order["lines"][0]["allocated"], order["lines"][0]["backordered"]) == (1, 2)
    second = await world.call(
        "POST", "/v1/orders", world.an_order({"SOFA": 2}, allow_backorder=True), who="channel"
    )
    assert second.status_code == 422, "two of three are backordered already"
    assert (await reroute(world, number))[0] == 200
    assert (await world.order(number))["lines"][0]["backordered"] == 2

    await world.holds("SOFA", "wh-lyon", 3)

    offers = await world.until_offered(number, 2)
    assert sorted(offer["lines"][0]["quantity"] for offer in offers) == [1, 2]
    done = await delivers(world, number, *(offer["id"] for offer in offers))
    assert done["payments"]["captured_minor"] == 3 * 1999 + 490
    await world.audit_is_clean()
