"""What can be had: which places may serve a channel by a method, and what they hold.

These read without locking; `adapters.db.stock.take` checks again under the lock.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.at_once import Statement, at_once

METHODS = ("home", "store_pickup")
"""The delivery methods that can be ordered today."""

# What counts for a channel is said here, once, for what is shown and for what is sold: join levels
# `s` with these places as `l`, and take `AVAILABLE` and `ROOM` of them. Parameters: `:channel`, or
# null for all of them; `:methods`, any of which a place must serve; `:only`, one location or null.
# The limit makes each level look for its own place: the planner cannot know that most places serve,
# and would look through all of them for each article.
_FOR_CHANNEL = """((CAST(:channel AS text) IS NULL
      OR l.channels && ARRAY['*', CAST(:channel AS text)])
    AND coalesce(l.kind = ANY ((SELECT location_kinds FROM channels
      WHERE id = CAST(:channel AS text))::text[]), true))"""
_BY_METHOD = "l.serves && CAST(:methods AS text[])"
BUFFER = """coalesce(CAST((SELECT buffers FROM channels WHERE id = CAST(:channel AS text))
    ->> l.kind AS bigint), 0)"""
PLACES = f"""LATERAL (
  SELECT l.*, {BUFFER} AS buffer
  FROM locations l
  WHERE l.id = s.location AND l.active AND {_BY_METHOD} AND {_FOR_CHANNEL}
    AND (CAST(:only AS text) IS NULL OR l.id = CAST(:only AS text))
  LIMIT 1
) l ON true"""

SHUT = f"""CASE WHEN NOT l.active THEN 'inactive' WHEN NOT {_FOR_CHANNEL} THEN 'channel'
  WHEN NOT ({_BY_METHOD}) THEN 'method' ELSE '' END"""
"""Why a location `l` is none of `PLACES` (`oms.reasons.Code`), but for `:only`; empty if it is."""

# What may not be sold yet, but as a preorder: read once a statement, they are few.
ON_SALE = "s.sku NOT IN (SELECT sku FROM products WHERE available_from > now())"

# What lies at a place beyond what is kept back; of what is blocked there, nothing. What its open
# backorders wait for is theirs; the ledger decides by the same rule, under the lock.
LEFT = """CASE WHEN s.blocked THEN 0
  ELSE s.on_hand - s.reserved - s.allocated - s.safety_stock END"""
AVAILABLE_HERE = f"CASE WHEN {ON_SALE} THEN greatest(0, ({LEFT}) - s.backordered) ELSE 0 END"
AVAILABLE = f"CASE WHEN {ON_SALE} THEN greatest(0, ({LEFT}) - s.backordered - l.buffer) ELSE 0 END"

# Room beyond stock: the limit, and what is coming where the place's policy counts it. What has
# arrived stays in the count as long as nobody else may have it.
ROOM = f"""CASE WHEN s.blocked THEN 0 ELSE greatest(0, s.backorder_limit - CASE
  WHEN NOT s.backorder_from_incoming THEN s.backordered
  WHEN {ON_SALE} THEN greatest(0, s.backordered - greatest(0, {LEFT})) - s.incoming + s.coming_back
  ELSE s.backordered - greatest(0, {LEFT}) - s.incoming + s.coming_back END) END"""

# Units that are still to come, by purchase order or on the road in a transfer; without a time, or
# after it, nothing is promised on them. The two halves must have the same types: otherwise the
# planner reads all that is coming of everything, and looks for the article afterwards.
COMING = """(
  SELECT CAST(i.sku AS text) AS sku, CAST(i.location AS text) AS location,
    i.quantity - i.received AS quantity, i.expected_at, 'purchase_order' AS source,
    CAST(i.id AS text) AS id, i.reference
  FROM incoming i WHERE i.ended_at IS NULL AND i.received < i.quantity
  UNION ALL
  SELECT r.sku, t.destination, r.shipped - r.received - r.lost, t.expected_at,
    'transfer', t.id, t.reference
  FROM transfer_lines r JOIN transfers t ON t.id = r.transfer WHERE r.shipped > r.received + r.lost
)"""


# When goods for backorders of a level are there: a preorder's may lie there already.
_SERVED = f"""least(CASE WHEN ({LEFT}) > s.backordered THEN timestamptz '-infinity' END, (
    SELECT min(e.expected_at) FROM {COMING} e
    WHERE e.sku = s.sku AND e.location = s.location AND e.expected_at >= now()))"""

_PLACES_WITH_ROOM = text(
    f"""
    SELECT l.id, jsonb_object_agg(s.sku, {ROOM}) AS available
    FROM stock_levels s JOIN {PLACES}
    WHERE s.sku = ANY(CAST(:skus AS text[])) AND {ROOM} > 0
    GROUP BY l.id ORDER BY min({_SERVED}) NULLS LAST, l.id
    """
)

# The articles come as one document: of an array the planner would know the length, and plan anew.
_AVAILABILITY = f"""
SELECT k.sku, h.available, h.backorderable, (
        SELECT p.available_from FROM products p WHERE p.sku = k.sku AND p.available_from > now()
    ) AS preorder_until, (
        SELECT coalesce(json_agg(json_build_array(e.quantity, e.expected_at)
            ORDER BY e.expected_at), '[]')
        FROM (
            SELECT sum(s.quantity)::bigint AS quantity, s.expected_at
            FROM {COMING} s JOIN {PLACES}
            WHERE s.sku = k.sku AND s.expected_at >= :now GROUP BY s.expected_at) e
    ) AS coming
FROM jsonb_array_elements_text(CAST(:skus AS jsonb)) k(sku), LATERAL (
    SELECT coalesce(sum({AVAILABLE}), 0)::bigint AS available,
        coalesce(sum({ROOM}), 0)::bigint AS backorderable
    FROM stock_levels s JOIN {PLACES} WHERE s.sku = k.sku) h
"""

_AVAILABLE_BY_SKU = text(
    f"""
SELECT s.sku, sum({AVAILABLE})::bigint AS available
FROM stock_levels s JOIN {PLACES}
WHERE s.sku = ANY(CAST(:skus AS text[])) GROUP BY s.sku
"""
)


async def backorder_room(
    tx: AsyncConnection,
    *,
    skus: Iterable[str],
    channel: str,
    method: str,
    pickup_location: str | None = None,
) -> dict[tuple[str, str], int]:
    """How much places may still take backorders of, by (SKU, location), see `ROOM`.

    First the places where goods come soonest.
    """
    found = await tx.execute(_PLACES_WITH_ROOM, _who(skus, channel, method, pickup_location))
    return {(sku, row.id): units for row in found for sku, units in row.available.items()}


class Expected(NamedTuple):
    """Units on their way."""

    quantity: int
    expected_at: datetime


class Availability(NamedTuple):
    """What a channel could have of a SKU now, and what comes; soonest first.

    `backorderable`: units that may be promised beyond stock. `preorder_until`: until then they are
    all there is; None for an ordinary product.
    """

    sku: str
    available: int
    in_stock: bool
    incoming: tuple[Expected, ...]
    backorderable: int = 0
    preorder_until: datetime | None = None


async def availability(
    tx: AsyncConnection,
    *,
    sku: str,
    quantity: int = 1,
    channel: str | None = None,
    now: datetime,
) -> Availability:
    """Add up what counts for the channel, by any method that can be ordered.

    Without a channel: all active places. `in_stock`: at least `quantity` units. Incoming units
    whose date has passed are not promised any more.
    """
    (rows,) = await at_once(tx, [ask_availability([sku], channel=channel, now=now)])
    return read_availability(rows, [sku], quantity=quantity)[0]


def ask_availability(skus: Sequence[str], *, channel: str | None, now: datetime) -> Statement:
    """Ask for the availability of several articles. `read_availability` reads what it answers."""
    who = {"channel": channel, "methods": list(METHODS), "only": None}
    return Statement(_AVAILABILITY, who | {"skus": json.dumps(skus), "now": now})


def read_availability(
    rows: Sequence[Any], skus: Sequence[str], *, quantity: int = 1
) -> list[Availability]:
    """The `availability` of several articles, in the order asked for."""
    by_sku = {row.sku: row for row in rows}
    return [_availability(by_sku[sku], quantity) for sku in skus]


def _availability(row: Any, quantity: int) -> Availability:
    expected = tuple(Expected(n, datetime.fromisoformat(at)) for n, at in row.coming)
    return Availability(
        row.sku,
        row.available,
        row.available >= quantity,
        expected,
        row.backorderable,
        row.preorder_until,
    )


async def available_by_sku(
    tx: AsyncConnection, *, skus: Iterable[str], channel: str | None
) -> dict[str, int]:
    """What a channel could have of each SKU now, as `availability` says it; 0 where nothing is."""
    asked = sorted(set(skus))
    who = {"skus": asked, "channel": channel, "methods": list(METHODS), "only": None}
    found = await tx.execute(_AVAILABLE_BY_SKU, who)
    return dict.fromkeys(asked, 0) | {row.sku: row.available for row in found}


def _who(
    skus: Iterable[str], channel: str, method: str, pickup_location: str | None
) -> dict[str, Any]:
    assert (method == "store_pickup") == (pickup_location is not None)
    return {
        "skus": sorted(set(skus)),
        "channel": channel,
        "methods": [method],
        "only": pickup_location,
    }
