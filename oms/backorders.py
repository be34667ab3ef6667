"""Who gets the units that arrived: the queue of backordered orders, and the policy that serves it.

An order's place is by the time the oldest of its waiting units was backordered, at whatever place
that was. The policy puts the queue in order; then each order in turn gets what is there for it, by
the rules of sourcing. Orders that may not go on are passed over and keep their place.

A decision is made of one moment's books and carried out in its order, one order a transaction, so
that whoever stands behind never gets what somebody before could have had at that moment.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oms.agenda import IN_DOUBT
from oms.locations import Ints
from oms.ports import Message
from oms.reasons import Record
from oms.router import Router
from oms.sourcing import Article, Ask, Demand, Pick, Shelves
from oms.words import count_of

Kind = Literal["oldest_first", "priority", "ship_complete"]

REROUTE = "reroute"
"""Stands for the policy where an operator's word stood before the queue."""

_NOTHING = "nothing is there for it"
_INCOMPLETE = "not all of its units are there, and it is served complete"

TOLD_OF_OTHERS = 20
"""So many orders that were passed over are named in the record of a release, at most."""


class BackorderPolicy(Message):
    """By which rule the queue is served. `version` 0: nobody set one.

    `priority`: customers of the `segments`, in this order, before all others; then the oldest.
    `ship_complete`: an order is served only when all its waiting units can be; once it has waited
    `patience_days`, it gets what is there, so that it is not passed over for ever.
    """

    policy: Kind = "oldest_first"
    segments: tuple[str, ...] = ()
    patience_days: int = Field(default=14, ge=0)
    version: int = 0

    @property
    def words(self) -> str:
        """The rule in words, for people."""
        match self.policy:
            case "priority":
                return f"by priority ({', '.join(self.segments)}), then oldest first"
            case "ship_complete":
                return (
                    "oldest first, each order complete, or in parts after"
                    f" {count_of(self.patience_days, 'day')}"
                )
        return "oldest first"


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """Units of one line of an order that wait, and the places that turned the line down."""

    line: int
    sku: str
    quantity: int
    not_from: frozenset[str] = frozenset()
    kit: str | None = None
    price_minor: int = 0


class Buyer(NamedTuple):
    """What decides which places may serve an order."""

    channel: str
    method: str
    pickup_location: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order in the queue.

    `blocked`: why it may not go on, in words; None if it may. `only`: the places that an order
    which must not be split is bound to, because they serve the rest of it. `value_minor`: of its
    goods, in `currency`; `country` and `point`: where they go.
    """

    order: str
    since: datetime
    lines: tuple[WaitingLine, ...]
    buyer: Buyer
    segment: str | None = None
    blocked: str | None = None
    point: tuple[float, float] | None = None
    allow_split: bool = True
    only: frozenset[str] | None = None
    country: str | None = None
    currency: str | None = None
    value_minor: int | None = None

    @property
    def ask(self) -> Ask:
        """The order as rules look at it."""
        return Ask(
            channel=self.buyer.channel,
            method=self.buyer.method,
            country=self.country,
            segment=self.segment,
            currency=self.currency,
            value_minor=self.value_minor,
            point=self.point,
            allow_split=self.allow_split,
        )

    @property
    def skus(self) -> frozenset[str]:
        """The articles it waits for."""
        return frozenset(line.sku for line in self.lines)


class Serves(NamedTuple):
    """Who serves a buyer. Rows: locations. `shut`, `buffer`: see `oms.sourcing.Shelves`."""

    shut: NDArray[np.str_]
    buffer: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Lying:
    """What lies where for the queue, at one moment. Rows: the router's locations.

    `units`: of each of `skus`, before any channel's buffer; shape (places, skus). `load`, `goods`:
    see `oms.sourcing.Shelves`. `fitted` adds what depends on where an order goes.
    """

    skus: tuple[str, ...]
    units: Ints
    serves: Mapping[Buyer, Serves]
    articles: Mapping[str, Article] = field(default_factory=dict)
    load: Ints | None = None
    goods: Ints | None = None
    fitted: Callable[[Ask, Shelves], Shelves] = lambda _, shelves: shelves


class Other(NamedTuple):
    """Another order of the queue, as the record of a release names it."""

    order: str
    place: int
    words: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stood in the queue of one article when it was served, and among whom."""

    place: int
    waiting: int
    passed: tuple[Other, ...] = ()
    behind: tuple[Other, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """An order that is served now: what it gets from where, and why.

    `buffers`: units that its channel leaves at each place. `record`: why from there.
    """

    order: str
    since: datetime
    picks: tuple[Pick, ...]
    reason: str
    buffers: Mapping[str, int] = field(default_factory=dict)
    record: Record | None = None
    standings: Mapping[str, Standing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an order of the queue: a release, or why it waits."""

    waiting: Waiting
    release: Release | None
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The whole queue, in its order, and what is done about it."""

    policy: BackorderPolicy
    verdicts: tuple[Verdict, ...]

    @property
    def releases(self) -> tuple[Release, ...]:
        """What is to be carried out, in this order."""
        return tuple(each.release for each in self.verdicts if each.release is not None)


class Coming(Message):
    """Units expected at a place that may serve an order."""

    location: str
    quantity: int
    expected_at: datetime


class InTheQueue(Message):
    """Where an order stands in the queue of an article, and what is coming for the queue.

    `rule`: the policy in words. `available_from`: a preorder, released then and not before.
    """

    sku: str
    units: int
    place: int
    waiting: int
    since: datetime
    rule: str
    coming: tuple[Coming, ...] = ()
    available_from: datetime | None = None


# --- the queue ------------------------------------------------------------------------------


def blocked_by(*, confirmed: bool, holds: Iterable[str]) -> str | None:
    """Why an order may not be served now, by its open holds; None if it may."""
    reasons = sorted(set(holds))
    if IN_DOUBT in reasons:
        return "in doubt since a restore, until a person has compared it with the outside"
    if reasons:
        return f"on hold ({', '.join(reason.replace('_', ' ') for reason in reasons)})"
    return None if confirmed else "not confirmed yet"


def in_order(policy: BackorderPolicy, queue: Iterable[Waiting]) -> tuple[Waiting, ...]:
    """Put the queue in the order in which it is served. Equals stand by their number."""
    return tuple(sorted(queue, key=lambda each: (_rank(policy, each), each.since, each.order)))


def _rank(policy: BackorderPolicy, each: Waiting) -> int:
    if policy.policy != "priority" or each.segment not in policy.segments:
        return len(policy.segments)
    return policy.segments.index(each.segment)


def place_of(order: str, sku: str, ordered: Sequence[Waiting]) -> tuple[int, int] | None:
    """An order's place among those who wait for an article, from 1, and how many they are."""
    names = [each.order for each in ordered if sku in each.skus]
    return (names.index(order) + 1, len(names)) if order in names else None


def why(policy: BackorderPolicy, each: Waiting) -> str:
    """Why an order stands where it stands."""
    since = f"waiting since {_moment(each.since)}"
    if policy.policy == "priority":
        known = each.segment in policy.segments
        return f"segment {each.segment}, {since}" if known else f"no listed segment, {since}"
    return since


# --- the decision ---------------------------------------------------------------------------


def decide(
    policy: BackorderPolicy,
    queue: Iterable[Waiting],
    lying: Lying,
    now: datetime,
    router: Router,
    *,
    most: int | None = None,
) -> Decision:
    """Serve the queue with what is there.

    Args:
        policy: The rule.
        queue: Every order that waits for any of the articles, each once.
        lying: What there is, and which places serve each buyer of the queue.
        now: Tells who has waited too long.
        router: Chooses the places.
        most: Decide no further than so many releases.

    Returns:
        The queue in order, each with what it gets or why it waits. No unit is given twice.
    """
    stock = _Stock(lying, router)
    ordered = in_order(policy, queue)
    verdicts: dict[str, Verdict] = {}
    released = 0
    for each in ordered:
        if released == most:
            break
        verdicts[each.order] = verdict = _decide_one(policy, each, stock, now)
        released += verdict.release is not None
    return Decision(policy, _with_standings(policy, ordered, verdicts))


class _Stock:
    """What is left while the queue is served."""

    def __init__(self, lying: Lying, router: Router) -> None:
        self._lying, self.router = lying, router
        self._column = {sku: number for number, sku in enumerate(lying.skus)}
        self._left = lying.units.copy()
        self._load = None if lying.load is None else lying.load.copy()
        anybody = np.zeros(len(router.locations), dtype=np.bool_)
        for serves in lying.serves.values():
            anybody |= serves.shut == ""
        here = self._left * anybody[:, None]
        self._free = Counter(dict(zip(lying.skus, here.sum(axis=0).tolist(), strict=True)))

    def has_some(self, each: Waiting) -> bool:
        """Whether anything lies anywhere that an order waits for."""
        return any(self._free[sku] > 0 for sku in each.skus)

    def may_have_all(self, each: Waiting) -> bool:
        """Whether as much lies anywhere as an order waits for."""
        wanted: Counter[str] = Counter()
        for line in each.lines:
            wanted[line.sku] += line.quantity
        return all(units <= self._free[sku] for sku, units in wanted.items())

    def around(self, each: Waiting) -> Shelves | None:
        """The places that may serve an order, with what is left there for it; None if none has."""
        serves = self._lying.serves.get(each.buyer)
        if serves is None:
            return None
        skus = tuple(sku for sku in sorted(each.skus) if sku in self._column)
        columns = [self._column[sku] for sku in skus]
        available = np.maximum(0, self._left[:, columns] - serves.buffer[:, None])
        shut = serves.shut if each.only is None else self._bound(serves.shut, each.only)
        if not available[shut == ""].any():
            return None
        goods = self._lying.goods
        shelves = Shelves(
            self.router.locations,
            skus,
            available,
            shut,
            serves.buffer,
            load=self._load,
            goods=None if goods is None else goods[:, columns],
        )
        return self._lying.fitted(each.ask, shelves)

    def _bound(self, shut: NDArray[np.str_], only: frozenset[str]) -> NDArray[np.str_]:
        others = np.array([id not in only for id in self.router.locations.ids], dtype=np.bool_)
        return np.where(others & (shut == ""), "asked_for_another", shut)

    def demands(self, each: Waiting) -> list[Demand]:
        """What an order waits for."""
        nothing = Article(frozenset(), 0)
        known = self._lying.articles
        return [
            Demand(
                line.line,
                line.sku,
                line.quantity,
                line.not_from,
                tags=known.get(line.sku, nothing).tags,
                kit=line.kit,
                weight_g=known.get(line.sku, nothing).weight_g,
                price_minor=line.price_minor,
            )
            for line in sorted(each.lines, key=lambda line: line.line)
        ]

    def give(self, picks: Sequence[Pick]) -> None:
        """Take off what an order got."""
        for pick in picks:
            row = self.router.locations.row_of[pick.location]
            self._left[row, self._column[pick.sku]] -= pick.quantity
            self._free[pick.sku] -= pick.quantity
        if self._load is not None:
            for place in {pick.location for pick in picks}:
                self._load[self.router.locations.row_of[place]] += 1


def _decide_one(policy: BackorderPolicy, each: Waiting, stock: _Stock, now: datetime) -> Verdict:
    patient = (
        policy.policy == "ship_complete" and each.since + timedelta(days=policy.patience_days) > now
    )
    if each.blocked is not None:
        return Verdict(each, None, each.blocked)
    if not stock.has_some(each):
        return Verdict(each, None, _NOTHING)
    if patient and not stock.may_have_all(each):
        return Verdict(each, None, _INCOMPLETE)
    around = stock.around(each)
    if around is None:
        return Verdict(each, None, _NOTHING)
    demands = stock.demands(each)
    found = stock.router.plan(each.ask, demands, around, told=False)
    picks = found.plan.picks
    if not picks:
        return Verdict(each, None, _NOTHING)
    if patient and found.left:
        return Verdict(each, None, _INCOMPLETE)
    # Told of those that are served: most of a long queue is not.
    record = stock.router.plan(each.ask, demands, around).record
    stock.give(picks)
    reason = _reason(policy, each, complete=not found.left)
    rows = around.locations.row_of
    buffers = {pick.location: int(around.buffer[rows[pick.location]]) for pick in picks}
    return Verdict(each, Release(each.order, each.since, picks, reason, buffers, record), reason)


def _reason(policy: BackorderPolicy, each: Waiting, *, complete: bool) -> str:
    """Why an order is served, and stands where it stands."""
    rule = policy.words
    if policy.policy == "ship_complete":
        rule = "complete" if complete else f"in part, after {count_of(policy.patience_days, 'day')}"
    return f"{rule}: {why(policy, each)}"


def _with_standings(
    policy: BackorderPolicy, ordered: Sequence[Waiting], verdicts: Mapping[str, Verdict]
) -> tuple[Verdict, ...]:
    """Tell each release of the orders around it, article by article."""
    by_sku: dict[str, list[Waiting]] = {}
    for each in ordered:
        for sku in each.skus:
            by_sku.setdefault(sku, []).append(each)
    standings: dict[str, dict[str, Standing]] = {}
    for sku, queue in by_sku.items():
        for order, standing in _standings(policy, sku, queue, verdicts):
            standings.setdefault(order, {})[sku] = standing
    return tuple(
        replace(each, release=replace(each.release, standings=standings[each.release.order]))
        if each.release is not None
        else each
        for each in verdicts.values()
    )


def _standings(
    policy: BackorderPolicy, sku: str, queue: Sequence[Waiting], verdicts: Mapping[str, Verdict]
) -> Iterable[tuple[str, Standing]]:
    """Where those who are served with an article stand in its queue."""
    passed: list[Other] = []
    for place, each in enumerate(queue, start=1):
        verdict = verdicts.get(each.order)
        if verdict is None:
            return  # nothing was decided from here on
        served = verdict.release is not None and any(p.sku == sku for p in verdict.release.picks)
        if not served:
            passed.append(Other(each.order, place, verdict.reason))
            continue
        behind = tuple(
            Other(other.order, place + 1, why(policy, other)) for other in queue[place : place + 1]
        )
        yield each.order, Standing(place, len(queue), tuple(passed[:TOLD_OF_OTHERS]), behind)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
