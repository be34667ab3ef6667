"""What is told of stock that belongs to no order: the outbox of later webhooks.

An event is written in the transaction of what it tells, so it is told if and only if it happened.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

RULES_CHANGED = "stock.rules_changed"
"""What may be had of an article, or of all that a place or a channel has, changed without a
movement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockEvent:
    """Something that happened to stock.

    `kind`, e.g. `stock.vanished`, `transfer.overdue`. `sku` and `location` say of what; None for
    a whole place or a whole article. `data`: numbers and names of things, no personal data.
    """

    kind: str
    at: datetime
    sku: str | None = None
    location: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


async def tell(tx: AsyncConnection, events: Iterable[StockEvent]) -> None:
    """Write events in the caller's transaction, in this order; one statement for all."""
    told = [
        {
            "at": event.at.isoformat(),
            "kind": event.kind,
            "sku": event.sku,
            "location": event.location,
            "data": event.data,
        }
        for event in events
    ]
    if told:
        await tx.execute(_TELL, {"events": json.dumps(told)})


async def tell_rules_changed(
    tx: AsyncConnection,
    *,
    sku: str | None = None,
    location: str | None = None,
    channel: str | None = None,
) -> None:
    """Let those who follow the stock look again: a rule changed, in the caller's transaction.

    Name the article and the place; or the place, for everything it holds; or the channel, for
    everything it sells.
    """
    assert sku or location or channel
    await tx.execute(
        text(
            "INSERT INTO stock_events (at, kind, sku, location, data) VALUES (now(), :kind, :sku,"
            " :location, CAST(:data AS jsonb))"
        ),
        {
            "kind": RULES_CHANGED,
            "sku": sku,
            "location": location,
            "data": json.dumps({"channel": channel} if channel else {}),
        },
    )


_TELL = text(
    """
INSERT INTO stock_events (at, kind, sku, location, data)
SELECT e.at, e.kind, e.sku, e.location, e.data FROM ROWS FROM (
  jsonb_to_recordset(CAST(:events AS jsonb))
  AS (at timestamptz, kind text, sku text, location text, data jsonb)
) WITH ORDINALITY AS e(at, kind, sku, location, data, place)
ORDER BY place
"""
)
