"""What is wrong with a return policy: every error at once, each with a pointer to where it stands.

Beside wrong fields: rules that can never take effect, amounts without a currency, and deadlines in
the wrong order. Only certain cases are told; places and articles are not looked at.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from oms import document_checks
from oms.document_checks import Reference, covers, read_document, repeated_names, sound_parts
from oms.fields import ID_PATTERN, Flaw, Wire
from oms.flaws import quoted
from oms.return_policy import (
    REASON_PATTERN,
    RestockRule,
    ReturnAlert,
    ReturnPolicy,
    ReturnRule,
    ReturnTimes,
)
from oms.words import count_of

RESERVED = ("version", "actor", "created_at")
"""What the system adds to a policy when it is read."""

_NAMED = {"locations": "location", "channels": "channel", "skus": "sku"}
_NAMED_ALONE = {"to": "location", "return_to": "location"}
_LOOSE = {"groups": "group", "tags": "tag"}


def read_policy(document: Any) -> ReturnPolicy | tuple[Flaw, ...]:
    """Read a policy, or tell every error. `document`: JSON's types, as they were written."""
    policy, flaws = read_document(ReturnPolicy, document, RESERVED)
    if isinstance(document, dict):
        flaws += _nonsense(document)
    return policy if policy is not None and not flaws else tuple(flaws)


def named(document: Any) -> list[Reference]:
    """What the document names that must exist: locations, channels and articles."""
    found = document_checks.references(document, _NAMED, _NAMED_ALONE)
    return [each for each in found if re.fullmatch(ID_PATTERN, each.id)]


def loosely_named(document: Any) -> list[Reference]:
    """What the document names that nothing may have yet: groups and tags."""
    return list(document_checks.references(document, _LOOSE))


def policy_notes(policy: ReturnPolicy) -> list[Flaw]:
    """What may be meant, and may be a slip."""
    notes = []
    if not any(_when_said(rule.when) == {} for rule in policy.rules):
        detail = "What no rule fits is a final sale: the last rule is not for everything."
        notes.append(Flaw(pointer="/rules", code="rest_is_final", detail=detail))
    for i, rule in enumerate(policy.rules):
        if rule.returnable and rule.window_days == 0:
            detail = "Nothing may come back once it is delivered."
            notes.append(
                Flaw(pointer=f"/rules/{i}/window_days", code="never_returnable", detail=detail)
            )
    return notes


def _nonsense(document: dict[str, Any]) -> Iterator[Flaw]:
    rules = sound_parts(document, "rules", ReturnRule)
    restock = sound_parts(document, "restock", RestockRule)
    alerts = sound_parts(document, "alerts", ReturnAlert)
    yield from repeated_names(document, "rules")
    yield from repeated_names(document, "restock")
    yield from _never_reached(rules, "rules")
    yield from _never_reached(restock, "restock")
    for name, parts in (("rules", rules), ("restock", restock), ("alerts", alerts)):
        for i, part in parts.items():
            yield from _no_reasons(part.when, f"/{name}/{i}/when/reasons")
    for i, rule in rules.items():
        yield from _reasons_shut_out(rule, f"/rules/{i}")
        if document.get("currency") is None:
            yield from _amounts_of_nothing(rule, f"/rules/{i}")
    for i, each in restock.items():
        yield from _nowhere_else(each, f"/restock/{i}")
    yield from _times_crossed(document.get("times"))


def _never_reached(rules: Mapping[int, ReturnRule | RestockRule], name: str) -> Iterator[Flaw]:
    before: list[ReturnRule | RestockRule] = []
    for i, rule in rules.items():
        taker = next((each for each in before if _takes(each.when, rule.when)), None)
        if taker is None:
            before.append(rule)
            continue
        detail = f"{quoted(taker.name)} fits all that it is about, and the first that fits counts."
        yield Flaw(pointer=f"/{name}/{i}", code="never_reached", detail=detail)


def _takes(wide: Wire, narrow: Wire) -> bool:
    """Whether all that one condition fits is fitted by another one."""
    said = _when_said(narrow)
    return all(covers(values, said.get(name)) for name, values in _when_said(wide).items())


def _when_said(when: Wire) -> dict[str, tuple[str, ...]]:
    return {name: values for name, values in when if values is not None}


def _no_reasons(when: Wire, at: str) -> Iterator[Flaw]:
    for i, reason in enumerate(_when_said(when).get("reasons", ())):
        if not re.fullmatch(REASON_PATTERN, reason):
            detail = f"{quoted(reason)} is no reason: small letters, digits and `_`, at most 40."
            yield Flaw(pointer=f"{at}/{i}", code="not_allowed", detail=detail)


def _reasons_shut_out(rule: ReturnRule, at: str) -> Iterator[Flaw]:
    """Reasons that need a photo or a person, in a rule that is about other ones."""
    if rule.when.reasons is None:
        return
    for name, reasons in (("photo_for", rule.photo_for), ("approval_for", rule.approval_for)):
        for i, reason in enumerate(reasons):
            if reason not in rule.when.reasons:
                detail = f"The rule is not about {reason}: `when.reasons` leaves it out."
                yield Flaw(pointer=f"{at}/{name}/{i}", code="fits_nothing", detail=detail)


def _amounts_of_nothing(rule: ReturnRule, at: str) -> Iterator[Flaw]:
    wanted = [f"{at}/fees_minor/{via}" for via, amount in rule.fees_minor.items() if amount]
    if rule.approval_above_minor is not None:
        wanted.append(f"{at}/approval_above_minor")
    for pointer in wanted:
        detail = "In which money? The policy names no `currency`."
        yield Flaw(pointer=pointer, code="currency_missing", detail=detail)


def _nowhere_else(rule: RestockRule, at: str) -> Iterator[Flaw]:
    if rule.to is None:
        return
    if rule.disposition != "restock_elsewhere":
        detail = f"Only `restock_elsewhere` sends goods somewhere, not {rule.disposition}."
        yield Flaw(pointer=f"{at}/to", code="not_allowed", detail=detail)
    elif rule.when.locations == (rule.to,):
        detail = f"The rule is about goods that lie at {rule.to} already."
        yield Flaw(pointer=f"{at}/to", code="not_allowed", detail=detail)


def _times_crossed(written: Any) -> Iterator[Flaw]:
    try:
        times = ReturnTimes.model_validate({} if written is None else written)
    except ValidationError:
        return  # told already
    if times.remind_days >= times.expire_days:
        detail = (
            f"Who is reminded after {count_of(times.remind_days, 'day')} has no time left:"
            f" the return expires after {times.expire_days}."
        )
        yield Flaw(pointer="/times/remind_days", code="too_large", detail=detail)
