"""Processes that end when we end, however we end."""

import asyncio
import ctypes
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from workers.embedded.places import Account

_LOG_LINES_SHOWN = 15
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec nothing may allocate or import.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildFailed(Exception):
    """A process ended, or was not ready in time. The message ends with its last log lines."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        tail = "\n".join(f"  {line}" for line in lines[-_LOG_LINES_SHOWN:])
        super().__init__(f"{name} {what}. The end of {log}:\n{tail}")
        self.name = name


class Child:
    """One process, with its log in a file.

    On Linux the kernel kills it when the thread that started it ends, so start children from the
    main thread. Elsewhere a killed supervisor leaves them behind; the next start sweeps them up.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals = signal.SIGKILL,
        patience: float = 10,
    ) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = log
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._account = account
        self._stop_signal = stop_signal
        self._orphan_signal = orphan_signal
        self._patience = patience
        self._process: asyncio.subprocess.Process | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """What surrounds it; empty where it is our own environment."""
        return self._env or {}

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it in a session of its own: Ctrl-C reaches us alone, and we end it in order."""
        assert not self.is_running, f"{self.name} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
                preexec_fn=self._die_with_parent,
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
                umask=0o077,  # what they write holds orders, and is nobody else's
            )

    def _die_with_parent(self) -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(self._orphan_signal))

    async def until(self, ready: Callable[[], Awaitable[bool]], *, within: float) -> None:
        """Wait until it is ready.

        Raises:
            ChildFailed: it ended, or was not ready within so many seconds.
        """
        deadline = asyncio.get_running_loop().time() + within
        while not await ready():
            if not self.is_running:
                raise ChildFailed(self.name, "ended while it started", self.log)
            if asyncio.get_running_loop().time() > deadline:
                raise ChildFailed(self.name, f"was not ready within {within:.0f} s", self.log)
            await asyncio.sleep(0.05)

    async def ended(self) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    def send(self, what: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None and self.is_running:
            self._process.send_signal(what)

    async def stop(self) -> None:
        """Ask it to end, wait, and insist when its patience is over. Safe to repeat."""
        if self._process is None:
            return
        self.send(self._stop_signal)
        try:
            await asyncio.wait_for(self._process.wait(), self._patience)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._process.wait()


async def listens(port: int) -> bool:
    """Whether somebody answers on a port of this machine."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
