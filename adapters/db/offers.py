"""What a channel may offer for a basket now: by which method, until when, for how much.

Each option is planned as an order would be that is placed now, and promised by the same terms, so
that it can be placed as it says, while nobody else takes the goods. A basket that one place can
serve whole, as nearly all can, needs one statement: the nearest such place is what the default
rules choose. For other baskets, and for all where a rule set is active, all places are read.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from math import inf
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.at_once import Rows, Statement, at_once
from adapters.db.availability import AVAILABLE, METHODS, PLACES, ask_availability, backorder_room
from adapters.db.choosing import choose
from adapters.db.master import ask_for_unknown
from adapters.db.promises import (
    PLACE,
    SERVICES,
    Where,
    arrivals,
    read_places,
    terms_of,
)
from adapters.db.sourcing import Around, places_for
from oms.places import Point, distance_km
from oms.policy import Policy
from oms.promises import Promise, Terms, Units
from oms.sourcing import Demand, Missing, Pick

STORES = 10
"""So many stores are offered for collection, the nearest."""

_NEAREST = 4
"""So many places are read that can serve all; the order of the rules decides among them."""

_METRES = """CASE WHEN CAST(:latitude AS float8) IS NOT NULL THEN
    12742e3 * asin(least(1, sqrt(power(sin(radians(l.latitude - :latitude) / 2), 2)
        + cos(radians(l.latitude)) * cos(radians(:latitude))
        * power(sin(radians(l.longitude - :longitude) / 2), 2)))) END"""

# Limits say that a document's rows are few, or all levels and articles would be read to join them.
# Places that can serve all of a basket, the nearest by each method, each as promises read it.
_WHOLE = f"""
WITH wanted AS (
    SELECT * FROM jsonb_to_recordset(CAST(:wanted AS jsonb))
        AS w(basket int, skus int, sku text, quantity bigint)
    LIMIT (SELECT 10000)
), whole AS MATERIALIZED (
    SELECT w.basket, l.id, l.serves, {_METRES} AS metres
    FROM wanted w JOIN stock_levels s ON s.sku = w.sku JOIN {PLACES}
    WHERE {AVAILABLE} >= w.quantity
    GROUP BY w.basket, w.skus, l.id, l.serves, l.latitude, l.longitude HAVING count(*) = w.skus
), nearest AS (
    SELECT b.basket, m.method, n.id, n.rank
    FROM (SELECT DISTINCT basket FROM whole) b,
        (VALUES ('home', {_NEAREST}), ('store_pickup', {STORES})) m(method, most),
        LATERAL (
            SELECT h.id, row_number() OVER (ORDER BY h.metres NULLS LAST, h.id) AS rank
            FROM whole h WHERE h.basket = b.basket AND m.method = ANY(h.serves)
            ORDER BY h.metres NULLS LAST, h.id LIMIT m.most) n
)
SELECT
    (SELECT coalesce(json_agg(json_build_array(basket, method, id) ORDER BY basket, method, rank),
        '[]') FROM nearest) AS found,
    (SELECT coalesce(json_agg(json_build_object(
        'place', {PLACE}, 'at', json_build_array(l.latitude, l.longitude))), '[]')
        FROM locations l WHERE l.id IN (SELECT id FROM nearest)) AS places,
    {SERVICES} AS services,
    EXISTS (SELECT FROM rule_sets r WHERE r.active) AS ruled
"""


class Line(NamedTuple):
    """Units of an article that are asked for. `price_minor`: of a unit, where it is known."""

    line: int
    sku: str
    quantity: int
    kit: str | None = None
    price_minor: int = 0


Basket = Sequence[Line]


class Served(NamedTuple):
    """Units of a line from a place. `backordered`: they are not there yet."""

    line: int
    location: str
    quantity: int
    backordered: bool


class Option(NamedTuple):
    """One way to have a basket, to be ordered with these two wishes."""

    method: str
    location: str | None
    promise: Promise
    cost_minor: int
    currency: str | None
    parcels: int
    allow_split: bool
    allow_backorder: bool
    served: tuple[Served, ...]


class Ask(NamedTuple):
    """Who asks: what an order that is placed so would be planned by (`sourcing.Wanted`)."""

    channel: str
    latitude: float | None
    longitude: float | None
    allow_split: bool
    allow_backorder: bool
    country: str | None = None
    method: str = "home"
    pickup_location: str | None = None
    customer_segment: str | None = None
    currency: str | None = None
    goods_minor: int | None = None


class Offering(NamedTuple):
    """What all baskets of one request have in common. `now`: when an order may be confirmed.

    `segment`: who buys. `goods_minor`: what the goods cost, in `currency`. Rules may ask for them.
    """

    channel: str
    where: Where | None
    now: datetime
    policy: Policy
    segment: str | None = None
    currency: str | None = None
    goods_minor: int | None = None

    def ask(self, *, split: bool = False, backorder: bool = False, method: str = "home") -> Ask:
        """Ask for a delivery, at home if nothing else is said."""
        where = self.where
        here = (None, None) if where is None else (where.latitude, where.longitude)
        return Ask(
            self.channel,
            *here,
            allow_split=split,
            allow_backorder=backorder,
            country=None if where is None else where.country,
            method=method,
            customer_segment=self.segment,
            currency=self.currency,
            goods_minor=self.goods_minor,
        )


class Answered(NamedTuple):
    """What was answered: `ask_for_unknown`, `ask_availability`, and which places serve."""

    known: Any
    levels: Rows
    places: Rows


async def ask(
    tx: AsyncConnection,
    skus: Sequence[str],
    baskets: Sequence[Basket],
    offering: Offering,
    now: datetime,
) -> Answered:
    """Ask what is known, what is there and which places serve, in one round trip."""
    known, levels, places = await at_once(
        tx,
        [
            ask_for_unknown(offering.channel, skus),
            ask_availability(skus, channel=offering.channel, now=now),
            _ask_for_places(baskets, offering),
        ],
    )
    return Answered(known[0], levels, places)


def _ask_for_places(baskets: Sequence[Basket], offering: Offering) -> Statement:
    """Ask which places serve each basket whole: what `offers` begins with."""
    ask = offering.ask()
    rows = [row for number, basket in enumerate(baskets) for row in _rows(number, basket)]
    return Statement(
        _WHOLE,
        {
            "wanted": json.dumps(rows),
            "methods": list(METHODS),
            "channel": offering.channel,
            "only": None,
            "latitude": ask.latitude,
            "longitude": ask.longitude,
        },
    )


async def offers(
    tx: AsyncConnection, baskets: Sequence[Basket], offering: Offering, places: Sequence[Any]
) -> list[list[Option]]:
    """The options for each basket: at home first, then the stores to collect from, nearest first.

    At home a basket that one place serves whole has one option. Else it may have several: split,
    from one place with units that come later, or both; none where no date is known.

    `places`: what was answered by `ask`.
    """
    found = _whole(places, baskets, offering)
    if found.ruled:
        await _go_by_rules(tx, baskets, found, offering)
    hard = [basket for basket, each in zip(baskets, found.by_basket, strict=True) if not each.home]
    around = await _read_around(tx, hard, offering)
    options = []
    for basket, nearest in zip(baskets, found.by_basket, strict=True):
        stores = [_from_one(basket, id, "store_pickup", found, offering) for id in nearest.stores]
        if nearest.home:
            at_home = [_from_one(basket, nearest.home[0], "home", found, offering)]
        else:
            at_home = [each async for each in _from_several(tx, basket, offering, around)]
        options.append([option for option in (*at_home, *stores) if option is not None])
    return options


async def _go_by_rules(
    tx: AsyncConnection, baskets: Sequence[Basket], found: "_Found", offering: Offering
) -> None:
    """Leave only the stores that the rules let serve; who serves at home is planned."""
    skus = {line.sku for basket in baskets for line in basket}
    ask = offering.ask(method="store_pickup")
    around = await places_for(tx, ask, skus, policy=offering.policy)
    for basket, nearest in zip(baskets, found.by_basket, strict=True):
        nearest.home.clear()
        demands = _demands(basket)
        nearest.stores[:] = [
            id
            for id in nearest.stores
            if not (await around.only([id]).plan(demands, told=False)).left
        ]


# --- from one place -------------------------------------------------------------------------


class _Nearest(NamedTuple):
    """Places that serve a basket whole, nearest first."""

    home: list[str]
    stores: list[str]


class _Found(NamedTuple):
    """For each basket its places, and what promises read of all of them."""

    by_basket: list[_Nearest]
    places: dict[str, Any]
    services: list[Any]
    ruled: bool
    terms: dict[tuple[str, str], Terms]

    def of(self, method: str, id: str, offering: Offering) -> Terms:
        """What is counted from for a place; one where all go to the same destination."""
        shared = method == "home" and offering.where is not None
        key = (method, "" if shared else id)
        if key not in self.terms:
            places = list(self.places.values()) if shared else [self.places[id]]
            where = _where(offering if shared else None, places)
            self.terms[key] = terms_of(where, method, places, self.services, offering.policy)
        return self.terms[key]


def _whole(places: Sequence[Any], baskets: Sequence[Basket], offering: Offering) -> _Found:
    (row,) = places
    ask = offering.ask()
    far = {each["place"]["id"]: _metres(each["at"], ask) for each in row.places}
    by_basket = [_Nearest([], []) for _ in baskets]
    for basket, method, id in row.found:
        chosen = by_basket[basket]
        (chosen.home if method == "home" else chosen.stores).append(id)
    for each in by_basket:
        each.home.sort(key=lambda id: (far[id], id))
    known = {each["place"]["id"]: each["place"] for each in row.places}
    return _Found(by_basket, known, row.services, row.ruled, {})


def _rows(number: int, basket: Basket) -> list[dict[str, Any]]:
    units = _units(basket)
    return [
        {"basket": number, "skus": len(units), "sku": sku, "quantity": quantity}
        for sku, quantity in units.items()
    ]


def _units(basket: Basket) -> Counter[str]:
    """Units of each article."""
    units: Counter[str] = Counter()
    for line in basket:
        units[line.sku] += line.quantity
    return units


def _metres(at: Sequence[float | None], ask: Ask) -> float:
    """How far the rules take a place to be."""
    north, east = at
    if ask.latitude is None or ask.longitude is None or north is None or east is None:
        return inf
    return round(distance_km(Point(ask.latitude, ask.longitude), Point(north, east)) * 1000)


def _where(offering: Offering | None, places: Sequence[Any]) -> Where:
    """Where it goes; without a destination, to somebody who lives beside the place."""
    if offering is not None and offering.where is not None:
        return offering.where
    return Where(places[0]["country"], places[0]["region"])


def _from_one(
    basket: Basket, id: str, method: str, found: _Found, offering: Offering
) -> Option | None:
    picks = [Pick(line.line, id, line.quantity, line.sku) for line in basket]
    terms = found.of(method, id, offering)
    location = id if method == "store_pickup" else None
    ask = offering.ask()
    return _option(ask, picks, [], terms, offering.now, location=location)


def _option(
    ask: Ask,
    picks: Sequence[Pick],
    late: Sequence[tuple[Pick, datetime]],
    terms: Terms,
    now: datetime,
    *,
    location: str | None = None,
) -> Option | None:
    here = sorted({pick.location for pick in picks})
    later = [Units(pick.location, at) for pick, at in late]
    promise = terms.promise_all(now, [*(Units(place) for place in here), *later])
    if promise is None:
        return None
    places = {*here, *(each.location for each in later)}
    cost, currency = terms.cost(places)
    return Option(
        method=terms.method,
        location=location,
        promise=promise,
        cost_minor=cost,
        currency=currency,
        parcels=len(here) + len({each.location for each in later}),
        allow_split=ask.allow_split,
        allow_backorder=ask.allow_backorder,
        served=(
            *(Served(p.line, p.location, p.quantity, backordered=False) for p in picks),
            *(Served(p.line, p.location, p.quantity, backordered=True) for p, _ in late),
        ),
    )


# --- from several places, or later ----------------------------------------------------------


class _Around(NamedTuple):
    """What all places hold of the articles of baskets that none serves whole, read once.

    `late`: the articles that some place may take backorders of.
    """

    places: Around | None
    late: frozenset[str]

    def short(self, basket: Basket) -> frozenset[str]:
        """The articles of which all places together have too little."""
        assert self.places is not None, "it was read for this basket"
        wanted = _units(basket)
        return frozenset(sku for sku, units in wanted.items() if units > self.places.there(sku))


async def _read_around(
    tx: AsyncConnection, baskets: Sequence[Basket], offering: Offering
) -> _Around:
    skus = {line.sku for basket in baskets for line in basket}
    if not skus:
        return _Around(None, frozenset())
    ask = offering.ask(backorder=True)
    places = await places_for(tx, ask, skus, policy=offering.policy)
    room = await backorder_room(tx, skus=skus, channel=ask.channel, method=ask.method)
    return _Around(places, frozenset(sku for sku, _ in room))


async def _from_several(
    tx: AsyncConnection, basket: Basket, offering: Offering, around: _Around
) -> AsyncIterator[Option | None]:
    """What can be had from several places; if that is not all, with units that come later.

    From one, if the rules let one serve all.
    """
    short = around.short(basket)
    for split in () if short else (False, True):
        ask = offering.ask(split=split)
        picks, _, missing = await _chosen(tx, ask, basket, around)
        if not missing:
            yield await _priced(tx, ask, picks, [], offering)
            if not split:
                return
    if not around.late or not short <= around.late:
        return
    known: list[tuple[Served, ...]] = []
    for split in (False, True) if short else (False,):
        ask = offering.ask(split=split, backorder=True)
        picks, late, missing = await _chosen(tx, ask, basket, around)
        option = None if missing else await _priced(tx, ask, picks, late, offering)
        if option is not None and option.served not in known:
            known.append(option.served)
            yield option


async def _chosen(
    tx: AsyncConnection, ask: Ask, basket: Basket, around: _Around
) -> tuple[Sequence[Pick], Sequence[Pick], Sequence[Missing]]:
    """What an order with these wishes would be given, what it would wait for, what it lacks."""
    assert around.places is not None
    wishes = around.places.asks(allow_split=ask.allow_split)
    picks, late, missing, _ = await choose(tx, ask, _demands(basket), wishes, told=False)
    return picks, late, missing


def _demands(basket: Basket) -> list[Demand]:
    return [
        Demand(line.line, line.sku, line.quantity, kit=line.kit, price_minor=line.price_minor)
        for line in basket
    ]


async def _priced(
    tx: AsyncConnection, ask: Ask, picks: Sequence[Pick], late: Sequence[Pick], offering: Offering
) -> Option | None:
    dates = await arrivals(tx, picks, late, ask.channel, offering.now) if late else {}
    known = [(pick, at) for pick in late if (at := dates[pick.sku, pick.location]) is not None]
    if len(known) < len(late):
        return None
    places, services = await read_places(tx, {pick.location for pick in (*picks, *late)})
    terms = terms_of(_where(offering, places), ask.method, places, services, offering.policy)
    return _option(ask, picks, known, terms, offering.now)
