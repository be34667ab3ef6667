"""What people in these scenarios do again and again."""

from typing import Any

from sqlalchemy import text

from tests.world import World

Order = dict[str, Any]
Part = dict[str, Any]


async def an_offer(
    world: World,
    units: int | dict[str, int] = 2,
    *,
    at: tuple[str, ...] = ("wh-lyon",),
    **more: Any,
) -> tuple[str, str]:
    """An order that waits for the answer of its location: (order number, fulfillment order)."""
    await world.works_by_hand(*at)
    number = (await world.place(units, **more))["number"]
    (offer,) = await world.until_offered(number)
    return number, offer["id"]


async def accepted_work(
    world: World, units: int | dict[str, int] = 2, **more: Any
) -> tuple[str, str]:
    """An order that its location works on: (order number, fulfillment order)."""
    number, id = await an_offer(world, units, **more)
    await world.node(id, "accept")
    return number, id


def part_of(order: Order, id: str) -> Part:
    """One fulfillment order of an order as shown."""
    found: Part = next(each for each in order["fulfillment_orders"] if each["id"] == id)
    return found


async def part(world: World, id: str) -> Part:
    """A fulfillment order as its location sees it."""
    found: Part = await world.ok("GET", f"/v1/fulfillment-orders/{id}", who="node")
    return found


async def packs(world: World, id: str) -> Part:
    """The location picks all and packs it; gives the work once its parcel has a label."""
    work = await part(world, id)
    units = [(line["line"], line["quantity"]) for line in work["lines"] if line["quantity"]]
    if work["request"] == "requested":
        await world.node(id, "accept")
    await world.node(id, "pick", {"lines": [{"line": n, "picked": q} for n, q in units]})
    await world.node(
        id,
        "pack",
        {"parcels": [{"weight_g": 900, "lines": [{"line": n, "quantity": q} for n, q in units]}]},
    )
    return await labelled(world, id)


async def labelled(world: World, id: str) -> Part:
    """Wait until every parcel of a fulfillment order has its label."""

    async def has_labels() -> bool:
        parcels = (await part(world, id))["shipments"]
        return bool(parcels) and all(parcel["tracking_number"] for parcel in parcels)

    await world.wait(has_labels)
    return await part(world, id)


async def ships(world: World, id: str) -> str:
    """The location does all its work; gives the parcel's tracking number."""
    work = await packs(world, id)
    await world.node(id, "hand-over")
    tracking_number: str = work["shipments"][0]["tracking_number"]
    return tracking_number


async def sends(world: World, id: str) -> None:
    """The location hands over what it packed; the carrier delivers it."""
    work = await labelled(world, id)
    await world.node(id, "hand-over")
    for parcel in work["shipments"]:
        await world.scan(parcel["tracking_number"], "delivered")


async def delivers(world: World, number: str, *ids: str) -> Order:
    """The locations ship, the carrier delivers; gives the order once it is completed."""
    for id in ids:
        await world.scan(await ships(world, id), "delivered")
    return await world.until_status(number, "completed")


async def lets_pass(world: World, id: str, deadline: str) -> None:
    """A fulfillment order's deadline (a column of the books) passes now, and its process looks."""
    async with world.engine.begin() as tx:
        await tx.execute(
            text(f"UPDATE fulfillment_orders SET {deadline} = now() WHERE id = :id"), {"id": id}
        )
    run = world.temporal.get_workflow_handle(f"fulfillment/{id}")
    await run.signal("changed", "the test's clock moved")


async def has_kinds(world: World, number: str) -> list[str]:
    """What the order's timeline tells, oldest first."""
    events = (await world.ok("GET", f"/v1/orders/{number}/timeline?limit=100"))["data"]
    return [event["kind"] for event in events]


async def until_closed(world: World, number: str) -> Order:
    """Wait until nothing of an order is left to do, and its process has ended."""

    async def nothing_waits() -> bool:
        waits = await world.ok("GET", f"/v1/orders/{number}/explain")
        return not waits["data"]

    await world.wait(nothing_waits)
    await world.run_of(number).result()
    return await world.order(number)
