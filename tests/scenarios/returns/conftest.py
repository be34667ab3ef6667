"""The scenarios of a file share one shop; a file whose tests need one each says so itself."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.scenarios.returns.sending_back import a_shop_for_returns
from tests.world import World


@pytest.fixture(scope="module")
async def world(module_database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A warehouse and a store, in which each scenario has an article of its own."""
    async with a_shop_for_returns(module_database_url, temporal) as world:
        yield world
