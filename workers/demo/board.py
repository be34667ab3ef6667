"""What a visitor sees: progress while the demonstration runs, and the outcome in the end."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from oms.words import count_of
from workers.demo.returning import Back, how_they_stand
from workers.demo.runner import Run
from workers.demo.stages import CLOSED, Entry, Outcome, Stage

LINE_EVERY_SECONDS = 5.0
"""How often progress is told where the output is no terminal."""

BAR_WIDTH = 48
RETURNS_SHOWN = 6

_STYLES = {
    Stage.WAITING: "dim", Stage.PENDING: "yellow", Stage.CONFIRMED: "cyan",
    Stage.PICKING: "cyan", Stage.SHIPPED: "blue", Stage.DELIVERED: "green",
    Stage.REFUSED: "red", Stage.CANCELLED: "red", Stage.PARKED: "bold magenta",
}  # fmt: skip


@contextmanager
def loading(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Draw a bar for each kind of thing that is loaded; gives a `loader.Report`."""
    tasks: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield report


@asynccontextmanager
async def watching(console: Console, run: Run) -> AsyncIterator[None]:
    """Show where the orders of a run stand while it lasts: live in a terminal, else as lines."""
    if console.is_terminal:
        with Live(_Board(run), console=console, refresh_per_second=4):
            yield
        return
    telling = asyncio.create_task(_tell(console, run))
    try:
        yield
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
        console.print(board_view(run.entries, seconds=run.seconds, backs=run.backs))


def board_view(
    entries: Sequence[Entry], *, seconds: float, backs: Sequence[Back] = ()
) -> RenderableType:
    """Draw how many orders stand where, how fast verdicts come in, and what comes back."""
    standing = Counter(entry.stage for entry in entries)
    table = Table(
        title=count_of(len(entries), "order"), title_justify="left", show_header=False, box=None
    )
    for stage in Stage:
        style = _STYLES[stage] if standing[stage] else "dim"
        width = -(-BAR_WIDTH * standing[stage] // max(1, len(entries)))
        table.add_row(
            Text(stage.value, style), Text(str(standing[stage]), style), Text("━" * width, style)
        )
    verdicts = sum(standing[stage] for stage in CLOSED)
    rate = 60 * verdicts / seconds if seconds else 0.0
    speed = Text(f"{seconds:.0f} s, {verdicts} verdicts, {rate:.0f} a minute", "dim")
    return Group(table, speed, *([returns_view(backs)] if backs else []))


def returns_view(backs: Sequence[Back]) -> RenderableType:
    """Draw the first returns one by one, and how many stand where."""
    table = Table(title="Returns", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("return", "of", "comes by", "is", "gives back", "goods"):
        table.add_column(name)
    taken = [back for back in backs if back.id is not None]
    for back in taken[:RETURNS_SHOWN]:
        how = f"at the till of {back.wanted.location}" if back.wanted.via == "store" else "post"
        style = "green" if back.status == "closed" else "cyan"
        status = Text(back.status.replace("_", " "), style)
        table.add_row(str(back.id), back.units, how, status, back.refund, Text(back.lies, "dim"))
    told = ", ".join(f"{number} {word}" for word, number in sorted(how_they_stand(backs).items()))
    wrong = [Text(back.wrong, "bold red") for back in backs if back.wrong is not None]
    return Group(table, Text(f"{count_of(len(backs), 'return')}: {told}", "dim"), *wrong)


def outcome_view(outcome: Outcome) -> RenderableType:
    """Draw what became of all orders, and why some were refused."""
    table = Table(title="Outcome", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("orders", justify="right")
    table.add_column("became")
    table.add_column("")
    for stage in Stage:
        if count := outcome.counts.get(stage):
            why = ", ".join(f"{number} {code}" for code, number in sorted(outcome.refusals.items()))
            shown = why if stage is Stage.REFUSED else ""
            table.add_row(str(count), Text(stage.value, _STYLES[stage]), Text(shown, "dim"))
    return table


class _Board:
    """Draws the run afresh each time the display asks for it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __rich__(self) -> RenderableType:
        run = self._run
        return board_view(run.entries, seconds=run.seconds, backs=run.backs)


async def _tell(console: Console, run: Run) -> None:
    told = ""
    while True:
        standing = Counter(entry.stage for entry in run.entries)
        words = ", ".join(f"{standing[stage]} {stage}" for stage in Stage if standing[stage])
        if run.backs:
            back = sorted(how_they_stand(run.backs).items())
            words += "; back: " + ", ".join(f"{number} {word}" for word, number in back)
        if words != told:
            console.print(f"{run.seconds:5.0f} s  {words}", highlight=False, soft_wrap=True)
            told = words
        await asyncio.sleep(LINE_EVERY_SECONDS)
