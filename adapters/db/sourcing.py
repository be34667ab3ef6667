"""What an order may be served from, asked in the order's own terms, and planned by the rules."""

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.at_once import Rows, Statement, at_once
from adapters.db.availability import LEFT, ON_SALE, backorder_room
from adapters.db.network import (
    STAMP,
    Network,
    Serving,
    ask_who_serves,
    keep_serving,
    known_network,
    read_network,
)
from adapters.db.reach import ask_costs, ask_load, carriers_for, costs_of, days_until, load_of
from adapters.db.stock import Want
from oms.backorders import Buyer, Lying, Serves
from oms.eligibility import Asked
from oms.locations import Ints, Locations
from oms.orders import Line
from oms.policy import Policy
from oms.router import Router
from oms.sourcing import Article, Ask, Decision, Demand, Levels, Pick, Shelves

FEW = 3
"""So many lines are planned at once: that takes milliseconds."""

LOOKS = 50
"""How often stock is read again because the master data changed meanwhile."""

# Shelves with nothing on them, and nothing owed, give nothing and explain nothing. Numbers come as
# one text for each article: thousands of rows would take longer than all the rest.
_LEVELS = f"""
SELECT {STAMP} AS stamp, k.sku, p.tags, p.weight_g, h.places, h.units
FROM jsonb_array_elements_text(CAST(:skus AS jsonb)) k(sku)
LEFT JOIN products p ON p.sku = k.sku, LATERAL (
    SELECT coalesce(string_agg(s.location, ','), '') AS places, coalesce(string_agg(concat_ws(',',
        CASE WHEN {ON_SALE} THEN {LEFT} ELSE 0 END, s.backordered, s.on_hand,
        s.reserved + s.allocated, s.safety_stock, CAST(s.blocked AS int)), ','), '') AS units
    FROM stock_levels s WHERE s.sku = k.sku AND (s.on_hand > 0 OR s.allocated > 0)) h
"""
_LEFT, _WAITING, _ON_HAND, _TAKEN, _SAFETY, _BLOCKED = range(6)


class Wanted(Protocol):
    """What decides where goods may come from: of an order, or of a basket that only asks."""

    @property
    def channel(self) -> str:
        """Who sells."""
        ...

    @property
    def method(self) -> str:
        """How the goods get to the customer."""
        ...

    @property
    def pickup_location(self) -> str | None:
        """The store the customer comes to, if so."""
        ...

    @property
    def latitude(self) -> float | None:
        """Where the goods go, in degrees north."""
        ...

    @property
    def longitude(self) -> float | None:
        """Where the goods go, in degrees east."""
        ...

    @property
    def country(self) -> str | None:
        """Where the goods go."""
        ...

    @property
    def customer_segment(self) -> str | None:
        """Who buys."""
        ...

    @property
    def currency(self) -> str | None:
        """What the goods are paid in."""
        ...

    @property
    def goods_minor(self) -> int | None:
        """What the goods cost; None where nobody has said."""
        ...

    @property
    def allow_split(self) -> bool:
        """Whether several places may serve."""
        ...

    @property
    def allow_backorder(self) -> bool:
        """Whether units may be promised that are not there yet."""
        ...


@dataclass(frozen=True, eq=False)
class Around:
    """What an order may be served from, at one moment."""

    network: Network
    ask: Ask
    shelves: Shelves
    articles: Mapping[str, Article]

    async def plan(self, demands: Iterable[Demand], *, told: bool = True) -> Decision:
        """Decide by the rules that are active. `told`: with the record of why.

        What may take long is decided in a thread, so that the process goes on meanwhile.
        """
        known = [self._known(demand) for demand in demands]
        decide = partial(self.network.router.plan, self.ask, known, self.shelves, told=told)
        return decide() if len(known) <= FEW else await asyncio.to_thread(decide)

    def _known(self, demand: Demand) -> Demand:
        article = self.articles.get(demand.sku)
        if article is None:
            return demand
        return replace(demand, tags=article.tags, weight_g=article.weight_g)

    def never(self, demand: Demand) -> frozenset[str]:
        """Places that the rules never serve a line from, whatever lies there."""
        router, shelves = self.network.router, self.shelves
        asked = Asked(router.prices, self.ask, shelves)
        out, _ = asked.never([self._known(demand)])
        return frozenset(shelves.locations.ids[row] for row in np.flatnonzero(out))

    def only(self, places: Collection[str]) -> "Around":
        """The same for an order that is bound to some places."""
        bound = bound_to(places, self.shelves.locations, self.shelves.shut)
        return replace(self, shelves=replace(self.shelves, shut=bound))

    def asks(self, **wishes: Any) -> "Around":
        """The same for an order with other wishes (`Ask`)."""
        return replace(self, ask=replace(self.ask, **wishes))

    @property
    def buffers(self) -> Mapping[str, int]:
        """Units of each article that the channel leaves at each place."""
        shelves = self.shelves
        return dict(zip(shelves.locations.ids, shelves.buffer.tolist(), strict=True))

    def there(self, sku: str) -> int:
        """Units of an article at all places that serve the order."""
        if sku not in self.shelves.skus:
            return 0
        column = self.shelves.available[:, self.shelves.skus.index(sku)]
        return int(column[self.shelves.shut == ""].sum())


def bound_to(
    places: Collection[str], locations: Locations, shut: NDArray[np.str_]
) -> NDArray[np.str_]:
    """Shut all places but some, for an order that is bound to them."""
    others = np.ones(len(shut), dtype=np.bool_)
    others[[locations.row_of[id] for id in places if id in locations.row_of]] = False
    return np.where(others & (shut == ""), "asked_for_another", shut)


def demand_of(line: Line, quantity: int, not_from: Iterable[str] = ()) -> Demand:
    """Ask for units of an order's line."""
    return Demand(
        line.line,
        line.sku,
        quantity,
        frozenset(not_from),
        kit=line.kit,
        price_minor=line.unit_price_minor,
    )


def ask_of(order: Wanted) -> Ask:
    """An order as rules look at it."""
    here = None
    if order.latitude is not None and order.longitude is not None:
        here = (order.latitude, order.longitude)
    return Ask(
        channel=order.channel,
        method=order.method,
        country=order.country,
        segment=order.customer_segment,
        currency=order.currency,
        value_minor=order.goods_minor,
        point=here,
        allow_split=order.allow_split,
    )


async def places_for(
    tx: AsyncConnection,
    order: Wanted,
    skus: Iterable[str],
    *,
    at: datetime | None = None,
    policy: Policy | None = None,
    for_queue: bool = False,
    number: str | None = None,
) -> Around:
    """Read what lies where of these articles, for this order.

    Args:
        tx: The caller's transaction; nothing is locked.
        order: Who asks. A store pickup comes from that very store and no other.
        skus: The articles.
        at: Now.
        policy: What dates are counted by, where the rules ask for days.
        for_queue: Count what the places' open backorders wait for: it is for one of them.
        number: Of the order, which is no load to itself.
    """
    asked = sorted(set(skus))
    ask, at = ask_of(order), at or datetime.now(UTC)
    key = (ask.channel, ask.method)
    read = await _read(tx, {key}, asked, at, number)
    units, articles = _units(read, asked)
    serving = read.serving[key]
    waiting = 0 if for_queue else units[:, :, _WAITING]
    shelves = Shelves(
        locations=read.network.locations,
        skus=tuple(asked),
        available=np.maximum(0, units[:, :, _LEFT] - waiting - serving.buffer[:, None]),
        shut=serving.shut,
        buffer=serving.buffer,
        levels=Levels(
            on_hand=units[:, :, _ON_HAND],
            taken=units[:, :, _TAKEN],
            safety=units[:, :, _SAFETY],
            blocked=units[:, :, _BLOCKED] > 0,
        ),
        load=read.load,
        goods=read.goods,
    )
    shelves = fitted(read.network, ask, shelves, at, policy or Policy())
    around = Around(read.network, ask, shelves, articles)
    return around if order.pickup_location is None else around.only([order.pickup_location])


async def lying_for_queue(
    tx: AsyncConnection, skus: Iterable[str], buyers: Iterable[Buyer], at: datetime, policy: Policy
) -> tuple[Router, Lying]:
    """Read what lies where for backordered units, and which places serve each buyer."""
    asked, all_buyers = sorted(set(skus)), set(buyers)
    keys = {(buyer.channel, buyer.method) for buyer in all_buyers}
    read = await _read(tx, keys, asked, at, None)
    units, articles = _units(read, asked)
    network = read.network
    return network.router, Lying(
        skus=tuple(asked),
        units=np.maximum(0, units[:, :, _LEFT]),
        serves={buyer: _serves(buyer, read) for buyer in all_buyers},
        articles=articles,
        load=read.load,
        goods=read.goods,
        fitted=lambda ask, shelves: fitted(network, ask, shelves, at, policy),
    )


def _serves(buyer: Buyer, read: "_Read") -> Serves:
    serving = read.serving[buyer.channel, buyer.method]
    if buyer.pickup_location is None:
        return Serves(serving.shut, serving.buffer)
    bound = bound_to([buyer.pickup_location], read.network.locations, serving.shut)
    return Serves(bound, serving.buffer)


def fitted(network: Network, ask: Ask, shelves: Shelves, at: datetime, policy: Policy) -> Shelves:
    """Add what depends on where the goods go, as far as the rules ask for it."""
    uses = network.router.rules.uses
    if "days" in uses:
        could = np.flatnonzero((shelves.shut == "") & shelves.available.any(axis=1))
        days = days_until(network, ask, could, at, policy)
        shelves = replace(shelves, days=days)
    if "carriers" in uses:
        shelves = replace(shelves, carriers=carriers_for(network, ask))
    return shelves


class _Read(NamedTuple):
    """What was read of one stamp; levels as rows of `_LEVELS`."""

    network: Network
    serving: Mapping[tuple[str, str], Serving]
    levels: Rows
    load: Ints | None
    goods: Ints | None


async def _read(
    tx: AsyncConnection,
    keys: Collection[tuple[str, str]],
    skus: Sequence[str],
    at: datetime,
    number: str | None,
) -> _Read:
    """Read stock, and all it is looked at with, of one stamp. `keys`: (channel, method)."""
    for _ in range(LOOKS):
        network = known_network(tx) or await read_network(tx)
        uses = network.router.rules.uses
        wanted: dict[Any, Statement] = {"levels": Statement(_LEVELS, {"skus": json.dumps(skus)})}
        wanted |= {key: ask_who_serves(*key) for key in keys if key not in network.serving}
        if "load" in uses:
            wanted["load"] = ask_load(at, number)
        if "goods" in uses:
            wanted["goods"] = ask_costs(skus)
        found = dict(zip(wanted, await at_once(tx, list(wanted.values())), strict=True))
        serving = {
            key: keep_serving(network, *key, found[key][0])
            if key in found
            else network.serving[key]
            for key in keys
        }
        known = {key: each for key, each in serving.items() if each is not None}
        same = all(row.stamp == network.stamp for row in found["levels"])
        if same and len(known) == len(keys):
            load = load_of(network, found["load"]) if "load" in found else None
            goods = costs_of(network, skus, found["goods"]) if "goods" in found else None
            return _Read(network, known, found["levels"], load, goods)
        await read_network(tx)
    raise AssertionError("the master data changed faster than it could be read")


def _units(read: _Read, skus: Sequence[str]) -> tuple[Ints, dict[str, Article]]:
    """Numbers of each shelf, shape (places, skus, 6), and what is known of the articles."""
    rows = read.network.locations.row_of
    units = np.zeros((len(rows), len(skus), 6), dtype=np.int64)
    column = {sku: number for number, sku in enumerate(skus)}
    articles = {}
    for level in read.levels:
        articles[level.sku] = Article(frozenset(level.tags or ()), level.weight_g or 0)
        if level.places:
            here = [rows[id] for id in level.places.split(",")]
            found = np.fromstring(level.units, dtype=np.int64, sep=",")
            units[here, column[level.sku]] = found.reshape(len(here), 6)
    return units, articles


def wants(
    picks: Sequence[Pick],
    buffers: Mapping[str, int],
    into: Literal["reserved", "allocated"] = "reserved",
    *,
    for_queue: bool = False,
) -> list[Want]:
    """What to take for a plan. What the channel (`buffers`, by place) and the rules leave stays."""
    keep: dict[tuple[str, str], int] = {}
    for pick in picks:
        place = (pick.sku, pick.location)
        keep[place] = min(pick.keep, keep.get(place, pick.keep))
    return [
        Want(
            sku=pick.sku,
            location=pick.location,
            quantity=pick.quantity,
            into=into,
            leave=buffers[pick.location] + keep[pick.sku, pick.location],
            for_queue=for_queue,
        )
        for pick in picks
    ]


async def room_for(
    tx: AsyncConnection, order: Wanted, skus: Iterable[str]
) -> dict[tuple[str, str], int]:
    """Units of each (sku, location) that may still be backordered for this order.

    In the order of the places: first where goods come soonest.
    """
    return await backorder_room(
        tx,
        skus=skus,
        channel=order.channel,
        method=order.method,
        pickup_location=order.pickup_location,
    )
