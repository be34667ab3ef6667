import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from oms.errors import OutcomeUnknown
from workers.logging import configure, order_number


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, sys.excepthook
    yield
    sys.excepthook = hook
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


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_what_a_fault_quotes_stays_out_of_the_log(
    capsys: pytest.CaptureFixture[str], log_format: Literal["json", "pretty"]
) -> None:
    configure(log_format)
    street = "Tilsitt"

    try:
        try:
            raise ValueError(f"no such street: 5 quai {street}")
        except ValueError as cause:
            raise ExceptionGroup(street, [OutcomeUnknown("POST answered 500")]) from cause
    except ExceptionGroup:
        structlog.get_logger().exception("delivery_failed")

    logged = capsys.readouterr().out
    assert street not in logged
    assert "ValueError" in logged
    assert "POST answered 500" in logged, "our own words stay"


async def test_a_task_that_nobody_awaited_keeps_what_it_held_to_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")

    async def deliver() -> None:
        raise LookupError("5 quai Tilsitt")

    task = asyncio.create_task(deliver())
    await asyncio.wait([task])
    asyncio.get_running_loop().default_exception_handler(
        {"message": "Task exception was never retrieved", "exception": task.exception(), "f": task}
    )
    logging.getLogger("lib").warning("cannot deliver: %s", task.exception())

    logged = capsys.readouterr().out
    assert "LookupError" in logged
    assert "Tilsitt" not in logged


def test_a_process_that_dies_of_a_bug_says_so_in_its_log_and_quotes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")

    fault = ValueError("5 quai Tilsitt")
    sys.excepthook(ValueError, fault, None)

    assert last_line(capsys)["event"] == "process_failed"
    assert "Tilsitt" not in capsys.readouterr().err


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
