"""`oms backup` and `oms restore`: the stack on this machine, to one moment and back."""

import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from workers.embedded.backups import CannotBackUp, CannotRestore, Label, back_up
from workers.embedded.backups import restore as put_back
from workers.embedded.processes import ChildFailed
from workers.settings import settings

_RUNS = {
    "database": "Temporal's runs are in it, of the same moment.",
    "file": "Temporal's runs are in it, of the same moment.",
    "left_out": "Temporal's runs are not in it: the development server keeps them in a file of its"
    " own. They are started again from the books. With the stack stopped they come along.",
}


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
) -> None:
    """Copy all databases of the stack on this machine to one moment; it may be at work."""
    console, began = Console(), time.monotonic()
    try:
        label = back_up(settings().home.resolve(), folder.resolve(), console.print)
    except (CannotBackUp, ChildFailed) as failed:
        _fail(console, failed)
    console.print(f"Backed up to {folder} in {time.monotonic() - began:.1f} s, {_of(label)}")


def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `oms backup` made.")],
) -> None:
    """Put a backup into an empty home. The system then rests until it has been reconciled."""
    console, began = Console(), time.monotonic()
    try:
        label = put_back(settings().home.resolve(), folder.resolve(), console.print)
    except (CannotRestore, ChildFailed) as failed:
        _fail(console, failed)
    console.print(f"Restored in {time.monotonic() - began:.1f} s, {_of(label)}")
    console.print("Now `oms up`; then `oms recover` in another terminal: nothing acts before.")


def _of(label: Label) -> str:
    return f"of {label.moment:%Y-%m-%d %H:%M:%S} UTC. {_RUNS[label.runs]}"


def _fail(console: Console, failed: Exception) -> NoReturn:
    console.print(str(failed), style="red", markup=False, highlight=False)
    raise typer.Exit(1) from None
