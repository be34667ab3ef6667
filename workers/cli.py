"""The command line `oms`."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adapters.db.credentials import EVERYTHING, ROLES, store_credential
from adapters.db.engine import connect as connect_database
from adapters.db.migrate import upgrade
from oms.errors import BadSetting
from oms.words import count_of
from workers import (
    commands_closing,
    commands_order,
    commands_recover,
    commands_returns,
    commands_routing,
    commands_stock,
)
from workers.audit_command import audit
from workers.bench import command as bench
from workers.commands_backup import backup, restore
from workers.demo.command import demo
from workers.deploy_command import deploy
from workers.doctor import Finding, Health, examine
from workers.embedded.obtain import ToolMissing
from workers.embedded.processes import ChildFailed
from workers.embedded.toolchains import fetch_all
from workers.encryption import new_codec_key
from workers.settings import settings
from workers.stack import AlreadyRunning, OtherServer, Server, Stack, stop_running
from workers.state import Running, new_key, read_running
from workers.temporal import (
    connect_patiently,
    ensure_namespace,
    ensure_retention,
    ensure_search_attributes,
)

app = typer.Typer(
    help="Run, look at and repair the order management system.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they hold keys and addresses
)
app.add_typer(commands_order.app, name="order")
app.add_typer(commands_stock.app, name="stock")
app.add_typer(commands_routing.app, name="routing")
app.add_typer(commands_returns.app, name="returns")
app.add_typer(commands_closing.locations, name="location")
app.add_typer(commands_closing.articles, name="sku")
app.add_typer(commands_closing.reroutes, name="reroute")
app.add_typer(bench.app, name="bench")
app.add_typer(commands_recover.app, name="recover")
app.command()(demo)
app.command()(audit)
app.command()(deploy)
app.command()(backup)
app.command()(restore)

OnServer = Annotated[
    Server | None,
    typer.Option(help="Temporal's server; by default the one this home has used, or embedded."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Worker processes; by default 1, and 2 on the real server."),
]
PATIENCE = 60
"""Seconds for which `oms prepare` waits for a Temporal server that is just starting."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_MARKS = {Health.GOOD: "✓", Health.NOTE: "•", Health.BROKEN: "✗"}
_COLOURS = {Health.GOOD: "green", Health.NOTE: "yellow", Health.BROKEN: "red"}


@app.command()
def up(server: OnServer = None, workers: Workers = None) -> None:
    """Start everything on this machine and leave it running until Ctrl-C."""
    console = Console()
    try:
        code = asyncio.run(_up(console, server, workers))
    except (AlreadyRunning, OtherServer, ToolMissing, ChildFailed) as failed:
        console.print(str(failed), style="red", markup=False, highlight=False)
        code = 1
    raise typer.Exit(code)


@app.command()
def down() -> None:
    """Stop the stack that runs, wherever it was started from."""
    if stop_running(settings().home):
        typer.echo("stopped")
    else:
        typer.echo("nothing runs")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what runs and where, with its keys."""
    running = read_running(settings().home)
    if running is None:
        if as_json:
            typer.echo("null")
        else:
            typer.echo("Nothing runs. Start it: make up")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(as_status(running), indent=2))
    else:
        Console().print(_addresses(running, keys=True))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing or unreachable, and the command that fixes it."""
    found = asyncio.run(examine(read_running(settings().home)))
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        Console().print(_findings(found))
    raise typer.Exit(1 if any(f.health is Health.BROKEN for f in found) else 0)


@app.command()
def setup(server: OnServer = None) -> None:
    """Fetch or build what the stack and the tests need beside Python's packages."""
    console = Console()
    try:
        fetch_all(
            lambda line: console.print(line, markup=False, highlight=False),
            real=server is Server.REAL,
        )
    except ToolMissing as missing:
        console.print(str(missing), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    console.print("Everything is here.", style="green")


@app.command()
def prepare() -> None:
    """Bring database, namespace and search attributes up to date. Safe to run again.

    For servers of your own, named by OMS_DATABASE_URL and TEMPORAL_ADDRESS; `oms up` does it
    for its own.
    """
    upgrade(settings().database_url.get_secret_value())
    typer.echo("database: newest schema")
    made = asyncio.run(_prepare_temporal())
    typer.echo(f"search attributes: made {', '.join(made)}" if made else "search attributes: all")


@app.command()
def key(
    role: Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}.")],
    name: Annotated[str, typer.Option(help="Names the key; the same name replaces it.")] = "",
    channel: Annotated[
        list[str] | None, typer.Option(help="Reach this channel only; all if left out. Repeatable.")
    ] = None,
    location: Annotated[
        list[str] | None,
        typer.Option(help="Reach this location only; all if left out. Repeatable."),
    ] = None,
) -> None:
    """Make an API key and show it, once: only its hash is kept.

    For the stack that runs on this machine, else for the database of OMS_DATABASE_URL.
    """
    if role not in ROLES:
        raise typer.BadParameter(f"{role} is none of {', '.join(ROLES)}")
    made = new_key(role)
    asyncio.run(_store_key(name or role, made, role, channel, location))
    typer.echo(made)


@app.command("codec-key")
def codec_key(
    id: Annotated[str, typer.Argument(help="Names the key; by default the day of today.")] = "",
) -> None:
    """Draw a key for OMS_CODEC_KEYS and show it, once: it is kept nowhere."""
    try:
        typer.echo(new_codec_key(id or f"{datetime.now(UTC):%Y-%m-%d}"))
    except BadSetting as bad:
        raise typer.BadParameter(str(bad)) from None


async def _store_key(
    name: str, made: str, role: str, channels: list[str] | None, locations: list[str] | None
) -> None:
    running = read_running(settings().home)
    own = settings().database_url.get_secret_value()
    database = connect_database(running.database_url if running else own)
    async with database.begin() as tx:
        await store_credential(
            tx,
            id=name,
            key=made,
            role=role,
            now=datetime.now(UTC),
            channels=tuple(channels or EVERYTHING),
            locations=tuple(locations or EVERYTHING),
        )
    await database.dispose()


async def _prepare_temporal() -> list[str]:
    client = await connect_patiently(within=PATIENCE)
    if await ensure_namespace(client):
        typer.echo(f"namespace {client.namespace}: registered")
    kept = await ensure_retention(client, timedelta(days=settings().retention_days))
    typer.echo(f"closed runs are kept for {count_of(kept.days, 'day')}")
    return await ensure_search_attributes(client)


def as_status(running: Running) -> dict[str, Any]:
    """Give a running stack as `API.md` fixes it, with the process ids beside."""
    shown = running.model_dump()
    shown["processes"] = {name: process.pid for name, process in running.processes.items()}
    return shown


async def _up(console: Console, server: Server | None, workers: int | None) -> int:
    """Run the stack until somebody ends it, or until it cannot go on."""
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(ending, told_to_stop.set)

    with console.status("starting") as spinner:

        def report(line: str) -> None:
            spinner.update(line)
            console.print(line, style="dim", markup=False, highlight=False)

        stack = Stack(server=server, workers=workers, report=report)
        starting = asyncio.create_task(stack.start())
        stopping = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 0
        running = await starting
        spinner.update("running; Ctrl-C stops everything")
        console.print(_addresses(running))
        failing = asyncio.create_task(stack.failed.wait())
        await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
        failing.cancel()
        await stack.stop()
    console.print("stopped", style="dim")
    return 1 if stack.failed.is_set() else 0


def _addresses(running: Running, *, keys: bool = False) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("API", f"{running.api}/v1")
    table.add_row("API docs", f"{running.api}/docs")
    table.add_row("Temporal UI", running.temporal_ui or f"of the server at {running.temporal}")
    table.add_row("simulator", running.simulator)
    table.add_row("logs", str(settings().home / "log"))
    if keys:
        for role, key in running.keys.items():
            table.add_row(f"key of the {role}", key)
    else:
        table.add_row("keys", "oms status")
    return table


def _findings(found: list[Finding]) -> Table:
    table = Table("", "what", "how it is", "what fixes it", box=None, pad_edge=False)
    for finding in found:
        colour = _COLOURS[finding.health]
        table.add_row(
            f"[{colour}]{_MARKS[finding.health]}",
            finding.what,
            finding.detail,
            f"[bold]{finding.fix}",
        )
    return table


def main() -> None:
    """Run a command, and leave at once when it is done.

    Temporal's client sometimes crashes the interpreter at its end; nothing is left to do there.
    """
    code: int | str | None = 0
    try:
        app()
    except SystemExit as left:
        code = left.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
