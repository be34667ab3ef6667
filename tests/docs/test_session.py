"""The session in the README is a real one."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from workers.stack import Stack

ROOT = Path(__file__).parents[2]


def session() -> str:
    """The commands under "A session", with the programs of this very environment."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"## A session.*?```sh\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    ours = {"oms": f"{sys.executable} -m workers.cli", "python": sys.executable}
    return re.sub(r"\.venv/bin/(oms|python)", lambda program: ours[program[1]], found[1])


async def test_the_session_of_the_readme_places_an_order(whole_stack: Stack) -> None:
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-euc",
        session(),
        cwd=ROOT,
        env=os.environ | {"OMS_HOME": str(whole_stack.home)},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await shell.communicate()
    answers = [json.loads(line) for line in said.decode().splitlines()]

    assert shell.returncode == 0
    assert answers[0] == {"speed": 3600.0}
    order = answers[-1]
    assert order["total_minor"] == 4488
    # 201, or 202 on a machine that is busy: the order is there, and goes on.
    while order["status"] == "pending":
        order = (await show(order["number"], whole_stack))["order"]
    assert order["status"] == "open"
    assert order["payments"]["authorized_minor"] == 4488


async def show(number: str, stack: Stack) -> dict[str, Any]:
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "workers.cli", "order", "show", number, "--json"),
        cwd=ROOT,
        env=os.environ | {"OMS_HOME": str(stack.home)},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await command.communicate()
    found: dict[str, Any] = json.loads(said)
    return found
