"""`oms bench orders` measures what it says, on a stack that runs."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from workers.bench.cpu import cpu_seconds
from workers.bench.orders import Books, busy_seconds, p99
from workers.stack import Stack
from workers.state import Process

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

PROMISED = {
    "confirmed_per_second", "delivered_per_second", "floor_per_second", "post_p50_ms",
    "post_p99_ms", "floor_post_p50_ms", "events_per_order", "history_bytes_per_order",
    "cpu_seconds_per_order", "floor_cpu_seconds_per_order", "cpu_of_floor",
}  # fmt: skip


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("last_confirmed", "first_grace_end", "last_closed", "busy"),
    [
        (10, 30, 50, 30),  # twenty seconds of grace in which nothing was to be done
        (10, 5, 50, 50),  # serving began while the last were being placed
        (10, 10, 50, 50),
    ],
)
def test_a_rate_counts_only_the_time_in_which_there_was_something_to_do(
    last_confirmed: float, first_grace_end: float, last_closed: float, busy: float
) -> None:
    books = Books(5, 5, after(last_confirmed), after(first_grace_end), after(last_closed))

    assert busy_seconds(NOON, books) == (last_confirmed, busy)


def test_one_slow_request_in_fifty_is_the_ninety_ninth_percentile() -> None:
    assert p99([1.0] * 49 + [7.0]) == 7.0
    assert p99([1.0] * 500 + [7.0]) == 1.0


def test_processor_time_is_added_up_by_kind_of_process() -> None:
    me = psutil.Process()
    here = Process(pid=me.pid, started=me.create_time())

    used = cpu_seconds({"worker-1": here, "worker-2": here, "api": here})

    assert set(used) == {"worker", "api"}
    assert used["worker"] > 1.5 * used["api"] > 0


async def oms_bench_orders(stack: Stack, *options: str) -> tuple[int | None, str]:
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.cli", "bench", "orders", *options),
        env={"OMS_HOME": str(stack.home), "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await bench.communicate()
    return bench.returncode, said.decode()


async def test_a_burst_is_measured_on_the_stack_that_runs(
    whole_stack: Stack, tmp_path: Path
) -> None:
    written = tmp_path / "figures.json"
    options = ("--orders", "3", "--concurrency", "2", "--json", str(written))
    code, said = await oms_bench_orders(whole_stack, *options)

    assert code == 0, said
    figures = json.loads(written.read_text())
    assert set(figures) >= PROMISED
    assert figures["without_verdict"] == 0
    assert figures["regular_activities_per_order"] == 4, "authorise, offer, label, capture"
    assert figures["events_per_order"] <= 140
    assert all(figures[name] > 0 for name in PROMISED)
    assert figures["asleep"] == figures["fill_seconds"] == 0


async def test_nothing_is_put_to_sleep_in_a_stack_that_stays(whole_stack: Stack) -> None:
    code, said = await oms_bench_orders(whole_stack, "--asleep", "10")

    assert code == 2
    assert "--asleep" in said
