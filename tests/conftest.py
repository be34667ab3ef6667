"""What every test may ask for: a database of its own, Temporal, and a server that skips time.

The servers start once, when the first test asks. Tests that need none run first, while the
toolchains they would need are fetched or built beside them.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.db.migrate import upgrade
from workers.embedded.places import free_port
from workers.embedded.postgres import Postgres

_TEMPLATE = "template_oms"


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """One server for the session. It does not wait for the disk: tests survive no power cut."""
    home = Path(tempfile.mkdtemp(prefix="oms-pg-"))
    home.chmod(0o711)  # the server's account passes through; the data below is closed
    server = Postgres(
        home / "data", password="test", port=free_port(), log=home / "postgres.log", durable=False
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
