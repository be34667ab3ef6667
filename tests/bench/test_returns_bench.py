"""`oms bench returns` measures what it says, on a stack that runs."""

import asyncio
import json
import sys
from pathlib import Path

from workers.stack import Stack

PROMISED = {
    "closed_per_second", "floor_per_second", "closed_of_floor", "ask_p50_ms", "ask_p99_ms",
    "refund_p50_ms", "refund_p99_ms", "events_per_return", "history_bytes_per_return",
    "cpu_seconds_per_return", "cpu_of_floor",
}  # fmt: skip


async def test_orders_that_come_back_are_measured_on_the_stack_that_runs(
    whole_stack: Stack, tmp_path: Path
) -> None:
    written = tmp_path / "figures.json"
    options = ("--returns", "3", "--concurrency", "1", "--json", str(written))
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.cli", "bench", "returns", *options),
        env={"OMS_HOME": str(whole_stack.home), "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await bench.communicate()

    assert bench.returncode == 0, said.decode()
    figures = json.loads(written.read_text())
    assert all(figures[name] > 0 for name in PROMISED)
    assert (figures["returns"], figures["not_closed"]) == (3, 0)
    assert figures["regular_activities_per_return"] == 2, "its label and its refund"
    assert figures["events_per_return"] <= 60
