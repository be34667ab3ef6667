"""Terminate cannot be refused: an order whose runs were ended so goes on where its books stand."""

from tests.world import World
from workers.restarting import Restarted, restart_missing


async def restart(world: World, *numbers: str) -> Restarted:
    """As `oms order restart` does."""
    return await restart_missing(
        world.engine,
        world.temporal,
        task_queue=world.queue,
        heal_seconds=1,
        numbers=numbers or None,
    )


async def test_terminated_runs_are_started_again_and_forget_no_parked_step(world: World) -> None:
    await world.outside.breaks("carriers", "label", "error_before", times=1000)
    number = (await world.place())["number"]
    id = await world.packs(number)
    await world.until_parked(number, "label:S1")

    for run in (f"order/{number}", f"fulfillment/{id}"):
        await world.temporal.get_workflow_handle(run).terminate("pressed by mistake")
    await world.outside.ask("DELETE", "/faults")
    restarted = await restart(world)
    tracking_number = await world.until_labelled(number)
    await world.node(id, "hand-over")
    await world.scan(tracking_number, "delivered")
    done = await world.until_closed(number)

    assert restarted == Restarted((number,), (), 1)
    assert (done["status"], done["payment_status"]) == ("completed", "paid")
    cleared = [e for e in await world.timeline(number) if e["kind"] == "attention.cleared"]
    assert len(cleared) == 1
    await world.audit_is_clean()


async def test_a_part_alone_that_was_terminated_gets_a_run_again(world: World) -> None:
    number = (await world.place())["number"]
    id = str((await world.until_offered(number))[0]["id"])

    await world.temporal.get_workflow_handle(f"fulfillment/{id}").terminate("by mistake")
    restarted = await restart(world, number)
    twice = await restart(world, number)
    tracking_number = await world.sends(number)
    await world.scan(tracking_number, "delivered")
    await world.until_closed(number)

    assert restarted == Restarted((), (id,), 1)
    assert twice == Restarted((), (), 1)
    await world.audit_is_clean()


async def test_what_runs_or_is_closed_is_not_started_again(world: World) -> None:
    running = (await world.place())["number"]
    await world.until_offered(running)
    closed = (await world.place())["number"]
    await world.ok("POST", f"/v1/orders/{closed}/cancel", {"reason": "changed my mind"})
    await world.until_closed(closed)

    assert await restart(world) == Restarted((), (), 1)
    assert await restart(world, closed) == Restarted((), (), 0)


async def test_a_return_that_was_terminated_gets_a_run_again_and_goes_on(world: World) -> None:
    number = (await world.place())["number"]
    await world.scan(await world.sends(number), "delivered")
    await world.until_status(number, "completed")
    id = (await world.ask_return(number))["id"]
    await world.until_back(id, lambda back: back["parcels"][0]["tracking_number"] is not None)

    await world.temporal.get_workflow_handle(f"return/{id}").terminate("pressed by mistake")
    await world.takes_back(id)
    restarted = await restart(world)
    done = await world.until_return(id, "closed")

    assert restarted == Restarted((), (), 0, (id,), 1)
    assert [refund["status"] for refund in done["refunds"]] == ["succeeded"]
    await world.audit_is_clean()
