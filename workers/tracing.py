"""Whether this process sends OpenTelemetry traces. Off by default.

On when ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``…_TRACES_ENDPOINT``) is set; OpenTelemetry's other
settings hold as well. Its SDK, from the extra `traces`, is imported only then.
"""

import os

import structlog
from temporalio.client import Interceptor

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

log = structlog.get_logger()


def is_wanted() -> bool:
    """Whether the environment names somebody who takes traces."""
    return any(os.environ.get(name) for name in _ENDPOINTS)


def configure(service: str) -> None:
    """Send traces if they are wanted. Call it once, before the first client.

    Args:
        service: The name of this process, unless ``OTEL_SERVICE_NAME`` gives another.
    """
    if not is_wanted():
        return
    from workers import spans  # noqa: PLC0415 - who wants no traces need not have the extra

    os.environ.setdefault("OTEL_SERVICE_NAME", service)
    spans.send()
    log.info("traced", service=os.environ["OTEL_SERVICE_NAME"])


def interceptors() -> tuple[Interceptor, ...]:
    """What a client needs so that runs and activities are traced: nothing unless it is wanted."""
    if not is_wanted():
        return ()
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415 - as above

    return (TracingInterceptor(),)
