"""Counts, corrections, rules and expectations of stock, as people and warehouses report them.

Unlike the processes' changes these may be refused: what does not fit is a value, by index.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.stock import Place, append_to_locked, create_places, lock_places

DAMAGED = "damaged"
"""The reason that moves what is taken off `on_hand` to `damaged`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A count (`set_to`) or a correction (`delta`) of `on_hand` at one place; exactly one of both.

    `expected_on_hand`: refuse unless `on_hand` is this when the adjustment's turn comes.
    """

    sku: str
    location: str
    reason: str
    set_to: int | None = None
    delta: int | None = None
    expected_on_hand: int | None = None


class Movement(NamedTuple):
    """A line of the ledger, as the API shows it."""

    at: datetime
    sku: str
    location: str
    bucket: str
    delta: int
    cause: str
    key: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one adjustment cannot be made."""

    index: int
    code: Literal["sku_unknown", "location_unknown", "stock_negative", "stock_changed"]
    detail: str


@dataclass(frozen=True, slots=True)
class Adjusted:
    """One movement for each adjustment, in order, then those of `damaged`.

    A count that confirms what was known is answered with a delta of 0; the ledger, which holds
    changes only, has no line for it.
    """

    movements: tuple[Movement, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was changed."""

    errors: tuple[Refusal, ...]


async def adjust(
    tx: AsyncConnection, adjustments: Sequence[Adjustment], *, key: str, at: datetime
) -> Adjusted | Refused:
    """Make all the adjustments, one after the other, or none; a handful of statements for all.

    The reason `damaged` with a negative delta also adds the units to `damaged`. The same key again
    is the first answer again (`at` and deltas as stored).

    Args:
        tx: The caller's transaction.
        adjustments: Several may name the same place; each sees what the ones before it left.
        key: The business effect. A place's second movement within it gets `{key}#2`, and so on.
        at: When.
    """
    refusals = await _unknown(tx, adjustments)
    if refusals:
        return Refused(refusals)
    keys = _keys(adjustments, key)
    places = sorted({_place(adjustment) for adjustment in adjustments})
    # Rows made for a request that is refused go away again: a refusal leaves no trace.
    async with tx.begin_nested() as savepoint:
        await create_places(tx, places)
        on_hand = await lock_places(tx, places)
        stored = await _stored(tx, keys)
        if stored:
            return Adjusted(_answer(adjustments, keys, stored, at))
        deltas, refusals = _decide(adjustments, on_hand)
        if refusals:
            await savepoint.rollback()
            return Refused(refusals)
        movements = list(_movements(adjustments, keys, deltas, at))
        await _append(tx, movements)
        return Adjusted(_answer(adjustments, keys, movements, at))


def _place(adjustment: Adjustment) -> Place:
    return adjustment.sku, adjustment.location


def _keys(adjustments: Sequence[Adjustment], key: str) -> list[str]:
    """A key moves a bucket of a place once, so a place's later turns get keys of their own."""
    turns: Counter[Place] = Counter()
    keys = []
    for adjustment in adjustments:
        turns[_place(adjustment)] += 1
        turn = turns[_place(adjustment)]
        keys.append(key if turn == 1 else f"{key}#{turn}")
    return keys


def _decide(
    adjustments: Sequence[Adjustment], on_hand: dict[Place, int]
) -> tuple[list[int], tuple[Refusal, ...]]:
    """The change of `on_hand` for each adjustment in turn, and what cannot be."""
    deltas: list[int] = []
    refusals: list[Refusal] = []
    for index, adjustment in enumerate(adjustments):
        before = on_hand[_place(adjustment)]
        expected = adjustment.expected_on_hand
        after = before + (adjustment.delta or 0)
        if adjustment.set_to is not None:
            assert adjustment.delta is None
            after = adjustment.set_to
        if expected is not None and expected != before:
            detail = f"expected {expected} on hand, found {before}"
            refusals.append(Refusal(index, "stock_changed", detail))
        elif after < 0:
            detail = f"{before} on hand, {after} after this"
            refusals.append(Refusal(index, "stock_negative", detail))
        else:
            on_hand[_place(adjustment)] = after
        deltas.append(after - before)
    return deltas, tuple(refusals)


def _movements(
    adjustments: Sequence[Adjustment], keys: list[str], deltas: list[int], at: datetime
) -> Iterator[Movement]:
    for adjustment, key, delta in zip(adjustments, keys, deltas, strict=True):
        moves = {"on_hand": delta}
        if adjustment.reason == DAMAGED and delta < 0:
            moves["damaged"] = -delta
        for bucket, moved in moves.items():
            if moved:
                yield Movement(at, *_place(adjustment), bucket, moved, adjustment.reason, key)


def _answer(
    adjustments: Sequence[Adjustment], keys: list[str], ledger: list[Movement], at: datetime
) -> tuple[Movement, ...]:
    made = {(m.key, m.sku, m.location): m for m in ledger if m.bucket == "on_hand"}
    unmoved = (
        Movement(at, *_place(adjustment), "on_hand", 0, adjustment.reason, key)
        for adjustment, key in zip(adjustments, keys, strict=True)
    )
    counted = [made.get((m.key, m.sku, m.location), m) for m in unmoved]
    return (*counted, *(m for m in ledger if m.bucket != "on_hand"))


async def _unknown(tx: AsyncConnection, adjustments: Sequence[Adjustment]) -> tuple[Refusal, ...]:
    found = await tx.execute(
        text(
            "SELECT array(SELECT sku FROM products WHERE sku = ANY(CAST(:skus AS text[]))),"
            " array(SELECT id FROM locations WHERE id = ANY(CAST(:locations AS text[])))"
        ),
        {
            "skus": sorted({adjustment.sku for adjustment in adjustments}),
            "locations": sorted({adjustment.location for adjustment in adjustments}),
        },
    )
    skus, locations = map(frozenset, found.one())
    refusals: list[Refusal] = []
    for index, adjustment in enumerate(adjustments):
        if adjustment.sku not in skus:
            refusals.append(Refusal(index, "sku_unknown", f"no product {adjustment.sku!r}"))
        if adjustment.location not in locations:
            detail = f"no location {adjustment.location!r}"
            refusals.append(Refusal(index, "location_unknown", detail))
    return tuple(refusals)


async def _stored(tx: AsyncConnection, keys: list[str]) -> list[Movement]:
    found = await tx.execute(
        text(
            "SELECT at, sku, location, bucket, delta, cause, key FROM stock_movements"
            " WHERE key = ANY(CAST(:keys AS text[])) ORDER BY id"
        ),
        {"keys": sorted(set(keys))},
    )
    return [Movement(*row) for row in found]


async def _append(tx: AsyncConnection, movements: list[Movement]) -> None:
    await append_to_locked(
        tx,
        """
SELECT m.* FROM unnest(CAST(:at AS timestamptz[]), CAST(:sku AS text[]),
  CAST(:location AS text[]), CAST(:bucket AS text[]), CAST(:delta AS bigint[]),
  CAST(:cause AS text[]), CAST(:key AS text[])) AS m
""",
        {name: [getattr(m, name) for m in movements] for name in Movement._fields},
    )
