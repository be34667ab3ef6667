"""Our books as the audit reads them: all in one snapshot, one statement for each thing to check.

Every statement looks at the whole database and gives a row for what is wrong, so that a clean
audit moves next to nothing over the wire.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.exchange_audit import CHECKS_OF_EXCHANGES
from adapters.db.releases import OF_A_RELEASE, OF_A_REROUTE
from adapters.db.reroutes import OFFERED_BY_CLEARED_PLACES
from adapters.db.return_audit import CHECKS_OF_RETURNS
from adapters.db.stock import BUCKETS
from adapters.db.unit import load_orders
from oms.audit import Finding, OurEntry, OurOffer, OurParcel
from oms.orders import UNIT_BUCKETS, Order

_T = TypeVar("_T", OurEntry, OurParcel, OurOffer)

RECENT = timedelta(days=1)
"""How long after its end an order's run is still looked for."""

_AT_ONCE = 500

_HELD_BUCKETS = "('reserved', 'allocated', 'backordered')"
# A transfer's units: held at the origin until it sends them, on the road until they arrive.
_TO_SHIP = "greatest(0, l.quantity - l.shipped - l.cancelled)"
_ON_THE_ROAD = "greatest(0, l.shipped - l.received - l.lost)"
_HELD = f"""
    SELECT order_number, sku, location,
        CASE kind WHEN 'stock' THEN 'reserved' ELSE 'backordered' END AS bucket, quantity
    FROM reservations WHERE state = 'open'
    UNION ALL
    SELECT order_number, sku, location, 'allocated', quantity FROM allocations WHERE state = 'open'
    UNION ALL
    SELECT t.id, l.sku, t.origin, 'allocated', {_TO_SHIP}
    FROM transfer_lines l JOIN transfers t ON t.id = l.transfer WHERE {_TO_SHIP} > 0
"""
_COMING_BUCKETS = "('incoming', 'in_transit', 'requested', 'coming_back')"
# What customers send back, until it is put away: the words of `oms.returns.Return.coming`.
_COMING_BACK = """
    SELECT l.sku, r.location, greatest(0, l.quantity - l.received - l.missing) AS units
    FROM return_lines l JOIN returns r ON r.id = l.return_id
    WHERE r.approved_at IS NOT NULL AND r.location IS NOT NULL AND r.kind <> 'claim'
        AND coalesce(r.closed_at, r.declined_at, r.cancelled_at, r.expired_at, r.loss_at) IS NULL
    UNION ALL
    SELECT sku, location, quantity FROM return_lots
    WHERE state IN ('received', 'accepted') AND condition <> 'wrong_item'
"""
_COMING = f"""
    SELECT sku, location, 'incoming' AS bucket, quantity - received AS units FROM incoming
    WHERE ended_at IS NULL AND received < quantity
    UNION ALL
    SELECT l.sku, t.destination, b.bucket, b.units
    FROM transfer_lines l JOIN transfers t ON t.id = l.transfer CROSS JOIN LATERAL (VALUES
        ('requested', {_TO_SHIP}), ('incoming', {_ON_THE_ROAD}), ('in_transit', {_ON_THE_ROAD})
    ) b(bucket, units) WHERE b.units > 0
    UNION ALL
    SELECT c.sku, c.location, b.bucket, c.units FROM ({_COMING_BACK}) c
    CROSS JOIN (VALUES ('incoming'), ('coming_back')) b(bucket) WHERE c.units > 0
"""
_LEVELS = f"""
    SELECT s.sku, s.location, b.bucket, b.units FROM stock_levels s CROSS JOIN LATERAL
        (VALUES {", ".join(f"('{bucket}', s.{bucket})" for bucket in BUCKETS)}) b(bucket, units)
"""

LEVELS = _LEVELS
"""Every bucket of every level, as (sku, location, bucket, units)."""

BEHIND = f"""
    SELECT sku, location, bucket, sum(quantity) AS units FROM ({_HELD}) h GROUP BY 1, 2, 3
    UNION ALL
    SELECT sku, location, bucket, sum(units) FROM ({_COMING}) c GROUP BY 1, 2, 3
"""
"""What orders, transfers and purchase orders say of them, where they say something."""

_MOVEMENTS_ADD_UP = f"""
WITH level AS ({_LEVELS}), moved AS (
    SELECT sku, location, bucket, sum(delta) AS units FROM stock_movements GROUP BY 1, 2, 3
)
SELECT sku || ' at ' || location, format('%s is %s, its movements add up to %s', bucket,
    coalesce(l.units, 0), coalesce(m.units, 0))
FROM level l FULL JOIN moved m USING (sku, location, bucket)
WHERE coalesce(l.units, 0) <> coalesce(m.units, 0)
"""
# An import is all there or not at all: as many places as it says, and by as many units.
_IMPORTS_ARE_WHOLE = """
WITH moved AS (
    SELECT key, count(*) AS places, sum(greatest(delta, 0)) AS added,
        sum(greatest(-delta, 0)) AS removed
    FROM stock_movements WHERE bucket = 'on_hand' AND key ~ '^(count|delta):' GROUP BY key
), told AS (
    SELECT CASE kind WHEN 'deltas' THEN 'delta:' ELSE 'count:' END || id AS key, state,
        CASE state WHEN 'applied' THEN moved ELSE 0 END AS places,
        CASE state WHEN 'applied' THEN units_added ELSE 0 END AS added,
        CASE state WHEN 'applied' THEN units_removed ELSE 0 END AS removed
    FROM stock_imports
)
SELECT key, format('the import is %s and tells of %s places, +%s, -%s; its movements of %s,'
    ' +%s, -%s', coalesce(state, 'lost'), coalesce(t.places, 0), coalesce(t.added, 0),
    coalesce(t.removed, 0), coalesce(m.places, 0), coalesce(m.added, 0), coalesce(m.removed, 0))
FROM told t FULL JOIN moved m USING (key)
WHERE (coalesce(t.places, 0), coalesce(t.added, 0), coalesce(t.removed, 0))
    <> (coalesce(m.places, 0), coalesce(m.added, 0), coalesce(m.removed, 0))
"""
_NO_BUCKET_IS_NEGATIVE = f"""
SELECT sku || ' at ' || location, format('%s is %s', bucket, units) FROM ({_LEVELS}) l
WHERE units < 0
"""
_LEVELS_HOLD_WHAT_IS_OPEN = f"""
WITH held AS (SELECT sku, location, bucket, sum(quantity) AS units FROM ({_HELD}) h GROUP BY 1, 2, 3
), level AS (SELECT * FROM ({_LEVELS}) l WHERE bucket IN {_HELD_BUCKETS})
SELECT sku || ' at ' || location, format('%s is %s, orders and transfers hold %s', bucket,
    coalesce(l.units, 0), coalesce(h.units, 0))
FROM level l FULL JOIN held h USING (sku, location, bucket)
WHERE coalesce(l.units, 0) <> coalesce(h.units, 0)
"""
_LEVELS_HOLD_WHAT_IS_COMING = f"""
WITH coming AS (
    SELECT sku, location, bucket, sum(units) AS units FROM ({_COMING}) c GROUP BY 1, 2, 3
), level AS (SELECT * FROM ({_LEVELS}) l WHERE bucket IN {_COMING_BUCKETS})
SELECT sku || ' at ' || location, format('%s is %s, orders, transfers and returns say %s', bucket,
    coalesce(l.units, 0), coalesce(c.units, 0))
FROM level l FULL JOIN coming c USING (sku, location, bucket)
WHERE coalesce(l.units, 0) <> coalesce(c.units, 0)
"""
# Movements of an order or a transfer carry its number in their key: what was taken less what was
# given back is what is open, so nothing ended twice, or not at all, in the shadow of another one.
_EACH_HOLD_ENDS_ONCE = f"""
WITH held AS (
    SELECT order_number, sku, location, bucket, sum(quantity) AS units FROM ({_HELD}) h
    GROUP BY 1, 2, 3, 4
), moved AS (
    SELECT split_part(key, ':', 1) AS order_number, sku, location, bucket, sum(delta) AS units
    FROM stock_movements WHERE bucket IN {_HELD_BUCKETS} GROUP BY 1, 2, 3, 4
)
SELECT order_number, format('%s of %s at %s: its movements add up to %s, open are %s', bucket, sku,
    location, coalesce(m.units, 0), coalesce(h.units, 0))
FROM moved m FULL JOIN held h USING (order_number, sku, location, bucket)
WHERE coalesce(m.units, 0) <> coalesce(h.units, 0)
"""
# What a transfer put on shelves is what it says arrived; what its origin lost is at most what it
# says was sent, because a shelf never falls below zero.
_TRANSFERS_ADD_UP = f"""
WITH line AS (
    SELECT transfer, sum(received - damaged) AS sound, sum(damaged) AS damaged,
        sum(shipped) AS sent, sum({_TO_SHIP} + {_ON_THE_ROAD}) AS open
    FROM transfer_lines l GROUP BY 1
), moved AS (
    SELECT split_part(key, ':', 1) AS transfer,
        sum(delta) FILTER (WHERE bucket = 'on_hand' AND delta > 0) AS sound,
        sum(delta) FILTER (WHERE bucket = 'damaged') AS damaged,
        -sum(delta) FILTER (WHERE bucket = 'on_hand' AND delta < 0) AS sent
    FROM stock_movements WHERE key LIKE 'T-%' GROUP BY 1
)
SELECT t.id, format('%s: %s sent, %s arrived sound, %s damaged, %s open; its movements say %s, %s,'
    ' %s', t.status, l.sent, l.sound, l.damaged, l.open, coalesce(m.sent, 0), coalesce(m.sound, 0),
    coalesce(m.damaged, 0))
FROM transfers t JOIN line l ON l.transfer = t.id LEFT JOIN moved m ON m.transfer = t.id
WHERE l.sound <> coalesce(m.sound, 0) OR l.damaged <> coalesce(m.damaged, 0)
    OR l.sent < coalesce(m.sent, 0)
    OR (l.open = 0) <> (t.status IN ('received', 'closed', 'cancelled'))
"""
_BUCKETS_ADD_UP = f"""
SELECT order_number || ' line ' || line, format('ordered %s, its buckets add up to %s', ordered,
    {" + ".join(UNIT_BUCKETS)})
FROM order_lines WHERE ordered <> {" + ".join(UNIT_BUCKETS)}
    OR least({", ".join(UNIT_BUCKETS)}, returned, refunded) < 0
"""
_BUCKETS_ARE_HELD = """
WITH r AS (
    SELECT order_number, line, sum(quantity) FILTER (WHERE kind = 'stock') AS reserved,
        sum(quantity) FILTER (WHERE kind = 'backorder') AS backordered
    FROM reservations WHERE state = 'open' GROUP BY 1, 2
), a AS (
    SELECT order_number, line,
        sum(quantity) FILTER (WHERE state = 'open' AND NOT picked) AS waiting,
        sum(quantity) FILTER (WHERE state = 'open' AND picked) AS picked,
        sum(quantity) FILTER (WHERE state = 'shipped') AS gone
    FROM allocations GROUP BY 1, 2
), s AS (
    SELECT p.order_number, c.line,
        sum(c.quantity) FILTER (WHERE delivered_at IS NULL AND written_off_at IS NULL) AS under_way,
        sum(c.quantity) FILTER (WHERE delivered_at IS NOT NULL) AS delivered,
        sum(c.quantity) FILTER (WHERE written_off_at IS NOT NULL) AS lost
    FROM shipments p JOIN shipment_lines c ON c.shipment = p.id
    WHERE p.handed_over_at IS NOT NULL GROUP BY 1, 2
), wrong AS (
    SELECT l.order_number, l.line, o.method, w.* FROM order_lines l
    JOIN orders o ON o.number = l.order_number
    LEFT JOIN r USING (order_number, line) LEFT JOIN a USING (order_number, line)
    LEFT JOIN s USING (order_number, line)
    CROSS JOIN LATERAL (VALUES
        ('reserved', l.reserved, r.reserved, false),
        ('backordered', l.backordered, r.backordered, false),
        ('allocated', l.allocated, a.waiting, false),
        ('picked', l.picked, a.picked, false),
        ('handed over', l.shipped + l.delivered + coalesce(s.lost, 0), a.gone, false),
        ('shipped', l.shipped, s.under_way, true),
        ('delivered', l.delivered, s.delivered, true)
    ) w(what, units, rows, in_parcels)
)
SELECT order_number || ' line ' || line, format('%s %s, but %s holds %s', units, what,
    CASE WHEN in_parcels THEN 'its parcels' ELSE 'the ledger' END, coalesce(rows, 0))
FROM wrong WHERE units <> coalesce(rows, 0) AND (method = 'home' OR NOT in_parcels)
"""
_LOCATIONS_WORK_ON_WHAT_IS_HELD = """
WITH a AS (
    SELECT fulfillment_order, line, sum(quantity) FILTER (WHERE state = 'open') AS open,
        sum(quantity) FILTER (WHERE state = 'shipped') AS shipped
    FROM allocations WHERE fulfillment_order IS NOT NULL GROUP BY 1, 2
)
SELECT f.id || ' line ' || l.line, format('%s asks for %s, %s are allocated to it', f.status,
    l.quantity, coalesce(CASE f.status WHEN 'closed' THEN a.shipped ELSE a.open END, 0))
FROM fulfillment_lines l JOIN fulfillment_orders f ON f.id = l.fulfillment_order
LEFT JOIN a ON a.fulfillment_order = f.id AND a.line = l.line
WHERE f.status <> 'cancelled'
    AND l.quantity <> coalesce(CASE f.status WHEN 'closed' THEN a.shipped ELSE a.open END, 0)
"""
_RETURNED_AND_REFUNDED_WITHIN = """
WITH lost AS (
    SELECT p.order_number, c.line, sum(c.quantity) AS units
    FROM shipments p JOIN shipment_lines c ON c.shipment = p.id
    WHERE p.handed_over_at IS NOT NULL AND p.written_off_at IS NOT NULL GROUP BY 1, 2
)
SELECT order_number || ' line ' || line, format('%s left, %s came back; %s charged, %s refunded',
    shipped + delivered + coalesce(lost.units, 0), returned, charged, refunded)
FROM order_lines LEFT JOIN lost USING (order_number, line)
WHERE returned > shipped + delivered + coalesce(lost.units, 0) OR refunded > charged
    OR charged > ordered
"""
_SUMS_ARE_ENTRIES = """
WITH e AS (
    SELECT order_number, tender, kind, sum(amount_minor) AS amount FROM payment_entries
    WHERE status = 'succeeded' GROUP BY 1, 2, 3
)
SELECT t.order_number || ' tender ' || t.tender, format('%s %s, its entries add up to %s', s.sum,
    s.kind, coalesce(e.amount, 0))
FROM tenders t CROSS JOIN LATERAL (VALUES ('authorization', authorized_minor),
    ('capture', captured_minor), ('refund', refunded_minor), ('void', voided_minor)) s(kind, sum)
LEFT JOIN e ON e.order_number = t.order_number AND e.tender = t.tender AND e.kind = s.kind
WHERE s.sum <> coalesce(e.amount, 0)
"""
_NO_MORE_THAN_THERE_IS = """
SELECT order_number || ' tender ' || tender, format('authorised %s of %s, captured %s, refunded %s,'
    ' voided %s', authorized_minor, amount_minor, captured_minor, refunded_minor, voided_minor)
FROM tenders
WHERE authorized_minor > amount_minor OR captured_minor + voided_minor > authorized_minor
    OR refunded_minor > captured_minor + lost_minor
    OR lost_minor <> greatest(0, refunded_minor - captured_minor)
    OR least(authorized_minor, captured_minor, refunded_minor, voided_minor) < 0
"""
_PARTS_ADD_UP = """
WITH l AS (
    SELECT order_number, sum(total_minor) AS goods, sum(shipping_minor) AS shipping
    FROM order_lines GROUP BY 1
), t AS (SELECT order_number, sum(amount_minor) AS tendered FROM tenders GROUP BY 1)
SELECT o.number, format('total %s, shipping %s; its lines cost %s and %s; tendered %s',
    o.total_minor, o.shipping_minor, l.goods, l.shipping, coalesce(t.tendered, 0))
FROM orders o LEFT JOIN l ON l.order_number = o.number LEFT JOIN t ON t.order_number = o.number
WHERE l.goods + o.shipping_minor IS DISTINCT FROM o.total_minor
    OR l.shipping IS DISTINCT FROM o.shipping_minor
    OR coalesce(t.tendered, 0) <> o.total_minor
"""
# Units are charged and refunded in order, at prices fixed at placement (`oms.money.share`). What a
# person gave up may be missing; shipping goes back once nothing is left to keep, or by a return's
# terms; a return's fee is kept. Where goods were exchanged, value is in more than one order.
_CHARGED_WHAT_LEFT = """
WITH l AS (
    SELECT order_number, sum(total_minor * charged / ordered) AS charged,
        sum(total_minor * refunded / ordered) AS refunded
    FROM order_lines GROUP BY 1
), e AS (
    SELECT order_number, coalesce(sum(amount_minor)
            FILTER (WHERE kind = 'capture' AND NOT given_up), 0) AS captured,
        coalesce(sum(amount_minor) FILTER (WHERE kind = 'refund' AND NOT given_up), 0) AS refunded,
        bool_or(given_up AND kind IN ('capture', 'refund')) AS gave_up
    FROM payment_entries GROUP BY 1
), f AS (
    SELECT order_number, sum(CAST(terms->>'fee_minor' AS bigint) - fee_left_minor) AS fees
    FROM returns GROUP BY 1
), due AS (
    SELECT o.number, o.shipping_minor, coalesce(e.gave_up, false) AS gave_up,
        l.charged + CASE WHEN o.shipping_captured THEN o.shipping_minor ELSE 0 END AS charged,
        coalesce(e.captured, 0) AS captured, l.refunded - coalesce(f.fees, 0) AS owed,
        coalesce(e.refunded, 0) AS refunded
    FROM orders o JOIN l ON l.order_number = o.number LEFT JOIN e ON e.order_number = o.number
        LEFT JOIN f ON f.order_number = o.number
    WHERE EXISTS (SELECT FROM tenders t WHERE t.order_number = o.number)
        AND o.exchange_of IS NULL AND NOT EXISTS (SELECT FROM returns r
            WHERE r.order_number = o.number AND r.resolution = 'exchange')
)
SELECT number, format('charged units cost %s, captures ask for %s; refunded units cost %s, refunds'
    ' give back %s', charged, captured, owed, refunded)
FROM due WHERE captured > charged OR refunded > owed + shipping_minor
    OR (NOT gave_up AND (captured < charged OR refunded < owed))
"""
_ACKNOWLEDGED_ORDERS_EXIST = """
WITH acknowledged AS (
    SELECT order_number AS number FROM idempotency_keys WHERE order_number IS NOT NULL
    UNION
    SELECT body::jsonb->>'number' FROM idempotency_keys
    WHERE status_code < 300 AND body LIKE '{%'
)
SELECT number, 'was acknowledged and is not in the books' FROM acknowledged a
WHERE number IS NOT NULL AND NOT EXISTS (SELECT FROM orders o WHERE o.number = a.number)
"""
_CLOSED_ORDERS_HOLD_NOTHING = f"""
WITH held AS (SELECT order_number, sum(quantity) AS units FROM ({_HELD}) h GROUP BY 1),
units AS (
    SELECT order_number, sum(ordered - cancelled - delivered) AS open FROM order_lines GROUP BY 1
), money AS (
    SELECT t.order_number, sum(authorized_minor - captured_minor - voided_minor) AS authorised
    FROM tenders t WHERE NOT EXISTS (SELECT FROM payment_entries e
        WHERE e.order_number = t.order_number AND e.kind = 'void' AND e.given_up)
    GROUP BY 1
), entries AS (
    SELECT order_number, count(*) AS open FROM payment_entries e
    WHERE status IN ('requested', 'unknown') AND NOT EXISTS (
        SELECT FROM returns r WHERE r.id = e.cause) GROUP BY 1
)
SELECT o.number, format('closed, and holds %s units of stock and %s of an authorisation; %s units'
    ' and %s payments are open', coalesce(h.units, 0), coalesce(m.authorised, 0),
    coalesce(u.open, 0), coalesce(e.open, 0))
FROM orders o LEFT JOIN held h ON h.order_number = o.number
LEFT JOIN units u ON u.order_number = o.number LEFT JOIN money m ON m.order_number = o.number
LEFT JOIN entries e ON e.order_number = o.number
WHERE o.closed_at IS NOT NULL AND (h.units <> 0 OR u.open <> 0 OR m.authorised <> 0 OR e.open <> 0)
"""
_EVENTS_HAVE_NO_GAPS = """
WITH e AS (SELECT order_number, min(seq) AS first, max(seq) AS last, count(*) AS events
    FROM events GROUP BY 1)
SELECT o.number, CASE WHEN e.events IS NULL THEN 'has no events'
    ELSE format('%s events, numbered %s to %s', e.events, e.first, e.last) END
FROM orders o LEFT JOIN e ON e.order_number = o.number
WHERE e.events IS NULL OR e.first <> 1 OR e.last <> e.events
"""
# Who runs low or out was told so last, and nobody else was: a crossing is told once.
_ALERTS_ARE_TOLD = """
WITH told AS (
    SELECT DISTINCT ON (sku, location) sku, location, nullif(kind, 'stock.back') AS kind FROM (
        SELECT sku, coalesce(location, '') AS location, kind, id FROM stock_events
        WHERE kind IN ('stock.low', 'stock.out', 'stock.back')) e
    ORDER BY sku, location, id DESC
)
SELECT CASE location WHEN '' THEN sku ELSE sku || ' at ' || location END,
    format('noted as %s, told last: %s', coalesce(a.state, 'enough'), coalesce(t.kind, 'nothing'))
FROM told t FULL JOIN stock_alerts a USING (sku, location)
WHERE t.kind IS DISTINCT FROM 'stock.' || a.state
"""

# What an order got for its backorders is in the ledger under the release's key, and the other way
# round for every release in turn. Reroutes of before have no record.
_RELEASES_ARE_ALLOCATED = f"""
WITH r AS (
    SELECT key, sku, location, sum(quantity) AS units FROM backorder_releases GROUP BY 1, 2, 3
), m AS (
    SELECT key, sku, location, sum(delta) AS units, bool_or(cause = '{OF_A_RELEASE}') AS in_turn
    FROM stock_movements
    WHERE bucket = 'allocated' AND cause IN ('{OF_A_RELEASE}', '{OF_A_REROUTE}')
    GROUP BY 1, 2, 3
)
SELECT split_part(key, ':', 1), format('%s of %s at %s released by %s, allocated were %s',
    coalesce(r.units, 0), sku, location, key, coalesce(m.units, 0))
FROM r FULL JOIN m USING (key, sku, location)
WHERE coalesce(r.units, 0) <> coalesce(m.units, 0) AND (r.units IS NOT NULL OR m.in_turn)
"""

_PROMISES_ARE_AS_TOLD = """
SELECT o.number, format('was told to be promised by %s, and the order says %s',
    coalesce(e.data ->> 'promise_by', 'nobody knows when'), coalesce(o.promise_by::text, 'nothing'))
FROM orders o JOIN events e ON e.order_number = o.number AND e.kind = 'order.confirmed'
WHERE CAST(e.data ->> 'promise_by' AS timestamptz) IS DISTINCT FROM o.promise_by
"""

CHECKS = (
    (1, _MOVEMENTS_ADD_UP),
    (1, _NO_BUCKET_IS_NEGATIVE),
    (1, _IMPORTS_ARE_WHOLE),
    (2, _LEVELS_HOLD_WHAT_IS_OPEN),
    (2, _LEVELS_HOLD_WHAT_IS_COMING),
    (2, _EACH_HOLD_ENDS_ONCE),
    (2, _RELEASES_ARE_ALLOCATED),
    (3, _TRANSFERS_ADD_UP),
    (3, _BUCKETS_ADD_UP),
    (3, _BUCKETS_ARE_HELD),
    (3, _LOCATIONS_WORK_ON_WHAT_IS_HELD),
    (3, _RETURNED_AND_REFUNDED_WITHIN),
    (3, _SUMS_ARE_ENTRIES),
    (3, _NO_MORE_THAN_THERE_IS),
    (3, _PARTS_ADD_UP),
    (3, _CHARGED_WHAT_LEFT),
    (3, _PROMISES_ARE_AS_TOLD),
    *CHECKS_OF_RETURNS,
    *CHECKS_OF_EXCHANGES,
    (5, _ACKNOWLEDGED_ORDERS_EXIST),
    (5, OFFERED_BY_CLEARED_PLACES),
    (6, _CLOSED_ORDERS_HOLD_NOTHING),
    (8, _EVENTS_HAVE_NO_GAPS),
    (8, _ALERTS_ARE_TOLD),
)
"""Invariant and statement; each row is (about, detail) of a violation."""

_ON_THEIR_WAY = """
SELECT workflow_id, 'is owed a signal: ' || max(reason) FROM nudges GROUP BY 1
UNION ALL
SELECT party || ' ' || event_id, coalesce(outcome || ': ' || detail, 'a webhook to apply')
FROM inbound_events WHERE outcome IS NULL OR outcome = 'dead'
"""

_ENTRIES = """
SELECT e.key, e.order_number, e.kind, e.amount_minor, e.currency, e.status, e.settled_by, t.provider
FROM payment_entries e JOIN tenders t ON t.order_number = e.order_number AND t.tender = e.tender
ORDER BY e.at, e.key
"""
_PARCELS = """
SELECT id, order_number, carrier, label_attempt FROM shipments
UNION ALL
SELECT p.id, r.order_number, p.carrier, p.label_attempt
FROM return_parcels p JOIN returns r ON r.id = p.return_id
ORDER BY id
"""
# An offer that a person made by hand is not in the location's own books.
_OFFERS = """
SELECT f.id, f.order_number, f.cancellation_seq,
    f.request = 'accepted' AND f.offered_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM events e WHERE e.order_number = f.order_number
            AND e.kind = 'attention.resolved' AND e.data->>'action' = 'done_manually'
            AND e.data->>'step' = 'offer:F' || f.seq) AS must_be_known
FROM fulfillment_orders f ORDER BY f.id
"""
_OPEN = "SELECT number FROM orders WHERE closed_at IS NULL"
_OPEN_ORDERS = f"{_OPEN} ORDER BY placed_at, number"
_WITH_OPEN_RETURNS = "SELECT DISTINCT order_number FROM returns WHERE closed_at IS NULL"
_CLOSED = "SELECT number FROM orders WHERE closed_at >= :since ORDER BY closed_at"
_CLOSED_RETURNS = "SELECT id FROM returns WHERE closed_at >= :since ORDER BY closed_at"
_COUNTED = (
    "stock_levels",
    "stock_movements",
    "stock_imports",
    "incoming",
    "transfers",
    "orders",
    "order_lines",
    "fulfillment_orders",
    "shipments",
    "return_parcels",
    "payment_entries",
    "returns",
    "return_lots",
    "events",
    "idempotency_keys",
)


@dataclass(frozen=True)
class Snapshot:
    """Our books at one moment.

    `returning`: orders with open returns. `closed`, `closed_returns`: ids of what was closed
    lately. `quiet_since`: when the last event was of each order that is open or has open returns.
    """

    findings: tuple[Finding, ...]
    entries: tuple[OurEntry, ...]
    parcels: tuple[OurParcel, ...]
    offers: tuple[OurOffer, ...]
    open_orders: tuple[Order, ...]
    returning: tuple[Order, ...]
    quiet_since: dict[str, datetime]
    closed: tuple[str, ...]
    closed_returns: tuple[str, ...]
    checked: dict[str, int]


async def read_snapshot(tx: AsyncConnection, now: datetime) -> Snapshot:
    """Read and check our books. `tx` should be REPEATABLE READ, so that all is of one moment."""
    return Snapshot(
        findings=tuple(await _findings(tx)),
        entries=await _all(tx, OurEntry, _ENTRIES),
        parcels=await _all(tx, OurParcel, _PARCELS),
        offers=await _all(tx, OurOffer, _OFFERS),
        open_orders=await _orders(tx, _OPEN_ORDERS),
        returning=await _orders(tx, _WITH_OPEN_RETURNS),
        quiet_since=await _last_events(tx),
        closed=await _since(tx, _CLOSED, now - RECENT),
        closed_returns=await _since(tx, _CLOSED_RETURNS, now - RECENT),
        checked=await _count(tx),
    )


async def _findings(tx: AsyncConnection) -> list[Finding]:
    found = [
        Finding(invariant=invariant, about=about, detail=detail)
        for invariant, statement in CHECKS
        for about, detail in await tx.execute(text(statement))
    ]
    return found + [
        Finding(invariant=8, about=about, detail=detail, pending=True)
        for about, detail in await tx.execute(text(_ON_THEIR_WAY))
    ]


async def _all(tx: AsyncConnection, kind: type[_T], statement: str) -> tuple[_T, ...]:
    return tuple(kind(**row._mapping) for row in await tx.execute(text(statement)))


async def _orders(tx: AsyncConnection, statement: str) -> tuple[Order, ...]:
    numbers = list(await tx.scalars(text(statement)))
    orders: list[Order] = []
    for start in range(0, len(numbers), _AT_ONCE):
        orders += await load_orders(tx, numbers[start : start + _AT_ONCE])
    return tuple(orders)


async def _last_events(tx: AsyncConnection) -> dict[str, datetime]:
    rows = await tx.execute(
        text(
            f"SELECT order_number, max(at) FROM events WHERE order_number IN ({_OPEN})"
            f" OR order_number IN ({_WITH_OPEN_RETURNS}) GROUP BY 1"
        )
    )
    return {number: at for number, at in rows}


async def _since(tx: AsyncConnection, statement: str, since: datetime) -> tuple[str, ...]:
    return tuple(await tx.scalars(text(statement), {"since": since}))


async def _count(tx: AsyncConnection) -> dict[str, int]:
    counts = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in _COUNTED)
    return dict((await tx.execute(text(f"SELECT {counts}"))).one()._mapping)
