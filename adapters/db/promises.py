"""What dates and prices are counted from, read from the books: places, services, what is coming."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.availability import COMING, LEFT
from adapters.db.unit import OrderUnit
from adapters.holidays import public_holidays
from oms.orders import Order
from oms.places import Point, time_zone
from oms.policy import Policy
from oms.promises import Calendar, Destination, Place, Promise, Service, Terms, Units
from oms.sourcing import Pick

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

PLACE = """json_build_object('id', l.id, 'kind', l.kind, 'groups', l.groups, 'country', l.country,
    'region', l.address ->> 'region', 'time_zone', l.time_zone, 'cutoff', l.cutoff,
    'opening_hours', l.opening_hours, 'handling_minutes', l.handling_minutes,
    'closed_on', l.closed_on, 'open_on_holidays', l.open_on_holidays, 'currency', l.currency)"""
"""A place as `place_of` reads it, of a location `l`."""

SERVICES = """(SELECT coalesce(json_agg(to_jsonb(v) ORDER BY v.id), '[]')
    FROM shipping_services v WHERE v.active)"""
"""All services on offer: there are few, and what fits is decided where the parcel is known."""


def arrives(sku: str, location: str, channel: str, units: str) -> str:
    """When so many backordered units of a level can be served, in SQL; null if nobody knows.

    `units` with all that are served there before them. What lies there goes first, less what the
    channel leaves; then what is coming, but for what should be there by now. No unit of a preorder
    is served before its day, and it is what counts where nothing is announced.
    """
    return f"""(
        SELECT CASE WHEN p.available_from > :now
            THEN greatest(coalesce(a.at, p.available_from), p.available_from) ELSE a.at END
        FROM products p, LATERAL (
            SELECT CASE WHEN n.units <= 0 THEN CAST(:now AS timestamptz) ELSE (
                SELECT min(i.expected_at) FROM (
                    SELECT e.expected_at, sum(e.quantity) OVER (ORDER BY e.expected_at) AS by_then
                    FROM {COMING} e WHERE e.sku = {sku} AND e.location = {location}
                        AND e.expected_at >= :now) i
                WHERE i.by_then >= n.units) END AS at
            FROM (
                SELECT {units} - ({LEFT}) + (
                    SELECT coalesce(CAST(c.buffers ->> l.kind AS bigint), 0)
                    FROM locations l LEFT JOIN channels c ON c.id = {channel}
                    WHERE l.id = {location}) AS units
                FROM stock_levels s WHERE s.sku = {sku} AND s.location = {location}) n) a
        WHERE p.sku = {sku})"""


# What is owed to this order at the place, and to all that waited there before it.
AHEAD = """(SELECT sum(q.quantity) FROM reservations q WHERE q.sku = r.sku
    AND q.location = r.location AND q.kind = 'backorder' AND q.state = 'open' AND q.id <= r.id)"""

REGION = "o.document #>> '{delivery,address,region}'"
"""The region an order `o` goes to, as its address names it."""

WAITING = f"""(
    SELECT coalesce(json_agg(json_build_array(
        r.location, {arrives("r.sku", "r.location", "o.channel", AHEAD)})), '[]')
    FROM reservations r
    WHERE r.order_number = o.number AND r.kind = 'backorder' AND r.state = 'open')"""
"""Where an order `o` waits for goods, and until when."""

_PLACES_OF = f"""(SELECT coalesce(json_agg({PLACE}), '[]') FROM locations l
    WHERE l.id = ANY(CAST(:places AS text[])))"""

_OF_ORDER = f"""
SELECT {_PLACES_OF} AS places, {SERVICES} AS services, {REGION} AS region, {WAITING} AS waiting
FROM orders o WHERE o.number = :n
"""

_OF_PLACES = text(f"SELECT {_PLACES_OF} AS places, {SERVICES} AS services")

_UNITS = """(w.quantity + (SELECT v.backordered FROM stock_levels v
    WHERE v.sku = w.sku AND v.location = w.location))"""

_ARRIVALS = text(
    f"""
SELECT w.location, w.sku, {arrives("w.sku", "w.location", "CAST(:channel AS text)", _UNITS)} AS at
FROM jsonb_to_recordset(CAST(:late AS jsonb)) AS w(sku text, location text, quantity bigint)
"""
)


class Where(NamedTuple):
    """Where goods go."""

    country: str
    region: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    def destination(self) -> Destination:
        """The clock and the holidays there."""
        point = None
        if self.latitude is not None and self.longitude is not None:
            # To ten kilometres or so: near enough, and few enough to be remembered.
            point = Point(round(self.latitude, 1), round(self.longitude, 1))
        zone = time_zone(self.country, point)
        return Destination(zone, public_holidays(self.country, self.region))


async def promise_order(unit: OrderUnit, policy: Policy) -> Promise | None:
    """Count the promise of an order that is being confirmed, from where its units are held.

    None when units are backordered and nobody knows when they come.
    """
    order = unit.order
    held = [each.location for each in order.reservations]
    (row,) = await unit.ask(_OF_ORDER, n=order.number, places=sorted(set(held)), now=unit.at)
    late = [(location, _moment(at)) for location, at in row.waiting]
    if any(at is None for _, at in late):
        return None
    terms = terms_of(order_place(order, row.region), order.method, row.places, row.services, policy)
    now_there = {each.location for each in order.reservations if each.kind == "stock"}
    units = [Units(location) for location in sorted(now_there)]
    return terms.promise_all(unit.at, [*units, *(Units(*each) for each in late)])


def order_place(order: Order, region: str | None) -> Where:
    """Where an order goes."""
    return Where(order.country, region, order.latitude, order.longitude)


async def read_places(
    tx: AsyncConnection, places: Iterable[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read places and services, as `terms_of` takes them."""
    row = (await tx.execute(_OF_PLACES, {"places": sorted(set(places))})).one()
    return sorted(row.places, key=lambda place: str(place["id"])), row.services


async def arrivals(
    tx: AsyncConnection, picks: Sequence[Pick], late: Sequence[Pick], channel: str, now: datetime
) -> dict[tuple[str, str], datetime | None]:
    """When the backordered units of a plan can be served, by SKU and place; None: nobody knows.

    `picks`: what the plan takes of what is there.
    """
    places = {(pick.sku, pick.location) for pick in late}
    units = dict.fromkeys(places, 0)
    for pick in (*picks, *late):
        if (pick.sku, pick.location) in places:
            units[pick.sku, pick.location] += pick.quantity
    rows = [{"sku": sku, "location": place, "quantity": n} for (sku, place), n in units.items()]
    values = {"late": json.dumps(rows), "channel": channel, "now": now}
    return {(row.sku, row.location): row.at for row in await tx.execute(_ARRIVALS, values)}


def terms_of(
    where: Where,
    method: str,
    places: Iterable[Mapping[str, Any]],
    services: Iterable[Mapping[str, Any]],
    policy: Policy,
) -> Terms:
    """Make the terms of what was read."""
    return Terms(
        method=method,
        places={each["id"]: place_of(each) for each in places},
        services=services_to(where.country, method, services),
        destination=where.destination(),
        grace=policy.grace,
        days=policy.promise_days(method),
    )


def services_to(country: str, method: str, services: Iterable[Mapping[str, Any]]) -> list[Service]:
    """The services that bring goods to a country by a method."""
    return [
        service_of(each, country)
        for each in services
        if each["method"] == method and not {"*", country}.isdisjoint(each["countries"])
    ]


def place_of(row: Mapping[str, Any]) -> Place:
    """Read a `PLACE`."""
    hours = row["opening_hours"]
    holiday = public_holidays(row["country"], row["region"])
    closed = frozenset(row["closed_on"])
    open_on_holidays = row["open_on_holidays"]
    calendar = Calendar(
        zone=ZoneInfo(row["time_zone"]),
        hours={WEEKDAYS.index(day): (_minutes(a), _minutes(b)) for day, (a, b) in hours.items()}
        if hours
        else None,
        cutoff=None if row["cutoff"] is None else _minutes(row["cutoff"]),
        handling=timedelta(minutes=row["handling_minutes"]),
        is_closed=lambda day: (not open_on_holidays and holiday(day)) or day.isoformat() in closed,
    )
    return Place(row["id"], row["kind"], frozenset(row["groups"]), calendar, row["currency"])


def service_of(row: Mapping[str, Any], country: str) -> Service:
    """Read a service as it goes to a country."""
    transit = row["transit_days_by_country"].get(country, row["transit_days"])
    return Service(
        id=row["id"],
        transit=(transit["min"], transit["max"]),
        picks_up_on=frozenset(WEEKDAYS.index(day) for day in row["picks_up_on"]),
        delivers_on=frozenset(WEEKDAYS.index(day) for day in row["delivers_on"]),
        deliver_until=_minutes(row["deliver_until"]),
        cost_minor=row["cost_minor"],
        currency=row["currency"],
        from_kinds=frozenset(row["from_kinds"]),
        from_groups=frozenset(row["from_groups"]),
    )


@lru_cache(maxsize=2048)
def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _moment(at: str | None) -> datetime | None:
    return None if at is None else datetime.fromisoformat(at)
