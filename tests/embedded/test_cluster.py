"""What surrounds the real server, without the server: `make test-real` runs it."""

import json
import stat
import sys
from pathlib import Path

import pytest

from workers.embedded import cluster
from workers.embedded.postgres import Postgres
from workers.embedded.processes import ChildFailed
from workers.embedded.toolchains import ServerPrograms

_PRETENDED = """#!{python}
import os, sys, psycopg
from pathlib import Path
url = "host={{SQL_HOST}} port={{SQL_PORT}} user={{SQL_USER}} password={{SQL_PASSWORD}}"
where = (url + " dbname={{SQL_DATABASE}}").format(**os.environ)
with psycopg.connect(where, autocommit=True) as database:
    if sys.argv[1] == "setup-schema":
        database.execute("CREATE TABLE schema_version (db_name text)")
        database.execute("INSERT INTO schema_version VALUES (%s)", [os.environ["SQL_DATABASE"]])
    else:
        database.execute("CREATE TABLE IF NOT EXISTS executions (id int)")
if Path({dies!r}).exists():
    sys.exit("killed half-way")
"""


@pytest.fixture
def dies(tmp_path: Path) -> Path:
    """While this file exists, the schema tool dies at its first step."""
    return tmp_path / "dies"


@pytest.fixture
def programs(tmp_path: Path, dies: Path) -> ServerPrograms:
    """A schema tool that makes one table, as the real one makes forty."""
    tool = tmp_path / "temporal-sql-tool"
    tool.write_text(_PRETENDED.format(python=sys.executable, dies=str(dies)))
    tool.chmod(0o755)
    return ServerPrograms(tmp_path / "temporal-server", tool, None, tmp_path)


async def test_half_a_schema_is_never_taken_for_a_whole_one(
    postgres: Postgres,
    programs: ServerPrograms,
    dies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Other names than the real server's, which may run on the same PostgreSQL.
    monkeypatch.setattr(cluster, "STORES", {"half": "a/schema", "half_visibility": "another"})
    log = tmp_path / "schema.log"
    dies.touch()
    with pytest.raises(ChildFailed, match="killed half-way"):
        await cluster.prepare_stores(programs, postgres, log)
    assert not await postgres.has("half")

    dies.unlink()
    await cluster.prepare_stores(programs, postgres, log)
    await cluster.prepare_stores(programs, postgres, log)

    for database in cluster.STORES:
        # The server looks its schema up by the name of its database.
        await postgres.run(
            "DO $$ BEGIN ASSERT (SELECT db_name = current_database() FROM schema_version); END $$",
            database=database,
        )
        await postgres.drop(database)
        assert not await postgres.has(f"{database}_part")


def test_the_servers_configuration_holds_a_password_and_is_closed_to_others(
    postgres: Postgres, programs: ServerPrograms, tmp_path: Path
) -> None:
    folder = tmp_path / "temporal"

    cluster.server(
        programs, folder, ports=cluster.choose_ports(), postgres=postgres, log=tmp_path / "log"
    )

    written = folder / "server.yaml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    stores = json.loads(written.read_text())["persistence"]["datastores"].values()
    assert {store["sql"]["password"] for store in stores} == {postgres.password}


def test_no_two_services_get_the_same_port() -> None:
    taken = frozenset({7233, 7234})

    ports = cluster.choose_ports(taken)

    assert len(ports.all) == 8
    assert not ports.all & taken
