"""What goes around every activity: the context of its log lines, and its part of the metrics."""

import time
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from typing_extensions import override

from adapters.metrics import STEP_FAILURES, STEP_SECONDS
from workers.logging import order_number


class LogContext(Interceptor):
    """Binds the context of an activity to every line that is logged within it."""

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Bound(next)


class _Bound(ActivityInboundInterceptor):
    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        workflow_id = info.workflow_id or ""
        with structlog.contextvars.bound_contextvars(
            order=order_number(workflow_id),
            workflow_id=workflow_id,
            activity=info.activity_type,
            attempt=info.attempt,
        ):
            return await super().execute_activity(input)


class Measured(Interceptor):
    """Counts and times every attempt at an activity, local ones too."""

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Timed(next)


class _Timed(ActivityInboundInterceptor):
    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        begun, outcome = time.perf_counter(), "done"
        try:
            return await super().execute_activity(input)
        except BaseException as fault:
            outcome = "failed"
            STEP_FAILURES.labels(info.activity_type, _code_of(fault)).inc()
            raise
        finally:
            kind = "local" if info.is_local else "regular"
            STEP_SECONDS.labels(info.activity_type, kind, outcome).observe(
                time.perf_counter() - begun
            )


def _code_of(fault: BaseException) -> str:
    """The fault's code, or the name of its class: a word of the code, never a text."""
    return (fault.type if isinstance(fault, ApplicationError) else None) or type(fault).__name__
