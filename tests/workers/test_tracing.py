"""One trace tells an order's way, from the request to the provider; it tells nothing personal."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import Replayer

from adapters import http
from tests.histories.recording import FOLDER
from tests.world import World, a_shop
from workers import spans as spanning
from workers import tracing
from workers.sandbox import workflow_runner
from workers.serving import WORKFLOWS
from workers.temporal import data_converter


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Traces are on, and this holds what would be sent."""
    taken = InMemorySpanExporter()
    provider = spanning.provider_with(SimpleSpanProcessor(spanning.Discreet(taken)))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    http.surround_calls(spanning.calling)
    yield taken
    http.surround_calls()


@pytest.fixture
async def world(
    spans: InMemorySpanExporter, database_url: str, temporal: Client
) -> AsyncIterator[World]:
    client = await Client.connect(
        temporal.service_client.config.target_host,
        data_converter=data_converter(),
        interceptors=[TracingInterceptor()],
    )
    async with a_shop(database_url, client) as world:
        yield world


STEPS = {
    "RunWorkflow:Order",
    "RunActivity:settle_payment",
    "POST /payments/authorize",
    "RunWorkflow:FulfillmentOrder",
    "RunActivity:offer_work",
}


def trace_of(name: str, spans: InMemorySpanExporter) -> list[ReadableSpan]:
    """All spans of the trace that the first span of this name belongs to; none before it ended."""
    found = spans.get_finished_spans()
    ids = [span.context.trace_id for span in found if span.name == name and span.context]
    return [span for span in found if ids and span.context and span.context.trace_id == ids[0]]


def told(spans: tuple[ReadableSpan, ...]) -> str:
    return "\n".join(span.to_json() for span in spans)


async def test_one_trace_leads_from_the_request_through_the_run_to_the_provider(
    spans: InMemorySpanExporter, world: World
) -> None:
    world.breaks("reserve_stock", "before")
    number = (await world.place())["number"]
    await world.until_offered(number)

    # A span is told when it has ended, which the world may see before.
    async def is_told() -> bool:
        return {span.name for span in trace_of("POST /v1/orders", spans)} >= STEPS

    await world.wait(is_told)
    found = spans.get_finished_spans()
    trace = trace_of("POST /v1/orders", spans)
    by_id = {span.context.span_id: span for span in trace if span.context}
    span, way = next(s for s in trace if s.name == "POST /payments/authorize"), []
    while span.parent is not None:
        span = by_id[span.parent.span_id]
        way.append(span.name)
    assert way[-1] == "POST /v1/orders"
    assert "RunActivity:settle_payment" in way

    everything = told(found)
    assert number in everything
    for private in ("Ada", "ada@", "Tilsitt", "Lyon", "69002", "tok_ok", "broke before"):
        assert private not in everything, private


async def test_what_a_request_asks_for_in_its_query_is_not_told(
    spans: InMemorySpanExporter, world: World
) -> None:
    await world.ok("GET", "/v1/orders?customer=c-4711")

    async def is_told() -> bool:
        return bool(trace_of("GET /v1/orders", spans))

    await world.wait(is_told)
    assert "c-4711" not in told(spans.get_finished_spans())


@pytest.mark.parametrize("record", ["delivered.order", "delivered.F1", "continued_as_new.order"])
async def test_a_run_that_is_replayed_is_not_traced_again(
    spans: InMemorySpanExporter, record: str
) -> None:
    run = json.loads((FOLDER / f"{record}.json").read_text())
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(),
        data_converter=data_converter(),
        interceptors=[TracingInterceptor(always_create_workflow_spans=True)],
    )
    await replayer.replay_workflow(WorkflowHistory.from_json(run["workflow_id"], run["history"]))

    assert [span.name for span in spans.get_finished_spans()] == []


async def test_traces_are_off_unless_somebody_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert tracing.interceptors() == ()

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert [type(each) for each in tracing.interceptors()] == [TracingInterceptor]
