"""What is wrong with a message, told by our own names, so that an upgrade never renames a code."""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from oms.fields import Flaw

_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "union_tag_invalid": "unknown_kind",
    "union_tag_not_found": "unknown_kind",
    "literal_error": "not_allowed",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "too_short": "too_few",
    "too_long": "too_many",
    "greater_than_equal": "too_small",
    "greater_than": "too_small",
    "less_than_equal": "too_large",
    "less_than": "too_large",
    "int_parsing_size": "too_large",
    "string_pattern_mismatch": "not_allowed",
}
_OWN = {
    "country_unknown",
    "currency_unknown",
    "card_number",
    "time_zone_unknown",
    "repeated",
    "reserved_name",
    "time_invalid",
    "not_allowed",
    "required",
    "too_many",
    "too_small",
    "wrong_type",
}


def flaws_of(fault: ValidationError, document: Any) -> list[Flaw]:
    """Tell each error with a pointer into `document`, quoting nothing of it: it may be personal."""
    errors = fault.errors(include_url=False, include_context=False, include_input=False)
    return [flaw_of(error, document) for error in errors]


def flaw_of(error: ErrorDetails, document: Any, detail: str | None = None) -> Flaw:
    """Tell one error; `detail` in words of its own, where the caller has better ones."""
    return Flaw(
        pointer=pointer_to(error["loc"], document),
        code=_code(error["type"]),
        detail=error["msg"] if detail is None else detail,
    )


def pointer_to(loc: Sequence[int | str], document: Any) -> str:
    """Write Pydantic's location as a JSON pointer into what was sent.

    A location also names the kinds that were chosen on the way, and says `[key]` behind a name that
    is wrong itself; these are no part of the body.
    """
    pointer, here = "", document
    for i, part in enumerate(loc):
        inside = isinstance(here, dict) and part in here
        if inside or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
        elif i < len(loc) - 1 or part == "[key]":
            continue
        pointer += f"/{escaped(str(part))}"
    return pointer


def escaped(name: str) -> str:
    """One step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant."""
    return next(iter(difflib.get_close_matches(word, sorted(words), n=1, cutoff=0.7)), None)


def quoted(value: object) -> str:
    """A value as it stands in a message: as JSON, and cut where it is long."""
    words = json.dumps(value, ensure_ascii=False, default=str)
    return words if len(words) <= 60 else f"{words[:57]}…"


def _code(kind: str) -> str:
    if kind in _OWN:
        return kind
    return _CODES.get(kind, "wrong_type" if kind.endswith(("_type", "_parsing")) else "invalid")
