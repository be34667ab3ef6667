"""What should have arrived and has not, told once for each time that was expected.

The time that was told is kept beside the expectation, so a date that moves and passes again is told
again, and however many look at once, one tells.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.incoming import load_expectation, write_history
from adapters.db.stock_events import StockEvent, tell
from adapters.db.transfers import Step, load_transfers, said, write_step


async def tell_overdue_transfers(tx: AsyncConnection, now: datetime, *, most: int) -> int:
    """Tell of open transfers whose time has passed. Returns how many were told."""
    rows = await tx.execute(
        text(
            "WITH due AS (SELECT id FROM transfers"
            "  WHERE status IN ('requested', 'shipped', 'partially_received')"
            "  AND expected_at < :now AND told_overdue IS DISTINCT FROM expected_at"
            "  ORDER BY expected_at LIMIT :most FOR UPDATE SKIP LOCKED)"
            " UPDATE transfers t SET told_overdue = expected_at FROM due WHERE t.id = due.id"
            " RETURNING t.id"
        ),
        {"now": now, "most": most},
    )
    late = await load_transfers(tx, sorted(row.id for row in rows))
    for transfer in late:
        words = f"Still {transfer.status}, expected {said(transfer.expected_at)}"
        await write_step(tx, transfer, Step("overdue", words, {}), "system", now)
    await tell(
        tx,
        [
            StockEvent(
                kind="transfer.overdue",
                at=now,
                location=transfer.destination,
                data={
                    "transfer": transfer.id,
                    "status": transfer.status,
                    "from": transfer.origin,
                    "expected_at": transfer.expected_at and transfer.expected_at.isoformat(),
                },
            )
            for transfer in late
        ],
    )
    return len(late)


async def tell_overdue_incoming(tx: AsyncConnection, now: datetime, *, most: int) -> int:
    """Tell of units that should have come by purchase orders. Returns how many were told."""
    rows = await tx.execute(
        text(
            "WITH due AS (SELECT id FROM incoming WHERE ended_at IS NULL AND received < quantity"
            "  AND expected_at < :now AND told_overdue IS DISTINCT FROM expected_at"
            "  ORDER BY expected_at LIMIT :most FOR UPDATE SKIP LOCKED)"
            " UPDATE incoming i SET told_overdue = expected_at FROM due WHERE i.id = due.id"
            " RETURNING i.id"
        ),
        {"now": now, "most": most},
    )
    ids = sorted(row.id for row in rows)
    for id in ids:
        late = await load_expectation(tx, id)
        assert late is not None
        await write_history(tx, late, "overdue", "system", now)
        data = {
            "incoming": late.id,
            "reference": late.reference,
            "quantity": late.outstanding,
            "expected_at": late.expected_at.isoformat(),
        }
        event = StockEvent(
            kind="incoming.overdue", at=now, sku=late.sku, location=late.location, data=data
        )
        await tell(tx, [event])
    return len(ids)
