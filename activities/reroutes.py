"""Orders that leave a place or an article, one after the other: a look, and a transaction each."""

import time

import structlog
from temporalio import activity

from activities.faults import BROKEN_INVARIANT, BUGS, as_application_errors
from activities.messages import AtReroute, SteerAt
from oms.errors import OmsError, told
from oms.rerouting import RerouteBook, RerouteProgress

LONGEST_BATCH = 20.0
"""Seconds after which an attempt ends between two orders; the process asks for the next."""

log = structlog.get_logger()


class RerouteActivities:
    """What a reroute does to the books. All of it may be done again."""

    def __init__(self, book: RerouteBook) -> None:
        self._book = book

    @activity.defn
    async def reroute_orders(self, about: AtReroute) -> RerouteProgress:
        """Let orders leave, until none is left, time is up, or somebody paused it.

        `last`: nothing was left at the look before. Those that failed get their second try, and
        the reroute ends if nothing is left after it.
        """
        with as_application_errors():
            begun = time.monotonic()
            for number in await self._book.orders_to_reroute(about.id, again=about.last):
                if not await self._book.reroute_goes_on(about.id, about.at):
                    break
                await self._reroute(about, number)
                activity.heartbeat(number)
                if activity.is_worker_shutdown() or time.monotonic() - begun > LONGEST_BATCH:
                    break
            return await self._book.reroute_looked(about.id, about.at, last=about.last)

    async def _reroute(self, about: AtReroute, number: str) -> None:
        """Let one order leave. A fault of ours is kept, and stops no other order."""
        try:
            await self._book.reroute_order(about.id, number, about.at)
        except (OmsError, *BUGS) as fault:
            code = fault.code if isinstance(fault, OmsError) else BROKEN_INVARIANT
            log.exception("reroute_of_an_order_failed", order=number, code=code)
            words = f"{code}: {told(fault)}"[:255]
            await self._book.reroute_failed(about.id, number, words, about.at)

    @activity.defn
    async def steer_reroute(self, request: SteerAt) -> None:
        """Write that somebody paused, resumed or stopped it."""
        await self._book.steer_reroute(request.id, request.word, request.at)
