"""What is wrong with a rule set: every error at once, each with a pointer to where it stands.

Beside wrong fields: what can never take effect, because something before it takes everything or
because it fits nothing. Only certain cases are told; places and articles are not looked at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oms import document_checks
from oms.document_checks import Reference, covers, read_document, repeated_names, sound_parts
from oms.fields import ID_PATTERN, Flaw
from oms.flaws import escaped, quoted
from oms.rules import Cost, From, Lines, Never, Rule, RuleSet, Span, When

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


def read_rule_set(document: Any) -> RuleSet | tuple[Flaw, ...]:
    """Read a rule set, or tell every error. `document`: JSON's types, as they were written."""
    rule_set, flaws = read_document(RuleSet, document, RESERVED)
    if isinstance(document, dict):
        flaws += _nonsense(document)
    return rule_set if rule_set is not None and not flaws else tuple(flaws)


def references(document: Any) -> list[Reference]:
    """What the document names, also where other parts of it are wrong."""
    found = document_checks.references(document, NAMED | LOOSE)
    return [each for each in found if each.kind in _LOOSE or re.fullmatch(ID_PATTERN, each.id)]


_LOOSE = frozenset(LOOSE.values())


# --- what can never take effect -------------------------------------------------------------


def _nonsense(document: dict[str, Any]) -> Iterator[Flaw]:
    rules = sound_parts(document, "rules", Rule)
    costs = sound_parts(document, "costs", Cost)
    never = sound_parts(document, "never", Never)
    yield from repeated_names(document, "rules")
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


def _conditions(
    rules: Mapping[int, Rule], never: Mapping[int, Never]
) -> Iterator[tuple[str, When | Lines]]:
    for name, parts in (("rules", rules), ("never", never)):
        for i, part in parts.items():
            yield f"/{name}/{i}/when", part.when
            yield f"/{name}/{i}/lines", part.lines


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
            if _holds_all_of(other.from_, cost.from_) and covers(other.countries, cost.countries):
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
        all(covers(getattr(a, n), getattr(b, n)) for n in ("channels", "methods", "segments"))
        and covers(a.countries, b.countries)
        and _leaves_in(a.except_countries, b)
        and _spans(a.value_minor, b.value_minor)
        and covers(earlier.lines.skus, later.lines.skus)
        and covers(earlier.lines.tags, later.lines.tags)
        and set(earlier.lines.without_tags or ()) <= set(later.lines.without_tags or ())
    )


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
            covers(getattr(wide, name), getattr(narrow, name))
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
