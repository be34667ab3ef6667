"""The whole product on one machine: PostgreSQL, Temporal, simulator, worker and API.

One supervisor starts them in order, keeps them running and stops them in order. A process that
dies is started again, with a notice; one that keeps dying stops the stack.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import psutil

from adapters.db.credentials import store_credential
from adapters.db.engine import connect as connect_database
from adapters.db.migrate import upgrade
from workers.embedded.places import cache_dir, locked_patiently, unprivileged_account
from workers.embedded.processes import Child, ChildFailed
from workers.embedded.services import Plan, plan
from workers.embedded.toolchains import ServerPrograms, fetch_server, fetch_temporal
from workers.settings import settings
from workers.state import (
    Process,
    Running,
    Secrets,
    load_secrets,
    read_left_over,
    read_running,
    write_private,
)
from workers.temporal import (
    connect_to,
    ensure_namespace,
    ensure_retention,
    ensure_search_attributes,
    reachable,
)

STOP_ORDER = ("worker", "api", "simulator", "temporal-ui", "temporal", "postgres")
"""Workers first: what they have begun they may still finish, with everybody there to hear of it."""

WORKER = STOP_ORDER[0]
_DEATHS_ALLOWED = 5
_DEATHS_WITHIN = 60.0  # seconds
RESTART_PAUSE = 0.5  # seconds, times the deaths before


class AlreadyRunning(Exception):
    """A stack runs in this home already."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"a stack runs in {home} already: see `oms status`, stop it by `oms down`")


class Server(StrEnum):
    """Which Temporal a stack runs on.

    The embedded one is Temporal's development server over a file; the real one is what a cluster
    runs, over PostgreSQL.
    """

    EMBEDDED = "embedded"
    REAL = "real"


class OtherServer(Exception):
    """The runs of this home are kept by the other server."""

    def __init__(self, home: Path, keeps: Server) -> None:
        super().__init__(
            f"the runs in {home} are kept by the {keeps} server: say --server {keeps},"
            " or name another home by OMS_HOME"
        )


class Stack:
    """The processes of one home, supervised by the process that started them.

    Use it from the main thread: the kernel ends the children with the thread that started them.

    Args:
        home: State, data and logs; by default ``.oms`` in the checkout (``OMS_HOME``).
        server: The Temporal server; by default the one that keeps this home's runs.
        workers: How many worker processes; by default one, and two on the real server.
        environment: Added to the environment of our processes, over the embedded defaults.
        report: Told in one line what is going on.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        server: Server | None = None,
        workers: int | None = None,
        environment: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.home = (home or settings().home).resolve()
        self.failed = asyncio.Event()
        """Set when a process keeps dying and the stack is of no more use."""
        self._server = server
        self._workers = workers
        self._environment = dict(environment or {})
        self._report = report
        self._plan: Plan | None = None
        self._secrets: Secrets | None = None
        self._guards: dict[str, asyncio.Task[None]] = {}
        self._lock: IO[str] | None = None
        self._postgres_runs = asyncio.Event()

    def status(self) -> Running | None:
        """What runs in this home, whoever started it; none when nothing does."""
        return read_running(self.home)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what runs now, by name."""
        services = self._plan.services if self._plan else {}
        return {name: service.child.pid for name, service in services.items() if service.child.pid}

    async def start(self) -> Running:
        """Start everything and wait until all of it is ready.

        Raises:
            AlreadyRunning: a stack runs in this home, perhaps somebody else's.
            OtherServer: its runs are kept by another server than the one asked for.
            ToolMissing: Temporal cannot be had on this machine.
            ChildFailed: a process does not come up; nothing is left running.
        """
        self._take_home()
        self._postgres_runs.clear()
        try:
            sweep(self.home)
            await self._start_all()
        except BaseException:
            await self.stop()
            raise
        running = read_left_over(self.home)
        assert running is not None
        return running

    async def stop(self) -> None:
        """Stop everything in order. Safe to repeat, and after a start that failed."""
        for name in list(self._guards):
            await self._unguard(name)
        for kind in STOP_ORDER:
            children = [self._child(name) for name in self._named(kind)]
            running = [child for child in children if child.is_running]
            for child in running:
                self._report(f"stopping {child.name}")
            await asyncio.gather(*(child.stop() for child in running))
        (self.home / "state.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def kill(self, kind: str) -> None:
        """End a process, or all workers, as ``kill -9`` does, and leave it down until `restart`."""
        for name in self._named(kind):
            await self._unguard(name)
            self._child(name).send(signal.SIGKILL)
            await self._child(name).ended()
        self._write_state()

    async def restart(self, kind: str) -> None:
        """Stop a process, or all workers, unless it is down already, and start it again.

        Raises:
            ChildFailed: it does not come up again.
        """
        for name in self._named(kind):
            await self._unguard(name)
            await self._child(name).stop()
            await self._up(name)
        self._write_state()

    def _named(self, kind: str) -> list[str]:
        """Name the processes of a kind: the one of this name, or all workers."""
        names = self._plan.services if self._plan else {}
        return [name for name in names if kind in (name, kind_of(name))]

    def _child(self, name: str) -> Child:
        assert self._plan is not None
        return self._plan.services[name].child

    def _take_home(self) -> None:
        # The server's account passes through to its data; what lies here is closed one by one.
        mode = 0o711 if unprivileged_account() else 0o700
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(mode)
        lock = (self.home / "stack.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise AlreadyRunning(self.home) from None
        self._lock = lock

    async def _start_all(self) -> None:
        own_temporal = os.environ.get("TEMPORAL_ADDRESS")
        if own_temporal and self._server:
            self._report(f"TEMPORAL_ADDRESS={own_temporal} is used, not the {self._server} server")
        programs = None if own_temporal else await self._programs()
        workers = self._workers or (2 if isinstance(programs, ServerPrograms) else 1)
        self._secrets = load_secrets(self.home)
        # Two stacks that start at once must not choose the same ports.
        async with locked_patiently(cache_dir() / "ports.lock"):
            self._plan = plan(
                self.home,
                self._secrets,
                temporal=programs,
                workers=workers,
                extra=self._environment,
            )
            await _all(self._database(), self._temporal(), self._up("simulator"))
            await _all(*(self._up(name) for name in self._named(WORKER)), self._up("api"))
        self._write_state()

    async def _programs(self) -> Path | ServerPrograms:
        """Find or fetch the programs of the Temporal server that keeps this home's runs."""
        fetch = fetch_server if self._kept_by() is Server.REAL else fetch_temporal
        return await asyncio.to_thread(fetch, self._report)

    def _kept_by(self) -> Server:
        """Say which server keeps the runs of this home, and remember it for good."""
        note = self.home / "temporal.server"
        if note.exists():
            kept = Server(note.read_text().strip())
        elif (self.home / "temporal.db").exists():
            kept = Server.EMBEDDED
        else:
            kept = self._server or Server.EMBEDDED
        if self._server not in (None, kept):
            raise OtherServer(self.home, kept)
        write_private(note, kept)
        return kept

    async def _database(self) -> None:
        await self._up("postgres")
        self._postgres_runs.set()
        assert self._plan is not None
        assert self._secrets is not None
        url = self._plan.addresses.database
        self._report("migrating the database")
        await asyncio.to_thread(upgrade, url)
        database = connect_database(url)
        async with database.begin() as tx:
            for role, key in self._secrets.keys.items():
                await store_credential(
                    tx, id=f"embedded-{role}", key=key, role=role, now=datetime.now(UTC)
                )
        await database.dispose()

    async def _temporal(self) -> None:
        assert self._plan is not None
        address = self._plan.addresses.temporal
        if "temporal" in self._plan.services:
            if self._plan.prepare_temporal is not None:
                await self._postgres_runs.wait()
                self._report("preparing Temporal's databases")
                await self._plan.prepare_temporal()
            await self._up("temporal")
            await ensure_namespace(await connect_to(address))
            await self._child("temporal").until(lambda: reachable(address), within=60)
            retention = timedelta(days=settings().retention_days)
            await ensure_retention(await connect_to(address), retention)
        if "temporal-ui" in self._plan.services:
            await self._up("temporal-ui")
        await ensure_search_attributes(await connect_to(address))

    async def _up(self, name: str) -> None:
        assert self._plan is not None
        self._report(f"starting {name}")
        await self._plan.services[name].start()
        self._guards[name] = asyncio.create_task(self._guard(name))

    async def _guard(self, name: str) -> None:
        """Start a process again whenever it dies, until it does so too often."""
        assert self._plan is not None
        service = self._plan.services[name]
        clock = asyncio.get_running_loop().time
        deaths: list[float] = []
        while True:
            code = await service.child.ended()
            deaths = [when for when in deaths if when > clock() - _DEATHS_WITHIN] + [clock()]
            if len(deaths) > _DEATHS_ALLOWED:
                self._report(f"{name} keeps dying: see {service.child.log}")
                self.failed.set()
                return
            self._report(f"{name} died ({_reason(code)}); starting it again")
            await asyncio.sleep(RESTART_PAUSE * (len(deaths) - 1))
            try:
                await service.start()
            except ChildFailed as failed:
                self._report(str(failed))
                await service.child.stop()
            self._write_state()

    async def _unguard(self, name: str) -> None:
        guard = self._guards.pop(name, None)
        if guard is not None:
            guard.cancel()
            await asyncio.gather(guard, return_exceptions=True)

    def _write_state(self) -> None:
        if self._plan is None or self._secrets is None:
            return
        where = self._plan.addresses
        running = Running(
            api=where.api,
            simulator=where.simulator,
            temporal_ui=where.temporal_ui,
            keys=self._secrets.keys,
            webhook_secrets=self._secrets.webhook_secrets,
            temporal=where.temporal,
            database_url=where.database,
            supervisor=os.getpid(),
            processes={},
        )
        running = state_of(running, self.pids)
        write_private(self.home / "state.json", running.model_dump_json(indent=2))


async def _all(*steps: Coroutine[Any, Any, None]) -> None:
    """Do the steps side by side; the first that fails stops the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


def kind_of(name: str) -> str:
    """Say what a process is: ``worker-2`` is a ``worker``."""
    return WORKER if name.startswith(f"{WORKER}-") else name


def sweep(home: Path) -> None:
    """End what a supervisor that was killed left behind. Only where the kernel did not.

    Called by the holder of the home's lock: what the state file names is nobody's any more.
    """
    left = read_left_over(home)
    if left is None:
        return
    for known in left.processes.values():
        try:
            process = psutil.Process(known.pid)
            if abs(process.create_time() - known.started) < 1:
                process.kill()
                process.wait(timeout=10)
        except psutil.NoSuchProcess:
            continue
    (home / "state.json").unlink()


def stop_running(home: Path, *, within: float = 60) -> bool:
    """Ask the supervisor of a home to stop everything, and wait until it has.

    Returns:
        Whether anything ran.

    Raises:
        TimeoutError: it is still there after so many seconds.
    """
    running = read_running(home)
    if running is None:
        return False
    try:
        supervisor = psutil.Process(running.supervisor)
        supervisor.terminate()
        supervisor.wait(timeout=within)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        raise TimeoutError(f"the stack has not stopped within {within:.0f} s") from None
    return True


def state_of(running: Running, pids: Mapping[str, int]) -> Running:
    """Say which processes run now, each with the time it started."""
    found = {}
    for name, pid in pids.items():
        with contextlib.suppress(psutil.NoSuchProcess):  # it died this moment
            found[name] = Process(pid=pid, started=psutil.Process(pid).create_time())
    return running.model_copy(update={"processes": found})


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
