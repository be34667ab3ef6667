"""The loop every process runs, and the one place where a step may park.

A process reads its agenda from the books, starts what is due, shows what it waits for, and sleeps
until a signal, a finished step or a deadline. A step that fails for good parks: its task waits for
a person's decision (and, after an outage, tries again by itself), while everything else goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.messages import ParkAt, UnparkAt
    from activities.orders import OrderActivities
    from oms.agenda import ATTEND, Agenda, Due
    from oms.decisions import Decision, Parked
    from workflows.search import BLOCKED_STEP, NEEDS_ATTENTION, PROMISE_BY, STAGE

_T = TypeVar("_T")

FAST_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), backoff_coefficient=2, maximum_attempts=4
)
"""Outside calls: passing faults are gone within seconds; what stays longer parks and heals."""

SQL_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=10),
)
"""Effects in our own books: without the database nothing can go on, so they wait for it."""

LONGEST_HEAL = timedelta(hours=1)
NEEDS_A_PERSON = "needs_a_person"


class _Waiting:
    """A parked step's task, waiting."""

    def __init__(self, parked: Parked) -> None:
        self.parked = parked
        self.decision: Decision | None = None
        self.decided_by: str = ""
        self.cleared = False
        self.applied = False


async def in_books(call: Callable[..., Awaitable[_T]], argument: Any, summary: str) -> _T:
    """Run one transaction on the books as a local activity."""
    return await workflow.execute_local_activity_method(
        call,
        argument,
        start_to_close_timeout=timedelta(seconds=60),
        retry_policy=SQL_RETRIES,
        summary=summary,
    )


async def outside(call: Callable[..., Awaitable[_T]], argument: Any, summary: str) -> _T:
    """Call an outside party as a regular activity, which operators see and may reset."""
    return await workflow.execute_activity_method(
        call,
        argument,
        start_to_close_timeout=timedelta(seconds=60),
        retry_policy=FAST_RETRIES,
        summary=summary,
    )


class Process:
    """One process: its agenda, its running steps, its parked ones."""

    def __init__(
        self,
        *,
        number: str,
        title: str,
        read: Callable[[], Awaitable[Agenda]],
        carry_out: Callable[[Due], Awaitable[Agenda | None]],
        decide: Callable[[Due, Decision, str], Awaitable[None]],
        stage: str,
        heal: timedelta,
    ) -> None:
        self.agenda = Agenda(stage=stage)
        self._number, self._title = number, title
        self._read, self._carry_out, self._decide = read, carry_out, decide
        self._heal = heal
        self._once: set[str] = set()
        self.heard = 0
        self._running: dict[str, asyncio.Task[Agenda | None]] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._stale, self._news = True, False
        self._alarm: tuple[datetime, asyncio.Task[None]] | None = None
        self._shown: tuple[Any, ...] = (stage, (), None)

    # --- the loop ---

    async def run(self) -> bool:
        """Do what is due until nothing is left, ever. False: continue as new, history is long."""
        while True:
            self._news = False
            if self._stale:
                self._stale = False
                self._take(await self._read())
            self._start_due()
            self._clear_attention()
            self._show()
            if self.agenda.ended and not self._running and not self._stale:
                self._set_alarm(None)
                return True
            if self._must_renew():
                return False
            self._set_alarm(self.agenda.wake_at)
            await workflow.wait_condition(lambda: self._news or self._stale)
            self._collect()

    def done_once(self, due: Due) -> None:
        """Do not start this again in this run, though the agenda goes on listing it."""
        self._once.add(due.name)

    def changed(self) -> None:
        """Hear that the books changed."""
        self._stale = True
        self.heard += 1

    def _take(self, agenda: Agenda) -> None:
        if agenda.version >= self.agenda.version:
            self.agenda = agenda

    def _start_due(self) -> None:
        for due in self.agenda.due:
            if due.name not in self._running and due.name not in self._once:
                self._running[due.name] = asyncio.create_task(self._run_one(due))

    async def _run_one(self, due: Due) -> Agenda | None:
        try:
            if due.do == ATTEND:
                await self._attend(due)
                return None
            return await self._carry_out(due)
        finally:
            self._news = True

    def _collect(self) -> None:
        """Take in what finished. A bug in a step surfaces here and stalls the run until mended."""
        for name, task in list(self._running.items()):
            if task.done():
                del self._running[name]
                agenda = task.result()
                if agenda is None:
                    self._stale = True
                else:
                    self._take(agenda)

    def _set_alarm(self, at: datetime | None) -> None:
        if self._alarm is not None:
            deadline, task = self._alarm
            if deadline == at and not task.done():
                return
            task.cancel()
            self._alarm = None
        if at is not None:
            self._alarm = (at, asyncio.create_task(self._ring(at)))

    async def _ring(self, at: datetime) -> None:
        wait = max(at - workflow.now(), timedelta(seconds=1))
        await workflow.sleep(wait, summary=self.agenda.waiting[:200] or "The next deadline")
        self._stale = True

    def _must_renew(self) -> bool:
        quiet = len(self._running) == len(self._waiting)
        return quiet and workflow.info().is_continue_as_new_suggested()

    # --- steps that park ---

    async def step(self, due: Due, call: Callable[[], Awaitable[_T]], *actions: str) -> _T | None:
        """Run a step until it succeeds, or a person settles it otherwise (then None).

        Faults that a retry may clear park after the fast retries and heal by themselves; bad
        data and broken invariants park at once and wait for a person.
        """
        heal = self._heal
        while True:
            try:
                result = await call()
            except ActivityError as fault:
                code, message, passing = _what_failed(fault)
                parked = Parked(
                    step=due.step or due.do,
                    error_code=code,
                    error=message,
                    actions=("retry", *actions),
                    heals_at=workflow.now() + heal if passing else None,
                )
                heal = min(heal * 2, LONGEST_HEAL)
                if await self.park(due, parked):
                    return None
            else:
                await self._unpark(due.step or due.do)
                return result

    async def park(self, due: Due, parked: Parked) -> bool:
        """Wait for a person, or for `heals_at`. True if a person settled it; False: try again."""
        waiting = self._waiting[parked.step] = _Waiting(parked)
        request = ParkAt(
            number=self._number,
            parked=parked,
            workflow_id=workflow.info().workflow_id,
            at=workflow.now(),
        )
        await in_books(OrderActivities.park_step, request, f"Park {parked.step}: {parked.error}")
        self._news = True
        await self._wait_for_person(waiting)
        if waiting.decision is None:
            return False
        if waiting.decision.action == "retry" and parked.error_code != NEEDS_A_PERSON:
            waiting.applied = True
            return False
        await self._decide(due, waiting.decision, waiting.decided_by)
        await self._unpark(parked.step)
        return True

    async def _wait_for_person(self, waiting: _Waiting) -> None:
        heals_at = waiting.parked.heals_at
        timeout = max(heals_at - workflow.now(), timedelta(seconds=1)) if heals_at else None
        with suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: waiting.decision is not None or waiting.cleared,
                timeout=timeout,
                timeout_summary=f"{waiting.parked.step} tries again by itself",
            )

    async def _unpark(self, step: str) -> None:
        waiting = self._waiting.pop(step, None)
        if waiting is None:
            return
        request = UnparkAt(number=self._number, step=step, at=workflow.now())
        await in_books(OrderActivities.unpark_step, request, f"{step} needs nobody any more")
        waiting.applied = True
        self._news = True

    async def _attend(self, due: Due) -> None:
        """Call a person to something the books show; it ends by itself if it comes right."""
        parked = Parked(
            step=due.step, error_code=NEEDS_A_PERSON, error=due.error, actions=due.actions
        )
        if not await self.park(due, parked):
            await self._unpark(due.step)

    def _clear_attention(self) -> None:
        wanted = {due.step for due in self.agenda.due if due.do == ATTEND}
        for step, waiting in self._waiting.items():
            if waiting.parked.error_code == NEEDS_A_PERSON and step not in wanted:
                waiting.cleared = True

    # --- people ---

    def check_parked(self, step: str, action: str) -> None:
        """Refuse a decision about a step that does not wait for one, or does not offer it."""
        waiting = self._waiting.get(step)
        if waiting is None or waiting.decision is not None:
            raise ApplicationError(f"{step} is not parked here", type="not_parked")
        if action not in waiting.parked.actions:
            offered = ", ".join(waiting.parked.actions)
            raise ApplicationError(
                f"{step} offers {offered}, not {action}", type="action_not_offered"
            )

    async def decide(self, decision: Decision, id: str) -> None:
        """Give a parked step its decision and wait until it is carried out."""
        waiting = self._waiting[decision.step]
        waiting.decision, waiting.decided_by = decision, id
        await workflow.wait_condition(lambda: waiting.applied)

    def decide_if_parked(self, decision: Decision) -> None:
        """The same by signal, for many at once: what is not parked is left alone."""
        waiting = self._waiting.get(decision.step)
        if waiting is None or waiting.decision is not None:
            return
        if decision.action in waiting.parked.actions:
            waiting.decision, waiting.decided_by = decision, str(workflow.uuid4())

    # --- what people see ---

    def _show(self) -> None:
        steps = tuple(sorted(self._waiting))
        shown = (self.agenda.stage, steps, self.agenda.promise_by)
        if shown != self._shown:
            self._upsert(shown)
            self._shown = shown
        workflow.set_current_details(self._details())

    def _upsert(self, shown: tuple[Any, ...]) -> None:
        stage, steps, promise_by = shown
        updates: list[SearchAttributeUpdate[Any]] = []
        if stage != self._shown[0]:
            updates.append(STAGE.value_set(stage))
        if steps != self._shown[1]:
            updates.append(NEEDS_ATTENTION.value_set(bool(steps)))
            updates.append(BLOCKED_STEP.value_set(list(steps)))
        if promise_by is not None and promise_by != self._shown[2]:
            updates.append(PROMISE_BY.value_set(promise_by))
        if updates:
            workflow.upsert_search_attributes(updates)

    def _details(self) -> str:
        lines = [f"**{self._title}** · {self.agenda.stage}", ""]
        lines.append(f"Waits for: {self.agenda.waiting or 'nothing'}")
        if self.agenda.wake_at is not None:
            lines.append(f"Looks again at: {self.agenda.wake_at:%Y-%m-%d %H:%M:%S} UTC")
        for step, waiting in sorted(self._waiting.items()):
            parked = waiting.parked
            lines += ["", f"### {step} needs a person", parked.error]
            if parked.heals_at is not None:
                lines.append(f"Tries again by itself at {parked.heals_at:%H:%M:%S} UTC.")
            lines.append(
                "Send the update `resolve_step` with"
                f' `{{"step": "{step}", "action": "{parked.actions[0]}", "actor": "your name",'
                f' "reason": "why"}}`; actions: {", ".join(parked.actions)}.'
            )
        return "\n".join(lines)


def _what_failed(fault: FailureError) -> tuple[str, str, bool]:
    """Code, message, and whether it may pass by itself."""
    cause = fault.cause
    if isinstance(cause, ApplicationError):
        return cause.type or "unknown", cause.message[:500], not cause.non_retryable
    return "no_answer", str(cause or fault)[:500], True
