"""The record of routing: each decision about an order, written with what came of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.unit import OrderUnit
from oms.reasons import Record, bounded, brief, words

Cause = Literal["reserve", "source_again", "reroute", "release", "route_again"]
"""Placed; turned down by a place; by an operator; out of the queue; after the grace window."""

MOST_WORDS = 12
"""So many sentences of a decision go into the timeline and `explain`; all are in the record."""


class Decided(NamedTuple):
    """A decision as it was kept."""

    seq: int
    at: datetime
    cause: str
    record: Record


def record_decision(unit: OrderUnit, record: Record | None, cause: Cause) -> None:
    """Keep a decision, in the transaction of its effect."""
    assert record is not None, "what is done is told"
    unit.run(
        "INSERT INTO routing_decisions (order_number, seq, at, cause, rule_set, version, document)"
        " SELECT CAST(:n AS text), (SELECT coalesce(max(seq), 0) + 1 FROM routing_decisions"
        "  WHERE order_number = CAST(:n AS text)),"
        " CAST(:at AS timestamptz), :cause, :rule_set, CAST(:version AS int),"
        " CAST(:document AS jsonb)",
        n=unit.number,
        at=unit.at,
        cause=cause,
        rule_set=record.rule_set,
        version=record.version,
        document=bounded(record).model_dump_json(exclude_defaults=True),
    )


def told_with(record: Record | None) -> tuple[str, dict[str, Any]]:
    """What the timeline adds: a few words for the summary, more of them as data."""
    if record is None:
        return "", {}
    told = {"rule_set": record.rule_set, "version": record.version}
    short = brief(record)
    return f" ({short})" if short else "", told | {"routing": words(record)[:MOST_WORDS]}


_DECISIONS = text(
    "SELECT seq, at, cause, document FROM routing_decisions WHERE order_number = :n"
    " AND seq > :after ORDER BY seq LIMIT :limit"
)

_NEWEST = text(
    "SELECT seq, at, cause, document FROM routing_decisions WHERE order_number = :n"
    " ORDER BY seq DESC LIMIT 1"
)


async def routed_by(unit: OrderUnit) -> str:
    """Name the rule set of an order's newest decision, for the timeline."""
    found = await unit.ask(
        "SELECT document ->> 'name' AS name, version FROM routing_decisions"
        " WHERE order_number = :n ORDER BY seq DESC LIMIT 1",
        n=unit.number,
    )
    return f", by {found[0].name} v{found[0].version}" if found and found[0].version else ""


async def decisions_of(
    tx: AsyncConnection, number: str, *, after: int = 0, limit: int
) -> Sequence[Decided]:
    """The decisions about an order, oldest first, from the one after `after`."""
    found = await tx.execute(_DECISIONS, {"n": number, "after": after, "limit": limit})
    return [_decided(row) for row in found]


async def newest_decision(tx: AsyncConnection, number: str) -> Decided | None:
    """The last one; None for an order that was placed before decisions were kept."""
    row = (await tx.execute(_NEWEST, {"n": number})).one_or_none()
    return None if row is None else _decided(row)


def _decided(row: Any) -> Decided:
    return Decided(row.seq, row.at, row.cause, Record.model_validate(row.document, strict=False))
