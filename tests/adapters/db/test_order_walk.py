"""Whatever happens to orders in whatever order, the books add up, and every order comes to an end.

Each walk is drawn from its seed; a failure tells the seed, the broken rule, and the way there.
"""

import os
from collections import Counter
from collections.abc import Iterable

import pytest
from sqlalchemy import text

from oms import agenda as due_for
from oms.agenda import Agenda
from oms.fulfillment import FulfillmentOrder
from oms.numbers import fulfillment_workflow_id, order_workflow_id
from oms.orders import OPEN_BUCKETS, Order, OrderStatus
from tests.adapters.db.stockroom import Stockroom
from tests.adapters.db.walking import POLICY, Walk

STEPS = 150
SEEDS = range(int(os.environ.get("OMS_WALKS", "5")))

_LEVELS_EQUAL_OPEN_ROWS = """
SELECT count(*) FROM stock_levels s WHERE
  s.reserved <> (SELECT coalesce(sum(quantity), 0) FROM reservations r WHERE r.sku = s.sku
    AND r.location = s.location AND r.state = 'open' AND r.kind = 'stock')
  OR s.backordered <> (SELECT coalesce(sum(quantity), 0) FROM reservations r WHERE r.sku = s.sku
    AND r.location = s.location AND r.state = 'open' AND r.kind = 'backorder')
  OR s.allocated <> (SELECT coalesce(sum(quantity), 0) FROM allocations a WHERE a.sku = s.sku
    AND a.location = s.location AND a.state = 'open')
"""
_SUMS_EQUAL_ENTRIES = """
SELECT count(*) FROM tenders t CROSS JOIN LATERAL (VALUES ('authorization', authorized_minor),
  ('capture', captured_minor), ('refund', refunded_minor), ('void', voided_minor)) AS v(kind, minor)
WHERE v.minor <> (SELECT coalesce(sum(amount_minor), 0) FROM payment_entries e
  WHERE e.order_number = t.order_number AND e.kind = v.kind AND e.status = 'succeeded')
"""
_EVENTS_WITHOUT_GAPS = """
SELECT count(*) FROM (SELECT max(seq) <> count(*) OR min(seq) <> 1 AS bad
  FROM events GROUP BY order_number) e WHERE bad
"""


_RULES = ("levels equal open rows", "sums equal entries", "events have no gaps")
_BROKEN = text(
    f"SELECT ({_LEVELS_EQUAL_OPEN_ROWS}), ({_SUMS_EQUAL_ENTRIES}), ({_EVENTS_WITHOUT_GAPS})"
)


async def check_books(stockroom: Stockroom) -> None:
    """What holds for the shop as a whole."""
    assert await stockroom.adds_up(), "movements add up to the levels"
    async with stockroom.db.connect() as tx:
        found = zip(_RULES, (await tx.execute(_BROKEN)).one(), strict=True)
    assert not any(broken := {rule: rows for rule, rows in found if rows}), broken


def check_order(order: Order) -> None:
    """What holds for one order at any time."""
    check_units(order)
    for each in order.fulfillment_orders:
        check_part(order, each)
    check_parcels(order)
    statuses = (order.status, order.payment_status, order.fulfillment_status, order.return_status)
    assert all(statuses)
    if order.closed_at is not None:
        assert not order.has_open_units
        assert not order.reservations
        assert not order.allocations
        check_closed_money(order)


def check_units(order: Order) -> None:
    held: Counter[tuple[int, str]] = Counter()
    for each in order.reservations:
        held[(each.line, "reserved" if each.kind == "stock" else "backordered")] += each.quantity
    for row in order.allocations:
        held[(row.line, "picked" if row.picked else "allocated")] += row.quantity
    for line in order.lines:
        assert line.kept == sum(getattr(line, bucket) for bucket in (*OPEN_BUCKETS, "delivered"))
        for bucket in ("reserved", "backordered", "allocated", "picked"):
            assert getattr(line, bucket) == held[(line.line, bucket)], (line.line, bucket)
        if order.method == "store_pickup":
            places = {a.location for a in order.allocations if a.line == line.line}
            assert places <= {order.pickup_location}
    if not order.allow_split:
        served = {f.location for f in order.fulfillment_orders if f.status == "closed"}
        assert len({a.location for a in order.allocations} | served) <= 1, "one place serves all"


def check_part(order: Order, each: FulfillmentOrder) -> None:
    mine: Counter[int] = Counter()
    picked: Counter[int] = Counter()
    for row in order.allocations:
        if row.fulfillment_order == each.id:
            assert not row.turned_down
            assert row.location == each.location
            (picked if row.picked else mine)[row.line] += row.quantity
    if not each.is_live:
        assert not mine | picked, f"{each.id} is {each.status} and holds stock"
        assert each.cancellation != "requested", f"{each.id} ended and owes an answer"
        return
    for line in each.lines:
        assert line.quantity == mine[line.line] + picked[line.line]
        assert (line.picked or 0) == picked[line.line]
    asked = sum(line.stop_asked for line in each.lines)
    assert bool(asked) == (each.cancellation == "requested"), f"{each.id} is asked for {asked}"
    assert sum(line.quantity for line in each.lines) > 0, f"{each.id} is work for nothing"


def check_parcels(order: Order) -> None:
    packed: Counter[tuple[str, int]] = Counter()
    moving: Counter[int] = Counter()
    for shipment in order.shipments:
        if shipment.written_off_at is None:
            for line in shipment.lines:
                packed[(shipment.fulfillment_order, line.line)] += line.quantity
        if shipment.handed_over_at is not None and not shipment.is_final:
            for line in shipment.lines:
                moving[line.line] += line.quantity
    for each in order.fulfillment_orders:
        if each.status == "in_progress" and each.packed_at is not None:
            for work in each.lines:
                assert packed[(each.id, work.line)] == work.quantity, "what is packed is work"
    for ordered in order.lines:
        assert ordered.shipped == moving[ordered.line], "what is shipped travels in a parcel"


def check_closed_money(order: Order) -> None:
    tender = order.tender
    if tender is None or any(e.given_up or e.settled_by == "operator" for e in order.entries):
        return
    assert tender.authorized_minor == tender.captured_minor + tender.voided_minor
    charged = sum(line.price_of(first=0, count=line.charged) for line in order.lines)
    refunded = sum(line.price_of(first=0, count=line.refunded) for line in order.lines)
    shipping = order.shipping_minor if order.shipping_captured else 0
    assert tender.captured_minor == charged + shipping
    assert tender.refunded_minor == refunded + (shipping if order.all_cancelled else 0)
    for line in order.lines:
        assert line.charged - line.refunded == line.delivered


def agendas(walk: Walk, orders: Iterable[Order]) -> dict[str, Agenda]:
    """What each running process would do now."""
    found = {}
    for order in orders:
        found[order_workflow_id(order.number)] = due_for.order_agenda(order, walk.now)
        for each in order.fulfillment_orders:
            if each.id in walk.served:
                found[fulfillment_workflow_id(each.id)] = due_for.fulfillment_agenda(
                    order, each.id, walk.now, silent=POLICY.silent
                )
    return found


def check_everybody_was_told(
    walk: Walk, before: dict[str, Agenda], after: dict[str, Agenda]
) -> None:
    """A process that has something new to do was told, or set its alarm for it."""
    for runs, agenda in after.items():
        if runs not in before or runs in walk.told:
            continue
        known = before[runs]
        if known.wake_at is not None and known.wake_at <= walk.now:
            continue
        news = {due.name for due in agenda.due} - {due.name for due in known.due}
        assert not news, f"nobody told {runs} of {news}"
        assert agenda.ended == known.ended, f"nobody told {runs} of its end"
        if agenda.wake_at is not None:
            early = known.wake_at is None or agenda.wake_at < known.wake_at
            assert not early, f"nobody told {runs} to wake at {agenda.wake_at}"


async def check_all(walk: Walk, stockroom: Stockroom, known: dict[str, Agenda]) -> None:
    """Check the shop and the orders touched since the last time; `known` is brought up to date."""
    await check_books(stockroom)
    orders = await walk.read(walk.touched)
    for order in orders:
        check_order(order)
    after = agendas(walk, orders)
    await walk.hear_nudges()
    check_everybody_was_told(walk, known, after)
    known |= after
    walk.told.clear()
    walk.touched.clear()


async def come_home(walk: Walk, stockroom: Stockroom, known: dict[str, Agenda]) -> None:
    """Everybody does their part from now on: every order must come to its end."""
    for _ in range(60):
        for number in walk.numbers:
            await walk.goes_well(number)
            await check_all(walk, stockroom, known)
        orders = await walk.read(walk.numbers)
        if all(order.closed_at is not None for order in orders) and all(
            agenda.ended for agenda in agendas(walk, orders).values()
        ):
            return
    left = [(o.number, o.status, due_for.order_agenda(o, walk.now)) for o in orders]
    raise AssertionError(f"stuck: {[each for each in left if each[1] == OrderStatus.OPEN] or left}")


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_books_add_up_wherever_orders_wander(stockroom: Stockroom, seed: int) -> None:
    walk = Walk(stockroom, seed)
    await walk.begins()

    try:
        known: dict[str, Agenda] = {}
        for _ in range(STEPS):
            await walk.step()
            await check_all(walk, stockroom, known)
        await come_home(walk, stockroom, known)
    except Exception as fault:
        way = "\n".join(walk.trail[-60:])
        raise AssertionError(f"seed {seed}: {fault!r}, after\n{way}") from fault
