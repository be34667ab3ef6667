"""One server that skips time for all tests of this folder, and a shop for each."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client

from tests.time.months import Month, a_month
from workers.embedded.places import free_port
from workers.embedded.processes import Child, listens
from workers.temporal import SEARCH_ATTRIBUTES, data_converter


class Skipping:
    """The server, started when first asked for, and anew after a test that failed.

    What a failed test leaves half done would hold the clock still for all that come after. The
    SDK could start it too, but gives a busy machine five seconds to do so.
    """

    def __init__(self, program: str, log: Path) -> None:
        self._program, self._log = program, log
        self._running: tuple[Child, Client] | None = None

    async def client(self) -> Client:
        if self._running is None:
            port = free_port()
            server = Child("time-skipping server", [self._program, str(port)], log=self._log)
            await server.start()
            await server.until(lambda: listens(port), within=60)
            client = await Client.connect(f"127.0.0.1:{port}", data_converter=data_converter())
            await _define_search_attributes(client)
            self._running = server, client
        return self._running[1]

    async def stop(self) -> None:
        if self._running is not None:
            await self._running[0].stop()
            self._running = None


async def _define_search_attributes(client: Client) -> None:
    """It takes no attribute that it does not know, and cannot list those it knows."""
    types = {name: IndexedValueType.ValueType(kind) for name, kind in SEARCH_ATTRIBUTES.items()}
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)
    )


@pytest.fixture(scope="session")
async def skipping(time_skipping_path: str) -> AsyncIterator[Skipping]:
    """Temporal with a clock that runs ahead whenever everybody waits."""
    with tempfile.TemporaryDirectory(prefix="oms-time-") as home:
        server = Skipping(time_skipping_path, Path(home, "server.log"))
        yield server
        await server.stop()


@pytest.fixture
async def month(
    request: pytest.FixtureRequest, database_url: str, skipping: Skipping
) -> AsyncIterator[Month]:
    """A shop whose clock the test turns."""
    failed_before = request.session.testsfailed
    async with a_month(database_url, await skipping.client()) as month:
        yield month
    if request.session.testsfailed > failed_before:
        await skipping.stop()
