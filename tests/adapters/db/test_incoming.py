from datetime import timedelta

from sqlalchemy import text

from adapters.db.availability import COMING
from adapters.db.incoming import (
    Incoming,
    ReferenceTaken,
    change_expectation,
    end_expectation,
    expect_incoming,
    receive_expected,
)
from oms.incoming import Expectation, IncomingStatus
from tests.adapters.db.stockroom import NOW, Stockroom

LATER = NOW + timedelta(days=3)
LAMPS = Incoming("LAMP", "paris", 100, LATER, "PO-1")


async def announced(stockroom: Stockroom, incoming: Incoming) -> Expectation:
    async with stockroom.db.begin() as tx:
        found = await expect_incoming(tx, incoming, actor="ada", at=NOW)
    assert isinstance(found, Expectation)
    return found


async def test_units_on_their_way_count_once_by_their_reference(stockroom: Stockroom) -> None:
    first = await announced(stockroom, LAMPS)
    again = await announced(stockroom, LAMPS)
    await announced(stockroom, LAMPS._replace(sku="MUG", quantity=7))
    async with stockroom.db.begin() as tx:
        other = await expect_incoming(tx, LAMPS._replace(quantity=99), actor="ada", at=NOW)

    assert again == first
    assert other == ReferenceTaken(first)
    assert await stockroom.level("LAMP", "paris") == {"incoming": 100}
    assert await stockroom.level("MUG", "paris") == {"incoming": 7}
    assert await stockroom.adds_up()


async def test_what_is_incoming_is_what_is_still_to_come(stockroom: Stockroom) -> None:
    expected = await announced(stockroom, LAMPS)
    statuses, incoming = [], []

    async def step(after: Expectation) -> Expectation:
        statuses.append(after.status)
        incoming.append((await stockroom.level("LAMP", "paris")).get("incoming", 0))
        return after

    async def receives(before: Expectation, quantity: int) -> Expectation:
        async with stockroom.db.begin() as tx:
            after = await receive_expected(
                tx, before, quantity=quantity, damaged=1, actor="ada", at=NOW
            )
        return await step(after)

    async def changes(before: Expectation, quantity: int) -> Expectation:
        async with stockroom.db.begin() as tx:
            after = await change_expectation(
                tx, before, quantity=quantity, expected_at=LATER, actor="ada", at=NOW
            )
        return await step(after)

    expected = await receives(expected, 60)
    expected = await changes(expected, 50)
    expected = await changes(expected, 80)
    expected = await receives(expected, 5)
    async with stockroom.db.begin() as tx:
        expected = await end_expectation(tx, expected, actor="ada", at=NOW)
    expected = await step(expected)
    await receives(expected, 20)

    assert statuses == [
        IncomingStatus.PARTIALLY_RECEIVED,
        IncomingStatus.RECEIVED,
        IncomingStatus.PARTIALLY_RECEIVED,
        IncomingStatus.PARTIALLY_RECEIVED,
        IncomingStatus.CLOSED,
        IncomingStatus.CLOSED,
    ]
    assert incoming == [40, 0, 20, 15, 0, 0]
    assert await stockroom.level("LAMP", "paris") == {"on_hand": 82, "damaged": 3}
    assert await stockroom.adds_up()


async def test_what_is_coming_of_an_article_is_found_by_the_article(stockroom: Stockroom) -> None:
    async with stockroom.db.begin() as tx:
        found = await tx.execute(text(f"EXPLAIN SELECT * FROM {COMING} i WHERE i.sku = 'LAMP'"))
        plan = "\n".join(row[0] for row in found)

    assert "Subquery Scan on i" not in plan, "everything is read, then the article looked for"
