"""`oms stock`: bring a file of stock into the books, and find out where they have drifted.

`import` leaves 0 when it is applied, 1 when it was refused, 3 when there is no API to ask.
"""

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from oms.words import count_of
from workers.api_client import ApiClient, ApiRefused
from workers.asking import REFUSED, ApiKey, ApiUrl, AsJson, ask_api, leave
from workers.demo.board import loading
from workers.reconcile_command import reconcile
from workers.stock_files import LineError, StockFile, check, read_stock
from workers.stock_import import IMPORTS, import_stock

app = typer.Typer(help="Import stock, and find out where the books have drifted.")

Json = dict[str, Any]


class Missing(StrEnum):
    """What to do with what a snapshot does not name."""

    REPORT = "report"
    ZERO = "zero"


app.command()(reconcile)


@app.command("import")
def import_file(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="CSV or JSON Lines, plain or .gz."),
    ],
    *,
    location: Annotated[str | None, typer.Option(help="Where rows without one are of.")] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="All that lies at one location.")
    ] = False,
    counts: Annotated[bool, typer.Option("--counts", help="What was counted, anywhere.")] = False,
    deltas: Annotated[bool, typer.Option("--deltas", help="What came or went.")] = False,
    missing: Annotated[
        Missing, typer.Option(help="What a snapshot does not name: report it, or put it to zero.")
    ] = Missing.REPORT,
    reference: Annotated[
        str | None, typer.Option(help="Names the import; by default what is in the file does.")
    ] = None,
    taken_at: Annotated[
        str | None, typer.Option(help="When it was counted, RFC 3339; by default now.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write what came of each row here, as JSON Lines."),
    ] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Import a file of stock: all of it or none. Running it again changes nothing."""
    read = _read(file)
    kind = _kind(read, snapshot=snapshot, counts=counts, deltas=deltas)
    place = location or _only_place(read) if kind == "snapshot" else location
    if errors := check(read, kind, place):
        leave(REFUSED, errors_view(file, errors))
    header: Json = {"reference": reference, "kind": kind, "location": place}
    header |= {"missing": missing.value, "taken_at": taken_at}
    if reference is None:
        header["reference"] = _by_content(read, header)

    async def send(api: ApiClient) -> Json | list[LineError]:
        return await _send(
            api, read, header, known=reference is None, dry_run=dry_run, results=results
        )

    outcome = ask_api(send, api_url, api_key)
    if isinstance(outcome, list):
        leave(REFUSED, errors_view(file, outcome))
    if as_json:
        typer.echo(json.dumps(outcome, indent=2))
    else:
        Console().print(import_view(outcome, dry_run=dry_run))


async def _send(
    api: ApiClient,
    read: StockFile,
    header: Json,
    *,
    known: bool,
    dry_run: bool,
    results: Path | None,
) -> Json | list[LineError]:
    """Import what was read; give the import, or all that the API finds wrong with it."""
    try:
        with loading(Console(stderr=True)) as report:
            done = await import_stock(
                api, header, read.rows, known_by_content=known, dry_run=dry_run, report=report
            )
    except ApiRefused as refused:
        if refused.problem_code != "import_refused":
            raise
        return await _all_errors(api, refused, read)
    if results:
        await _write_results(api, done["id"], read, results)
    return done


def _read(file: Path) -> StockFile:
    try:
        return read_stock(file)
    except OSError as fault:
        leave(REFUSED, Text(f"{file} cannot be read: {fault}"))


def _kind(read: StockFile, *, snapshot: bool, counts: bool, deltas: bool) -> str:
    said = [
        kind
        for kind, wanted in (("snapshot", snapshot), ("counts", counts), ("deltas", deltas))
        if wanted
    ]
    if len(said) > 1:
        raise typer.BadParameter("choose one of --snapshot, --counts and --deltas")
    return said[0] if said else "deltas" if read.has_deltas else "counts"


def _only_place(read: StockFile) -> str:
    places = read.locations
    if len(places) != 1:
        raise typer.BadParameter("a snapshot is of one location: give --location")
    return places.pop()


def _by_content(read: StockFile, header: Json) -> str:
    meant = json.dumps([read.content, header], sort_keys=True)
    return f"file-{hashlib.sha256(meant.encode()).hexdigest()[:32]}"


async def _all_errors(api: ApiClient, refused: ApiRefused, read: StockFile) -> list[LineError]:
    """Every error of a refused import, at the line of its row."""
    path = refused.problem["results"].partition("?")[0]
    return [
        LineError(read.lines[row["row"] - 1], note["field"], note["code"], note["detail"])
        async for row in api.every(path, outcome="refused")
        for note in row["notes"]
    ]


async def _write_results(api: ApiClient, id: str, read: StockFile, path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        async for row in api.every(f"{IMPORTS}/{id}/results"):
            line = {"line": read.lines[row["row"] - 1]} if row["row"] else {}
            out.write(json.dumps(line | row) + "\n")


def errors_view(file: Path, errors: list[LineError]) -> RenderableType:
    """Show everything that is wrong with a file, line by line."""
    words = count_of(len(errors), "error")
    text = Text.assemble((f"{file} was refused: {words}, nothing was changed.", "bold red"))
    for error in errors:
        where = f"line {error.line}" + (f", {error.field}" if error.field else "")
        text.append(f"\n  {where}  ", "bold")
        text.append(f"{error.code}: {error.detail}")
    return text


def import_view(done: Json, *, dry_run: bool) -> RenderableType:
    """Show what an import did, or would do."""
    result = done["result"]
    if done["again"]:
        return Text(_before(done), "bold")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for word in ("changed", "unchanged", "superseded", "vanished"):
        table.add_row(word, str(result[word]))
    table.add_row("units", f"+{result['units_added']} -{result['units_removed']}")
    parts: list[RenderableType] = [Text(_headline(done, dry_run), "bold"), table]
    if done.get("differences"):
        parts.append(_differences(done["differences"]))
    return Group(*parts)


def _headline(done: Json, dry_run: bool) -> str:
    if dry_run:
        return f"{count_of(done['rows'], 'row')} ({done['kind']}) would do this"
    return f"{count_of(done['rows'], 'row')} ({done['kind']}) in the books, as {done['id']}"


def _before(done: Json) -> str:
    when = datetime.fromisoformat(done["finished_at"])
    return (
        f"This was imported before, on {when:%Y-%m-%d %H:%M:%S} UTC as {done['id']}: nothing "
        "changed. A new count with the same content needs a --reference of its own."
    )


def _differences(found: list[Json]) -> Table:
    table = Table("article", "location", "on hand", "would change by", box=None, pad_edge=False)
    for each in found:
        units = (str(each["on_hand"]), f"{each['changed_by']:+}")
        table.add_row(each["sku"], each["location"], *units)
    return table
