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
