"""What a process does about a parcel, whichever way it goes: its label, and asking where it is."""

from collections.abc import Awaitable, Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.messages import AtShipment
    from oms.agenda import Agenda, Due
    from workflows.steps import Process, outside


async def buy_label(
    process: Process, due: Due, call: Callable[..., Awaitable[Agenda]]
) -> Agenda | None:
    """Buy the label of a parcel; a person may have it made elsewhere, or do without."""
    return await process.step(
        due,
        lambda: outside(
            call, AtShipment(id=due.about, at=workflow.now()), f"Label for {due.about}"
        ),
        "new_attempt",
        "done_manually",
        "fail",
    )


async def look_for_parcel(
    process: Process, due: Due, call: Callable[..., Awaitable[Agenda]]
) -> Agenda | None:
    """Ask the carrier where a silent parcel is."""
    return await process.step(
        due,
        lambda: outside(
            call, AtShipment(id=due.about, at=workflow.now()), f"Ask where {due.about} is"
        ),
    )
