"""Which places serve an order, by a rule set: the rules in their order, each with its best plan.

A rule takes the lines it is about that are still open, and the places it allows. It serves as many
units as they have, at the least cost by its objective; a place that sends anyway costs no second
parcel. Where the order must not be split, one place serves all by the first rule that can, else
the one that has most. The same input gives the same plan, in whatever order lines and places come.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from oms.costs import Prices, Setting
from oms.eligibility import Asked, Group, is_about
from oms.items import Item, apart, items_of
from oms.locations import Flags, Ints, Locations
from oms.reasons import LeftLine, Record, Stage
from oms.rules import DEFAULT, Rule, RuleSet, Split
from oms.solver import Problem, solve
from oms.sourcing import Ask, Decision, Demand, Missing, Pick, Plan, Shelves
from oms.telling import Solved, tell

_ALONE = Split(most_places=1)


@dataclass
class _State:
    """How far an order has come."""

    open: dict[int, int]
    stock: Ints
    at_most: Ints | None
    opened: Flags
    picks: list[Pick] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    key: list[tuple[int, int]] = field(default_factory=list)
    then: dict[int, str] = field(default_factory=dict)
    by: dict[str, int] = field(default_factory=dict)
    exact: bool = True

    @property
    def units(self) -> int:
        return sum(self.open.values())

    def short(self, lines: Sequence[Demand]) -> list[Demand]:
        return [each for each in lines if self.open[each.line]]

    def copy(self) -> "_State":
        return _State(
            dict(self.open),
            self.stock.copy(),
            None if self.at_most is None else self.at_most.copy(),
            self.opened.copy(),
            list(self.picks),
            list(self.stages),
            list(self.key),
            dict(self.then),
            dict(self.by),
            self.exact,
        )


class Router:
    """Decides by one rule set over the locations there are. Made once for both, and shared.

    `id` and `version`: of the rule set, None for the default one. `effort`: how much the solver may
    try for an order that is hard to plan.
    """

    def __init__(
        self,
        locations: Locations,
        rules: RuleSet = DEFAULT,
        *,
        id: str | None = None,
        version: int | None = None,
        effort: int | None = None,
    ) -> None:
        self.locations = locations
        self.rules = rules
        self.id = id
        self.version = version
        self.effort = effort
        self.prices = Prices(rules, locations)

    def plan(
        self, ask: Ask, demands: Sequence[Demand], shelves: Shelves, *, told: bool = True
    ) -> Decision:
        """Serve as many units as there are, and tell what is left.

        Args:
            ask: The order, as rules look at it.
            demands: What to serve; line numbers are distinct, quantities at least 1.
            shelves: What lies where of it, over the locations of this router.
            told: Whether the decision carries its record, which takes about as long as deciding.

        Where an article is short, the earlier lines are served first.
        """
        assert shelves.locations is self.locations, "a router decides over its own locations"
        assert len({demand.line for demand in demands}) == len(demands), "a line comes twice"
        ordered = sorted(demands, key=lambda demand: demand.line)
        return _Walk(self, ask, ordered, shelves, told=told).decide()


class _Walk:
    """An order's way through the rules."""

    def __init__(
        self, router: Router, ask: Ask, demands: list[Demand], shelves: Shelves, *, told: bool
    ) -> None:
        self.router = router
        self.ask = ask
        self.demands = demands
        self.shelves = shelves
        self.told = told
        self.asked = Asked(router.prices, ask, shelves)
        self.column = {sku: number for number, sku in enumerate(shelves.skus)}
        self.kits = {demand.kit for demand in demands if demand.kit is not None}

    def decide(self) -> Decision:
        start = _State(
            open={demand.line: demand.quantity for demand in self.demands},
            stock=self.shelves.available,
            at_most=self.shelves.at_most,
            opened=np.zeros(len(self.shelves.locations), dtype=np.bool_),
        )
        return self._decision(self._split(start) if self.ask.allow_split else self._alone(start))

    # --- the two ways through the rules ---

    def _split(self, state: _State) -> _State:
        """Several places may serve: each rule adds to what those before it did."""
        for rule in self.router.rules.rules:
            lines = self._lines_of(rule, state)
            if not lines:
                continue
            after = state.copy()
            for group in self.asked.groups(rule):
                self._serve(after, rule, group, after.short(lines))
            short = after.short(lines)
            if rule.complete and short:
                undone = [s.model_copy(update={"undone": True}) for s in after.stages]
                state.stages += undone[len(state.stages) :]
                state.key.append((0, 0))
                short = lines
            else:
                state = after
            if rule.left != "next_rule":
                state.then |= {each.line: rule.left for each in short}
        return state

    def _alone(self, start: _State) -> _State:
        """One place serves all: by the first rule by which one can, else the one that has most."""
        best, stages = start, list[Stage]()
        for number, rule, group in self._tries(start):
            tried = start.copy()
            one = rule.model_copy(update={"split": _ALONE})
            self._serve(tried, one, group, self.demands)
            stages += tried.stages
            if tried.units < best.units and not (rule.complete and tried.units):
                cost = sum(cost for _, cost in tried.key)
                tried.key = [(tried.units, number), (cost, 0)]
                best = tried
            if not best.units:
                break
            if rule.left != "next_rule":
                best.then = {each.line: rule.left for each in best.short(self.demands)}
        return self._ended(best, stages)

    def _tries(self, start: _State) -> Iterator[tuple[int, Rule, Group]]:
        """The rules about all lines, up to one that leaves nothing to the next, by their groups."""
        number = 0
        for rule in self.router.rules.rules:
            if len(self._lines_of(rule, start)) < len(self.demands):
                continue
            for group in self.asked.groups(rule):
                yield number, rule, group
                number += 1
            if rule.left != "next_rule":
                return

    @staticmethod
    def _ended(best: _State, stages: list[Stage]) -> _State:
        """Tell every try; those that did not win are undone."""
        won = best.stages
        best.stages = [
            each if any(each is mine for mine in won) else each.model_copy(update={"undone": True})
            for each in stages
        ]
        return best

    def _lines_of(self, rule: Rule, state: _State) -> list[Demand]:
        """The open lines a rule is about; of a kit all parts, or none."""
        if not self.asked.is_for(rule.when):
            return []
        about = [d for d in self.demands if is_about(rule.lines, d) and d.line not in state.then]
        torn = {d.kit for d in self.demands if d.kit in self.kits and d not in about}
        return [d for d in state.short(about) if d.kit is None or d.kit not in torn]

    # --- one rule, one group of places ---

    def _serve(self, state: _State, rule: Rule, group: Group, lines: Sequence[Demand]) -> None:
        """Serve what the places have, and take it off the shelves."""
        if not lines:
            return
        items = items_of(lines, state.open)
        self._solve(state, rule, group, items)
        for item in items:
            again = apart(item) if item.merged and state.short(item.lines) else []
            for part in again:
                self._solve(state, rule, group, items_of(part, state.open))

    def _solve(self, state: _State, rule: Rule, group: Group, items: tuple[Item, ...]) -> None:
        solved = self._pose(state, rule, group, items)
        units = solved.solution.units
        served = solved.units_of(units.sum(axis=0))
        state.key.append((-served, solved.solution.cost))
        if served:
            state.by[rule.name] = state.by.get(rule.name, 0) + served
        state.exact = state.exact and solved.solution.exact
        state.stock = state.stock.copy()
        state.at_most = None if state.at_most is None else state.at_most.copy()
        for place, number, count in solved.solution.gives():
            row = int(solved.rows[place])
            state.opened[row] = True
            for sku, per in items[number].per.items():
                state.stock[row, self.column[sku]] -= per * count
                if state.at_most is not None:
                    state.at_most[row, self.column[sku]] -= per * count
        for number, item in enumerate(items):
            self._share_out(state, item, solved.rows, units[:, number], rule.keep)
        if self.told:
            state.stages.append(tell(solved, self.asked, self.shelves))

    def _share_out(self, state: _State, item: Item, rows: Ints, given: Ints, keep: int) -> None:
        """To the lines: the nearer place first, to the earlier lines first."""
        gives = np.flatnonzero(given)
        rest = dict(zip(rows[gives].tolist(), given[gives].tolist(), strict=True))
        is_kit = any(line.kit is not None for line in item.lines)
        for line in item.lines:
            share = state.open[line.line] // item.count if is_kit else 1
            for row, count in rest.items():
                units = count * share if is_kit else min(count, state.open[line.line])
                if units:
                    place = self.shelves.locations.ids[row]
                    state.picks.append(Pick(line.line, place, units, line.sku, keep))
                    if not is_kit:
                        state.open[line.line] -= units
                        rest[row] -= units
            if is_kit:
                state.open[line.line] -= share * sum(rest.values())

    def _pose(self, state: _State, rule: Rule, group: Group, items: tuple[Item, ...]) -> Solved:
        """Price the places a rule may use for some items, and solve it."""
        codes = self.asked.codes(rule, group)
        stock, never = self._stock_for(state, rule, items)
        stock[codes != ""] = 0
        rows = np.flatnonzero(stock.any(axis=1))
        rows = rows[np.lexsort((rows, self.asked.metres[rows]))]
        setting = self._setting(rule, rows, items, state)
        costs = self.router.prices.of(rule.objective, setting)
        opened = state.opened[rows]
        most = rule.split.most_places
        problem = Problem(
            wanted=np.array([item.count for item in items], dtype=np.int64),
            stock=stock[rows],
            fixed=costs.fixed,
            unit=costs.unit,
            divide=np.array(
                [rule.split.lines == "divided" and not item.merged for item in items],
                dtype=np.bool_,
            ),
            most_places=None if most is None else max(0, most - int(state.opened.sum())),
            opened=opened if opened.any() else None,
        )
        solution = solve(problem, effort=self.router.effort)
        return Solved(rule, group, items, rows, codes, never, setting, costs, problem, solution)

    def _stock_for(
        self, state: _State, rule: Rule, items: tuple[Item, ...]
    ) -> tuple[Ints, dict[int, str]]:
        """How many of each item each location has, beyond what is kept and never served there."""
        stock = np.zeros((len(self.shelves.locations), len(items)), dtype=np.int64)
        why: dict[int, str] = {}
        free = state.stock - rule.keep
        if state.at_most is not None:
            free = np.minimum(free, state.at_most)
        for number, item in enumerate(items):
            if not self.column.keys() >= item.per.keys():
                continue
            most = [free[:, self.column[sku]] // per for sku, per in item.per.items()]
            stock[:, number] = np.clip(np.minimum.reduce(most), 0, item.count)
            never, reasons = self.asked.never(item.lines)
            stock[never, number] = 0
            why |= reasons
            for place in {place for line in item.lines for place in line.not_from}:
                if place in self.shelves.locations.row_of:
                    stock[self.shelves.locations.row_of[place], number] = 0
        return stock, why

    def _setting(self, rule: Rule, rows: Ints, items: tuple[Item, ...], state: _State) -> Setting:
        shelves, fits = self.shelves, self.asked.fits
        everywhere = np.zeros((len(shelves.locations), len(items)), dtype=np.int64)
        goods = None if shelves.goods is None else np.zeros((len(rows), len(items)))
        for number, item in enumerate(items):
            for sku, per in item.per.items():
                column = self.column.get(sku)
                if column is None:
                    continue
                everywhere[:, number] += shelves.available[:, column]
                if goods is not None and shelves.goods is not None:
                    goods[:, number] += per * self._goods(shelves.goods[rows, column], sku, item)
        return Setting(
            rows=rows,
            metres=self.asked.metres[rows],
            weight_g=np.array([item.weight_g for item in items], dtype=np.int64),
            available=everywhere[rows],
            fullest=everywhere[shelves.shut == ""].max(axis=0, initial=0),
            days=None if shelves.days is None else shelves.days[rows],
            goods=goods,
            cost_row=self.asked.cost_rows(rows),
            adjusted={each.from_: fits(each.from_)[rows] for each in rule.objective.adjust},
        )

    def _goods(self, known: Ints, sku: str, item: Item) -> Ints:
        """What a unit costs at each place; of one that nobody knows, all that is paid for it."""
        price = next(line.price_minor for line in item.lines if line.sku == sku)
        paid = self.router.prices.mills(price, self.ask.currency) or 0
        return np.where(known < 0, paid, known)

    # --- the end ---

    def _decision(self, state: _State) -> Decision:
        left = tuple(self._missing(each, state) for each in state.short(self.demands))
        record = self._record(state, left) if self.told else None
        plan = Plan(_joined(sorted(state.picks, key=self._nearer_first)), state.exact)
        return Decision(plan, left, state.then, tuple(state.key), state.by, record)

    def _nearer_first(self, pick: Pick) -> tuple[int, int, int]:
        row = self.shelves.locations.row_of[pick.location]
        return pick.line, int(self.asked.metres[row]), row

    def _missing(self, demand: Demand, state: _State) -> Missing:
        available = 0
        if demand.sku in self.column:
            here = self.shelves.available[:, self.column[demand.sku]] * (self.shelves.shut == "")
            if self.ask.allow_split:
                available = int(here.sum())
            elif state.picks:
                row = self.shelves.locations.row_of[state.picks[0].location]
                available = int(here[row])
            else:
                available = int(here.max(initial=0))
        missing = state.open[demand.line]
        return Missing(demand.line, demand.sku, demand.quantity, missing, available)

    def _record(self, state: _State, left: Sequence[Missing]) -> Record:
        router = self.router
        return Record(
            rule_set=router.id,
            version=router.version,
            name=router.rules.name,
            currency=router.rules.currency,
            stages=tuple(state.stages),
            left=tuple(
                LeftLine(
                    line=each.line,
                    sku=each.sku,
                    units=each.missing,
                    then=state.then.get(each.line, "next_rule"),
                )
                for each in left
            ),
        )


def _joined(picks: Sequence[Pick]) -> tuple[Pick, ...]:
    """Add up what two rules took for a line from one place; `picks` are sorted."""
    joined: list[Pick] = []
    for pick in picks:
        last = joined[-1] if joined else None
        if last and (last.line, last.location) == (pick.line, pick.location):
            keep = min(last.keep, pick.keep)
            joined[-1] = replace(last, quantity=last.quantity + pick.quantity, keep=keep)
        else:
            joined.append(pick)
    return tuple(joined)
