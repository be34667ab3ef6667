"""Runs without a business: what the floor is made of. Imports nothing but Temporal's SDK."""

from datetime import timedelta

from temporalio import activity, workflow

_A_MINUTE = timedelta(minutes=1)


@activity.defn
async def nothing() -> None:
    """Do nothing."""


@workflow.defn
class BareRun:
    """As many activities as an order has, one after the other."""

    @workflow.run
    async def run(self, regular: int, local: int) -> None:
        """Run them."""
        for _ in range(local):
            await workflow.execute_local_activity(nothing, start_to_close_timeout=_A_MINUTE)
        for _ in range(regular):
            await workflow.execute_activity(nothing, start_to_close_timeout=_A_MINUTE)


@workflow.defn
class BareUpdate:
    """A run that lives until its update was answered."""

    def __init__(self) -> None:
        self._asked = False

    @workflow.run
    async def run(self) -> None:
        """Wait for the update."""
        await workflow.wait_condition(lambda: self._asked)

    @workflow.update
    async def place(self) -> str:
        """Answer."""
        self._asked = True
        return "confirmed"
