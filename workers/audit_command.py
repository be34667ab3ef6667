"""`oms audit`: compare all books and say what does not agree."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

from adapters.db.engine import connect as connect_database
from adapters.http import Http
from oms.audit import AuditReport, Finding
from oms.errors import OmsError
from workers.auditing import SimulatorBooks
from workers.auditing import audit as audit_books
from workers.settings import policy_of, settings
from workers.state import Running, read_running
from workers.temporal import connect, connect_to

VIOLATED, CANNOT_TELL = 1, 3
MOST_SHOWN = 50

INVARIANTS = {
    1: "Movements add up to the stored levels",
    2: "What is held equals the open reservations and allocations",
    3: "Units and money of each order add up",
    4: "Our entries equal those of the outside, key by key",
    5: "Each order exists, and each open one and each open return has one run",
    6: "A closed order or return holds nothing",
    7: "Each open order or return waits with a deadline, or is parked",
    8: "Events are numbered without gaps, and signals are sent",
}

_PATIENCE = timedelta(seconds=60)


def audit(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Compare our books with themselves, with the outside's and with Temporal.

    Leaves 0 when all agree, 1 when something does not, 3 when a side does not answer.
    """
    try:
        report = asyncio.run(_audit(read_running(settings().home)))
    except (OmsError, SQLAlchemyError, RPCError, RuntimeError) as fault:
        words = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        Console(stderr=True).print(f"Cannot tell: {words}. See `oms doctor`.", markup=False)
        raise typer.Exit(CANNOT_TELL) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        Console().print(report_view(report))
    raise typer.Exit(0 if report.is_clean else VIOLATED)


async def _audit(running: Running | None) -> AuditReport:
    """Audit the stack that runs here, or the servers that the environment names."""
    config = settings()
    own = config.database_url.get_secret_value()
    engine = connect_database(running.database_url if running else own)
    client = await (connect_to(running.temporal) if running else connect())
    outside = running.simulator if running else config.simulator_url
    async with Http(outside, timeout=_PATIENCE) as http:
        report = await audit_books(
            engine, client, SimulatorBooks(http), silent=policy_of(config).silent
        )
    await engine.dispose()
    return report


def report_view(report: AuditReport) -> RenderableType:
    """Show each invariant with how it stands, then what is wrong and what is under way."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(justify="right")
    for number, words in INVARIANTS.items():
        wrong = sum(found.invariant == number for found in report.violations)
        waiting = sum(found.invariant == number for found in report.pending)
        mark = Text("✗", "bold red") if wrong else Text("✓", "green")
        counts = [f"{wrong} violation{'s' if wrong > 1 else ''}"] if wrong else []
        counts += [f"{waiting} pending"] if waiting else []
        table.add_row(mark, words, Text(", ".join(counts), "red" if wrong else "dim"))
    for title, found, style in (
        ("Violations", report.violations, "red"),
        ("Under way", report.pending, "dim"),
    ):
        _add(table, title, found, style)
    looked_at = ", ".join(
        f"{count} {what.replace('_', ' ')}" for what, count in report.checked.items()
    )
    table.add_row("", Text(f"Looked at {looked_at}.", "dim"), "")
    return table


def _add(table: Table, title: str, found: tuple[Finding, ...], style: str) -> None:
    if not found:
        return
    table.add_row("", "", "")
    table.add_row("", Text(title, "bold"), "")
    for each in found[:MOST_SHOWN]:
        line = Text.assemble((each.about, "bold"), f": {each.detail}", style=style)
        table.add_row(str(each.invariant), line, "")
    if len(found) > MOST_SHOWN:
        table.add_row("", f"… and {len(found) - MOST_SHOWN} more; `--json` shows all.", "")
