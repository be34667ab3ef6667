"""What rules may ask of places beside their stock: work given today, days, carriers, costs.

None of it is read for rule sets that do not ask for it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from adapters.db.at_once import Statement
from adapters.db.network import Network
from adapters.db.promises import Where, services_to
from oms.locations import Flags, Ints, Location
from oms.policy import Policy
from oms.promises import Terms, Units
from oms.sourcing import Ask

UNKNOWN_DAYS = 365
"""Of a place whose goods nobody can say a date for."""

_QUARTER = timedelta(minutes=15)

# An order counts once it holds stock at a place, and on the day it was offered to it.
_LOAD = """
SELECT l.id, (SELECT count(*) FROM (
    SELECT f.order_number FROM fulfillment_orders f
    WHERE f.location = l.id AND f.status <> 'cancelled'
        AND f.created_at >= date_trunc('day', CAST(:at AS timestamptz), l.time_zone)
    UNION SELECT a.order_number FROM allocations a
    WHERE a.location = l.id AND a.state = 'open' AND a.fulfillment_order IS NULL
        AND NOT a.turned_down
    UNION SELECT r.order_number FROM reservations r
    WHERE r.location = l.id AND r.state = 'open' AND r.kind = 'stock') given
    WHERE given.order_number <> :besides) AS orders
FROM locations l WHERE l.active AND l.daily_capacity IS NOT NULL
"""

_COSTS = """
SELECT p.sku, p.unit_cost_minor, p.cost_currency, (
    SELECT coalesce(json_agg(json_build_array(s.location, s.unit_cost_minor, s.cost_currency)),
        '[]') FROM stock_levels s WHERE s.sku = p.sku AND s.unit_cost_minor IS NOT NULL) AS places
FROM jsonb_array_elements_text(CAST(:skus AS jsonb)) k(sku) JOIN products p ON p.sku = k.sku
"""


def ask_load(at: datetime, besides: str | None) -> Statement:
    """Ask how many orders each place was given today; `besides`: an order that does not count."""
    return Statement(_LOAD, {"at": at, "besides": besides or ""})


def load_of(network: Network, found: Iterable[Any]) -> Ints:
    """By location; 0 for those without a limit, which nobody counts."""
    load = np.zeros(len(network.locations), dtype=np.int64)
    for row in found:
        if row.id in network.locations.row_of:
            load[network.locations.row_of[row.id]] = row.orders
    return load


def ask_costs(skus: Sequence[str]) -> Statement:
    """Ask what units of articles cost the merchant, in general and at places."""
    return Statement(_COSTS, {"skus": json.dumps(list(skus))})


def costs_of(network: Network, skus: Sequence[str], found: Iterable[Any]) -> Ints:
    """What a unit costs at each place, in mills of the rules' currency; -1 where unknown."""
    mills = network.router.prices.mills
    rows = network.locations.row_of

    def known(minor: int | None, currency: str | None) -> int:
        cost = None if minor is None else mills(minor, currency)
        return -1 if cost is None else cost

    goods = np.full((len(rows), len(skus)), -1, dtype=np.int64)
    column = {sku: number for number, sku in enumerate(skus)}
    for row in found:
        goods[:, column[row.sku]] = known(row.unit_cost_minor, row.cost_currency)
        for location, minor, currency in row.places:
            if location in rows:
                goods[rows[location], column[row.sku]] = known(minor, currency)
    return goods


def carriers_for(network: Network, ask: Ask) -> Mapping[str, Flags]:
    """Which places each carrier fetches from for this method and country."""
    key = (ask.method, ask.country or "")
    if key not in network.carriers:
        found: dict[str, Flags] = {}
        for service in network.services:
            to = {"*", ask.country} & set(service["countries"])
            if service["method"] == ask.method and to:
                here = [_fetches(service, each) for each in network.locations.rows]
                none = np.zeros(len(here), dtype=np.bool_)
                carrier = service["carrier"]
                found[carrier] = found.get(carrier, none) | np.array(here, dtype=np.bool_)
        network.carriers.keep(key, found)
    return network.carriers[key]


def _fetches(service: Mapping[str, Any], place: Location) -> bool:
    kinds, groups = service["from_kinds"], service["from_groups"]
    return (not kinds or place.kind in kinds) and (
        not groups or not place.groups.isdisjoint(groups)
    )


def days_until(network: Network, ask: Ask, rows: Ints, at: datetime, policy: Policy) -> Ints:
    """Days until a customer has what is ordered now, counted for some locations, by location.

    Counted as promises are, of the quarter of an hour; of the others 0, as nobody asks, and of all
    where nobody has said where it would go.
    """
    days = np.zeros(len(network.locations), dtype=np.int64)
    if ask.country is None:
        return days
    point = ask.point or (None, None)
    where, now = Where(ask.country, None, *point), _quarter(at)
    destination = where.destination()
    # All customers of a country who live by the same clock get it on the same day.
    key = (ask.method, ask.country, destination.zone, now, policy)
    counted = network.days.get(key)
    if counted is None:
        counted = network.days.keep(key, {})
    ids = {row: network.locations.ids[row] for row in rows.tolist()}
    missing = [id for id in ids.values() if id not in counted]
    terms = Terms(
        method=ask.method,
        places={id: network.place(id) for id in missing},
        services=services_to(ask.country, ask.method, network.services),
        destination=destination,
        grace=policy.grace,
        days=policy.promise_days(ask.method),
    )
    counted |= {id: _days(terms, id, now) for id in missing}
    for row, id in ids.items():
        days[row] = counted[id]
    return days


def _days(terms: Terms, id: str, now: datetime) -> int:
    """From today to the day of delivery, by the customer's calendar."""
    promise = terms.promise(now, Units(id))
    if promise is None:
        return UNKNOWN_DAYS
    zone = terms.destination.zone
    return (promise.by.astimezone(zone).date() - now.astimezone(zone).date()).days


def _quarter(at: datetime) -> datetime:
    return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % _QUARTER
