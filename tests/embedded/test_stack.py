import asyncio
import json
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from typing_extensions import override

from workers import stack as stack_module
from workers.cli import as_status
from workers.embedded.processes import Child
from workers.embedded.services import Addresses, Plan, Service, plan
from workers.stack import AlreadyRunning, OtherServer, Server, Stack, stop_running
from workers.state import load_secrets, read_running

Told = list[str]


class BareStack(Stack):
    """Our own processes without the servers below them."""

    @override
    async def _database(self) -> None:
        pass

    @override
    async def _temporal(self) -> None:
        pass


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
async def stack(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BareStack]:
    monkeypatch.setattr(stack_module, "plan", sleepers("sleep 60"))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    bare = BareStack(tmp_path / "home", report=told.append)
    yield bare
    await bare.stop()


def sleepers(script: str) -> Callable[..., Plan]:
    """Plan three processes that run a line of shell; each is ready once it was started."""

    def plan(home: Path, *_: object, **__: object) -> Plan:
        def service(name: str) -> Service:
            child = Child(name, ["sh", "-c", f"exec {script}"], log=home / "log" / f"{name}.log")
            return Service(child, child.start)

        return Plan(
            {name: service(name) for name in ("simulator", "worker-1", "worker-2", "api")},
            Addresses(
                api="http://127.0.0.1:8080",
                simulator="http://127.0.0.1:8090",
                temporal="127.0.0.1:7233",
                temporal_ui="http://127.0.0.1:8233",
                database="postgresql+psycopg://oms@127.0.0.1/oms",
            ),
        )

    return plan


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


async def test_a_running_stack_shows_its_addresses_and_keys_as_the_contract_says(
    stack: BareStack,
) -> None:
    running = await stack.start()

    shown = json.loads(json.dumps(as_status(running)))
    assert {"api", "simulator", "temporal_ui"} <= set(shown)
    assert set(shown["keys"]) == {"operator", "channel", "node"}
    assert set(shown["webhook_secrets"]) == {"payments", "carriers", "nodes"}
    assert all(secret.startswith("whsec_") for secret in shown["webhook_secrets"].values())


async def test_what_holds_keys_is_readable_by_its_owner_alone(stack: BareStack) -> None:
    await stack.start()

    for name in ("state.json", "secrets.json"):
        assert stat.S_IMODE((stack.home / name).stat().st_mode) == 0o600


async def test_keys_stay_the_same_over_a_restart(stack: BareStack) -> None:
    first = (await stack.start()).keys
    await stack.stop()

    assert (await stack.start()).keys == first


async def test_nothing_runs_and_nothing_is_claimed_after_a_stop(stack: BareStack) -> None:
    await stack.start()
    pids = stack.pids

    await stack.stop()

    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert read_running(stack.home) is None


async def test_a_second_stack_in_the_same_home_says_that_one_runs(stack: BareStack) -> None:
    await stack.start()

    with pytest.raises(AlreadyRunning):
        await BareStack(stack.home).start()

    assert set(stack.pids) == {"simulator", "worker-1", "worker-2", "api"}


async def test_a_process_that_dies_is_started_again_with_a_notice(
    stack: BareStack, told: Told
) -> None:
    await stack.start()
    before = stack.pids["worker-1"]

    psutil.Process(before).kill()
    await until(lambda: stack.pids.get("worker-1", before) != before)

    assert "worker-1 died (SIGKILL); starting it again" in told
    known = read_running(stack.home)
    assert known is not None
    assert known.processes["worker-1"].pid == stack.pids["worker-1"]


async def test_a_process_that_keeps_dying_stops_the_stack(
    stack: BareStack, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "plan", sleepers("false"))
    monkeypatch.setattr(stack_module, "RESTART_PAUSE", 0)
    await stack.start()

    async with asyncio.timeout(20):
        await stack.failed.wait()

    assert any("keeps dying" in line for line in told)


async def test_a_killed_process_stays_down_until_it_is_wanted_again(stack: BareStack) -> None:
    await stack.start()

    await stack.kill("worker-1")
    assert set(stack.pids) == {"simulator", "worker-2", "api"}

    await stack.restart("worker-1")
    assert set(stack.pids) == {"simulator", "worker-1", "worker-2", "api"}


async def test_a_server_of_ones_own_is_used_rather_than_the_one_asked_for_and_it_is_said(
    tmp_path: Path, told: Told, stack: BareStack
) -> None:
    asked = BareStack(tmp_path / "other", server=Server.REAL, report=told.append)

    await asked.start()
    await asked.stop()

    assert "TEMPORAL_ADDRESS=127.0.0.1:1 is used, not the real server" in told


async def test_all_workers_go_and_come_back_together(stack: BareStack) -> None:
    await stack.start()

    await stack.kill("worker")
    assert set(stack.pids) == {"simulator", "api"}

    await stack.restart("worker")
    assert set(stack.pids) == {"simulator", "worker-1", "worker-2", "api"}


async def test_a_home_stays_with_the_server_that_keeps_its_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "temporal.server").write_text("real\n")

    with pytest.raises(OtherServer, match="kept by the real server"):
        await BareStack(home, server=Server.EMBEDDED).start()

    assert read_running(home) is None


async def test_what_a_killed_supervisor_left_behind_is_swept_up(stack: BareStack) -> None:
    running = await stack.start()
    await stack.stop()
    orphan = await asyncio.create_subprocess_exec("sleep", "60")
    left = stack_module.state_of(running, {"worker-1": orphan.pid})
    (stack.home / "state.json").write_text(left.model_dump_json())

    await stack.start()

    # How it ended is told to whoever asks the kernel first, which may be the sweep.
    assert await asyncio.wait_for(orphan.wait(), 30) in (-signal.SIGKILL, 255)
    assert not psutil.pid_exists(orphan.pid)


async def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    script = f"""
import asyncio, pathlib
from workers.embedded.processes import Child
async def main():
    child = Child("sleeper", ["sleep", "60"], log=pathlib.Path({str(tmp_path)!r}) / "log")
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    child = psutil.Process(int(await supervisor.stdout.readline()))

    supervisor.kill()
    await supervisor.wait()

    child.wait(timeout=10)


async def test_stopping_where_nothing_runs_says_so(tmp_path: Path) -> None:
    assert stop_running(tmp_path) is False


def test_the_secrets_of_two_homes_differ(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    one, two = load_secrets(tmp_path / "one"), load_secrets(tmp_path / "two")

    assert one.stack_id != two.stack_id
    assert not set(one.keys.values()) & set(two.keys.values())


def test_each_process_tells_its_metrics_on_a_port_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("OMS_METRICS_PORT", "29464")
    tmp_path.chmod(0o711)

    services = plan(tmp_path, load_secrets(tmp_path), temporal=None, workers=3, extra={}).services

    ports = {
        name: service.child.environment.get("OMS_METRICS_PORT")
        for name, service in services.items()
        if name.startswith("worker") or name == "api"
    }
    assert ports["worker-1"] == "29464"
    assert len(set(ports.values())) == 4
