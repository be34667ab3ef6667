import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from workers.logging import configure, order_number


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    line: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def test_a_line_in_production_is_json_with_what_was_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")
    structlog.contextvars.bind_contextvars(order="K3M9-QXZ4-7")

    structlog.get_logger("oms").info("payment_authorised", amount_minor=4488)

    line = last_line(capsys)
    assert line["event"] == "payment_authorised"
    assert (line["order"], line["amount_minor"], line["level"]) == ("K3M9-QXZ4-7", 4488, "info")


def test_the_line_of_a_library_comes_the_same_way_and_names_the_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")

    logging.getLogger("temporalio.workflow").warning(
        "step %s parked",
        "capture:1",
        extra={"temporal_workflow": {"workflow_id": "fulfillment/K3M9-QXZ4-7-F1", "attempt": 1}},
    )

    line = last_line(capsys)
    assert line["event"] == "step capture:1 parked"
    assert (line["order"], line["attempt"]) == ("K3M9-QXZ4-7", 1)


def test_the_variables_of_a_fault_stay_out_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")

    def deliver(address: str) -> None:
        raise ValueError("no such street")

    try:
        deliver("5 quai Tilsitt")
    except ValueError:
        structlog.get_logger().exception("delivery_failed")

    assert "Tilsitt" not in json.dumps(last_line(capsys))


def test_the_row_that_the_database_quotes_stays_out_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")

    try:
        raise ValueError("violates a constraint\nDETAIL:  Failing row contains (5 quai Tilsitt)")
    except ValueError:
        structlog.get_logger().exception("delivery_failed")

    logged = json.dumps(last_line(capsys))
    assert "violates a constraint" in logged
    assert "Tilsitt" not in logged


@pytest.mark.parametrize(
    ("workflow_id", "number"),
    [
        ("order/K3M9-QXZ4-7", "K3M9-QXZ4-7"),
        ("fulfillment/K3M9-QXZ4-7-F12", "K3M9-QXZ4-7"),
        ("sweep/reservations", None),
        ("", None),
    ],
)
def test_the_number_of_the_order_is_read_from_the_run(workflow_id: str, number: str | None) -> None:
    assert order_number(workflow_id) == number
