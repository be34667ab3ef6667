"""Webhooks of outside parties, stored before they are answered and processed after."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def store_inbound(
    tx: AsyncConnection,
    *,
    party: str,
    source: str,
    event_id: str,
    body: dict[str, Any],
    now: datetime,
) -> bool:
    """Keep a verified event and wake who processes it. False: it is here already."""
    stored = await tx.execute(
        text(
            "INSERT INTO inbound_events"
            " (party, source, event_id, body, received_at, not_before, tries)"
            " VALUES (:party, :source, :event_id, CAST(:body AS jsonb), :now, :now, 0)"
            " ON CONFLICT ON CONSTRAINT inbound_once DO NOTHING"
        ),
        {
            "party": party,
            "source": source,
            "event_id": event_id,
            "body": json.dumps(body),
            "now": now,
        },
    )
    if stored.rowcount:
        await tx.execute(text("NOTIFY oms_inbound"))
    return bool(stored.rowcount)
