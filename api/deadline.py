"""No request takes for ever: a database or a client that hangs costs so many seconds, no more."""

import asyncio

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import unavailable

log = structlog.get_logger()


class Deadline:
    """Answers 503 to a request that is not answered in time. What it was doing is given up."""

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, sending)
        except TimeoutError:
            if begun:
                raise
            log.warning("request_timed_out", path=scope["path"])
            await unavailable("Something this needs").response()(scope, receive, send)
