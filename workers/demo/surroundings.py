"""What a run needs around it: a stack, a fast outside world, and in the end an audit."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from adapters.http import Http
from oms.places import locate, postal_table
from workers.demo.catalogue import Catalogue, Json
from workers.stack import Server, Stack
from workers.state import Running

SPEED = 3600
"""The outside world works an hour in a second."""

_PATIENCE = timedelta(seconds=10)


class Place(NamedTuple):
    """A running stack, and whether we started it."""

    running: Running
    ours: bool


class Audit(BaseModel):
    """The answer of `oms audit --json`; it may say more."""

    model_config = ConfigDict(extra="allow")

    violations: list[Any]


class _Clock(BaseModel):
    speed: float


@asynccontextmanager
async def a_stack(
    environment: Mapping[str, str],
    report: Callable[[str], None],
    server: Server | None = None,
) -> AsyncIterator[Place]:
    """Use the stack that runs, or start one and stop it in the end.

    Args:
        environment: For the processes of a stack we start; one that runs keeps its own.
        report: Told in one line what is going on.
        server: Temporal's server for a stack we start.

    Raises:
        OtherServer, ToolMissing, ChildFailed: none runs, and none can be started.
    """
    stack = Stack(server=server, environment=environment, report=report)
    if running := stack.status():
        yield Place(running, ours=False)
        return
    running = await stack.start()
    try:
        yield Place(running, ours=True)
    finally:
        await stack.stop()


@asynccontextmanager
async def at_speed(simulator: str, speed: float = SPEED) -> AsyncIterator[None]:
    """Let the simulated locations and carriers hurry, and afterwards go on as before."""
    async with Http(simulator, timeout=_PATIENCE) as http:
        before = await http.get("/clock", {}, answer=_Clock)
        await _set_clock(http, speed)
        try:
            yield
        finally:
            await _set_clock(http, before.speed if before else 1)


@asynccontextmanager
async def a_carrier(simulator: str) -> AsyncIterator[Callable[[str, str], Awaitable[None]]]:
    """The simulated carrier, who scans a parcel (tracking number, status) when told to."""
    async with Http(simulator, timeout=timedelta(seconds=40)) as http:

        async def scan(tracking_number: str, status: str) -> None:
            path = f"/carriers/{quote(tracking_number, safe='')}/events"
            await http.exchange("POST", path, body={"status": status})

        yield scan


async def _set_clock(http: Http, speed: float) -> None:
    await http.exchange("POST", "/clock", body={"speed": speed})


def with_coordinates(catalogue: Catalogue) -> Catalogue:
    """Write into each address where its postal code lies, by the retailer's own table.

    For a stack that runs already: it was started with another table.
    """
    table = postal_table(catalogue.postal_table)

    def located(order: Json) -> Json:
        address = order["delivery"].get("address")
        if not address or "latitude" in address:
            return order
        point = locate(address["country"], address.get("postal_code"), table)
        address = address | {"latitude": point.latitude, "longitude": point.longitude}
        return order | {"delivery": order["delivery"] | {"address": address}}

    return replace(catalogue, orders=tuple(map(located, catalogue.orders)))


async def audit() -> Audit:
    """Compare all books of the stack that runs, as `oms audit` does.

    An audit that gives no answer proves nothing: that is a violation too.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.cli", "audit", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complained = await process.communicate()
    try:
        return Audit.model_validate(json.loads(said))
    except ValueError:
        words = complained.decode(errors="replace").strip()[-500:]
        return Audit(violations=[{"code": "audit_failed", "detail": words}])
