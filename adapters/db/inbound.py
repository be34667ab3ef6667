"""Webhooks from outside: stored before they are answered, applied after, in any order.

What does not fit yet (a hand-over before the label) waits and is tried again; what never fits
is put aside with its reason. A repeated event id is one event.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db import nodes, parcels, return_parcels
from adapters.db.book import SqlBook
from adapters.db.engine import by_statement
from adapters.db.nodes import Parcel
from adapters.db.return_book import SqlReturns
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.errors import told
from oms.fields import code_like
from oms.fulfillment import FulfillmentOrder
from oms.numbers import order_of
from oms.policy import Policy
from oms.ports import CARRIER_STATUSES, Declined, Scan

log = structlog.get_logger()

AT_ONCE = 8
"""Chains of events applied side by side: one after the other they fall behind in a rush."""

FITS_WITHIN = timedelta(days=2)
"""How long an event may not fit before it is put aside."""

CLAIMED_FOR = timedelta(seconds=15)
"""Far longer than fifty events take; shorter than what waits for one, like a location's answer."""

_KINDS = {
    "authorize": "authorization",
    "capture": "capture",
    "void": "void",
    "refund": "refund",
}


class Verdict(NamedTuple):
    """What became of an event: `applied`, `ignored`, or None while it does not fit yet."""

    outcome: str | None
    detail: str


_NodeFact = Callable[[OrderUnit, FulfillmentOrder, Policy], Awaitable[Refusal | None]]


async def store_inbound(
    tx: AsyncConnection,
    *,
    party: str,
    source: str,
    event_id: str,
    body: dict[str, Any],
    now: datetime,
) -> bool:
    """Store a verified webhook; the relay applies it. False if its event id is known."""
    stored = await tx.execute(
        text(
            "WITH stored AS (INSERT INTO inbound_events"
            " (party, source, event_id, body, received_at, not_before, tries)"
            " VALUES (:party, :source, :event, CAST(:body AS jsonb), :now, :now, 0)"
            " ON CONFLICT DO NOTHING RETURNING 1)"
            " SELECT pg_notify('oms_inbound', '') FROM stored"
        ),
        {
            "party": party,
            "source": source,
            "event": event_id,
            "body": json.dumps(body),
            "now": now,
        },
    )
    return stored.first() is not None


async def apply_waiting(engine: AsyncEngine, book: SqlBook, now: datetime, *, most: int) -> int:
    """Apply up to `most` stored events, oldest first. Returns how many were looked at.

    Each event is claimed for a while, so that several relays share the work and none is lost
    with a relay that dies. Applied by two, it counts once.
    """
    async with by_statement(engine).connect() as tx:
        rows = await tx.execute(
            text(
                """
                UPDATE inbound_events i SET tries = i.tries + 1, not_before = :again
                FROM (SELECT id FROM inbound_events WHERE outcome IS NULL AND not_before <= :now
                      ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED) c
                WHERE i.id = c.id RETURNING i.id, i.party, i.source, i.event_id, i.body,
                    i.received_at, i.tries
                """
            ),
            {"now": now, "again": now + CLAIMED_FOR, "most": most},
        )
        events = sorted(rows.all())
    chains: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        chains[_subject(event.body)].append(event)
    gate = asyncio.Semaphore(AT_ONCE)
    faults = await asyncio.gather(
        *(_apply_chain(engine, book, chain, now, gate) for chain in chains.values()),
        return_exceptions=True,
    )
    for fault in faults:
        if fault is not None:
            raise fault
    return len(events)


def _subject(body: dict[str, Any]) -> str:
    """What an event is about: the events of one parcel, part or payment keep their order."""
    found = body.get("fulfillment_order") or body.get("tracking_number") or body.get("key")
    return str(found)


async def _apply_chain(
    engine: AsyncEngine, book: SqlBook, chain: list[Any], now: datetime, gate: asyncio.Semaphore
) -> None:
    for event in chain:
        async with gate:
            try:
                verdict = await _apply(engine, book, event, now)
            except (SQLAlchemyError, OSError):
                raise  # the books are out of reach: the claim ends by itself and it is tried again
            except Exception as bug:  # one event that cannot be read must not stop all the others
                log.exception("inbound_event_broke", inbound=event.id, party=event.party)
                verdict = Verdict(None, told(bug))
            if verdict is not None:
                async with by_statement(engine).connect() as tx:
                    await tx.execute(text(_PUT_AWAY), _put_away(event, verdict, now))


_PUT_AWAY = """
UPDATE inbound_events SET outcome = CAST(:outcome AS text), detail = :detail,
    processed_at = CASE WHEN CAST(:outcome AS text) IS NULL THEN NULL
        ELSE CAST(:now AS timestamptz) END, not_before = :again
WHERE id = :id
"""


def _put_away(event: Any, verdict: Verdict, now: datetime) -> dict[str, Any]:
    """Put an event away, or set it back for a second, two, four … up to a minute."""
    outcome, detail = verdict
    if outcome is None and now - event.received_at > FITS_WITHIN:
        outcome = "dead"
    wait = timedelta(seconds=min(60, 0.25 * 2 ** min(event.tries, 10)))
    return {
        "outcome": outcome,
        "detail": detail[:500],
        "now": now,
        "again": now + wait,
        "id": event.id,
    }


async def _apply(engine: AsyncEngine, book: SqlBook, event: Any, now: datetime) -> Verdict | None:
    """Apply an event. None: its effect and its verdict were written together."""
    match event.party:
        case "payments":
            return await _apply_payment(engine, book, event.body, now)
        case "carriers":
            return await _apply_scan(engine, book, event, now)
        case _:
            return await _apply_node(engine, book, event, now)


async def _apply_payment(
    engine: AsyncEngine, book: SqlBook, body: dict[str, Any], now: datetime
) -> Verdict:
    """A failure is written down; a success is asked after, because only the answer names it."""
    key = str(body["key"])
    async with by_statement(engine).connect() as connection:
        row = (
            await connection.execute(
                text("SELECT kind, amount_minor, currency FROM payment_entries WHERE key = :k"),
                {"k": key},
            )
        ).first()
    if row is None:
        return Verdict("ignored", "unknown key")
    if row.kind != _KINDS.get(str(body["kind"]), body["kind"]):
        return Verdict("ignored", "the key belongs to another kind of payment")
    if body["status"] in ("failed", "declined"):
        await book.settle_payment(
            key,
            Declined(reason=code_like(str(body.get("reason") or ""), "declined later")),
            now,
            settled_by="provider",
            nudge=True,
        )
        return Verdict("applied", "")
    await book.nudge_settler(key, now, "payment webhook")
    return Verdict("applied", "")


async def _apply_scan(
    engine: AsyncEngine, book: SqlBook, event: Any, now: datetime
) -> Verdict | None:
    if event.body["status"] not in CARRIER_STATUSES:
        return Verdict("ignored", "unknown status")
    scan = Scan(
        event_id=event.event_id,
        status=str(event.body["status"]),
        at=datetime.fromisoformat(str(event.body["at"])),
    )
    tracking_number = str(event.body["tracking_number"])
    actor = f"carrier:{event.source}"
    async with by_statement(engine).connect() as connection:
        sent = await parcels.find_parcel(connection, tracking_number)
        comes_back = (
            await return_parcels.find_return_parcel(connection, tracking_number)
            if sent is None
            else None
        )

    def put_away(unit: OrderUnit) -> None:
        unit.run(_PUT_AWAY, **_put_away(event, Verdict("applied", ""), now))

    if sent is not None:
        await _apply_to_shipment(book, *sent, scan, now, actor=actor, also=put_away)
    elif comes_back is not None:
        await SqlReturns(book).heard(comes_back, scan, now, actor=actor, also=put_away)
    else:
        late = now - event.received_at > timedelta(minutes=2)
        unknown = Verdict("ignored", "unknown tracking number")
        return unknown if late else Verdict(None, "no such parcel yet")
    return None


async def _apply_to_shipment(
    book: SqlBook,
    number: str,
    shipment: str,
    scan: Scan,
    now: datetime,
    *,
    actor: str,
    also: Callable[[OrderUnit], None],
) -> None:
    async def record(unit: OrderUnit) -> None:
        await parcels.record_scan(
            unit,
            unit.order.shipment(shipment),
            event_id=scan.event_id,
            status=scan.status,
            at=scan.at,
        )
        also(unit)

    await book.change(number, now, record, actor=actor)


async def _apply_node(
    engine: AsyncEngine, book: SqlBook, event: Any, now: datetime
) -> Verdict | None:
    id = str(event.body["fulfillment_order"])
    async with by_statement(engine).connect() as connection:
        location = (
            await connection.execute(
                text("SELECT location FROM fulfillment_orders WHERE id = :id"), {"id": id}
            )
        ).scalar_one_or_none()
    if location != event.source:
        return Verdict("ignored", "no such fulfillment order at this location")
    fact = node_fact(str(event.body["action"]), event.body.get("body") or {})
    if fact is None:
        return Verdict("ignored", "unknown action")

    async def apply(unit: OrderUnit) -> None:
        each = unit.order.fulfillment_order(id)
        refusal = await fact(unit, each, book.policy)
        unit.run(_PUT_AWAY, **_put_away(event, _verdict_on(each, refusal), now))

    await book.change(order_of(id), now, apply, actor=f"node:{location}")
    return None


def _verdict_on(each: FulfillmentOrder, refusal: Refusal | None) -> Verdict:
    """What does not fit the state may still come to fit it, unless the work has ended."""
    if refusal is None:
        return Verdict("applied", "")
    waits = refusal.code == "invalid_state" and each.is_live
    return Verdict(None if waits else "ignored", refusal.detail)


def node_fact(action: str, body: dict[str, Any]) -> _NodeFact | None:
    """The effect of a location's action, from its (already validated) body. None if unknown."""
    match action:
        case "accept":
            return nodes.accept
        case "reject":
            lines = _counts(body["lines"], "quantity") if body.get("lines") else None
            return lambda unit, each, _: nodes.reject(unit, each, body["reason"], lines)
        case "pick":
            picked = _counts(body["lines"], "picked")
            return lambda unit, each, _: nodes.pick(unit, each, picked)
        case "pack":
            packed = [
                Parcel(weight_g=p["weight_g"], lines=_counts(p["lines"], "quantity"))
                for p in body["parcels"]
            ]
            return lambda unit, each, _: nodes.pack(unit, each, packed)
        case "ready":
            return nodes.ready
        case "hand_over":
            return lambda unit, each, _: nodes.hand_over(
                unit, each, code=body.get("code"), verified_by=body.get("verified_by")
            )
        case "cancel_response":
            return lambda unit, each, _: nodes.cancel_response(
                unit, each, accepted=body["accepted"]
            )
        case _:
            return None


def _counts(lines: list[dict[str, Any]], field: str) -> dict[int, int]:
    """Units by line; a line named twice counts together."""
    counts: dict[int, int] = {}
    for each in lines:
        counts[each["line"]] = counts.get(each["line"], 0) + each[field]
    return counts
