"""Whatever the order of transfers, receipts, cancellations, counts and sales: the books hold.

The rules are said once more, as plainly as possible, and played beside the real database.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import incoming as expected
from adapters.db import transfers as road
from adapters.db.adjustments import Adjusted, Adjustment, adjust
from adapters.db.audit import CHECKS
from adapters.db.availability import availability
from adapters.db.incoming import Incoming, expect_incoming, load_expectation
from adapters.db.stock import Short, StockChange, Taken, Want, apply_changes, take
from adapters.db.stock_view import levels
from adapters.db.transfers import NewTransfer, load_transfer, request_transfer
from oms import transfers as logic
from oms.incoming import Expectation
from oms.transfers import Arrival, Refused, Transfer
from tests.adapters.db.crowds import candidates
from tests.adapters.db.stockroom import NOW, Stockroom

PLACES = ("nice", "paris")
place, units, which = st.sampled_from(PLACES), st.integers(1, 5), st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(st.just("count"), place, st.integers(0, 6)),
    st.tuples(st.just("reserve"), place, units),
    st.tuples(st.just("let_go"), which),
    st.tuples(st.just("sell"), which),
    st.tuples(st.just("ask"), place, place, units),
    st.tuples(st.just("ship"), which, units),
    st.tuples(st.just("receive"), which, units),
    st.tuples(st.just("call_off"), which),
    st.tuples(st.just("close"), which),
    st.tuples(st.just("announce"), place, units),
    st.tuples(st.just("expect"), which, units),
    st.tuples(st.just("arrive"), which, units),
    st.tuples(st.just("expect_no_more"), which),
)
examples = itertools.count()

_ORDER = """
INSERT INTO orders (number, channel, reference, content_hash, currency, customer_id, method,
  country, allow_split, allow_backorder, total_minor, shipping_minor, shipping_tax_minor, document,
  placed_at, shipping_captured, version)
VALUES (:n, 'careful', :reference, '', 'EUR', 'c', 'home', 'FR', true, false, 0, 0, 0, '{}', :at,
  false, 1)
"""


class Play:
    """One article, its orders, transfers and purchase orders, and what must be at each place."""

    def __init__(self, stockroom: Stockroom, sku: str) -> None:
        self.db, self.sku, self.number = stockroom.db, sku, f"ORDER-{sku}"
        self.must: dict[str, Counter[str]] = {location: Counter() for location in PLACES}
        self.held: list[tuple[int, str, int]] = []
        self.transfers: list[str] = []
        self.orders: list[int] = []
        self.keys = (f"{self.number}:step:{n}" for n in itertools.count())

    async def begin(self) -> None:
        async with self.db.begin() as tx:
            await tx.execute(text(_ORDER), {"n": self.number, "reference": self.sku, "at": NOW})

    def available(self, location: str) -> int:
        level = self.must[location]
        return max(0, level["on_hand"] - level["reserved"] - level["allocated"])

    # --- shelves and sales ---

    async def count(self, location: str, found: int) -> None:
        counted = Adjustment(sku=self.sku, location=location, set_to=found, reason="count")
        async with self.db.begin() as tx:
            made = await adjust(tx, [counted], key=next(self.keys), at=NOW)
        assert isinstance(made, Adjusted)
        self.must[location]["on_hand"] = found

    async def reserve(self, location: str, wanted: int) -> None:
        """Sell what the channel sees there, which leaves a unit at each place."""
        seen = max(0, self.available(location) - 1)
        async with self.db.begin() as tx:
            found = await candidates(tx, skus=[self.sku], channel="careful", method="home")
            shown = {each.location: each.available[self.sku] for each in found}
            want = Want(sku=self.sku, location=location, quantity=wanted, leave=1)
            taken = await take(tx, [want], cause="reserve", key=next(self.keys), at=NOW)
            assert shown.get(location, 0) == seen
            assert isinstance(taken, Taken) == (wanted <= seen)
            if isinstance(taken, Short):
                return
            id = await tx.scalar(
                text(
                    "INSERT INTO reservations (order_number, line, sku, location, quantity, kind,"
                    " state) VALUES (:n, 1, :sku, :location, :q, 'stock', 'open') RETURNING id"
                ),
                {"n": self.number, "sku": self.sku, "location": location, "q": wanted},
            )
        self.held.append((id, location, wanted))
        self.must[location]["reserved"] += wanted

    async def let_go(self, which: int) -> None:
        await self._end(which, sold=False)

    async def sell(self, which: int) -> None:
        await self._end(which, sold=True)

    async def _end(self, which: int, *, sold: bool) -> None:
        if not self.held:
            return
        id, location, held = self.held.pop(which % len(self.held))
        off = min(held, self.must[location]["on_hand"]) if sold else 0
        change = StockChange(sku=self.sku, location=location, reserved=-held, on_hand=-off)
        async with self.db.begin() as tx:
            await tx.execute(
                text("UPDATE reservations SET state = 'released' WHERE id = :id"), {"id": id}
            )
            await apply_changes(tx, [change], cause="end", key=next(self.keys), at=NOW)
        self.must[location].update({"reserved": -held, "on_hand": -off})

    # --- transfers ---

    async def ask(self, origin: str, destination: str, wanted: int) -> None:
        if origin == destination:
            return
        id = f"T-{self.sku}-{len(self.transfers)}"
        new = NewTransfer(
            id=id, origin=origin, destination=destination, lines=((self.sku, wanted),)
        )
        async with self.db.begin() as tx:
            made = await request_transfer(tx, new, actor="ada", at=NOW)
        assert isinstance(made, Transfer) == (wanted <= self.available(origin))
        if isinstance(made, Transfer):
            self.transfers.append(id)
            self.must[origin]["allocated"] += wanted
            self.must[destination]["requested"] += wanted

    async def ship(self, which: int, sent: int) -> None:
        if not self.transfers:
            return
        async with self.db.begin() as tx:
            before = await self._transfer(tx, which)
            after = logic.ship(before, [(self.sku, sent)])
            if isinstance(after, Refused):
                return
            await road.write_shipped(tx, before, after, actor="ada", at=NOW)
        here, there = self.must[before.origin], self.must[before.destination]
        here.update({"allocated": -sent, "on_hand": -min(sent, here["on_hand"])})
        there["requested"] -= sent
        self._on_the_road(before, after)

    async def receive(self, which: int, came: int) -> None:
        if not self.transfers:
            return
        arrivals = [Arrival(self.sku, came, damaged=came // 4)]
        async with self.db.begin() as tx:
            before = await self._transfer(tx, which)
            after = logic.receive(before, arrivals)
            await road.write_received(tx, before, after, arrivals, actor="ada", at=NOW)
        there = self.must[before.destination]
        there.update({"on_hand": came - came // 4, "damaged": came // 4})
        self._on_the_road(before, after)

    async def call_off(self, which: int) -> None:
        if not self.transfers:
            return
        async with self.db.begin() as tx:
            before = await self._transfer(tx, which)
            after = logic.cancel(before)
            if isinstance(after, Refused):
                return
            await road.write_cancelled(tx, before, after, actor="ada", at=NOW)
        self._never_sent(before)

    async def close(self, which: int) -> None:
        if not self.transfers:
            return
        async with self.db.begin() as tx:
            before = await self._transfer(tx, which)
            after = logic.close(before, NOW)
            if isinstance(after, Refused):
                return
            await road.write_closed(tx, before, after, actor="ada", at=NOW)
        self._never_sent(before)
        self._on_the_road(before, after)

    async def _transfer(self, tx: AsyncConnection, which: int) -> Transfer:
        found = await load_transfer(tx, self.transfers[which % len(self.transfers)], lock=True)
        assert found is not None
        return found

    def _never_sent(self, before: Transfer) -> None:
        left = before.lines[0].to_ship
        self.must[before.origin]["allocated"] -= left
        self.must[before.destination]["requested"] -= left

    def _on_the_road(self, before: Transfer, after: Transfer) -> None:
        """Sent, and neither arrived nor given up."""
        more = after.lines[0].in_transit - before.lines[0].in_transit
        self.must[before.destination].update({"incoming": more, "in_transit": more})

    # --- purchase orders ---

    async def announce(self, location: str, quantity: int) -> None:
        new = Incoming(self.sku, location, quantity, NOW, f"{self.sku}-{len(self.orders)}")
        async with self.db.begin() as tx:
            made = await expect_incoming(tx, new, actor="ada", at=NOW)
        assert isinstance(made, Expectation)
        self.orders.append(made.id)
        self.must[location]["incoming"] += quantity

    async def expect(self, which: int, quantity: int) -> None:
        if not self.orders:
            return
        async with self.db.begin() as tx:
            before = await self._expectation(tx, which)
            if before.ended_at is not None:
                return
            after = await expected.change_expectation(
                tx, before, quantity=quantity, expected_at=NOW, actor="ada", at=NOW
            )
        self._still_to_come(before, after)

    async def arrive(self, which: int, came: int) -> None:
        if not self.orders:
            return
        async with self.db.begin() as tx:
            before = await self._expectation(tx, which)
            after = await expected.receive_expected(
                tx, before, quantity=came, damaged=came // 4, actor="ada", at=NOW
            )
        sound = {"on_hand": came - came // 4, "damaged": came // 4}
        self.must[before.location].update(sound)
        self._still_to_come(before, after)

    async def expect_no_more(self, which: int) -> None:
        if not self.orders:
            return
        async with self.db.begin() as tx:
            before = await self._expectation(tx, which)
            after = await expected.end_expectation(tx, before, actor="ada", at=NOW)
        self._still_to_come(before, after)

    async def _expectation(self, tx: AsyncConnection, which: int) -> Expectation:
        found = await load_expectation(tx, self.orders[which % len(self.orders)], lock=True)
        assert found is not None
        return found

    def _still_to_come(self, before: Expectation, after: Expectation) -> None:
        self.must[before.location]["incoming"] += after.outstanding - before.outstanding

    # --- what must be true ---

    async def hold_true(self, stockroom: Stockroom) -> None:
        for location in PLACES:
            must = {bucket: n for bucket, n in self.must[location].items() if n}
            assert await stockroom.level(self.sku, location) == must
        async with self.db.begin() as tx:
            found = [row for check in _BOOKS for row in await tx.execute(text(check))]
            seen = await levels(tx, sku=self.sku, channel="careful")
            shown = await availability(tx, sku=self.sku, channel="careful", now=NOW)
        given = [level.for_channel.available for level in seen if level.for_channel]
        assert found == []
        assert shown.available == sum(given)


_BOOKS: Sequence[str] = [
    statement for invariant, statement in CHECKS if invariant < 3 or "FROM transfers" in statement
]


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=6, max_size=24))
@example(
    steps=[
        ("ask", "paris", "nice", 5),
        ("count", "paris", 2),
        ("ship", 0, 4),
        ("receive", 0, 5),
        ("ship", 0, 1),
    ]
)
@example(
    steps=[
        ("ask", "paris", "nice", 3),
        ("ship", 0, 2),
        ("close", 0),
        ("receive", 0, 2),
        ("announce", "paris", 4),
        ("expect_no_more", 0),
        ("arrive", 0, 4),
    ]
)
async def test_whatever_moves_the_books_agree_and_nothing_is_sold_that_is_not_there(
    stockroom: Stockroom, steps: list[tuple[str, *tuple[object, ...]]]
) -> None:
    sku = f"GOODS-{next(examples)}"
    await stockroom.sells(sku)
    await stockroom.has_channel("careful", buffers={"store": 1})
    play = Play(stockroom, sku)
    await play.begin()
    await play.count("paris", 5)

    for step, *arguments in steps:
        await getattr(play, step)(*arguments)

    await play.hold_true(stockroom)


async def test_transfers_in_both_directions_never_wait_in_a_circle(stockroom: Stockroom) -> None:
    skus = ("LAMP", "MUG", "SOFA")
    for sku, location in itertools.product(skus, ("paris", "nice")):
        await stockroom.holds(sku, location, 100)

    async def move(n: int) -> None:
        ends = ("paris", "nice") if n % 2 else ("nice", "paris")
        asked = tuple((sku, 2) for sku in skus[:: 1 if n % 3 else -1])
        new = NewTransfer(id=f"T-{n}", origin=ends[0], destination=ends[1], lines=asked)
        scanned = [Arrival(sku, 2) for sku in skus]
        async with stockroom.db.begin() as tx:
            assert isinstance(await request_transfer(tx, new, actor="ada", at=NOW), Transfer)
        for _ in range(2):
            async with stockroom.db.begin() as tx:
                before = await load_transfer(tx, new.id, lock=True)
                assert before is not None
                sent = logic.ship(before, None)
                if isinstance(sent, Transfer):
                    await road.write_shipped(tx, before, sent, actor="ada", at=NOW)
        async with stockroom.db.begin() as tx:
            before = await load_transfer(tx, new.id, lock=True)
            assert before is not None
            came = logic.receive(before, scanned)
            await road.write_received(tx, before, came, scanned, actor="ada", at=NOW)

    async def buy(n: int) -> None:
        basket = [
            Want(sku=sku, location="paris", quantity=1) for sku in skus[:: -1 if n % 2 else 1]
        ]
        assert isinstance(await stockroom.take(f"buyer {n}", *basket), Taken)

    await asyncio.gather(*(move(n) for n in range(16)), *(buy(n) for n in range(16)))

    for sku in skus:
        assert await stockroom.level(sku, "paris") == {"on_hand": 100, "reserved": 16}
        assert await stockroom.level(sku, "nice") == {"on_hand": 100}
    assert await stockroom.adds_up()
