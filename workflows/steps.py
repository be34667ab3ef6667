"""The loop every process runs, and the one place where a step may park.

A process reads its agenda from the books, starts what is due, shows what it waits for, and sleeps
until a signal, a finished step or a deadline. A step that fails for good parks: its task waits for
a person's decision (and, after an outage, tries again by itself), while everything else goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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
    from oms.decisions import Decision, Parked, missing_result
    from workflows.queues import kind_of, queue_for
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

LONGEST_CALL = timedelta(seconds=30)
"""A look-up and a call, each with the time a provider is given, and our own books around them. So
long also waits what a worker was killed with; the key makes the second try harmless."""

LONGEST_HEAL = timedelta(hours=1)
NEEDS_A_PERSON = "needs_a_person"
NO_PROGRESS = "no_progress"
DECLINED = "declined"
_SHORTEST_NAP = timedelta(seconds=1)


class _Decided:
    """A person's decision on its way into the books. `refused`: why the books did not take it."""

    def __init__(self, decision: Decision, by: str) -> None:
        self.decision, self.by = decision, by
        self.done = False
        self.refused = ""


class _Waiting:
    """A parked step. `asleep`: its task waits here; `moot`: the books want it no longer."""

    def __init__(self, parked: Parked) -> None:
        self.parked = parked
        self.decided: _Decided | None = None
        self.asleep = False
        self.moot = False


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
        task_queue=queue_for(kind_of(call), orders=workflow.info().task_queue),
        start_to_close_timeout=LONGEST_CALL,
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
        parked: Sequence[Parked] = (),
        first: Agenda | None = None,
        explained_by: str | None = None,
    ) -> None:
        """Make a process that has done nothing yet.

        `parked`: the steps that waited when an earlier run continued as this one. `first`: what
        is surely due at the beginning; without it the books are asked. `explained_by`: the command
        that tells more; without it, the one for the order.
        """
        self._explained_by = explained_by or f"oms order explain {number}"
        self.agenda = first or Agenda(stage=stage)
        self._number, self._title = number, title
        self._read, self._carry_out, self._decide = read, carry_out, decide
        self._heal = heal
        self._once: set[str] = set()
        self.heard = 0
        self._running: dict[str, tuple[Due, asyncio.Task[Agenda | None]]] = {}
        self._begun_at: dict[str, int] = {}
        self._waiting: dict[str, _Waiting] = {each.step: _Waiting(each) for each in parked}
        self._inherited = set(self._waiting)
        self._at_rest = 0
        self._stale, self._news = first is None, False
        self._alarm: tuple[datetime, asyncio.Task[None]] | None = None
        shown = workflow.info().typed_search_attributes
        self._shown: tuple[Any, ...] = (
            shown.get(STAGE),
            tuple(shown.get(BLOCKED_STEP) or ()),
            shown.get(PROMISE_BY),
        )

    # --- the loop ---

    async def run(self) -> bool:
        """Do what is due until nothing is left, ever. False: continue as new, history is long.

        Temporal's own cancellation is not heeded: it would leave goods and money where they are.
        """
        work = asyncio.create_task(self._work())
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(work)
        return work.result()

    async def _work(self) -> bool:
        while True:
            self._news = False
            if self._stale:
                self._stale = False
                self._take(await self._read())
            self._start_due()
            await self._let_go()
            self._show()
            if self.agenda.ended and not self._running and not self._stale:
                self._set_alarm(None)
                await workflow.wait_condition(workflow.all_handlers_finished)
                return True
            if self._may_renew() and history_is_long():
                return False
            self._set_alarm(self.agenda.wake_at)
            await workflow.wait_condition(lambda: self._news or self._stale)
            self._collect()

    @property
    def parked(self) -> tuple[Parked, ...]:
        """What waits for a person now, for the run that goes on after this one."""
        return tuple(waiting.parked for _, waiting in sorted(self._waiting.items()))

    def done_once(self, due: Due) -> None:
        """Do not start this again in this run, though the agenda goes on listing it."""
        self._once.add(due.name)

    def changed(self, agenda: Agenda | None = None) -> None:
        """Hear that the books changed; without `agenda` they are asked what is due now."""
        self.heard += 1
        if agenda is None:
            self._stale = True
        else:
            self._take(agenda)
            self._news = True

    def _take(self, agenda: Agenda) -> None:
        if agenda.version >= self.agenda.version:
            self.agenda = agenda

    def _start_due(self) -> None:
        busy = {_step_of(due) for due, _ in self._running.values()}
        for due in self.agenda.due:
            if due.do == ATTEND and due.name not in self._running and due.step in busy:
                continue  # the other ends first: its end would strike this one out
            if due.name not in self._running and due.name not in self._once:
                barren = self._begun_at.get(due.name) == self.agenda.version
                self._begun_at[due.name] = self.agenda.version
                task = asyncio.create_task(self._run_one(due, barren))
                self._running[due.name] = (due, task)

    async def _run_one(self, due: Due, barren: bool) -> Agenda | None:
        try:
            if barren and not await self._stop_spinning(due):
                return None
            if due.do == ATTEND:
                await self._attend(due)
                return None
            return await self._carry_out(due)
        finally:
            self._news = True

    async def _stop_spinning(self, due: Due) -> bool:
        """A step that was done, changed nothing and is due still is a bug: never spin on it."""
        parked = Parked(
            step=_step_of(due),
            error_code=NO_PROGRESS,
            error=f"{due.do} was done, changed nothing, and is still due",
            actions=("retry",),
            heals_at=workflow.now() + LONGEST_HEAL,
        )
        return await self.park(due, parked)

    def _collect(self) -> None:
        """Take in what finished. A bug in a step surfaces here and stalls the run until mended."""
        for name, (_, task) in list(self._running.items()):
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
        wait = max(at - workflow.now(), _SHORTEST_NAP)
        await workflow.sleep(wait, summary=self.agenda.waiting[:200] or "The next deadline")
        self._begun_at.clear()
        then = self.agenda.then if self.agenda.wake_at == at else ()
        if then:
            due = {"due": (*self.agenda.due, *then), "then": (), "wake_at": None}
            self.agenda = self.agenda.model_copy(update=due)
            self._news = True
        else:
            self._stale = True

    def _may_renew(self) -> bool:
        """Nothing is in the air: every step rests, and nobody waits for an answer."""
        deciding = any(waiting.decided or waiting.moot for waiting in self._waiting.values())
        rests = len(self._running) == self._at_rest
        return rests and not deciding and workflow.all_handlers_finished()

    async def rest(self, until: Callable[[], bool], longest: timedelta | None, why: str) -> None:
        """Let a step wait where a later run may take over. Ends in time, or at `longest`."""
        self._at_rest += 1
        try:
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(until, timeout=longest, timeout_summary=why)
        finally:
            self._at_rest -= 1

    # --- steps that park ---

    async def step(self, due: Due, call: Callable[[], Awaitable[_T]], *actions: str) -> _T | None:
        """Run a step until it succeeds; None if a person settled it otherwise or it fell away.

        Faults that a retry may clear park after the fast retries and heal by themselves; bad
        data and broken invariants park at once and wait for a person.
        """
        name, heal = _step_of(due), self._heal
        if name in self._inherited:
            self._inherited.discard(name)
            if not await self.park(due, self._waiting[name].parked):
                return None
        while True:
            try:
                result = await call()
            except ActivityError as fault:
                code, message, passing = _what_failed(fault)
                parked = Parked(
                    step=name,
                    error_code=code,
                    error=message,
                    actions=("retry", *actions),
                    heals_at=workflow.now() + heal if passing else None,
                )
                heal = min(heal * 2, LONGEST_HEAL)
                if not await self.park(due, parked):
                    return None
            else:
                await self._unpark(name)
                return result

    async def park(self, due: Due, parked: Parked) -> bool:
        """Wait for a person, for `heals_at`, or until the agenda lists it no longer.

        True: try again (it stays parked until that succeeds). False: it is settled or gone. A
        decision that came while it was tried again is carried out if that failed.
        """
        waiting = self._waiting.setdefault(parked.step, _Waiting(parked))
        waiting.parked, waiting.moot = parked, False
        request = ParkAt(
            number=self._number,
            parked=parked,
            workflow_id=workflow.info().workflow_id,
            at=workflow.now(),
        )
        await in_books(OrderActivities.park_step, request, f"Park {parked.step}: {parked.error}")
        self._news = True
        while True:
            await self._wait_for_person(waiting)
            decided = waiting.decided
            if decided is None and not waiting.moot:
                return True
            if decided is not None and not await self._apply(due, waiting, decided):
                if decided.refused:
                    continue
                return True
            await self._unpark(parked.step)
            return False

    async def _apply(self, due: Due, waiting: _Waiting, decided: _Decided) -> bool:
        """Carry out a decision. False if the step goes on: tried again, or the books could not."""
        in_books_first = due.do == ATTEND or waiting.parked.error_code == DECLINED
        if decided.decision.action != "retry" or in_books_first:
            try:
                await self._decide(due, decided.decision, decided.by)
                return True
            except ActivityError as fault:
                decided.refused = _what_failed(fault)[1]
        waiting.decided, decided.done = None, True
        return False

    async def _wait_for_person(self, waiting: _Waiting) -> None:
        heals_at = waiting.parked.heals_at
        waiting.asleep = True
        await self.rest(
            lambda: waiting.decided is not None or waiting.moot,
            max(heals_at - workflow.now(), _SHORTEST_NAP) if heals_at else None,
            f"{waiting.parked.step} tries again by itself",
        )
        waiting.asleep = False

    async def _unpark(self, step: str) -> None:
        """Strike a parked step out, also one that a run before a reset left in the books."""
        waiting = self._waiting.get(step)
        if waiting is None and step not in self.agenda.parked:
            return
        request = UnparkAt(number=self._number, step=step, at=workflow.now())
        await in_books(OrderActivities.unpark_step, request, f"{step} needs nobody any more")
        self._waiting.pop(step, None)
        if waiting is not None and waiting.decided is not None:
            waiting.decided.done = True
        self._news = True

    async def _attend(self, due: Due) -> None:
        """Call a person to something the books show; it ends by itself if it comes right."""
        parked = Parked(
            step=due.step, error_code=NEEDS_A_PERSON, error=due.error, actions=due.actions
        )
        await self.park(due, parked)

    async def _let_go(self) -> None:
        """Stop waiting for what the agenda lists no longer, whoever brought that about."""
        wanted = {_step_of(due) for due in self.agenda.due}
        busy = {_step_of(due) for due, _ in self._running.values()}
        for step in sorted({*self._waiting, *self.agenda.parked} - wanted):
            waiting = self._waiting.get(step)
            if waiting is not None and waiting.asleep:
                waiting.moot = True
            elif step not in busy:
                await self._unpark(step)
                self._stale = True

    # --- people ---

    def check(self, decision: Decision) -> None:
        """Refuse a decision about a step that does not wait for one, or does not offer it.

        Raises:
            ApplicationError: `not_parked`, `action_not_offered` or `result_missing`.
        """
        waiting = self._waiting.get(decision.step)
        if waiting is None or waiting.decided is not None:
            raise ApplicationError(f"{decision.step} is not parked here", type="not_parked")
        if decision.action not in waiting.parked.actions:
            offered = ", ".join(waiting.parked.actions)
            raise ApplicationError(
                f"{decision.step} offers {offered}, not {decision.action}",
                type="action_not_offered",
            )
        if lacks := missing_result(decision):
            raise ApplicationError(lacks, type="result_missing")

    async def decide(self, decision: Decision, id: str) -> None:
        """Give a parked step its decision and wait until it is carried out.

        Raises:
            ApplicationError: `not_applied`, the books could not; the step stays parked.
        """
        decided = self._waiting[decision.step].decided = _Decided(decision, id)
        await workflow.wait_condition(lambda: decided.done)
        if decided.refused:
            raise ApplicationError(decided.refused, type="not_applied")

    def decide_if_parked(self, decision: Decision) -> None:
        """The same by signal, for many at once: what is not parked is left alone."""
        with suppress(ApplicationError):
            self.check(decision)
            self._waiting[decision.step].decided = _Decided(decision, str(workflow.uuid4()))

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
        lines = [f"**{self._title}** · {self.agenda.stage}"]
        lines.append(f"Waits for: {self.agenda.waiting or 'nothing'}")
        if self.agenda.wake_at is not None:
            lines.append(f"Looks again at: {self.agenda.wake_at:%Y-%m-%d %H:%M:%S} UTC")
        if workflow.cancellation_reason() is not None:
            lines.append("Cancel in this UI does nothing here: the API's `cancel` does it.")
        for step, waiting in sorted(self._waiting.items()):
            parked = waiting.parked
            lines += [f"### {step} needs a person", parked.error]
            if parked.heals_at is not None:
                lines.append(f"Tries again by itself at {parked.heals_at:%H:%M:%S} UTC.")
            lines += [
                "Send the update `resolve_step` with",
                f'`{{"step": "{step}", "action": "{parked.actions[0]}",'
                ' "actor": "your name", "reason": "why"}`',
                f"Actions: {', '.join(parked.actions)}.",
            ]
        # The UI cuts the last line off: let it be one that says nothing new.
        lines.append(f"`{self._explained_by}` tells more.")
        return "  \n".join(lines)  # Markdown: a line each


def history_is_long() -> bool:
    """Whether the server would rather see a new run."""
    return workflow.info().is_continue_as_new_suggested()


def _step_of(due: Due) -> str:
    """The name under which it parks."""
    return due.step or due.do


def _what_failed(fault: FailureError) -> tuple[str, str, bool]:
    """Code, message, and whether it may pass by itself."""
    cause = fault.cause
    if isinstance(cause, ApplicationError):
        return cause.type or "unknown", cause.message[:500], not cause.non_retryable
    return "no_answer", str(cause or fault)[:500], True
