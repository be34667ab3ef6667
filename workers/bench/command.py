"""`oms bench`: measure the product on this machine."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from adapters.db.engine import connect
from workers.api_client import ApiClient
from workers.bench.asleep import NotAsleep
from workers.bench.command_routing import published, routing
from workers.bench.orders import OrdersBench, OrdersRun
from workers.bench.own_database import a_database
from workers.bench.pgbench import PgBench, PgBenchFailed
from workers.bench.returns import ReturnsBench, ReturnsRun
from workers.bench.stock import SIZES, StockBench, StockRun
from workers.demo.board import loading
from workers.demo.command import OnServer
from workers.demo.surroundings import at_speed
from workers.embedded.obtain import ToolMissing
from workers.embedded.postgres import PostgresMissing, binaries
from workers.embedded.processes import ChildFailed
from workers.settings import settings
from workers.stack import Server, Stack
from workers.state import Running, read_running

SPEED = 1_000_000
"""The outside world takes no time of its own: what is measured is ours."""

BURST_SECONDS_AN_ORDER = 0.1
"""The grace window of a stack that we start: a burst is confirmed before it is served."""

app = typer.Typer(help="Measure the product on this machine.", no_args_is_help=True)

Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes, as of `oms up`, if none runs yet.")
]
JsonPath = Annotated[
    Path | None, typer.Option("--json", dir_okay=False, help="Write the figures here as JSON.")
]


app.command()(routing)
app.command()(published)


@app.callback()
def bench() -> None:
    """Measure the product on this machine."""


@app.command()
def orders(
    count: Annotated[int, typer.Option("--orders", min=1, help="How many to place.")] = 200,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in the air at once.")] = 20,
    lines: Annotated[int, typer.Option(min=1, max=500, help="Lines of each order.")] = 1,
    asleep: Annotated[
        int, typer.Option(min=0, help="Open orders asleep beside them; needs a stack of its own.")
    ] = 0,
    server: OnServer = None,
    workers: Workers = None,
    json_path: JsonPath = None,
) -> None:
    """Place a burst of orders, see them delivered, and compare with bare Temporal.

    Uses the stack that runs; or starts one in a folder of its own, and throws it away.
    """
    if asleep and read_running(settings().home):
        raise typer.BadParameter(
            "orders asleep are in no provider's books: stop the stack that runs here,"
            " and the benchmark starts one to throw away",
            param_hint="--asleep",
        )
    console = Console()
    try:
        found = asyncio.run(_orders(console, count, concurrency, lines, asleep, (server, workers)))
    except (ToolMissing, ChildFailed, NotAsleep) as failed:
        console.print(str(failed), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from failed
    console.print(_table(found))
    if json_path is not None:
        json_path.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    raise typer.Exit(1 if found.without_verdict else 0)


@app.command()
def returns(
    count: Annotated[int, typer.Option("--returns", min=1, help="How many to take back.")] = 100,
    concurrency: Annotated[int, typer.Option(min=1, help="Returns in the air at once.")] = 20,
    server: OnServer = None,
    workers: Workers = None,
    json_path: JsonPath = None,
) -> None:
    """Deliver orders, see all of them come back, and compare with bare Temporal.

    Uses the stack that runs; or starts one in a folder of its own, and throws it away.
    """
    console = Console()
    try:
        found = asyncio.run(_returns(console, count, concurrency, (server, workers)))
    except (ToolMissing, ChildFailed) as failed:
        console.print(str(failed), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from failed
    console.print(_table(found))
    if json_path is not None:
        json_path.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    raise typer.Exit(1 if found.not_closed else 0)


async def _returns(
    console: Console, count: int, concurrency: int, on: tuple[Server | None, int | None]
) -> ReturnsBench:
    def notice(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False)

    async with (
        _a_stack(on, {"OMS_GRACE_SECONDS": "0"}, notice) as running,
        at_speed(running.simulator, SPEED),
        ApiClient.at(running.api, running.keys["operator"]) as api,
    ):
        with loading(console) as report:
            run = ReturnsRun(running, api, returns=count, concurrency=concurrency, told=report)
            return await run.measure()


@app.command()
def plot(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="What `--json` wrote.")
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The picture; .svg or .png.")] = Path(
        "docs/images/performance.svg"
    ),
) -> None:
    """Draw how cost grows, from the figures of several runs of `oms bench orders`.

    By worker processes, by orders asleep and by lines: of each the runs that differ in it alone.
    """
    try:
        from workers.bench import plot as plotting  # noqa: PLC0415  (the extra `plots`)
    except ModuleNotFoundError as missing:
        Console().print(f"{missing.name} is missing: `make dev` brings it", style="red")
        raise typer.Exit(1) from missing
    plotting.draw(plotting.read(files), out)
    Console().print(f"wrote {out}", markup=False, highlight=False)


async def _orders(
    console: Console,
    count: int,
    concurrency: int,
    lines: int,
    asleep: int,
    on: tuple[Server | None, int | None],
) -> OrdersBench:
    def notice(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False)

    grace = max(5, BURST_SECONDS_AN_ORDER * count)
    async with (
        _a_stack(on, {"OMS_GRACE_SECONDS": str(grace)}, notice) as running,
        at_speed(running.simulator, SPEED),
        ApiClient.at(running.api, running.keys["operator"]) as api,
    ):
        with loading(console) as report:
            run = OrdersRun(
                running,
                api,
                orders=count,
                concurrency=concurrency,
                lines=lines,
                asleep=asleep,
                told=report,
            )
            return await run.measure()


@app.command()
def stock(
    seconds: Annotated[float, typer.Option(min=1, help="For each side of each case.")] = 8,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls in the air at once.")] = 8,
    rows: Annotated[
        int, typer.Option(min=100_000, help="Stock rows in the end; all of it takes minutes.")
    ] = SIZES[-1],
    json_path: JsonPath = None,
) -> None:
    """Reserve stock, ask what is available and import, each beside its floor.

    On a database of its own, thrown away afterwards: the stack that runs is left alone.
    """
    console = Console()
    sizes = [*(size for size in SIZES if size < rows), rows]
    try:
        found = asyncio.run(_stock(console, seconds, concurrency, sizes))
    except (ChildFailed, PostgresMissing, PgBenchFailed) as failed:
        console.print(str(failed), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from failed
    console.print(_cases(found))
    if json_path is not None:
        json_path.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")


async def _stock(
    console: Console, seconds: float, concurrency: int, sizes: Sequence[int]
) -> StockBench:
    with loading(console) as report:
        async with a_database() as server:
            db = connect(server.url(), pool_size=concurrency)
            program = binaries() / "pgbench"
            run = StockRun(
                db,
                PgBench(program, server.url()) if program.exists() else None,
                at_once=concurrency,
                seconds=seconds,
                sizes=sizes,
                told=report,
            )
            try:
                return await run.measure()
            finally:
                await db.dispose()


def _cases(found: StockBench) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("case", no_wrap=True)
    for name in ("per s", "floor", "ratio", "pgbench", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for case in found.cases:
        pgbench = "not measured" if case.case.startswith("reservations") else ""
        if case.pgbench_per_second is not None:
            pgbench = f"{case.pgbench_per_second:,.0f}"
        times = [f"{ms:,.1f}" if ms is not None else "" for ms in (case.p50_ms, case.p99_ms)]
        table.add_row(
            case.case,
            f"{case.per_second:,.0f}",
            f"{case.floor_per_second:,.0f}",
            f"{case.of_floor:.2f}",
            pgbench,
            *times,
        )
    return table


@asynccontextmanager
async def _a_stack(
    on: tuple[Server | None, int | None], environment: dict[str, str], report: Callable[[str], None]
) -> AsyncIterator[Running]:
    if running := read_running(settings().home):
        yield running
        return
    home = Path(tempfile.mkdtemp(prefix="oms-bench-"))
    home.chmod(0o711)  # PostgreSQL's account passes through
    server, workers = on
    stack = Stack(home, server=server, workers=workers, environment=environment, report=report)
    try:
        yield await stack.start()
    finally:
        await stack.stop()
        shutil.rmtree(home)


def _table(found: BaseModel) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in found.model_dump().items():
        words = name.replace("_", " ")
        if isinstance(value, dict):
            for part, figure in value.items():
                table.add_row(f"{words}: {part}", f"{figure:,}")
        else:
            table.add_row(words, f"{value:,}")
    return table
