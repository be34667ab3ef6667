import logging
import sys
from typing import Annotated

import structlog
import typer
import uvicorn

from simulator.app import create_app
from simulator.settings import Settings


def serve(
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8090,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Play the payment provider, the carriers and every location."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer()
            if sys.stderr.isatty()
            else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING)
    # A call that hangs on request must not hold up the end of the process.
    uvicorn.run(
        create_app(Settings()),
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    typer.run(serve)
