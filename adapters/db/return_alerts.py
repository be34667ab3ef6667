"""Articles that come back too often are told of once, and once more when they no longer do.

What the policy's alerts say is read first, by a transaction that writes nothing: it may take a
second, and a transaction that writes would hold back all who follow the stock for as long. Then one
that takes no time compares it with what was told, remembers, and writes the events: so each
crossing is told once, whatever dies and whoever looks besides.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.return_policies import current_policy
from adapters.db.return_reports import CAME_BACK, SALES, plan_for_the_period
from adapters.db.stock_events import StockEvent, tell
from oms.return_policy import ReturnAlert

LOOKS_EVERY = timedelta(minutes=5)
"""However many processes look."""

HIGH, NORMAL = "product.returns_high", "product.returns_normal"


class Rate(NamedTuple):
    """How much of an article came back. `rate_percent`: whole percent, rounded down."""

    sku: str
    sold: int
    returned: int
    rate_percent: int
    threshold_percent: int
    days: int


async def tell_return_rates(engine: AsyncEngine, now: datetime) -> int:
    """Tell of articles that crossed a threshold since the last look. Says of how many.

    Nothing happens where somebody looked lately, or does now.
    """
    async with engine.begin() as tx:
        turn = await tx.execute(_TAKE_TURN, {"now": now, "before": now - LOOKS_EVERY})
        if turn.one_or_none() is None:
            return 0
    async with engine.connect() as tx:
        await plan_for_the_period(tx)
        alerts = (await current_policy(tx)).policy.alerts
        high = await _high(tx, alerts, now)
        told = set(await tx.scalars(_TOLD))
        normal = await _rates(tx, sorted(told - high.keys()), alerts, now)
    risen = {sku: rate for sku, rate in high.items() if sku not in told}
    if not risen and not normal:
        return 0
    async with engine.begin() as tx:
        return await _tell(tx, risen, normal, now)


async def _high(
    tx: AsyncConnection, alerts: Sequence[ReturnAlert], now: datetime
) -> dict[str, Rate]:
    """Articles over a threshold, each by the first alert that says so."""
    high: dict[str, Rate] = {}
    for alert in alerts:
        for rate in await _ask(tx, alert, now, only=None):
            high.setdefault(rate.sku, rate)
    return high


async def _rates(
    tx: AsyncConnection, skus: Sequence[str], alerts: Sequence[ReturnAlert], now: datetime
) -> Mapping[str, Rate]:
    """How articles stand that are over no threshold any more, by the first alert about them."""
    found = {sku: Rate(sku, 0, 0, 0, 0, 0) for sku in skus}
    for alert in reversed(alerts):
        if skus:
            found |= {rate.sku: rate for rate in await _ask(tx, alert, now, only=skus)}
    return found


async def _ask(
    tx: AsyncConnection, alert: ReturnAlert, now: datetime, *, only: Sequence[str] | None
) -> list[Rate]:
    """Articles that an alert is about and that are over it; or those named, wherever they are."""
    when = alert.when
    rows = await tx.execute(
        _RATES,
        {
            "since": now - timedelta(days=alert.days),
            "until": now,
            "channels": _list(when.channels),
            "countries": _list(when.countries),
            "segments": _list(when.segments),
            "tags": _list(when.tags),
            "skus": _list(when.skus),
            "reasons": _list(when.reasons),
            "only": _list(only),
            "rate": alert.rate_percent,
            "min_sold": alert.min_sold,
        },
    )
    return [
        Rate(row.sku, row.sold, row.returned, row.rate, alert.rate_percent, alert.days)
        for row in rows
    ]


def _list(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _event(kind: str, rate: Rate, now: datetime) -> StockEvent:
    data = rate._asdict()
    del data["sku"]
    return StockEvent(kind=kind, at=now, sku=rate.sku, data=data)


async def _tell(
    tx: AsyncConnection, risen: Mapping[str, Rate], normal: Mapping[str, Rate], now: datetime
) -> int:
    """Remember and tell, each article that nobody else has told of meanwhile."""
    rows = json.dumps([rate._asdict() for rate in risen.values()])
    up = sorted(await tx.scalars(_RAISE, {"rows": rows, "now": now}))
    down = sorted(await tx.scalars(_LET_GO, {"skus": list(normal)}))
    await tell(tx, [_event(HIGH, risen[sku], now) for sku in up])
    await tell(tx, [_event(NORMAL, normal[sku], now) for sku in down])
    return len(up) + len(down)


_TAKE_TURN = text(
    "UPDATE stock_followers SET looked_at = :now WHERE name = (SELECT name FROM stock_followers"
    " WHERE name = 'return_rates' AND looked_at <= :before FOR UPDATE SKIP LOCKED) RETURNING name"
)
_TOLD = text("SELECT sku FROM return_alerts")

_RATES = text(
    f"""
WITH sale AS MATERIALIZED ({SALES}
    AND (CAST(:channels AS text[]) IS NULL OR o.channel = ANY(:channels))
    AND (CAST(:countries AS text[]) IS NULL OR o.country = ANY(:countries))
    AND (CAST(:segments AS text[]) IS NULL OR o.customer_segment = ANY(:segments))
    AND (CAST(:skus AS text[]) IS NULL OR l.sku = ANY(:skus))
    AND (CAST(:only AS text[]) IS NULL OR l.sku = ANY(:only))
    AND (CAST(:tags AS text[]) IS NULL OR EXISTS (
      SELECT FROM products p WHERE p.sku = l.sku AND p.tags && CAST(:tags AS text[])))
), sold AS (
  SELECT sku, sum(units) AS units FROM sale GROUP BY 1 HAVING sum(units) > 0
), back AS (
  SELECT s.sku, sum(b.returned) AS units FROM ({CAME_BACK}) b JOIN sale s USING (order_number, line)
  WHERE CAST(:reasons AS text[]) IS NULL OR b.reason = ANY(:reasons) GROUP BY 1
)
SELECT s.sku, s.units::bigint AS sold, coalesce(b.units, 0)::bigint AS returned,
  (100 * coalesce(b.units, 0) / s.units)::int AS rate
FROM sold s LEFT JOIN back b ON b.sku = s.sku
WHERE CAST(:only AS text[]) IS NOT NULL
  OR s.units >= :min_sold AND 100 * b.units >= CAST(:rate AS int) * s.units
ORDER BY s.sku
"""
)
_RAISE = text(
    """
INSERT INTO return_alerts (sku, since, rate_percent, sold, returned)
SELECT sku, :now, rate_percent, sold, returned FROM jsonb_to_recordset(CAST(:rows AS jsonb))
  AS r(sku text, rate_percent int, sold int, returned int)
ON CONFLICT (sku) DO NOTHING RETURNING sku
"""
)
_LET_GO = text("DELETE FROM return_alerts WHERE sku = ANY(:skus) RETURNING sku")
