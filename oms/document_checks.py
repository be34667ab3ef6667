"""What is wrong with a document of rules: every error at once, each with a pointer to where it is.

The same for all documents that people write and the system keeps in versions: routing rule sets
(`oms.rule_checks`) and the return policy (`oms.return_policy_checks`).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from oms.fields import ID_PATTERN, Flaw, Wire
from oms.flaws import escaped, flaw_of, nearest, quoted
from oms.return_policy import REASON_PATTERN
from oms.rules import FACTOR_PATTERN, RATE_PATTERN

MOST_TOLD = 1_000
"""So many wrong fields are listed; who has more looks at them in turn."""

Document = TypeVar("Document", bound=Wire)


@dataclass(frozen=True, slots=True)
class Reference:
    """Something a document names. `kind`: a location, channel, carrier, sku, group or tag."""

    kind: str
    id: str
    pointer: str


def read_document(
    model: type[Document], document: Any, reserved: Collection[str]
) -> tuple[Document | None, list[Flaw]]:
    """Read a document, and tell all that is wrong with its fields.

    `document`: JSON's types, as they were written. `reserved`: names that the system adds.
    """
    try:
        return model.model_validate(document), []
    except ValidationError as fault:
        errors = [each for each in fault.errors(include_url=False) if not _miscounted(each)]
    flaws = [_told(error, document, model, reserved) for error in errors[:MOST_TOLD]]
    if untold := len(errors) - len(flaws):
        detail = f"{untold} more errors are not listed."
        flaws.append(Flaw(pointer="", code="too_many", detail=detail))
    return None, flaws


def references(
    value: Any,
    lists: Mapping[str, str],
    singles: Mapping[str, str] = MappingProxyType({}),
    pointer: str = "",
) -> Iterator[Reference]:
    """What a document names, also where other parts of it are wrong.

    `lists`, `singles`: fields that hold ids, or one id, and the kind of what they name.
    """
    if isinstance(value, list):
        for i, child in enumerate(value):
            yield from references(child, lists, singles, f"{pointer}/{i}")
    if not isinstance(value, dict):
        return
    for name, child in value.items():
        here = f"{pointer}/{escaped(name)}"
        if name in lists and isinstance(child, list):
            for i, id in enumerate(child):
                if isinstance(id, str) and id.isprintable():
                    yield Reference(lists[name], id, f"{here}/{i}")
        elif name in singles and isinstance(child, str):
            if child.isprintable():
                yield Reference(singles[name], child, here)
        else:
            yield from references(child, lists, singles, here)


def sound_parts(document: dict[str, Any], name: str, model: type[Document]) -> dict[int, Document]:
    """The parts of a list that are right for themselves, by their place in it."""
    found = {}
    listed = document.get(name)
    for i, each in enumerate(listed[:MOST_TOLD] if isinstance(listed, list) else ()):
        try:
            found[i] = model.model_validate(each)
        except ValidationError:
            continue  # told already
    return found


def repeated_names(document: dict[str, Any], name: str) -> Iterator[Flaw]:
    """Rules of a list that bear the name of an earlier one."""
    listed, first = document.get(name), dict[str, int]()
    for i, rule in enumerate(listed[:MOST_TOLD] if isinstance(listed, list) else ()):
        said = rule.get("name") if isinstance(rule, dict) else None
        if isinstance(said, str) and first.setdefault(said, i) != i:
            detail = f"Rule {first[said]} has this name; decisions are told by it."
            yield Flaw(pointer=f"/{name}/{i}/name", code="repeated", detail=detail)


def covers(wide: Sequence[str] | None, narrow: Sequence[str] | None) -> bool:
    """Whether a list lets in all that another does; without a list, everything is."""
    return wide is None or (narrow is not None and set(narrow) <= set(wide))


# --- words for what pydantic finds ----------------------------------------------------------


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in _models_in(field.annotation):
            yield from _names(inner)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


@cache
def _fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(_names(model))


def _miscounted(error: ErrorDetails) -> bool:
    """Pydantic counts only the right items of a tuple: where all are wrong it calls it empty."""
    return error["type"] == "too_short" and bool(error["input"])


_WANTED = {
    "model_type": "Fields are",
    "model_attributes_type": "Fields are",
    "dict_type": "Fields are",
    "tuple_type": "A list is",
    "string_type": "A text is",
    "int_type": "A whole number is",
    "bool_type": "`true` or `false` is",
    "too_small": "More than 0 is",
    "greater_than_equal": "{ge} or more is",
    "less_than_equal": "{le} at most is",
    "too_short": "{min_length} or more are",
    "too_long": "{max_length} at most are",
    "too_many": "{most} at most are",
    "string_too_short": "{min_length} characters or more are",
    "string_too_long": "{max_length} characters at most are",
}
_PATTERNS = {
    REASON_PATTERN: "no reason: small letters, digits and `_`, at most 40",
    ID_PATTERN: "no id: letters, digits, `.`, `_` and `-`, at most 64",
    FACTOR_PATTERN: 'no decimal number of 0 or more with at most 6 places, like "1.25"',
    RATE_PATTERN: 'no decimal number of 0 or more with at most 9 places, like "1.25"',
}


def _words(error: ErrorDetails, model: type[BaseModel]) -> str | None:
    """Say what is wrong and quote it; such a document holds nothing personal."""
    value, context, kind = error.get("input"), error.get("ctx", {}), error["type"]
    if kind in _WANTED:
        return f"{_WANTED[kind].format(**context)} wanted, not {quoted(value)}."
    match kind:
        case "missing":
            return f"`{error['loc'][-1]}` is missing."
        case "extra_forbidden":
            return "There is no such field." + _meant(error["loc"][-1], _fields(model))
        case "literal_error":
            possible = re.findall(r"'([^']*)'", context["expected"]) or ["true"]
            return f"{quoted(value)} is none of {', '.join(possible)}." + _meant(value, possible)
        case "string_pattern_mismatch":
            return f"{quoted(value)} is {_PATTERNS.get(context['pattern'], 'not allowed')}."
        case "wrong_type":
            return f'{quoted(value)} must stand in quotes ("{value}"), so that it is not rounded.'
        case "country_unknown" | "currency_unknown":
            return f"{quoted(value)} is {error['msg']}."
    return None


def _meant(value: object, possible: Iterable[str]) -> str:
    meant = nearest(value, possible) if isinstance(value, str) else None
    return f" Did you mean `{meant}`?" if meant else ""


def _told(
    error: ErrorDetails, document: Any, model: type[BaseModel], reserved: Collection[str]
) -> Flaw:
    flaw = flaw_of(error, document, _words(error, model))
    if flaw.code == "unknown_field" and flaw.pointer.removeprefix("/") in reserved:
        return Flaw(pointer=flaw.pointer, code="reserved_name", detail="The system sets it.")
    return flaw
