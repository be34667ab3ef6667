"""Which build the runs are on: making one current, and telling how things stand.

Runs follow the current build at their next step, whatever build they began on (decision 17). So
going back is the same as going forward.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode

from oms.errors import BadSetting
from workers.pollers import unserved
from workers.settings import Settings
from workflows.queues import Kind

_LOOKS_EVERY = 0.5  # seconds
_STILL_REGISTERING = {RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION}
"""A worker is seen to ask a moment before the server counts its queue to its build."""


class NobodyWorks(Exception):
    """No worker of this build asks for some kinds of work: made current, it would do none."""

    def __init__(self, version: WorkerDeploymentVersion, kinds: Sequence[Kind]) -> None:
        super().__init__(
            f"no worker of build {version.build_id} asks for: {', '.join(kinds)}. Start workers"
            f" with OMS_DEPLOYMENT={version.deployment_name} OMS_BUILD_ID={version.build_id}"
        )


class Build(NamedTuple):
    """A build that workers had once. `lacks`: kinds of work that none of its workers asks for."""

    id: str
    is_current: bool
    lacks: tuple[Kind, ...]


def version_of(config: Settings) -> WorkerDeploymentVersion | None:
    """Tell what a worker is; none where versioning is off.

    Raises:
        BadSetting: half of it is set.
    """
    if config.deployment is None and config.build_id is None:
        return None
    if config.deployment is None or config.build_id is None:
        raise BadSetting("set OMS_DEPLOYMENT and OMS_BUILD_ID, or neither")
    return WorkerDeploymentVersion(config.deployment, config.build_id)


async def make_current(
    client: Client, version: WorkerDeploymentVersion, *, task_queue: str, within: timedelta
) -> str | None:
    """Let all runs follow this build. Safe to repeat.

    Waits until workers of the build ask for every kind of work: a kind without one would stand
    still, and nobody be told.

    Args:
        client: Of the server that has the runs.
        version: The build.
        task_queue: The product's own.
        within: How long to wait for the workers.

    Returns:
        The build that was current before, which may be this one; none if there was none.

    Raises:
        NobodyWorks: its workers did not come in time.
        temporalio.service.RPCError: Temporal does not answer, or refuses.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + within.total_seconds()
    while lacks := await unserved(client, task_queue, version=version):
        if clock() >= until:
            raise NobodyWorks(version, lacks)
        await asyncio.sleep(_LOOKS_EVERY)
    before = _current(await _describe(client, version.deployment_name))
    while before != version.build_id:
        try:
            await _set_current(client, version)
            break
        except RPCError as fault:
            if fault.status not in _STILL_REGISTERING or clock() >= until:
                raise
        await asyncio.sleep(_LOOKS_EVERY)
    return before


async def builds(client: Client, deployment: str, *, task_queue: str) -> list[Build]:
    """Tell of every build that the server knows, the newest first."""
    info = await _describe(client, deployment)
    known = sorted(
        info.version_summaries if info else (),
        key=lambda each: each.create_time.ToNanoseconds(),
        reverse=True,
    )
    found = []
    for each in known:
        id = each.deployment_version.build_id
        version = WorkerDeploymentVersion(deployment, id)
        lacks = await unserved(client, task_queue, version=version)
        found.append(Build(id, id == _current(info), tuple(lacks)))
    return found


async def _set_current(client: Client, version: WorkerDeploymentVersion) -> None:
    await client.workflow_service.set_worker_deployment_current_version(
        SetWorkerDeploymentCurrentVersionRequest(
            namespace=client.namespace,
            deployment_name=version.deployment_name,
            build_id=version.build_id,
            identity=client.identity,
        )
    )


async def _describe(client: Client, deployment: str) -> WorkerDeploymentInfo | None:
    try:
        answer = await client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
        )
    except RPCError as fault:
        if fault.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return answer.worker_deployment_info


def _current(info: WorkerDeploymentInfo | None) -> str | None:
    return info.routing_config.current_deployment_version.build_id or None if info else None
