"""`oms stock reconcile`: find where the books of stock have drifted, explain it, propose repairs.

Asks the database, not the API. Leaves 0 when nothing is left to do, 1 when something is, 3 when
the database does not answer.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from adapters.db.drift import Looked, find_drift, mend
from adapters.db.engine import connect as connect_database
from oms.drift import KINDS, Drift
from oms.errors import OmsError
from workers.asking import AsJson, leave
from workers.settings import settings
from workers.state import read_running

FOUND, CANNOT_TELL = 1, 3
MOST_SHOWN = 50

Json = dict[str, Any]


def reconcile(
    *,
    location: Annotated[str | None, typer.Option(help="Look at this place only.")] = None,
    repair: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Write the proposed counts here, for `oms stock import`."
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make the repairs that need nobody's judgement.")
    ] = False,
    actor: Annotated[str, typer.Option(help="Who repairs; with --apply.")] = "",
    reason: Annotated[str, typer.Option(help="Why; with --apply.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare levels with movements, holds and the last counts; explain drift, propose repairs."""
    if apply and not (actor.strip() and reason.strip()):
        raise typer.BadParameter("--apply needs --actor and --reason")
    try:
        looked, mended = asyncio.run(_look(location, (actor, reason) if apply else None))
    except (OmsError, SQLAlchemyError) as fault:
        leave(CANNOT_TELL, Text(f"Cannot tell: {type(fault).__name__}. See `oms doctor`."))
    if repair:
        _write_counts(repair, looked.found)
    if as_json:
        typer.echo(json.dumps(_as_json(looked, mended), indent=2))
    else:
        Console().print(drift_view(looked, mended, repair))
    raise typer.Exit(FOUND if len(mended) < len(looked.found) else 0)


async def _look(
    location: str | None, who: tuple[str, str] | None
) -> tuple[Looked, Sequence[Drift]]:
    running = read_running(settings().home)
    own = settings().database_url.get_secret_value()
    engine = connect_database(running.database_url if running else own)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                looked = await find_drift(connection, location=location)
        if who is None:
            return looked, ()
        async with engine.begin() as tx:
            actor, reason = who
            now = datetime.now(UTC)
            return looked, await mend(tx, looked.found, actor=actor, reason=reason, at=now)
    finally:
        await engine.dispose()


def _write_counts(path: Path, found: Sequence[Drift]) -> None:
    """Write a count for each shelf that one would mend; a later finding has the last word."""
    rows = {(each.sku, each.location): each.count for each in found if each.count is not None}
    with path.open("w", encoding="utf-8") as out:
        for (sku, location), units in sorted(rows.items()):
            out.write(json.dumps({"sku": sku, "location": location, "on_hand": units}) + "\n")


def _as_json(looked: Looked, mended: Sequence[Drift]) -> Json:
    return {
        "levels": looked.levels,
        "counted": looked.counted,
        "moved_since_counted": looked.moved_since,
        "found": [each.model_dump() | {"mended": each in mended} for each in looked.found],
    }


def drift_view(looked: Looked, mended: Sequence[Drift], repair: Path | None) -> RenderableType:
    """Show what was found kind by kind, each with its likely cause and what would mend it."""
    counts = Counter(each.kind for each in looked.found)
    summary = Table(box=None, pad_edge=False, show_header=False)
    for kind, words in KINDS.items():
        style = "red" if counts[kind] else "green"
        mark = "✗" if counts[kind] else "✓"
        summary.add_row(Text(mark, style), words, Text(str(counts[kind] or ""), style))
    parts: list[RenderableType] = [summary]
    if looked.found:
        parts += [_findings(looked.found[:MOST_SHOWN], mended), Text()]
    if len(looked.found) > MOST_SHOWN:
        parts.append(Text(f"… and {len(looked.found) - MOST_SHOWN} more; `--json` shows all."))
    parts.append(Text(_looked_at(looked), "dim"))
    if mended:
        parts.append(Text(f"{len(mended)} mended.", "bold green"))
    if repair:
        parts.append(Text(f"Proposed counts: oms stock import {repair} --counts", "bold"))
    return Group(*parts)


def _looked_at(looked: Looked) -> str:
    return (
        f"Looked at {looked.levels} levels, {looked.counted} of them counted by an import; "
        f"{looked.moved_since} of these have moved since."
    )


def _findings(found: Sequence[Drift], mended: Sequence[Drift]) -> Text:
    """Show what has the same cause and repair together, and say both once."""
    shown = Text()
    for (cause, repair, done), alike in groupby(
        found, key=lambda each: (each.cause, each.repair, each in mended)
    ):
        for each in alike:
            place = f"{each.sku} at {each.location}"
            shown.append(f"\n{place}: {each.bucket} {each.books}, expected {each.expected}", "bold")
        shown.append(f"\n  likely  {cause}\n  repair  {'mended' if done else repair}")
    return shown
