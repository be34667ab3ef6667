"""What this process counts: what happened, and how long it took. Prometheus reads it.

Labels come from code, never from input: no order, customer, article, place or text stands in one,
so there are only so many series. What is a fact in the books is not counted here, but read from
them (`adapters.db.metrics`).
"""

from collections.abc import Iterable

from prometheus_client import Counter, Histogram, disable_created_metrics

# A second series for each, telling when the first began. The library leaves it untyped.
disable_created_metrics()  # type: ignore[no-untyped-call]

_UP_TO_A_CALL = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds. A transaction takes some milliseconds, a call to a provider at most half a minute."""

EVENTS = Counter("oms_events", "Events written to the timelines of orders.", ["kind"])
ORDERS_ENDED = Counter(
    "oms_orders_ended",
    "Orders that were closed: completed, cancelled, or the code they were refused with.",
    ["outcome"],
)
RACES_LOST = Counter(
    "oms_reservation_races_lost",
    "Reservations planned again because others took the stock first.",
)
STEP_SECONDS = Histogram(
    "oms_step_seconds",
    "One attempt at a step: an activity, by its name.",
    ["step", "kind", "outcome"],
    buckets=_UP_TO_A_CALL,
)
STEP_FAILURES = Counter(
    "oms_step_failures", "Attempts at a step that failed, by the fault's code.", ["step", "code"]
)
REQUEST_SECONDS = Histogram(
    "oms_request_seconds",
    "How long requests to the API took, by the route's template.",
    ["method", "route"],
    buckets=_UP_TO_A_CALL,
)
REQUESTS = Counter(
    "oms_requests",
    "Requests answered by the API.",
    ["method", "route", "status"],
)


def count_events(kinds: Iterable[str], *, refusal: str | None = None) -> None:
    """Count what a committed transaction told. `refusal`: the code an order was refused with."""
    for kind in kinds:
        EVENTS.labels(kind).inc()
        if kind == "order.completed":
            ORDERS_ENDED.labels("completed").inc()
        elif kind == "order.closed":
            ORDERS_ENDED.labels(refusal or "cancelled").inc()
