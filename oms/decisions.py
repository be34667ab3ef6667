"""A step that waits for a person, and what the person may decide."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from oms.ports import Message

Action = Literal["retry", "new_attempt", "done_manually", "fail"]
_Words = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class Parked(Message):
    """Why a step cannot go on. `heals_at`: when it tries again by itself, if it does."""

    step: str
    error_code: str
    error: str
    actions: tuple[str, ...]
    heals_at: datetime | None = None


class Decision(Message):
    """What an operator decided about a parked step.

    `retry`: the same once more, under the same key. `new_attempt`: once more under a new key.
    `done_manually`: it was done outside; `result` says what came of it (a payment's `reference`,
    a label's `tracking_number` and `carrier`). `fail`: it will not be done; the order goes on
    without. `actor` is who decided: a name operators know each other by.
    """

    step: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    action: Action
    actor: _Words
    reason: _Words
    result: dict[str, Any] | None = Field(default=None, max_length=20)


def missing_result(decision: Decision) -> str | None:
    """What a decision must say and does not, in words: a label made by hand has a number."""
    if decision.action != "done_manually" or not decision.step.startswith("label:"):
        return None
    number = (decision.result or {}).get("tracking_number")
    if isinstance(number, str) and 0 < len(number) <= 64:
        return None
    return "a label made by hand needs its `tracking_number` in `result`"
