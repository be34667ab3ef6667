from typing import Any

from sqlalchemy import text

from adapters.db.stock_events import StockEvent, tell
from tests.adapters.db.stockroom import NOW, Stockroom


async def told(stockroom: Stockroom) -> list[tuple[Any, ...]]:
    async with stockroom.db.connect() as tx:
        found = await tx.execute(
            text("SELECT at, kind, sku, location, data FROM stock_events ORDER BY xid, id")
        )
        return [tuple(row) for row in found]


async def test_what_happened_to_stock_is_told_in_order(stockroom: Stockroom) -> None:
    async with stockroom.db.begin() as tx:
        await tell(
            tx,
            [
                StockEvent(kind="stock.vanished", at=NOW, sku="LAMP", location="paris"),
                StockEvent(kind="transfer.overdue", at=NOW, data={"transfer": "T-1", "units": 3}),
            ],
        )
        await tell(tx, [])

    assert await told(stockroom) == [
        (NOW, "stock.vanished", "LAMP", "paris", {}),
        (NOW, "transfer.overdue", None, None, {"transfer": "T-1", "units": 3}),
    ]


async def test_what_did_not_happen_is_not_told(stockroom: Stockroom) -> None:
    async with stockroom.db.begin() as tx:
        await tell(tx, [StockEvent(kind="stock.vanished", at=NOW, sku="LAMP", location="paris")])
        await tx.rollback()

    assert await told(stockroom) == []


async def test_movements_and_events_are_numbered_in_one_order(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 5)
    async with stockroom.db.begin() as tx:
        await tell(tx, [StockEvent(kind="stock.vanished", at=NOW, sku="LAMP", location="paris")])
    await stockroom.holds("MUG", "paris", 5)

    async with stockroom.db.connect() as tx:
        found = await tx.execute(
            text(
                "SELECT xid, id, 'movement' AS what FROM stock_movements"
                " UNION ALL SELECT xid, id, 'event' FROM stock_events ORDER BY xid, id"
            )
        )
        rows = [tuple(row) for row in found]

    assert [what for *_, what in rows] == ["movement", "event", "movement"]
    assert len({id for _, id, _ in rows}) == 3
