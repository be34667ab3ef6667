"""What watches a process: `/metrics` for Prometheus, `/live` and `/ready` for whoever keeps it.

They are told on a port of their own, which is not for the world: no key is asked for there. The
event loop that does the work answers, so an answer to `/live` proves that it turns.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.db.metrics import read_facts
from workers.backlog import read_backlog
from workers.relay import Relay
from workers.settings import Settings

FRESH = 5.0
"""Seconds for which what was read from the books is told again."""

RELAY_SILENT = 30.0
"""Seconds after which a relay that did not look is held to be stuck. It looks every two."""

_PATIENCE = 3.0
_LONGEST_READ = 7.0
"""Prometheus waits ten seconds: what cannot be read by then is told to be away."""

_LONGEST_REQUEST = 20.0
_JSON = "application/json"
_STATUS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}

Check = Callable[[], Awaitable[bool]]
Reader = Callable[[], Awaitable[list[Metric]]]
"""Reads facts. What cannot be reached is told as such: it does not raise."""

log = structlog.get_logger()


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    content_type: str = _JSON


class Watch:
    """What one process tells about itself.

    Args:
        readers: Facts to tell, besides what the process counts.
        checks: What must hold for it to be ready, by name. None of them may raise.
    """

    def __init__(self, readers: Sequence[Reader], checks: Mapping[str, Check]) -> None:
        self._readers, self._checks = readers, checks
        self._facts: list[Metric] = []
        self._facts_until = 0.0
        self._reading = asyncio.Lock()
        self.draining = False
        """Set when the process was told to stop: it finishes what it has, and takes no more."""

    async def answer(self, path: str) -> Answer:
        """Answer a request for one of the three pages."""
        match path:
            case "/live":
                return Answer(200, b'{"live": true}')
            case "/ready":
                return await self._ready()
            case "/metrics":
                return Answer(200, await self._metrics(), CONTENT_TYPE_LATEST)
        return Answer(404, b'{"pages": ["/live", "/ready", "/metrics"]}')

    async def _ready(self) -> Answer:
        names = list(self._checks)
        found = await asyncio.gather(*(self._checks[name]() for name in names))
        ready = all(found) and not self.draining
        told = {"ready": ready, "draining": self.draining, **dict(zip(names, found, strict=True))}
        return Answer(200 if ready else 503, json.dumps(told).encode())

    async def _metrics(self) -> bytes:
        facts = CollectorRegistry(auto_describe=False)
        facts.register(_Told(await self._read()))
        counted: bytes = generate_latest(REGISTRY)
        return counted + generate_latest(facts)

    async def _read(self) -> list[Metric]:
        async with self._reading:
            if time.monotonic() >= self._facts_until:
                read = await asyncio.gather(*(reader() for reader in self._readers))
                self._facts = [family for families in read for family in families]
                self._facts_until = time.monotonic() + FRESH
            return self._facts


class _Told:
    """Hands to prometheus_client what was read already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


async def read_books(engine: AsyncEngine) -> list[Metric]:
    """What the books say, and whether they could be read. Without them, nothing is made up."""
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(_LONGEST_READ):
            facts = await read_facts(engine, datetime.now(UTC))
        up = 1
    except (SQLAlchemyError, OSError, TimeoutError) as fault:
        log.warning("books_not_read", error=type(fault).__name__)
        facts, up = [], 0
    took = time.perf_counter() - begun
    return [
        GaugeMetricFamily("oms_database_up", "Whether the books could be read.", up),
        GaugeMetricFamily("oms_books_read_seconds", "How long reading these facts took.", took),
        *facts,
    ]


# --- what must hold -------------------------------------------------------------------------


def database_answers(engine: AsyncEngine) -> Check:
    """Whether the books can be asked."""

    async def answers() -> bool:
        try:
            async with asyncio.timeout(_PATIENCE), engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError):
            return False
        return True

    return answers


def temporal_answers(client: Client) -> Check:
    """Whether Temporal can be asked."""

    async def answers() -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await client.service_client.check_health()
        except (RPCError, RuntimeError, TimeoutError):
            return False

    return answers


def relay_looks(relay: Relay) -> Check:
    """Whether the relay looked lately, and could do what it found."""

    async def looks() -> bool:
        return relay.silent_for() < RELAY_SILENT

    return looks


# --- the port -------------------------------------------------------------------------------


@asynccontextmanager
async def watched(config: Settings, watch: Watch) -> AsyncIterator[Watch]:
    """Tell what `watch` knows on the port that the settings name, if they name one."""
    if config.metrics_port is None:
        yield watch
        return
    async with listening(watch, config.metrics_host, config.metrics_port):
        log.info("watched", host=config.metrics_host, port=config.metrics_port)
        yield watch


@asynccontextmanager
async def listening(watch: Watch, host: str, port: int) -> AsyncIterator[int]:
    """Answer requests until the end; gives the port.

    Raises:
        OSError: the port is taken.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_LONGEST_REQUEST):
                await _serve(watch, reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, host, port, limit=16_384)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _serve(watch: Watch, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read one request, whatever its headers, and answer it; the connection ends with it."""
    _, path, _ = (await reader.readuntil(b"\r\n")).decode("latin-1").split(" ", 2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    answer = await watch.answer(path.partition("?")[0])
    writer.write(
        f"HTTP/1.1 {answer.status} {_STATUS[answer.status]}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        "Connection: close\r\n\r\n".encode("latin-1")
        + answer.body
    )
    await writer.drain()


def watch_of(engine: AsyncEngine, client: Client, relay: Relay | None, queue: str) -> Watch:
    """What a worker tells: its counts, the facts of books and queues, whether it can work."""
    checks = {"database": database_answers(engine), "temporal": temporal_answers(client)}
    return Watch(
        [partial(read_books, engine), partial(read_backlog, client, queue)],
        checks | ({"relay": relay_looks(relay)} if relay else {}),
    )
