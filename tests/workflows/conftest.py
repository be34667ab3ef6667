"""A shop around each test, in which nobody works by themselves."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.world import World, a_shop


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A warehouse in Lyon with ten lamps, worked by hand."""
    async with a_shop(database_url, temporal) as world:
        await world.works_by_hand("wh-lyon")
        yield world
