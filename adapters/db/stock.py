"""The stock ledger: every change of stock, in one statement with its movements.

A change names its business effect by a key. The statement locks the rows sorted by
(sku, location), checks what it was asked to check on the locked rows, appends the movements and
moves the levels; under a key that was used it does nothing. Call it last in the caller's
transaction, after the order's row is locked, and once: so transactions never wait in a circle.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from oms.errors import KeyReused

BUCKETS = (
    "on_hand",
    "reserved",
    "allocated",
    "incoming",
    "in_transit",
    "requested",
    "coming_back",
    "damaged",
    "backordered",
)
"""What moves. `in_transit` is the part of `incoming` that is on the road in a transfer,
`coming_back` the part that customers send back; `requested` was asked of another place, which has
not sent it yet.
"""

Place = tuple[str, str]
"""A (sku, location)."""

MOST_PLACES = 10_000
"""Of one change. An order has at most 500 lines; imports have a bulk way of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockChange:
    """What is added to each bucket at one place, negative to take away. Unconditional."""

    sku: str
    location: str
    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    incoming: int = 0
    in_transit: int = 0
    requested: int = 0
    coming_back: int = 0
    damaged: int = 0
    backordered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Units to take at one place, if they are there.

    `into` reserved or allocated asks for available stock: what the place's open backorders wait
    for is not, unless it is `for_queue`. `backordered` asks for room under the place's
    `backorder_limit` (and what is coming, where its policy says so). `leave`: available units
    that must stay there.
    """

    sku: str
    location: str
    quantity: int
    into: Literal["reserved", "allocated", "backordered"] = "reserved"
    leave: int = 0
    for_queue: bool = False


class ShortRow(NamedTuple):
    """A place that has less than was wanted. `backorder`: room was wanted, not stock."""

    sku: str
    location: str
    wanted: int
    available: int
    backorder: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """All of it was taken. `again`: under this key it had been taken before."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class Short:
    """Nothing was taken, because these places have too little."""

    rows: tuple[ShortRow, ...]


_NOTHING = dict.fromkeys(BUCKETS, 0)


class _Total:
    """Everything asked of one place: deltas by bucket, and the units that must be there."""

    def __init__(self) -> None:
        self.deltas = dict(_NOTHING)
        self.units = 0
        self.for_queue = 0
        self.room = 0
        self.leave = 0


_Totals = dict[Place, _Total]


async def apply_changes(
    tx: AsyncConnection, changes: Iterable[StockChange], *, cause: str, key: str, at: datetime
) -> bool:
    """Change stock unconditionally. Changes of one place are added up first.

    Args:
        tx: The caller's transaction.
        changes: What to add; places without a row get one.
        cause: Why, for the ledger, e.g. `hand_over`.
        key: The business effect, e.g. `{fulfillment_order}:hand_over`.
        at: When.

    Returns:
        False if the key was used before: nothing changes then.

    Raises:
        sqlalchemy.exc.IntegrityError: a bucket would go below zero, a broken invariant; or the
            SKU or location does not exist.
        KeyReused: the key was used for other changes.
    """
    totals = _add_up((), changes)
    if not totals:
        return True
    found = await _move(tx, totals, cause=cause, key=key, at=at)
    return not await _moved_before(tx, found, totals, key)


async def take(
    tx: AsyncConnection,
    wanted: Iterable[Want],
    *,
    also: Iterable[StockChange] = (),
    cause: str,
    key: str,
    at: datetime,
    in_attempt: bool = False,
) -> Taken | Short:
    """Take all that is wanted or nothing, in one statement; `also` applies only if it is taken.

    Moving an allocation from one place to another is a take at the new one and, in `also`, the
    release at the old one. What `also` frees at the very place counts as there. The answer
    `Short` leaves no trace: the same key may be tried again.

    `in_attempt`: nobody else uses the key at the same time, and when it is short, the caller rolls
    back, the transaction or to a savepoint of its own. That saves one here, which lets go of the
    rows locked by an attempt that came too late; and one line is taken by a shorter statement.

    Raises:
        sqlalchemy.exc.IntegrityError: `also` would put a bucket below zero; or, `in_attempt`,
            somebody else did use the key at the same time.
        KeyReused: the key was used for other changes.
    """
    totals = _add_up(wanted, also)
    if not totals:
        return Taken()
    if in_attempt and await _take_one(tx, totals, cause=cause, key=key, at=at):
        return Taken()
    if not in_attempt:
        await tx.execute(text("SAVEPOINT take"))
    found = await _move(tx, totals, cause=cause, key=key, at=at)
    if found.short:
        if not in_attempt:
            await tx.execute(text("ROLLBACK TO SAVEPOINT take"))
        if not await _used(tx, key):
            return Short(tuple(sorted(_short_rows(found.short))))
    return Taken(again=await _moved_before(tx, found, totals, key))


async def append_to_locked(
    tx: AsyncConnection, source: str, arguments: Mapping[str, Any] | None = None
) -> None:
    """Write any number of movements at once, and move the levels by their sums.

    For who decides on rows that it has locked itself, sorted as here: counts and corrections.

    Args:
        tx: The caller's transaction, which holds the locks.
        source: A query of the movements (at, sku, location, bucket, delta, cause, key); buckets
            `on_hand` and `damaged` only.
        arguments: Of the query.

    Raises:
        sqlalchemy.exc.IntegrityError: a bucket would go below zero, or a key was used at a place.
    """
    await tx.execute(text(_APPEND.format(source=source)), arguments)


_APPEND = """
WITH moved AS (
  INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key) {source}
  RETURNING sku, location, bucket, delta
), change AS (
  SELECT sku, location, sum(delta) FILTER (WHERE bucket = 'on_hand') AS on_hand,
    sum(delta) FILTER (WHERE bucket = 'damaged') AS damaged
  FROM moved GROUP BY sku, location
)
UPDATE stock_levels s
SET on_hand = s.on_hand + coalesce(c.on_hand, 0), damaged = s.damaged + coalesce(c.damaged, 0)
FROM change c WHERE s.sku = c.sku AND s.location = c.location
"""


async def create_places(tx: AsyncConnection, places: Iterable[Place]) -> None:
    """Make empty rows where there are none, before anything is locked."""
    ordered = sorted(set(places))
    await tx.execute(
        text(
            "INSERT INTO stock_levels (sku, location)"
            " SELECT * FROM unnest(CAST(:sku AS text[]), CAST(:location AS text[]))"
            " ON CONFLICT DO NOTHING"
        ),
        {"sku": [sku for sku, _ in ordered], "location": [location for _, location in ordered]},
    )


async def lock_places(tx: AsyncConnection, places: Iterable[Place]) -> dict[Place, int]:
    """Lock the rows there are, in their order. Returns what is on hand at each."""
    ordered = sorted(set(places))
    found = await tx.execute(
        text(
            "SELECT s.sku, s.location, s.on_hand FROM stock_levels s JOIN unnest("
            "  CAST(:skus AS text[]), CAST(:locations AS text[])) AS p(sku, location)"
            " ON s.sku = p.sku AND s.location = p.location"
            " ORDER BY s.sku, s.location FOR NO KEY UPDATE OF s"
        ),
        {"skus": [sku for sku, _ in ordered], "locations": [place for _, place in ordered]},
    )
    return {(row.sku, row.location): row.on_hand for row in found}


def _add_up(wanted: Iterable[Want], also: Iterable[StockChange]) -> _Totals:
    totals: _Totals = {}
    for want in wanted:
        assert want.quantity > 0
        total = totals.setdefault((want.sku, want.location), _Total())
        total.deltas[want.into] += want.quantity
        if want.into == "backordered":
            total.room += want.quantity
        else:
            total.units += want.quantity
            total.leave = max(total.leave, want.leave)
            total.for_queue += want.quantity * want.for_queue
            assert total.for_queue in (0, total.units), "a place is asked by the queue or not"
    for change in also:
        total = totals.setdefault((change.sku, change.location), _Total())
        for bucket in BUCKETS:
            total.deltas[bucket] += getattr(change, bucket)
    return {
        place: total
        for place, total in sorted(totals.items())
        if total.units or total.room or any(total.deltas.values())
    }


# What a place has for those who ask: its level as it will be, less what is wanted of it. What its
# open backorders wait for is there for them alone; of what is blocked nothing is there for anybody.
_LEFT = """s.on_hand + w.on_hand - s.reserved - w.reserved - s.allocated - w.allocated
    - s.safety_stock"""
_QUEUE = "s.backordered + w.backordered - w.room"
_AVAILABLE = f"""CASE WHEN s.blocked THEN 0 ELSE greatest(0, {_LEFT} - w.leave + w.units
    - CASE WHEN w.for_queue > 0 THEN 0 ELSE {_QUEUE} END) END"""
_ROOM = f"""CASE WHEN s.blocked THEN 0 ELSE greatest(0, s.backorder_limit - ({_QUEUE})
    + CASE WHEN s.backorder_from_incoming
      THEN s.incoming + w.incoming - s.coming_back - w.coming_back + greatest(0, {_LEFT})
      ELSE 0 END) END"""

# The rows come as one document: of arrays the planner knows the length, and then plans anew for
# each call, which takes as long as the rest; the limit says that they are few. `seen` is read
# without a lock: what is short already queues for none. `level` is what is really there, read
# under the locks. The levels move only if every movement could be appended: a transaction with the
# same key that was faster leaves none to append.
_MOVE = text(
    f"""
WITH wanted AS (
  SELECT * FROM jsonb_to_recordset(CAST(:wanted AS jsonb)) AS w(sku text, location text,
    on_hand bigint, reserved bigint, allocated bigint, incoming bigint, in_transit bigint,
    requested bigint, coming_back bigint, damaged bigint, backordered bigint, units bigint,
    for_queue bigint, room bigint, leave bigint)
  LIMIT (SELECT {MOST_PLACES})
), used AS (
  SELECT EXISTS (SELECT FROM stock_movements WHERE key = :key) AS yes
), seen AS (
  SELECT w.sku, w.location, w.units, coalesce({_AVAILABLE}, 0) AS available,
    w.room, coalesce({_ROOM}, 0) AS room_left, s.sku IS NULL AS is_missing
  FROM wanted w LEFT JOIN stock_levels s ON s.sku = w.sku AND s.location = w.location
), seen_short AS (
  SELECT * FROM seen WHERE units > available OR room > room_left
), go AS (
  SELECT NOT (SELECT yes FROM used) AND NOT EXISTS (SELECT FROM seen_short)
    AND NOT EXISTS (SELECT FROM seen WHERE is_missing) AS yes
), level AS MATERIALIZED (
  SELECT w.sku, w.location, w.units, {_AVAILABLE} AS available, w.room, {_ROOM} AS room_left
  FROM stock_levels s JOIN wanted w ON s.sku = w.sku AND s.location = w.location
  WHERE (SELECT yes FROM go)
  ORDER BY s.sku, s.location
  FOR NO KEY UPDATE OF s
), short AS (
  SELECT sku, location, units, available, room, room_left FROM seen_short
  UNION ALL
  SELECT * FROM level WHERE units > available OR room > room_left
), moved AS (
  INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)
  SELECT :at, w.sku, w.location, d.bucket, d.delta, :cause, :key
  FROM wanted w CROSS JOIN LATERAL (VALUES
    ('on_hand', w.on_hand), ('reserved', w.reserved), ('allocated', w.allocated),
    ('incoming', w.incoming), ('in_transit', w.in_transit), ('requested', w.requested),
    ('coming_back', w.coming_back), ('damaged', w.damaged), ('backordered', w.backordered)
  ) AS d(bucket, delta)
  WHERE d.delta <> 0 AND (SELECT yes FROM go) AND (SELECT count(*) FROM short) = 0
  ORDER BY w.sku, w.location, d.bucket
  ON CONFLICT ON CONSTRAINT movement_once DO NOTHING
  RETURNING id
), changed AS (
  UPDATE stock_levels s SET on_hand = s.on_hand + w.on_hand, reserved = s.reserved + w.reserved,
    allocated = s.allocated + w.allocated, incoming = s.incoming + w.incoming,
    in_transit = s.in_transit + w.in_transit, requested = s.requested + w.requested,
    coming_back = s.coming_back + w.coming_back, damaged = s.damaged + w.damaged,
    backordered = s.backordered + w.backordered
  FROM wanted w
  WHERE s.sku = w.sku AND s.location = w.location
    AND (SELECT count(*) FROM moved) = :moves AND :moves > 0
)
SELECT (SELECT yes FROM used) AS used, (SELECT count(*) FROM moved) AS moved,
  (SELECT jsonb_agg(jsonb_build_array(sku, location)) FROM seen
    WHERE is_missing AND units = 0 AND room = 0) AS missing,
  (SELECT jsonb_agg(jsonb_build_array(sku, location, units, available, room, room_left))
    FROM short) AS short
"""
)


# One line, as most orders have, locks its row by changing it. Who waited for a hot row looks at it
# anew once instead of twice, and holds it for less than half as long.
_RESERVE_ONE = text(
    f"""
WITH changed AS (
  UPDATE stock_levels s SET reserved = s.reserved + w.units
  FROM (SELECT CAST(:units AS bigint) AS units, CAST(:units AS bigint) AS reserved, 0 AS on_hand,
    0 AS allocated, 0 AS backordered, 0 AS room, CAST(:leave AS bigint) AS leave,
    CAST(:for_queue AS bigint) AS for_queue) w
  WHERE s.sku = :sku AND s.location = :location AND {_AVAILABLE} >= w.units
    AND NOT EXISTS (SELECT FROM stock_movements WHERE key = :key)
  RETURNING s.sku, s.location
)
INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)
SELECT :at, sku, location, 'reserved', :units, :cause, :key FROM changed
"""
)


async def _take_one(
    tx: AsyncConnection, totals: _Totals, *, cause: str, key: str, at: datetime
) -> bool:
    """Reserve at one place, if that is all that is asked. False: nothing changed."""
    ((sku, location), total), *others = totals.items()
    if others or total.deltas != _NOTHING | {"reserved": total.units}:
        return False
    found = await tx.execute(
        _RESERVE_ONE,
        {
            "sku": sku,
            "location": location,
            "units": total.units,
            "leave": total.leave,
            "for_queue": total.for_queue,
            "cause": cause,
            "key": key,
            "at": at,
        },
    )
    return found.rowcount == 1


async def _move(
    tx: AsyncConnection, totals: _Totals, *, cause: str, key: str, at: datetime
) -> Row[Any]:
    assert len(totals) <= MOST_PLACES, "more places at once than one statement takes"
    rows = [
        {
            "sku": sku,
            "location": location,
            **total.deltas,
            "units": total.units,
            "for_queue": total.for_queue,
            "room": total.room,
            "leave": total.leave,
        }
        for (sku, location), total in totals.items()
    ]
    arguments: dict[str, Any] = {
        "wanted": json.dumps(rows),
        "moves": _moves(totals),
        "cause": cause,
        "key": key,
        "at": at,
    }
    found = (await tx.execute(_MOVE, arguments)).one()
    if found.missing and not found.used and not found.short:
        # Only now, so that the usual case is one statement; nothing is locked while this waits.
        await create_places(tx, [(sku, location) for sku, location in found.missing])
        found = (await tx.execute(_MOVE, arguments)).one()
    return found


def _moves(totals: _Totals) -> int:
    return sum(1 for total in totals.values() for delta in total.deltas.values() if delta)


async def _moved_before(tx: AsyncConnection, found: Row[Any], totals: _Totals, key: str) -> bool:
    """Whether the key was used before, for just these changes."""
    if found.moved == _moves(totals) and not found.used:
        return False
    statement = text("SELECT sku, location, bucket, delta FROM stock_movements WHERE key = :key")
    stored = {tuple(row) for row in await tx.execute(statement, {"key": key})}
    asked = {
        (sku, location, bucket, delta)
        for (sku, location), total in totals.items()
        for bucket, delta in total.deltas.items()
        if delta
    }
    if stored != asked:
        raise KeyReused(f"{key!r} already moved other stock")
    return True


def _short_rows(found: Sequence[Sequence[Any]]) -> Iterable[ShortRow]:
    for sku, location, units, available, room, room_left in found:
        if units > available:
            yield ShortRow(sku, location, units, available)
        if room > room_left:
            yield ShortRow(sku, location, room, room_left, backorder=True)


async def _used(tx: AsyncConnection, key: str) -> bool:
    statement = text("SELECT EXISTS (SELECT FROM stock_movements WHERE key = :key)")
    return bool(await tx.scalar(statement, {"key": key}))
