"""How much of what was sold comes back: by article, reason, place, condition and channel.

A sale is an order line. All its units that left and were not lost count on the day, and for the
place, of its first hand-over; what came back of it counts with it, whenever that was. So the shares
of adjoining periods never overlap, and no more comes back than was sold.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

By = Literal["sku", "reason", "location", "condition", "channel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which sales, and what of them.

    `since` and `until`: of the first hand-over, the latter excluded. `location`: which handed over.
    `min_sold`: leave out what was sold less; `limit`: rows, those with the highest rate.
    """

    by: By
    since: datetime
    until: datetime
    channel: str | None = None
    location: str | None = None
    min_sold: int = 1
    limit: int = 50


class ReportRow(NamedTuple):
    """Units of one article, reason, place, condition or channel, in one currency.

    `sold`: handed over; by reason and condition, of everything in that currency. `announced`:
    asked for and not fallen away; `returned`: arrived; `accepted`, `refused`: inspected.
    `refunded_minor`: what the units that were given back for had cost, fees and the way left out;
    None by condition. `rate_percent`: `returned` of `sold`. Apart from customers' returns:
    `claimed` without sending back, `undelivered` because a parcel turned round.
    """

    key: str
    currency: str
    sold: int
    announced: int
    returned: int
    accepted: int
    refused: int
    refunded_minor: int | None
    rate_percent: Decimal
    claimed: int
    undelivered: int


async def read_report(tx: AsyncConnection, asked: Asked) -> list[ReportRow]:
    """Read the rows of a report, highest rate first; what nothing came back of is left out."""
    await plan_for_the_period(tx)
    rows = await tx.execute(
        text(_REPORTS[asked.by]),
        {
            "since": asked.since,
            "until": asked.until,
            "channel": asked.channel,
            "location": asked.location,
            "min_sold": asked.min_sold,
            "limit": asked.limit,
        },
    )
    return [ReportRow(*row) for row in rows]


async def plan_for_the_period(tx: AsyncConnection) -> None:
    """Let PostgreSQL plan for the days that are asked for: a plan for any days takes four times."""
    await tx.execute(text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"))


# Fulfillment orders of the period, less those whose units belong to an earlier hand-over.
SALES = """
  SELECT f.order_number, l.line, f.location, l.sku, o.channel, o.currency, o.country,
    o.customer_segment, ol.total_minor, ol.ordered, ol.shipped + ol.delivered AS units
  FROM fulfillment_orders f
  JOIN fulfillment_lines l ON l.fulfillment_order = f.id AND l.quantity > 0
  JOIN order_lines ol ON ol.order_number = f.order_number AND ol.line = l.line
  JOIN orders o ON o.number = f.order_number
  WHERE f.handed_over_at >= :since AND f.handed_over_at < :until
    AND NOT EXISTS (
      SELECT FROM fulfillment_orders e
      JOIN fulfillment_lines el ON el.fulfillment_order = e.id AND el.quantity > 0
      WHERE e.order_number = f.order_number AND el.line = l.line AND e.id <> f.id
        AND (e.handed_over_at, e.seq) < (f.handed_over_at, f.seq))
"""

_STANDS = "coalesce(r.declined_at, r.cancelled_at, r.expired_at) IS NULL"
CAME_BACK = f"""
  SELECT r.order_number, l.line, l.reason, NULL AS condition,
    CASE WHEN r.kind <> 'return' THEN 0 WHEN r.approved_at IS NOT NULL AND {_STANDS}
      THEN l.quantity ELSE l.received END AS announced,
    CASE r.kind WHEN 'return' THEN l.received ELSE 0 END AS returned,
    CASE r.kind WHEN 'return' THEN lots.accepted ELSE 0 END AS accepted,
    CASE r.kind WHEN 'return' THEN lots.refused ELSE 0 END AS refused,
    CASE r.kind WHEN 'return' THEN l.refunded ELSE 0 END AS refunded,
    CASE WHEN r.kind = 'claim' AND {_STANDS} THEN l.quantity ELSE 0 END AS claimed,
    CASE r.kind WHEN 'undeliverable' THEN l.quantity ELSE 0 END AS undelivered
  FROM returns r JOIN return_lines l ON l.return_id = r.id
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(quantity) FILTER (WHERE state IN ('accepted', 'placed')), 0) AS accepted,
      coalesce(sum(quantity) FILTER (WHERE state IN ('rejected', 'left')), 0) AS refused
    FROM return_lots t WHERE t.return_id = r.id AND t.line = l.line) lots
"""

_IN_CONDITION = """
  SELECT r.order_number, t.line, NULL AS reason, t.condition, t.quantity AS announced,
    t.quantity AS returned,
    CASE WHEN t.state IN ('accepted', 'placed') THEN t.quantity ELSE 0 END AS accepted,
    CASE WHEN t.state IN ('rejected', 'left') THEN t.quantity ELSE 0 END AS refused,
    NULL::int AS refunded, 0 AS claimed, 0 AS undelivered
  FROM returns r JOIN return_lots t ON t.return_id = r.id WHERE r.kind = 'return'
  UNION ALL
  SELECT r.order_number, l.line, NULL, 'missing', l.missing, 0, 0, 0, NULL, 0, 0
  FROM returns r JOIN return_lines l ON l.return_id = r.id
  WHERE r.kind = 'return' AND l.missing > 0
"""


def _report(key: str, of: str, came: str = CAME_BACK) -> str:
    """`key`: of a row; `of`: what its share is of."""
    return f"""
WITH sale AS MATERIALIZED ({SALES}
    AND (CAST(:channel AS text) IS NULL OR o.channel = :channel)
    AND (CAST(:location AS text) IS NULL OR f.location = :location)
), sold AS (
  SELECT {of} AS of, s.currency, sum(s.units) AS units FROM sale s GROUP BY 1, 2
), back AS (
  SELECT {key} AS key, {of} AS of, s.currency, sum(b.announced) AS announced,
    sum(b.returned) AS returned, sum(b.accepted) AS accepted, sum(b.refused) AS refused,
    sum(s.total_minor * b.refunded / s.ordered) AS refunded_minor, sum(b.claimed) AS claimed,
    sum(b.undelivered) AS undelivered
  FROM ({came}) b JOIN sale s USING (order_number, line) GROUP BY 1, 2, 3
)
SELECT b.key, b.currency, s.units::bigint, b.announced::bigint, b.returned::bigint,
  b.accepted::bigint, b.refused::bigint, b.refunded_minor::bigint,
  round(100.0 * b.returned / s.units, 1), b.claimed::bigint, b.undelivered::bigint
FROM back b JOIN sold s ON s.of = b.of AND s.currency = b.currency
WHERE s.units >= :min_sold
  AND (b.announced > 0 OR b.returned > 0 OR b.claimed > 0 OR b.undelivered > 0)
ORDER BY b.returned::numeric / s.units DESC, b.returned DESC, b.key, b.currency LIMIT :limit
"""


_REPORTS: dict[By, str] = {
    "sku": _report("s.sku", "s.sku"),
    "location": _report("s.location", "s.location"),
    "channel": _report("s.channel", "s.channel"),
    "reason": _report("b.reason", "''"),
    "condition": _report("b.condition", "''", _IN_CONDITION),
}
