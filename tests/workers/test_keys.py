"""Keys are made for the system that runs here, with as much reach as was asked for."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.workers.desk import CommandDesk, an_api
from workers import cli


async def test_a_key_is_made_for_the_stack_that_runs_here(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = SimpleNamespace(database_url=database_url)
    monkeypatch.setattr(cli, "read_running", lambda home: here)
    async with an_api(database_url, monkeypatch) as http:
        made = await CommandDesk(tmp_path, http, "key").oms("channel", "--name", "till-lyon")

        key = {"Authorization": f"Bearer {made.stdout.strip()}"}
        orders = await http.get("/v1/orders", headers=key)
        policy = await http.get("/v1/return-policy", headers=key)

    assert made.exit_code == 0, made.output
    assert orders.status_code == 200
    assert policy.status_code == 403, "a channel's key, and no more"
