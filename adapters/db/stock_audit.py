"""What must be true of stock, as the audit asks it: see `adapters.db.audit`."""

from adapters.db.releases import OF_A_RELEASE, OF_A_REROUTE
from adapters.db.stock import BUCKETS

_HELD_BUCKETS = "('reserved', 'allocated', 'backordered')"
# A transfer's units: held at the origin until it sends them, on the road until they arrive.
_TO_SHIP = "greatest(0, l.quantity - l.shipped - l.cancelled)"
_ON_THE_ROAD = "greatest(0, l.shipped - l.received - l.lost)"
HELD = f"""
    SELECT order_number, sku, location,
        CASE kind WHEN 'stock' THEN 'reserved' ELSE 'backordered' END AS bucket, quantity
    FROM reservations WHERE state = 'open'
    UNION ALL
    SELECT order_number, sku, location, 'allocated', quantity FROM allocations WHERE state = 'open'
    UNION ALL
    SELECT t.id, l.sku, t.origin, 'allocated', {_TO_SHIP}
    FROM transfer_lines l JOIN transfers t ON t.id = l.transfer WHERE {_TO_SHIP} > 0
"""
"""What orders and transfers hold, as (order or transfer, sku, location, bucket, quantity)."""

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
LEVELS = f"""
    SELECT s.sku, s.location, b.bucket, b.units FROM stock_levels s CROSS JOIN LATERAL
        (VALUES {", ".join(f"('{bucket}', s.{bucket})" for bucket in BUCKETS)}) b(bucket, units)
"""
"""Every bucket of every level, as (sku, location, bucket, units)."""

BEHIND = f"""
    SELECT sku, location, bucket, sum(quantity) AS units FROM ({HELD}) h GROUP BY 1, 2, 3
    UNION ALL
    SELECT sku, location, bucket, sum(units) FROM ({_COMING}) c GROUP BY 1, 2, 3
"""
"""What orders, transfers and purchase orders say of them, where they say something."""

_MOVEMENTS_ADD_UP = f"""
WITH level AS ({LEVELS}), moved AS (
    SELECT sku, location, bucket, sum(delta) AS units FROM stock_movements GROUP BY 1, 2, 3
)
SELECT sku || ' at ' || location, format('%s is %s, its movements add up to %s', bucket,
    coalesce(l.units, 0), coalesce(m.units, 0))
FROM level l FULL JOIN moved m USING (sku, location, bucket)
WHERE coalesce(l.units, 0) <> coalesce(m.units, 0)
"""
_NO_BUCKET_IS_NEGATIVE = f"""
SELECT sku || ' at ' || location, format('%s is %s', bucket, units) FROM ({LEVELS}) l
WHERE units < 0
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
_LEVELS_HOLD_WHAT_IS_OPEN = f"""
WITH held AS (SELECT sku, location, bucket, sum(quantity) AS units FROM ({HELD}) h GROUP BY 1, 2, 3
), level AS (SELECT * FROM ({LEVELS}) l WHERE bucket IN {_HELD_BUCKETS})
SELECT sku || ' at ' || location, format('%s is %s, orders and transfers hold %s', bucket,
    coalesce(l.units, 0), coalesce(h.units, 0))
FROM level l FULL JOIN held h USING (sku, location, bucket)
WHERE coalesce(l.units, 0) <> coalesce(h.units, 0)
"""
_LEVELS_HOLD_WHAT_IS_COMING = f"""
WITH coming AS (
    SELECT sku, location, bucket, sum(units) AS units FROM ({_COMING}) c GROUP BY 1, 2, 3
), level AS (SELECT * FROM ({LEVELS}) l WHERE bucket IN {_COMING_BUCKETS})
SELECT sku || ' at ' || location, format('%s is %s, orders, transfers and returns say %s', bucket,
    coalesce(l.units, 0), coalesce(c.units, 0))
FROM level l FULL JOIN coming c USING (sku, location, bucket)
WHERE coalesce(l.units, 0) <> coalesce(c.units, 0)
"""
# Movements of an order or a transfer carry its number in their key: what was taken less what was
# given back is what is open, so nothing ended twice, or not at all, in the shadow of another one.
_EACH_HOLD_ENDS_ONCE = f"""
WITH held AS (
    SELECT order_number, sku, location, bucket, sum(quantity) AS units FROM ({HELD}) h
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

CHECKS_OF_STOCK = (
    (1, _MOVEMENTS_ADD_UP),
    (1, _NO_BUCKET_IS_NEGATIVE),
    (1, _IMPORTS_ARE_WHOLE),
    (2, _LEVELS_HOLD_WHAT_IS_OPEN),
    (2, _LEVELS_HOLD_WHAT_IS_COMING),
    (2, _EACH_HOLD_ENDS_ONCE),
    (2, _RELEASES_ARE_ALLOCATED),
    (3, _TRANSFERS_ADD_UP),
    (8, _ALERTS_ARE_TOLD),
)
"""Invariant and statement; each row is (about, detail) of a violation."""
