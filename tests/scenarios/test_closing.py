"""A store closes, an article is recalled: others serve every order, or a person knows.

The process that does it can be paused, stopped, broken and lost.
"""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio import workflow
from temporalio.client import Client

from tests.scenarios.working import (
    accepted_work,
    an_offer,
    delivers,
    has_kinds,
    packs,
    part_of,
    sends,
)
from tests.world import POLICY, World, a_shop
from workflows import steps

Told = dict[str, Any]


@pytest.fixture
async def shop(world: World) -> World:
    """Lyon is nearest; Nice has lamps too. Both work by hand."""
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-nice", 40)
    await world.works_by_hand("wh-lyon", "wh-nice")
    return world


async def closes(world: World, place: str = "wh-lyon", **body: Any) -> Told:
    """Close a place and clear it; gives the reroute."""
    asked = {"reason": "water damage", "reroute": True} | body
    told: Told = await world.ok("POST", f"/v1/locations/{place}/close", asked)
    assert told["location"]["active"] is False
    reroute: Told = told["reroute"]
    return reroute


async def reads(world: World, id: str) -> Told:
    found: Told = await world.ok("GET", f"/v1/reroutes/{id}")
    return found


async def until_reroute(world: World, id: str, status: str = "done") -> Told:
    async def is_there() -> bool:
        return bool((await reads(world, id))["status"] == status)

    await world.wait(is_there)
    return await reads(world, id)


async def came_to(world: World, id: str) -> dict[str, str]:
    """What became of each order."""
    rows = await world.ok("GET", f"/v1/reroutes/{id}/orders?limit=100")
    return {row["order"]: row["outcome"] for row in rows["data"]}


async def moves_to_nice(world: World, number: str) -> None:
    """Nice is offered what Lyon had, delivers it, and is paid."""

    def offered(order: Told) -> bool:
        return any(
            (part["location"], part["status"]) == ("wh-nice", "open")
            for part in order["fulfillment_orders"]
        )

    order = await world.until(number, offered)
    part = order["fulfillment_orders"][-1]
    done = await delivers(world, number, part["id"])
    assert done["payment_status"] == "paid"


async def test_a_store_that_closes_lets_go_of_its_orders_whatever_they_wait_for(
    shop: World,
) -> None:
    world = shop
    await world.has_place("store-lyon", kind="store", serves=["store_pickup"])
    await world.holds("LAMP", "store-lyon", 2)
    await world.works_by_hand("store-lyon")
    offered, first = await an_offer(world)
    accepted, second = await accepted_work(world)
    picked, third = await accepted_work(world)
    await world.node(third, "pick", {"lines": [{"line": 1, "picked": 2}]})
    held, _ = await an_offer(world)
    await world.ok("POST", f"/v1/orders/{held}/holds", {"reason": "fraud"})
    pickup = {"method": "store_pickup", "location": "store-lyon"}
    collects, _ = await an_offer(world, delivery=pickup, shipping_minor=0)

    reroute = await closes(world)
    stores = await closes(world, "store-lyon")
    done = await until_reroute(world, reroute["id"])
    await until_reroute(world, stores["id"])

    assert await came_to(world, reroute["id"]) == {
        offered: "moved",
        accepted: "asked",
        picked: "kept",
        held: "held",
    }
    assert await came_to(world, stores["id"]) == {collects: "kept"}
    assert (done["done"], done["left"], done["problems"]) == (4, None, [])
    assert done["outcomes"] == {"moved": 1, "asked": 1, "kept": 1, "held": 1}
    await moves_to_nice(world, offered)
    assert (await world.order(collects))["fulfillment_status"] == "on_hold"
    assert part_of(await world.order(offered), first)["status"] == "cancelled"
    assert "order.rerouted" in await has_kinds(world, offered)
    assert (await world.level("LAMP", "wh-lyon"))["allocated"] == 6
    await world.node(second, "cancel-response", {"accepted": True})
    await moves_to_nice(world, accepted)
    assert "stranded:F1" in await world.until_parked(picked)
    await world.resolve(picked, "stranded:F1", "done_manually")
    units = [{"line": 1, "quantity": 2}]
    await world.node(third, "pack", {"parcels": [{"weight_g": 900, "lines": units}]})
    await sends(world, third)
    await world.until_status(picked, "completed")
    (hold,) = (await world.order(held))["holds"]
    await world.ok("POST", f"/v1/orders/{held}/holds/{hold['id']}/release", {})
    await moves_to_nice(world, held)
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"]) == (8, 0)
    await world.audit_is_clean()


async def test_orders_that_are_not_paid_or_in_their_grace_move_at_once(
    database_url: str, temporal: Client
) -> None:
    patient = POLICY.model_copy(update={"grace": timedelta(hours=1)})
    async with a_shop(database_url, temporal, policy=patient) as world:
        await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
        await world.holds("LAMP", "wh-nice", 40)
        grace = (await world.place(2))["number"]
        # The provider says nothing for a while.
        await world.outside.breaks("payments", "authorize", "error_before", times=3)
        answer = await world.call("POST", "/v1/orders", world.an_order(3), who="channel")
        unpaid = answer.json()["number"]

        reroute = await closes(world)
        await until_reroute(world, reroute["id"])

        assert (await came_to(world, reroute["id"]))[grace] == "moved"
        order = await world.until(unpaid, lambda order: order["status"] == "open")
        assert (order["lines"][0]["allocated"], order["fulfillment_orders"]) == (3, [])
        assert (await world.level("LAMP", "wh-nice"))["allocated"] == 5
        level = await world.level("LAMP", "wh-lyon")
        assert (level["allocated"], level["reserved"], level["available"]) == (0, 0, 10)
        await world.audit_is_clean()


async def test_an_article_that_is_recalled_is_sold_and_sent_by_nobody(shop: World) -> None:
    world = shop
    await world.sells("MUG")
    await world.holds("MUG", "wh-lyon", 5)
    both, part = await an_offer(world, {"LAMP": 1, "MUG": 1})
    waits, _ = await an_offer(world, {"MUG": 1}, allow_backorder=True)

    told = await world.ok("POST", "/v1/stock/MUG/recall", {"reason": "sharp edges"})
    await until_reroute(world, told["reroute"]["id"])

    assert (told["everywhere"], told["blocked"]) == (True, ["wh-lyon"])
    assert await came_to(world, told["reroute"]["id"]) == {both: "cancelled", waits: "backordered"}
    refused = await world.call("POST", "/v1/orders", world.an_order({"MUG": 1}), who="channel")
    assert (refused.status_code, refused.json()["code"]) == (422, "insufficient_stock")
    order = await world.until(both, lambda order: len(order["fulfillment_orders"]) == 2)
    lamp = order["fulfillment_orders"][1]
    assert (lamp["location"], [line["line"] for line in lamp["lines"]]) == ("wh-lyon", [1])
    assert part_of(order, part)["status"] == "cancelled"
    assert (await world.level("MUG", "wh-lyon"))["on_hand"] == 5

    again = await world.ok("POST", "/v1/stock/MUG/recall/end")
    assert (again["everywhere"], again["blocked"], again["reroute"]) == (False, [], None)
    (offer,) = await world.until_offered(waits)
    await delivers(world, waits, offer["id"])
    await delivers(world, both, lamp["id"])
    await world.audit_is_clean()


def its_history_is_long() -> bool:
    """The server would suggest a new run after some thousands of events."""
    info = workflow.info()
    return info.workflow_type == "RerouteOrders" and info.get_current_history_length() > 10


async def test_a_reroute_rests_when_it_is_paused_and_goes_on_where_it_was(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = shop
    monkeypatch.setattr(steps, "history_is_long", its_history_is_long)
    numbers = [(await an_offer(world, 1))[0] for _ in range(3)]
    held_up = numbers[0]  # of those promised at the same time, the oldest first
    async with world.engine.begin() as tx:
        await tx.execute(text("SELECT FROM orders WHERE number = :n FOR UPDATE"), {"n": held_up})
        reroute = await closes(world)

        async def waits_for_the_order() -> bool:
            async with world.engine.connect() as other:
                found = await other.scalar(
                    text(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                        " AND datname = current_database()"
                    )
                )
            return bool(found)

        await world.wait(waits_for_the_order)
        await world.ok("POST", f"/v1/reroutes/{reroute['id']}/pause")

    async def rests() -> bool:
        return bool((await reads(world, reroute["id"]))["done"] == 1)

    await world.wait(rests)
    run = world.temporal.get_workflow_handle(f"reroute/{reroute['id']}")

    async def knows() -> bool:
        return bool((await run.query("progress"))["status"] == "paused")

    await world.wait(knows)
    paused = await reads(world, reroute["id"])
    assert (paused["status"], paused["left"], await came_to(world, reroute["id"])) == (
        "paused",
        2,
        {held_up: "moved"},
    )
    first_run = (await run.describe()).run_id
    await run.signal("resume")
    done = await until_reroute(world, reroute["id"])

    assert done["outcomes"] == {"moved": 3}
    assert await run.result() == "done"
    assert (await run.describe()).run_id != first_run, "it went on as a new run"
    for number in numbers:
        await world.until(number, lambda order: len(order["fulfillment_orders"]) == 2)
    await world.audit_is_clean()


async def test_a_reroute_goes_on_after_its_answer_or_its_run_was_lost(shop: World) -> None:
    world = shop
    numbers = [(await an_offer(world, 1))[0] for _ in range(2)]
    world.breaks("reroute_orders", "after", times=2)
    reroute = await closes(world)
    await until_reroute(world, reroute["id"])
    assert await came_to(world, reroute["id"]) == dict.fromkeys(numbers, "moved")

    late, _ = await an_offer(world, 1, at=("wh-nice",))
    await world.ok("POST", "/v1/locations/wh-lyon/open")
    lost = await closes(world, "wh-nice")
    run = world.temporal.get_workflow_handle(f"reroute/{lost['id']}")

    async def has_begun() -> bool:
        return bool((await reads(world, lost["id"]))["done"] == 3)

    await world.wait(has_begun)
    await run.terminate("lost")
    async with world.engine.begin() as tx:
        await tx.execute(
            text("UPDATE reroutes SET touched_at = now() - interval '2 minutes' WHERE id = :id"),
            {"id": lost["id"]},
        )
    await until_reroute(world, lost["id"])

    assert set(await came_to(world, lost["id"])) == {*numbers, late}
    await world.audit_is_clean()


async def test_a_reroute_that_is_stopped_or_whose_place_opens_leaves_the_rest_as_it_is(
    shop: World,
) -> None:
    world = shop
    number, part = await an_offer(world, 1)
    async with world.engine.begin() as tx:
        await tx.execute(text("SELECT FROM orders WHERE number = :n FOR UPDATE"), {"n": number})
        first = await closes(world)
        again = await closes(world)
        assert again["id"] == first["id"], "one at a time"
        await world.ok("POST", "/v1/locations/wh-lyon/open")
        stopped = await world.ok("POST", f"/v1/reroutes/{first['id']}/stop")
        assert stopped["status"] == "cancelled"

    run = world.temporal.get_workflow_handle(f"reroute/{first['id']}")

    async def has_ended() -> bool:
        try:
            return bool(await run.result() == "cancelled")
        except Exception:  # noqa: BLE001 - stopped before the relay came to it
            return bool((await reads(world, first["id"]))["status"] == "cancelled")

    await world.wait(has_ended)
    paused = await world.call("POST", f"/v1/reroutes/{first['id']}/pause")
    assert (paused.status_code, paused.json()["code"]) == (409, "invalid_state")
    await packs(world, part)
    await sends(world, part)
    await world.until_status(number, "completed")
    await world.audit_is_clean()
