from collections.abc import AsyncIterator

import pytest

from tests.outside import Outside, an_outside


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with an_outside() as running:
        yield running
