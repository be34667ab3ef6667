"""What every test may ask for: a database of its own, Temporal, and a server that skips time.

The servers start once, when the first test asks. Tests that need none run first, while the
toolchains they would need are fetched or built beside them.

With ``OMS_TEST_TEMPORAL=real`` (`make test-real`) Temporal is the real server over the session's
PostgreSQL, and the whole stack runs on it with two workers.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from temporalio.client import Client

from adapters.db.migrate import upgrade
from workers.embedded import cluster
from workers.embedded.places import cache_dir, free_port
from workers.embedded.postgres import Postgres
from workers.embedded.processes import Child
from workers.embedded.temporal import development_server
from workers.embedded.toolchains import (
    fetch_server,
    fetch_temporal,
    fetch_test_server,
    find_temporal,
    find_test_server,
)
from workers.stack import Server, Stack
from workers.temporal import (
    answers,
    connect_to,
    data_converter,
    ensure_namespace,
    ensure_search_attributes,
    reachable,
)

# Properties are judged by what is true, not by how long a busy machine takes.
settings.register_profile("oms", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("oms")

SERVER = Server(os.environ.get("OMS_TEST_TEMPORAL") or Server.EMBEDDED)
_TEMPLATE = "template_oms"
_EXIT_STATUS = pytest.StashKey[int]()
_FETCHING = pytest.StashKey[subprocess.Popen[bytes]]()
_SERVERS = {"temporal_address", "time_skipping_path", "whole_stack"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what needs no Temporal first, in its own order."""
    items.sort(key=lambda item: bool(_SERVERS & set(getattr(item, "fixturenames", ()))))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the servers while the tests that need none run, if any test needs one."""
    wanted = any(_SERVERS & set(getattr(item, "fixturenames", ())) for item in session.items)
    has_all = (find_temporal() or os.environ.get("TEMPORAL_ADDRESS")) and find_test_server()
    if not wanted or has_all or session.config.option.collectonly:
        return
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "fetch.log").open("w") as log:
        # Left running if the session ends first: it takes a lock, and the next one needs it.
        session.config.stash[_FETCHING] = subprocess.Popen(
            [sys.executable, "-m", "workers.embedded.toolchains"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how it went, for the end below."""
    session.config.stash[_EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave at once: Temporal's client now and then crashes the interpreter at its end."""
    status = config.stash.get(_EXIT_STATUS, None)
    if status is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say a line now, past pytest's capture: fetching a server may take minutes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    return tell


@pytest.fixture(scope="session")
async def postgres(say: Callable[[str], None]) -> AsyncIterator[Postgres]:
    """One server for the session. It does not wait for the disk: tests survive no power cut."""
    home = Path(tempfile.mkdtemp(prefix="oms-pg-"))
    home.chmod(0o711)  # the server's account passes through; the data below is closed
    server = Postgres(
        home / "data",
        password="test",
        port=free_port(),
        log=home / "postgres.log",
        extension=fetch_server(say).extension if SERVER is Server.REAL else None,
        durable=False,
    )
    await server.start()
    await server.create(_TEMPLATE)
    upgrade(server.url(_TEMPLATE))
    yield server
    await server.stop()
    shutil.rmtree(home)


@pytest.fixture
async def database_url(postgres: Postgres) -> AsyncIterator[str]:
    """A fresh migrated database for one test, as ``postgresql+psycopg://…``."""
    name = f"t{os.urandom(6).hex()}"
    await postgres.create(name, template=_TEMPLATE)
    yield postgres.url(name)
    await postgres.drop(name)


@pytest.fixture(scope="module")
async def module_database_url(postgres: Postgres) -> AsyncIterator[str]:
    """A fresh migrated database that all tests of a file share."""
    name = f"m{os.urandom(6).hex()}"
    await postgres.create(name, template=_TEMPLATE)
    yield postgres.url(name)
    await postgres.drop(name)


@pytest.fixture(scope="session")
async def temporal_address(
    say: Callable[[str], None], request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """Temporal's server, knowing our search attributes, as ``host:port``.

    With ``TEMPORAL_ADDRESS`` set, that server instead.
    """
    own = os.environ.get("TEMPORAL_ADDRESS")
    if own:
        yield own
        return
    with tempfile.TemporaryDirectory(prefix="oms-temporal-") as home:
        if SERVER is Server.REAL:
            postgres = request.getfixturevalue("postgres")
            server, address = await _real_server(Path(home), postgres, say)
        else:
            server, address = await _development_server(Path(home), say)
        yield address
        await server.stop()


async def _development_server(home: Path, say: Callable[[str], None]) -> tuple[Child, str]:
    program = await asyncio.to_thread(fetch_temporal, say)
    port = free_port()
    server = development_server(program, port=port, log=home / "temporal.log")
    await server.start()
    await server.until(lambda: reachable(f"127.0.0.1:{port}"), within=60)
    return server, f"127.0.0.1:{port}"


async def _real_server(
    home: Path, postgres: Postgres, say: Callable[[str], None]
) -> tuple[Child, str]:
    programs = await asyncio.to_thread(fetch_server, say)
    await cluster.prepare_stores(programs, postgres, home / "schema.log")
    ports = cluster.choose_ports()
    server = cluster.server(
        programs, home, ports=ports, postgres=postgres, log=home / "temporal.log"
    )
    address = f"127.0.0.1:{ports.calls['frontend']}"
    await server.start()
    await server.until(lambda: answers(address), within=60)
    await ensure_namespace(await connect_to(address))
    await server.until(lambda: reachable(address), within=60)
    return server, address


@pytest.fixture(scope="session")
async def temporal(temporal_address: str) -> Client:
    """A client of the session's server, speaking pydantic."""
    client = await Client.connect(temporal_address, data_converter=data_converter())
    await ensure_search_attributes(client)
    return client


@pytest.fixture(scope="session")
def time_skipping_path(say: Callable[[str], None]) -> str:
    """The program of the time-skipping server, for ``test_server_existing_path``."""
    return str(fetch_test_server(say))


@pytest.fixture(scope="module")
async def whole_stack(say: Callable[[str], None]) -> AsyncIterator[Stack]:
    """Every process of the product, running, for the tests of one file.

    `status()` tells addresses and keys, `pids` whom to kill, `restart(name)` brings one back.
    """
    home = Path(tempfile.mkdtemp(prefix="oms-stack-"))
    home.chmod(0o711)  # PostgreSQL's account passes through
    stack = Stack(home, server=SERVER, report=say)
    await stack.start()
    yield stack
    await stack.stop()
    shutil.rmtree(home)
