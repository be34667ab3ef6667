import os
from collections.abc import Iterator

import pytest
from temporalio.client import Client

from workers import temporal as connecting
from workers.temporal import (
    connect_patiently,
    ensure_namespace,
    ensure_search_attributes,
    missing_search_attributes,
)


async def test_the_search_attributes_are_made_once_and_found_again(temporal: Client) -> None:
    await ensure_search_attributes(temporal)

    assert await ensure_search_attributes(temporal) == []
    assert await missing_search_attributes(temporal) == []


async def test_a_namespace_is_registered_where_it_is_missing_and_left_alone_where_it_is_not(
    temporal: Client, temporal_address: str
) -> None:
    elsewhere = await Client.connect(temporal_address, namespace=f"shop-{os.urandom(4).hex()}")

    assert await ensure_namespace(elsewhere)
    assert not await ensure_namespace(elsewhere)
    assert not await ensure_namespace(temporal)


@pytest.fixture
def answers() -> Iterator[RuntimeError | str]:
    """What a server says that is just starting."""
    return iter([RuntimeError("refused"), RuntimeError("not healthy yet"), "connected"])


async def test_preparing_waits_for_a_server_that_is_just_starting(
    answers: Iterator[RuntimeError | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect() -> str:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    monkeypatch.setattr(connecting, "connect", connect)

    assert await connect_patiently(within=60) == "connected"  # type: ignore[comparison-overlap]


async def test_preparing_gives_up_on_a_server_that_does_not_come(
    answers: Iterator[RuntimeError | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect() -> None:
        answer = next(answers)
        assert isinstance(answer, RuntimeError)
        raise answer

    monkeypatch.setattr(connecting, "connect", connect)

    with pytest.raises(RuntimeError, match="refused"):
        await connect_patiently(within=-1)
