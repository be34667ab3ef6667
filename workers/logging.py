"""One way to log: events as data, JSON for machines, colour for people.

The standard library's loggers (uvicorn, SQLAlchemy, Temporal) go the same way. What is bound to
the context (``order``, ``workflow_id``, ``attempt``) stands on every line below it.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor
from temporalio import activity, workflow

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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # What Temporal appends to each message is on the line already, as data.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    # Each request and each statement is a line nobody reads; what they mean is logged by us.
    for chatty in ("httpx", "httpcore", "uvicorn.access", "sqlalchemy.engine", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def name_the_order(logger: object, method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Lift what Temporal knows about a line to its top, with the order's number."""
    for source in _TEMPORAL:
        known = event.pop(source, None) or {}
        event.update({key: known[key] for key in _KEPT if key in known})
    number = order_number(str(event.get("workflow_id", "")))
    if number is not None:
        event.setdefault("order", number)
    return event


def only_first_lines(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Keep the first line of what a fault says: PostgreSQL quotes whole rows in the others."""
    for fault in event.get("exception") or ():
        fault["exc_value"] = fault["exc_value"].partition("\n")[0]
    return event


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
        return [
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    return [
        # Without local variables: they hold names, addresses and tokens.
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        only_first_lines,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
