"""Transfers in the books: each step one transaction, the transfer's row locked first.

What a step moves is worked out in `oms.transfers`; here it is written, with the stock last.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.lists import Place as Position
from adapters.db.stock import (
    Short,
    StockChange,
    Want,
    apply_changes,
    lock_places,
    take,
)
from adapters.db.stock_events import StockEvent, tell
from oms.transfers import Arrival, Transfer, TransferLine, moved, unexpected
from oms.words import count_of

_CAUSES = {
    "requested": "transfer_requested",
    "shipped": "transfer_shipped",
    "received": "transfer_received",
    "cancelled": "transfer_cancelled",
    "closed": "lost_in_transit",
}
_KEYS = {"requested": "request", "shipped": "ship", "received": "receive", "cancelled": "cancel"}


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """A transfer as it is asked for. Each article once; `id` is drawn by the caller."""

    id: str
    origin: str
    destination: str
    lines: tuple[tuple[str, int], ...]
    expected_at: datetime | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """What is named and does not exist, by the field that names it."""

    code: str
    pointer: str


@dataclass(frozen=True, slots=True)
class Existing:
    """The reference names a transfer already; `same`: with just this content."""

    transfer: Transfer
    same: bool


class Step(NamedTuple):
    """A step of a transfer as it is told. `data` holds numbers and names of things."""

    kind: str
    summary: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFilter:
    """What a list is narrowed to. `reach`: only transfers from or to these places; None for all.

    `overdue`: those that should, or need not, have arrived by `now`.
    """

    origin: str | None = None
    destination: str | None = None
    location: str | None = None
    status: str | None = None
    sku: str | None = None
    reference: str | None = None
    overdue: bool | None = None
    now: datetime | None = None
    reach: Sequence[str] | None = None


_CLAUSES = {
    "origin": "t.origin = :origin",
    "destination": "t.destination = :destination",
    "location": ":location IN (t.origin, t.destination)",
    "status": "t.status = :status",
    "reference": "t.reference = :reference",
    "sku": "EXISTS (SELECT FROM transfer_lines l WHERE l.transfer = t.id AND l.sku = :sku)",
    "reach": "ARRAY[t.origin, t.destination] && CAST(:reach AS text[])",
}
_OVERDUE = "t.status IN ('requested', 'shipped', 'partially_received') AND t.expected_at < :now"

# --- read -----------------------------------------------------------------------------------


async def load_transfer(tx: AsyncConnection, id: str, *, lock: bool = False) -> Transfer | None:
    """Read a transfer. `lock`: nobody else changes it until the transaction ends."""
    if lock:
        await tx.execute(text("SELECT FROM transfers WHERE id = :id FOR UPDATE"), {"id": id})
    return next(iter(await load_transfers(tx, [id])), None)


async def load_transfers(tx: AsyncConnection, ids: Sequence[str]) -> list[Transfer]:
    """Read transfers in the order asked."""
    rows = await tx.execute(
        text(
            "SELECT t.*, (SELECT jsonb_agg(to_jsonb(l) ORDER BY l.line) FROM transfer_lines l"
            " WHERE l.transfer = t.id) AS lines"
            " FROM transfers t WHERE t.id = ANY(CAST(:ids AS text[]))"
        ),
        {"ids": list(ids)},
    )
    found = {row["id"]: Transfer.model_validate(dict(row)) for row in rows.mappings()}
    return [found[id] for id in ids if id in found]


async def transfer_ids(
    tx: AsyncConnection, wanted: TransferFilter, *, after: Position | None, limit: int
) -> list[Position]:
    """Find transfers, newest first, from the one after `after`."""
    values = {name: getattr(wanted, name) for name in _CLAUSES if getattr(wanted, name) is not None}
    conditions = [_CLAUSES[name] for name in values]
    if wanted.overdue is not None:
        conditions.append(_OVERDUE if wanted.overdue else f"({_OVERDUE}) IS NOT TRUE")
        values["now"] = wanted.now
    if after is not None:
        conditions.append("(t.created_at, t.id) < (:after_at, :after_id)")
        values |= {"after_at": after.at, "after_id": after.id}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await tx.execute(
        text(
            f"SELECT t.created_at, t.id FROM transfers t {where}"
            " ORDER BY t.created_at DESC, t.id DESC LIMIT :limit"
        ),
        {**values, "limit": limit},
    )
    return [Position(*row) for row in rows]


async def steps_of(tx: AsyncConnection, id: str, *, after: int, limit: int) -> list[RowMapping]:
    """What happened to a transfer, oldest first."""
    rows = await tx.execute(
        text(
            "SELECT seq, at, actor, kind, summary, data FROM transfer_events"
            " WHERE transfer = :id AND seq > :after ORDER BY seq LIMIT :limit"
        ),
        {"id": id, "after": after, "limit": limit},
    )
    return list(rows.mappings())


# --- request --------------------------------------------------------------------------------


async def request_transfer(
    tx: AsyncConnection, new: NewTransfer, *, actor: str, at: datetime
) -> Transfer | Existing | list[Unknown] | Short:
    """Hold all the units at the origin, or nothing: `Short` names each place that has too few.

    A refusal leaves no trace; the caller rolls nothing back.
    """
    if existing := await _by_reference(tx, new):
        return existing
    if unknown := await _unknown(tx, new):
        return unknown
    transfer = Transfer(
        id=new.id,
        origin=new.origin,
        destination=new.destination,
        lines=tuple(
            TransferLine(line=i, sku=sku, quantity=units)
            for i, (sku, units) in enumerate(new.lines, start=1)
        ),
        expected_at=new.expected_at,
        reference=new.reference,
        created_at=at,
    )
    async with tx.begin_nested() as attempt:
        await tx.execute(
            text(
                "INSERT INTO transfers (id, origin, destination, status, reference, expected_at,"
                " created_at, version) VALUES (:id, :origin, :destination, :status, :reference,"
                " :expected_at, :created_at, 1)"
            ),
            transfer.model_dump(exclude={"lines"}) | {"status": transfer.status},
        )
        await _write_lines(tx, transfer)
        units = sum(line.quantity for line in transfer.lines)
        words = f"{count_of(units, 'unit')} asked of {new.origin} for {new.destination}"
        await write_step(tx, transfer, Step("requested", words, _units(transfer)), actor, at)
        short = await take(
            tx,
            [
                Want(sku=sku, location=new.origin, quantity=units, into="allocated")
                for sku, units in new.lines
            ],
            also=[
                StockChange(sku=sku, location=new.destination, requested=units)
                for sku, units in new.lines
            ],
            cause=_CAUSES["requested"],
            key=f"{new.id}:request",
            at=at,
        )
        if isinstance(short, Short):
            await attempt.rollback()
            return short
    return transfer


async def _by_reference(tx: AsyncConnection, new: NewTransfer) -> Existing | None:
    if new.reference is None:
        return None
    # Two requests with one reference at once: the second waits here, and finds the first's.
    await tx.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('transfer:' || :reference, 0))"),
        {"reference": new.reference},
    )
    id = await tx.scalar(
        text("SELECT id FROM transfers WHERE reference = :reference"), {"reference": new.reference}
    )
    if id is None:
        return None
    found = await load_transfer(tx, id)
    assert found is not None
    asked = tuple((line.sku, line.quantity) for line in found.lines if line.quantity)
    same = (found.origin, found.destination, asked) == (new.origin, new.destination, new.lines)
    return Existing(found, same)


async def _unknown(tx: AsyncConnection, new: NewTransfer) -> list[Unknown]:
    places = await _known(tx, "locations", "id", (new.origin, new.destination))
    skus = await known_skus(tx, [sku for sku, _ in new.lines])
    ends = {"/from": new.origin, "/to": new.destination}
    return [
        *(Unknown("location_unknown", at) for at, place in ends.items() if place not in places),
        *(
            Unknown("sku_unknown", f"/lines/{i}/sku")
            for i, (sku, _) in enumerate(new.lines)
            if sku not in skus
        ),
    ]


async def known_skus(tx: AsyncConnection, skus: Iterable[str]) -> set[str]:
    """Which of these are articles, sold or not."""
    return await _known(tx, "products", "sku", skus)


async def _known(tx: AsyncConnection, table: str, key: str, asked: Iterable[str]) -> set[str]:
    found = await tx.scalars(
        text(f"SELECT {key} FROM {table} WHERE {key} = ANY(CAST(:asked AS text[]))"),
        {"asked": sorted(set(asked))},
    )
    return set(found)


# --- steps ----------------------------------------------------------------------------------


async def write_shipped(
    tx: AsyncConnection, before: Transfer, after: Transfer, *, actor: str, at: datetime
) -> Transfer:
    """Book that goods left the origin."""
    units = _more(before, after, "shipped")
    words = f"{count_of(sum(units.values()), 'unit')} left {before.origin}"
    return await _write(tx, before, after, Step("shipped", words, {"units": units}), actor, at)


async def write_received(
    tx: AsyncConnection,
    before: Transfer,
    after: Transfer,
    arrivals: Sequence[Arrival],
    *,
    actor: str,
    at: datetime,
) -> Transfer:
    """Book what arrived, and tell of units that were not on the road."""
    units, damaged = _more(before, after, "received"), _more(before, after, "damaged")
    beyond = unexpected(before, arrivals)
    words = f"{count_of(sum(units.values()), 'unit')} arrived at {before.destination}"
    if damaged:
        words += f", {sum(damaged.values())} damaged"
    if beyond:
        words += f", {sum(beyond.values())} of them not on the road"
        data = {"transfer": before.id, "status": before.status, "from": before.origin}
        await tell(
            tx,
            [
                StockEvent(
                    kind="transfer.unexpected",
                    at=at,
                    sku=sku,
                    location=before.destination,
                    data={**data, "quantity": count},
                )
                for sku, count in sorted(beyond.items())
            ],
        )
    step = Step("received", words, {"units": units, "damaged": damaged, "unexpected": beyond})
    return await _write(tx, before, after, step, actor, at)


async def write_cancelled(
    tx: AsyncConnection, before: Transfer, after: Transfer, *, actor: str, at: datetime
) -> Transfer:
    """Book that what was not sent stays at the origin."""
    units = _more(before, after, "cancelled")
    total = sum(units.values())
    stay = "stays" if total == 1 else "stay"
    words = f"{count_of(total, 'unit')} {stay} at {before.origin}"
    return await _write(tx, before, after, Step("cancelled", words, {"units": units}), actor, at)


async def write_closed(
    tx: AsyncConnection, before: Transfer, after: Transfer, *, actor: str, at: datetime
) -> Transfer:
    """Book what is lost on the way, and that nothing more is expected."""
    lost, cancelled = _more(before, after, "lost"), _more(before, after, "cancelled")
    words = f"Closed: {count_of(sum(lost.values()), 'unit')} lost on the way"
    if cancelled:
        words += f", {sum(cancelled.values())} never sent"
    await tell(
        tx,
        [
            StockEvent(
                kind="transfer.lost",
                at=at,
                sku=sku,
                location=before.destination,
                data={"transfer": before.id, "from": before.origin, "quantity": count},
            )
            for sku, count in sorted(lost.items())
        ],
    )
    data = {"lost": lost, "cancelled": cancelled}
    return await _write(tx, before, after, Step("closed", words, data), actor, at)


async def write_expected_at(
    tx: AsyncConnection, before: Transfer, after: Transfer, *, actor: str, at: datetime
) -> Transfer:
    """Book that it is expected at another time."""
    was, now = before.expected_at, after.expected_at
    words = f"Expected {said(now)} instead of {said(was)}"
    data = {"from": was and was.isoformat(), "to": now and now.isoformat()}
    return await _write(tx, before, after, Step("changed", words, data), actor, at)


async def _write(
    tx: AsyncConnection, before: Transfer, after: Transfer, step: Step, actor: str, at: datetime
) -> Transfer:
    """Write a step on the locked transfer; its stock last. What changes nothing writes nothing."""
    if after == before:
        return before
    after = after.model_copy(update={"version": before.version + 1})
    await tx.execute(
        text(
            "UPDATE transfers SET status = :status, expected_at = :expected_at,"
            " closed_at = :closed_at, version = :version WHERE id = :id"
        ),
        {
            "id": after.id,
            "status": after.status,
            "expected_at": after.expected_at,
            "closed_at": after.closed_at,
            "version": after.version,
        },
    )
    await _write_lines(tx, after)
    turn = await write_step(tx, after, step, actor, at)
    await _move(tx, before, after, step.kind, turn, at)
    return after


async def _move(
    tx: AsyncConnection, before: Transfer, after: Transfer, kind: str, turn: int, at: datetime
) -> None:
    """Move the difference. More than one look at the rows: then all are locked first, in order."""
    deltas = moved(before, after)
    if kind in ("shipped", "closed") and deltas:
        there = await lock_places(tx, deltas)
    if kind == "shipped":
        # A count may have found fewer than were promised: a shelf never falls below zero.
        for place, moves in deltas.items():
            if "on_hand" in moves:
                moves["on_hand"] = max(moves["on_hand"], -there.get(place, 0))
    if kind == "closed":
        called_off = {
            place: _only(moves, "allocated", "requested") for place, moves in deltas.items()
        }
        await _apply(tx, called_off, _CAUSES["cancelled"], f"{after.id}:close", at)
        deltas = {place: _only(moves, "incoming", "in_transit") for place, moves in deltas.items()}
        await _apply(tx, deltas, _CAUSES["closed"], f"{after.id}:lost", at)
    elif kind in _KEYS:
        await _apply(tx, deltas, _CAUSES[kind], f"{after.id}:{_KEYS[kind]}:{turn}", at)


def _only(moves: Mapping[str, int], *buckets: str) -> dict[str, int]:
    return {bucket: moves[bucket] for bucket in buckets if bucket in moves}


async def _apply(
    tx: AsyncConnection,
    deltas: Mapping[tuple[str, str], Mapping[str, int]],
    cause: str,
    key: str,
    at: datetime,
) -> None:
    changes = [StockChange(sku=sku, location=at_, **moves) for (sku, at_), moves in deltas.items()]
    await apply_changes(tx, changes, cause=cause, key=key, at=at)


async def _write_lines(tx: AsyncConnection, transfer: Transfer) -> None:
    await tx.execute(
        text(
            "INSERT INTO transfer_lines AS l (transfer, line, sku, quantity, shipped, received,"
            " damaged, lost, cancelled) SELECT :id, n.* FROM jsonb_to_recordset(CAST(:lines AS"
            " jsonb)) AS n(line int, sku text, quantity int, shipped bigint, received bigint,"
            " damaged bigint, lost bigint, cancelled bigint)"
            " ON CONFLICT (transfer, line) DO UPDATE SET shipped = excluded.shipped,"
            " received = excluded.received, damaged = excluded.damaged, lost = excluded.lost,"
            " cancelled = excluded.cancelled"
        ),
        {
            "id": transfer.id,
            "lines": json.dumps([line.model_dump() for line in transfer.lines]),
        },
    )


async def write_step(
    tx: AsyncConnection, transfer: Transfer, step: Step, actor: str, at: datetime
) -> int:
    """Add to the timeline. Returns how many steps of this kind there are now."""
    kind = f"transfer.{step.kind}"
    turn = await tx.scalar(
        text(
            "WITH e AS (SELECT count(*) AS steps, count(*) FILTER (WHERE kind = :kind) AS of_kind"
            "  FROM transfer_events WHERE transfer = :id"
            "), told AS (INSERT INTO transfer_events (transfer, seq, at, actor, kind, summary,"
            "  data) SELECT :id, e.steps + 1, :at, :actor, :kind, :summary, CAST(:data AS jsonb)"
            "  FROM e) SELECT of_kind + 1 FROM e"
        ),
        {
            "id": transfer.id,
            "at": at,
            "actor": actor,
            "kind": kind,
            "summary": step.summary,
            "data": json.dumps(dict(step.data)),
        },
    )
    assert turn is not None
    return int(turn)


def _more(before: Transfer, after: Transfer, count: str) -> dict[str, int]:
    """Units by article that a step added to one count of the lines."""
    was = {line.sku: getattr(line, count) for line in before.lines}
    added = {line.sku: getattr(line, count) - was.get(line.sku, 0) for line in after.lines}
    return {sku: units for sku, units in added.items() if units}


def _units(transfer: Transfer) -> dict[str, Any]:
    return {"units": {line.sku: line.quantity for line in transfer.lines}}


def said(at: datetime | None) -> str:
    """A time as a timeline says it."""
    return "at no known time" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
