"""Two thousand orders leave a place that closes. Too dear for every run: `make test-reroutes`."""

import time
from collections.abc import Callable

import pytest

from tests.adapters.db.leaving import Shop
from tests.adapters.db.many_leave import all_leave, begins, crowd
from tests.adapters.db.stockroom import Stockroom

ORDERS = 2_000


@pytest.mark.timeout(1_800)
async def test_two_thousand_orders_leave_a_place(
    stockroom: Stockroom, say: Callable[[str], None]
) -> None:
    shop = Shop(stockroom)
    await shop.opens_its_doors()
    await crowd(shop, ORDERS)
    await begins(shop)

    wall, cpu = time.perf_counter(), time.process_time()
    took = await all_leave(shop)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu

    seconds = sorted(took.seconds)
    p50, p99 = (1000 * seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    say(
        f"{ORDERS} orders in {wall:.0f} s and {took.batches} batches: {ORDERS / wall:.0f} a second,"
        f" p50 {p50:.0f} ms, p99 {p99:.0f} ms; {1000 * cpu / ORDERS:.1f} ms of our processor each"
    )
    assert took.progress.done == {"moved": ORDERS}
    assert await shop.allocated("lyon") == 0
    assert await shop.allocated("nice") == 2 * ORDERS
    assert await shop.is_sound()
