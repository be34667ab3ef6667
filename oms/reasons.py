"""Why an order is served from where it is: a decision as it is kept, and in words.

A record names the places that were chosen, the next best plan, the best of the places that were
out-ranked, and the nearest of those that were left out, each with its reason; of the rest it
counts. Costs are in mills, thousandths of the minor unit of the record's currency.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from oms.money import format_money
from oms.ports import Message
from oms.rules import MILLS
from oms.words import count_of, is_or_are

MOST_STAGES = 20
"""So many steps of a decision are kept: those that served, then the first of the others."""

_BRIEFLY = 2

MOST_TOLD = 12
"""So many places that were left out, and so many that were out-ranked, are named at most."""

Code = Literal[
    "inactive",
    "channel",
    "method",
    "filter",
    "except",
    "tier",
    "never",
    "capacity",
    "no_rate",
    "turned_down",
    "no_stock",
    "too_few",
    "asked_for_another",
]


class LeftOut(Message):
    """A place that could not serve, and the first reason why. `detail`: the reason's numbers."""

    location: str
    name: str
    code: Code
    detail: dict[str, Any] = Field({})


class Outranked(Message):
    """A place that could have served: what it has of what was wanted, and what that alone costs."""

    location: str
    name: str
    units: int
    cost: int


class Sender(Message):
    """A place that was chosen. `costs`: its share of the plan's, by what it is for."""

    location: str
    name: str
    units: int
    metres: int | None
    costs: dict[str, int]


class RunnerUp(Message):
    """The best plan found without one of the chosen places, among the most promising others."""

    locations: tuple[str, ...]
    unserved: int
    cost: int


class Stage(Message):
    """What one rule, or one group of places it prefers, did.

    `places`: how many could serve. `counts`: how many could not though they hold some of it, by
    code. `undone`: the rule serves all of its lines or none, and could not serve all.
    """

    rule: str
    group: int | None = None
    wanted: int
    served: int
    cost: int
    bound: int
    exact: bool
    places: int
    senders: tuple[Sender, ...] = ()
    runner_up: RunnerUp | None = None
    outranked: tuple[Outranked, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    counts: dict[str, int] = Field({})
    undone: bool = False


class LeftLine(Message):
    """Units of a line that no rule served, and what its rule says of them."""

    line: int
    sku: str
    units: int
    then: str


class Record(Message):
    """A decision. `rule_set` None: the default, as none was active."""

    rule_set: str | None
    version: int | None
    name: str
    currency: str
    stages: tuple[Stage, ...]
    left: tuple[LeftLine, ...] = ()


def bounded(record: Record) -> Record:
    """Leave out steps that served nothing where a rule set has very many."""
    if len(record.stages) <= MOST_STAGES:
        return record
    ranked = sorted(range(len(record.stages)), key=lambda n: not record.stages[n].senders)
    kept = sorted(ranked[:MOST_STAGES])
    return record.model_copy(update={"stages": tuple(record.stages[n] for n in kept)})


# --- in words -------------------------------------------------------------------------------


def words(record: Record) -> tuple[str, ...]:
    """Tell a decision in sentences, the choice first."""
    return tuple(_sentences(record))


def brief(record: Record) -> str:
    """Name the rule set, and the nearest places that were left out for what lies there."""
    parts = [f"by {record.name} v{record.version}"] if record.rule_set is not None else []
    told = ("no_stock", "never", "capacity", "no_rate", "turned_down")
    out = {
        each.location: f"{each.name or each.location} was left out: {because(each)}"
        for stage in record.stages
        for each in stage.left_out
        if each.code in told
    }
    return "; ".join([*parts, *list(out.values())[:_BRIEFLY]])


def _sentences(record: Record) -> Iterator[str]:
    for stage in record.stages:
        if not stage.wanted:
            continue
        yield from _chosen(record, stage)
        for each in stage.left_out:
            yield f"{each.name or each.location} was left out: {because(each)}."
        for other in stage.outranked:
            yield _outranked(record, stage, other)
        rest = sum(stage.counts.values()) - len(stage.left_out)
        if rest > 0:
            yield f"{count_of(rest, 'more place')} could not serve it."
    for line in record.left:
        then = {"backorder": "they wait", "cancel": "they are not sold"}.get(line.then, "no rule")
        suffix = "no rule serves them" if then == "no rule" else then
        what = f"{count_of(line.units, 'unit')} of {line.sku} (line {line.line})"
        yield f"{what} {is_or_are(line.units)} left: {suffix}."


def _chosen(record: Record, stage: Stage) -> Iterator[str]:
    rule = f"{record.name}{f' v{record.version}' if record.version else ''}, rule “{stage.rule}”"
    if not stage.senders:
        yield f"By {rule}: no place serves any of {count_of(stage.wanted, 'unit')}."
        return
    if stage.undone:
        wanted = count_of(stage.wanted, "unit")
        yield f"By {rule}: {stage.served} of {wanted}; it serves all or none."
        return
    names = ", ".join(f"{each.name or each.location} ({each.units})" for each in stage.senders)
    proof = "the best there is" if stage.exact else "a good plan, not proven the best"
    yield f"By {rule}: {names}; {proof}."
    runner_up = stage.runner_up
    if runner_up is None:
        return
    others = ", ".join(runner_up.locations)
    if runner_up.unserved:
        yield f"Next best: {others}, which leaves {count_of(runner_up.unserved, 'unit')} more."
    else:
        yield f"Next best: {others}, {_dearer(record, runner_up.cost - stage.cost)}."


def _outranked(record: Record, stage: Stage, other: Outranked) -> str:
    name = other.name or other.location
    if other.units < stage.served:
        return f"{name} has {other.units} of {count_of(stage.served, 'unit')}."
    return f"{name} could have served it alone, {_dearer(record, other.cost - stage.cost)}."


def _dearer(record: Record, mills: int) -> str:
    if mills == 0:
        return "at the same cost, but further or later in the list"
    minor = round(mills / MILLS)
    if record.rule_set is None:
        return "in more parcels or further away"
    return f"{format_money(minor, record.currency)} dearer by its objective"


_SHUT: Mapping[str, str] = {
    "inactive": "it is closed",
    "channel": "it does not serve this channel",
    "method": "it does not serve this delivery method",
    "except": "the rule leaves it out",
    "tier": "another group of places comes first",
    "too_few": "it has too few of what is served together",
    "turned_down": "it turned this down before",
    "no_rate": "the rule set has no rate for its currency",
    "asked_for_another": "another place was asked for",
}


def because(each: LeftOut) -> str:
    """Say why a place was left out."""
    detail = each.detail
    match each.code:
        case "filter":
            return f"the rule asks for {detail.get('asks', 'other places')}"
        case "never":
            return str(detail.get("why", "a restriction of the rule set"))
        case "capacity":
            return f"capacity {detail['given']} of {detail['most']} today"
        case "no_stock":
            return _no_stock(detail)
    return _SHUT[each.code]


def _no_stock(detail: Mapping[str, Any]) -> str:
    """Name what keeps the shelf's units: the first of these that explains it."""
    if not detail:
        return "it has none left"
    free = detail["on_hand"] - detail["taken"]
    of = f" ({detail['sku']})"
    if detail.get("blocked"):
        return f"recalled{of}"
    if free <= 0:
        return f"all of {count_of(detail['on_hand'], 'unit')} taken{of}"
    if detail["safety"] >= free:
        return f"safety stock {free} of {detail['safety']}{of}"
    if detail.get("kept", 0):
        return f"{free} left, and {detail['kept']} are kept there{of}"
    return f"{free} left wait for others{of}"
