"""Steps that cannot go on: a person is called, sees what they may do, and does it."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest
from temporalio.client import Client

from tests.breaking import FAST_TRIES
from tests.world import POLICY, World, a_shop

PRICE = 1999 + 490
PAID = [("authorize", PRICE), ("capture", PRICE)]
GIVEN_BACK = [("authorize", PRICE), ("void", PRICE)]
A_MOMENT = timedelta(seconds=1)


async def place(world: World, count: int, **more: Any) -> list[str]:
    return [(await world.place(1, **more))["number"] for _ in range(count)]


async def all_parked(world: World, numbers: list[str], step: str) -> None:
    for number in numbers:
        await world.until_parked(number, step)


async def a_second_place(world: World) -> None:
    """Another warehouse, further off, that works by itself."""
    await world.has_place("wh-paris", latitude=48.85, longitude=2.35)
    await world.holds("LAMP", "wh-paris", 10)


async def served_from(world: World, number: str) -> list[tuple[str, str]]:
    """Location and status of each fulfillment order, oldest first."""
    order = await world.order(number)
    return [(f["location"], f["status"]) for f in order["fulfillment_orders"]]


async def shelf(world: World, location: str) -> tuple[int, int, int]:
    """On hand, reserved, allocated."""
    level = await world.level("LAMP", location)
    return level["on_hand"], level["reserved"], level["allocated"]


# --- every action of every step -------------------------------------------------------------


async def test_an_offer_nobody_could_make_is_made_again_or_by_telephone_or_given_elsewhere(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, heal_seconds=3600) as world:
        await a_second_place(world)
        await world.works_by_hand("wh-lyon", "wh-paris")
        await world.outside.breaks("nodes", "offer", "error_before", times=3 * FAST_TRIES)
        retried, by_telephone, elsewhere = numbers = await place(world, 3)
        await all_parked(world, numbers, "offer:F1")

        await world.resolve(retried, "offer:F1", "retry")
        await world.resolve(by_telephone, "offer:F1", "done_manually")
        await world.resolve(elsewhere, "offer:F1", "fail")

        await world.sends(retried)
        await world.node(f"{by_telephone}-F1", "accept")
        await world.until_offered(elsewhere)
        assert await served_from(world, retried) == [("wh-lyon", "closed")]
        assert await served_from(world, by_telephone) == [("wh-lyon", "in_progress")]
        assert await served_from(world, elsewhere) == [
            ("wh-lyon", "cancelled"),
            ("wh-paris", "open"),
        ]
        for number in numbers:
            assert not (await world.order(number))["attention"]
        await world.audit_is_clean()


async def test_a_label_nobody_sells_is_asked_for_again_or_written_by_hand_or_given_up(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, heal_seconds=3600) as world:
        await a_second_place(world)
        await world.works_by_hand("wh-lyon", "wh-paris")
        await world.outside.breaks("carriers", "label", "decline", times=4)
        retried, renewed, by_hand, given_up = numbers = await place(world, 4)
        for number in numbers:
            await world.packs(number)
        await all_parked(world, numbers, "label:S1")

        await world.resolve(retried, "label:S1", "retry")
        await world.resolve(renewed, "label:S1", "new_attempt")
        mute = {"step": "label:S1", "action": "done_manually", "actor": "ines", "reason": "by hand"}
        refused = await world.call("POST", f"/v1/orders/{by_hand}/resolve", mute)
        result = {"carrier": "la-poste", "tracking_number": "LP-1"}
        await world.resolve(by_hand, "label:S1", "done_manually", result=result)
        await world.resolve(given_up, "label:S1", "fail")

        assert refused.status_code == 422
        assert (await world.until_labelled(retried)).startswith("SIM")
        assert (await world.until_labelled(renewed)).startswith("SIM")
        assert await world.until_labelled(by_hand) == "LP-1"
        await world.until_offered(given_up)
        assert (await served_from(world, given_up))[-1] == ("wh-paris", "open")
        labels = [key for kind, key in await world.outside.books("carriers") if kind == "label"]
        assert sorted(labels) == sorted([f"{retried}-S1:label:1", f"{renewed}-S1:label:2"])
        await world.audit_is_clean()


async def test_work_that_takes_too_long_gets_more_time_or_goes_elsewhere(
    database_url: str, temporal: Client
) -> None:
    slow = POLICY.model_copy(update={"pick": A_MOMENT})
    async with a_shop(database_url, temporal, policy=slow) as world:
        await a_second_place(world)
        await world.works_by_hand("wh-lyon")
        await world.outside.hurries()
        waited_for, elsewhere = numbers = await place(world, 2)
        for number in numbers:
            await world.node((await world.until_offered(number))[0]["id"], "accept")
        await all_parked(world, numbers, "pick:F1")

        await world.resolve(waited_for, "pick:F1", "retry")
        await world.resolve(elsewhere, "pick:F1", "fail")

        await world.until_status(elsewhere, "completed")
        assert await served_from(world, elsewhere) == [
            ("wh-lyon", "cancelled"),
            ("wh-paris", "closed"),
        ]
        await world.node(f"{waited_for}-F1", "pick", {"lines": [{"line": 1, "picked": 1}]})
        parcels = [{"weight_g": 500, "lines": [{"line": 1, "quantity": 1}]}]
        await world.node(f"{waited_for}-F1", "pack", {"parcels": parcels})
        await world.until_labelled(waited_for)
        await world.node(f"{waited_for}-F1", "hand-over")
        await world.until_status(waited_for, "completed")
        assert not (await world.order(waited_for))["attention"]
        assert await shelf(world, "wh-lyon") == (9, 0, 0)
        assert await shelf(world, "wh-paris") == (9, 0, 0)
        await world.audit_is_clean()


async def test_a_location_that_does_not_say_whether_it_stopped_is_asked_again_or_answered_for(
    database_url: str, temporal: Client
) -> None:
    short = POLICY.model_copy(update={"node_answer": timedelta(seconds=6)})
    async with a_shop(database_url, temporal, policy=short) as world:
        await world.works_by_hand("wh-lyon")
        numbers: list[str] = []
        for _ in range(3):  # one at a time: each has to be accepted before the time is over
            numbers += await place(world, 1)
            await world.node((await world.until_offered(numbers[-1]))[0]["id"], "accept")
            await world.ok("POST", f"/v1/orders/{numbers[-1]}/cancel", {"reason": "too late"})
        asked_again, stopped, went_on = numbers
        await all_parked(world, numbers, "cancel:F1")

        await world.resolve(asked_again, "cancel:F1", "retry")
        await world.node(f"{asked_again}-F1", "cancel-response", {"accepted": True})
        await world.resolve(stopped, "cancel:F1", "done_manually")
        await world.resolve(went_on, "cancel:F1", "fail")

        for number in (asked_again, stopped):
            assert (await world.until_closed(number))["status"] == "cancelled"
            assert await world.money_of(number) == GIVEN_BACK
        order = await world.order(went_on)
        assert (order["status"], order["lines"][0]["cancelled"]) == ("open", 0)
        assert order["fulfillment_orders"][0]["cancellation"] == "rejected"
        assert await shelf(world, "wh-lyon") == (10, 0, 1)
        await world.audit_is_clean()


async def test_what_nobody_collects_waits_longer_or_is_handed_over_or_goes_back(
    database_url: str, temporal: Client
) -> None:
    short = POLICY.model_copy(update={"pickup": A_MOMENT})
    async with a_shop(database_url, temporal, policy=short) as world:
        await world.has_place("store-lyon", kind="store")
        await world.holds("LAMP", "store-lyon", 3)
        await world.works_by_hand("store-lyon")
        pickup = {"method": "store_pickup", "location": "store-lyon"}
        later, collected, never = numbers = await place(
            world, 3, delivery=pickup, shipping_minor=490
        )
        for number in numbers:
            id = (await world.until_offered(number))[0]["id"]
            await world.node(id, "accept")
            await world.node(id, "pick", {"lines": [{"line": 1, "picked": 1}]})
            await world.node(id, "ready")
        await all_parked(world, numbers, "pickup:F1")

        await world.resolve(later, "pickup:F1", "retry")
        code = (await world.order(later))["fulfillment_orders"][0]["pickup_code"]
        await world.node(f"{later}-F1", "hand-over", {"code": code})
        await world.resolve(collected, "pickup:F1", "done_manually")
        await world.resolve(never, "pickup:F1", "fail")

        for number in (later, collected):
            assert (await world.until_closed(number))["status"] == "completed"
            assert await world.money_of(number) == PAID
        assert (await world.until_closed(never))["status"] == "cancelled"
        assert await world.money_of(never) == GIVEN_BACK
        assert await shelf(world, "store-lyon") == (1, 0, 0)
        await world.audit_is_clean()


async def test_a_parcel_in_trouble_goes_on_or_is_delivered_or_is_paid_back(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    troubles = ("attempt_failed", "damaged", "lost")
    numbers = await place(world, len(troubles))
    parcels = {number: await world.sends(number) for number in numbers}
    for number, trouble in zip(numbers, troubles, strict=True):
        await world.scan(parcels[number], trouble)
    await all_parked(world, numbers, "parcel:S1")

    moving, found, lost = numbers
    await world.resolve(moving, "parcel:S1", "retry")
    await world.scan(parcels[moving], "delivered")
    await world.resolve(found, "parcel:S1", "done_manually")
    await world.resolve(lost, "parcel:S1", "fail")
    ended = [await world.until_closed(number) for number in numbers]

    assert [order["status"] for order in ended] == ["completed", "completed", "cancelled"]
    for number in (moving, found):
        assert await world.money_of(number) == PAID
    assert await world.money_of(lost) == [*PAID, ("refund", PRICE)]
    assert await shelf(world, "wh-lyon") == (7, 0, 0)
    await world.audit_is_clean()


async def test_a_parcel_that_turns_up_needs_nobody_any_more(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await place(world, 1))[0]
    parcel = await world.sends(number)
    await world.scan(parcel, "attempt_failed")
    await world.until_parked(number, "parcel:S1")

    await world.scan(parcel, "delivered")
    order = await world.until_closed(number)

    assert (order["status"], order["attention"]) == ("completed", False)
    assert await world.money_of(number) == PAID
    await world.audit_is_clean()


async def test_an_authorisation_that_is_not_given_back_is_given_back_by_hand_or_left_to_lapse(
    world: World,
) -> None:
    await world.outside.breaks("payments", "void", "decline", times=2)
    by_hand, left = numbers = await place(world, 2)
    for number in numbers:
        await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
    await all_parked(world, numbers, "void:1")

    await world.resolve(by_hand, "void:1", "done_manually", result={"reference": "desk-1"})
    await world.resolve(left, "void:1", "fail")

    assert (await world.until_closed(by_hand))["payment_status"] == "voided"
    assert (await world.until_closed(left))["status"] == "cancelled"
    assert await shelf(world, "wh-lyon") == (10, 0, 0)
    await world.audit_is_clean()


# --- what a person sees ---------------------------------------------------------------------


async def test_whoever_settles_what_is_not_parked_or_not_offered_is_told_so(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await place(world, 1))[0]
    parcel = await world.sends(number)
    await world.scan(parcel, "attempt_failed")
    await world.until_parked(number, "parcel:S1")

    async def refused(step: str, action: str) -> tuple[int, str]:
        body = {"step": step, "action": action, "actor": "ines", "reason": "because"}
        answer = await world.call("POST", f"/v1/orders/{number}/resolve", body)
        return answer.status_code, answer.json()["code"]

    assert await refused("label:S1", "retry") == (409, "not_parked")
    assert await refused("parcel:S1", "new_attempt") == (409, "invalid_state")
    await world.resolve(number, "parcel:S1", "done_manually")
    assert await refused("parcel:S1", "done_manually") == (409, "not_parked")
    await world.until_closed(number)
    assert await refused("parcel:S1", "done_manually") == (409, "not_parked")
    await world.audit_is_clean()


async def test_a_parked_run_says_in_temporal_what_failed_and_what_to_press(world: World) -> None:
    await world.outside.hurries()
    number = (await place(world, 1, token="tok_capture_fails"))[0]
    await world.until_parked(number, "capture:1")

    async def shows(attention: bool, steps: list[str]) -> bool:
        seen = (await world.run_of(number).describe()).search_attributes
        return (
            seen.get("OmsNeedsAttention", [False]) == [attention]
            and list(seen.get("OmsBlockedStep", [])) == steps
        )

    await world.wait(lambda: shows(True, ["capture:1"]))
    parked = await details(world, number)
    assert "capture:1 needs a person" in parked
    assert "declined" in parked
    assert "new_attempt, done_manually, fail" in parked

    await world.resolve(number, "capture:1", "fail")
    await world.until_closed(number)
    await world.wait(lambda: shows(False, []))
    assert "needs a person" not in await details(world, number)
    await world.audit_is_clean()


async def details(world: World, number: str) -> str:
    told: WorkflowMetadata = await world.run_of(number).query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )
    return told.current_details


async def test_what_an_outage_parked_heals_when_the_provider_is_back(world: World) -> None:
    await world.outside.hurries()
    await world.outside.breaks("payments", "capture", "error_before", times=10_000)
    number = (await place(world, 1))[0]
    await world.until_parked(number, "capture:1")
    assert "Tries again by itself" in await details(world, number)

    await world.outside.ask("DELETE", "/faults")
    await world.until_closed(number)

    assert await world.money_of(number) == PAID
    await world.audit_is_clean()


# --- many at once ---------------------------------------------------------------------------


async def test_one_batch_settles_the_same_step_of_many_orders(world: World) -> None:
    await world.outside.hurries()
    await world.outside.breaks("payments", "capture", "decline", times=5)
    numbers = await place(world, 5)
    await all_parked(world, numbers, "capture:1")
    among = ", ".join(f"'{number}'" for number in numbers)
    query = f"OmsBlockedStep = 'capture:1' AND OmsOrder IN ({among})"

    async def found() -> bool:
        return (await world.temporal.count_workflows(query)).count == len(numbers)

    await world.wait(found)
    await signal_all(world.temporal, query, "capture:1", "new_attempt")
    await asyncio.gather(*(world.until_closed(number) for number in numbers))

    for number in numbers:
        assert await world.money_of(number) == PAID
        said = [e for e in await world.timeline(number) if e["kind"] == "attention.resolved"]
        assert [event["actor"] for event in said] == ["operator:ops-ines"]
    await world.audit_is_clean()


async def signal_all(temporal: Client, query: str, step: str, action: str) -> None:
    """What an operator does in Temporal's UI: a signal to every run that a query finds."""
    decision = {"step": step, "action": action, "actor": "ops-ines", "reason": "the bank is back"}
    payload = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(decision).encode())
    await temporal.workflow_service.start_batch_operation(
        StartBatchOperationRequest(
            namespace=temporal.namespace,
            visibility_query=query,
            job_id=str(uuid4()),
            reason="the bank is back",
            signal_operation=BatchOperationSignal(
                signal="resolve_parked_step",
                input=Payloads(payloads=[payload]),
                identity="ops-ines",
            ),
        )
    )
