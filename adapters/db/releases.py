"""The record of releases: which order got backordered units, and why before others."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.unit import OrderUnit
from oms.backorders import REROUTE, BackorderPolicy, Release
from oms.orders import Reservation
from oms.sourcing import Pick

OF_A_RELEASE, OF_A_REROUTE = "backorder_release", "fill_backorders"
"""The last part of the key of the movements."""


class Released(NamedTuple):
    """A release, as operators read it."""

    id: int
    at: datetime
    order: str
    line: int
    location: str
    quantity: int
    actor: str
    policy: str
    policy_version: int | None
    place: int | None
    waiting: int | None
    since: datetime
    reason: str
    passed: Sequence[dict[str, Any]]
    behind: Sequence[dict[str, Any]]


def record_release(unit: OrderUnit, release: Release, policy: BackorderPolicy) -> None:
    """Write down what an order got in its turn."""
    rows = []
    for pick in release.picks:
        standing = release.standings[pick.sku]
        rows.append(
            _of(pick)
            | {
                "place": standing.place,
                "waiting": standing.waiting,
                "passed": [other._asdict() for other in standing.passed],
                "behind": [other._asdict() for other in standing.behind],
            }
        )
    _write(
        unit,
        rows,
        policy=policy.policy,
        version=policy.version,
        since=release.since,
        reason=release.reason,
        key=unit.key(OF_A_RELEASE),
    )


def record_reroute(unit: OrderUnit, picks: Iterable[Pick], waiting: Iterable[Reservation]) -> None:
    """Write down what an order got out of turn, on an operator's word."""
    _write(
        unit,
        [_of(pick) | {"passed": [], "behind": []} for pick in picks],
        policy=REROUTE,
        version=None,
        since=min((each.since for each in waiting if each.since is not None), default=unit.at),
        reason="planned again before its turn, on an operator's word",
        key=unit.key(OF_A_REROUTE),
    )


def _of(pick: Pick) -> dict[str, Any]:
    return {
        "line": pick.line,
        "sku": pick.sku,
        "location": pick.location,
        "quantity": pick.quantity,
    }


def _write(unit: OrderUnit, rows: Sequence[dict[str, Any]], **values: Any) -> None:
    unit.run(
        "INSERT INTO backorder_releases (order_number, line, sku, location, quantity, at, actor,"
        " policy, policy_version, place, waiting, since, reason, passed, behind, key)"
        " SELECT CAST(:n AS text), r.line, r.sku, r.location, r.quantity,"
        " CAST(:at AS timestamptz), CAST(:actor AS text), CAST(:policy AS text),"
        " CAST(:version AS int), r.place, r.waiting, CAST(:since AS timestamptz),"
        " CAST(:reason AS text), r.passed, r.behind, CAST(:key AS text)"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(line int, sku text, location text,"
        " quantity int, place int, waiting int, passed jsonb, behind jsonb)",
        n=unit.number,
        at=unit.at,
        actor=unit.actor,
        rows=json.dumps(list(rows)),
        **values,
    )


async def releases_of(
    tx: AsyncConnection, sku: str, *, before: int | None, limit: int
) -> list[Released]:
    """The releases of an article, newest first; `before` is the last id seen."""
    found = await tx.execute(
        text(
            "SELECT id, at, order_number, line, location, quantity, actor, policy, policy_version,"
            " place, waiting, since, reason, passed, behind FROM backorder_releases"
            " WHERE sku = :sku AND (CAST(:before AS bigint) IS NULL OR id < :before)"
            " ORDER BY id DESC LIMIT :limit"
        ),
        {"sku": sku, "before": before, "limit": limit},
    )
    return [Released(*row) for row in found]
