"""What a simulation shows: rule sets side by side, what differs marked, and who would serve."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oms.comparison import MOST_PLACES, Change, Comparison, Costs, Load, Measured, Served
from oms.money import format_money
from oms.words import count_of

MOST_CHANGES = 10
MOST_PICKS = 6

Value = float | int | None


class _Row(NamedTuple):
    """A measure. `less`: less of it is better; None: neither is."""

    label: str
    value: Callable[[Measured], Value]
    shown: Callable[[Measured], str]
    less: bool | None = True


def _count(label: str, value: Callable[[Measured], int], *, less: bool | None = True) -> _Row:
    return _Row(label, value, lambda each: f"{value(each):,}", less)


def _number(label: str, value: Callable[[Measured], Value], form: str) -> _Row:
    def shown(each: Measured) -> str:
        found = value(each)
        return "–" if found is None else form.format(found)

    return _Row(label, value, shown)


def _money(costs: Costs, minor: int) -> str:
    return format_money(minor, costs.currency)


def _per_order(each: Measured) -> float:
    return each.costs.total_minor / each.served_orders if each.served_orders else 0.0


def _own(costs: Costs, parcels: int) -> str:
    # A rule set that names no costs has none of its own.
    return "–" if costs.unpriced_parcels == parcels else _money(costs, costs.total_minor)


_ROWS = (
    _count("orders", lambda e: e.orders, less=None),
    _count("  served", lambda e: e.served_orders, less=False),
    _count("  refused", lambda e: e.refused),
    _count("lines", lambda e: e.lines, less=None),
    _count("  short of units", lambda e: e.unfillable_lines),
    _count("  divided", lambda e: e.divided_lines),
    _count("units", lambda e: e.units, less=None),
    _count("  served", lambda e: e.served_units, less=False),
    _count("  missing", lambda e: e.unfillable_units),
    _count("  of refused orders", lambda e: e.refused_units),
    _count("  still waiting", lambda e: e.waiting_units),
    _Row(
        "cost",
        lambda e: e.costs.total_minor,
        lambda e: _money(e.costs, e.costs.total_minor),
    ),
    _Row(
        "  shipping",
        lambda e: e.costs.shipping_minor,
        lambda e: _money(e.costs, e.costs.shipping_minor),
    ),
    _Row(
        "  handling",
        lambda e: e.costs.handling_minor,
        lambda e: _money(e.costs, e.costs.handling_minor),
    ),
    _Row(
        "  an order served",
        _per_order,
        lambda e: _money(e.costs, round(_per_order(e))),
    ),
    _count("  parcels without a cost", lambda e: e.costs.unpriced_parcels),
    _Row(
        "cost by its own",
        lambda e: None,
        lambda e: _own(e.own_costs, e.parcels),
        None,
    ),
    _count("parcels", lambda e: e.parcels),
    _number("  an order", lambda e: e.parcels_per_order, "{:.3f}"),
    _number("split orders", lambda e: e.split_rate, "{:.1%}"),
    _number("km of a parcel", lambda e: e.mean_km, "{:,.0f}"),
    _number("days, mean", lambda e: e.mean_days, "{:.2f}"),
    _number("days, p95", lambda e: e.p95_days, "{}"),
    _count("proven the best", lambda e: e.exact, less=None),
)


def comparison_view(
    found: Comparison, left_out: Mapping[str, int], decided_by: Mapping[str, int]
) -> RenderableType:
    """Show a comparison in a terminal."""
    parts: list[RenderableType] = [_measures(found)]
    parts += _loads("units by kind", found.measured, lambda each: each.by_kind)
    parts += _loads("units by group", found.measured, lambda each: each.by_group)
    parts += _loads("units by place", found.measured, lambda each: each.by_location)
    parts += _rules(found.measured)
    parts += _changes(found)
    parts.append(Text(_notes(found, left_out, decided_by), "dim"))
    return Group(*parts)


# --- measures -------------------------------------------------------------------------------


def _table(title: str, measured: Sequence[Measured]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for each in measured:
        table.add_column(Text(f"{each.name}\n", "bold").append(each.source, "dim"), justify="right")
    return table


def _measures(found: Comparison) -> Table:
    table = _table("", found.measured)
    for row in _ROWS:
        # What is nought for all says nothing.
        if any(row.shown(each) not in ("0", "–") for each in found.measured):
            table.add_row(
                row.label, *(_cell(row, each, found.measured[0]) for each in found.measured)
            )
    return table


def _cell(row: _Row, each: Measured, first: Measured) -> Text:
    text = Text(row.shown(each))
    now, before = row.value(each), row.value(first)
    if each is first or row.less is None or now is None or before is None or now == before:
        return text
    better = (now < before) == row.less
    change = f" {(now - before) / before:+.0%}" if before else " new"
    return text.append(change, "green" if better else "red")


def _loads(
    title: str, measured: Sequence[Measured], loads: Callable[[Measured], Sequence[Load]]
) -> list[RenderableType]:
    by_name = [{load.name: load for load in loads(each)} for each in measured]
    names = sorted(
        {name for loads in by_name for name in loads},
        key=lambda name: (-max(e[name].units if name in e else 0 for e in by_name), name),
    )
    if not names:
        return []
    table = _table(f"\n{title}", measured)
    for name in names[:MOST_PLACES]:
        cells = [
            f"{loads[name].units:,}  {loads[name].share:.1%}" if name in loads else "–"
            for loads in by_name
        ]
        table.add_row(name, *cells)
    return [table]


def _rules(measured: Sequence[Measured]) -> list[RenderableType]:
    names = list(dict.fromkeys(name for each in measured for name in each.by_rule))
    if not names:
        return []
    table = _table("\norders by the rule that served them", measured)
    for name in names:
        counts = [each.by_rule.get(name) for each in measured]
        table.add_row(name, *("–" if count is None else f"{count:,}" for count in counts))
    return [table]


# --- changes --------------------------------------------------------------------------------


def _changes(found: Comparison) -> list[RenderableType]:
    if len(found.measured) < 2:
        return []
    count, of = len(found.changed), found.measured[0].orders
    if not count:
        return [Text(f"\nNo order changes, of {of:,}.", "bold green")]
    title = f"\n{count:,} of {count_of(of, 'order')} change"
    if count > MOST_CHANGES:
        title += f"; the first {MOST_CHANGES}, `--orders-out` has all"
    table = _table(title, found.measured)
    for change in found.changed[:MOST_CHANGES]:
        table.add_row(change.order, *_outcomes(change))
    return [table]


def _outcomes(change: Change) -> list[Text]:
    first = change.outcomes[0]
    return [Text(_in_words(each), "" if each == first else "yellow") for each in change.outcomes]


def _in_words(served: Served) -> str:
    if served.refused:
        return "refused"
    units: dict[str, int] = {}
    for _, place, count in served.picks:
        units[place] = units.get(place, 0) + count
    words = [f"{place} {count}" for place, count in units.items()]
    if len(words) > MOST_PICKS:
        words = [*words[:MOST_PICKS], f"{len(words) - MOST_PICKS} more"]
    if served.waiting:
        words.append(f"{served.waiting} wait")
    return "\n".join(words) or "nothing"


def _notes(found: Comparison, left_out: Mapping[str, int], decided_by: Mapping[str, int]) -> str:
    notes = [
        f"\nCosts are those of “{found.compared_by}” for all; days are {found.days_are}.",
    ]
    if decided_by:
        sets = ", ".join(f"{name} {count:,}" for name, count in sorted(decided_by.items()))
        notes.append(f"Decided then by: {sets}.")
    if left_out:
        reasons = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))
        count = sum(left_out.values())
        were = "was" if count == 1 else "were"
        notes.append(f"{count_of(count, 'order')} {were} left out: {reasons}.")
    return "\n".join(notes)
