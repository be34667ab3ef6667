"""Every scenario gets a world of its own."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.world import World, a_shop


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop with a lamp, a warehouse in Lyon that holds ten, and nobody in a hurry."""
    async with a_shop(database_url, temporal) as world:
        yield world
