"""Who gets the units that arrived: the queue of backordered orders, and the policy that serves it.

An order's place is by the time the oldest of its waiting units was backordered, at whatever place
that was. The policy puts the queue in order; then each order in turn gets what is there for it, by
the rules of sourcing. Orders that may not go on are passed over and keep their place.

A decision is made of one moment's books and carried out in its order, one order a transaction, so
that whoever stands behind never gets what somebody before could have had at that moment.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from pydantic import Field

from oms.agenda import IN_DOUBT
from oms.ports import Message
from oms.sourcing import Candidate, Demand, Pick, Solver, distance_km

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
                    f" {self.patience_days} days"
                )
        return "oldest first"


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """Units of one line of an order that wait, and the places that turned the line down."""

    line: int
    sku: str
    quantity: int
    not_from: frozenset[str] = frozenset()


class Buyer(NamedTuple):
    """What decides which places may serve an order."""

    channel: str
    method: str
    pickup_location: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order in the queue.

    `blocked`: why it may not go on, in words; None if it may. `only`: the places that an order
    which must not be split is bound to, because they serve the rest of it.
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

    @property
    def skus(self) -> frozenset[str]:
        """The articles it waits for."""
        return frozenset(line.sku for line in self.lines)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A place that may serve a buyer, and what lies there for the queue.

    `buffer`: units of each article that the buyer's channel leaves there.
    """

    location: str
    units: Mapping[str, int]
    point: tuple[float, float] | None = None
    buffer: int = 0


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
    """An order that is served now: what it gets from where, and why."""

    order: str
    since: datetime
    picks: tuple[Pick, ...]
    reason: str
    buffers: Mapping[str, int] = field(default_factory=dict)
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
    shelves: Mapping[Buyer, Sequence[Shelf]],
    now: datetime,
    solver: Solver,
    *,
    most: int | None = None,
) -> Decision:
    """Serve the queue with what is there.

    Args:
        policy: The rule.
        queue: Every order that waits for any of the articles, each once.
        shelves: For each buyer of the queue, the places that may serve it. What lies at a place
            is the same for all, less the buffer of each.
        now: Tells who has waited too long.
        solver: Chooses the places.
        most: Decide no further than so many releases.

    Returns:
        The queue in order, each with what it gets or why it waits. No unit is given twice.
    """
    stock = _Stock(shelves)
    ordered = in_order(policy, queue)
    verdicts: dict[str, Verdict] = {}
    released = 0
    for each in ordered:
        if released == most:
            break
        verdicts[each.order] = verdict = _decide_one(policy, each, stock, now, solver)
        released += verdict.release is not None
    return Decision(policy, _with_standings(policy, ordered, verdicts))


class _Stock:
    """What is left while the queue is served."""

    def __init__(self, shelves: Mapping[Buyer, Sequence[Shelf]]) -> None:
        self._shelves = shelves
        self._left: dict[tuple[str, str], int] = {}
        for places in shelves.values():
            for shelf in places:
                at = {(sku, shelf.location): units for sku, units in shelf.units.items()}
                self._left |= at
        self._free: Counter[str] = Counter()
        for (sku, _), units in self._left.items():
            self._free[sku] += units

    def has_some(self, each: Waiting) -> bool:
        """Whether anything lies anywhere that an order waits for."""
        return any(self._free[sku] for sku in each.skus)

    def may_have_all(self, each: Waiting) -> bool:
        """Whether as much lies anywhere as an order waits for."""
        wanted: Counter[str] = Counter()
        for line in each.lines:
            wanted[line.sku] += line.quantity
        return all(units <= self._free[sku] for sku, units in wanted.items())

    def around(self, each: Waiting) -> list[Candidate]:
        """The places that may serve an order, with what is left there for it."""
        found = []
        for shelf in self._shelves.get(each.buyer, ()):
            if each.only is not None and shelf.location not in each.only:
                continue
            left = {
                sku: self._left[(sku, shelf.location)] - shelf.buffer
                for sku in each.skus & shelf.units.keys()
            }
            units = {sku: count for sku, count in left.items() if count > 0}
            if units:
                away = _distance(each, shelf)
                found.append(Candidate(shelf.location, away, units, shelf.buffer))
        return found

    def give(self, picks: Iterable[Pick]) -> None:
        """Take off what an order got."""
        for pick in picks:
            self._left[(pick.sku, pick.location)] -= pick.quantity
            self._free[pick.sku] -= pick.quantity


def _decide_one(
    policy: BackorderPolicy, each: Waiting, stock: _Stock, now: datetime, solver: Solver
) -> Verdict:
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
    found = solver.plan_what_is_there(_demands(each), around, allow_split=each.allow_split)
    picks = found.plan.picks
    if not picks:
        return Verdict(each, None, _NOTHING)
    if patient and found.left:
        return Verdict(each, None, _INCOMPLETE)
    stock.give(picks)
    reason = _reason(policy, each, complete=not found.left)
    buffers = {place.location: place.buffer for place in around}
    return Verdict(each, Release(each.order, each.since, picks, reason, buffers), reason)


def _demands(each: Waiting) -> list[Demand]:
    return [
        Demand(line.line, line.sku, line.quantity, line.not_from)
        for line in sorted(each.lines, key=lambda line: line.line)
    ]


def _reason(policy: BackorderPolicy, each: Waiting, *, complete: bool) -> str:
    """Why an order is served, and stands where it stands."""
    rule = policy.words
    if policy.policy == "ship_complete":
        rule = "complete" if complete else f"in part, after {policy.patience_days} days"
    return f"{rule}: {why(policy, each)}"


def _distance(each: Waiting, shelf: Shelf) -> float | None:
    if each.point is None or shelf.point is None:
        return None
    return distance_km(*each.point, shelf.point)


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
