"""`oms demo`: show the whole thing working on this machine, and prove it by the audit."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oms.errors import OmsError
from workers.api_client import ApiClient
from workers.demo.board import loading, watching
from workers.demo.catalogue import Catalogue
from workers.demo.closing import Ending, ending_of, show_ending
from workers.demo.customers import SHOWPIECE
from workers.demo.example import example_retailer
from workers.demo.files import DataMissing, read_retailer
from workers.demo.loader import load
from workers.demo.returning import Returning, Wanted, of_records, two_to_show
from workers.demo.runner import Run
from workers.demo.surroundings import a_carrier, a_stack, at_speed, with_coordinates
from workers.embedded.obtain import ToolMissing
from workers.embedded.processes import ChildFailed
from workers.stack import OtherServer, Server
from workers.state import Running

DEFAULT_ORDERS, DEFAULT_ORDERS_OF_DATA, DEFAULT_SEED = 60, 200, 7

LEAST_SECONDS, SECONDS_AN_ORDER = 1800, 12
"""How long all orders together may take to reach their verdicts: the longer of the two."""

TERMINATED = 128 + signal.SIGTERM

_EXPECTED = (DataMissing, OtherServer, ToolMissing, ChildFailed, OmsError)

Orders = Annotated[
    int | None,
    typer.Option(min=1, help="How many orders to place; by default 60, or 200 with --data."),
]
Seed = Annotated[int, typer.Option(help="Draws stock and orders: the same seed, the same day.")]
Data = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="A retailer of your own: locations, products, stock, orders and postal codes.",
    ),
]
JsonPath = Annotated[
    Path | None, typer.Option("--json", dir_okay=False, help="Write the outcome here as JSON.")
]


OnServer = Annotated[
    Server | None, typer.Option(help="Temporal's server, as of `oms up`, if none runs yet.")
]


def demo(
    orders: Orders = None,
    seed: Seed = DEFAULT_SEED,
    data: Data = None,
    json_path: JsonPath = None,
    server: OnServer = None,
) -> None:
    """Place a retailer's orders and follow each to its verdict; leaves 0 if all is well.

    Uses the stack that runs, or starts one and stops it in the end.
    """
    console = Console()
    run = f"demo-{time.time_ns() // 1_000_000:x}"
    try:
        catalogue = _retailer(data, orders, seed, run)
        ending = asyncio.run(_demo(console, catalogue, run, server, repair=data is None))
    except asyncio.CancelledError:
        raise typer.Exit(TERMINATED) from None
    except (*_EXPECTED, ExceptionGroup) as failed:
        for fault in _expected_faults(failed):
            console.print(str(fault), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from failed
    if json_path is not None:
        json_path.write_text(ending.as_json() + "\n", encoding="utf-8")
    raise typer.Exit(0 if ending.is_good else 1)


def _retailer(data: Path | None, orders: int | None, seed: int, run: str) -> Catalogue:
    if data is None:
        return example_retailer(orders=orders or DEFAULT_ORDERS, seed=seed, prefix=run)
    return read_retailer(data, orders=orders or DEFAULT_ORDERS_OF_DATA)


async def _demo(
    console: Console, catalogue: Catalogue, run: str, server: Server | None, *, repair: bool
) -> Ending:
    _stop_when_told()

    def notice(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False)

    environment = {}
    if catalogue.postal_table:
        environment["OMS_POSTAL_TABLE"] = str(catalogue.postal_table.resolve())
    async with a_stack(environment, notice, server) as place:
        if catalogue.postal_table and not place.ours:
            notice("The stack that runs has its own postal codes: addresses go with coordinates.")
            catalogue = with_coordinates(catalogue)
        async with at_speed(place.running.simulator), _operator(place.running) as api:
            await _load(console, api, catalogue, run)
            showpiece = repair and len(catalogue.orders) > SHOWPIECE
            watched = Run(
                api,
                catalogue.orders,
                run=run,
                repair=catalogue.orders[SHOWPIECE]["reference"] if showpiece else None,
                notice=notice,
            )
            async with watching(console, watched):
                await watched.to_the_end(
                    within=max(LEAST_SECONDS, SECONDS_AN_ORDER * len(catalogue.orders))
                )
                seconds = watched.seconds
                async with a_carrier(place.running.simulator) as scan:
                    returning = Returning(api, scan, run=run, notice=notice)
                    watched.backs = returning.backs
                    await returning.to_the_end(
                        _coming_back(catalogue, watched), within=LEAST_SECONDS
                    )
            ending = await ending_of(watched, seconds)
            await show_ending(console, api, watched, ending, place)
    return ending


def _coming_back(catalogue: Catalogue, run: Run) -> list[Wanted]:
    """One by post and one at a till; then what the retailer's own records say came back."""
    stores = [id for id, place in catalogue.locations.items() if place["kind"] == "store"]
    store = stores[0] if stores else None
    if catalogue.returns:
        return of_records(catalogue.returns, run.entries, catalogue.orders, store)
    return two_to_show(run.entries, catalogue.orders, store)


async def _load(console: Console, api: ApiClient, catalogue: Catalogue, run: str) -> None:
    if catalogue.dropped:
        fields = ", ".join(sorted(catalogue.dropped))
        console.print(f"Fields the API does not know are left out: {fields}", style="dim")
    with loading(console) as report:
        await load(api, catalogue, run=run, report=report)


def _operator(running: Running) -> ApiClient:
    return ApiClient.at(running.api, running.keys["operator"])


def _stop_when_told() -> None:
    """Let SIGTERM end the run as Ctrl-C does: what we started is stopped in order."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _expected_faults(failed: BaseException) -> Iterator[BaseException]:
    """Give the faults a visitor can do something about; any other is a bug and goes on up."""
    if isinstance(failed, BaseExceptionGroup):
        for fault in failed.exceptions:
            yield from _expected_faults(fault)
    elif isinstance(failed, _EXPECTED):
        yield failed
    else:
        raise failed
