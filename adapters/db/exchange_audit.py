"""What must be true of exchanges, and of the money of returns: see `adapters.db.audit`."""

# Both name each other, and a return's exchange order is one.
_EXCHANGES_ARE_LINKED = """
SELECT coalesce(r.id, o.exchange_of), format('its exchange order is %s, which replaces %s',
    coalesce(r.exchange_order, o.number), coalesce(o.exchange_of, 'nothing'))
FROM (SELECT * FROM returns WHERE exchange_order IS NOT NULL) r
FULL JOIN (SELECT * FROM orders WHERE exchange_of IS NOT NULL) o ON o.number = r.exchange_order
WHERE (r.id = o.exchange_of) IS NOT TRUE
"""
# What a line of an exchange order carries is what its return's line hands over, the same for each
# unit, and no more than its price.
_EXCHANGES_CARRY_WHAT_IS_HANDED_OVER = """
WITH carried AS (
    SELECT l.order_number, l.line, l.ordered, l.unit_price_minor * l.ordered AS price,
        l.total_minor, coalesce(sum(CAST(c.value AS bigint)), 0) AS units_worth,
        coalesce(bool_or(CAST(c.value AS bigint) % l.ordered <> 0), false) AS uneven
    FROM order_lines l LEFT JOIN LATERAL jsonb_each_text(l.carried) c ON true
    GROUP BY l.order_number, l.line
)
SELECT c.order_number || ' line ' || c.line, format('%s carried for %s units at %s, %s to pay;'
    ' its return hands over %s for %s', units_worth, ordered, price, c.total_minor,
    coalesce(t.carried_minor, 0), coalesce(t.quantity - t.extra, 0))
FROM carried c JOIN orders o ON o.number = c.order_number
LEFT JOIN return_lines t ON t.return_id = o.exchange_of AND t.exchange_line = c.line
WHERE (units_worth, ordered) <> (coalesce(t.carried_minor, 0), coalesce(t.quantity - t.extra,
        CASE WHEN o.exchange_of IS NULL THEN ordered END))
    OR uneven OR (units_worth > 0 AND units_worth + c.total_minor <> price)
"""
# What a return has given back, by whichever tenders, is what its units were worth, less what its
# exchange order took over and the fee; with the outbound way, or not. Units of a line that does not
# divide are worth one minor unit more or less. What never came in is not given back.
_RETURNS_PAY_WHAT_THEY_SETTLE = """
WITH worth AS (
    SELECT t.return_id, sum(t.settled) AS units, sum(
        CASE r.resolution WHEN 'exchange' THEN t.settled ELSE t.refunded END
            * (l.total_minor + coalesce((SELECT sum(CAST(c.value AS bigint))
                FROM jsonb_each_text(l.carried) c), 0)) / l.ordered
        - CASE r.resolution WHEN 'exchange' THEN (t.settled - t.refunded)
            * coalesce(t.carried_minor / nullif(t.quantity - t.extra, 0), 0) ELSE 0 END) AS due
    FROM return_lines t JOIN returns r ON r.id = t.return_id
    JOIN order_lines l ON l.order_number = r.order_number AND l.line = t.line
    WHERE r.kind <> 'undeliverable' GROUP BY 1
), given AS (
    SELECT cause, sum(amount_minor) FILTER (WHERE NOT given_up) AS amount,
        bool_or(given_up) AS gave_up
    FROM payment_entries WHERE kind = 'refund' GROUP BY 1
)
SELECT r.id, format('%s units settled, worth %s less a fee of %s; given back %s', w.units, w.due,
    CAST(r.terms->>'fee_minor' AS bigint) - r.fee_left_minor, coalesce(g.amount, 0))
FROM returns r JOIN worth w ON w.return_id = r.id JOIN orders o ON o.number = r.order_number
LEFT JOIN given g ON g.cause = r.id
CROSS JOIN LATERAL (SELECT coalesce(g.amount, 0) - w.due
    + CAST(r.terms->>'fee_minor' AS bigint) - r.fee_left_minor AS beyond) b
WHERE b.beyond > w.units + CASE WHEN o.shipping_refunded THEN o.shipping_minor ELSE 0 END
    OR (b.beyond < -w.units AND NOT coalesce(g.gave_up, false)
        AND NOT EXISTS (SELECT FROM payment_entries e WHERE e.kind = 'capture' AND e.given_up
            AND e.order_number IN (SELECT o.number UNION ALL SELECT jsonb_object_keys(c.carried)
                FROM order_lines c WHERE c.order_number = o.number)))
"""

CHECKS_OF_EXCHANGES = (
    (3, _EXCHANGES_ARE_LINKED),
    (3, _EXCHANGES_CARRY_WHAT_IS_HANDED_OVER),
    (3, _RETURNS_PAY_WHAT_THEY_SETTLE),
)
"""Invariant and statement; each row is (about, detail) of a violation."""
