"""A PostgreSQL for one measurement, thrown away afterwards."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.db.migrate import upgrade
from workers.embedded.places import free_port
from workers.embedded.postgres import Postgres


@asynccontextmanager
async def a_database() -> AsyncIterator[Postgres]:
    """Give a PostgreSQL of one's own, durable, with the newest schema and nothing else."""
    home = Path(tempfile.mkdtemp(prefix="oms-bench-"))
    home.chmod(0o711)  # PostgreSQL's account passes through
    server = Postgres(
        home / "data", password=secrets.token_hex(8), port=free_port(), log=home / "postgres.log"
    )
    try:
        await server.start()
        await asyncio.to_thread(upgrade, server.url())
        yield server
    finally:
        await server.stop()
        shutil.rmtree(home)
