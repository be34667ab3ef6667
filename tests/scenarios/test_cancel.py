"""Changing one's mind: before a location works on it, while it does, and too late."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import Client

from tests.scenarios.working import (
    accepted_work,
    an_offer,
    delivers,
    has_kinds,
    lets_pass,
    packs,
    part,
    part_of,
    ships,
    until_closed,
)
from tests.world import POLICY, World, a_world

LONG_GRACE = POLICY.model_copy(update={"grace": timedelta(seconds=60)})


@pytest.fixture
async def hesitant(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A world whose customers have a minute to think it over."""
    async with a_world(database_url, temporal, policy=LONG_GRACE) as world:
        await world.sells("LAMP", "MUG")
        await world.has_place("wh-lyon")
        await world.holds("LAMP", "wh-lyon", 10)
        await world.holds("MUG", "wh-lyon", 10)
        yield world


async def test_an_order_cancelled_in_the_grace_window_leaves_nothing(hesitant: World) -> None:
    world = hesitant
    order = await world.place(2)
    assert (order["status"], order["payment_status"]) == ("open", "authorized")
    assert order["fulfillment_status"] == "unfulfilled"
    assert (await world.level("LAMP", "wh-lyon"))["allocated"] == 2

    answer = await world.call(
        "POST", f"/v1/orders/{order['number']}/cancel", {"reason": "too slow"}, who="channel"
    )

    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["fulfillment_status"] == "cancelled"
    after = await until_closed(world, order["number"])
    assert after["payment_status"] == "voided"
    assert after["lines"][0]["cancelled"] == 2
    assert after["fulfillment_orders"] == []
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"], level["available"]) == (10, 0, 10)
    assert await world.money_of(order["number"]) == [("authorize", 4488), ("void", 4488)]
    assert "order.cancelled" in await has_kinds(world, order["number"])
    await world.audit_is_clean()


async def test_units_cancelled_in_the_grace_window_are_not_sent(hesitant: World) -> None:
    world = hesitant
    order = await world.place({"LAMP": 3, "MUG": 1})
    path = f"/v1/orders/{order['number']}/cancel"

    after = await world.ok(
        "POST", path, {"reason": "fewer", "lines": [{"line": 1, "quantity": 2}]}, who="channel"
    )

    assert after["status"] == "open"
    assert (after["lines"][0]["allocated"], after["lines"][0]["cancelled"]) == (1, 2)
    assert (await world.level("LAMP", "wh-lyon"))["allocated"] == 1
    rest = await world.ok("POST", path, {"reason": "all of it"}, who="channel")
    assert rest["status"] == "cancelled"
    await until_closed(world, order["number"])
    await world.audit_is_clean()


async def test_cancelling_what_is_cancelled_changes_nothing(hesitant: World) -> None:
    world = hesitant
    number = (await world.place(2))["number"]
    path = f"/v1/orders/{number}/cancel"
    await world.ok("POST", path, {"reason": "no"})
    before = await until_closed(world, number)

    again = await world.call("POST", path, {"reason": "no"})
    part_again = await world.call(
        "POST", path, {"reason": "no", "lines": [{"line": 1, "quantity": 2}]}
    )

    assert (again.status_code, part_again.status_code) == (200, 200)
    assert again.json() == part_again.json() == before


async def test_a_cancellation_is_checked_against_the_version_it_was_made_for(
    hesitant: World,
) -> None:
    world = hesitant
    order = await world.place(2)
    path = f"/v1/orders/{order['number']}"
    read = await world.call("GET", path)
    assert read.headers["ETag"] == f'"{order["version"]}"'

    stale = await world.call("POST", f"{path}/cancel", {"reason": "x"}, **{"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")
    assert (await world.order(order["number"]))["status"] == "open"

    fresh = await world.call(
        "POST", f"{path}/cancel", {"reason": "x"}, **{"If-Match": read.headers["ETag"]}
    )
    assert (fresh.status_code, fresh.json()["status"]) == (200, "cancelled")


async def test_the_same_cancellation_is_answered_the_same_once_and_again(hesitant: World) -> None:
    world = hesitant
    number = (await world.place(3))["number"]
    path = f"/v1/orders/{number}/cancel"
    body = {"reason": "one fewer", "lines": [{"line": 1, "quantity": 1}]}

    answers = [await world.call("POST", path, body, Idempotency_Key="k-1") for _ in range(3)]

    assert [a.status_code for a in answers] == [200, 200, 200]
    assert [a.headers.get("Idempotent-Replayed") for a in answers] == [None, "true", "true"]
    assert answers[0].json() == answers[2].json()
    assert (await world.order(number))["lines"][0]["cancelled"] == 1
    other = await world.call("POST", path, {"reason": "all"}, Idempotency_Key="k-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    without = await world.http.post(path, json=body, headers={"Authorization": "Bearer nobody"})
    assert without.status_code == 401
    node = await world.call("POST", path, body, who="node")
    assert (node.status_code, node.json()["code"]) == (403, "forbidden")


async def test_a_pending_order_is_cancelled_at_once_and_a_late_authorisation_is_voided(
    world: World,
) -> None:
    await world.outside.breaks("payments", "authorize", "error_before", 2)
    body = world.an_order(2)
    placing = asyncio.create_task(world.call("POST", "/v1/orders", body, who="channel"))

    async def is_reserved() -> bool:
        found = await world.ok("GET", f"/v1/orders?reference={body['reference']}")
        return bool(found["data"] and found["data"][0]["lines"][0]["reserved"])

    await world.wait(is_reserved)
    (pending,) = (await world.ok("GET", f"/v1/orders?reference={body['reference']}"))["data"]
    assert (pending["status"], pending["payment_status"]) == ("pending", "pending")

    answer = await world.call(
        "POST", f"/v1/orders/{pending['number']}/cancel", {"reason": "no"}, who="channel"
    )

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await world.level("LAMP", "wh-lyon"))["reserved"] == 0
    assert (await placing).json()["number"] == pending["number"]
    after = await until_closed(world, pending["number"])
    assert (after["status"], after["payment_status"]) == ("cancelled", "voided")
    assert after["refusal"] is None
    assert await world.money_of(pending["number"]) == [("authorize", 4488), ("void", 4488)]
    await world.audit_is_clean()


async def test_work_nobody_accepted_is_withdrawn_and_the_rest_offered_anew(world: World) -> None:
    number, first = await an_offer(world, 3)

    answer = await world.call(
        "POST",
        f"/v1/orders/{number}/cancel",
        {"reason": "two fewer", "lines": [{"line": 1, "quantity": 2}]},
        who="channel",
    )

    assert answer.status_code == 200
    withdrawn = part_of(answer.json(), first)
    assert (withdrawn["status"], withdrawn["request"]) == ("cancelled", "requested")
    late = await world.call("POST", f"/v1/fulfillment-orders/{first}/accept", {}, who="node")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
    (second,) = await world.until_offered(number)
    assert second["id"].endswith("-F2")
    assert second["lines"] == [{"line": 1, "sku": "LAMP", "quantity": 1, "picked": 0}]
    done = await delivers(world, number, second["id"])
    assert done["payment_status"] == "paid"
    assert done["payments"]["captured_minor"] == 1999 + 490
    assert done["payments"]["voided_minor"] == 2 * 1999
    assert ("cancel", f"{first}:cancel:1") in await world.outside.books("nodes")
    await world.audit_is_clean()


async def test_a_location_that_works_on_it_is_asked_and_stops(world: World) -> None:
    number, id = await accepted_work(world)
    path = f"/v1/orders/{number}/cancel"

    asked = await world.call("POST", path, {"reason": "no"}, who="channel")

    assert asked.status_code == 202
    assert asked.json()["status"] == "open"
    assert asked.json()["lines"][0]["allocated"] == 2
    assert part_of(asked.json(), id)["cancellation"] == "requested"
    assert part_of(asked.json(), id)["status"] == "in_progress"
    assert (await world.call("POST", path, {"reason": "again"})).status_code == 202
    answer = f"/v1/fulfillment-orders/{id}/cancel-response"
    stopped = await world.ok("POST", answer, {"accepted": True}, who="node")
    assert (stopped["status"], stopped["cancellation"]) == ("cancelled", "accepted")
    assert await world.ok("POST", answer, {"accepted": True}, who="node") == stopped
    changed = await world.call("POST", answer, {"accepted": False}, who="node")
    assert (changed.status_code, changed.json()["code"]) == (409, "invalid_state")
    after = await until_closed(world, number)
    assert (after["status"], after["payment_status"]) == ("cancelled", "voided")
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"]) == (10, 0)
    await world.audit_is_clean()


async def test_a_location_that_cannot_stop_goes_on(world: World) -> None:
    number, id = await accepted_work(world)
    nobody_asked = await world.call(
        "POST", f"/v1/fulfillment-orders/{id}/cancel-response", {"accepted": True}, who="node"
    )
    assert (nobody_asked.status_code, nobody_asked.json()["code"]) == (409, "invalid_state")
    asked = await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "no"})
    assert asked.status_code == 202

    kept = await world.node(id, "cancel-response", {"accepted": False})

    assert (kept["status"], kept["cancellation"]) == ("in_progress", "rejected")
    done = await delivers(world, number, id)
    assert (done["payment_status"], done["fulfillment_status"]) == ("paid", "delivered")
    assert done["lines"][0]["delivered"] == 2
    assert await world.money_of(number) == [("authorize", 4488), ("capture", 4488)]
    await world.audit_is_clean()


async def test_a_location_that_never_answers_becomes_a_task_for_an_operator(world: World) -> None:
    number, id = await accepted_work(world)
    await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "no"})

    await lets_pass(world, id, "cancel_answer_by")
    await world.until(number, lambda order: bool(order["attention"]))
    waits = await world.ok("GET", f"/v1/orders/{number}/explain")
    assert "cancel:F1" in [each["step"] for each in waits["data"]]
    await world.ok(
        "POST",
        f"/v1/orders/{number}/resolve",
        {"step": "cancel:F1", "action": "done_manually", "actor": "kim", "reason": "phoned them"},
    )

    after = await until_closed(world, number)
    assert (after["status"], after["attention"]) == ("cancelled", False)
    assert part_of(after, id)["cancellation"] == "accepted"
    await world.audit_is_clean()


async def test_goods_that_leave_while_a_location_is_asked_are_gone(world: World) -> None:
    number, id = await accepted_work(world)
    await packs(world, id)
    asked = await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "no"})
    assert asked.status_code == 202

    left = await world.node(id, "hand-over")

    assert (left["status"], left["cancellation"]) == ("closed", "rejected")
    too_late = await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "no"})
    assert (too_late.status_code, too_late.json()["code"]) == (409, "already_shipped")
    await world.scan(left["shipments"][0]["tracking_number"], "delivered")
    done = await world.until_status(number, "completed")
    assert done["payment_status"] == "paid"
    await world.audit_is_clean()


async def test_units_of_a_line_spread_over_places_are_cancelled_where_it_costs_least(
    world: World,
) -> None:
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-lyon", 2)
    await world.holds("LAMP", "wh-nice", 3)
    await world.works_by_hand("wh-lyon", "wh-nice")
    number = (await world.place(5))["number"]
    near, far = sorted(await world.until_offered(number, 2), key=lambda f: str(f["location"]))
    await world.node(near["id"], "accept")

    asked = await world.call(
        "POST",
        f"/v1/orders/{number}/cancel",
        {"reason": "four fewer", "lines": [{"line": 1, "quantity": 4}]},
    )

    assert asked.status_code == 202
    assert part_of(asked.json(), far["id"])["status"] == "cancelled"
    assert (asked.json()["lines"][0]["cancelled"], asked.json()["lines"][0]["allocated"]) == (3, 2)
    await world.node(near["id"], "cancel-response", {"accepted": True})
    left = await part(world, near["id"])
    assert (left["status"], left["lines"][0]["quantity"]) == ("in_progress", 1)
    done = await delivers(world, number, near["id"])
    assert done["payments"]["captured_minor"] == 1999 + 490
    assert (await world.level("LAMP", "wh-nice"))["available"] == 3
    await world.audit_is_clean()


async def test_picked_units_that_are_stopped_lie_on_the_shelf_again(world: World) -> None:
    number, id = await accepted_work(world)
    await world.node(id, "pick", {"lines": [{"line": 1, "picked": 2}]})
    body = {"reason": "one fewer", "lines": [{"line": 1, "quantity": 1}]}
    assert (await world.call("POST", f"/v1/orders/{number}/cancel", body)).status_code == 202
    assert (await world.order(number))["lines"][0]["picked"] == 2

    after = await world.node(id, "cancel-response", {"accepted": True})

    assert after["lines"] == [{"line": 1, "sku": "LAMP", "quantity": 1, "picked": 1}]
    level = await world.level("LAMP", "wh-lyon")
    assert (level["on_hand"], level["allocated"], level["available"]) == (10, 1, 9)
    parcel = {"weight_g": 400, "lines": [{"line": 1, "quantity": 1}]}
    too_much = {"weight_g": 400, "lines": [{"line": 1, "quantity": 2}]}
    path = f"/v1/fulfillment-orders/{id}/pack"
    refused = await world.call("POST", path, {"parcels": [too_much]}, who="node")
    assert refused.status_code == 422
    await world.node(id, "pack", {"parcels": [parcel]})
    await world.audit_is_clean()


async def test_a_unit_stopped_after_packing_leaves_its_parcel(world: World) -> None:
    number, id = await accepted_work(world)
    tracking_number = (await packs(world, id))["shipments"][0]["tracking_number"]
    body = {"reason": "one fewer", "lines": [{"line": 1, "quantity": 1}]}
    assert (await world.call("POST", f"/v1/orders/{number}/cancel", body)).status_code == 202

    opened = await world.node(id, "cancel-response", {"accepted": True})
    assert opened["shipments"][0]["lines"] == [{"line": 1, "quantity": 1}]
    await world.node(id, "hand-over")
    await world.scan(tracking_number, "delivered")

    done = await world.until_status(number, "completed")
    assert (done["lines"][0]["delivered"], done["lines"][0]["cancelled"]) == (1, 1)
    assert done["payments"]["captured_minor"] == 1999 + 490
    await world.audit_is_clean()


async def test_what_a_location_does_not_find_is_cancelled_first(world: World) -> None:
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-nice", 5)
    number, id = await accepted_work(world)
    assert (await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "no"})).is_success

    gone = await world.node(id, "pick", {"lines": [{"line": 1, "picked": 0}]})

    assert (gone["status"], gone["cancellation"]) == ("cancelled", "accepted")
    after = await until_closed(world, number)
    assert (after["status"], after["payment_status"]) == ("cancelled", "voided")
    assert len(after["fulfillment_orders"]) == 1
    await world.audit_is_clean()


async def test_a_line_half_of_which_has_left(world: World) -> None:
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-lyon", 2)
    await world.holds("LAMP", "wh-nice", 3)
    await world.works_by_hand("wh-lyon", "wh-nice")
    number = (await world.place(5))["number"]
    near, far = sorted(await world.until_offered(number, 2), key=lambda f: str(f["location"]))
    tracking_number = await ships(world, near["id"])
    half = await world.until(number, lambda o: o["payments"]["captured_minor"] > 0)
    assert half["fulfillment_status"] == "partially_fulfilled"
    assert half["payment_status"] == "partially_paid"
    assert half["payments"]["captured_minor"] == 2 * 1999 + 490
    path = f"/v1/orders/{number}/cancel"

    async def refused(line: int, quantity: int) -> tuple[int, str, str]:
        body = {"reason": "x", "lines": [{"line": line, "quantity": quantity}]}
        answer = (await world.call("POST", path, body)).json()
        return answer["status"], answer["code"], answer["errors"][0]["pointer"]

    assert await refused(1, 4) == (409, "already_shipped", "/lines/0/quantity")
    assert await refused(1, 6) == (422, "quantity_too_large", "/lines/0/quantity")
    assert await refused(2, 1) == (422, "line_unknown", "/lines/0/line")
    assert (await world.order(number))["lines"] == half["lines"]

    rest = await world.call("POST", path, {"reason": "the rest"})

    assert (rest.status_code, rest.json()["status"]) == (200, "open")
    assert rest.json()["fulfillment_status"] == "fulfilled"
    assert rest.json()["payment_status"] == "paid"
    assert part_of(rest.json(), far["id"])["status"] == "cancelled"
    await world.scan(tracking_number, "delivered")
    done = await world.until_status(number, "completed")
    assert done["payments"] == {
        "authorized_minor": 5 * 1999 + 490,
        "captured_minor": 2 * 1999 + 490,
        "refunded_minor": 0,
        "voided_minor": 3 * 1999,
    }
    await world.audit_is_clean()


async def test_too_many_units_are_refused_and_nothing_is_cancelled(hesitant: World) -> None:
    world = hesitant
    number = (await world.place({"LAMP": 2, "MUG": 1}))["number"]

    answer = await world.call(
        "POST",
        f"/v1/orders/{number}/cancel",
        {"reason": "x", "lines": [{"line": 1, "quantity": 1}, {"line": 2, "quantity": 2}]},
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "quantity_too_large")
    assert answer.json()["errors"][0]["pointer"] == "/lines/1/quantity"
    assert [line["cancelled"] for line in (await world.order(number))["lines"]] == [0, 0]


async def test_what_was_paid_at_the_till_is_given_back_at_the_till(hesitant: World) -> None:
    world = hesitant
    till = {"kind": "terminal", "reference": "till-7", "amount_minor": 4488}
    order = await world.place(2, tenders=[till])
    assert order["payment_status"] == "paid"
    assert order["payments"]["captured_minor"] == 4488

    cancelled = await world.ok("POST", f"/v1/orders/{order['number']}/cancel", {"reason": "no"})
    assert cancelled["status"] == "cancelled"
    await world.until(order["number"], lambda o: bool(o["attention"]))
    await world.ok(
        "POST",
        f"/v1/orders/{order['number']}/resolve",
        {
            "step": "refund:1",
            "action": "done_manually",
            "actor": "kim",
            "reason": "paid out",
            "result": {"reference": "till-7-refund"},
        },
    )

    after = await until_closed(world, order["number"])
    assert (after["payment_status"], after["payments"]["refunded_minor"]) == ("refunded", 4488)
    assert await world.money_of(order["number"]) == []
    await world.audit_is_clean()
