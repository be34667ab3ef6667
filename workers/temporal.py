"""The connection to Temporal, and what it must know before the first order."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client, Interceptor
from temporalio.common import SearchAttributeKey
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError, RPCStatusCode

from workers import tracing
from workers.encryption import EncryptingCodec, KeyRing
from workers.failures import DiscreetFailures, SealedFailures
from workers.settings import settings
from workflows import search

SEARCH_ATTRIBUTES: Mapping[str, int] = {
    key.name: int(key.indexed_value_type)
    for key in vars(search).values()
    if isinstance(key, SearchAttributeKey)
}
"""What operators may search runs by: all that our workflows set.

Setting one that the server does not know fails, so they are made before the first worker starts.
"""


RETENTION = timedelta(days=30)
"""How long a namespace that we register keeps closed runs."""


def log_through_python(*, metrics_at: str | None = None) -> None:
    """Send the lines of the SDK's core the way of all others. Call it before the first client.

    Args:
        metrics_at: ``host:port`` where the SDK tells its metrics; none: nowhere.
    """
    forwarding = LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
    )
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")
    telemetry = TelemetryConfig(
        logging=LoggingConfig(levels, forwarding=forwarding),
        metrics=prometheus(metrics_at) if metrics_at else None,
    )
    Runtime.set_default(Runtime(telemetry=telemetry), error_if_already_set=False)


def prometheus(bind_address: str) -> PrometheusConfig:
    """How the SDK tells its metrics: in seconds, named as Prometheus's own are."""
    return PrometheusConfig(
        bind_address=bind_address,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
    )


def metrics_address(host: str, port: int | None) -> str | None:
    """``host:port``, or none without a port."""
    return None if port is None else f"{host}:{port}"


def data_converter(codec_keys: str | None = None) -> DataConverter:
    """How values cross to Temporal: by pydantic, sealed if there are keys (`KeyRing.read`).

    Every client, worker and replayer of ours needs this one.

    Raises:
        BadSetting: the keys cannot be read.
    """
    if not codec_keys:
        return DataConverter(
            payload_converter_class=PydanticPayloadConverter,
            failure_converter_class=DiscreetFailures,
        )
    ring = KeyRing.read(codec_keys)
    return DataConverter(
        payload_converter_class=PydanticPayloadConverter,
        failure_converter_class=SealedFailures if ring.seals_with else DiscreetFailures,
        payload_codec=EncryptingCodec(ring),
    )


def _data_converter() -> DataConverter:
    keys = settings().codec_keys
    return data_converter(keys.get_secret_value() if keys else None)


async def connect(*, interceptors: tuple[Interceptor, ...] = (), lazy: bool = False) -> Client:
    """Connect to the server that ``TEMPORAL_ADDRESS`` names, by default on this machine.

    Args:
        interceptors: See every call.
        lazy: Do not wait for the server: the first call does.

    Raises:
        RuntimeError: nobody answers there (the SDK's own).
        BadSetting: the codec keys cannot be read.
    """
    where = ClientConfig.load_client_connect_config()
    where.setdefault("target_host", "localhost:7233")
    return await Client.connect(
        **where,
        data_converter=_data_converter(),
        interceptors=(*tracing.interceptors(), *interceptors),
        lazy=lazy,
    )


async def connect_patiently(*, within: float) -> Client:
    """Connect as `connect` does to a server that may still be starting.

    Raises:
        RuntimeError: nobody answers there within so many seconds (the SDK's own).
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while True:
        try:
            return await connect()
        except RuntimeError:
            if clock() > deadline:
                raise
        await asyncio.sleep(0.5)


async def connect_to(address: str) -> Client:
    """Connect to the server at ``host:port``, in the namespace that the environment names.

    Raises:
        RuntimeError: nobody answers there (the SDK's own).
    """
    where = ClientConfig.load_client_connect_config()
    where["target_host"] = address
    return await Client.connect(**where, data_converter=_data_converter())


async def answers(address: str) -> bool:
    """Whether a Temporal server answers at ``host:port``, whatever namespaces it has."""
    try:
        await connect_to(address)
    except RuntimeError:  # the SDK found nobody there
        return False
    return True


async def reachable(address: str) -> bool:
    """Whether a Temporal server answers at ``host:port`` and has its namespace ready."""
    try:
        await missing_search_attributes(await connect_to(address))
    except (RPCError, RuntimeError):  # RuntimeError: the SDK found nobody there
        return False
    return True


async def ensure_namespace(client: Client, *, retention: timedelta = RETENTION) -> bool:
    """Register the client's namespace, unless the server has it. Safe to run again.

    Args:
        client: Of the server and the namespace.
        retention: How long a new namespace keeps closed runs; an existing one is left alone.

    Returns:
        Whether it was registered now.

    Raises:
        RPCError: the server refuses.
    """
    if await _knows_namespace(client):
        return False
    wanted = RegisterNamespaceRequest(namespace=client.namespace)
    wanted.workflow_execution_retention_period.FromTimedelta(retention)
    try:
        await client.workflow_service.register_namespace(wanted)
    except RPCError as refused:
        # Somebody else registered it between our look and our call.
        if refused.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
        return False
    return True


async def ensure_retention(client: Client, retention: timedelta) -> timedelta:
    """Have closed runs kept for so long in the client's namespace. Safe to run again.

    Returns:
        How long they are kept now: a server that lets nobody change it keeps its own time.

    Raises:
        RPCError: the server does not answer, or knows no such namespace.
    """
    service, namespace = client.workflow_service, client.namespace
    known = await service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    kept = known.config.workflow_execution_retention_ttl.ToTimedelta()
    if kept == retention:
        return retention
    wanted = UpdateNamespaceRequest(namespace=namespace)
    wanted.config.workflow_execution_retention_ttl.FromTimedelta(retention)
    try:
        await service.update_namespace(wanted)
    except RPCError as refused:
        if refused.status not in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            raise
        return kept
    return retention


async def _knows_namespace(client: Client) -> bool:
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as refused:
        if refused.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def missing_search_attributes(client: Client) -> list[str]:
    """Name the search attributes that the server does not have yet, sorted."""
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return sorted(set(SEARCH_ATTRIBUTES) - set(answer.custom_attributes))


async def ensure_search_attributes(client: Client) -> list[str]:
    """Create the search attributes that are missing and name them. Safe to run again.

    Raises:
        RPCError: the server refuses, or one exists with another type.
    """
    missing = await missing_search_attributes(client)
    if missing:
        try:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace,
                    search_attributes={
                        name: IndexedValueType.ValueType(SEARCH_ATTRIBUTES[name])
                        for name in missing
                    },
                )
            )
        except RPCError as refused:
            # Somebody else created them between our look and our call.
            if refused.status is not RPCStatusCode.ALREADY_EXISTS:
                raise
    return missing
