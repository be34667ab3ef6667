"""Programs the embedded stack needs, found or fetched by the first way that works."""

import os
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from workers.embedded.places import cache_dir, is_locked, locked

Report = Callable[[str], None]
"""Says in one line what is being done now."""

_TELL_EVERY = 5  # seconds
REQUIREMENTS = Path(__file__).with_name("requirements")


class NotHad(Exception):
    """One way did not work; the message says why in a few words."""


class ToolMissing(Exception):
    """No way worked. Says what was tried and what a person can do."""

    def __init__(self, tool: str, tried: Sequence[str], advice: str) -> None:
        lines = "\n".join(f"  - {line}" for line in tried)
        super().__init__(f"{tool} could not be had. Tried:\n{lines}\n{advice}")
        self.tool, self.tried, self.advice = tool, tuple(tried), advice


class Way(NamedTuple):
    """One way to get a program into a folder of its own."""

    name: str
    into: Callable[[Path, Report], None]


class Tool(NamedTuple):
    """A program, where it is looked for and how it is fetched.

    Attributes:
        name: As people know it.
        folder: Its folder in the cache, named by version.
        program: Its file in there.
        ways: How to fetch it, the quickest first.
        advice: What a person can do when none works.
    """

    name: str
    folder: str
    program: str
    ways: Sequence[Way]
    advice: str

    @property
    def cached(self) -> Path:
        """Where it lies once it was fetched."""
        return cache_dir() / self.folder / self.program

    def find(self) -> Path | None:
        """Look in the cache. Takes no time."""
        return self.cached if os.access(self.cached, os.X_OK) else None

    def fetch(self, report: Report) -> Path:
        """Find it, or fetch it while others who want it wait for us.

        Raises:
            ToolMissing: no way worked.
        """
        if found := self.find():
            return found
        lock = cache_dir() / f"{self.folder}.lock"
        if is_locked(lock):
            report(f"{self.name}: another process is fetching it; waiting")
        with locked(lock):
            return self.find() or self._try_all(report)

    def _try_all(self, report: Report) -> Path:
        tried = [f"{self.cached}: not there"]
        part = cache_dir() / f"{self.folder}.part"
        for way in self.ways:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                way.into(part, report)
            except NotHad as why:
                tried.append(f"{way.name}: {why}")
                continue
            target = cache_dir() / self.folder
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
            report(f"{self.name}: ready, by {way.name}")
            return self.cached
        shutil.rmtree(part, ignore_errors=True)
        raise ToolMissing(self.name, tried, self.advice)


def run(
    command: Sequence[str | Path],
    report: Report,
    doing: str,
    *,
    env: Mapping[str, str] | None = None,
    within: float,
    silent_for: float | None = None,
    alive: Callable[[], object] | None = None,
) -> str:
    """Run a command, say how far it is every few seconds, and return what it printed.

    Args:
        command: What to run.
        report: Told `doing` with the time it took so far.
        doing: What a person reads meanwhile.
        env: Added to our environment.
        within: Seconds after which it is ended.
        silent_for: Seconds without a sign of life after which it is ended.
        alive: Its value changes as long as the command gets on.

    Raises:
        NotHad: it failed, took too long or got stuck.
    """
    started = moved = told = time.monotonic()
    seen: object = None
    output = b""
    with (
        subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if selector.select(timeout=1):
                chunk = os.read(process.stdout.fileno(), 65_536)
                if not chunk:
                    break
                output, moved = output + chunk, now
            if alive is not None and (sign := alive()) != seen:
                seen, moved = sign, now
            if now - told >= _TELL_EVERY:
                report(f"{doing} ({now - started:.0f} s, {output.count(10)} steps)")
                told = now
            if now - started > within or (silent_for and now - moved > silent_for):
                process.kill()
                raise NotHad(f"nothing came of it in {now - started:.0f} s")
    text = output.decode(errors="replace")
    if process.returncode != 0:
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
        raise NotHad(last[-300:] or f"exit code {process.returncode}")
    return text


def pip_install(requirements: str, into: Path, report: Report) -> Path:
    """Install one of our hashed lists into a folder of its own, once.

    Raises:
        NotHad: the package registry is not reached, or has other files than we know.
    """
    if into.exists():
        return into
    part = into.with_name(into.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--no-warn-script-location", "--target", part, "-r", REQUIREMENTS / requirements),
    ]
    run(command, report, f"installing {requirements.removesuffix('.txt')}", within=900)
    part.rename(into)
    return into
