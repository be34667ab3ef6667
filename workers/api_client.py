"""Our own HTTP API, as the command line and the demonstration call it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from adapters.http import Http
from oms.errors import OmsError, OutcomeUnknown, Unreachable

Json = dict[str, Any]

PAGE = 100
_BUSY = {429, 503}
_IN_FLIGHT = "idempotency_key_in_flight"


class ApiUnreachable(OmsError):
    """The API does not answer. Whether it did what was asked is known by asking again."""

    code = "api_unreachable"
    retryable = True


class ApiRefused(OmsError):
    """The API answered with a problem; `code` and `detail` are its own words.

    `problem` is the whole document; it may carry more, such as an order's `number`.
    """

    def __init__(self, http_status: int, problem: Json) -> None:
        self.http_status = http_status
        self.problem = problem
        self.problem_code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail") or problem.get("title") or "no reason given")
        super().__init__(f"{http_status} {self.problem_code}: {self.detail}")

    @property
    def flaws(self) -> Sequence[Json]:
        """Give the fields that were refused: pointer, code and detail of each."""
        flaws: Sequence[Json] = self.problem.get("errors") or ()
        return flaws


@dataclass(frozen=True)
class Answer:
    """What the API said yes to. A status of 202 means that the outcome comes later."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiClient:
    """One credential at one API.

    Every request may be sent again: reads change nothing, PUT says how things are, and POST carries
    an idempotency key. So a busy or vanished API is asked again a few times before giving up.

    Args:
        http: Where the API listens.
        key: The API key to show.
        attempts: How often to ask before `ApiUnreachable`, at least 1.
        pause: How long to wait before the second attempt; each further wait is twice as long.
    """

    def __init__(
        self,
        http: Http,
        key: str,
        *,
        attempts: int = 5,
        pause: timedelta = timedelta(milliseconds=300),
    ) -> None:
        self._http, self._key = http, key
        self._attempts, self._pause = attempts, pause

    @classmethod
    def at(cls, url: str, key: str, *, timeout: timedelta = timedelta(seconds=30)) -> Self:
        """Reach the API at `url`, without its `/v1`."""
        return cls(Http(url.rstrip("/"), timeout=timeout), key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def get(self, path: str, **params: str | int) -> Json:
        """Read one thing, or one page of a list.

        Raises:
            ApiRefused: also where there is no such thing (404).
            ApiUnreachable
        """
        query = {name: str(value) for name, value in params.items()}
        return (await self._ask("GET", path, params=query)).body

    async def every(self, path: str, **params: str | int) -> AsyncIterator[Json]:
        """Read a whole list, page by page."""
        cursor: str | None = None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = await self.get(path, **params, limit=PAGE, **more)
            for item in page["data"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def put(self, path: str, body: Json) -> Answer:
        """Say how a thing is from now on.

        Raises:
            ApiRefused, ApiUnreachable
        """
        return await self._ask("PUT", path, body=body)

    async def post(self, path: str, body: Json, *, key: str) -> Answer:
        """Ask for an effect, once however often it has to be asked.

        Raises:
            ApiRefused, ApiUnreachable
        """
        return await self._ask("POST", path, body=body, headers={"Idempotency-Key": key})

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self._key}"} | dict(headers or {})
        reason = ""
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(self._pause.total_seconds() * 2 ** (attempt - 1))
            try:
                reply = await self._http.exchange(
                    method, path, body=body, params=params, headers=headers
                )
            except (Unreachable, OutcomeUnknown) as error:
                reason = str(error)
                continue
            document = _document(reply.content)
            if 200 <= reply.status < 300:
                return Answer(reply.status, document, reply.headers)
            refused = ApiRefused(reply.status, document)
            if reply.status not in _BUSY and refused.problem_code != _IN_FLIGHT:
                raise refused
            reason = str(refused)
        raise ApiUnreachable(f"asked {self._attempts} times: {reason}")


def _document(content: bytes) -> Json:
    """Read the answer's JSON; a proxy's page of HTML has nothing to tell."""
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
