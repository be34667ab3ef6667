"""The connection to Temporal, made when it is first needed."""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio.client import Client


class Connection:
    """Connects once, on the first question; a failed attempt is made again on the next."""

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._lock = asyncio.Lock()

    async def client(self) -> Client:
        """The client, which reconnects by itself."""
        async with self._lock:
            if self._client is None:
                self._client = await self._connect()
            return self._client
