"""The codec server: `python -m workers.codec_server` opens payloads for people who look at runs.

Temporal's UI and command line send it what they cannot read, as `{"payloads": […]}` in the JSON of
protobuf, and show what comes back. It keeps nothing and logs no payload. Beyond this machine it
answers only those that show its token.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import structlog
import uvicorn
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads

from oms.errors import BadSetting, OmsError
from workers import logging
from workers.encryption import EncryptingCodec, KeyRing
from workers.settings import Settings, settings

MOST_BYTES = 8 * 2**20
"""Temporal takes no message above 4 MiB; in base64 and JSON it is half as long again."""

OPEN = "none"
"""The token that stands for none, on purpose."""

log = structlog.get_logger()

_Translate = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class _Unreadable(Exception):
    """The request is refused. `status` and `code` as in every problem of ours."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def create_app(codec: EncryptingCodec, *, origins: Sequence[str], token: str | None) -> Starlette:
    """Make the application.

    Args:
        codec: Opens and seals.
        origins: Where a browser may have loaded the page that asks, `https://host:port` each.
        token: What callers show as `Authorization: Bearer`; none lets everybody in who gets here.
    """

    def answering(translate: _Translate) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                _let_in(request, origins, token)
                asked = _read(await _body(request))
                return _shown(await translate(asked.payloads))
            except _Unreadable as refused:
                return _problem(refused.status, refused.code, refused.detail)
            except OmsError as fault:
                log.warning("payload_not_opened", code=fault.code)
                return _problem(400, fault.code, str(fault))

        return answer

    return Starlette(
        routes=[
            Route("/decode", answering(codec.decode), methods=["POST"]),
            Route("/encode", answering(codec.encode), methods=["POST"]),
            Route("/health", _health),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=list(origins),
                allow_methods=["POST"],
                allow_headers=["Authorization", "Content-Type", "X-Namespace"],
                # The UI sends cookies along if it is told to; only listed origins are answered.
                allow_credentials=True,
                max_age=600,
            )
        ],
    )


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _let_in(request: Request, origins: Sequence[str], token: str | None) -> None:
    """Let in who holds the token; a browser only from a page of the UI, token or not."""
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        raise _Unreadable(403, "origin_not_allowed", "OMS_CODEC_ORIGINS does not list this page.")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _Unreadable(415, "unsupported_media_type", "Send application/json.")
    shown = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    if token is not None and not secrets.compare_digest(shown, token.encode()):
        raise _Unreadable(401, "unauthorized", "Send the token of OMS_CODEC_TOKEN as a bearer.")


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise _Unreadable(413, "too_large", f"At most {MOST_BYTES} bytes at a time.")
    except ClientDisconnect:
        raise _Unreadable(400, "malformed", "The request broke off.") from None
    return bytes(body)


def _read(body: bytes) -> Payloads:
    try:
        return json_format.Parse(body, Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError):
        # What it says quotes the payload.
        detail = 'The body is not {"payloads": […]} in the JSON of protobuf.'
        raise _Unreadable(400, "malformed", detail) from None


def _shown(payloads: Sequence[Payload]) -> Response:
    return JSONResponse(json_format.MessageToDict(Payloads(payloads=payloads)))


def _problem(status: int, code: str, detail: str) -> Response:
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def app_of(config: Settings) -> Starlette:
    """Make the application that the settings ask for.

    Raises:
        BadSetting: there are no keys, one cannot be read, or anybody would get in by oversight.
    """
    if config.codec_keys is None:
        raise BadSetting("OMS_CODEC_KEYS is not set: there is nothing to open")
    token = config.codec_token.get_secret_value() if config.codec_token else None
    if token is None and not _is_this_machine(config.codec_host):
        raise BadSetting(
            "OMS_CODEC_HOST is reached from other machines: set OMS_CODEC_TOKEN, to `none` where"
            " something in front of it lets the right people in only"
        )
    origins = [each.strip() for each in config.codec_origins.split(",") if each.strip()]
    codec = EncryptingCodec(KeyRing.read(config.codec_keys.get_secret_value()))
    return create_app(codec, origins=origins, token=None if token == OPEN else token)


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def main() -> None:
    """Serve until told to stop."""
    config = settings()
    logging.configure(config.log_format)
    uvicorn.run(
        app_of(config),
        host=config.codec_host,
        port=config.codec_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
