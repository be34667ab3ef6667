"""How much processor time each process of the stack has used."""

import contextlib
from collections.abc import Mapping

import psutil

from workers.stack import kind_of
from workers.state import Process


def cpu_seconds(processes: Mapping[str, Process]) -> dict[str, float]:
    """Give user and system time by name, each with its children; `worker-1`, … count as `worker`.

    PostgreSQL's backends are children of its first process, those that ended are in its account.
    """
    used: dict[str, float] = {}
    for name, process in processes.items():
        kind = kind_of(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            used[kind] = used.get(kind, 0) + _with_children(psutil.Process(process.pid))
    return used


def _with_children(process: psutil.Process) -> float:
    own = process.cpu_times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds
