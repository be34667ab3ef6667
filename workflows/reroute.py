"""A reroute: thousands of orders leave a place that was closed, or an article that was recalled.

The books say what is left (`adapters.db.reroutes`); this process has it done, batch by batch, and
can be paused, resumed, stopped and watched. It holds no list: whatever died, it goes on from there.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.messages import AtReroute, SteerAt
    from activities.reroutes import RerouteActivities
    from oms.agenda import Agenda
    from oms.rerouting import RerouteProgress
    from workflows.messages import RerouteRef
    from workflows.search import STAGE
    from workflows.steps import SQL_RETRIES, history_is_long, in_books

SETTLES = timedelta(seconds=3)
"""Orders that were planned just before the place closed are in the books by then."""

_BATCH = timedelta(minutes=2)
_HEARTBEAT = timedelta(seconds=30)


@workflow.defn(name="RerouteOrders")
class RerouteOrders:
    """Let orders leave, one transaction each, until the books show none that is left."""

    @workflow.init
    def __init__(self, ref: RerouteRef) -> None:
        self._id, self._words = ref.id, ref.words
        self._progress = RerouteProgress(status="running")
        self._heard = 0
        self._quiet = False

    @workflow.run
    async def run(self, ref: RerouteRef) -> str:
        """Reroute until nothing is left, or somebody stops it. Returns how it ended."""
        while not self._progress.is_over:
            heard = self._heard
            self._take(await self._batch())
            if self._progress.status == "paused":
                await self._news_since(heard)
            elif not self._progress.left and not self._progress.is_over:
                self._quiet = await self._hears_nothing_since(heard)
            at_rest = workflow.all_handlers_finished() and not self._quiet
            if history_is_long() and at_rest:  # the last look is this run's
                workflow.continue_as_new(ref)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._progress.status

    async def _batch(self) -> RerouteProgress:
        return await workflow.execute_activity_method(
            RerouteActivities.reroute_orders,
            AtReroute(id=self._id, at=workflow.now(), last=self._quiet),
            start_to_close_timeout=_BATCH,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=SQL_RETRIES,
            summary=f"{self._progress.left or 'The'} orders are to leave",
        )

    async def _news_since(self, heard: int) -> None:
        await workflow.wait_condition(lambda: self._heard > heard)

    async def _hears_nothing_since(self, heard: int) -> bool:
        with suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._heard > heard,
                timeout=SETTLES,
                timeout_summary="Look once more for orders planned just before",
            )
            return False
        return True

    def _take(self, found: RerouteProgress) -> None:
        if found.status != self._progress.status:
            workflow.upsert_search_attributes([STAGE.value_set(found.status)])
        self._progress, self._quiet = found, False
        lines = (
            f"**{self._words}** · {found.status}",
            found.words,
            f"Signals: `pause`, `resume`, `stop`. `oms reroute watch {self._id}` tells more.",
        )
        workflow.set_current_details("  \n".join(lines))  # Markdown: a line each

    # --- people, and the relay ---

    @workflow.signal(description="Something changed in the books: look again. Harmless always.")
    def changed(self, reason: str = "", agenda: Agenda | None = None) -> None:
        """Look at the books again."""
        self._heard += 1

    @workflow.signal(description="Pause after the order at hand. Takes nothing.")
    async def pause(self) -> None:
        """Rest until told to resume."""
        await self._steer("pause")

    @workflow.signal(description="Go on after a pause. Takes nothing.")
    async def resume(self) -> None:
        """Go on."""
        await self._steer("resume")

    @workflow.signal(
        description="End it; orders that have left stay where they are. Takes nothing."
    )
    async def stop(self) -> None:
        """End it."""
        await self._steer("stop")

    async def _steer(self, word: str) -> None:
        request = SteerAt(id=self._id, word=word, at=workflow.now())
        await in_books(RerouteActivities.steer_reroute, request, f"{word} by signal")
        self._heard += 1

    @workflow.query(description="How many orders are done, by outcome, and how many are left.")
    def progress(self) -> RerouteProgress:
        """Tell how far it is, as of the last batch."""
        return self._progress
