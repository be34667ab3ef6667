"""What replays of the same orders come to, side by side: cost, parcels, distance, days, load."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import Field

from oms.bill import Bill
from oms.locations import Locations
from oms.past import PastOrder, World
from oms.ports import Message
from oms.rules import MILLS
from oms.simulation import Outcome, Sending
from oms.sourcing import Pick

MOST_PLACES = 20
"""So many of the busiest places are told."""


class Costs(Message):
    """What sending costs, in minor units of `currency`, each rounded once in the end.

    `unpriced_parcels`: those for which the rule set says no cost; they add nothing.
    """

    currency: str
    shipping_minor: int
    handling_minor: int
    total_minor: int
    unpriced_parcels: int


class Load(Message):
    """What a place, or the places of a kind or a group, gave. `share`: of all units served."""

    name: str
    parcels: int
    units: int
    share: float


class Measured(Message):
    """What one rule set came to.

    Attributes:
        orders: That were decided; the rest of the counts are of them.
        refused: Not sold, as not all of them could be served; `refused_units`: all of theirs.
        waiting_units: Left as backorders in the end.
        unfillable_lines: Lines for which units were missing when the order was decided;
            `unfillable_units`: those units.
        costs: By the costs that all are compared by; `own_costs`: by the rule set's own.
        split_orders: Served in more than one parcel; `split_rate`: of those served.
        divided_lines: Whose units come from several places.
        mean_km: Of a parcel, of those with a distance.
        mean_days, p95_days: From the order to its last parcel, of orders served at once.
        by_rule: Orders, by the rule that served units of them.
        exact: Orders whose plan is proven to be the best.
    """

    name: str
    source: str
    orders: int
    lines: int
    units: int
    served_orders: int
    served_units: int
    refused: int
    refused_units: int
    waiting_units: int
    unfillable_lines: int
    unfillable_units: int
    costs: Costs
    own_costs: Costs
    parcels: int
    parcels_per_order: float
    split_orders: int
    split_rate: float
    divided_lines: int
    mean_km: float | None
    mean_days: float | None
    p95_days: int | None
    by_rule: dict[str, int] = Field({})
    by_kind: tuple[Load, ...] = ()
    by_group: tuple[Load, ...] = ()
    by_location: tuple[Load, ...] = ()
    exact: int = 0


class Served(Message):
    """What was decided for an order: units by article and place; the rest waits, or all is refused.

    What comes later for those that wait is no part of it.
    """

    picks: tuple[tuple[str, str, int], ...]
    waiting: int = 0
    refused: bool = False


class Change(Message):
    """An order that another rule set decides otherwise. `outcomes`: in the order of rule sets."""

    order: str
    at: str
    outcomes: tuple[Served, ...]


class Comparison(Message):
    """Replays side by side.

    `compared_by`: the rule set by whose costs all are compared. `days_are`: how days are counted.
    """

    compared_by: str
    days_are: str
    measured: tuple[Measured, ...]
    changed: tuple[Change, ...] = ()


class Column:
    """One rule set's outcomes, or what was decided then, under a name."""

    def __init__(
        self, name: str, source: str, outcomes: Mapping[str, Outcome], *, own: str, common: str
    ) -> None:
        """Take outcomes by order. `own` and `common`: currencies of the two bills."""
        self.name = name
        self.source = source
        self.outcomes = outcomes
        self.own = own
        self.common = common


def compare(
    orders: Sequence[PastOrder], columns: Sequence[Column], world: World, compared_by: str
) -> Comparison:
    """Measure every column over the same orders, and name the orders that change."""
    return Comparison(
        compared_by=compared_by,
        days_are=world.days_are,
        measured=tuple(_measure(orders, column, world.locations) for column in columns),
        changed=tuple(_changes(orders, columns)),
    )


# --- one column -----------------------------------------------------------------------------


def _measure(orders: Sequence[PastOrder], column: Column, locations: Locations) -> Measured:
    outcomes = [column.outcomes[order.id] for order in orders]
    served = [each for each in outcomes if each.sendings]
    sendings = [sending for each in served for sending in each.sendings]
    parcels = sum(len(sending.metres) for sending in sendings)
    known = [m for sending in sendings for m in sending.metres.values() if m is not None]
    # Who waits is told no date, so only what could be promised counts.
    days = [each.sendings[0].days for each in served if not each.missing]
    split = sum(1 for each in served if sum(len(s.metres) for s in each.sendings) > 1)
    refused = [each for each in outcomes if each.refused]
    return Measured(
        name=column.name,
        source=column.source,
        orders=len(orders),
        lines=sum(len(order.demands) for order in orders),
        units=sum(order.units for order in orders),
        served_orders=len(served),
        served_units=sum(pick.quantity for sending in sendings for pick in sending.picks),
        refused=len(refused),
        refused_units=sum(each.order.units for each in refused),
        waiting_units=sum(each.waiting for each in outcomes),
        unfillable_lines=sum(1 for each in outcomes for units in each.missing.values() if units),
        unfillable_units=sum(sum(each.missing.values()) for each in outcomes),
        costs=_costs((s.common for s in sendings), column.common),
        own_costs=_costs((s.own for s in sendings), column.own),
        parcels=parcels,
        parcels_per_order=_ratio(parcels, len(served)),
        split_orders=split,
        split_rate=_ratio(split, len(served)),
        divided_lines=sum(_divided(each.picks) for each in served),
        mean_km=round(fmean(known) / 1000, 1) if known else None,
        mean_days=round(fmean(days), 2) if days else None,
        p95_days=_nearest_rank(days, 95) if days else None,
        by_rule=_by_rule(outcomes),
        by_kind=_load(sendings, lambda id: [locations.rows[locations.row_of[id]].kind]),
        by_group=_load(sendings, lambda id: sorted(locations.rows[locations.row_of[id]].groups)),
        by_location=_load(sendings, lambda id: [id])[:MOST_PLACES],
        exact=sum(each.exact for each in outcomes),
    )


def _costs(bills: Iterable[Bill], currency: str) -> Costs:
    total = Bill()
    for each in bills:
        total = total.plus(each)
    return Costs(
        currency=currency,
        shipping_minor=round(total.shipping / MILLS),
        handling_minor=round(total.handling / MILLS),
        total_minor=round(total.total / MILLS),
        unpriced_parcels=total.unpriced,
    )


def _divided(picks: Iterable[Pick]) -> int:
    places = Counter(line for line, _ in {(pick.line, pick.location) for pick in picks})
    return sum(1 for count in places.values() if count > 1)


def _by_rule(outcomes: Iterable[Outcome]) -> dict[str, int]:
    counts = Counter(rule for each in outcomes if not each.refused for rule in each.by)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _load(
    sendings: Sequence[Sending], names_of: Callable[[str], Sequence[str]]
) -> tuple[Load, ...]:
    """Parcels and units by name, the most units first."""
    parcels: Counter[str] = Counter()
    units: Counter[str] = Counter()
    for sending in sendings:
        for place in sending.metres:
            parcels.update(names_of(place))
        for pick in sending.picks:
            for name in names_of(pick.location):
                units[name] += pick.quantity
    total = sum(pick.quantity for sending in sendings for pick in sending.picks)
    ordered = sorted(units, key=lambda name: (-units[name], name))
    return tuple(
        Load(name=name, parcels=parcels[name], units=units[name], share=_ratio(units[name], total))
        for name in ordered
    )


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _nearest_rank(values: Sequence[int], percent: int) -> int:
    return sorted(values)[-(-len(values) * percent // 100) - 1]


# --- what changes ---------------------------------------------------------------------------


def served(outcome: Outcome) -> Served:
    """Who gives how much of which article; lines of the same article are added up."""
    units: Counter[tuple[str, str]] = Counter()
    for pick in outcome.decided:
        units[pick.sku, pick.location] += pick.quantity
    waiting = 0 if outcome.refused else sum(outcome.missing.values())
    picks = tuple((sku, place, count) for (sku, place), count in sorted(units.items()))
    return Served(picks=picks, waiting=waiting, refused=outcome.refused)


def _changes(orders: Sequence[PastOrder], columns: Sequence[Column]) -> Iterable[Change]:
    for order in orders:
        outcomes = [served(column.outcomes[order.id]) for column in columns]
        if any(each != outcomes[0] for each in outcomes[1:]):
            yield Change(order=order.id, at=order.at.isoformat(), outcomes=tuple(outcomes))


def as_rows(orders: Sequence[PastOrder], columns: Sequence[Column]) -> Iterable[dict[str, Any]]:
    """Every order with what becomes of it under each rule set, for a file."""
    for order in orders:
        outcomes = [served(column.outcomes[order.id]) for column in columns]
        yield {
            "order": order.id,
            "at": order.at.isoformat(),
            "units": order.units,
            "changes": any(each != outcomes[0] for each in outcomes[1:]),
            "outcomes": [each.model_dump(mode="json") for each in outcomes],
        }
