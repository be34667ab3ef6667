"""Placing and commanding orders over HTTP while their processes run."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.world import World, a_world


@pytest.fixture(scope="module")
async def world(module_database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop whose warehouse works by hand, so that a test says when."""
    async with a_world(module_database_url, temporal) as world:
        await world.sells("LAMP", "RARE")
        await world.has_place("wh-lyon")
        await world.holds("LAMP", "wh-lyon", 10_000)
        await world.holds("RARE", "wh-lyon", 3)
        await world.works_by_hand("wh-lyon")
        yield world


async def place(world: World, order: dict[str, Any], **headers: str) -> httpx.Response:
    return await world.call("POST", "/v1/orders", order, who="channel", **headers)


async def order(world: World, number: str, command: str, body: Any, **more: Any) -> httpx.Response:
    return await world.call("POST", f"/v1/orders/{number}/{command}", body, **more)


async def an_accepted_order(world: World, units: int = 2, **more: Any) -> tuple[str, str]:
    """An order that the warehouse works on: its number and its fulfillment order."""
    number = (await world.place(units, **more))["number"]
    (offer,) = await world.until_offered(number)
    await world.node(offer["id"], "accept")
    return number, offer["id"]


async def a_shipped_order(world: World, units: int = 2, **more: Any) -> tuple[str, str]:
    """An order that left; its number and its parcel's tracking number."""
    number, id = await an_accepted_order(world, units, **more)
    await world.node(id, "pick", {"lines": [{"line": 1, "picked": units}]})
    parcel = {"weight_g": 500, "lines": [{"line": 1, "quantity": units}]}
    await world.node(id, "pack", {"parcels": [parcel]})

    def labelled(read: dict[str, Any]) -> bool:
        return bool(read["fulfillment_orders"][0]["shipments"][0]["tracking_number"])

    read = await world.until(number, labelled)
    await world.node(id, "hand-over")
    return number, read["fulfillment_orders"][0]["shipments"][0]["tracking_number"]


# --- placing --------------------------------------------------------------------------------


async def test_an_order_is_answered_with_its_verdict(world: World) -> None:
    placed = await place(world, world.an_order(2))

    assert placed.status_code == 201
    assert placed.json()["status"] == "open"
    assert placed.json()["payment_status"] == "authorized"
    assert placed.json()["promise"]["by"].endswith("Z")
    assert placed.json()["lines"][0]["allocated"] == 2


async def test_a_declined_payment_is_refused_by_number_and_frees_the_reference(
    world: World,
) -> None:
    asked = world.an_order(2, token="tok_declined")

    refused = await place(world, asked, Idempotency_Key="declined-once")
    replayed = await place(world, asked, Idempotency_Key="declined-once")
    read = await world.order(refused.json()["number"])
    second = await place(world, {**world.an_order(2), "reference": asked["reference"]})

    assert (refused.status_code, refused.json()["code"]) == (422, "payment_declined")
    assert replayed.json() == refused.json()
    assert replayed.headers["idempotent-replayed"] == "true"
    assert read["status"] == "cancelled"
    assert read["refusal"]["code"] == "payment_declined"
    assert read["payment_status"] == "none"
    assert second.status_code == 201
    assert second.json()["number"] != refused.json()["number"]


async def test_short_lines_are_named_with_what_could_be_had(world: World) -> None:
    refused = await place(world, world.an_order({"LAMP": 1, "RARE": 4}))
    read = await world.order(refused.json()["number"])

    assert (refused.status_code, refused.json()["code"]) == (422, "insufficient_stock")
    assert [(e["pointer"], e["available"]) for e in refused.json()["errors"]] == [("/lines/1", 3)]
    assert (read["status"], read["refusal"]["code"]) == ("cancelled", "insufficient_stock")
    assert (await world.level("RARE", "wh-lyon"))["available"] == 3


async def test_the_same_order_ten_times_at_once_is_one(world: World) -> None:
    body = world.an_order(1)

    answers = await asyncio.gather(*(place(world, body) for _ in range(10)))

    assert {answer.json()["number"] for answer in answers} == {answers[0].json()["number"]}
    assert sorted(answer.status_code for answer in answers)[:9] == [200] * 9


# --- cancelling -----------------------------------------------------------------------------


async def test_what_nobody_works_on_is_cancelled_at_once(world: World) -> None:
    number = (await world.place(3))["number"]

    some = await order(
        world, number, "cancel", {"reason": "fewer", "lines": [{"line": 1, "quantity": 1}]}
    )
    rest = await order(world, number, "cancel", {"reason": "none"}, who="channel")
    again = await order(world, number, "cancel", {"reason": "sure"})
    closed = await world.until(number, lambda read: read["payment_status"] == "voided")

    assert (some.status_code, some.json()["lines"][0]["cancelled"]) == (200, 1)
    assert (rest.status_code, rest.json()["status"]) == (200, "cancelled")
    assert again.status_code == 200
    assert closed["payments"]["captured_minor"] == 0


async def test_a_location_that_works_is_asked_first(world: World) -> None:
    number, id = await an_accepted_order(world)

    asked = await order(world, number, "cancel", {"reason": "changed my mind"})
    await world.node(id, "cancel-response", {"accepted": True})
    read = await world.until_status(number, "cancelled")

    assert asked.status_code == 202
    assert asked.json()["lines"][0]["allocated"] == 2
    assert asked.json()["fulfillment_orders"][0]["cancellation"] == "requested"
    assert read["fulfillment_orders"][0]["cancellation"] == "accepted"


@pytest.mark.parametrize(
    ("lines", "code", "pointer"),
    [
        ([{"line": 2, "quantity": 1}], "line_unknown", "/lines/0/line"),
        ([{"line": 1, "quantity": 4}], "quantity_too_large", "/lines/0/quantity"),
    ],
)
async def test_a_cancellation_of_what_is_not_there_changes_nothing(
    world: World, lines: list[dict[str, int]], code: str, pointer: str
) -> None:
    number = (await world.place(3))["number"]

    refused = await order(world, number, "cancel", {"reason": "x", "lines": lines})

    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert (await world.order(number))["lines"][0]["cancelled"] == 0


async def test_a_repeated_cancellation_takes_no_more_units(world: World) -> None:
    number = (await world.place(3))["number"]
    body = {"reason": "fewer", "lines": [{"line": 1, "quantity": 1}]}

    for _ in range(2):
        answer = await order(world, number, "cancel", body, Idempotency_Key="fewer-1")
        assert answer.status_code == 200

    assert (await world.order(number))["lines"][0]["cancelled"] == 1


async def test_what_has_left_or_changed_meanwhile_is_not_cancelled(world: World) -> None:
    number, _ = await a_shipped_order(world)
    late = await order(world, number, "cancel", {"reason": "late"})
    stale = await order(world, number, "cancel", {"reason": "stale"}, If_Match='"1"')

    assert (late.status_code, late.json()["code"]) == (409, "already_shipped")
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")


# --- holds and reroutes ---------------------------------------------------------------------


async def test_a_held_order_waits_for_its_release(world: World) -> None:
    number = (await world.place(2))["number"]
    (offer,) = await world.until_offered(number)

    held = await order(world, number, "holds", {"reason": "fraud", "note": "odd address"})
    listed = await world.order(number)
    accepted = await world.call("POST", f"/v1/fulfillment-orders/{offer['id']}/accept", {})
    waits = await world.ok("GET", f"/v1/orders/{number}/explain")
    path = f"holds/{held.json()['id']}/release"
    released = await order(world, number, path, {})
    again = await order(world, number, path, {})
    await world.until(number, lambda read: read["fulfillment_orders"][0]["status"] == "open")

    assert held.status_code == 201
    assert held.json()["note"] == "odd address"
    assert held.json()["released_at"] is None
    assert listed["holds"] == [held.json()]
    assert listed["fulfillment_status"] == "on_hold"
    assert (accepted.status_code, accepted.json()["code"]) == (409, "invalid_state")
    assert any("release" in {a["action"] for a in w["actions"]} for w in waits["data"])
    assert (released.status_code, again.status_code) == (200, 200)
    assert released.json()["released_at"] is not None
    assert (await order(world, number, "holds/none/release", {})).status_code == 404


async def test_only_work_that_nobody_accepted_can_be_moved(world: World) -> None:
    number, id = await an_accepted_order(world)

    accepted = await order(world, number, "reroute", {"fulfillment_order": id})
    unknown = await order(world, number, "reroute", {"fulfillment_order": f"{number}-F9"})

    assert (accepted.status_code, accepted.json()["code"]) == (409, "invalid_state")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "fulfillment_order_unknown")


# --- parked steps ---------------------------------------------------------------------------


async def test_a_parked_step_is_explained_and_settled(world: World) -> None:
    number, parcel = await a_shipped_order(world, token="tok_capture_fails")
    await world.until(number, lambda read: read["attention"])
    (wait,) = [
        each
        for each in (await world.ok("GET", f"/v1/orders/{number}/explain"))["data"]
        if each["step"] == "capture:1"
    ]
    decision = {"step": "capture:1", "actor": "Ada", "reason": "paid by transfer"}

    needing = await world.ok("GET", "/v1/orders?attention=true")
    settled = await order(world, number, "resolve", {**decision, "action": "done_manually"})
    await world.scan(parcel, "delivered")
    done = await world.until_status(number, "completed")
    late = await order(world, number, "resolve", {**decision, "action": "done_manually"})

    assert wait["last_error"] is not None
    assert "done_manually" in {action["action"] for action in wait["actions"]}
    assert number in [each["number"] for each in needing["data"]]
    assert settled.status_code == 200
    assert (done["payment_status"], done["attention"]) == ("paid", False)
    assert (late.status_code, late.json()["code"]) == (409, "not_parked")


async def test_an_order_that_has_ended_is_answered_from_the_books(world: World) -> None:
    number, parcel = await a_shipped_order(world)
    await world.scan(parcel, "delivered")
    await world.until_status(number, "completed")

    cancel = await order(world, number, "cancel", {"reason": "late"})
    hold = await order(world, number, "holds", {"reason": "other"})
    waits = await world.ok("GET", f"/v1/orders/{number}/explain")

    assert (cancel.status_code, cancel.json()["code"]) == (409, "already_shipped")
    assert (hold.status_code, hold.json()["code"]) == (409, "invalid_state")
    assert waits["data"] == []
