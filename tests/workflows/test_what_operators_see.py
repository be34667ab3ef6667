"""A run reads like its order: what it is, what it waits for, what to press; nothing personal."""

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHistory
from temporalio.common import SearchAttributeKey

from tests.world import World, a_shop
from workflows.search import (
    BLOCKED_STEP,
    CHANNEL,
    LOCATION,
    NEEDS_ATTENTION,
    ORDER,
    PROMISE_BY,
    STAGE,
    TOTAL_MINOR,
)

MOST_EVENTS_AN_ORDER = 140
ROUTINE = ("in_transit", "in_transit", "out_for_delivery", "out_for_delivery")

PERSON = {"id": "c-4711", "name": "Zebulon Quartermain", "email": "zeb@quartermain.example"}
PHONE = "+33699887766"
ADDRESS = {
    "name": "Aurelia Quartermain",
    "line1": "77 Wisteria Lane",
    "city": "Villeurbanne",
    "postal_code": "69100",
    "country": "FR",
}
PERSONAL = (
    *("Quartermain", "Zebulon", "zeb@", "Aurelia", "699887766"),
    *("Wisteria", "Villeurbanne", "69100", "tok_ok"),
)


@pytest.fixture(scope="module")
async def world(module_database_url: str, temporal: Client) -> AsyncIterator[World]:
    """One warehouse for all tests of this file, worked by hand."""
    async with a_shop(module_database_url, temporal, units=50) as world:
        await world.works_by_hand("wh-lyon")
        yield world


@pytest.fixture(scope="module")
async def delivered(world: World) -> tuple[str, str]:
    """The runs of an order and its fulfillment order that ended: one parcel, five scans."""
    delivery = {"method": "home", "address": ADDRESS}
    customer = PERSON | {"phone": PHONE}
    number = (await world.place(2, customer=customer, delivery=delivery))["number"]
    tracking_number = await world.sends(number, 2)
    for status in ROUTINE:
        await world.scan(tracking_number, status)
    await world.scan(tracking_number, "delivered")
    await world.until_closed(number)
    return f"order/{number}", f"fulfillment/{number}-F1"


async def history(world: World, id: str) -> WorkflowHistory:
    return await world.temporal.get_workflow_handle(id).fetch_history()


async def shown(world: World, id: str) -> dict[str, Any]:
    """The run's search attributes, by name."""
    told = await world.temporal.get_workflow_handle(id).describe()
    keys: tuple[SearchAttributeKey[Any], ...] = (
        *(ORDER, CHANNEL, LOCATION, STAGE),
        *(NEEDS_ATTENTION, BLOCKED_STEP, PROMISE_BY, TOTAL_MINOR),
    )
    return {key.name: told.typed_search_attributes.get(key) for key in keys}


async def metadata(world: World, id: str) -> WorkflowMetadata:
    handle = world.temporal.get_workflow_handle(id)
    told: WorkflowMetadata = await handle.query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )
    return told


def plain_text(history: WorkflowHistory) -> str:
    """A history with its payloads in clear."""

    def clear(value: Any) -> Any:
        if isinstance(value, dict):
            if "data" in value and isinstance(value["data"], str):
                return base64.b64decode(value["data"]).decode(errors="replace")
            return {key: clear(each) for key, each in value.items()}
        return [clear(each) for each in value] if isinstance(value, list) else value

    return json.dumps(clear(history.to_json_dict()), ensure_ascii=False)


# --- history --------------------------------------------------------------------------------


async def test_a_delivery_costs_few_events_and_tells_nothing_personal(
    world: World, delivered: tuple[str, str], capsys: Any
) -> None:
    order, fulfillment = delivered

    histories = [await history(world, id) for id in (order, fulfillment)]
    counts = [len(each.events) for each in histories]
    kinds: dict[str, int] = {}
    for event in (event for each in histories for event in each.events):
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
        kinds[name] = kinds.get(name, 0) + 1
    with capsys.disabled():
        most = sorted(kinds.items(), key=lambda kind: -kind[1])
        print(
            f"\nevents of a delivery: {sum(counts)} = order and fulfillment order {counts} {most}"
        )

    assert sum(counts) <= MOST_EVENTS_AN_ORDER
    for each in histories:
        told = plain_text(each)
        assert "Lamp" in told or "LAMP" in told or order.split("/")[1] in told, "it is readable"
        assert [word for word in PERSONAL if word in told] == []


def _summary(event: HistoryEvent) -> str:
    return event.user_metadata.summary.data.decode()


async def test_every_activity_and_timer_says_what_it_is_for(
    world: World, delivered: tuple[str, str]
) -> None:
    events = [event for id in delivered for event in (await history(world, id)).events]
    told = (
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_MARKER_RECORDED,
        EventType.EVENT_TYPE_TIMER_STARTED,
    )
    unexplained = [
        e.event_id for e in events if e.event_type in told and not _summary(e).strip('"')
    ]
    assert unexplained == []


async def test_every_run_says_what_it_is_before_it_begins(
    world: World, delivered: tuple[str, str]
) -> None:
    order, fulfillment = delivered
    number = order.split("/")[1]

    begun = [(await history(world, id)).events[0] for id in (order, fulfillment)]

    assert _summary(begun[0]) == f'"Order {number}: 2 units, 44.88 EUR, from web"'
    assert _summary(begun[1]) == f'"Fulfillment order {number}-F1 at wh-lyon"'
    assert all(event.user_metadata.details.data for event in begun)


async def test_every_button_has_a_description_with_the_json_to_paste(world: World) -> None:
    number = (await world.place())["number"]
    await world.until_offered(number)

    for id in (f"order/{number}", f"fulfillment/{number}-F1"):
        told = (await metadata(world, id)).definition
        buttons = [*told.update_definitions, *told.signal_definitions, *told.query_definitions]
        own = [each for each in buttons if not each.name.startswith("__")]
        assert own
        assert [each.name for each in own if not each.description] == []
        for each in told.update_definitions:
            for example in re.findall(r"\{.*?\}(?=[;.,]|$| )", each.description):
                if "[" not in example:
                    json.loads(example)


# --- search attributes and details ----------------------------------------------------------


async def test_a_run_can_be_found_by_its_stage_from_placing_to_the_door(world: World) -> None:
    number = (await world.place(2))["number"]
    order, fulfillment = f"order/{number}", f"fulfillment/{number}-F1"
    await world.until_offered(number)

    async def stages() -> tuple[str, str]:
        told = [(await shown(world, id))["OmsStage"] for id in (order, fulfillment)]
        return told[0], told[1]

    async def until(*wanted: str) -> None:
        await world.wait(lambda: _are(stages, wanted))

    await until("fulfilling", "open")
    about = await shown(world, order)
    offered = await shown(world, fulfillment)
    id = await world.packs(number, 2)
    await until("fulfilling", "in_progress")
    tracking_number = await world.until_labelled(number)
    await world.node(id, "hand-over")
    await until("fulfilling", "shipped")
    await world.scan(tracking_number, "delivered")
    await world.until_closed(number)
    await until("completed", "closed")

    placed = await world.order(number)
    assert about | {"OmsPromiseBy": None} == {
        "OmsOrder": number,
        "OmsChannel": "web",
        "OmsLocation": None,
        "OmsStage": "fulfilling",
        "OmsNeedsAttention": None,
        "OmsBlockedStep": None,
        "OmsPromiseBy": None,
        "OmsTotalMinor": placed["total_minor"],
    }
    assert about["OmsPromiseBy"].isoformat()[:19] == placed["promise"]["by"][:19]
    assert (offered["OmsOrder"], offered["OmsLocation"]) == (number, "wh-lyon")


async def _are(stages: Any, wanted: tuple[str, ...]) -> bool:
    return bool(await stages() == wanted)


async def test_the_details_say_what_is_waited_for_and_what_to_press(world: World) -> None:
    number = (await world.place(token="tok_capture_fails"))["number"]
    id = (await world.until_offered(number))[0]["id"]
    offered = (await metadata(world, f"fulfillment/{id}")).current_details
    await world.sends(number)
    await world.until_parked(number, "capture:1")

    async def told() -> bool:
        return "capture:1" in (await metadata(world, f"order/{number}")).current_details

    await world.wait(told)
    parked = (await metadata(world, f"order/{number}")).current_details

    assert "wh-lyon to accept or reject" in offered
    assert "declined" in parked
    assert "`resolve_step`" in parked
    sample = re.search(r"`(\{.*?\})`", parked)
    assert sample is not None
    assert json.loads(sample[1])["step"] == "capture:1"


async def test_cancelling_a_run_in_temporals_own_way_does_not_end_its_order(world: World) -> None:
    number = (await world.place())["number"]
    await world.until_offered(number)

    await world.run_of(number).cancel()
    await world.temporal.get_workflow_handle(f"fulfillment/{number}-F1").cancel()
    await world.scan(await world.sends(number), "delivered")
    done = await world.until_closed(number)

    assert (done["status"], done["payment_status"]) == ("completed", "paid")
    await world.audit_is_clean()
