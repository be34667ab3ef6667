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

from workers.demo.runner import Run
from workers.demo.stages import CLOSED, Entry, Outcome, Stage

LINE_EVERY_SECONDS = 5.0
"""How often progress is told where the output is no terminal."""

BAR_WIDTH = 48

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
        console.print(board_view(run.entries, seconds=run.seconds))


def board_view(entries: Sequence[Entry], *, seconds: float) -> RenderableType:
    """Draw how many orders stand where, and how fast verdicts come in."""
    counts = Counter(entry.stage for entry in entries)
    table = Table(title=f"{len(entries)} orders", title_justify="left", show_header=False, box=None)
    for stage in Stage:
        style = _STYLES[stage] if counts[stage] else "dim"
        width = -(-BAR_WIDTH * counts[stage] // max(1, len(entries)))
        table.add_row(
            Text(stage.value, style), Text(str(counts[stage]), style), Text("━" * width, style)
        )
    verdicts = sum(counts[stage] for stage in CLOSED)
    rate = 60 * verdicts / seconds if seconds else 0.0
    return Group(table, Text(f"{seconds:.0f} s, {verdicts} verdicts, {rate:.0f} a minute", "dim"))


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
        return board_view(self._run.entries, seconds=self._run.seconds)


async def _tell(console: Console, run: Run) -> None:
    told = ""
    while True:
        counts = Counter(entry.stage for entry in run.entries)
        words = ", ".join(f"{counts[stage]} {stage}" for stage in Stage if counts[stage])
        if words != told:
            console.print(f"{run.seconds:5.0f} s  {words}", highlight=False, soft_wrap=True)
            told = words
        await asyncio.sleep(LINE_EVERY_SECONDS)
