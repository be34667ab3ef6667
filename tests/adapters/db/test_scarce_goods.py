"""Orders of several lines race for scarce goods by routing rules.

`make test-routing` lets ten thousand do it.
"""

from tests.adapters.db.scarce import let_them_order
from tests.adapters.db.stockroom import Stockroom


async def test_orders_that_race_by_rules_sell_what_is_there_and_none_is_refused_for_nothing(
    stockroom: Stockroom, database_url: str
) -> None:
    outcome = await let_them_order(stockroom, database_url, orders=160, seed=1)

    assert min(outcome.served, outcome.refused, outcome.divided) > 10
