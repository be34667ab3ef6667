"""One transaction on one order: read under its lock, gather the effects, write them together.

The order row is locked first and stock rows last, in one sorted statement, so that transactions
hardly ever wait for each other in a circle. All that an effect changes - units, stock, events, the
version and the nudges owed to workflows - commits or vanishes as one.
"""

import json
from collections import defaultdict
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.at_once import Rows, Statement, at_once
from adapters.db.stock import StockChange, apply_changes
from oms.numbers import fulfillment_workflow_id, order_workflow_id, return_workflow_id
from oms.orders import UNIT_BUCKETS, Order

_ORDER_COLUMNS = """
    number, channel, reference, currency, customer_id, customer_segment, method, pickup_location,
    country, latitude, longitude, allow_split, allow_backorder, total_minor, shipping_minor,
    shipping_tax_minor, placed_at, started_at, confirmed_at, grace_until, promise_by, closed_at,
    refusal_code, refusal_detail, shortages, shipping_captured, version,
    shipping_refunded, exchange_of, promise, promise_status, expected_by"""


def _rows(table: str, order_by: str, where: str = "") -> str:
    return (
        f"(SELECT coalesce(json_agg(to_jsonb(t) ORDER BY {order_by}), '[]') FROM {table} t"
        f" WHERE t.order_number = o.number {where})"
    )


_FULFILLMENT_ORDERS = """(
    SELECT coalesce(json_agg(to_jsonb(f) || jsonb_build_object('lines', (
        SELECT coalesce(jsonb_agg(to_jsonb(l) ORDER BY l.line), '[]')
        FROM fulfillment_lines l WHERE l.fulfillment_order = f.id)) ORDER BY f.seq), '[]')
    FROM fulfillment_orders f WHERE f.order_number = o.number)"""

_SHIPMENTS = """(
    SELECT coalesce(json_agg(to_jsonb(s) || jsonb_build_object('lines', (
        SELECT coalesce(jsonb_agg(to_jsonb(l) ORDER BY l.line), '[]')
        FROM shipment_lines l WHERE l.shipment = s.id)) ORDER BY s.seq), '[]')
    FROM shipments s WHERE s.order_number = o.number)"""

_OF_RETURN = """(SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.{order_by}), '[]')
    FROM {table} p WHERE p.return_id = r.id)"""

_RETURNS = f"""(
    SELECT coalesce(json_agg(to_jsonb(r) || jsonb_build_object(
        'lines', {_OF_RETURN.format(table="return_lines", order_by="line")},
        'lots', {_OF_RETURN.format(table="return_lots", order_by="id")},
        'parcels', {_OF_RETURN.format(table="return_parcels", order_by="seq")})
        ORDER BY r.seq), '[]')
    FROM returns r WHERE r.order_number = o.number)"""

_ELSEWHERE = """(
    SELECT coalesce(json_agg(to_jsonb(e) || jsonb_build_object('holder_waits', EXISTS (
            SELECT FROM payment_entries c WHERE c.order_number = e.order_number
                AND c.kind = 'capture' AND (c.status IN ('requested', 'unknown')
                    OR (c.status = 'failed' AND NOT c.given_up)))
        OR EXISTS (SELECT FROM holds h WHERE h.order_number = e.order_number
            AND h.reason = 'reconciliation' AND h.released_at IS NULL))
        ORDER BY e.at, e.key), '[]')
    FROM payment_entries e JOIN returns r ON r.id = e.cause AND r.order_number = o.number
    WHERE e.kind = 'refund' AND e.order_number <> o.number)"""

_LOAD = f"""
SELECT row_to_json(o)::jsonb || jsonb_build_object(
    'lines', {_rows("order_lines", "t.line")},
    'reservations', {_rows("reservations", "t.id", "AND t.state = 'open'")},
    'allocations', {_rows("allocations", "t.id", "AND t.state = 'open'")},
    'fulfillment_orders', {_FULFILLMENT_ORDERS},
    'shipments', {_SHIPMENTS},
    'tenders', {_rows("tenders", "t.tender")},
    'entries', {_rows("payment_entries", "t.at, t.key")},
    'returns', {_RETURNS},
    'elsewhere', {_ELSEWHERE},
    'holds', {_rows("holds", "t.placed_at, t.id")},
    'parked', {_rows("parked_steps", "t.since, t.step")}) AS document
FROM (SELECT {_ORDER_COLUMNS} FROM orders WHERE """

_LOAD_ONE = _LOAD + "number = :number) o"
"""Planned once a connection: PostgreSQL plans one with an array anew each time."""

_LOAD_MANY = text(_LOAD + "number = ANY(:numbers)) o")

_COUNTERS = (*UNIT_BUCKETS, "returned", "refunded", "charged")

_MOVE_UNITS = f"""
UPDATE order_lines l SET {", ".join(f"{c} = l.{c} + d.{c}" for c in _COUNTERS)}
FROM jsonb_to_recordset(CAST(:rows AS jsonb))
    AS d(line int, {", ".join(f"{c} int" for c in _COUNTERS)})
WHERE l.order_number = :n AND l.line = d.line
"""


async def load_orders(tx: AsyncConnection, numbers: list[str]) -> list[Order]:
    """Read orders whole, in one statement, in the order asked for; unknown ones are left out."""
    found = await tx.execute(_LOAD_MANY, {"numbers": numbers})
    orders = {order.number: order for order in map(Order.model_validate, found.scalars())}
    return [orders[number] for number in numbers if number in orders]


async def load_order(tx: AsyncConnection, number: str) -> Order | None:
    """Read one order whole, or None."""
    found = await tx.execute(text(_LOAD_ONE), {"number": number})
    document = found.scalar_one_or_none()
    return None if document is None else Order.model_validate(document)


def reading(number: str) -> Statement:
    """Read one order, in a round trip with others; `as_read` makes an order of its rows."""
    return Statement(_LOAD_ONE, {"number": number})


def as_read(rows: Rows) -> Order:
    """Make an order of the rows that `reading` gave. The order is stored."""
    (row,) = rows
    return Order.model_validate(row.document)


class OrderUnit:
    """The effects of one transaction on one locked order, written by `flush`.

    Writes wait for the next question, or for `send`, and travel with it in one round trip.
    """

    def __init__(
        self,
        tx: AsyncConnection,
        order: Order,
        at: datetime,
        actor: str,
    ) -> None:
        self._tx, self.order, self.at, self.actor = tx, order, at, actor
        self.told: list[str] = []
        """The kinds of events of this transaction so far, counted once it has committed."""
        self._moves: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._stock: list[StockChange] = []
        self._events: list[dict[str, Any]] = []
        self._nudges: dict[str, str] = {}
        self._changed = False
        self._unsent: list[Statement] = []

    @property
    def tx(self) -> AsyncConnection:
        """The transaction, for what is not asked through the unit. Writes must be sent before."""
        assert not self._unsent, "writes wait: `send` them before looking past the unit"
        return self._tx

    @property
    def number(self) -> str:
        """The order's number."""
        return self.order.number

    def key(self, cause: str) -> str:
        """A movement's key: the order, the version this transaction makes, and the cause."""
        return f"{self.number}:{self.order.version + 1}:{cause}"

    def move(self, line: int, source: str, target: str, quantity: int) -> None:
        """Move units of a line from one bucket to another."""
        assert quantity > 0, "a move moves units"
        self._moves[line][source] -= quantity
        self._moves[line][target] += quantity

    def count(self, line: int, bucket: str, quantity: int) -> None:
        """Add to a counter beside the buckets (`charged`, `refunded`, `returned`)."""
        self._moves[line][bucket] += quantity

    def counted(self, line: int, counter: str) -> int:
        """A line's bucket or counter, with what was gathered so far."""
        found = self.order.line(line)
        assert found is not None
        return int(getattr(found, counter)) + self._moves.get(line, {}).get(counter, 0)

    def mark_changed(self) -> None:
        """Raise the order's version: something of it was written by a question (`ask`)."""
        self._changed = True

    @property
    def is_changed(self) -> bool:
        """Whether anything was gathered or written."""
        return bool(self._changed or self._moves or self._stock)

    @property
    def nothing_is_kept(self) -> bool:
        """Whether every unit is cancelled once the moves so far are written."""
        moved = sum(deltas.get("cancelled", 0) for deltas in self._moves.values())
        return sum(line.kept for line in self.order.lines) == moved

    def stock(self, *changes: StockChange) -> None:
        """Change stock when the unit is flushed."""
        self._stock += changes

    def tell(self, kind: str, summary: str, /, **data: Any) -> None:
        """Add to the timeline. No personal data."""
        self._events.append({"kind": kind, "summary": summary, "data": data})
        self.told.append(kind)
        self._changed = True

    def nudge_order(self, reason: str) -> None:
        """Owe the order's workflow a signal that something changed."""
        self._nudges[order_workflow_id(self.number)] = reason

    def nudge_return(self, id: str, reason: str) -> None:
        """Owe a return's workflow a signal that something changed."""
        self._nudges[return_workflow_id(id)] = reason

    def nudge_open_returns(self, reason: str) -> None:
        """Owe it to every return that is open, and to those of other orders whose money is here."""
        returns = {each.id for each in self.order.returns if each.closed_at is None}
        returns |= {
            each.of_return for each in self.order.entries if each.of_return and each.is_open
        }
        for id in sorted(returns):
            self.nudge_return(id, reason)

    def nudge_fulfillment(self, id: str, reason: str) -> None:
        """Owe a fulfillment order's workflow a signal that something changed."""
        self._nudges[fulfillment_workflow_id(id)] = reason

    def run(self, statement: str, **values: Any) -> None:
        """Write to this order's own rows, with the next round trip."""
        self._changed = True
        self._unsent.append(Statement(statement, values))

    async def ask(self, statement: str, **values: Any) -> Rows:
        """Send what waits and this, which sees it; the rows of this."""
        return (await self._send([Statement(statement, values)]))[-1]

    async def send(self) -> None:
        """Send the writes that wait, if any do."""
        await self._send([])

    async def _send(self, more: list[Statement]) -> list[Rows]:
        statements, self._unsent = [*self._unsent, *more], []
        return await at_once(self._tx, statements)

    def set_order(self, **values: Any) -> None:
        """Set columns of the order row. Names come from code, never from input."""
        assignments = ", ".join(f"{column} = :{column}" for column in values)
        self.run(f"UPDATE orders SET {assignments} WHERE number = :n", n=self.number, **values)

    def set_fulfillment(self, id: str, **values: Any) -> None:
        """Set columns of a fulfillment order and raise its version."""
        assignments = ", ".join(f"{column} = :{column}" for column in values)
        self.run(
            f"UPDATE fulfillment_orders SET {assignments}, version = version + 1 WHERE id = :id",
            id=id,
            **values,
        )

    async def reloaded(self) -> Order:
        """Read the order as this transaction leaves it."""
        return as_read((await self._send([reading(self.number)]))[-1])

    async def again(self) -> None:
        """Go on with the order as this transaction leaves it. What was gathered is flushed."""
        gathered = self._moves or self._stock or self._events or self._nudges
        assert not gathered, "flush it first"
        self.order = await self.reloaded()
        self._changed = False

    async def flush(self, cause: str) -> None:
        """Write all that was gathered. Stock comes last: those rows are the hot ones."""
        self._write_moves()
        self._write_events()
        if self._changed or self._moves or self._stock:
            self.run("UPDATE orders SET version = version + 1 WHERE number = :n", n=self.number)
        self._write_nudges()
        if self._stock:
            await self.send()
            applied = await apply_changes(
                self.tx, self._stock, cause=cause, key=self.key(cause), at=self.at
            )
            assert applied, "a version of an order moves stock once"
        self._moves.clear()
        self._stock.clear()
        self._events.clear()
        self._nudges.clear()

    def _write_moves(self) -> None:
        if not self._moves:
            return
        rows = [
            {"line": line} | {counter: deltas.get(counter, 0) for counter in _COUNTERS}
            for line, deltas in sorted(self._moves.items())
        ]
        self.run(_MOVE_UNITS, n=self.number, rows=json.dumps(rows))

    def _write_events(self) -> None:
        if not self._events:
            return
        # Who waited for the order's row looked at the clock before: a timeline never runs back.
        self.run(
            "INSERT INTO events (order_number, seq, at, actor, kind, summary, data)"
            " SELECT CAST(:n AS text), (SELECT coalesce(max(seq), 0) FROM events"
            "  WHERE order_number = CAST(:n AS text))"
            " + e.ordinality, greatest(CAST(:at AS timestamptz),"
            " (SELECT max(at) FROM events WHERE order_number = CAST(:n AS text))), :actor,"
            " e.value->>'kind', e.value->>'summary', e.value->'data'"
            " FROM jsonb_array_elements(CAST(:events AS jsonb)) WITH ORDINALITY AS e",
            n=self.number,
            at=self.at,
            actor=self.actor,
            events=json.dumps(self._events),
        )

    def _write_nudges(self) -> None:
        for workflow_id, reason in self._nudges.items():
            self.run(_OWE_SIGNAL, w=workflow_id, r=reason, at=self.at)


_OWE_SIGNAL = """
WITH owed AS (INSERT INTO nudges (workflow_id, reason, at) VALUES (:w, :r, :at) RETURNING 1)
SELECT pg_notify('oms_nudge', '') FROM owed
"""


async def lock_order(
    tx: AsyncConnection, number: str, *, at: datetime, actor: str
) -> OrderUnit | None:
    """Lock an order for the rest of the transaction and read it. None when there is none."""
    lock = "SELECT 1 FROM orders WHERE number = :n FOR UPDATE"
    # Two statements: the second sees what the one who held the lock has written.
    locked, found = await at_once(tx, [Statement(lock, {"n": number}), reading(number)])
    if not locked:
        return None
    return OrderUnit(tx, as_read(found), at, actor)
