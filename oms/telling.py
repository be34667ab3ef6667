"""Telling what a rule did: who sends, who came next, and why not the others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from oms.costs import Costs, Setting
from oms.eligibility import Asked, Codes, Group
from oms.items import Item
from oms.locations import UNKNOWN_METRES, Ints
from oms.reasons import MOST_TOLD, Code, LeftOut, Outranked, RunnerUp, Sender, Stage
from oms.rules import From, Rule
from oms.solver import Problem, Solution, solve
from oms.sourcing import Shelves

_EFFORT, _MOST_SOUGHT = 100_000, 40
"""Of the runner-up, which nobody has to prove: it is sought among the most promising places."""

_MOST_TRIED = 3
"""So many of the chosen places are left out, each in turn, to find the runner-up."""


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """What a rule came to with one group of places. `rows`: of the candidates, in `Locations`."""

    rule: Rule
    group: Group
    items: tuple[Item, ...]
    rows: Ints
    codes: Codes
    never: Mapping[int, str]
    setting: Setting
    costs: Costs
    problem: Problem
    solution: Solution

    @property
    def wanted(self) -> int:
        """Units of articles."""
        return sum(item.count * item.units for item in self.items)

    def units_of(self, given: Ints) -> int:
        """Units of articles in so many of each item."""
        return sum(int(n) * item.units for n, item in zip(given, self.items, strict=True))


def tell(solved: Solved, asked: Asked, shelves: Shelves) -> Stage:
    """Make the record of one rule with one group of places."""
    solution = solved.solution
    codes = _codes(solved, shelves)
    rows = _who_could_matter(solved, asked, shelves, codes)
    names, counts = np.unique(codes[rows], return_counts=True)
    return Stage(
        rule=solved.rule.name,
        group=solved.group.number,
        wanted=solved.wanted,
        served=solved.units_of(solution.units.sum(axis=0)),
        cost=solution.cost,
        bound=solution.bound,
        exact=solution.exact,
        places=len(solved.rows),
        senders=tuple(_senders(solved, asked)),
        runner_up=_runner_up(solved, asked),
        outranked=tuple(_outranked(solved, asked)),
        left_out=tuple(
            _left_out(int(row), cast(Code, str(codes[row])), solved, shelves)
            for row in rows[:MOST_TOLD]
        ),
        counts=dict(zip(names.tolist(), counts.tolist(), strict=True)),
    )


# --- who sends, and who came next -----------------------------------------------------------


def _senders(solved: Solved, asked: Asked) -> Iterator[Sender]:
    units, setting = solved.solution.units, solved.setting
    for place in np.flatnonzero(units.any(axis=1)).tolist():
        location = asked.locations.rows[int(solved.rows[place])]
        sends_anyway = solved.problem.opened is not None and solved.problem.opened[place]
        costs = {
            name: int((0 if sends_anyway else fixed[place]) + (unit[place] * units[place]).sum())
            for name, (fixed, unit) in solved.costs.parts.items()
        }
        metres = int(setting.metres[place])
        yield Sender(
            location=location.id,
            name=location.name,
            units=solved.units_of(units[place]),
            metres=None if metres >= UNKNOWN_METRES else metres,
            costs={name: cost for name, cost in costs.items() if cost},
        )


def _runner_up(solved: Solved, asked: Asked) -> RunnerUp | None:
    """The best plan found without one of the chosen places; None where nobody else has any."""
    chosen = np.flatnonzero(solved.solution.units.any(axis=1))
    if len(chosen) > _MOST_TRIED or len(solved.rows) == len(chosen) == 1:
        return None
    near = _promising(solved.problem, chosen)
    tries = []
    for place in chosen.tolist():
        others = near[near != place]
        other = solve(_only(solved.problem, others), effort=_EFFORT)
        missed = solved.units_of(other.unserved) - solved.units_of(solved.solution.unserved)
        tries.append((missed, other.cost, place, others[other.units.any(axis=1)]))
    if not tries:
        return None
    missed, cost, _, senders = min(tries, key=lambda each: each[:3])
    if not len(senders):
        return None
    ids = tuple(asked.locations.ids[int(row)] for row in solved.rows[senders])
    return RunnerUp(locations=ids, unserved=missed, cost=cost)


def _promising(problem: Problem, chosen: Ints) -> Ints:
    """The chosen places, and others that serve most, or at least cost a unit; in their order."""
    units = np.minimum(problem.stock, problem.wanted)
    served = np.maximum(1, units.sum(axis=1))
    cost = problem.fixed + (units * problem.unit).sum(axis=1)
    most = np.lexsort((cost, -served))[:_MOST_SOUGHT]
    cheapest = np.argsort(cost / served, kind="stable")[:_MOST_SOUGHT]
    return np.unique(np.concatenate([chosen, most, cheapest]))


def _only(problem: Problem, places: Ints) -> Problem:
    """The problem with these places alone."""
    return replace(
        problem,
        stock=problem.stock[places],
        fixed=problem.fixed[places],
        unit=problem.unit[places],
        opened=None if problem.opened is None else problem.opened[places],
    )


def _outranked(solved: Solved, asked: Asked) -> Iterator[Outranked]:
    """The best of the places that were not chosen: who has most, then who would cost least."""
    problem = solved.problem
    stock = np.minimum(problem.stock, problem.wanted)
    each = np.array([item.units for item in solved.items], dtype=np.int64)
    units = stock @ each
    cost = problem.fixed + (stock * problem.unit).sum(axis=1)
    others = np.flatnonzero(~solved.solution.units.any(axis=1))
    best = others[np.lexsort((others, cost[others], -units[others]))][:MOST_TOLD]
    for place in best.tolist():
        location = asked.locations.rows[int(solved.rows[place])]
        yield Outranked(
            location=location.id,
            name=location.name,
            units=int(units[place]),
            cost=int(cost[place]),
        )


# --- who was left out -----------------------------------------------------------------------


def _codes(solved: Solved, shelves: Shelves) -> Codes:
    """Why each location is no candidate; the empty text for those that are."""
    codes = solved.codes.copy()
    refused = {place for item in solved.items for line in item.lines for place in line.not_from}
    out = np.ones(len(codes), dtype=np.bool_)
    out[solved.rows] = False
    columns = _columns(solved, shelves)
    has_some = np.any(shelves.available[:, columns] > solved.rule.keep, axis=1)
    for row in np.flatnonzero(out & (codes == "")).tolist():
        if shelves.locations.ids[row] in refused:
            codes[row] = "turned_down"
        elif row in solved.never:
            codes[row] = "never"
        else:
            codes[row] = "too_few" if has_some[row] else "no_stock"
    return codes


def _columns(solved: Solved, shelves: Shelves) -> list[int]:
    wanted = {sku for item in solved.items for sku in item.per}
    return [number for number, sku in enumerate(shelves.skus) if sku in wanted]


def _who_could_matter(solved: Solved, asked: Asked, shelves: Shelves, codes: Codes) -> Ints:
    """The places left out that hold some of what was wanted, the nearest first."""
    columns = _columns(solved, shelves)
    holds = shelves.available if shelves.levels is None else shelves.levels.on_hand
    rows = np.flatnonzero((codes != "") & (holds[:, columns] > 0).any(axis=1))
    return rows[np.lexsort((rows, asked.metres[rows]))]


def _left_out(row: int, code: Code, solved: Solved, shelves: Shelves) -> LeftOut:
    location = shelves.locations.rows[row]
    detail: dict[str, Any] = {}
    match code:
        case "filter":
            detail = {"asks": described(solved.rule.from_)}
        case "never":
            detail = {"why": solved.never[row]}
        case "capacity" if shelves.load is not None:
            detail = {"given": int(shelves.load[row]), "most": location.daily_capacity}
        case "no_stock" if shelves.levels is not None:
            detail = _shelf(row, solved, shelves)
    return LeftOut(location=location.id, name=location.name, code=code, detail=detail)


def _shelf(row: int, solved: Solved, shelves: Shelves) -> dict[str, Any]:
    """What lies there of the article that has most units on hand."""
    levels = shelves.levels
    assert levels is not None
    column = max(_columns(solved, shelves), key=lambda number: int(levels.on_hand[row, number]))
    return {
        "sku": shelves.skus[column],
        "on_hand": int(levels.on_hand[row, column]),
        "taken": int(levels.taken[row, column]),
        "safety": int(levels.safety[row, column]),
        "blocked": bool(levels.blocked[row, column]),
        "kept": solved.rule.keep + int(shelves.buffer[row]),
    }


def described(filter: From) -> str:
    """A filter in words, e.g. `kinds store, within_km 50`."""
    parts = []
    for name, value in filter.model_dump(exclude_none=True).items():
        some = [str(each) for each in value[:3]] if isinstance(value, tuple) else [str(value)]
        more = " and more" if isinstance(value, tuple) and len(value) > 3 else ""
        parts.append(f"{name.replace('_', ' ')} {', '.join(some)}{more}")
    return "; ".join(parts) or "other places"
