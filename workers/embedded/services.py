"""What the stack on one machine consists of: each process, its surroundings, when it is ready."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from workers.duty import is_resting
from workers.embedded import cluster
from workers.embedded.places import free_port
from workers.embedded.postgres import Postgres, data_dir
from workers.embedded.processes import Child, listens
from workers.embedded.temporal import development_server
from workers.embedded.toolchains import ServerPrograms
from workers.pollers import unserved
from workers.settings import EMBEDDED, settings
from workers.state import Secrets
from workers.temporal import answers, connect_to, reachable

TEMPORAL_PORT = 7233
UI_PORT = 8233
_READY_WITHIN = 60
_GRACEFUL_SECONDS = 30  # a little more than the worker gives the calls it has begun


COMMANDS: Mapping[str, Sequence[str]] = {
    "worker": ("-m", "workers.main"),
    "api": ("-m", "api.main"),
    "simulator": ("-m", "simulator"),
}
"""What our processes are started by, here and in docker-compose.yml."""

_PORTS_OF_ITS_OWN = ("OMS_METRICS_PORT", "OMS_SDK_METRICS_PORT")


class Service(NamedTuple):
    """A process of the stack. `start` starts it and waits until it is ready."""

    child: Child
    start: Callable[[], Awaitable[None]]


class Addresses(NamedTuple):
    """Where everything of a stack is. `temporal` is ``host:port``, the others are URLs."""

    api: str
    simulator: str
    temporal: str
    temporal_ui: str | None
    database: str


class Plan(NamedTuple):
    """The services of a stack by name, and their addresses.

    `prepare_temporal`, if any, is done once PostgreSQL runs and before ``temporal`` starts.
    """

    services: dict[str, Service]
    addresses: Addresses
    prepare_temporal: Callable[[], Awaitable[None]] | None = None


def plan(
    home: Path,
    stored: Secrets,
    *,
    temporal: Path | ServerPrograms | None,
    workers: int,
    extra: Mapping[str, str],
) -> Plan:
    """Choose free ports and describe every process.

    Args:
        home: The stack's own folder.
        stored: Its secrets.
        temporal: The development server's program, or those of the real server; none uses
            ``TEMPORAL_ADDRESS``.
        workers: How many worker processes.
        extra: Added to the environment of our processes.
    """
    logs = home / "log"
    postgres = Postgres(
        data_dir(home, stored.stack_id),
        password=stored.postgres_password,
        port=free_port(),
        log=logs / "postgres.log",
        extension=temporal.extension if isinstance(temporal, ServerPrograms) else None,
    )
    api_port = free_port(settings().api_port)
    simulator_port = free_port(
        urlsplit(settings().simulator_url).port or 8090, taken=frozenset({api_port})
    )
    services = {"postgres": Service(postgres.child, postgres.start)}
    taken = frozenset({api_port, simulator_port})
    prepare = None
    match temporal:
        case None:
            address, ui = os.environ["TEMPORAL_ADDRESS"], None
        case ServerPrograms():
            address, ui, of_it = _real(temporal, home, postgres, taken)
            services |= of_it
            prepare = partial(
                cluster.prepare_stores, temporal, postgres, logs / "temporal-schema.log"
            )
        case _:
            address, ui, services["temporal"] = _development(temporal, home, taken)
    where = Addresses(
        api=f"http://127.0.0.1:{api_port}",
        simulator=f"http://127.0.0.1:{simulator_port}",
        temporal=address,
        temporal_ui=ui,
        database=postgres.url(),
    )
    services |= _ours(home, stored, where, workers, extra)
    return Plan(services, where, prepare)


def _development(program: Path, home: Path, taken: frozenset[int]) -> tuple[str, str, Service]:
    port = free_port(TEMPORAL_PORT, taken=taken)
    ui_port = free_port(UI_PORT, taken=taken | {port})
    address = f"127.0.0.1:{port}"
    server = development_server(
        program,
        port=port,
        ui_port=ui_port,
        database=home / "temporal.db",
        log=home / "log" / "temporal.log",
    )
    return address, f"http://127.0.0.1:{ui_port}", _service(server, lambda: reachable(address))


def _real(
    programs: ServerPrograms, home: Path, postgres: Postgres, taken: frozenset[int]
) -> tuple[str, str | None, dict[str, Service]]:
    ports = cluster.choose_ports(taken)
    address = f"127.0.0.1:{ports.calls['frontend']}"
    folder, logs = home / "temporal", home / "log"
    server = cluster.server(
        programs, folder, ports=ports, postgres=postgres, log=logs / "temporal.log"
    )
    services = {"temporal": _service(server, lambda: answers(address))}
    if programs.ui is None:
        return address, None, services
    ui_port = free_port(UI_PORT, taken=taken | ports.all)
    ui = cluster.user_interface(
        programs.ui, folder, address=address, port=ui_port, log=logs / "temporal-ui.log"
    )
    services["temporal-ui"] = _service(ui, lambda: listens(ui_port))
    return address, f"http://127.0.0.1:{ui_port}", services


def _ours(
    home: Path, stored: Secrets, where: Addresses, workers: int, extra: Mapping[str, str]
) -> dict[str, Service]:
    """Describe the processes made of our own code."""
    environment = _environment(home, stored, where) | dict(extra)
    api_port, simulator_port = urlsplit(where.api).port, urlsplit(where.simulator).port
    assert api_port is not None
    assert simulator_port is not None
    own_ports = partial(_own_ports, environment, set[int]())

    def process(name: str, kind: str, *options: str, patience: float = 10) -> Child:
        return Child(
            name,
            [sys.executable, *COMMANDS[kind], *options],
            log=home / "log" / f"{name}.log",
            env=environment if kind == "simulator" else environment | own_ports(),
            patience=patience,
        )

    def worker(name: str) -> Service:
        child = process(name, "worker", patience=_GRACEFUL_SECONDS)

        async def polls() -> bool:
            if await is_resting(where.database):
                return True  # it acts when the reconciliation is over: see `oms recover`
            client = await connect_to(where.temporal)
            kinds = settings().worker_kinds
            return not await unserved(
                client, settings().task_queue, kinds=kinds, pid=child.pid or 0
            )

        return _service(child, polls)

    simulator = process("simulator", "simulator", "--port", str(simulator_port))
    own = {name: worker(name) for name in worker_names(workers)}
    api = process("api", "api")
    return {
        "simulator": _service(simulator, lambda: listens(simulator_port)),
        **own,
        "api": _service(api, lambda: listens(api_port)),
    }


def _own_ports(environment: Mapping[str, str], taken: set[int]) -> dict[str, str]:
    """Give a process ports where all would listen on the same: the one asked for, or the next."""
    own = {}
    for name in _PORTS_OF_ITS_OWN:
        if wanted := environment.get(name):
            port = free_port(int(wanted), taken=frozenset(taken))
            taken.add(port)
            own[name] = str(port)
    return own


def worker_names(number: int) -> list[str]:
    """Name so many workers."""
    return [f"worker-{position}" for position in range(1, number + 1)]


def _environment(home: Path, stored: Secrets, where: Addresses) -> dict[str, str]:
    """Surround our processes: what was set outside wins over the embedded defaults."""
    return {
        **EMBEDDED,
        **os.environ,
        "OMS_HOME": str(home),
        "OMS_DATABASE_URL": where.database,
        "OMS_API_URL": where.api,
        "OMS_API_PORT": str(urlsplit(where.api).port),
        "OMS_SIMULATOR_URL": where.simulator,
        "TEMPORAL_ADDRESS": where.temporal,
        **{f"OMS_WEBHOOK_SECRETS_{k.upper()}": v for k, v in stored.webhook_secrets.items()},
        "SIM_OMS_URL": where.api,
        "SIM_BOOKS": str(home / "simulator.db"),
        **{f"SIM_SECRET_{k.upper()}": v for k, v in stored.webhook_secrets.items()},
    }


def _service(child: Child, ready: Callable[[], Awaitable[bool]]) -> Service:
    async def start() -> None:
        await child.start()
        await child.until(ready, within=_READY_WITHIN)

    return Service(child, start)
