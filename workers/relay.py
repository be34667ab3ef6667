"""The courier between the books and Temporal: starts runs, sends signals, applies webhooks.

PostgreSQL wakes it at once; besides, it looks every few seconds, so nothing is lost that was
written while it was down. Several relays may run: rows are claimed, signals are harmless twice.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from adapters.db import idempotency, reroutes
from adapters.db.book import SqlBook
from adapters.db.inbound import apply_waiting
from adapters.db.overdue import tell_overdue_incoming, tell_overdue_transfers
from adapters.db.promise_watch import look_at_promises
from adapters.db.relaying import (
    Nudges,
    Unstarted,
    expired_reservations,
    mark_return_started,
    mark_started,
    owed_nudges,
    sent,
    sweep_technical,
    unstarted_orders,
    unstarted_returns,
)
from adapters.db.return_alerts import tell_return_rates
from adapters.db.running_low import tell_running_low
from adapters.metrics import count_events
from oms.agenda import Agenda
from oms.numbers import order_workflow_id
from oms.words import count_of
from workflows.messages import RerouteRef, ReturnRef
from workflows.starting import StartOrder, start_order, start_reroute, start_return

LOOKS_EVERY = timedelta(seconds=2)
FORGETS_EVERY = timedelta(hours=1)
TELLS_OVERDUE_EVERY = timedelta(seconds=30)
RATES_EVERY = timedelta(seconds=30)
"""How often a process asks whether it is time to look at what comes back."""

WATCHES_EVERY = timedelta(seconds=5)
"""How long promises rest after all of them were looked at."""

_WATCHES_A_TWENTIETH = 19
"""A page of promises is followed by a rest so many times as long, so that it costs little."""

YOUNG = timedelta(seconds=10)
"""An order this young is being started by the request that placed it."""

ABANDONED = timedelta(minutes=1)
"""A reroute that nobody has looked at for so long has lost its run."""

_BATCH = 50
_RPC_TIMEOUT = timedelta(seconds=5)
_PASSING = (SQLAlchemyError, psycopg.Error, RPCError, OSError, TimeoutError)

log = structlog.get_logger()


class Relay:
    """Carries what the books owe. `wake` from anywhere, or by `NOTIFY`."""

    def __init__(
        self,
        engine: AsyncEngine,
        book: SqlBook,
        client: Client,
        *,
        task_queue: str,
        heal_seconds: float,
        payment_poll_seconds: float,
        keeps: timedelta = timedelta(days=30),
    ) -> None:
        """`keeps`: how long what was applied or answered is kept."""
        self._keeps = keeps
        self._engine, self._book, self._client = engine, book, client
        self._common: dict[str, Any] = {
            "task_queue": task_queue,
            "heal_seconds": heal_seconds,
            "payment_poll_seconds": payment_poll_seconds,
        }
        self._nudged, self._inbound, self._rose = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._rerouted, self._returned = asyncio.Event(), asyncio.Event()
        watched = ("send_nudges", "apply_inbound", "sweep", "release_backorders")
        self._looked = dict.fromkeys(watched, time.monotonic())

    def silent_for(self) -> float:
        """Seconds since the slowest of its tasks last looked and could do what it found."""
        return time.monotonic() - min(self._looked.values())

    async def run(self) -> None:
        """Work until cancelled. A fault of the other side is logged and tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._each(self.send_nudges, self._nudged))
            tasks.create_task(self._each(self.apply_inbound, self._inbound))
            tasks.create_task(self._each(self.sweep, asyncio.Event()))
            tasks.create_task(self._each(self.start_reroutes, self._rerouted))
            tasks.create_task(self._each(self.start_returns, self._returned))
            tasks.create_task(
                self._each(self.tell_overdue, asyncio.Event(), pause=TELLS_OVERDUE_EVERY)
            )
            tasks.create_task(
                self._each(self.watch_return_rates, asyncio.Event(), pause=RATES_EVERY)
            )
            tasks.create_task(self._each(self.follow_stock, asyncio.Event()))
            tasks.create_task(self._each(self.watch_promises, asyncio.Event(), pause=WATCHES_EVERY))
            tasks.create_task(self._each(self.release_backorders, self._rose))
            tasks.create_task(self._each(self.forget, asyncio.Event(), pause=FORGETS_EVERY))

    async def _each(
        self,
        work: Callable[[], Awaitable[int]],
        wake: asyncio.Event,
        *,
        pause: timedelta = LOOKS_EVERY,
    ) -> None:
        while True:
            wake.clear()
            try:
                done = await work()
                if work.__name__ in self._looked:
                    self._looked[work.__name__] = time.monotonic()
            except _PASSING as fault:
                log.warning("relay_failed", work=work.__name__, error=type(fault).__name__)
                done = 0
                await asyncio.sleep(1)
            if done < _BATCH:
                try:
                    await asyncio.wait_for(wake.wait(), pause.total_seconds())
                except TimeoutError:
                    continue

    async def _listen(self) -> None:
        """Hear `NOTIFY` on a connection of its own; reconnect when it breaks."""
        url = make_url(self._engine.url).set(drivername="postgresql")
        target = url.render_as_string(hide_password=False)
        by_channel = {
            "oms_nudge": self._nudged,
            "oms_inbound": self._inbound,
            "oms_backorders": self._rose,
            "oms_reroutes": self._rerouted,
            "oms_returns": self._returned,
        }
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(target, autocommit=True) as heard:
                    for channel, event in by_channel.items():
                        await heard.execute(f"LISTEN {channel}")
                        event.set()
                    async for note in heard.notifies():
                        by_channel[note.channel].set()
            except (psycopg.Error, OSError) as fault:
                log.warning("relay_deaf", error=type(fault).__name__)
                await asyncio.sleep(1)

    # --- signals ---

    async def send_nudges(self, at: datetime | None = None) -> int:
        """Send the signals that are owed. Those that fail stay owed.

        `at`: the time by which their agendas are worked out; now, but where time is skipped.
        """
        owed = await owed_nudges(self._engine, most=_BATCH)
        ids = [nudge.workflow_id for nudge in owed]
        agendas = await self._book.agendas(ids, at or datetime.now(UTC)) if ids else {}
        taken = await asyncio.gather(
            *(self._signal(nudge, agendas.get(nudge.workflow_id)) for nudge in owed)
        )
        if any(taken):
            await sent(self._engine, [nudge for nudge, ok in zip(owed, taken, strict=True) if ok])
        return sum(len(nudge.ids) for nudge in owed) if all(taken) else 0

    async def _signal(self, nudge: Nudges, agenda: Agenda | None) -> bool:
        handle = self._client.get_workflow_handle(nudge.workflow_id)
        told = [nudge.reason] if agenda is None else [nudge.reason, agenda]
        try:
            await handle.signal("changed", args=told, rpc_timeout=_RPC_TIMEOUT)
        except RPCError as fault:
            # Not there: it ended, or has not begun and reads the books when it does.
            return fault.status == RPCStatusCode.NOT_FOUND
        return True

    # --- webhooks ---

    async def apply_inbound(self) -> int:
        """Apply webhooks that are stored and not applied yet."""
        return await apply_waiting(self._engine, self._book, datetime.now(UTC), most=_BATCH)

    # --- what nobody carries ---

    async def sweep(self) -> int:
        """Start runs for orders without one, and wake those that hold stock beyond its time."""
        now = datetime.now(UTC)
        unstarted = await unstarted_orders(self._engine, now, older_than=YOUNG, most=_BATCH)
        for order in unstarted:
            await self._start(order, now)
        for number in await expired_reservations(self._engine, now, most=_BATCH):
            await self._end_reservation(number, now)
        return len(unstarted)

    async def start_reroutes(self) -> int:
        """Start the processes of reroutes that have none, or whose run is gone."""
        now = datetime.now(UTC)
        async with self._engine.connect() as tx:
            found = await reroutes.idle(tx, now, silent=ABANDONED, most=_BATCH)
        for each in found:
            ref = RerouteRef(id=each.id, words=each.words)
            await start_reroute(self._client, ref, task_queue=self._common["task_queue"])
            async with self._engine.begin() as tx:
                await reroutes.touch(tx, each.id, now)
            log.info("reroute_started", reroute=each.id)
        return len(found)

    async def start_returns(self) -> int:
        """Start the processes of returns that are new, or were opened again."""
        found = await unstarted_returns(self._engine, most=_BATCH)
        for each in found:
            ref = ReturnRef(
                id=each.id,
                order=each.order_number,
                heal_seconds=self._common["heal_seconds"],
                payment_poll_seconds=self._common["payment_poll_seconds"],
            )
            await start_return(
                self._client,
                ref,
                words=f"{each.kind.capitalize()} {each.id}: {count_of(each.units, 'unit')},"
                f" {each.via}",
                task_queue=self._common["task_queue"],
            )
            await mark_return_started(self._engine, each, datetime.now(UTC))
        return len(found)

    async def _start(self, order: Unstarted, now: datetime) -> None:
        await start_order(self._client, StartOrder(**order._asdict(), **self._common))
        async with self._engine.begin() as tx:
            await mark_started(tx, order.number, now)
        log.info("order_started_late", order=order.number)

    async def _end_reservation(self, number: str, now: datetime) -> None:
        """Only the run ends its reservation; where there is none, the books do."""
        nudge = Nudges(order_workflow_id(number), "reservation expired", [])
        handle = self._client.get_workflow_handle(nudge.workflow_id)
        try:
            await handle.signal("changed", nudge.reason, rpc_timeout=_RPC_TIMEOUT)
        except RPCError as fault:
            if fault.status != RPCStatusCode.NOT_FOUND:
                raise
            await self._book.release_reservation(number, now)

    async def tell_overdue(self) -> int:
        """Tell once of goods that should have arrived by now."""
        now = datetime.now(UTC)
        async with self._engine.begin() as tx:
            transfers = await tell_overdue_transfers(tx, now, most=_BATCH)
        async with self._engine.begin() as tx:
            expected = await tell_overdue_incoming(tx, now, most=_BATCH)
        if transfers or expected:
            log.warning("goods_overdue", transfers=transfers, incoming=expected)
        return transfers + expected

    async def watch_return_rates(self) -> int:
        """Tell once of articles that come back too often, or no longer do."""
        told = await tell_return_rates(self._engine, datetime.now(UTC))
        if told:
            log.info("return_rates_crossed", articles=told)
        return 0

    async def follow_stock(self) -> int:
        """Tell who runs low or out. Never in the way of those who reserve."""
        return _BATCH if await tell_running_low(self._engine, datetime.now(UTC)) else 0

    async def watch_promises(self) -> int:
        """Mark the orders whose promise is in danger, missed, or can be kept again."""
        last: str | None = ""
        while last is not None:
            begun = time.monotonic()
            looked = await look_at_promises(
                self._engine, self._book.policy, datetime.now(UTC), after=last
            )
            count_events(looked.told)
            last = looked.last
            if last is not None:
                await asyncio.sleep((time.monotonic() - begun) * _WATCHES_A_TWENTIETH)
        return 0

    # --- backorders ---

    async def release_backorders(self) -> int:
        """Give units that arrived to the orders that wait for them, in their turn."""
        return await self._book.release_backorders(datetime.now(UTC), most=_BATCH)

    async def forget(self) -> int:
        """Let go of idempotency keys, old webhooks and old answers whose time is over."""
        now = datetime.now(UTC)
        async with self._engine.begin() as tx:
            keys = await idempotency.sweep(tx, now)
        async with self._engine.begin() as tx:
            return keys + await sweep_technical(tx, now - self._keeps)
