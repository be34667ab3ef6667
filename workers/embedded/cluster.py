"""A Temporal cluster of one: the real server over PostgreSQL, as processes of the stack.

What it needs is written into one folder: a configuration for the server and one for its UI. Both
are JSON, which is YAML too.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from workers.embedded.places import free_port
from workers.embedded.postgres import USER, Postgres
from workers.embedded.processes import Child, ChildFailed
from workers.embedded.toolchains import ServerPrograms
from workers.state import write_private

HISTORY_SHARDS = 4
"""Fixed for the life of its data. Four keep two cores busy; many machines want 512."""

STORES: Mapping[str, str] = {
    "temporal": "postgresql/v12/temporal",
    "temporal_visibility": "postgresql/v12/visibility",
}
"""The server's databases, with the schema of each as the schema tool names it."""

DYNAMIC: Mapping[str, Any] = {
    # A queue is spread over partitions for many matching hosts; here is one, and fewer hops.
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
    # Lists of runs, by operators and tests: ten a second is too few.
    "frontend.namespaceRPS.visibility": 100,
}

_SERVICES = {"frontend": 7233, "history": 7234, "matching": 7235, "worker": 7239}
_MEMBERSHIP = 300
"""A service's port for its peers lies so many below the one for calls, as Temporal has it."""

_PATIENCE = 20


class Ports(NamedTuple):
    """Of each service: for calls, and for its peers."""

    calls: Mapping[str, int]
    peers: Mapping[str, int]

    @property
    def all(self) -> frozenset[int]:
        """Every port that is taken."""
        return frozenset({*self.calls.values(), *self.peers.values()})


def choose_ports(taken: frozenset[int] = frozenset()) -> Ports:
    """Choose free ports for the services, none of those taken: the usual ones, or the next."""
    chosen: set[int] = set(taken)

    def choose(preferred: int) -> int:
        port = free_port(preferred, taken=frozenset(chosen))
        chosen.add(port)
        return port

    return Ports(
        calls={name: choose(port) for name, port in _SERVICES.items()},
        peers={name: choose(port - _MEMBERSHIP) for name, port in _SERVICES.items()},
    )


async def prepare_stores(programs: ServerPrograms, postgres: Postgres, log: Path) -> None:
    """Bring both databases to the schema of this server. Safe to repeat, and after a death.

    Raises:
        ChildFailed: the schema tool did not succeed; its words are in the log.
    """
    for database, schema in STORES.items():
        if await postgres.has(database):
            await _sql(programs, postgres, database, log, ["update-schema", schema])
            continue
        # Its steps are not one transaction. Half a schema must not be taken for a whole one.
        part = f"{database}_part"
        await postgres.drop(part)
        await postgres.create(part)
        await _sql(programs, postgres, part, log, ["setup-schema"])
        await _sql(programs, postgres, part, log, ["update-schema", schema])
        # The schema's version is kept under the name of its database.
        await postgres.run("UPDATE schema_version SET db_name = %s", database, database=part)
        await postgres.rename(part, database)


async def _sql(
    programs: ServerPrograms, postgres: Postgres, database: str, log: Path, what: list[str]
) -> None:
    command, *schema = what
    options = ["--schema-name", *schema] if schema else ["--version", "0.0"]
    environment = {
        **os.environ,
        "SQL_PLUGIN": "postgres12",
        "SQL_HOST": "127.0.0.1",
        "SQL_PORT": str(postgres.port),
        "SQL_USER": USER,
        "SQL_PASSWORD": postgres.password,
        "SQL_DATABASE": database,
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        tool = await asyncio.create_subprocess_exec(
            programs.sql_tool,
            command,
            *options,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        await tool.wait()
    if tool.returncode != 0:
        raise ChildFailed("temporal-sql-tool", f"could not {command} {database}", log)


def server(
    programs: ServerPrograms, folder: Path, *, ports: Ports, postgres: Postgres, log: Path
) -> Child:
    """Describe the server with all of its services in one process; writes its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    dynamic = {key: [{"value": value}] for key, value in DYNAMIC.items()}
    write_private(folder / "dynamic.yaml", json.dumps(dynamic, indent=2))
    config = _configuration(folder, ports, postgres)
    write_private(folder / "server.yaml", json.dumps(config, indent=2))
    return Child(
        "temporal",
        [programs.server, "--root", folder, "--config", ".", "--env", "server", "start"],
        log=log,
        patience=_PATIENCE,
    )


def _configuration(folder: Path, ports: Ports, postgres: Postgres) -> dict[str, Any]:
    frontend = f"127.0.0.1:{ports.calls['frontend']}"

    def store(database: str, connections: int) -> dict[str, Any]:
        return {
            "sql": {
                "pluginName": "postgres12",
                "databaseName": database,
                "connectAddr": f"127.0.0.1:{postgres.port}",
                "connectProtocol": "tcp",
                "user": USER,
                "password": postgres.password,
                # Of each of the four services.
                "maxConns": connections,
                "maxIdleConns": connections,
                "maxConnLifetime": "1h",
            }
        }

    return {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": HISTORY_SHARDS,
            "datastores": {
                "default": store("temporal", 20),
                "visibility": store("temporal_visibility", 5),
            },
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": {
            name: {
                "rpc": {
                    "grpcPort": ports.calls[name],
                    "membershipPort": ports.peers[name],
                    "bindOnLocalHost": True,
                }
            }
            for name in _SERVICES
        },
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": frontend,
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "dynamicConfigClient": {"filepath": str(folder / "dynamic.yaml"), "pollInterval": "60s"},
    }


def user_interface(program: Path, folder: Path, *, address: str, port: int, log: Path) -> Child:
    """Describe the server of the UI; writes its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "temporalGrpcAddress": address,
        "host": "127.0.0.1",
        "port": port,
        "enableUi": True,
        "defaultNamespace": "default",
        "cors": {"allowOrigins": [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]},
    }
    write_private(folder / "ui.yaml", json.dumps(config, indent=2))
    return Child(
        "temporal-ui",
        [program, "--root", folder, "--config", ".", "--env", "ui", "start"],
        log=log,
    )
