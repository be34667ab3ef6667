"""Ten thousand orders of several lines race for scarce goods by rules. Too dear for every run.

`make test-routing`.
"""

import pytest

from tests.adapters.db.scarce import let_them_order
from tests.adapters.db.stockroom import Stockroom


@pytest.mark.timeout(7_200)
async def test_ten_thousand_orders_that_race_by_rules_sell_what_is_there_and_the_audit_is_clean(
    stockroom: Stockroom, database_url: str
) -> None:
    outcome = await let_them_order(stockroom, database_url, orders=10_000, seed=2)

    print(f"\n{outcome}")
    assert min(outcome.served, outcome.refused, outcome.divided) > 500
