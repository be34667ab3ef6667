"""What should have arrived and has not, told once for each time that was expected.

The time that was told is kept beside the expectation, so a date that moves and passes again is told
again, and however many look at once, one tells.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

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
