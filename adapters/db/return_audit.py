"""What must be true of goods that came back, as the audit asks it: see `adapters.db.audit`."""

from adapters.db.restocking import CAUSES
from oms.restocking import FOR_SALE

_CAUSES = ", ".join(map(repr, CAUSES))
_FOR_SALE = ", ".join(map(repr, FOR_SALE))

# What a lot put on shelves is what its way says now: all of it once, or nothing. One that is not
# placed has moved nothing.
_LOTS_ARE_PLACED_ONCE = f"""
WITH moved AS (
    SELECT split_part(key, ':', 1) AS return_id, split_part(key, ':', 3) AS lot, sku, location,
        coalesce(sum(delta) FILTER (WHERE bucket = 'on_hand'), 0) AS on_hand,
        coalesce(sum(delta) FILTER (WHERE bucket = 'damaged'), 0) AS damaged
    FROM stock_movements WHERE cause IN ({_CAUSES}) GROUP BY 1, 2, 3, 4
), told AS (
    SELECT return_id, id::text AS lot, sku, location, state, disposition,
        CASE WHEN state = 'placed' AND disposition IN ({_FOR_SALE}) THEN quantity ELSE 0 END
            AS on_hand,
        CASE WHEN state = 'placed' AND disposition = 'quarantine' AND condition = 'damaged'
            THEN quantity ELSE 0 END AS damaged
    FROM return_lots
)
SELECT return_id || ' lot ' || lot, format('%s, %s: %s of %s on the shelf at %s, %s damaged; its'
    ' movements say %s and %s', coalesce(state, 'gone'), coalesce(disposition, 'no way'),
    coalesce(t.on_hand, 0), sku, location, coalesce(t.damaged, 0), coalesce(m.on_hand, 0),
    coalesce(m.damaged, 0))
FROM told t FULL JOIN moved m USING (return_id, lot, sku, location)
WHERE (coalesce(t.on_hand, 0), coalesce(t.damaged, 0))
    <> (coalesce(m.on_hand, 0), coalesce(m.damaged, 0))
"""
_LOTS_ARE_WHAT_ARRIVED = """
WITH lots AS (
    SELECT return_id, line, sum(quantity) AS units FROM return_lots GROUP BY 1, 2
)
SELECT return_id || ' line ' || line, format('%s units received, %s lie in lots',
    coalesce(l.received, 0), coalesce(lots.units, 0))
FROM return_lines l FULL JOIN lots USING (return_id, line)
WHERE coalesce(l.received, 0) <> coalesce(lots.units, 0)
"""
# What is sent on goes by a transfer of just these units from just that place.
_SENT_ON_BY_TRANSFER = """
SELECT r.return_id || ' lot ' || r.id, format('%s of %s are sent on from %s by %s, which %s',
    r.quantity, r.sku, r.location, coalesce(r.transfer, 'no transfer'),
    CASE WHEN t.id IS NULL THEN 'does not exist' ELSE 'moves something else' END)
FROM return_lots r LEFT JOIN transfers t ON t.id = r.transfer
WHERE (r.transfer IS NOT NULL OR (r.state = 'placed' AND r.disposition = 'restock_elsewhere'))
    AND (t.origin = r.location AND EXISTS (SELECT FROM transfer_lines l
        WHERE l.transfer = t.id AND l.sku = r.sku AND l.quantity = r.quantity)) IS NOT TRUE
"""

# What an order line says came back is what lies, or lay, in its lots: another article is not it,
# and what left for the customer again was not kept.
_RETURNED_LIES_IN_LOTS = """
WITH kept AS (
    SELECT r.order_number, t.line, sum(t.quantity) AS units
    FROM return_lots t JOIN returns r ON r.id = t.return_id
    WHERE r.kind = 'return' AND t.condition <> 'wrong_item' AND (t.state <> 'left'
        OR (t.disposition = 'dispose' AND r.terms->>'refused' = 'dispose'))
    GROUP BY 1, 2
)
SELECT order_number || ' line ' || line, format('%s units came back, its lots hold %s', l.returned,
    coalesce(kept.units, 0))
FROM order_lines l LEFT JOIN kept USING (order_number, line)
WHERE l.returned <> coalesce(kept.units, 0)
"""
# The words of `oms.returns.Return.takes_of`: no unit is asked for twice.
_NO_MORE_COMES_BACK_THAN_LEFT = """
WITH taken AS (
    SELECT r.order_number, l.line, sum(CASE
        WHEN r.kind = 'undeliverable' THEN 0
        WHEN r.kind = 'claim' AND coalesce(r.declined_at, r.cancelled_at, r.expired_at) IS NOT NULL
            THEN 0
        WHEN r.kind = 'claim' THEN l.quantity
        WHEN coalesce(r.closed_at, r.declined_at, r.cancelled_at, r.expired_at) IS NOT NULL
            THEN greatest(l.received - again.units, l.settled)
        ELSE greatest(greatest(l.received, l.quantity - l.missing) - again.units, l.settled)
        END) AS units,
        sum(l.refunded) AS refunded
    FROM returns r JOIN return_lines l ON l.return_id = r.id
    CROSS JOIN LATERAL (SELECT coalesce(sum(t.quantity), 0) AS units FROM return_lots t
        WHERE t.return_id = r.id AND t.line = l.line AND t.state = 'left'
            AND (t.disposition = 'dispose' AND r.terms->>'refused' = 'dispose') IS NOT TRUE) again
    GROUP BY 1, 2
), lost AS (
    SELECT p.order_number, c.line, sum(c.quantity) AS units
    FROM shipments p JOIN shipment_lines c ON c.shipment = p.id
    WHERE p.handed_over_at IS NOT NULL AND p.written_off_at IS NOT NULL GROUP BY 1, 2
)
SELECT order_number || ' line ' || line, format('%s units left and %s were refunded; its returns'
    ' speak for %s and refunded %s', shipped + delivered + coalesce(lost.units, 0), l.refunded,
    taken.units, taken.refunded)
FROM taken JOIN order_lines l USING (order_number, line) LEFT JOIN lost USING (order_number, line)
WHERE taken.units > shipped + delivered + coalesce(lost.units, 0) OR taken.refunded > l.refunded
"""
_REFUNDS_HAVE_THEIR_RETURN = """
SELECT e.key, format('gives back for %s, which does not exist', e.cause)
FROM payment_entries e LEFT JOIN returns r ON r.id = e.cause
WHERE e.kind = 'refund' AND e.cause ~ '-R[0-9]+$' AND r.id IS NULL
"""
_CLOSED_RETURNS_OWE_NOTHING = """
SELECT r.id, format('closed, and %s is %s', e.key, e.status)
FROM returns r JOIN payment_entries e ON e.cause = r.id AND e.kind = 'refund'
WHERE r.closed_at IS NOT NULL AND e.status IN ('requested', 'unknown')
UNION ALL
SELECT r.id, format('closed, and %s of line %s are %s', t.quantity, t.line, t.state)
FROM returns r JOIN return_lots t ON t.return_id = r.id
WHERE r.closed_at IS NOT NULL AND t.state NOT IN ('placed', 'left')
"""
# Which articles come back too often was told so last, and no other.
_RATES_ARE_TOLD = """
WITH told AS (
    SELECT DISTINCT ON (sku) sku, kind = 'product.returns_high' AS high FROM stock_events
    WHERE kind IN ('product.returns_high', 'product.returns_normal') ORDER BY sku, id DESC
)
SELECT sku, format('comes back too often: %s, told last: %s', a.since IS NOT NULL,
    coalesce(t.high, false))
FROM told t FULL JOIN return_alerts a USING (sku)
WHERE coalesce(t.high, false) <> (a.since IS NOT NULL)
"""

# A parcel that turned round is expected, or it has ended: back or lost it is written off, once it
# was delivered nothing is expected of it.
_TURNED_ROUND_ENDS_ONCE = """
SELECT r.id, format('%s %s, but its parcel %s is %s', r.kind, CASE WHEN arrived THEN 'arrived'
        WHEN r.loss_at IS NOT NULL THEN 'was lost' ELSE 'is expected' END, s.id,
    CASE WHEN s.delivered_at IS NOT NULL THEN 'delivered' ELSE 'under way' END)
FROM returns r JOIN shipments s ON s.id = r.shipment
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM return_receipts t WHERE t.return_id = r.id)) a(arrived)
WHERE ((arrived OR r.loss_at IS NOT NULL) AND s.written_off_at IS NULL)
    OR (s.delivered_at IS NOT NULL AND r.closed_at IS NULL AND r.cancelled_at IS NULL)
"""

CHECKS_OF_RETURNS = (
    (3, _LOTS_ARE_PLACED_ONCE),
    (3, _LOTS_ARE_WHAT_ARRIVED),
    (3, _SENT_ON_BY_TRANSFER),
    (3, _RETURNED_LIES_IN_LOTS),
    (3, _NO_MORE_COMES_BACK_THAN_LEFT),
    (3, _REFUNDS_HAVE_THEIR_RETURN),
    (3, _TURNED_ROUND_ENDS_ONCE),
    (6, _CLOSED_RETURNS_OWE_NOTHING),
    (8, _RATES_ARE_TOLD),
)
"""Invariant and statement; each row is (about, detail) of a violation."""
