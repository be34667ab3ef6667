"""A new build takes over with orders in flight, and gives them back when it is rolled back.

Both builds are the same code here: what may differ between two releases is guarded by the recorded
histories (tests/workflows/test_histories.py).
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion

from tests.world import POLICY, World, a_shop
from workers.deploying import NobodyWorks, builds, make_current
from workers.pollers import passed_over
from workflows.queues import Kind

SOON = timedelta(seconds=60)


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop without workers, whose location is in no hurry."""
    hours = POLICY.model_copy(update={"node_answer": timedelta(hours=1)})
    none = {"kinds": ()}
    async with a_shop(database_url, temporal, policy=hours, worker_options=none) as world:
        await world.works_by_hand("wh-lyon")
        yield world


def build(world: World, id: str) -> WorkerDeploymentVersion:
    """A build of a deployment that is this test's own."""
    return WorkerDeploymentVersion(world.queue, id)


async def deployed(world: World, id: str) -> str | None:
    """Make a build current; gives the one before."""
    return await make_current(world.temporal, build(world, id), task_queue=world.queue, within=SOON)


async def works_on(world: World, run: str) -> str:
    """Tell the build that did the run's latest step."""
    told = await world.temporal.get_workflow_handle(run).describe()
    versioning = told.raw_description.workflow_execution_info.versioning_info
    return str(versioning.deployment_version.build_id)


async def delivered(world: World, *numbers: str) -> None:
    """Bring orders that a location has packed, or was only offered, to their end."""
    for number in numbers:
        order = await world.order(number)
        if not any(f["shipments"] for f in order["fulfillment_orders"]):
            await world.packs(number)
        tracking_number = await world.until_labelled(number)
        await world.node(f"{number}-F1", "hand-over")
        await world.scan(tracking_number, "delivered")
        await world.until_closed(number)


async def by_command(world: World, *arguments: str) -> tuple[int, str]:
    """Run `oms deploy` as an operator does; gives its status and what it says."""
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.cli", "deploy", *arguments),
        env={
            **os.environ,
            "OMS_HOME": "/nonexistent",
            "OMS_TASK_QUEUE": world.queue,
            "OMS_DEPLOYMENT": world.queue,
            "TEMPORAL_ADDRESS": world.temporal.service_client.config.target_host,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await command.communicate()
    assert command.returncode is not None
    return command.returncode, said.decode()


async def test_a_build_is_deployed_with_orders_in_flight_and_rolled_back(world: World) -> None:
    async with world.more_workers(version=build(world, "A")):
        await deployed(world, "A")
        packed, offered = [(await world.place())["number"] for _ in range(2)]
        await world.packs(packed)
        await world.until_offered(offered)
        assert await works_on(world, f"order/{packed}") == "A"

        async with world.more_workers(version=build(world, "B")):
            assert await deployed(world, "B") == "A"
            await world.until_labelled(packed)
            await world.node(f"{packed}-F1", "hand-over")
            await world.until(packed, lambda order: order["payment_status"] == "paid")
            placed = (await world.place())["number"]
            await world.until_offered(placed)
            for run in (f"order/{packed}", f"fulfillment/{packed}-F1", f"order/{placed}"):
                assert await works_on(world, run) == "B"

            status, said = await by_command(world, "--build", "A")
            assert (status, said) == (0, "A is current now; before: B.\n")

        parcel = (await world.order(packed))["fulfillment_orders"][0]["shipments"][0]
        await world.scan(parcel["tracking_number"], "delivered")
        await world.until_closed(packed)
        await delivered(world, offered, placed)
        for number in (packed, offered, placed):
            assert await works_on(world, f"order/{number}") == "A"

    await world.audit_is_clean()


async def test_what_the_old_build_had_asked_for_is_done_by_the_new_one(world: World) -> None:
    others = tuple(kind for kind in Kind if kind is not Kind.CARRIERS)
    async with world.more_workers(kinds=others, version=build(world, "A")):
        async with world.more_workers(kinds=[Kind.CARRIERS], version=build(world, "A")):
            await deployed(world, "A")
        number = (await world.place())["number"]
        await world.packs(number)
        await world.until_asked(f"fulfillment/{number}-F1", "buy_label")

    async with world.more_workers(version=build(world, "B")):
        await deployed(world, "B")
        await delivered(world, number)

    await world.audit_is_clean()


async def test_orders_of_workers_without_a_build_go_on_on_the_first_that_is_deployed(
    world: World,
) -> None:
    async with world.more_workers():
        number = (await world.place())["number"]
        await world.packs(number)

    async with world.more_workers(version=build(world, "A")):
        assert await deployed(world, "A") is None
        assert await deployed(world, "A") == "A"
        assert await passed_over(world.temporal, world.queue) == []
        await delivered(world, number)

        [only] = await builds(world.temporal, world.queue, task_queue=world.queue)
        assert (only.id, only.is_current) == ("A", True)

    await world.audit_is_clean()


async def test_a_build_without_workers_for_all_kinds_of_work_is_not_made_current(
    world: World,
) -> None:
    some, a = [Kind.ORDERS, Kind.NODES], build(world, "A")
    async with world.more_workers(kinds=some, version=a):
        await world.until_served(some, version=a)
        with pytest.raises(NobodyWorks, match="of build A asks for: payments, carriers"):
            await make_current(world.temporal, a, task_queue=world.queue, within=timedelta(0))
        assert await passed_over(world.temporal, world.queue) == [""]
        status, said = await by_command(world, "--build", "ghost", "--within", "0")

    assert status == 1
    assert "no worker of build ghost asks for: orders, payments, carriers, nodes" in said
