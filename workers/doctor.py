"""What is missing or unreachable, and the command that fixes it."""

import asyncio
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import psycopg
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.db.engine import connect as connect_database
from adapters.db.master import LOCATIONS, get
from adapters.db.migrate import is_current
from adapters.db.return_policies import current_policy
from adapters.db.rule_sets import list_rule_sets, missing_rates
from oms.rule_checks import read_rule_set
from oms.rules import RuleSet
from workers.duty import is_resting
from workers.embedded.obtain import ToolMissing
from workers.embedded.places import is_free
from workers.embedded.postgres import PostgresMissing, binaries
from workers.embedded.services import TEMPORAL_PORT, UI_PORT
from workers.embedded.toolchains import (
    TEMPORAL,
    TEST_SERVER,
    find_server,
    find_test_server,
    temporal_on_path,
)
from workers.pollers import passed_over, unserved
from workers.settings import settings
from workers.stack import WORKER, kind_of
from workers.state import Running
from workers.temporal import connect_to, missing_search_attributes
from workflows.queues import queue_for

_START = "make up"
_FETCH = ".venv/bin/oms setup"
_DEPLOY = ".venv/bin/oms deploy"
_RULES = "routing rules"
_RETURNS = "return policy"


class Health(StrEnum):
    """How a thing is. Only `broken` makes the doctor's verdict bad."""

    GOOD = "good"
    NOTE = "note"
    BROKEN = "broken"


class Finding(NamedTuple):
    """One thing looked at. `fix` is a command, empty where there is nothing to fix."""

    what: str
    health: Health
    detail: str
    fix: str = ""


def good(what: str, detail: str) -> Finding:
    """Report a thing as it should be."""
    return Finding(what, Health.GOOD, detail)


def broken(what: str, detail: str, fix: str) -> Finding:
    """Report a thing the product cannot do without."""
    return Finding(what, Health.BROKEN, detail, fix)


async def examine(running: Running | None) -> list[Finding]:
    """Look at the machine and at what runs on it.

    Args:
        running: The stack of this home. Without one, the servers that the environment names.
    """
    machine = [_python(), _postgres_programs(), _temporal_program(), _real_server()]
    machine += [_test_server(), _java()]
    if running is None:
        machine.append(_ports())
    return machine + await _servers(_Targets.of(running))


class _Targets(NamedTuple):
    database: str | None
    temporal: str | None
    api: str | None
    simulator: str | None
    workers: Mapping[str, int | None]
    stack: Running | None

    @classmethod
    def of(cls, running: Running | None) -> "_Targets":
        if running is not None:
            known = running.processes.items()
            workers = {name: process.pid for name, process in known if kind_of(name) == WORKER}
            return cls(
                running.database_url,
                running.temporal,
                running.api,
                running.simulator,
                workers or {WORKER: None},
                running,
            )
        named = os.environ
        return cls(
            settings().database_url.get_secret_value() if "OMS_DATABASE_URL" in named else None,
            named.get("TEMPORAL_ADDRESS"),
            named.get("OMS_API_URL"),
            named.get("OMS_SIMULATOR_URL"),
            {WORKER: None},
            None,
        )


def _python() -> Finding:
    # An older one would not have come this far: `make setup` looks for one that is new enough.
    return good("Python", f"{platform.python_version()}, {sys.executable}")


def _postgres_programs() -> Finding:
    try:
        return good("PostgreSQL's programs", str(binaries()))
    except PostgresMissing:
        return broken("PostgreSQL's programs", "not installed", "make setup")


def _temporal_program() -> Finding:
    what = "Temporal's program"
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        return good(what, f"not needed: TEMPORAL_ADDRESS={address}")
    if found := temporal_on_path() or TEMPORAL.find():
        return good(what, str(found))
    return broken(what, "neither on the PATH nor in the cache", _FETCH)


def _real_server() -> Finding:
    what = "Temporal's real server"
    try:
        found = find_server()
    except ToolMissing as missing:
        return Finding(what, Health.NOTE, missing.tried[0], "unset OMS_TEMPORAL_SERVER")
    if found is None:
        return Finding(
            what,
            Health.NOTE,
            "not built yet; only --server real needs it",
            f"{_FETCH} --server real",
        )
    return good(what, f"{found.server}" + ("" if found.ui else "; no UI"))


def _test_server() -> Finding:
    what = "time-skipping server"
    try:
        found = find_test_server()
    except ToolMissing as missing:
        return Finding(what, Health.NOTE, missing.tried[0], "unset OMS_TEST_SERVER")
    if found is None:
        return Finding(what, Health.NOTE, "not fetched yet; only tests need it", _FETCH)
    return good(what, str(found))


def _java() -> Finding:
    found = shutil.which("java")
    if found:
        return good("Java", found)
    if TEST_SERVER.find():
        return good("Java", "from PyPI, for the time-skipping server")
    return Finding("Java", Health.NOTE, "not on the PATH; fetched from PyPI for tests", _FETCH)


def _ports() -> Finding:
    wanted = (settings().api_port, 8090, TEMPORAL_PORT, UI_PORT)
    taken = [str(port) for port in wanted if not is_free(port)]
    if taken:
        detail = f"{', '.join(taken)} taken: the next free ones will be used"
        return Finding("ports", Health.NOTE, detail)
    return good("ports", "the usual ones are free")


async def _servers(where: _Targets) -> list[Finding]:
    looks: Sequence[tuple[str, str | None, Callable[[str], Awaitable[list[Finding]]]]] = (
        ("database", where.database, _database),
        ("Temporal", where.temporal, lambda address: _temporal(address, where.workers)),
        ("API", where.api, lambda url: _http("API", f"{url}/ready")),
        ("simulator", where.simulator, lambda url: _http("simulator", f"{url}/faults")),
    )
    found: list[Finding] = []
    for what, target, look in looks:
        if target is None:
            found.append(broken(what, "does not run", _START))
        else:
            found += await look(target)
    return found


async def _database(url: str) -> list[Finding]:
    try:
        connection = await psycopg.AsyncConnection.connect(
            url.replace("+psycopg", "", 1), connect_timeout=3
        )
    except psycopg.OperationalError as failed:
        return [broken("database", _first_line(failed), _START)]
    await connection.close()
    try:
        current = await asyncio.to_thread(is_current, url)
    except OperationalError as failed:
        return [broken("database", _first_line(failed), _START)]
    migrations = (
        good("migrations", "newest")
        if current
        else broken("migrations", "some are missing", ".venv/bin/oms prepare")
    )
    if await is_resting(url):
        detail = "rests after a restore: no order is taken and nothing acts"
        return [good("database", "answers"), migrations, broken("mode", detail, "oms recover")]
    if not current:
        return [good("database", "answers"), migrations]
    rules = [await routing_rules(url), await return_policy(url)]
    return [good("database", "answers"), migrations, *rules]


async def routing_rules(url: str) -> Finding:
    """Say which rules route, and whom they leave out because they cannot count its money."""
    engine = connect_database(url)
    try:
        async with engine.connect() as tx:
            active = await list_rule_sets(tx, after=None, limit=1, active=True)
            if not active:
                return good(_RULES, "the default: fewest parcels, then nearest")
            name = f"{active[0]['id']} v{active[0]['version']}"
            rules = read_rule_set(active[0]["document"])
            if not isinstance(rules, RuleSet):
                detail = f"{name} cannot be read, so the default routes"
                return broken(_RULES, detail, ".venv/bin/oms routing rollback")
            missing = await missing_rates(tx, rules)
    finally:
        await engine.dispose()
    if not missing:
        return good(_RULES, name)
    put = f".venv/bin/oms routing put {active[0]['id']} FILE --activate"
    return Finding(_RULES, Health.NOTE, f"{name}: {' '.join(each.detail for each in missing)}", put)


async def return_policy(url: str) -> Finding:
    """Say which return policy stands, and whether goods can be sent where it says."""
    engine = connect_database(url)
    try:
        async with engine.connect() as tx:
            stands = await current_policy(tx)
            to = stands.policy.return_to
            place = None if to is None else await get(tx, LOCATIONS, to)
    except ValidationError:
        detail = "the newest version cannot be read, so nothing can be returned"
        return broken(_RETURNS, detail, ".venv/bin/oms returns policy put FILE")
    finally:
        await engine.dispose()
    name = "the usual one: 30 days for everything" if not stands.version else f"v{stands.version}"
    if to is None or (place is not None and place["active"]):
        return good(_RETURNS, name)
    detail = f"{name}: parcels go to {to}, which is closed, so none can be asked for"
    return broken(_RETURNS, detail, ".venv/bin/oms returns policy put FILE")


async def _temporal(address: str, workers: Mapping[str, int | None]) -> list[Finding]:
    try:
        client = await asyncio.wait_for(connect_to(address), timeout=5)
        missing = await missing_search_attributes(client)
    except (RuntimeError, RPCError, TimeoutError) as failed:
        return [broken("Temporal", f"{address}: {_first_line(failed)}", _START)]
    attributes = (
        broken("search attributes", f"missing: {', '.join(missing)}", ".venv/bin/oms prepare")
        if missing
        else good("search attributes", "all there")
    )
    return [
        good("Temporal", f"{address} answers"),
        attributes,
        *[await _worker(client, name, pid) for name, pid in workers.items()],
    ]


async def _worker(client: Client, name: str, pid: int | None) -> Finding:
    queue = settings().task_queue
    lacking = await unserved(client, queue, pid=pid)
    if lacking:
        queues = ", ".join(queue_for(kind, orders=queue) for kind in lacking)
        return broken(name, f"does not ask for work: {queues}", _START)
    if idle := await passed_over(client, queue):
        builds = ", ".join(repr(build) if build else "workers without one" for build in idle)
        return broken(name, f"asks in vain: the current build is {builds}", _DEPLOY)
    return good(name, f"asks the queue {queue!r} and those beside it for work")


async def _http(what: str, url: str) -> list[Finding]:
    def ask() -> int:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as answered:
            return answered.code

    try:
        status = await asyncio.to_thread(ask)
    except OSError as failed:
        return [broken(what, f"{url}: {_first_line(failed)}", _START)]
    if status >= 500:
        return [broken(what, f"{url} answers {status}", "see .oms/log")]
    return [good(what, f"{url} answers")]


def _first_line(failed: BaseException) -> str:
    return (str(failed).splitlines() or [type(failed).__name__])[0]
