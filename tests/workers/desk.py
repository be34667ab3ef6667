"""A command line beside a running API and its database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from adapters.db.credentials import store_credential
from adapters.db.engine import connect
from api.main import create_app
from api.wiring import ApiSettings
from tests.api.conftest import no_temporal
from tests.world import serving
from workers import cli

KEY = "key-of-the-operator"


class CommandDesk:
    """Somebody's command line for one command, with files of their own."""

    def __init__(self, home: Path, http: httpx.AsyncClient, *command: str) -> None:
        self.home, self.http, self.command = home, http, command

    async def oms(self, *words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli.app, [*self.command, *words])

    def file(self, content: str, name: str = "rules.yaml") -> str:
        path = self.home / name
        path.write_text(content, encoding="utf-8")
        return str(path)


@asynccontextmanager
async def an_api(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """An API that commands find by themselves, and a client with the operator's key."""
    engine = connect(database_url)
    async with engine.begin() as tx:
        await store_credential(tx, id="operator", key=KEY, role="operator", now=datetime.now(UTC))
    async with serving(create_app(ApiSettings(), engine, no_temporal)) as url:
        monkeypatch.setenv("OMS_API_URL", url)
        monkeypatch.setenv("OMS_API_KEY", KEY)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            yield http
    await engine.dispose()
