from collections.abc import AsyncIterator

import pytest

from adapters.db.engine import connect
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def stockroom(database_url: str) -> AsyncIterator[Stockroom]:
    db = connect(database_url, pool_size=20)
    try:
        stockroom = Stockroom(db)
        await stockroom.sells("LAMP", "MUG", "SOFA")
        for place in ("lyon", "nice", "paris"):
            await stockroom.has_place(place)
        yield stockroom
    finally:
        await db.dispose()
