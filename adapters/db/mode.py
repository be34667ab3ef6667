"""The mode of the system: normal, or reconciling with the outside after a restore.

While it is reconciling, workers rest and no order is acknowledged. Each worker holds its `duty` as
a shared lock for as long as it may act; a reconciliation takes the lock for itself, so that it
begins when the last of them has laid down its work, and none begins before it ends.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from oms.policy import Policy

NORMAL, RECONCILING = "normal", "reconciling"

# Any number that nothing else in this database locks.
_DUTY_LOCK = 7_035_992


class Mode(NamedTuple):
    """What the system is at. See `SystemStateRow`."""

    mode: str
    moment: datetime | None = None
    since: datetime | None = None
    reason: str = ""
    report: dict[str, Any] | None = None

    @property
    def is_reconciling(self) -> bool:
        """Whether nothing may act and no order is taken."""
        return self.mode == RECONCILING


async def read_mode(tx: AsyncConnection) -> Mode:
    """Read what the system is at."""
    found = await tx.execute(
        text("SELECT mode, moment, since, reason, report FROM system_state WHERE id = 1")
    )
    row = found.one_or_none()
    return Mode(NORMAL) if row is None else Mode(*row)


async def begin_reconciling(
    tx: AsyncConnection, *, moment: datetime, reason: str, now: datetime
) -> None:
    """Let the system rest. Set again while it rests, the earlier moment stands."""
    await tx.execute(
        text(
            """
            INSERT INTO system_state AS s (id, mode, moment, since, reason)
            VALUES (1, 'reconciling', :moment, :now, :reason)
            ON CONFLICT (id) DO UPDATE SET mode = 'reconciling', report = NULL,
                since = excluded.since, reason = excluded.reason,
                moment = CASE WHEN s.mode = 'reconciling' THEN least(s.moment, excluded.moment)
                    ELSE excluded.moment END
            """
        ),
        {"moment": moment, "reason": reason, "now": now},
    )


async def keep_report(tx: AsyncConnection, report: dict[str, Any]) -> None:
    """Remember what a reconciliation found."""
    await tx.execute(
        text("UPDATE system_state SET report = CAST(:report AS jsonb) WHERE id = 1"),
        {"report": json.dumps(report)},
    )


async def end_reconciling(tx: AsyncConnection, policy: Policy, now: datetime) -> None:
    """Let the system act again.

    While it was away, nobody could answer in time: whoever owes an answer has its time anew.
    """
    times = {
        "answer": now + policy.node_answer,
        "pick": now + policy.pick,
        "pickup": now + policy.pickup,
        "reservation": now + policy.reservation,
    }
    for statement in _TIMES_ANEW:
        names = {name: at for name, at in times.items() if f":{name}" in statement}
        await tx.execute(text(statement), names)
    await tx.execute(
        text("UPDATE system_state SET mode = 'normal', since = :now WHERE id = 1"), {"now": now}
    )


# `greatest` passes over nulls: where there was no deadline, none must come of it.
_TIMES_ANEW = (
    """
    UPDATE fulfillment_orders SET version = version + 1,
        answer_by = CASE WHEN answer_by IS NOT NULL THEN greatest(answer_by, :answer) END,
        work_by = CASE WHEN work_by IS NOT NULL THEN greatest(work_by, :pick) END,
        collect_by = CASE WHEN collect_by IS NOT NULL THEN greatest(collect_by, :pickup) END,
        cancel_answer_by = CASE WHEN cancel_answer_by IS NOT NULL
            THEN greatest(cancel_answer_by, :answer) END
    WHERE status IN ('open', 'in_progress')
    """,
    """
    UPDATE reservations SET expires_at = greatest(expires_at, :reservation)
    WHERE state = 'open' AND expires_at IS NOT NULL
    """,
)


# --- duty -----------------------------------------------------------------------------------


async def may_act(connection: AsyncConnection) -> bool:
    """Take up duty on this connection, for as long as it lasts. False while the system rests.

    The connection commits by itself. Taken up once more, duty is still one.
    """
    taken = await connection.execute(
        text("SELECT pg_try_advisory_lock_shared(:n)"), {"n": _DUTY_LOCK}
    )
    if not taken.scalar_one():
        return False
    if not (await read_mode(connection)).is_reconciling:
        return True
    await connection.execute(text("SELECT pg_advisory_unlock_shared(:n)"), {"n": _DUTY_LOCK})
    return False


@asynccontextmanager
async def nobody_acts(engine: AsyncEngine) -> AsyncIterator[bool]:
    """Try to have the system for oneself: False while a worker is still on duty."""
    async with engine.connect() as plain:
        connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
        taken = await connection.execute(text("SELECT pg_try_advisory_lock(:n)"), {"n": _DUTY_LOCK})
        mine = bool(taken.scalar_one())
        try:
            yield mine
        finally:
            if mine:
                await connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": _DUTY_LOCK})
