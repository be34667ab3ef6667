"""`oms bench routing` and `oms bench published`: how fast and how good the plans are."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from adapters.db.engine import connect
from workers.bench.own_database import a_database
from workers.bench.reserving import ReservingRun
from workers.bench.routing import (
    LINES,
    LOCATIONS,
    REPEAT,
    Case,
    Referee,
    RoutingBench,
    RoutingRun,
)
from workers.demo.board import loading

if TYPE_CHECKING:  # the extra `solvers`, which not everybody has
    from workers.bench.published_days import Days, PublishedBench

MISSING = 'HiGHS is missing, which plans the same orders: pip install "highspy>=1.11,<2"'

AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
JsonFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", dir_okay=False, help="With --json: write them here instead."),
]


def routing(
    file: JsonFile = None,
    as_json: AsJson = False,
    repeat: Annotated[int, typer.Option(min=1, help="Orders of each size.")] = REPEAT,
    seconds: Annotated[
        float, typer.Option(min=0, help="Enough for a size, once 20 orders are planned.")
    ] = 60,
    highs: Annotated[bool, typer.Option(help="Let HiGHS plan some of the same orders.")] = True,
    highs_seconds: Annotated[
        float, typer.Option(min=0.1, help="For HiGHS at each size, and at most for an order.")
    ] = 20,
    lines: Annotated[str, typer.Option(help="Sizes of orders.")] = ",".join(map(str, LINES)),
    locations: Annotated[str, typer.Option(help="Sizes of networks.")] = ",".join(
        map(str, LOCATIONS)
    ),
    database: Annotated[
        bool, typer.Option(help="Plan and reserve at 1,000 places on a database instead.")
    ] = False,
) -> None:
    """Plan orders of many sizes, candidates given, and let HiGHS plan the same ones.

    With --database: read, plan and reserve on a PostgreSQL of its own, beside the bare statements.
    """
    if database:
        show(*asyncio.run(_database(repeat)), file, as_json=as_json)
        return
    with loading(Console(stderr=True)) as told:
        found = RoutingRun(
            lines=_sizes(lines, "--lines"),
            locations=_sizes(locations, "--locations"),
            repeat=repeat,
            seconds=seconds,
            highs=_highs() if highs else None,
            highs_seconds=highs_seconds,
            told=told,
        ).measure()
    show(found, _cases(found), file, as_json=as_json)
    raise typer.Exit(1 if any(case.differ for case in found.cases) else 0)


async def _database(repeat: int) -> tuple[RoutingBench, Table]:
    with loading(Console(stderr=True)) as told:
        async with a_database() as server:
            db = connect(server.url(), pool_size=2)
            try:
                found = await ReservingRun(db, repeat=repeat, told=told).measure()
            finally:
                await db.dispose()
    return found, _from_database(found)


def published(
    file: JsonFile = None,
    as_json: AsJson = False,
    small_days: Annotated[
        int, typer.Option(min=0, help="Days of 100 periods, with their optimum.")
    ] = 20,
    large_days: Annotated[
        int, typer.Option(min=0, help="Days of 10,000 periods, with a bound.")
    ] = 1,
) -> None:
    """Plan days of the setting of Jasin and Sinha, order by order, beside what is best for all.

    At most one order comes in a period. Ends with code 1 if an order costs more than enumeration.
    """
    _highs()
    from workers.bench.published_days import PublishedRun  # noqa: PLC0415  (the extra `solvers`)

    with loading(Console(stderr=True)) as told:
        found = PublishedRun(small_days=small_days, large_days=large_days, told=told).measure()
    show(found, _days(found), file, as_json=as_json)
    raise typer.Exit(any(days.equal_to_enumeration != days.orders for days in found.days))


def show(found: BaseModel, table: Table, file: Path | None, *, as_json: bool) -> None:
    """Print the table, or the figures as JSON there or into the file."""
    if file is not None:
        file.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if as_json and file is None:
        typer.echo(found.model_dump_json(indent=2))
    else:
        Console().print(table)


def _highs() -> Referee:
    try:
        from workers.bench.highs import plan  # noqa: PLC0415  (the extra `solvers`)
    except ModuleNotFoundError as missing:
        Console(stderr=True).print(
            f"{MISSING}, or leave it out by --no-highs", style="red", markup=False
        )
        raise typer.Exit(1) from missing
    return plan


def _sizes(written: str, option: str) -> list[int]:
    sizes = [int(part) if part.strip().isdecimal() else 0 for part in written.split(",")]
    if min(sizes) < 1:
        raise typer.BadParameter("numbers from 1, with commas between", param_hint=option)
    return sizes


def _cases(found: RoutingBench) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (
        "lines", "places", "orders", "p50 ms", "p99 ms", "CPU p99", "optimal", "off by",
        "HiGHS ms", "solved", "faster", "differ",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for case in found.cases:
        table.add_row(
            f"{case.lines}",
            f"{case.locations:,}",
            f"{case.orders}",
            f"{case.p50_ms:,.2f}",
            f"{case.p99_ms:,.2f}",
            f"{case.cpu_p99_ms:,.2f}",
            f"{case.optimal_share:.1%}",
            f"{case.bound_gap:.2%}",
            *_beside(case),
        )
    return table


def _from_database(found: RoutingBench) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("rules")
    for name in (
        "lines",
        "p50 ms",
        "p99 ms",
        "CPU p99",
        "plan",
        "floor",
        "p99",
        "ratio",
        "order",
        "p99",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for case in found.database:
        times = (
            case.p50_ms, case.p99_ms, case.cpu_p99_ms, case.plan_p50_ms,
            case.floor_p50_ms, case.floor_p99_ms, case.of_floor,
            case.order_p50_ms, case.order_p99_ms,
        )  # fmt: skip
        table.add_row(case.rules, f"{case.lines}", *(f"{each:,.1f}" for each in times))
    return table


def _beside(case: Case) -> list[str]:
    if case.highs_p50_ms is None:
        return []
    return [
        f"{case.highs_p50_ms:,.1f}",
        f"{case.highs_solved}/{case.highs_cases}",
        f"{case.times_faster:,.1f}",
        f"{case.differ}",
    ]


def _days(found: "PublishedBench") -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for days in found.days:
        table.add_column(f"{days.days} × {days.periods:,} periods", justify="right")
    rows: list[tuple[str, Callable[[Days], str]]] = [
        ("orders, units", lambda d: f"{d.orders:,}, {d.units:,}"),
        ("units not served", lambda d: f"{d.not_served:,}"),
        ("orders that cost what enumeration finds", lambda d: f"{d.equal_to_enumeration:,}"),
        ("bound", lambda d: f"{d.bound_usd:,.2f} USD"),
        ("which is", lambda d: d.bound),
        ("one by one", lambda d: f"{d.one_by_one_usd:,.2f} USD"),
        ("above the bound", lambda d: f"{d.above_bound:.2%}"),
        ("each article from the nearest", lambda d: f"{d.nearest_usd:,.2f} USD"),
    ]
    for name, of in rows:
        table.add_row(name, *(of(days) for days in found.days))
    ways = {(way.release_hours, way.how): None for days in found.days for way in days.together}
    for hours, how in ways:
        closed = [
            {(w.release_hours, w.how): f"{w.gap_closed:.1%}" for w in days.together}
            for days in found.days
        ]
        cells = [of_days.get((hours, how), "") for of_days in closed]
        table.add_row(f"closed by {how}, released every {hours:.0f} h", *cells)
    return table
