"""What must be true of orders, their units and their money: see `adapters.db.audit`."""

from adapters.db.reroutes import OFFERED_BY_CLEARED_PLACES
from adapters.db.stock_audit import HELD
from oms.orders import UNIT_BUCKETS

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
_PROMISES_ARE_AS_TOLD = """
SELECT o.number, format('was told to be promised by %s, and the order says %s',
    coalesce(e.data ->> 'promise_by', 'nobody knows when'), coalesce(o.promise_by::text, 'nothing'))
FROM orders o JOIN events e ON e.order_number = o.number AND e.kind = 'order.confirmed'
WHERE CAST(e.data ->> 'promise_by' AS timestamptz) IS DISTINCT FROM o.promise_by
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
WITH held AS (SELECT order_number, sum(quantity) AS units FROM ({HELD}) h GROUP BY 1),
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

CHECKS_OF_ORDERS = (
    (3, _BUCKETS_ADD_UP),
    (3, _BUCKETS_ARE_HELD),
    (3, _LOCATIONS_WORK_ON_WHAT_IS_HELD),
    (3, _RETURNED_AND_REFUNDED_WITHIN),
    (3, _SUMS_ARE_ENTRIES),
    (3, _NO_MORE_THAN_THERE_IS),
    (3, _PARTS_ADD_UP),
    (3, _CHARGED_WHAT_LEFT),
    (3, _PROMISES_ARE_AS_TOLD),
    (5, _ACKNOWLEDGED_ORDERS_EXIST),
    (5, OFFERED_BY_CLEARED_PLACES),
    (6, _CLOSED_ORDERS_HOLD_NOTHING),
    (8, _EVENTS_HAVE_NO_GAPS),
)
"""Invariant and statement; each row is (about, detail) of a violation."""
