"""The one translation of our faults to Temporal's: a code, and whether asking again can help."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError

from oms.errors import OmsError, Unreachable, told

BROKEN_INVARIANT = "broken_invariant"

BUGS = (AssertionError, LookupError, TypeError, ValueError, AttributeError, RuntimeError)


@contextmanager
def as_application_errors() -> Iterator[None]:
    """Let Temporal see a fault's code, and retry only what a retry can clear.

    A broken invariant is a bug: repeating it cannot help, so the step parks and shows it.
    """
    try:
        yield
    except OmsError as fault:
        raise ApplicationError(
            str(fault),
            type=fault.code,
            non_retryable=not fault.retryable,
            next_retry_delay=fault.retry_after if isinstance(fault, Unreachable) else None,
        ) from fault
    except BUGS as bug:
        raise ApplicationError(
            f"broken invariant: {told(bug)}",
            type=BROKEN_INVARIANT,
            non_retryable=True,
        ) from bug
