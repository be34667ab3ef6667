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

CHECKS_OF_RETURNS = (
    (3, _LOTS_ARE_PLACED_ONCE),
    (3, _LOTS_ARE_WHAT_ARRIVED),
    (3, _SENT_ON_BY_TRANSFER),
)
"""Invariant and statement; each row is (about, detail) of a violation."""
