"""Goods that nobody announced, and goods that belong to nothing we know.

A scan is known by its place and reference: the same one again moves nothing.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.keeping_found import KEEP_FOUND, found_rows, keep_found
from adapters.db.parcels import record_scan
from adapters.db.return_asking import tags_of
from adapters.db.return_policies import current_policy
from adapters.db.return_receipts import Arrived, receive_goods
from adapters.db.returns import Announced, NewReturn, change_return
from adapters.db.returns import request_return as write_return
from adapters.db.stock import StockChange, apply_changes
from adapters.db.undeliverable import turn_round
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.found import Found, sort_out
from oms.return_policy import ReturnRule
from oms.return_terms import Ruled, rule_of, shipping_told, strictest, worth_of
from oms.returns import Return
from oms.words import count_of

FoundRow = RowMapping
UNANNOUNCED = "unannounced"
_NO_RULE = ReturnRule(name=UNANNOUNCED)


class Goods(NamedTuple):
    """What somebody found. `reference`: what the scanner read, which names the scan.

    `order`, `tracking_number`: what was said about whose they are, right or wrong.
    """

    location: str
    reference: str
    found: tuple[Found, ...]
    order: str | None = None
    tracking_number: str | None = None

    @property
    def key(self) -> str:
        """The receipt's key."""
        return f"{UNANNOUNCED}:{self.location}:{self.reference}"

    @property
    def said(self) -> str:
        """A digest of all that was said."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()


class TakenIn(NamedTuple):
    """What became of a scan: its order, the returns that received it, the found goods it left."""

    order: str | None
    returns: tuple[str, ...]
    found: tuple[int, ...]


_WHAT_BECAME = """
SELECT s.order_number,
    array(SELECT r.id FROM return_receipts p JOIN returns r ON r.id = p.return_id
        WHERE r.order_number = s.order_number AND p.key = :key ORDER BY r.seq) AS returns,
    array(SELECT id FROM found_goods f
        WHERE f.location = s.location AND f.reference = s.reference ORDER BY line) AS found
FROM unannounced_scans s WHERE s.location = :location AND s.reference = :reference
"""
_REMEMBER = """
INSERT INTO unannounced_scans (location, reference, said, order_number)
VALUES (:location, :reference, :said, :number) ON CONFLICT DO NOTHING RETURNING said
"""
_SAID = "SELECT said FROM unannounced_scans WHERE location = :location AND reference = :reference"


async def taken_in(tx: AsyncConnection, goods: Goods) -> TakenIn:
    """What became of a scan that was taken in."""
    values = {"key": goods.key, "location": goods.location, "reference": goods.reference}
    row = (await tx.execute(text(_WHAT_BECAME), values)).one()
    return TakenIn(row.order_number, tuple(row.returns), tuple(row.found))


async def _is_new(tx: AsyncConnection, goods: Goods, number: str | None) -> Refusal | bool:
    """Remember a scan. False if it was said so before; a refusal if otherwise."""
    values = {"location": goods.location, "reference": goods.reference}
    told = {**values, "said": goods.said, "number": number}
    if (await tx.execute(text(_REMEMBER), told)).one_or_none() is not None:
        return True
    said = (await tx.execute(text(_SAID), values)).scalar_one()
    if said in (None, goods.said):
        return False
    detail = (
        f"{goods.reference} was told at {goods.location} with other contents: give each parcel a"
        " reference of its own, and resolve what was found by /v1/found-goods/{id}/resolve."
    )
    return Refusal(code="reference_reused", detail=detail, pointer="/reference")


# --- received -------------------------------------------------------------------------------


async def take_in(
    unit: OrderUnit, goods: Goods, *, back: str | None = None, shipment: str | None = None
) -> Refusal | bool:
    """Receive goods of an order that nobody announced. False if the scan was known.

    `back`: the return in whose parcel they lay. `shipment`: the parcel of ours they lay in; it
    turned round, whether or not its carrier said so.
    """
    new = await _is_new(unit.tx, goods, unit.number)
    if new is not True:
        return new
    if shipment is not None:
        back = await _turned(unit, shipment, goods)
    parts = sort_out(unit.order, goods.found, first=back)
    for id, found in parts.expected.items():
        await _receive(unit, id, goods, found)
    if parts.new:
        id = await _announce(unit, goods.location, parts.new)
        await unit.again()
        await _receive(unit, id, goods, parts.new)
    about = back or next(iter(parts.expected), None)
    keep_found(unit, parts.beyond, location=goods.location, reference=goods.reference, back=about)
    return True


async def _turned(unit: OrderUnit, id: str, goods: Goods) -> str | None:
    """The return as which a parcel of ours is back; None if its customer had it."""
    shipment = unit.order.shipment(id)
    known = any(each.shipment == id for each in unit.order.returns)
    if not known and shipment.delivered_at is None:
        told = {"event_id": goods.key, "status": "returned_to_sender", "at": unit.at}
        await record_scan(unit, shipment, **told)  # type: ignore[arg-type] # by their names
        await unit.again()
    back = await turn_round(unit, unit.order.shipment(id))
    await unit.again()
    return back


async def _receive(unit: OrderUnit, id: str, goods: Goods, found: Sequence[Found]) -> None:
    arrived = [Arrived(_line(each), each.quantity, each.condition, each.sku) for each in found]

    async def receive(unit: OrderUnit, back: Return) -> Refusal | None:
        return await receive_goods(unit, back, goods.location, arrived, key=goods.key)

    refusal = await change_return(unit, id, receive, cause="unannounced", nudge=True)
    assert refusal is None, "it has room for what was sorted out for it"
    await unit.again()


def _line(each: Found) -> int:
    assert each.line is not None, "it was sorted out"
    return each.line


async def _announce(unit: OrderUnit, location: str, found: Sequence[Found]) -> str:
    """A return of goods that are here already: paid back, by the policy, once inspected."""
    order, versioned = unit.order, await current_policy(unit.tx)
    policy, tags = versioned.policy, await tags_of(unit)
    counts: Counter[int] = Counter()
    for each in found:
        counts[_line(each)] += each.quantity
    ruled = []
    for line in order.lines:
        if count := counts[line.line]:
            mine = tags.get(line.sku, ())
            rule = rule_of(policy, order, line, tags=mine, reason=UNANNOUNCED) or _NO_RULE
            ruled.append(Ruled(line, count, UNANNOUNCED, rule))
    terms = strictest(order, policy, ruled, "post").model_copy(update={"refund_at": "inspection"})
    worth = sum(worth_of(order, each.line, each.quantity) for each in ruled)
    worth += shipping_told(order, terms, counts)
    return await write_return(
        unit,
        NewReturn(
            lines=tuple(Announced(each.line.line, each.quantity, UNANNOUNCED) for each in ruled),
            terms=terms,
            refund_minor=max(0, worth - terms.fee_minor),
            location=location,
            policy_version=versioned.version,
        ),
    )


# --- found ----------------------------------------------------------------------------------


async def keep_unknown(
    tx: AsyncConnection, goods: Goods, *, at: datetime, actor: str
) -> Refusal | bool:
    """Keep goods of no order we know. False if the scan was known."""
    new = await _is_new(tx, goods, None)
    if new is not True:
        return new
    for row in found_rows(goods.found, location=goods.location, reference=goods.reference):
        await tx.execute(text(KEEP_FOUND), {**row, "at": at, "actor": actor})
    return True


async def found_goods(tx: AsyncConnection, ids: Sequence[int]) -> list[RowMapping]:
    """Found goods, in the order asked for."""
    rows = await tx.execute(
        text("SELECT * FROM found_goods WHERE id = ANY(:ids)"), {"ids": list(ids)}
    )
    by_id = {row["id"]: row for row in rows.mappings()}
    return [by_id[id] for id in ids if id in by_id]


class FoundFilter(NamedTuple):
    """What a list is narrowed to. `places`: only at these."""

    location: str | None = None
    open: bool | None = None
    places: Sequence[str] | None = None


async def list_found(
    tx: AsyncConnection, wanted: FoundFilter, *, after: tuple[datetime, int] | None, limit: int
) -> list[RowMapping]:
    """Found goods, newest first, from the one after `after`, its time and id."""
    at, id = after or (None, None)
    rows = await tx.execute(
        text(
            """
            SELECT * FROM found_goods
            WHERE (CAST(:location AS text) IS NULL OR location = :location)
                AND (CAST(:open AS boolean) IS NULL OR (resolved_at IS NULL) = :open)
                AND (CAST(:places AS text[]) IS NULL OR location = ANY(CAST(:places AS text[])))
                AND (CAST(:id AS bigint) IS NULL OR (at, id) < (CAST(:at AS timestamptz), :id))
            ORDER BY at DESC, id DESC LIMIT :limit
            """
        ),
        {**wanted._asdict(), "at": at, "id": id, "limit": limit},
    )
    return list(rows.mappings())


# --- resolved -------------------------------------------------------------------------------

Fate = Literal["restock", "quarantine", "return_to_supplier", "dispose"]


async def _locked(tx: AsyncConnection, id: int) -> RowMapping | None:
    rows = await tx.execute(text("SELECT * FROM found_goods WHERE id = :id FOR UPDATE"), {"id": id})
    return rows.mappings().one_or_none()


def _decided(row: RowMapping | None, resolution: str) -> Refusal | bool:
    """Whether it was decided so before; a refusal if otherwise, or if there is none."""
    if row is None:
        return Refusal(code="not_found", detail="There are no such goods.")
    if row["resolved_at"] is not None and row["resolution"] != resolution:
        detail = f"It was decided already: {row['resolution']}."
        return Refusal(code="invalid_state", detail=detail)
    return row["resolved_at"] is not None


_RESOLVE = """
WITH resolved AS (
    UPDATE found_goods SET resolved_at = :at, resolution = :resolution, reason = :reason
    WHERE id = :id RETURNING *
)
INSERT INTO stock_events (at, kind, sku, location, data)
SELECT resolved_at, 'found_goods.resolved', sku, location, jsonb_build_object('found', id::text,
    'quantity', quantity, 'condition', condition, 'resolution', resolution) FROM resolved
"""


async def belongs_to(unit: OrderUnit, id: int, line: int, reason: str) -> Refusal | None:
    """A person knows which line of an order found goods are of: they are received as such."""
    row = await _locked(unit.tx, id)
    resolution = f"{unit.number}, line {line}"
    decided = _decided(row, resolution)
    if isinstance(decided, Refusal) or decided or row is None:
        return decided if isinstance(decided, Refusal) else None
    ordered, wrong = unit.order.line(line), row["condition"] == "wrong_item"
    if ordered is None or (row["sku"] not in (None, ordered.sku) and not wrong):
        detail = f"{unit.number} has no line {line} of {row['sku'] or 'anything'}."
        return Refusal(code="line_unknown", detail=detail, pointer="/line")
    found = Found(row["quantity"], row["condition"], line, row["sku"] if wrong else None)
    if sort_out(unit.order, [found]).beyond:
        detail = (
            f"Less than {count_of(found.quantity, 'unit')} of line {line} is with the customer."
        )
        return Refusal(code="quantity_too_large", detail=detail, pointer="/line")
    taken = await take_in(unit, Goods(row["location"], f"found:{id}", (found,)))
    if isinstance(taken, Refusal):
        return taken
    unit.run(_RESOLVE, id=id, at=unit.at, resolution=resolution, reason=reason)
    return None


# A recall waits for whoever puts some of the article on a shelf, and they for it.
_ARTICLE = """
SELECT p.recalled, coalesce((SELECT blocked FROM stock_levels s
    WHERE s.sku = p.sku AND s.location = :location), false) AS blocked
FROM products p WHERE p.sku = :sku FOR KEY SHARE OF p
"""


async def _may_not_lie_there(tx: AsyncConnection, row: RowMapping, fate: Fate) -> Refusal | None:
    """Why goods cannot be counted as ours: nobody knows what they are, or nobody may sell them."""
    values = {"sku": row["sku"], "location": row["location"]}
    article = (await tx.execute(text(_ARTICLE), values)).one_or_none()
    if article is None:
        detail = "Nobody knows which article it is."
        return Refusal(code="sku_unknown", detail=detail, pointer="/disposition")
    if fate == "restock" and (article.recalled or article.blocked):
        why = "recalled" if article.recalled else f"blocked at {row['location']}"
        detail = f"It may not go on a shelf: {row['sku']} is {why}."
        return Refusal(code="invalid_state", detail=detail)
    return None


async def decide_fate(
    tx: AsyncConnection, id: int, fate: Fate, reason: str, *, at: datetime
) -> Refusal | None:
    """What becomes of goods that nobody misses: ours from now on, or gone."""
    row = await _locked(tx, id)
    decided = _decided(row, fate)
    if isinstance(decided, Refusal) or decided or row is None:
        return decided if isinstance(decided, Refusal) else None
    if fate in ("restock", "quarantine"):
        if no := await _may_not_lie_there(tx, row, fate):
            return no
        units = {"on_hand" if fate == "restock" else "damaged": row["quantity"]}
        change = StockChange(sku=row["sku"], location=row["location"], **units)
        await apply_changes(tx, [change], cause="found", key=f"found:{id}", at=at)
    await tx.execute(text(_RESOLVE), {"id": id, "at": at, "resolution": fate, "reason": reason})
    return None
