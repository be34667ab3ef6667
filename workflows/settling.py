"""How a process brings a payment to its outcome, be it an order's or a return's."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.messages import AtPayment
    from activities.payments import PaymentActivities
    from oms.agenda import Agenda, Due
    from oms.decisions import Parked
    from workflows.steps import DECLINED, LONGEST_HEAL, Process, outside

_WORDS = {
    "authorize": "Authorise the payment",
    "capture": "Capture what left",
    "void": "Give back the authorisation",
    "refund": "Refund",
}


async def settle(
    process: Process, due: Due, poll_seconds: float, *, of_return: str | None = None
) -> Agenda | None:
    """Bring one payment to its outcome; one that failed for good waits for a person.

    `poll_seconds`: how long to wait for a provider's webhook before looking up, doubling each time.
    Gives what is due then for the order, or for the return that the process is `of_return`; None if
    the answer does not tell, as of code that went before, and of money that another order holds.
    """
    key = due.about
    words = _WORDS[key.split(":")[1]]
    patience = timedelta(seconds=poll_seconds)
    while True:
        heard = process.heard
        settled = await process.step(
            due,
            lambda: outside(
                PaymentActivities.settle_payment,
                AtPayment(key=key, at=workflow.now()),
                f"{words} ({key.split(':', 1)[1]})",
            ),
            "done_manually",
            "fail",
        )
        if settled is None:
            return None
        if settled.outcome.status == "succeeded":
            return settled.agenda if settled.of_return == of_return else None
        if settled.outcome.status == "failed":
            break
        await _wait_for_provider(process, due, heard, patience)
        patience = min(patience * 2, LONGEST_HEAL)
    if due.step == "authorise":
        return settled.agenda
    parked = Parked(
        step=due.step,
        error_code=DECLINED,
        error=f"the provider declined: {settled.outcome.reason or 'no reason given'}",
        actions=("retry", "new_attempt", "done_manually", "fail"),
    )
    await process.park(due, parked)
    return None


async def _wait_for_provider(process: Process, due: Due, heard: int, patience: timedelta) -> None:
    """A pending payment is looked up when its webhook came, or when none comes."""
    await process.rest(
        lambda: process.heard > heard,
        patience,
        f"Look up {due.step} if no webhook comes",
    )
