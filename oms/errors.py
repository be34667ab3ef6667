"""Everything that can go wrong, on one page.

A refusal (a declined card, no stock, a wrong pickup code) is not here: it is a value the caller
matches on. These are faults, and each says whether asking again can clear it.

* OmsError
  x NotDone            the other side certainly did nothing
    + Unreachable        no connection, or it asked us to slow down: try again
    + BadRequest         it refused what we sent as wrong: a person must look
  x OutcomeUnknown     it may or may not have acted: ask again under the same key, never guess
  x Conflict           what is asked contradicts what was done already
    + KeyReused          one business key, two contents
"""

from datetime import timedelta
from typing import ClassVar


class OmsError(Exception):
    """Any fault of ours or of an outside party, with a stable code."""

    code: ClassVar[str] = "oms_error"
    retryable: ClassVar[bool] = False


class NotDone(OmsError):
    """The outside party certainly did nothing."""

    code = "not_done"


class Unreachable(NotDone):
    """No connection could be made, or the other side asked us to slow down."""

    code = "unreachable"
    retryable = True

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BadRequest(NotDone):
    """The other side refused our request as wrong. Sending it again cannot help."""

    code = "bad_request"


class OutcomeUnknown(OmsError):
    """The call may have taken effect: a time-out, a dropped connection, an error after sending."""

    code = "outcome_unknown"
    retryable = True


class Conflict(OmsError):
    """What is asked contradicts what was done before: a person decides."""

    code = "conflict"


class KeyReused(Conflict):
    """A business key already names another effect. The caller has a bug."""

    code = "key_reused"
