"""The spans of a process that sends traces: what makes them, and what of them may leave.

FastAPI makes one for each request, Temporal's interceptor those of runs and activities, and this
module one for each call outside. They carry numbers of orders and names of routes and steps, never
a text: only the attributes listed here leave the process, and of an exception only its kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status
from typing_extensions import override

from adapters import http

TOLD = frozenset(
    (
        "temporalWorkflowID",
        "temporalRunID",
        "temporalActivityID",
        "temporalUpdateID",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "error.type",
        "exception.type",
        "server.address",
        "server.port",
    )
)
"""The attributes that leave. A query may name a customer, a message quote a row."""


def send() -> None:
    """Send the spans of this process to where OpenTelemetry's settings say."""
    trace.set_tracer_provider(provider_with(BatchSpanProcessor(Discreet(OTLPSpanExporter()))))
    http.surround_calls(calling)


def provider_with(processor: SpanProcessor) -> TracerProvider:
    """What makes spans and hands them on."""
    provider = TracerProvider()
    provider.add_span_processor(processor)
    return provider


@contextmanager
def calling(method: str, path: str) -> Iterator[Mapping[str, str]]:
    """A span around one call to the outside; gives the headers that carry it on."""
    with trace.get_tracer("oms").start_as_current_span(
        f"{method} {_kind(path)}",
        kind=SpanKind.CLIENT,
        attributes={"http.request.method": method},
    ):
        headers: dict[str, str] = {}
        propagate.inject(headers)
        yield headers


def _kind(path: str) -> str:
    """The words of a path, a name or a number in it left out."""
    words = (word for word in path.split("/")[1:] if word)
    return "/" + "/".join(word if word.isalpha() and word.islower() else "…" for word in words)


class Discreet(SpanExporter):
    """Keeps back from an exporter what may be personal."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_bare(span) for span in spans])

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _bare(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_told(span.attributes),
        events=[Event(each.name, _told(each.attributes), each.timestamp) for each in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _told(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (attributes or {}).items() if name in TOLD}
