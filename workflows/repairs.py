"""How a process is repaired and woken: the same for every kind of it."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from oms.agenda import Agenda
    from workflows.messages import Answer, ResolveRequest
    from workflows.steps import Process


class Repairable:
    """The handlers that every process has. Its `_process` is set before the first of them runs."""

    _process: Process

    @workflow.update(
        description='Settle a parked step: {"step": "capture:1", "action": "retry", "actor":'
        ' "you", "reason": "the provider is back"}. Actions: retry, new_attempt, done_manually,'
        " fail."
    )
    async def resolve_step(self, request: ResolveRequest) -> Answer:
        """Settle a parked step."""
        info = workflow.current_update_info()
        assert info is not None
        await self._process.decide(request.decision, info.id)
        return Answer()

    @resolve_step.validator
    def _may_resolve(self, request: ResolveRequest) -> None:
        self._process.check(request.decision)

    @workflow.signal(
        description='The same for many runs at once, by batch: {"step": "capture:1", "action":'
        ' "retry", "actor": "you", "reason": "why"}. Runs where it is not parked ignore it.'
    )
    def resolve_parked_step(self, request: ResolveRequest) -> None:
        """Settle a step if it is parked."""
        self._process.decide_if_parked(request.decision)

    @workflow.signal(
        description="Something changed in the books: look again. Harmless at any time."
    )
    def changed(self, reason: str = "", agenda: Agenda | None = None) -> None:
        """Look at the books again; the relay brings along what they say."""
        self._process.changed(agenda)
