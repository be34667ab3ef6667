"""A backup of the stack on one machine, and the way back.

All databases of one PostgreSQL are copied to one moment, while they are at work: the files as they
are, and the log of what changed meanwhile, to which the copy is brought when it starts. Where
Temporal keeps its runs in a file of its own, they are of the same moment only if the stack stands.
The outside keeps its own books: they are never part of a backup.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy.engine import make_url

from adapters.db.engine import connect as connect_database
from adapters.db.migrate import upgrade
from adapters.db.mode import begin_reconciling
from workers.embedded.places import free_port, unprivileged_account
from workers.embedded.postgres import Postgres, binaries, data_dir
from workers.state import load_secrets, read_running, write_private

_POSTGRES, _TEMPORAL, _LABEL = "postgres", "temporal.db", "backup.json"
_SECRETS, _SERVER = "secrets.json", "temporal.server"
_LONGEST_MINUTES = 60

Report = Callable[[str], None]
Runs = Literal["database", "file", "left_out"]


class CannotBackUp(Exception):
    """There is nothing to copy, or no place for it."""


class CannotRestore(Exception):
    """The backup is not whole, or something would be overwritten."""


class Label(BaseModel):
    """What a backup is of.

    `moment`: what was done after it may be missing. `runs`: of the same moment, in the `database`
    or in a `file`; or `left_out`, to be started again from the books.
    """

    model_config = ConfigDict(frozen=True)

    moment: datetime
    runs: Runs


def back_up(home: Path, target: Path, report: Report) -> Label:
    """Copy the stack of a home into a new folder. It may be at work.

    Raises:
        CannotBackUp: there is no data, the folder exists, or PostgreSQL refuses.
    """
    if target.exists():
        raise CannotBackUp(f"{target} exists: a backup goes into a new folder")
    if not (home / _SECRETS).exists():
        raise CannotBackUp(f"no stack has run in {home}")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    running = read_running(home)
    moment = datetime.now(UTC)
    if running is not None:
        report("copying the databases while they are at work")
        _base_backup(running.database_url, part)
        in_file = False
    else:
        in_file = _copy_standing(home, part, report)
    in_database = (home / _SERVER).exists() and (home / _SERVER).read_text().strip() == "real"
    runs: Runs = "database" if in_database else "file" if in_file else "left_out"
    label = Label(moment=moment, runs=runs)
    report("checking the copy")
    _check(part / _POSTGRES, CannotBackUp)
    _carry(home, part)
    write_private(part / _LABEL, label.model_dump_json(indent=2))
    part.rename(target)
    return label


def _carry(source: Path, target: Path) -> None:
    """Copy what the data is only of use with: secrets, and which server keeps the runs."""
    for name in (_SECRETS, _SERVER):
        if (source / name).exists():
            write_private(target / name, (source / name).read_text().rstrip("\n"))


def _base_backup(url: str, target: Path) -> None:
    """Copy a server's files, with the log that brings the copy to one moment, and a manifest."""
    where = make_url(url)
    _run(
        *(binaries() / "pg_basebackup", "-D", target / _POSTGRES, "-X", "stream", "-c", "fast"),
        "--manifest-checksums=SHA256",
        *("-h", where.host or "", "-p", str(where.port), "-U", where.username or ""),
        password=where.password or "",
        fault=CannotBackUp,
    )


def _check(copied: Path, fault: type[Exception]) -> None:
    """Compare every file with the manifest, as `pg_verifybackup` does: the wheel's own crashes."""
    manifest = json.loads((copied / "backup_manifest").read_bytes())
    for entry in manifest["Files"]:
        file = copied / entry["Path"]
        if not file.exists() or _sha256(file) != entry["Checksum"]:
            raise fault(f"{file} is not what was copied")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _copy_standing(home: Path, target: Path, report: Report) -> bool:
    """Copy a stack that stands: its database runs alone for so long. Whether runs came along."""
    report("starting the database alone, to copy it")

    async def copy(url: str) -> None:
        await asyncio.to_thread(_base_backup, url, target)

    with _kept_from_others(home, CannotBackUp):
        asyncio.run(_alone(home, copy))
        files = [*home.glob(f"{_TEMPORAL}*")]  # SQLite's log lies beside it
        for file in files:
            shutil.copy2(file, target / file.name)
    return bool(files)


@contextmanager
def _kept_from_others(home: Path, fault: type[Exception]) -> Iterator[None]:
    """Hold the lock that a stack takes on its home."""
    with (home / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise fault(f"a stack runs in {home}: stop it by `oms down`") from None
        yield


def restore(home: Path, source: Path, report: Report) -> Label:
    """Put a backup into an empty home, and let the system rest until it has been reconciled.

    Raises:
        CannotRestore: the home is not empty, or the backup is not whole.
    """
    if not (source / _LABEL).exists():
        raise CannotRestore(f"{source} holds no backup")
    label = Label.model_validate_json((source / _LABEL).read_bytes())
    report("checking the backup")
    _check(source / _POSTGRES, CannotRestore)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711 if unprivileged_account() else 0o700)
    with _kept_from_others(home, CannotRestore):
        _refuse_to_overwrite(home)
        _put_back(home, source, report)
        report("starting the database, and letting the system rest")
        asyncio.run(_alone(home, lambda url: _let_rest(url, label)))
    return label


def _refuse_to_overwrite(home: Path) -> None:
    kept = [name for name in (_SECRETS, _POSTGRES, _TEMPORAL) if (home / name).exists()]
    if kept:
        names = ", ".join(kept)
        raise CannotRestore(f"{home} holds {names}: move it away, nothing is overwritten")


def _put_back(home: Path, source: Path, report: Report) -> None:
    _carry(source, home)
    data = data_dir(home, load_secrets(home).stack_id)
    if (data / "PG_VERSION").exists():
        for name in (_SECRETS, _SERVER):
            (home / name).unlink(missing_ok=True)
        raise CannotRestore(f"{data} holds the databases of this stack: move it away first")
    report(f"copying to {data}")
    shutil.copytree(source / _POSTGRES, data, dirs_exist_ok=True)
    _give_away(data)
    for file in source.glob(f"{_TEMPORAL}*"):
        shutil.copy2(file, home / file.name)


async def _alone(home: Path, work: Callable[[str], Awaitable[None]]) -> None:
    """Run PostgreSQL of a home without the rest of the stack."""
    secrets = load_secrets(home)
    server = Postgres(
        data_dir(home, secrets.stack_id),
        password=secrets.postgres_password,
        port=free_port(),
        log=home / "log" / "postgres.log",
    )
    try:
        await server.start()
        await work(server.url())
    finally:
        await server.stop()


async def _let_rest(url: str, label: Label) -> None:
    await asyncio.to_thread(upgrade, url)
    engine = connect_database(url)
    async with engine.begin() as tx:
        await begin_reconciling(
            tx, moment=label.moment, reason="restored from a backup", now=datetime.now(UTC)
        )
    await engine.dispose()


def _give_away(data: Path) -> None:
    """Let the server's account own its data, and nobody else see it."""
    account = unprivileged_account()
    for path in (data, *data.rglob("*")):
        if account is not None:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    data.chmod(0o700)


def _run(*command: str | Path, fault: type[Exception], password: str = "") -> None:
    done = subprocess.run(
        [str(part) for part in command],
        env={"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": password},
        capture_output=True,
        text=True,
        timeout=_LONGEST_MINUTES * 60,
        check=False,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise fault(f"{Path(command[0]).name}: {told[-1]}")
