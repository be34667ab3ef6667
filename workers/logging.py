"""One way to log: events as data, JSON for machines, colour for people.

The standard library's loggers (uvicorn, SQLAlchemy, Temporal) go the same way. What is bound to
the context (``order``, ``workflow_id``, ``attempt``) stands on every line below it.
"""

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor
from temporalio import activity, workflow
from temporalio.exceptions import FailureError

from oms.errors import told

_TEMPORAL = ("temporal_workflow", "temporal_activity")
_KEPT = ("workflow_id", "workflow_type", "run_id", "activity_type", "attempt")


def configure(log_format: Literal["auto", "json", "pretty"], *, level: int = logging.INFO) -> None:
    """Set up logging for this process. `auto` is pretty in a terminal and JSON elsewhere."""
    pretty = log_format == "pretty" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.stdlib.ExtraAdder(allow=_TEMPORAL),
                name_the_order,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(pretty=pretty),
            ],
        )
    )
    handler.addFilter(let_nothing_be_quoted)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    sys.excepthook = _last_words
    # What Temporal appends to each message is on the line already, as data.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    # Each request and each statement is a line nobody reads; what they mean is logged by us.
    for chatty in ("httpx", "httpcore", "uvicorn.access", "sqlalchemy.engine", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _last_words(kind: type[BaseException], fault: BaseException, trace: Any) -> None:
    """Log what ends the process, instead of printing all that it quotes."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, fault, trace)
    else:
        structlog.get_logger().critical("process_failed", exc_info=(kind, fault, trace))


def name_the_order(logger: object, method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Lift what Temporal knows about a line to its top, with the order's number."""
    for source in _TEMPORAL:
        known = event.pop(source, None) or {}
        event.update({key: known[key] for key in _KEPT if key in known})
    number = order_number(str(event.get("workflow_id", "")))
    if number is not None:
        event.setdefault("order", number)
    return event


def let_nothing_be_quoted(record: logging.LogRecord) -> bool:
    """Keep what a fault quotes out of a library's line: it may be a name or a street.

    Of a message the first line stays: asyncio shows in the others what a task held. Rows that
    SQLAlchemy read are no line at any level.
    """
    if record.name.startswith("sqlalchemy.engine") and record.levelno < logging.INFO:
        return False
    if isinstance(record.msg, str):
        if isinstance(record.args, tuple):
            record.args = tuple(
                words(each) if isinstance(each, BaseException) else each for each in record.args
            )
        record.msg, record.args = record.getMessage().strip().partition("\n")[0], ()
    return True


def words(fault: BaseException) -> str:
    """What a line may say of a fault; what Temporal carries is discreet already."""
    return str(fault) if isinstance(fault, FailureError) else told(fault)


def _causes(fault: BaseException) -> Iterator[BaseException]:
    """The fault and what it came from, newest first."""
    known: list[BaseException] = []
    at: BaseException | None = fault
    while at is not None and at not in known:
        yield at
        known.append(at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def fault_as_data(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """A fault as data: kinds, our own words, and lines of code without their variables."""
    return [
        {
            "exc_type": type(each).__name__,
            "exc_value": words(each),
            "frames": [
                {"filename": frame.f_code.co_filename, "lineno": line, "name": frame.f_code.co_name}
                for frame, line in traceback.walk_tb(each.__traceback__)
            ],
            "exceptions": [
                fault_as_data((type(part), part, part.__traceback__))
                for part in (each.exceptions if isinstance(each, BaseExceptionGroup) else ())
            ],
        }
        for each in _causes(exc_info[1])
    ]


def fault_as_text(out: TextIO, info: ExcInfo) -> None:
    """The same for people."""
    for each in _causes(info[1]):
        out.write(f"\n{type(each).__name__}: {words(each)}\n")
        out.writelines(traceback.format_tb(each.__traceback__))
        for part in each.exceptions if isinstance(each, BaseExceptionGroup) else ():
            fault_as_text(out, (type(part), part, part.__traceback__))


def order_number(workflow_id: str) -> str | None:
    """Read the order's number out of ``order/{number}`` or ``fulfillment/{number}-F1``."""
    kind, _, name = workflow_id.partition("/")
    if kind == "order" and name:
        return name
    if kind in ("fulfillment", "return") and "-" in name:
        return name.rpartition("-")[0]
    return None


def _rendering(*, pretty: bool) -> list[Processor]:
    if pretty:
        return [structlog.dev.ConsoleRenderer(exception_formatter=fault_as_text)]
    return [
        structlog.processors.ExceptionRenderer(fault_as_data),
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
