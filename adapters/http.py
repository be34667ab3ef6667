"""HTTP to the outside, and what its failures mean. The only module of the product with httpx."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from oms.errors import BadRequest, KeyReused, OutcomeUnknown, Unreachable
from oms.fields import code_like

Answer = TypeVar("Answer", bound=BaseModel)

_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NEVER_SENT = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)


Surrounding = Callable[[str, str], AbstractContextManager[Mapping[str, str]]]
"""Goes around a call, given method and path; gives headers to send with it."""


def _nothing(method: str, path: str) -> AbstractContextManager[Mapping[str, str]]:
    return nullcontext({})


_surrounding: Surrounding = _nothing


def surround_calls(by: Surrounding = _nothing) -> None:
    """Let something go around every call of this process from now on, a trace for instance."""
    global _surrounding  # noqa: PLW0603 - like OpenTelemetry's own provider, one for the process
    _surrounding = by


class Reply(NamedTuple):
    """An answer as it came: nobody has judged its status yet."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Http:
    """One outside party, as a base URL with time limits.

    Nothing is repeated here: whether to ask again is decided where the key is known.

    Args:
        base_url: Where the party listens, without a trailing path of an operation.
        timeout: How long to wait for a connection, and again for the answer.
        transport: How to get there; the network unless a test says otherwise.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: timedelta,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        # Proxies of the environment are for downloads; a party is reached where its URL says.
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout.total_seconds()),
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(
        self, path: str, body: Mapping[str, Any], *, key: str, answer: type[Answer]
    ) -> Answer:
        """Ask for an effect under a business key.

        Raises:
            Unreachable: nothing was done, and may be asked again.
            BadRequest: nothing was done, and never will be.
            KeyReused: the key stands for something else there.
            OutcomeUnknown: it may have been done.
        """
        response = await self._send("POST", path, json=body, headers={"Idempotency-Key": key})
        return _read(response, answer)

    async def get(
        self, path: str, params: Mapping[str, str], *, answer: type[Answer]
    ) -> Answer | None:
        """Read something; None where the party knows of no such thing.

        Raises:
            Unreachable, OutcomeUnknown: ask again.
            BadRequest: asking again cannot help.
        """
        response = await self._send("GET", path, params=params, missing_is_fine=True)
        return None if response.status_code == 404 else _read(response, answer)

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and hand back what was answered, whatever its status.

        For talking to our own API, whose refusals the caller reads itself.

        Raises:
            Unreachable: nothing was done.
            OutcomeUnknown: it may have been done.
        """
        response = await self._request(method, path, json=body, params=params, headers=headers)
        return Reply(response.status_code, response.headers, response.content)

    async def _send(
        self, method: str, path: str, *, missing_is_fine: bool = False, **request: Any
    ) -> httpx.Response:
        response = await self._request(method, path, **request)
        if not (missing_is_fine and response.status_code == 404):
            _judge(f"{method} {path}", response)
        return response

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        call = f"{method} {path}"
        try:
            with _surrounding(method, path) as headers:
                if headers:
                    request["headers"] = {**(request.get("headers") or {}), **headers}
                return await self._client.request(method, path, **request)
        except _NO_CONNECTION as error:
            raise Unreachable(f"{call}: no connection") from error
        except _NEVER_SENT as error:
            raise BadRequest(f"{call}: cannot be sent") from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"{call}: {type(error).__name__}") from error


def _judge(call: str, response: httpx.Response) -> None:
    """Raise what a status means for the effect that was asked for."""
    status = response.status_code
    said = f"{call} answered {status} {_code(response)}".rstrip()
    if response.is_success:
        return
    if status == 429:
        raise Unreachable(said, retry_after=_retry_after(response))
    if status == 409:
        raise KeyReused(said)
    if status == 408 or response.is_server_error:
        raise OutcomeUnknown(said)
    raise BadRequest(said)


def _code(response: httpx.Response) -> str:
    """Give the party's own code of an error; its texts may hold personal data."""
    try:
        body = response.json()
    except ValueError:
        return ""
    return code_like(str(body.get("code", "")), "") if isinstance(body, dict) else ""


def _retry_after(response: httpx.Response) -> timedelta | None:
    seconds = response.headers.get("retry-after", "")
    return timedelta(seconds=int(seconds)) if seconds.isdecimal() else None


def _read(response: httpx.Response, answer: type[Answer]) -> Answer:
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as error:
        # It said yes, but not to what: only a repeat or a look-up can tell.
        raise OutcomeUnknown(f"{response.request.url.path}: unreadable answer") from error
