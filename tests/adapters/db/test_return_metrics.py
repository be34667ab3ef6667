"""What Prometheus is told of returns, read from the books."""

from datetime import timedelta

from sqlalchemy import text

from adapters.db.found_goods import Goods, decide_fate, keep_unknown
from adapters.db.metrics import read_facts
from oms.found import Found
from oms.numbers import order_of
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom


async def told(shop: Shop, *, hours: float) -> dict[str, float]:
    """The gauges of returns so much later, with their label if they have one; nothing that is 0."""
    found = await read_facts(shop.stockroom.db, shop.now + timedelta(hours=hours))
    return {
        " ".join([each.name, *sample.labels.values()]): sample.value
        for each in found
        if each.name.startswith(("oms_returns", "oms_found"))
        for sample in each.samples
        if sample.value
    }


async def test_returns_are_told_by_how_far_they_are_and_how_long_goods_wait(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 10)
    shop = Shop(stockroom)
    number = await shop.delivers(("LAMP", 6))
    closed = await shop.asks(number, (1, 1))
    await shop.receives(closed, (1, 1, "as_new"))
    await shop.inspects(closed, (1, 1, True))
    await shop.settles(closed)
    await shop.asks(number, (1, 1))
    await shop.asks(number, (1, 1), needs_approval="it is dear")
    for units in (1, 2):
        part = await shop.asks(number, (1, units))
        await shop.receives(part, (1, 1, "as_new"))
    async with stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE returns SET started_at = now() WHERE closed_at IS NULL"))

    gauges = await told(shop, hours=1)

    assert gauges == {
        "oms_returns_open approved": 1,
        "oms_returns_open requested": 1,
        "oms_returns_open received": 1,
        "oms_returns_open partially_received": 1,
        "oms_returns_uninspected": 2,
        "oms_returns_uninspected_seconds": 3600,
        "oms_returns_unstarted": 1,
        "oms_returns_unstarted_seconds": 3600,
    }


async def test_what_is_parked_of_returns_is_told_apart_from_what_is_of_orders(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 10)
    shop = Shop(stockroom)
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    async with stockroom.db.begin() as tx:
        for step, run in (("refund:1", f"return/{id}"), ("capture:1", f"order/{order_of(id)}")):
            await tx.execute(
                text(
                    "INSERT INTO parked_steps (order_number, step, workflow_id, since, error_code,"
                    " last_error, actions) VALUES (:number, :step, :run, :at, 'declined', 'no',"
                    " '{retry}')"
                ),
                {"number": number, "step": step, "run": run, "at": shop.now},
            )

    gauges = await told(shop, hours=2)

    assert gauges["oms_returns_parked refund"] == 1
    assert gauges["oms_returns_parked_seconds refund"] == 7200
    assert "oms_returns_parked capture" not in gauges


async def test_goods_of_nothing_we_know_are_told_until_somebody_decides(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 0)
    shop = Shop(stockroom)
    lamp, odd = Found(1, "as_new", sku="LAMP"), Found(2, "damaged")
    async with stockroom.db.begin() as tx:
        await keep_unknown(tx, Goods("lyon", "a-box", (lamp, odd)), at=shop.now, actor="lyon")

    waiting = await told(shop, hours=3)
    async with stockroom.db.begin() as tx:
        for id in await tx.scalars(text("SELECT id FROM found_goods")):
            assert await decide_fate(tx, id, "dispose", "nobody's", at=shop.now) is None

    assert waiting == {"oms_found_goods_open": 2, "oms_found_goods_open_seconds": 3 * 3600}
    assert await told(shop, hours=3) == {}
