import tempfile
from pathlib import Path

import psycopg
import pytest

from workers.embedded.places import free_port
from workers.embedded.postgres import Postgres
from workers.embedded.processes import Child, ChildFailed


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


async def test_a_second_start_finds_what_the_first_one_stored() -> None:
    with tempfile.TemporaryDirectory(prefix="oms-pg-") as folder:
        Path(folder).chmod(0o711)
        for start in ("first", "second"):
            server = Postgres(
                Path(folder) / "data", password="s3cret", port=free_port(), log=Path(folder, "log")
            )
            await server.start()
            with psycopg.connect(plain(server.url())) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS starts (name text)")
                connection.execute("INSERT INTO starts VALUES (%s)", [start])
                stored = connection.execute("SELECT name FROM starts").fetchall()
            await server.stop()

        assert stored == [("first",), ("second",)]


async def test_nobody_gets_in_without_the_password(database_url: str) -> None:
    host = plain(database_url).split("@")[1]

    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://oms:guess@{host}")


async def test_the_data_is_closed_to_other_accounts(postgres: Postgres) -> None:
    assert postgres.data.stat().st_mode & 0o777 == 0o700


async def test_a_process_that_ends_while_it_starts_says_why(tmp_path: Path) -> None:
    child = Child("parrot", ["sh", "-c", "echo no more >&2; exit 3"], log=tmp_path / "parrot.log")

    async def never() -> bool:
        return False

    await child.start()
    with pytest.raises(ChildFailed, match=r"(?s)parrot ended while it started.*no more"):
        await child.until(never, within=10)
