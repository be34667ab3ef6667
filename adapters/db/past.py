"""What happened, read from the books: places, stock as it was at a moment, and orders since.

Stock then is stock now less what has moved since; the movements are replayed. Those of the orders
that are decided again are left out: a simulation makes its own. What no ledger holds, places and
policies, is as it is now.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.network import read_network
from adapters.db.reach import days_until
from oms.locations import Ints, Locations
from oms.past import (
    Arrival,
    Channel,
    Cost,
    Event,
    Fetching,
    GivenBack,
    PastOrder,
    PricedArticle,
    Serving,
    World,
    demand,
)
from oms.policy import Policy
from oms.sourcing import Ask, Pick


@dataclass(frozen=True)
class Past:
    """A world as it was, and what happened in it since, in the order of time.

    `left_out`: orders that are not decided again, by reason. `decided_by`: how many of those that
    are each rule set decided then, e.g. `ours v3`.
    """

    world: World
    events: Sequence[Event] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    decided_by: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def looking(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One moment of the books, of which nothing can be changed."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            await connection.execute(text("SET TRANSACTION READ ONLY"))
            await connection.execute(text("SET LOCAL statement_timeout = '10min'"))
            yield connection


async def read_articles(tx: AsyncConnection) -> dict[str, PricedArticle]:
    """All articles, by SKU."""
    return {row.sku: _article(row) for row in await tx.execute(text(_ARTICLES))}


async def read_now(
    tx: AsyncConnection, articles: Mapping[str, PricedArticle], policy: Policy
) -> World:
    """Places, and what they have now of some articles. Promises are counted by the policy."""
    return await _world(tx, articles, (), policy)


async def read_since(tx: AsyncConnection, since: datetime, policy: Policy) -> Past:
    """The world as it was then, and what happened since.

    Decided again is every order that was placed since and either got stock or was refused for
    stock. Others are left out; what they took and gave back is replayed as it was.
    """
    rows = (await tx.execute(text(_ORDERS), {"since": since})).all()
    left_out = Counter(why for row in rows if (why := _left_out(row)) is not None)
    taken = [row for row in rows if _left_out(row) is None]
    skus = sorted({line["sku"] for row in taken for line in row.lines})
    articles = {a.sku: a for a in (await read_articles(tx)).values() if a.sku in set(skus)}
    at = {"since": since, "skus": skus, "numbers": [row.number for row in taken]}
    moved = (await tx.execute(text(_MOVED), at)).all()
    world = await _world(tx, articles, moved, policy)
    decided = await _decided(tx, since)
    events: list[tuple[datetime, int, Event]] = [
        (row.at, row.id, Arrival(row.at, row.sku, row.location, row.units))
        for row in moved
        if not row.replayed
    ]
    for row in taken:
        when, id, picks = decided.get(row.number, (row.refused_at or row.placed_at, 0, ()))
        events.append((when, id, _order(row, when, picks, articles)))
    events += [
        (row.at, 0, GivenBack(row.at, row.number, {int(n): u for n, u in row.lines.items()}))
        for row in await tx.execute(text(_CANCELLED), at)
    ]
    # Of what has the same time, units are given back after they were taken.
    events.sort(key=lambda each: (each[0], isinstance(each[2], GivenBack), each[1]))
    by = Counter({row.rules: row.orders for row in await tx.execute(text(_DECIDED_BY), at)})
    return Past(world, [event for _, _, event in events], left_out, by)


# --- the world ------------------------------------------------------------------------------


async def _world(
    tx: AsyncConnection,
    articles: Mapping[str, PricedArticle],
    moved: Iterable[Row[Any]],
    policy: Policy,
) -> World:
    network = await read_network(tx)
    places = network.locations
    levels = (await tx.execute(text(_LEVELS), {"skus": list(articles)})).all()
    stock: dict[str, Ints] = defaultdict(lambda: np.zeros(len(places), dtype=np.int64))
    for row in levels:
        stock[row.sku][places.row_of[row.location]] = row.units
    for row in moved:
        stock[row.sku][places.row_of[row.location]] -= row.units
    return World(
        locations=places,
        serving={
            row.id: Serving(
                active=row.active,
                methods=frozenset(row.serves),
                channels=frozenset(row.channels),
                time_zone=row.time_zone,
            )
            for row in await tx.execute(text(_SERVING))
        },
        stock=dict(stock),
        channels={
            row.id: Channel(
                None if row.location_kinds is None else frozenset(row.location_kinds), row.buffers
            )
            for row in await tx.execute(text("SELECT id, location_kinds, buffers FROM channels"))
        },
        blocked=_blocked(levels, places),
        on_sale_from={
            row.sku: row.available_from
            for row in await tx.execute(text(_PREORDERS), {"skus": list(articles)})
        },
        goods=_goods(levels, places, articles),
        services=[_fetching(each) for each in network.services],
        days=lambda order, rows, metres: days_until(network, order.ask, rows, order.at, policy),
        days_are="counted as promises are",
    )


def _article(row: Row[Any]) -> PricedArticle:
    known = row.unit_cost_minor
    cost = None if known is None else (known, row.cost_currency)
    return PricedArticle(row.sku, row.weight_g or 0, frozenset(row.tags), cost)


def _fetching(service: Mapping[str, Any]) -> Fetching:
    return Fetching(
        service["carrier"],
        service["method"],
        frozenset(service["countries"]),
        frozenset(service["from_kinds"]),
        frozenset(service["from_groups"]),
    )


def _blocked(levels: Iterable[Row[Any]], places: Locations) -> dict[str, Any]:
    blocked: dict[str, Any] = {}
    for row in levels:
        if row.blocked:
            here = blocked.setdefault(row.sku, np.zeros(len(places), dtype=np.bool_))
            here[places.row_of[row.location]] = True
    return blocked


def _goods(
    levels: Iterable[Row[Any]], places: Locations, articles: Mapping[str, PricedArticle]
) -> dict[str, list[Cost | None]]:
    goods: dict[str, list[Cost | None]] = {
        each.sku: [each.cost] * len(places) for each in articles.values() if each.cost is not None
    }
    for row in levels:
        if row.unit_cost_minor is not None:
            here = goods.setdefault(row.sku, [None] * len(places))
            here[places.row_of[row.location]] = (row.unit_cost_minor, row.cost_currency)
    return goods


# --- orders ---------------------------------------------------------------------------------


def _left_out(row: Row[Any]) -> str | None:
    """Why an order is not decided again; None if it is."""
    if row.refusal_code == "insufficient_stock":
        return None
    if row.refusal_code is not None:
        return str(row.refusal_code)
    return None if row.was_reserved else "not_decided_yet"


def _order(
    row: Row[Any],
    at: datetime,
    picks: Sequence[tuple[str, str, int]],
    articles: Mapping[str, PricedArticle],
) -> PastOrder:
    point = None
    if row.latitude is not None and row.longitude is not None:
        point = (row.latitude, row.longitude)
    return PastOrder(
        id=row.number,
        at=at,
        ask=Ask(
            channel=row.channel,
            method=row.method,
            country=row.country,
            segment=row.customer_segment,
            currency=row.currency,
            value_minor=sum(line["total"] for line in row.lines),
            point=point,
            allow_split=row.allow_split,
        ),
        demands=tuple(
            demand(
                articles[line["sku"]],
                line["line"],
                line["ordered"],
                kit=line["kit"],
                price_minor=line["price"],
            )
            for line in row.lines
        ),
        allow_backorder=row.allow_backorder,
        pickup=row.pickup_location,
        was=_shared_out(row.lines, picks),
        was_refused=row.refusal_code is not None,
    )


def _shared_out(
    lines: Sequence[Mapping[str, Any]], picks: Iterable[tuple[str, str, int]]
) -> tuple[Pick, ...]:
    """The ledger knows articles, not lines: the earlier lines first."""
    open = {line["line"]: line["ordered"] for line in lines}
    found = []
    for sku, location, units in picks:
        rest = units
        for line in lines:
            if line["sku"] != sku or not (given := min(rest, open[line["line"]])):
                continue
            open[line["line"]] -= given
            rest -= given
            found.append(Pick(line["line"], location, given, sku))
    return tuple(sorted(found))


_Decided = tuple[datetime, int, list[tuple[str, str, int]]]


async def _decided(tx: AsyncConnection, since: datetime) -> dict[str, _Decided]:
    """What the first plan of each order took, by number: when, in which place of the ledger."""
    found: dict[str, _Decided] = {}
    keys: dict[str, str] = {}
    for row in await tx.execute(text(_RESERVED), {"since": since}):
        number, _, _ = row.key.partition(":")
        if keys.setdefault(number, row.key) != row.key:
            continue  # its hold had ended, and it was decided once more
        _, _, picks = found.setdefault(number, (row.at, row.id, []))
        if row.bucket == "reserved":
            picks.append((row.sku, row.location, row.delta))
    return found


_ARTICLES = "SELECT sku, weight_g, tags, unit_cost_minor, cost_currency FROM products"

_PREORDERS = """SELECT sku, available_from FROM products
WHERE available_from IS NOT NULL AND sku = ANY(CAST(:skus AS text[]))"""

_SERVING = "SELECT id, active, serves, channels, time_zone FROM locations"

# Below zero where more is promised than there is: what comes goes to those first.
_LEVELS = """SELECT sku, location, blocked, unit_cost_minor, cost_currency,
  on_hand - reserved - allocated - safety_stock - backordered AS units
FROM stock_levels WHERE sku = ANY(CAST(:skus AS text[]))"""

_ORDERS = """
SELECT o.number, o.channel, o.currency, o.customer_segment, o.method, o.pickup_location, o.country,
  o.latitude, o.longitude, o.allow_split, o.allow_backorder, o.placed_at, o.refusal_code,
  (SELECT json_agg(json_build_object('line', l.line, 'sku', l.sku, 'kit', l.kit, 'ordered',
      l.ordered, 'price', l.unit_price_minor, 'total', l.total_minor) ORDER BY l.line)
    FROM order_lines l WHERE l.order_number = o.number) AS lines,
  EXISTS (SELECT FROM events e
    WHERE e.order_number = o.number AND e.kind = 'order.reserved') AS was_reserved,
  (SELECT min(e.at) FROM events e
    WHERE e.order_number = o.number AND e.kind = 'order.cancelled') AS refused_at
FROM orders o WHERE o.placed_at >= :since ORDER BY o.placed_at, o.number
"""

# What became available, or was no more, by each movement.
_EFFECT = """CASE WHEN m.bucket = 'on_hand' THEN m.delta
  WHEN m.bucket IN ('reserved', 'allocated', 'backordered') THEN -m.delta ELSE 0 END"""

_MOVED = f"""
SELECT m.at, min(m.id) AS id, m.sku, m.location, CAST(sum({_EFFECT}) AS bigint) AS units,
  split_part(m.key, ':', 1) = ANY(CAST(:numbers AS text[])) AS replayed
FROM stock_movements m
WHERE m.at >= :since AND m.sku = ANY(CAST(:skus AS text[]))
GROUP BY m.at, m.key, m.sku, m.location HAVING sum({_EFFECT}) <> 0 ORDER BY m.at, 2
"""

_RESERVED = """
SELECT key, sku, location, bucket, delta, at, id FROM stock_movements
WHERE at >= :since AND cause = 'reserve' ORDER BY id
"""

# Units that went back to their shelves; those of a parcel that was lost did not.
_CANCELLED = """
SELECT e.at, e.order_number AS number, e.data -> 'lines' AS lines FROM events e
WHERE e.order_number = ANY(CAST(:numbers AS text[])) AND e.kind = 'order.cancelled'
  AND e.data ? 'reason' AND e.data ? 'lines' ORDER BY e.order_number, e.seq
"""

_DECIDED_BY = """
SELECT coalesce(d.rule_set || ' v' || d.version, 'default') AS rules, count(*) AS orders FROM (
  SELECT DISTINCT ON (order_number) rule_set, version FROM routing_decisions
  WHERE order_number = ANY(CAST(:numbers AS text[])) ORDER BY order_number, seq) d
GROUP BY 1
"""
