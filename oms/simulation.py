"""Past orders decided again, by other rules: what would have been, without touching anything.

A replay goes through what happened in the order of time: goods that came or went, orders, and
units of them that were given back. Each order is decided by a router on what the orders before it
left, as the books do: what cannot be served whole is refused, unless the order or the rules let it
wait; what waits is served first when goods come.

Not replayed: payments, holds, rejections by places, and room for backorders, which has no limit
here. Policies, safety stock and places are those of the world, at all times.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from oms.bill import Bill, bill
from oms.locations import UNKNOWN_METRES, Ints
from oms.past import Arrival, Event, GivenBack, PastOrder, Serving, World
from oms.router import Router
from oms.sourcing import Demand, Pick, Shelves

# --- what comes of it -----------------------------------------------------------------------


class Sending(NamedTuple):
    """What leaves for an order at one time: a parcel from each place.

    `days`: until the last of it is there. `own` and `common`: what it costs by the rule set's own
    costs, and by those all are compared by. `metres`: by place, None where unknown.
    """

    picks: tuple[Pick, ...]
    days: int
    own: Bill
    common: Bill
    metres: Mapping[str, int | None]


@dataclass(slots=True)
class Outcome:
    """What became of an order under one rule set. `decided`: who was to give what, at once.

    `missing`: units of each line that no place had; they wait, or the order is `refused` for them.
    `by`: units each rule served. `sendings`: at once, and when goods came for what waited.
    """

    order: PastOrder
    decided: tuple[Pick, ...]
    missing: Mapping[int, int]
    refused: bool
    by: Mapping[str, int]
    exact: bool
    sendings: list[Sending] = field(default_factory=list)

    @property
    def picks(self) -> tuple[Pick, ...]:
        """Who gave what."""
        return tuple(sorted(pick for sending in self.sendings for pick in sending.picks))

    @property
    def waiting(self) -> int:
        """Units that still wait in the end."""
        if self.refused:
            return 0
        return self.order.units - sum(pick.quantity for pick in self.picks)


class _Day:
    """Orders given to each place on its local day."""

    def __init__(self, world: World) -> None:
        zones = [world.serving.get(id, Serving()).time_zone for id in world.locations.ids]
        names = sorted(set(zones))
        self._zones = [ZoneInfo(name) for name in names]
        self._zone_of = np.array([names.index(name) for name in zones], dtype=np.int64)
        self._days: list[date] = []
        self.given = np.zeros(len(zones), dtype=np.int64)

    def turn(self, at: datetime) -> None:
        """Begin a new day where one has begun."""
        days = [at.astimezone(zone).date() for zone in self._zones]
        if self._days and days != self._days:
            new = np.array([a != b for a, b in zip(days, self._days, strict=True)])
            self.given = np.where(new[self._zone_of], 0, self.given)
        self._days = days


class Replay:
    """One rule set's way through what happened. What it takes is its own; the world stays."""

    def __init__(
        self, world: World, router: Router, common: Router, *, partial: bool = False
    ) -> None:
        """Begin.

        Args:
            world: Where it happened.
            router: Decides; over the world's locations.
            common: By whose costs all are compared.
            partial: Serve what is there of an order that would be refused for the rest.
        """
        assert router.locations is common.locations is world.locations
        self.world = world
        self.router = router
        self.common = common
        self.partial = partial
        self.outcomes: dict[str, Outcome] = {}
        self._stock = {sku: units.copy() for sku, units in world.stock.items()}
        self._queue: dict[str, dict[int, Demand]] = {}
        self._day = _Day(world)
        self._shut = lru_cache(maxsize=None)(world.shut)
        self._buffer = lru_cache(maxsize=None)(world.buffer)
        self._goods: dict[str, Ints] = {}

    def step(self, event: Event) -> None:
        """Let one thing happen."""
        match event:
            case Arrival():
                self._arrive(event)
            case GivenBack():
                self._give_back(event)
            case PastOrder():
                self._decide(event)

    def left(self, sku: str) -> Ints:
        """What each place could still give."""
        return np.maximum(0, self._stock_of(sku))

    # --- goods ---

    def _stock_of(self, sku: str) -> Ints:
        found = self._stock.get(sku)
        if found is None:
            found = self._stock[sku] = np.zeros(len(self.world.locations), dtype=np.int64)
        return found

    def _arrive(self, event: Arrival) -> None:
        row = self.world.locations.row_of.get(event.location)
        if row is None:
            return
        self._stock_of(event.sku)[row] += event.units
        if event.units > 0:
            self._serve_queue({event.sku}, event.at)

    def _give_back(self, event: GivenBack) -> None:
        """Units that still wait first, then those decided last."""
        outcome = self.outcomes.get(event.order)
        if outcome is None:
            return
        back = dict(event.units)
        waiting = self._queue.get(event.order, {})
        for line, demand in list(waiting.items()):
            less = min(back.get(line, 0), demand.quantity)
            back[line] = back.get(line, 0) - less
            self._wait(event.order, demand, demand.quantity - less)
        freed = set()
        for pick in sorted(outcome.picks, reverse=True):
            units = min(back.get(pick.line, 0), pick.quantity)
            if units:
                back[pick.line] -= units
                self._stock_of(pick.sku)[self.world.locations.row_of[pick.location]] += units
                freed.add(pick.sku)
        self._serve_queue(freed, event.at)

    # --- orders ---

    def _decide(self, order: PastOrder) -> None:
        self._day.turn(order.at)
        shelves = self._shelves(order, order.demands, order.pickup, order.at)
        decision = self.router.plan(order.ask, order.demands, shelves, told=False)
        missing = {each.line: each.missing for each in decision.left}
        waits = order.allow_backorder and "cancel" not in decision.then.values()
        partly = self.partial and bool(decision.plan.picks)
        refused = bool(missing) and not waits and not partly
        picks = () if refused else decision.plan.picks
        outcome = Outcome(order, picks, missing, refused, decision.by, decision.plan.exact)
        self.outcomes[order.id] = outcome
        if refused:
            return
        self._send(outcome, picks, shelves)
        if waits:
            for demand in order.demands:
                self._wait(order.id, demand, missing.get(demand.line, 0))

    def _send(self, outcome: Outcome, picks: tuple[Pick, ...], shelves: Shelves) -> None:
        if not picks:
            return
        order, row_of = outcome.order, self.world.locations.row_of
        for pick in picks:
            self._stock[pick.sku][row_of[pick.location]] -= pick.quantity
        outcome.sendings.append(
            sending(self.world, order, picks, shelves, self.router, self.common)
        )
        self._day.given[[row_of[place] for place in {pick.location for pick in picks}]] += 1

    def _wait(self, order: str, demand: Demand, units: int) -> None:
        lines = self._queue.setdefault(order, {})
        lines.pop(demand.line, None)
        if units:
            lines[demand.line] = replace(demand, quantity=units)
        if not lines:
            del self._queue[order]

    def _serve_queue(self, skus: set[str], at: datetime) -> None:
        """Serve what waits for these, the oldest order first."""
        for id in list(self._queue):
            lines = [d for d in self._queue[id].values() if d.sku in skus]
            outcome = self.outcomes[id]
            if not lines:
                continue
            order = outcome.order
            only = order.pickup
            if not order.ask.allow_split and outcome.sendings:
                only = outcome.sendings[0].picks[0].location
            shelves = self._shelves(order, lines, only, at)
            picks = self.router.plan(order.ask, lines, shelves, told=False).plan.picks
            if not order.ask.allow_split and sum(p.quantity for p in picks) < sum(
                d.quantity for d in lines
            ):
                continue
            self._send(outcome, picks, shelves)
            for demand in lines:
                got = sum(pick.quantity for pick in picks if pick.line == demand.line)
                self._wait(id, demand, demand.quantity - got)

    # --- shelves ---

    def _shelves(
        self, order: PastOrder, demands: Sequence[Demand], only: str | None, at: datetime
    ) -> Shelves:
        """What lies where for an order, over all places."""
        world, uses, ask = self.world, self.router.rules.uses | self.common.rules.uses, order.ask
        skus = tuple(sorted({demand.sku for demand in demands}))
        buffer = self._buffer(ask.channel)
        columns = [self._free(sku, at) for sku in skus]
        available = np.maximum(0, np.stack(columns, axis=1) - buffer[:, None])
        metres = world.locations.metres_from(ask.point)
        shut = self._shut(ask.channel, ask.method, only)
        could = np.flatnonzero((shut == "") & available.any(axis=1))
        goods = [self._cost_of(sku) for sku in skus] if "goods" in uses else None
        return Shelves(
            locations=world.locations,
            skus=skus,
            available=available,
            shut=shut,
            buffer=buffer,
            metres=metres,
            load=self._day.given if "load" in uses else None,
            days=world.days(order, could, metres) if "days" in uses else None,
            goods=None if goods is None else np.stack(goods, axis=1),
            carriers=world.carried(ask.method, ask.country) if "carriers" in uses else {},
        )

    def _free(self, sku: str, at: datetime) -> Ints:
        since = self.world.on_sale_from.get(sku)
        units = self.left(sku)
        if since is not None and at < since:
            return np.zeros_like(units)
        blocked = self.world.blocked.get(sku)
        return units if blocked is None else np.where(blocked, 0, units)

    def _cost_of(self, sku: str) -> Ints:
        found = self._goods.get(sku)
        if found is None:
            mills = self.router.prices.mills
            known = self.world.goods.get(sku, [None] * len(self.world.locations))
            costs = [None if each is None else mills(*each) for each in known]
            found = np.array([-1 if cost is None else cost for cost in costs], dtype=np.int64)
            self._goods[sku] = found
        return found


def as_it_was(world: World, order: PastOrder, common: Router) -> Outcome:
    """What was decided then, as if a rule set had; nobody knows by which rule."""
    assert order.was is not None, "nobody knows what was decided"
    given: dict[int, int] = {}
    for pick in order.was:
        given[pick.line] = given.get(pick.line, 0) + pick.quantity
    missing = {d.line: d.quantity - given.get(d.line, 0) for d in order.demands}
    missing = {line: units for line, units in missing.items() if units}
    picks = () if order.was_refused else order.was
    outcome = Outcome(order, picks, missing, order.was_refused, {}, exact=False)
    if picks:
        places = len(world.locations)
        shelves = Shelves(
            locations=world.locations,
            skus=(),
            available=np.zeros((places, 0), dtype=np.int64),
            shut=np.zeros(places, dtype="<U17"),
            buffer=np.zeros(places, dtype=np.int64),
        )
        outcome.sendings.append(sending(world, order, picks, shelves, common, common))
    return outcome


def sending(
    world: World,
    order: PastOrder,
    picks: tuple[Pick, ...],
    shelves: Shelves,
    own: Router,
    common: Router,
) -> Sending:
    """Measure what leaves for an order at one time."""
    metres = shelves.metres_from(order.ask.point)
    rows = sorted({world.locations.row_of[pick.location] for pick in picks})
    days = world.days(order, np.array(rows), metres)
    mine = bill(own, order.ask, order.demands, picks, shelves)
    return Sending(
        picks=picks,
        days=int(days[rows].max()),
        own=mine,
        common=mine if own is common else bill(common, order.ask, order.demands, picks, shelves),
        metres={
            world.locations.ids[row]: None if metres[row] >= UNKNOWN_METRES else int(metres[row])
            for row in rows
        },
    )


# --- all of it ------------------------------------------------------------------------------


def replay(world: World, events: Iterable[Event], replays: Sequence[Replay]) -> Iterator[PastOrder]:
    """Let everything happen under each rule set; gives each order once it is decided."""
    last: datetime | None = None
    for event in events:
        assert last is None or event.at >= last, "events come in the order of time"
        last = event.at
        for each in replays:
            each.step(event)
        if isinstance(event, PastOrder):
            yield event
