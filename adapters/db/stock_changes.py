"""What changed in stock since a position: the one way to follow the ledger and its rules.

Movements and events carry the transaction that wrote them. Ids are drawn before their transaction
commits, and transactions commit in any order; but below the oldest transaction that is still open
nothing comes any more. So a follower reads by (transaction, id) up to there, and misses nothing: it
sees a change some moments later, and now and then one twice.

A rule of a whole place (it closes, it serves another channel) may change everything it holds: then
its articles are listed one after the other, and the reading goes on where the rule was changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.availability import METHODS, PLACES
from adapters.db.stock_events import RULES_CHANGED

SCANNED = 2_000
"""Rows that are looked at for one page at most."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All articles, or all that a place holds, from the one after `after`."""

    location: str | None = None
    after: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a follower has read.

    `life`: which books it read; after a restore they may lack what was read, and have other rows
    under the same numbers. None where the position is kept in the books themselves. `xid`, `id`:
    the last row. `listing`: what is to be listed before the reading goes on.
    """

    life: int | None
    xid: int
    id: int
    listing: Listing | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An article that may have changed, `location` where. `moved`: its units, not only a rule."""

    sku: str
    location: str | None = None
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What changed, where to go on, and whether there is more right now."""

    changes: tuple[Change, ...]
    position: Position
    more: bool


async def read_changes(
    tx: AsyncConnection, position: Position | None, *, limit: int, channel: str | None = None
) -> Page:
    """Read what changed after a position, at most `limit` articles of it.

    Without a position, and where the position is of other books, all articles are listed first.

    Args:
        tx: Any transaction; what is read is committed.
        position: Where the last page ended.
        limit: Articles, at least 1.
        channel: Only what can matter to this channel; None for everything that moved or was ruled.
    """
    life, horizon = (await tx.execute(_NOW)).one()
    if position is None or position.life not in (None, life) or position.xid > horizon:
        position = Position(life, horizon, 0, Listing())
    if position.listing is not None:
        return await _listed(tx, position, position.listing, limit)
    rows = await _scan(tx, position, horizon, channel)
    return _page(rows, position, horizon, limit)


async def _listed(tx: AsyncConnection, position: Position, listing: Listing, limit: int) -> Page:
    statement = _ALL if listing.location is None else _AT_A_PLACE
    names = {"after": listing.after, "limit": limit}
    if listing.location is not None:
        names["location"] = listing.location
    skus = list(await tx.scalars(statement, names))
    done = len(skus) < limit
    rest = None if done else replace(listing, after=skus[-1])
    changes = tuple(Change(sku, listing.location) for sku in skus)
    # Even at the end of the list there may be more: what changed while it was read.
    return Page(changes, replace(position, listing=rest), more=True)


def _page(rows: Sequence[Row[Any]], position: Position, horizon: int, limit: int) -> Page:
    """Take rows in order until a page is full, or a rule of a whole place begins a list."""
    found: dict[Change, None] = {}
    skus: set[str] = set()
    for row in rows:
        if row.is_wide:
            listed = replace(position, xid=row.xid, id=row.id, listing=Listing(row.location))
            return Page(tuple(found), listed, more=True)
        if row.sku is None:  # nothing that matters was found
            continue
        if row.sku not in skus and len(skus) == limit:
            before = replace(position, xid=row.xid, id=row.id - 1)
            return Page(tuple(found), before, more=True)
        skus.add(row.sku)
        found[Change(row.sku, row.location, row.moved)] = None
    scanned = rows[0]
    if scanned.is_cut:
        last = replace(position, xid=scanned.last_xid, id=scanned.last_id)
        return Page(tuple(found), last, more=True)
    return Page(tuple(found), replace(position, xid=horizon, id=0), more=False)


async def _scan(
    tx: AsyncConnection, position: Position, horizon: int, channel: str | None
) -> Sequence[Row[Any]]:
    found = await tx.execute(
        _SCAN,
        {
            "xid": position.xid,
            "id": position.id,
            "horizon": horizon,
            "most": SCANNED,
            "channel": channel,
            "methods": list(METHODS),
            "only": None,
        },
    )
    return found.all()


@dataclass(frozen=True, slots=True)
class Told:
    """Events, where to go on, and whether there is more right now."""

    events: Sequence[Row[Any]]
    position: Position
    more: bool


async def read_events(
    tx: AsyncConnection,
    position: Position | None,
    *,
    limit: int,
    kind: str | None = None,
    sku: str | None = None,
    location: str | None = None,
    reach: Sequence[str] | None = None,
) -> Told:
    """Read what was told of stock after a position, oldest first; without one, from the first.

    Args:
        tx: Any transaction; what is read is committed.
        position: Where the last page ended. One of other books begins anew.
        limit: Events, at least 1.
        kind: Only these, e.g. `stock.out`.
        sku: Only of this article.
        location: Only of this place.
        reach: Only what channels may know, and only of places that serve one of these. None for
            everything.
    """
    life, horizon = (await tx.execute(_NOW)).one()
    if position is None or position.life != life or position.xid > horizon:
        position = Position(life, 0, 0)
    narrowed = {"kind": kind, "sku": sku, "location": location, "reach": reach and list(reach)}
    names = {"xid": position.xid, "id": position.id, "horizon": horizon, "most": SCANNED}
    found = (await tx.execute(_EVENTS, names | narrowed | {"limit": limit + 1})).all()
    scanned, events = found[0], [row for row in found if row.kind is not None]
    if len(events) > limit:
        last = replace(position, xid=events[limit - 1].xid, id=events[limit - 1].id)
        return Told(events[:limit], last, more=True)
    if scanned.is_cut:
        last = replace(position, xid=scanned.last_xid, id=scanned.last_id)
        return Told(events, last, more=True)
    return Told(events, replace(position, xid=horizon, id=0), more=False)


# A restore, and its end, begin another life of the books.
_NOW = text(
    """
SELECT coalesce((SELECT extract(epoch FROM since) * 1000 FROM system_state WHERE id = 1), 0)::bigint
    AS life,
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon
"""
)

# What one transaction takes and gives at the same place, e.g. a reservation that becomes an
# allocation, changes nothing for anybody. What several do is never set off against each other:
# the follower may have seen the level between them.
_SCAN = text(
    f"""
WITH scanned AS (
  SELECT * FROM (
    (SELECT xid, id, sku, location, false AS is_rule, NULL AS channel,
        CASE WHEN bucket = 'on_hand' THEN delta
          WHEN bucket IN ('reserved', 'allocated', 'backordered') THEN -delta ELSE 0 END AS effect
      FROM stock_movements WHERE (xid, id) > (:xid, :id) AND xid < :horizon
      ORDER BY xid, id LIMIT :most)
    UNION ALL
    (SELECT xid, id, sku, location, kind = '{RULES_CHANGED}', data->>'channel', 0
      FROM stock_events WHERE (xid, id) > (:xid, :id) AND xid < :horizon
      ORDER BY xid, id LIMIT :most)
  ) AS both_ledgers ORDER BY xid, id LIMIT :most
), seen AS (
  SELECT count(*) = :most AS is_cut, max(xid) AS last_xid,
    (array_agg(id ORDER BY xid DESC, id DESC))[1] AS last_id
  FROM scanned
), change AS (
  SELECT xid, min(id) AS id, sku, location, is_rule, channel FROM scanned
  GROUP BY xid, sku, location, is_rule, channel HAVING is_rule OR sum(effect) <> 0
), relevant AS (
  SELECT s.*, NOT s.is_rule AS moved, s.sku IS NULL AS is_wide
  FROM change s LEFT JOIN {PLACES}
  WHERE CASE
    WHEN s.sku IS NOT NULL THEN CAST(:channel AS text) IS NULL OR l.id IS NOT NULL
    WHEN s.location IS NOT NULL THEN true
    ELSE s.channel = CAST(:channel AS text) END
)
SELECT s.is_cut, s.last_xid, s.last_id, r.xid, r.id, r.sku, r.location, r.moved, r.is_wide
FROM seen s LEFT JOIN relevant r ON true ORDER BY r.xid, r.id
"""
)

_ALL = text("SELECT sku FROM products WHERE sku > :after ORDER BY sku LIMIT :limit")
_AT_A_PLACE = text(
    "SELECT sku FROM stock_levels WHERE location = :location AND sku > :after"
    " ORDER BY sku LIMIT :limit"
)

_EVENTS = text(
    """
WITH scanned AS (
  SELECT * FROM stock_events WHERE (xid, id) > (:xid, :id) AND xid < :horizon
  ORDER BY xid, id LIMIT :most
), seen AS (
  SELECT count(*) = :most AS is_cut, max(xid) AS last_xid,
    (array_agg(id ORDER BY xid DESC, id DESC))[1] AS last_id
  FROM scanned
), wanted AS (
  SELECT e.* FROM scanned e LEFT JOIN locations l ON l.id = e.location
  WHERE (CAST(:kind AS text) IS NULL OR e.kind = :kind)
    AND (CAST(:sku AS text) IS NULL OR e.sku = :sku)
    AND (CAST(:location AS text) IS NULL OR e.location = :location)
    AND (CAST(:reach AS text[]) IS NULL OR (e.kind IN ('stock.low', 'stock.out', 'stock.back')
      AND (e.location IS NULL OR l.channels && CAST(:reach AS text[]))))
  ORDER BY xid, id LIMIT :limit
)
SELECT s.is_cut, s.last_xid, s.last_id, w.xid, w.id, w.at, w.kind, w.sku, w.location, w.data
FROM seen s LEFT JOIN wanted w ON true ORDER BY w.xid, w.id
"""
)
