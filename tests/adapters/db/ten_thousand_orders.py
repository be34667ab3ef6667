"""Ten thousand buyers place real orders for a thousand units. Too dear for every run.

`make test-buyers`.
"""

import pytest

from adapters.db.book import SqlBook
from tests.adapters.db.crowds import POLICY, deadlocks, numbers, order, served, spread, violations
from tests.adapters.db.stockroom import Stockroom


@pytest.mark.timeout(3_600)
async def test_ten_thousand_orders_sell_a_thousand_units_and_the_audit_is_clean(
    stockroom: Stockroom, database_url: str
) -> None:
    await spread(stockroom, "LAMP", locations=20, units=50)
    book, drawn = SqlBook(stockroom.db, POLICY), list(numbers(10_000))

    outcomes = await served(10_000, lambda buyer: order(stockroom, book, drawn[buyer], "LAMP"))

    assert outcomes == {True: 1_000, False: 9_000}
    assert await violations(stockroom) == []
    assert await deadlocks(stockroom, database_url) == 0
