"""Each step of a return fails before, fails after, loses its answer: one label, one refund, once
put away.

Many returns run side by side, each with a fault of its own, so that the whole list takes seconds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import pytest
from sqlalchemy import text
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from activities.returns import ReturnActivities, ReturnCarrierActivities
from tests.breaking import FAST_TRIES, TROUBLES, Break
from tests.scenarios.returns import test_exchanges_that_break as others
from tests.scenarios.returns.sending_back import (
    HELD,
    PRICE,
    SHIPPING,
    a_shop_for_returns,
    all_have_struck,
    an_article,
    delivered,
    each_has_one,
    labelled,
    puts_in_the_post,
    shelf,
    time_passes_to,
)
from tests.world import World

BY_POST = [
    Break(activity, when, about=about)
    for activity, about in (
        ("read_return", ""),
        ("buy_return_label", ""),
        ("give_back", ""),
        ("settle_payment", ":refund:"),
        ("put_away", ""),
        ("close_return", ""),
    )
    for when in ("before", "after")
]
LONGER = [
    Break(activity, when, times=FAST_TRIES, about=about)
    for activity, about in (("buy_return_label", ""), ("settle_payment", ":refund:"))
    for when in ("before", "after")
]
NEVER_SENT = [
    Break(activity, when)
    for activity in ("remind_customer", "expire_return", "close_return")
    for when in ("before", "after")
]

DECIDED = [
    Break(activity, when)
    for activity in ("park_step", "carry_out", "unpark_step")
    for when in ("before", "after")
]


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop of its own: faults are planned for the orders of one test."""
    async with a_shop_for_returns(database_url, temporal, units=1) as world:
        yield world


async def all_send_back(
    world: World,
    numbers: Sequence[str],
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    """Each sends a unit back, and the warehouse takes it; gives the returns once all closed."""
    ids = [(await world.ask_return(number))["id"] for number in numbers]
    await asyncio.gather(*(puts_in_the_post(world, id) for id in ids))
    if meanwhile is not None:
        await meanwhile()
    for id in ids:
        await world.takes_back(id)
    for id in ids:
        await world.until_return(id, "closed")
    return ids


async def all_is_done_once(world: World, sku: str, ids: Sequence[str]) -> None:
    """One label and one refund for each return, and one unit on the shelf."""
    labels = [key for kind, key in await world.outside.books("carriers") if kind == "label"]
    assert sorted(key for key in labels if "-P1:" in key) == sorted(
        f"{id}-P1:label:1" for id in ids
    )
    by_order = Counter(id.rpartition("-R")[0] for id in ids)
    for number, units in by_order.items():
        back = [minor for kind, minor in await world.money_of(number) if kind == "refund"]
        assert (len(back), sum(back)) == (units, units * PRICE + SHIPPING)
        assert (await world.order(number))["return_status"] == "returned"
    assert await shelf(world, sku) == {"on_hand": HELD + len(ids)}
    assert await times_put_away(world, sku) == len(ids)
    await world.audit_is_clean()


async def times_put_away(world: World, sku: str) -> int:
    async with world.engine.connect() as tx:
        moved = "SELECT count(*) FROM stock_movements WHERE sku = :sku AND cause = 'put_away'"
        found = await tx.scalar(text(f"{moved} AND bucket = 'on_hand' AND delta > 0"), {"sku": sku})
    return int(found or 0)


async def test_whichever_step_breaks_once_the_goods_come_back_and_are_paid_once(
    world: World,
) -> None:
    sku, numbers = await each_has_one(world, len(BY_POST))
    world.breaks_each_order(*BY_POST)

    ids = await all_send_back(world, numbers)

    await all_have_struck(world, numbers)
    await all_is_done_once(world, sku, ids)


async def test_what_fails_for_longer_parks_and_heals_by_itself(world: World) -> None:
    sku, numbers = await each_has_one(world, len(LONGER))
    world.breaks_each_order(*LONGER)

    ids = await all_send_back(world, numbers)

    await all_have_struck(world, numbers)
    for number in numbers:
        told = [event["kind"] for event in await world.timeline(number)]
        assert told.count("attention.raised") == told.count("attention.cleared") == 1
    await all_is_done_once(world, sku, ids)


@pytest.mark.parametrize(("party", "operation"), [("carriers", "label"), ("payments", "refund")])
async def test_whatever_befalls_a_call_to_the_outside_it_has_one_effect(
    world: World, party: str, operation: str
) -> None:
    """Here one customer sends each unit of an order back by itself."""
    units = len(TROUBLES)
    sku = await an_article(world, HELD + units)
    number = await delivered(world, {sku: units})
    for mode in TROUBLES:
        await world.outside.breaks(party, operation, mode)

    ids = await all_send_back(world, [number] * units)

    asked = (await world.outside.ask("GET", "/faults"))["data"]
    assert [fault for fault in asked if fault["left"]] == []
    await all_is_done_once(world, sku, ids)


async def test_a_return_that_nobody_sends_is_reminded_of_and_expires_once_however_that_breaks(
    world: World,
) -> None:
    sku, numbers = await each_has_one(world, len(NEVER_SENT))
    world.breaks_each_order(*NEVER_SENT)
    ids = [(await world.ask_return(number))["id"] for number in numbers]

    for id in ids:
        await time_passes_to(world, id, "remind_at")
    for id in ids:
        await world.wait(partial(has_told, world, id, "return.reminded"))
        await time_passes_to(world, id, "expire_at")
    for id in ids:
        await world.until_back(id, lambda back: back["closed_at"] is not None)

    await all_have_struck(world, numbers)
    for id in ids:
        told = await world.story_of(id)
        assert (told.count("return.reminded"), told.count("return.expired")) == (1, 1)
    assert await shelf(world, sku) == {"on_hand": HELD}
    await world.audit_is_clean()


async def test_what_a_person_decides_about_goods_that_wait_counts_once_however_that_breaks(
    world: World,
) -> None:
    sku, numbers = await each_has_one(world, len(DECIDED))
    world.breaks_each_order(*DECIDED)
    ids = [(await world.ask_return(number))["id"] for number in numbers]

    for id in ids:
        await labelled(world, id)
        await world.receive(id)
        await time_passes_to(world, id, "inspect_by")
    for number, id in zip(numbers, ids, strict=True):
        await world.until_return_parked(id, "inspect:R1")
        await world.resolve(number, "inspect:R1", "done_manually")
    for id in ids:
        await world.until_return(id, "closed")

    await all_have_struck(world, numbers)
    for id in ids:
        told = await world.story_of(id)
        assert told.count("return.inspected") == 1
    await all_is_done_once(world, sku, ids)


def test_no_step_of_a_return_is_forgotten_here() -> None:
    effects = (ReturnActivities, ReturnCarrierActivities)
    steps = {name for each in effects for name, _ in vars(each).items() if name[0] != "_"}
    broken = {
        (each.activity, each.when)
        for each in (*BY_POST, *NEVER_SENT, *others.IN_ITS_RETURN, *others.NEVER_SENT)
    }

    assert {(step, when) for step in steps for when in ("before", "after")} <= broken


async def has_told(world: World, id: str, kind: str) -> bool:
    return kind in await world.story_of(id)


async def test_a_return_whose_run_is_reset_in_the_middle_pays_and_puts_away_once(
    world: World,
) -> None:
    sku, numbers = await each_has_one(world, 2)

    async def reset() -> None:
        for number in numbers:
            await reset_to_the_beginning(world, f"{number}-R1")

    ids = await all_send_back(world, numbers, reset)
    for id in ids:
        await reset_to_the_beginning(world, id)
        run = world.temporal.get_workflow_handle(f"return/{id}")
        await run.result()

    await all_is_done_once(world, sku, ids)


async def reset_to_the_beginning(world: World, id: str) -> None:
    """As an operator does by the Temporal UI: the run begins anew, under another run id."""
    run = await world.temporal.get_workflow_handle(f"return/{id}").describe()
    history = await world.temporal.get_workflow_handle(f"return/{id}").fetch_history()
    first = next(
        event.event_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    )
    await world.temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=world.temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=f"return/{id}", run_id=run.run_id),
            reason="the test",
            workflow_task_finish_event_id=first,
            request_id=f"reset-{id}-{run.run_id}",
        )
    )
