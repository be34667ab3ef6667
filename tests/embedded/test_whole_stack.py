import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from workers.doctor import Health, examine
from workers.stack import Stack


async def test_the_doctor_finds_nothing_wrong_with_a_running_stack(whole_stack: Stack) -> None:
    found = await examine(whole_stack.status())

    assert [finding for finding in found if finding.health is Health.BROKEN] == []
    looked_at = {finding.what for finding in found}
    assert {"database", "migrations", "Temporal", "search attributes"} <= looked_at
    assert {"worker-1", "API", "simulator"} <= looked_at


async def test_the_doctor_names_what_is_down_and_what_starts_it(whole_stack: Stack) -> None:
    await whole_stack.kill("simulator")

    found = await examine(whole_stack.status())

    await whole_stack.restart("simulator")
    broken = [finding for finding in found if finding.health is Health.BROKEN]
    assert [(finding.what, finding.fix) for finding in broken] == [("simulator", "make up")]


async def test_a_killed_worker_is_back_and_asks_for_work(whole_stack: Stack) -> None:
    before = whole_stack.pids["worker-1"]

    psutil.Process(before).kill()
    async with asyncio.timeout(60):
        while not await is_well(whole_stack, "worker-1", other_than=before):
            await asyncio.sleep(0.2)


async def is_well(stack: Stack, name: str, *, other_than: int) -> bool:
    running = stack.status()
    known = running.processes.get(name) if running else None
    if known is None or known.pid == other_than:
        return False
    found = await examine(running)
    return Health.GOOD in {finding.health for finding in found if finding.what == name}


@pytest.mark.usefixtures("temporal_address")  # so that Temporal is there before the clock runs
async def test_killing_oms_up_leaves_no_process_and_the_next_one_starts(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    environment = {**os.environ, "OMS_HOME": str(tmp_path / "home")}
    first = await start_oms_up(environment)
    children = psutil.Process(first.pid).children(recursive=True)
    assert len(children) >= 5

    first.kill()
    await first.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []

    second = await start_oms_up(environment)
    children = psutil.Process(second.pid).children(recursive=True)
    second.terminate()
    assert await second.wait() == 0
    assert psutil.wait_procs(children, timeout=1)[1] == []


async def start_oms_up(environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.cli", "up"),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(120):
        while await status(environment) is None:
            assert up.returncode is None, "oms up ended by itself"
            await asyncio.sleep(0.2)
    return up


async def status(environment: Mapping[str, str]) -> object:
    asked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.cli", "status", "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await asked.communicate()
    return json.loads(answer)
