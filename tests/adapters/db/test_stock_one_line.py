"""One line is reserved by a shorter statement, which must say what the general one says."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from adapters.db.stock import Short, ShortRow, Taken, Want, take
from oms.errors import KeyReused
from tests.adapters.db.stockroom import NOW, Stockroom

ENOUGH = {"on_hand": 10, "reserved": 2, "allocated": 1, "safety_stock": 1, "backordered": 2}
LEVELS = (ENOUGH, ENOUGH | {"on_hand": 6}, ENOUGH | {"on_hand": 1}, {"on_hand": 4}, None)
WANTS = [
    {"quantity": quantity, "leave": leave, "for_queue": for_queue}
    for quantity in (1, 4, 5)
    for leave in (0, 1)
    for for_queue in (False, True)
]


async def lay_out(stockroom: Stockroom, level: dict[str, int] | None) -> None:
    async with stockroom.db.begin() as tx:
        await tx.execute(text("TRUNCATE stock_levels, stock_movements"))
        if level is not None:
            columns, values = ", ".join(level), ", ".join(map(str, level.values()))
            await tx.execute(
                text(
                    f"INSERT INTO stock_levels (sku, location, {columns})"
                    f" VALUES ('LAMP', 'paris', {values})"
                )
            )


async def outcome(
    stockroom: Stockroom, level: dict[str, int] | None, want: dict[str, Any], *, in_attempt: bool
) -> tuple[Any, ...]:
    await lay_out(stockroom, level)
    async with stockroom.db.begin() as tx:
        wanted = [Want(sku="LAMP", location="paris", **want)]
        taken = await take(tx, wanted, cause="reserve", key="o1", at=NOW, in_attempt=in_attempt)
        moved = await tx.execute(
            text("SELECT at, sku, location, bucket, delta, cause, key FROM stock_movements")
        )
        movements = moved.all()
    return taken, movements, await stockroom.level("LAMP", "paris")


@pytest.mark.parametrize("level", LEVELS)
async def test_one_line_is_reserved_by_the_same_rule_as_a_basket(
    stockroom: Stockroom, level: dict[str, int] | None
) -> None:
    for want in WANTS:
        short_way = await outcome(stockroom, level, want, in_attempt=True)
        general_way = await outcome(stockroom, level, want, in_attempt=False)

        assert short_way == general_way, want


async def test_the_same_key_again_is_the_first_answer_again(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)
    one = [Want(sku="LAMP", location="paris", quantity=1)]

    async def reserve() -> Taken | Short:
        async with stockroom.db.begin() as tx:
            return await take(tx, one, cause="reserve", key="o1", at=NOW, in_attempt=True)

    assert [await reserve(), await reserve()] == [Taken(), Taken(again=True)]
    one = [Want(sku="MUG", location="paris", quantity=1)]
    await stockroom.holds("MUG", "paris", 1)
    with pytest.raises(KeyReused):
        await reserve()


async def test_who_waited_for_the_last_unit_is_told_that_it_is_gone(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 1)
    one = [Want(sku="LAMP", location="paris", quantity=1)]

    async def late() -> Taken | Short:
        async with stockroom.db.begin() as tx:
            return await take(tx, one, cause="reserve", key="late", at=NOW, in_attempt=True)

    async with stockroom.db.begin() as faster:
        await take(faster, one, cause="reserve", key="faster", at=NOW, in_attempt=True)
        waiting = asyncio.create_task(late())
        await stockroom.until_waiting(1)

    assert await waiting == Short((ShortRow("LAMP", "paris", 1, 0),))
    assert await stockroom.adds_up()
