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
  x KeyMissing         Temporal holds what we sealed with a key that this process was not given
  x PayloadDamaged     what Temporal holds is not what we sealed
  x BadSetting         a process was told something that it cannot start with
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


class KeyMissing(OmsError):
    """A payload was sealed with a key that this process lacks. Given the key, it goes on."""

    code = "codec_key_missing"
    retryable = True

    def __init__(self, id: str) -> None:
        super().__init__(f"the codec key {id} is missing: add it to OMS_CODEC_KEYS and start again")
        self.id = id


class PayloadDamaged(OmsError):
    """A sealed payload was changed, or its key id names another key than it was sealed with."""

    code = "payload_damaged"

    def __init__(self, id: str) -> None:
        super().__init__(f"a payload is not what was sealed with the codec key {id}")
        self.id = id


class BadSetting(OmsError):
    """A setting cannot be used. The message names it, and never repeats a secret."""

    code = "bad_setting"


_OURS = ("oms", "workflows", "activities", "adapters", "workers", "api")


def told(fault: BaseException) -> str:
    """Say of a fault what may stand in a history, a log line or a parked step.

    A fault of ours and a broken invariant speak in words that we wrote. Any other may quote what
    it tripped over, a name or a street: of it only the kind is told, and where in our code it was.
    """
    if isinstance(fault, OmsError | AssertionError):
        return str(fault)
    kind, place = type(fault).__name__, _place(fault)
    return f"{kind} in {place}" if place else kind


def _place(fault: BaseException) -> str:
    """The innermost of our own modules that the fault came through, with the line."""
    place, step = "", fault.__traceback__
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in _OURS:
            place = f"{module}, line {step.tb_lineno}"
        step = step.tb_next
    return place
