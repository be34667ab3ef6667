from temporalio.client import Client

from workers.temporal import ensure_search_attributes, missing_search_attributes


async def test_the_search_attributes_are_made_once_and_found_again(temporal: Client) -> None:
    await ensure_search_attributes(temporal)

    assert await ensure_search_attributes(temporal) == []
    assert await missing_search_attributes(temporal) == []
