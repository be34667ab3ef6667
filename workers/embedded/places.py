"""Where the embedded stack keeps things: caches outside the checkout, locks, an account."""

import asyncio
import fcntl
import os
import pwd
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from workers.settings import settings


class Account(NamedTuple):
    """Whom a process runs as."""

    name: str
    uid: int
    gid: int


def cache_dir() -> Path:
    """Where built and downloaded programs live, shared by all checkouts of this user."""
    chosen = settings().cache
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "oms"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time do a thing. The lock ends with its holder, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def locked_patiently(path: Path) -> AsyncIterator[None]:
    """Do the same without holding up the loop: whoever waits can still be told to stop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.1)
        yield


def is_locked(path: Path) -> bool:
    """Whether another process is at it, so that a person can be told why we wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def unprivileged_account() -> Account | None:
    """Whom PostgreSQL runs as: ourselves, or somebody harmless where we are root.

    PostgreSQL refuses to run as root, rightly. A machine's own ``postgres`` account is
    preferred; ``nobody`` is everywhere.

    Raises:
        LookupError: we are root, and the machine has neither account.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise LookupError("PostgreSQL cannot run as root, and there is no account `nobody`")


def can_enter(path: Path, account: Account | None) -> bool:
    """Whether the account gets through to a folder or program, and through all above it."""
    if account is None:
        return os.access(path, os.X_OK)
    # `test` is asked as that account: modes, groups and access lists all have their say.
    answer = subprocess.run(
        ["test", "-x", str(path)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    return answer.returncode == 0


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(preferred: int = 0, *, taken: frozenset[int] = frozenset()) -> int:
    """Take the preferred port or the next free one; with 0, any.

    Raises:
        LookupError: a hundred ports in a row are taken.
    """
    if preferred == 0:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port
    for port in range(preferred, preferred + 100):
        if port not in taken and is_free(port):
            return port
    raise LookupError(f"no free port from {preferred} on")
