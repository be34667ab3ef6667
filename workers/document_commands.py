"""What commands about files of rules share: reading them, checking them, and saying what is wrong.

Commands leave 0 when done, 1 when the API refused, 2 when the file is wrong, 3 when there is no API
to ask.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from oms.fields import Flaw
from oms.words import count_of
from workers.api_client import ApiClient, ApiRefused
from workers.asking import leave
from workers.document_files import DocumentFile, FileError

WRONG_FILE = 2

T = TypeVar("T")
Json = dict[str, Any]

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="YAML or JSON.")]


class Checked(NamedTuple):
    """What the API finds in a document: errors, and what may be a slip."""

    errors: list[Flaw]
    notes: list[Flaw]


async def check_document(api: ApiClient, path: str, document: Any) -> Checked:
    """Ask the API at `path` what is wrong with a document; nothing is stored."""
    found = (await api.post(path, document, key=uuid.uuid4().hex)).body
    return Checked(*([Flaw(**each) for each in found[name]] for name in ("errors", "notes")))


async def put_document(api: ApiClient, path: str, document: Any) -> Json | list[Flaw]:
    """Put a document; give what it became, or everything that is wrong with it."""
    try:
        return (await api.put(path, document)).body
    except ApiRefused as refused:
        if refused.problem_code == "validation_failed":
            return [Flaw(**each) for each in refused.flaws]
        raise


def say_checked(file: Path, read: DocumentFile[Any], found: Checked, *, as_json: bool) -> None:
    """Say what a check found in a file; leave if it is wrong."""
    notes = read.located(found.notes)
    if found.errors:
        leave_with(file, read.located(found.errors), notes, as_json=as_json)
    if notes and not as_json:
        Console().print(notes_view(file, notes), soft_wrap=True, end="")
    say(as_json, {"errors": [], "notes": _told(notes)}, f"{file} is in order.")


def read_or_leave(
    file: Path, read: Callable[[Path], DocumentFile[T]], *, as_json: bool
) -> DocumentFile[T]:
    """Read a file; leave with all of its errors if it is wrong."""
    try:
        found = read(file)
    except OSError as fault:
        leave(WRONG_FILE, f"{file} cannot be read: {fault}")
    if found.errors:
        leave_with(file, found.errors, as_json=as_json)
    return found


def leave_with(
    file: Path, errors: Sequence[FileError], notes: Sequence[FileError] = (), *, as_json: bool
) -> NoReturn:
    """Show everything that is wrong with a file, and end the command."""
    if as_json:
        typer.echo(json.dumps({"errors": _told(errors), "notes": _told(notes)}, indent=2))
    else:
        shown = Text.assemble(notes_view(file, notes), errors_view(file, errors))
        Console(stderr=True).print(shown, soft_wrap=True)
    raise typer.Exit(WRONG_FILE)


def _told(errors: Sequence[FileError]) -> list[Json]:
    return [
        {
            "line": error.place.line,
            "column": error.place.column,
            "pointer": error.pointer,
            "code": error.code,
            "detail": error.detail,
        }
        for error in errors
    ]


def print_found(as_json: bool, found: Any, view: RenderableType) -> None:
    """Print what was found, for people or for machines."""
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif isinstance(view, str):
        typer.echo(view, nl=False)
    else:
        Console().print(view)


def say(as_json: bool, found: Any, words: str) -> None:
    """Say that it went well, for people or for machines."""
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        Console().print(words, style="green", highlight=False, markup=False, soft_wrap=True)


def errors_view(file: Path, errors: Sequence[FileError]) -> Text:
    """Show everything that is wrong with a file, each as `file:line:column pointer words`."""
    text = _located(file, errors, "")
    words = count_of(len(errors), "error")
    return text.append(f"{words}, nothing was changed.", "bold red")


def notes_view(file: Path, notes: Sequence[FileError]) -> Text:
    """Show what may be a slip, in the same way."""
    return _located(file, notes, "yellow")


def _located(file: Path, errors: Sequence[FileError], style: str) -> Text:
    text = Text()
    for error in errors:
        text.append(f"{file}:{error.place.line}:{error.place.column}", "bold")
        text.append(f" {error.pointer}" if error.pointer else "", "cyan")
        text.append(f" {error.detail}\n", style)
    return text
