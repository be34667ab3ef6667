"""What PostgreSQL's own tool reaches with the bare statement: what the driver costs is the rest."""

import asyncio
import os
import re
import tempfile
from pathlib import Path

from sqlalchemy.engine import make_url

_RATE = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_PROCESSES = 2


class PgBenchFailed(Exception):
    """pgbench did not say how fast it was."""


class PgBench:
    """Runs a script again and again. `program` is pgbench, `url` the database."""

    def __init__(self, program: Path, url: str) -> None:
        self._program, self._url = program, make_url(url)

    async def rate(self, script: str, *, at_once: int, seconds: float) -> float:
        """How many times a second the script can be run, `at_once` at a time.

        Raises:
            PgBenchFailed: it ended without a figure.
        """
        to = self._url
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            process = await asyncio.create_subprocess_exec(
                self._program,
                *("-h", to.host or "", "-p", str(to.port), "-U", to.username or ""),
                *("-n", "-M", "prepared", "-f", file.name, "-T", str(max(1, round(seconds)))),
                *("-c", str(at_once), "-j", str(_PROCESSES), to.database or ""),
                env={"PGPASSWORD": str(to.password), "PATH": os.defpath},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, errors = await process.communicate()
        found = _RATE.search(said.decode())
        if process.returncode or found is None:
            raise PgBenchFailed(errors.decode()[-500:])
        return float(found[1])


_TAKE_ONE = """
WITH taken AS (
  UPDATE stock_levels SET reserved = reserved + 1 WHERE {place}
    AND on_hand - reserved - allocated - safety_stock >= 1
  RETURNING sku, location
)
INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)
SELECT now(), sku, location, 'reserved', 1, 'reserve', 'pgbench:' || CAST(:key AS text)
FROM taken;
"""
_KEY = "\\set key random(1, 9000000000000000)\n"
_SKU = "'SKU-' || lpad(CAST(CAST(:{n} AS int) AS text), 6, '0')"
_PLACE = "'place-' || lpad(CAST(CAST(:{n} AS int) * 37 % 1000 AS text), 4, '0')"


def one_line(first: int, last: int) -> str:
    """The bare reservation of one article, by number."""
    place = f"sku = {_SKU.format(n='n')} AND location = {_PLACE.format(n='n')}"
    return f"\\set n random({first}, {last})\n{_KEY}{_TAKE_ONE.format(place=place)}"


def three_lines(skus: int) -> str:
    """The bare reservation of three articles, in order, so that none waits in a circle."""
    third = skus // 3
    numbers = "".join(f"\\set n{i} random({i * third}, {(i + 1) * third - 1})\n" for i in range(3))
    places = ", ".join(f"({_SKU.format(n=f'n{i}')}, {_PLACE.format(n=f'n{i}')})" for i in range(3))
    take = _TAKE_ONE.format(place=f"(sku, location) IN ({places})")
    return f"{numbers}{_KEY}{take}"
