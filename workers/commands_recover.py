"""`oms recover`: after a restore, compare the books with the outside before anything acts.

Leaves 0 when everything is explained, 1 when a person must look, 3 when a side does not answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple, NoReturn, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.carriers.simulator import SimulatedCarrier
from adapters.db.book import SqlBook
from adapters.db.engine import connect as connect_database
from adapters.db.mode import (
    Mode,
    begin_reconciling,
    end_reconciling,
    keep_report,
    nobody_acts,
    read_mode,
)
from adapters.http import Http
from adapters.nodes.simulator import SimulatedNode
from adapters.psp.simulator import SimulatedProvider
from oms.recovery import RecoveryReport
from workers.auditing import SimulatorBooks
from workers.recovering import OutsideParties, Recovery
from workers.restarting import Restarted, restart_missing
from workers.settings import Settings, embedded_settings, policy_of, settings
from workers.state import read_running
from workers.temporal import connect, connect_to

app = typer.Typer(help="After a restore: compare with the outside before anything acts.")

NEEDS_A_PERSON, CANNOT_TELL = 1, 3
MOST_SHOWN = 50
RESTS_WITHIN = timedelta(seconds=60)
"""How long workers may take to finish the calls they have begun."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_T = TypeVar("_T")


class Refused(Exception):
    """The command makes no sense now; the message says what does."""


class Here(NamedTuple):
    """The system this command speaks of."""

    engine: AsyncEngine
    temporal: Client
    outside: Http
    config: Settings


@app.callback(invoke_without_command=True)
def recover(
    context: typer.Context,
    as_json: AsJson = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Let the system act if everything is explained.")
    ] = False,
) -> None:
    """Compare the restored books with the outside, and say what a person must see to.

    Workers rest meanwhile. Safe to run again.
    """
    if context.invoked_subcommand is None:
        console = Console(stderr=True)
        report = _run(lambda here: reconcile(here, console))
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            Console().print(report_view(report))
        if finish and report.is_explained:
            restarted = _run(lambda here: lift(here, console, despite_findings=False))
            console.print(f"The system acts again. {_words(restarted)}")
        raise typer.Exit(_exit_code(report))


def _exit_code(report: RecoveryReport) -> int:
    if any(each.kind == "unanswered" for each in report.found):
        return CANNOT_TELL
    return 0 if report.is_explained else NEEDS_A_PERSON


@app.command()
def start(
    moment: Annotated[
        datetime,
        typer.Option(help="The moment of the restored books, in UTC, e.g. 2026-11-22T10:00:00."),
    ],
    reason: Annotated[str, typer.Option(help="Why; `oms doctor` shows it.")] = "restored",
) -> None:
    """Let the system rest, before the first worker starts on restored books.

    `oms restore` does it by itself.
    """
    at = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    mode = _run(lambda here: rest(here, at, reason))
    typer.echo(f"The system rests; its books are of {mode.moment:%Y-%m-%d %H:%M:%S} UTC.")


@app.command()
def finish(
    despite_findings: Annotated[
        bool, typer.Option(help="A person has seen to all that was found.")
    ] = False,
) -> None:
    """Let the system act again, and give a run to every open order that has none."""
    console = Console(stderr=True)
    restarted = _run(lambda here: lift(here, console, despite_findings=despite_findings))
    typer.echo(f"The system acts again. {_words(restarted)}")


# --- what they do ---------------------------------------------------------------------------


async def rest(here: Here, moment: datetime, reason: str) -> Mode:
    """Set the mode in which nothing acts."""
    async with here.engine.begin() as tx:
        await begin_reconciling(tx, moment=moment, reason=reason, now=datetime.now(UTC))
        return await read_mode(tx)


async def reconcile(here: Here, console: Console) -> RecoveryReport:
    """Run the reconciliation, alone, and keep its report.

    Raises:
        Refused: the system does not rest, or a worker does not lay down its work.
    """
    async with here.engine.connect() as tx:
        mode = await read_mode(tx)
    if not mode.is_reconciling:
        raise Refused("The system is at work. Let it rest first: oms recover start --moment …")
    async with AsyncExitStack() as stack:
        for left in range(int(RESTS_WITHIN.total_seconds()), -1, -1):
            if await stack.enter_async_context(nobody_acts(here.engine)):
                break
            if not left:
                raise Refused("A worker is still at work: stop it, and run this again.")
            await asyncio.sleep(1)
        with Progress(console=console) as bars:
            rows = {what: bars.add_task(what, total=None) for what in _LOOKED_AT}
            report = await Recovery(
                here.engine,
                SqlBook(here.engine, policy_of(here.config)),
                parties(here.outside),
                here.temporal,
                now=datetime.now(UTC),
                progress=lambda what, done, of: bars.update(
                    rows[what], completed=done if of else 1, total=of or 1
                ),
            ).run(mode)
    async with here.engine.begin() as tx:
        await keep_report(tx, report.model_dump(mode="json"))
    return report


_LOOKED_AT = ("payments", "parcels", "offers")


def parties(outside: Http) -> OutsideParties:
    """Everybody there is to ask."""
    carrier = SimulatedCarrier(outside)
    return OutsideParties(
        providers={"simulator": SimulatedProvider(outside)},
        carriers={carrier.name: carrier},
        nodes=SimulatedNode(outside),
        books=SimulatorBooks(outside),
    )


async def lift(here: Here, console: Console, *, despite_findings: bool) -> Restarted:
    """Give runs to orders without one, and let the system act.

    Raises:
        Refused: it was not reconciled, or something is left for a person.
    """
    async with here.engine.connect() as tx:
        mode = await read_mode(tx)
    if not mode.is_reconciling:
        raise Refused("The system is at work already.")
    if mode.report is None:
        raise Refused("Nobody has looked yet: run `oms recover`.")
    report = RecoveryReport.model_validate(mode.report)
    if not report.is_explained and not despite_findings:
        raise Refused("`oms recover` found what a person must see to. Then: --despite-findings")
    restarted = await restart(here, console)
    async with here.engine.begin() as tx:
        await end_reconciling(tx, policy_of(here.config), datetime.now(UTC))
    return restarted


async def restart(here: Here, console: Console, numbers: list[str] | None = None) -> Restarted:
    """Give a run to these orders, or to all that are open, where it is missing."""
    with Progress(console=console) as bars:
        bar = bars.add_task("open orders", total=None)
        return await restart_missing(
            here.engine,
            here.temporal,
            task_queue=here.config.task_queue,
            heal_seconds=here.config.heal_seconds,
            numbers=numbers,
            progress=lambda done, of: bars.update(bar, completed=done if of else 1, total=of or 1),
        )


def _words(restarted: Restarted) -> str:
    return (
        f"{restarted.looked_at} open orders; {len(restarted.orders)} had no run and get one,"
        f" {len(restarted.parts)} fulfillment orders had none and have one."
        f" {restarted.returns_looked_at} open returns; {len(restarted.returns)} had no run and get"
        " one."
    )


# --- where ----------------------------------------------------------------------------------


def _run(command: Callable[[Here], Awaitable[_T]]) -> _T:
    """Run a command on the stack that runs here, or on the servers the environment names."""
    try:
        return asyncio.run(_over_here(command))
    except Refused as refused:
        _leave(NEEDS_A_PERSON, str(refused))
    except (SQLAlchemyError, RPCError, RuntimeError, OSError) as fault:
        words = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        _leave(CANNOT_TELL, f"Cannot tell: {words}. See `oms doctor`.")


async def _over_here(command: Callable[[Here], Awaitable[_T]]) -> _T:
    running = read_running(settings().home)
    config = embedded_settings() if running else settings()
    engine = connect_database(
        running.database_url if running else config.database_url.get_secret_value()
    )
    client = await (connect_to(running.temporal) if running else connect())
    outside = running.simulator if running else config.simulator_url
    patience = timedelta(seconds=config.provider_timeout_seconds)
    try:
        async with Http(outside, timeout=patience) as http:
            return await command(Here(engine, client, http, config))
    finally:
        await engine.dispose()


def run_restart(numbers: list[str] | None) -> str:
    """Carry out `oms order restart`."""
    console = Console(stderr=True)
    return _words(_run(lambda here: restart(here, console, numbers)))


def _leave(code: int, words: str) -> NoReturn:
    Console(stderr=True).print(words, markup=False, highlight=False)
    raise typer.Exit(code)


# --- the report -----------------------------------------------------------------------------


def report_view(report: RecoveryReport) -> RenderableType:
    """Show what was found, what a person must see to first."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "order", "what the outside has, and our books have not"):
        table.add_column(heading, overflow="fold")
    shown = sorted(report.found, key=lambda each: (not each.needs_a_person, each.kind, each.about))
    told = ""
    for each in shown[:MOST_SHOWN]:
        if each.kind != told:
            told = each.kind
            title = each.kind.replace("_", " ")
            table.add_row("", "", "")
            table.add_row("", Text(title, "bold"), Text(each.do, "italic"))
        mark = Text("✗", "bold red") if each.needs_a_person else Text("✓", "green")
        table.add_row(mark, each.about, "\n".join(each.effects))
    if len(shown) > MOST_SHOWN:
        table.add_row("", "", f"… and {len(shown) - MOST_SHOWN} more; `--json` shows all.")
    looked_at = ", ".join(f"{count} {what}" for what, count in report.counts.items())
    words = "Everything is explained." if report.is_explained else "A person must look."
    table.add_row("", "", "")
    table.add_row("", "", Text(f"{words} Looked at {looked_at}.", "dim"))
    return table
