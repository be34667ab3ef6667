"""`oms deploy`: let new orders and those in flight follow a build, or go back to an old one."""

import asyncio
from datetime import timedelta
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError

from oms.errors import OmsError
from workers.deploying import Build, NobodyWorks, builds, make_current
from workers.settings import settings
from workers.state import read_running
from workers.temporal import connect, connect_to

REFUSED, CANNOT_TELL = 1, 3


def deploy(
    build: Annotated[
        str | None, typer.Option(help="The build; without it, the one in OMS_BUILD_ID.")
    ] = None,
    within: Annotated[
        float, typer.Option(min=0, help="How many seconds to wait for its workers.")
    ] = 60,
    status: Annotated[bool, typer.Option("--status", help="Only tell how things stand.")] = False,
) -> None:
    """Make a build of OMS_DEPLOYMENT current once its workers are there. Safe to run again.

    New orders start on it, and those in flight go on on it at their next step. To roll back, name
    an old build whose workers still run. Leaves 0 when it is current, 1 when it cannot be, 3 when
    Temporal does not answer.
    """
    try:
        if status:
            _show(asyncio.run(_builds()))
        else:
            typer.echo(asyncio.run(_deploy(build or settings().build_id, within)))
    except NobodyWorks as refused:
        _leave(REFUSED, f"Nothing is changed: {refused}.")
    except (OmsError, RPCError, RuntimeError) as fault:
        _leave(CANNOT_TELL, f"Temporal does not do it: {fault}. See `oms doctor`.")


async def _deploy(build: str | None, within: float) -> str:
    if build is None:
        _leave(REFUSED, "Name the build: set OMS_BUILD_ID, or give --build.")
    before = await make_current(
        await _client(),
        WorkerDeploymentVersion(_deployment(), build),
        task_queue=settings().task_queue,
        within=timedelta(seconds=within),
    )
    if before == build:
        return f"{build} is current already."
    return f"{build} is current now; before: {before or 'none'}."


async def _builds() -> list[Build]:
    return await builds(await _client(), _deployment(), task_queue=settings().task_queue)


async def _client() -> Client:
    running = read_running(settings().home)
    return await (connect_to(running.temporal) if running else connect())


def _deployment() -> str:
    name = settings().deployment
    if name is None:
        _leave(REFUSED, "OMS_DEPLOYMENT is not set: every worker gets work, whatever its build.")
    return name


def _show(found: list[Build]) -> None:
    table = Table("build", "", "its workers", box=None, pad_edge=False)
    for each in found:
        lacks = f"none for {', '.join(each.lacks)}" if each.lacks else "for all kinds of work"
        table.add_row(each.id, Text("current" if each.is_current else "", "green"), lacks)
    Console().print(table if found else "No worker of this deployment was ever seen.")


def _leave(code: int, words: str) -> NoReturn:
    typer.echo(words, err=True)
    raise typer.Exit(code)
