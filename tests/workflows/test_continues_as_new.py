"""A run whose history is long goes on as a new one, and nobody notices."""

import asyncio

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateStage
from temporalio.common import TypedSearchAttributes

from tests.world import World
from workflows import steps
from workflows.messages import Placed
from workflows.search import BLOCKED_STEP, NEEDS_ATTENTION, STAGE

LONG = 15


@pytest.fixture(autouse=True)
def _histories_are_soon_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_long() -> bool:
        return workflow.info().get_current_history_length() > LONG

    monkeypatch.setattr(steps, "history_is_long", is_long)


async def attributes_of(world: World, id: str) -> TypedSearchAttributes:
    """What the run that goes on shows, which is not the first."""
    return (await world.temporal.get_workflow_handle(id).describe()).typed_search_attributes


async def first_run_of(world: World, id: str) -> WorkflowHandle[object, object]:
    told = await world.temporal.get_workflow_handle(id).describe()
    first = told.raw_description.workflow_execution_info.first_run_id
    return world.temporal.get_workflow_handle(id, run_id=first)


async def renews(world: World, id: str, run: str | None = None) -> str:
    """Signal a run until it has gone on as another; gives the new run's id."""
    handle = world.temporal.get_workflow_handle(id)
    before = run or (await handle.describe()).run_id
    async with asyncio.timeout(20):
        while (now := (await handle.describe()).run_id) == before:
            await handle.signal("changed", "to make its history longer")
            await asyncio.sleep(0.05)
    return now


async def test_an_order_is_delivered_over_many_runs(world: World) -> None:
    number = (await world.place(2))["number"]
    id = (await world.until_offered(number))[0]["id"]
    await renews(world, f"order/{number}")
    await renews(world, f"fulfillment/{id}")

    await world.scan(await world.sends(number, 2), "delivered")
    done = await world.until_closed(number)

    first = await (await first_run_of(world, f"order/{number}")).describe()
    assert first.status is WorkflowExecutionStatus.CONTINUED_AS_NEW
    assert (done["status"], done["payment_status"]) == ("completed", "paid")
    assert (await attributes_of(world, f"order/{number}"))[STAGE] == "completed"
    await world.audit_is_clean()


async def test_a_parked_step_stays_parked_in_the_next_run_and_is_resolved_there(
    world: World,
) -> None:
    number = (await world.place(token="tok_capture_fails"))["number"]
    tracking_number = await world.sends(number)
    await world.until_parked(number, "capture:1")
    raised = [e for e in await world.timeline(number) if e["kind"] == "attention.raised"]

    await renews(world, f"order/{number}")
    await renews(world, f"order/{number}")
    shown = await attributes_of(world, f"order/{number}")
    await world.resolve(number, "capture:1", "done_manually", result={"reference": "till 4"})
    await world.scan(tracking_number, "delivered")
    done = await world.until_closed(number)

    after = [e for e in await world.timeline(number) if e["kind"] == "attention.raised"]
    assert (shown[NEEDS_ATTENTION], shown[BLOCKED_STEP]) == (True, ["capture:1"])
    assert after == raised, "nobody is called twice"
    assert done["payment_status"] == "paid"
    assert not (await attributes_of(world, f"order/{number}"))[NEEDS_ATTENTION]
    await world.audit_is_clean()


async def test_a_parked_step_that_was_cleared_leaves_no_trace_in_the_next_run(
    world: World,
) -> None:
    await world.outside.breaks("carriers", "label", "error_before", times=1000)
    number = (await world.place())["number"]
    id = await world.packs(number)
    await world.until_parked(number, "label:S1")
    await renews(world, f"fulfillment/{id}")

    await world.outside.ask("DELETE", "/faults")
    tracking_number = await world.until_labelled(number)
    await world.wait(lambda: _nobody_is_called(world, f"fulfillment/{id}"))
    await world.node(id, "hand-over")
    await world.scan(tracking_number, "delivered")
    await world.until_closed(number)

    await world.audit_is_clean()


async def _nobody_is_called(world: World, id: str) -> bool:
    return not (await attributes_of(world, id))[NEEDS_ATTENTION]


async def test_a_run_that_owes_an_answer_gives_it_before_it_goes_on(world: World) -> None:
    await world.outside.breaks("payments", "authorize", "error_before", times=1000)
    number = (await world.place())["number"]
    await world.until_parked(number, "authorise")
    asked = await world.run_of(number).start_update(
        "place", wait_for_stage=WorkflowUpdateStage.ACCEPTED, result_type=Placed
    )
    before = (await world.run_of(number).describe()).run_id

    for _ in range(LONG):
        await world.run_of(number).signal("changed", "to make its history longer")
    waited_in = (await world.run_of(number).describe()).run_id
    await world.outside.ask("DELETE", "/faults")
    answer = await asked.result()

    assert waited_in == before
    assert answer.verdict == "confirmed"
    await renews(world, f"order/{number}", before)
