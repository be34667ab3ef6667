"""Terminate cannot be refused: an order whose runs were ended so goes on where its books stand."""

from sqlalchemy import text

from tests.world import World


async def test_terminated_runs_are_started_again_and_forget_no_parked_step(world: World) -> None:
    await world.outside.breaks("carriers", "label", "error_before", times=1000)
    number = (await world.place())["number"]
    id = await world.packs(number)
    await world.until_parked(number, "label:S1")

    for run in (f"order/{number}", f"fulfillment/{id}"):
        await world.temporal.get_workflow_handle(run).terminate("pressed by mistake")
    await world.outside.ask("DELETE", "/faults")
    async with world.engine.begin() as tx:
        await tx.execute(text("UPDATE orders SET started_at = NULL WHERE closed_at IS NULL"))
    tracking_number = await world.until_labelled(number)
    await world.node(id, "hand-over")
    await world.scan(tracking_number, "delivered")
    done = await world.until_closed(number)

    assert (done["status"], done["payment_status"]) == ("completed", "paid")
    cleared = [e for e in await world.timeline(number) if e["kind"] == "attention.cleared"]
    assert len(cleared) == 1
    await world.audit_is_clean()
