"""What is wrong with a rule set: every error at once, each with a pointer to where it stands.

Beside wrong fields: what can never take effect, because something before it takes everything or
because it fits nothing. Only certain cases are told; places and articles are not looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from oms.fields import ID_PATTERN, Flaw, Wire
from oms.flaws import escaped, flaw_of, nearest, quoted
from oms.rules import (
    FACTOR_PATTERN,
    RATE_PATTERN,
    Cost,
    From,
    Lines,
    Never,
    Rule,
    RuleSet,
    Span,
    When,
)

MOST_TOLD = 1_000
"""So many wrong fields are listed; who has more looks at them in turn."""

RESERVED = ("id", "version", "active", "created_at")
"""What the system adds to a rule set when it is read."""

NAMED = {
    "locations": "location",
    "channels": "channel",
    "carriers": "carrier",
    "skus": "sku",
}
"""Fields that name things which must exist, and what those are."""

LOOSE = {"groups": "group", "tags": "tag", "without_tags": "tag"}
"""Fields that name what nothing may have yet."""

Part = TypeVar("Part", bound=Wire)


@dataclass(frozen=True, slots=True)
class Reference:
    """Something a rule set names. `kind`: one of the values of `NAMED` and `LOOSE`."""

    kind: str
    id: str
    pointer: str


def read_rule_set(document: Any) -> RuleSet | tuple[Flaw, ...]:
    """Read a rule set, or tell every error. `document`: JSON's types, as they were written."""
    flaws: list[Flaw] = []
    rule_set = None
    try:
        rule_set = RuleSet.model_validate(document)
    except ValidationError as fault:
        errors = [each for each in fault.errors(include_url=False) if not _miscounted(each)]
        flaws = [_told(error, document) for error in errors[:MOST_TOLD]]
        if untold := len(errors) - len(flaws):
            detail = f"{untold} more errors are not listed."
            flaws.append(Flaw(pointer="", code="too_many", detail=detail))
    if isinstance(document, dict):
        flaws += _nonsense(document)
    return rule_set if rule_set is not None and not flaws else tuple(flaws)


def references(document: Any) -> list[Reference]:
    """What the document names, also where other parts of it are wrong."""
    found = _references(document, "")
    return [each for each in found if each.kind in _LOOSE or re.fullmatch(ID_PATTERN, each.id)]


_LOOSE = frozenset(LOOSE.values())


def _references(value: Any, pointer: str) -> Iterator[Reference]:
    if isinstance(value, list):
        for i, child in enumerate(value):
            yield from _references(child, f"{pointer}/{i}")
    if not isinstance(value, dict):
        return
    for name, child in value.items():
        here = f"{pointer}/{escaped(name)}"
        kind = (NAMED | LOOSE).get(name)
        if kind is not None and isinstance(child, list):
            for i, id in enumerate(child):
                if isinstance(id, str) and id.isprintable():
                    yield Reference(kind, id, f"{here}/{i}")
        else:
            yield from _references(child, here)


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


_FIELDS = frozenset(_names(RuleSet))


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
    ID_PATTERN: "no id: letters, digits, `.`, `_` and `-`, at most 64",
    FACTOR_PATTERN: 'no decimal number of 0 or more with at most 6 places, like "1.25"',
    RATE_PATTERN: 'no decimal number of 0 or more with at most 9 places, like "1.25"',
}


def _words(error: ErrorDetails) -> str | None:
    """Say what is wrong and quote it; a rule set holds nothing personal."""
    value, context, kind = error.get("input"), error.get("ctx", {}), error["type"]
    if kind in _WANTED:
        return f"{_WANTED[kind].format(**context)} wanted, not {quoted(value)}."
    match kind:
        case "missing":
            return f"`{error['loc'][-1]}` is missing."
        case "extra_forbidden":
            return "There is no such field." + _meant(error["loc"][-1], _FIELDS)
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


def _told(error: ErrorDetails, document: Any) -> Flaw:
    flaw = flaw_of(error, document, _words(error))
    if flaw.code == "unknown_field" and flaw.pointer.removeprefix("/") in RESERVED:
        return Flaw(pointer=flaw.pointer, code="reserved_name", detail="The system sets it.")
    return flaw


# --- what can never take effect -------------------------------------------------------------


def _nonsense(document: dict[str, Any]) -> Iterator[Flaw]:
    rules = _parts(document, "rules", Rule)
    costs = _parts(document, "costs", Cost)
    never = _parts(document, "never", Never)
    yield from _repeated(document.get("rules"))
    yield from _rules_never_reached(rules)
    yield from _costs_never_reached(costs)
    for at, condition in _conditions(rules, never):
        if _fits_nothing(condition):
            yield Flaw(pointer=at, code="fits_nothing", detail="It lets in what it shuts out.")
    for i, each in never.items():
        if (each.when, each.lines, each.from_) == (When(), Lines(), From()):
            detail = "It keeps every line of every order from every place."
            yield Flaw(pointer=f"/never/{i}", code="fits_nothing", detail=detail)
    for i, rule in rules.items():
        yield from _places_shut_out(rule, f"/rules/{i}")
    currency, rates = document.get("currency"), document.get("rates")
    if isinstance(currency, str) and isinstance(rates, dict) and currency in rates:
        detail = f"{currency} is the rule set's own currency."
        yield Flaw(pointer=f"/rates/{escaped(currency)}", code="not_allowed", detail=detail)


def _parts(document: dict[str, Any], name: str, model: type[Part]) -> dict[int, Part]:
    """The parts that are right for themselves, by their place in the list."""
    found = {}
    listed = document.get(name)
    for i, each in enumerate(listed[:MOST_TOLD] if isinstance(listed, list) else ()):
        try:
            found[i] = model.model_validate(each)
        except ValidationError:
            continue  # told already
    return found


def _conditions(
    rules: Mapping[int, Rule], never: Mapping[int, Never]
) -> Iterator[tuple[str, When | Lines]]:
    for name, parts in (("rules", rules), ("never", never)):
        for i, part in parts.items():
            yield f"/{name}/{i}/when", part.when
            yield f"/{name}/{i}/lines", part.lines


def _repeated(rules: Any) -> Iterator[Flaw]:
    first: dict[str, int] = {}
    for i, rule in enumerate(rules[:MOST_TOLD] if isinstance(rules, list) else ()):
        name = rule.get("name") if isinstance(rule, dict) else None
        if isinstance(name, str) and first.setdefault(name, i) != i:
            detail = f"Rule {first[name]} has this name; decisions are told by it."
            yield Flaw(pointer=f"/rules/{i}/name", code="repeated", detail=detail)


def _rules_never_reached(rules: Mapping[int, Rule]) -> Iterator[Flaw]:
    takers: list[Rule] = []
    for i, rule in rules.items():
        taker = next((each for each in takers if _takes(each, rule)), None)
        if taker is not None:
            detail = f"{quoted(taker.name)} takes what it is about, and leaves none to the next."
            yield Flaw(pointer=f"/rules/{i}", code="never_reached", detail=detail)
        elif rule.left != "next_rule":
            takers.append(rule)


def _costs_never_reached(costs: Mapping[int, Cost]) -> Iterator[Flaw]:
    before: list[tuple[int, Cost]] = []
    for i, cost in costs.items():
        for j, other in before:
            if _holds_all_of(other.from_, cost.from_) and _covers(other.countries, cost.countries):
                detail = f"Row {j} fits wherever it does, and the first that fits counts."
                yield Flaw(pointer=f"/costs/{i}", code="never_reached", detail=detail)
                break
        else:
            before.append((i, cost))


def _places_shut_out(rule: Rule, at: str) -> Iterator[Flaw]:
    if rule.except_ is not None and _holds_all_of(rule.except_, rule.from_):
        detail = "It takes away every place that `from` allows."
        yield Flaw(pointer=f"{at}/except", code="fits_nothing", detail=detail)
        return
    for i, group in enumerate(rule.prefer):
        here = f"{at}/prefer/{i}"
        before = (each for each in rule.prefer[:i] if _holds_all_of(each, group))
        if _nothing_in_both(rule.from_, group):
            detail = "`from` allows none of these places."
            yield Flaw(pointer=here, code="fits_nothing", detail=detail)
        elif rule.except_ is not None and _holds_all_of(rule.except_, group):
            detail = "`except` takes all of these places away."
            yield Flaw(pointer=here, code="fits_nothing", detail=detail)
        elif next(before, None) is not None:
            detail = "A group before it holds all of these places."
            yield Flaw(pointer=here, code="never_reached", detail=detail)


# --- comparing conditions -------------------------------------------------------------------

_Values = Sequence[str] | None
_ONE_OF_A_PLACE = ("kinds", "locations", "countries")


def _takes(earlier: Rule, later: Rule) -> bool:
    """Whether all that the later rule is about is taken by the earlier one."""
    a, b = earlier.when, later.when
    return (
        all(_covers(getattr(a, n), getattr(b, n)) for n in ("channels", "methods", "segments"))
        and _covers(a.countries, b.countries)
        and _leaves_in(a.except_countries, b)
        and _spans(a.value_minor, b.value_minor)
        and _covers(earlier.lines.skus, later.lines.skus)
        and _covers(earlier.lines.tags, later.lines.tags)
        and set(earlier.lines.without_tags or ()) <= set(later.lines.without_tags or ())
    )


def _covers(wide: _Values, narrow: _Values) -> bool:
    return wide is None or (narrow is not None and set(narrow) <= set(wide))


def _leaves_in(shut_out: _Values, when: When) -> bool:
    """Whether no country that a condition lets in is among those shut out."""
    wanted = set(shut_out or ()) - set(when.except_countries or ())
    return not wanted or (when.countries is not None and not wanted & set(when.countries))


def _spans(wide: Span | None, narrow: Span | None) -> bool:
    if wide is None:
        return True
    if narrow is None:
        return False
    low = wide.at_least in (None, 0) or (
        narrow.at_least is not None and narrow.at_least >= (wide.at_least or 0)
    )
    high = wide.at_most is None or (narrow.at_most is not None and narrow.at_most <= wide.at_most)
    return low and high


def _fits_nothing(condition: When | Lines) -> bool:
    if isinstance(condition, When):
        let_in, shut_out = condition.countries, condition.except_countries
    else:
        let_in, shut_out = condition.tags, condition.without_tags
    return let_in is not None and shut_out is not None and set(let_in) <= set(shut_out)


def _holds_all_of(wide: From, narrow: From) -> bool:
    """Whether every place that the narrow filter allows is allowed by the wide one."""
    return (
        all(
            _covers(getattr(wide, name), getattr(narrow, name))
            for name in ("kinds", "groups", "locations", "countries", "carriers")
        )
        and wide.same_country in (None, narrow.same_country)
        and (
            wide.within_km is None
            or (narrow.within_km is not None and narrow.within_km <= wide.within_km)
        )
        and wide.has_capacity in (None, narrow.has_capacity)
    )


def _nothing_in_both(one: From, other: From) -> bool:
    """Whether certainly no place is allowed by both. A place has one kind, id and country."""
    pairs = ((getattr(one, name), getattr(other, name)) for name in _ONE_OF_A_PLACE)
    apart = any(a is not None and b is not None and not set(a) & set(b) for a, b in pairs)
    return apart or {one.same_country, other.same_country} == {True, False}
