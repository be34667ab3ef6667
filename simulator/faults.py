"""Faults on request: which call they strike, and what the caller then sees."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fastapi import Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from simulator.settings import Timings

Party = Literal["payments", "carriers", "nodes"]
CallMode = Literal[
    "decline",
    "timeout_before",
    "timeout_after",
    "error_before",
    "error_after",
    "slow",
    "rate_limit",
    "drop_connection",
]
WebhookMode = Literal["duplicate_webhook", "shuffle_webhooks", "lose_webhook"]
Mode = CallMode | WebhookMode

OPERATIONS: dict[str, tuple[str, ...]] = {
    "payments": ("authorize", "capture", "void", "refund", "lookup", "webhook"),
    "carriers": ("label", "lookup", "webhook"),
    "nodes": ("offer", "cancel", "webhook"),
}


def can_strike(party: str, operation: str, mode: str) -> bool:
    """Tell whether such a call exists and this mode can befall it."""
    modes = get_args(WebhookMode if operation == "webhook" else CallMode)
    return operation in OPERATIONS[party] and mode in modes


@dataclass
class Fault:
    """A fault that strikes the next `left` calls of its kind."""

    party: str
    operation: str
    mode: Mode
    times: int
    left: int


class Faults:
    """The faults asked for, oldest first. Spent ones stay listed with nothing left."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def strike(self, party: str, operation: str) -> Mode | None:
        """Use up one strike of the oldest fault that fits."""
        for fault in self.all:
            if fault.left and (fault.party, fault.operation) == (party, operation):
                fault.left -= 1
                return fault.mode
        return None


@dataclass(frozen=True)
class Answer:
    """What a call is answered.

    `fate` is what a magic token wants to befall the answer; `keep` says whether a repeat of the
    key is answered the same.
    """

    body: dict[str, Any]
    status: int = 200
    fate: CallMode | None = None
    keep: bool = True


class ConnectionDropped(Response):
    """An answer that breaks off: the server closes a connection whose answer is incomplete."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise two bytes and send none."""
        headers = [(b"content-length", b"2"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


@dataclass
class Door:
    """Every call passes here, so that every fault can strike every call in the same way."""

    timings: Timings
    faults: Faults = field(default_factory=Faults)

    async def enter(
        self,
        party: Party,
        operation: str,
        apply: Callable[[bool], Answer],
        *,
        heard: Callable[[], None] = lambda: None,
    ) -> Response:
        """Apply a call, unless a fault keeps it from happening or its answer from arriving.

        Args:
            party: Who is called.
            operation: What is asked, one of the party's `OPERATIONS`.
            apply: Does it; gets whether a `decline` fault struck.
            heard: Called when no fault kept a good answer from the caller.
        """
        mode = self.faults.strike(party, operation)
        if mode in ("timeout_before", "error_before", "rate_limit"):
            return await self._trouble(mode)
        answer = apply(mode == "decline")
        fate = answer.fate if mode in (None, "decline") else mode
        if fate in ("timeout_after", "error_after", "drop_connection"):
            return await self._trouble(fate)
        if fate == "slow":
            await asyncio.sleep(self.timings.slow)
        if answer.status == 200:
            heard()
        return JSONResponse(answer.body, answer.status)

    async def _trouble(self, mode: Mode) -> Response:
        """Show the caller what it sees of a fault, whether or not anything was applied."""
        match mode:
            case "timeout_before" | "timeout_after":
                await asyncio.sleep(self.timings.hang)
                return JSONResponse({"code": "timeout"}, 504)
            case "rate_limit":
                return JSONResponse({"code": "slow_down"}, 429, {"Retry-After": "1"})
            case "drop_connection":
                return ConnectionDropped()
            case _:
                return JSONResponse({"code": "internal_error"}, 500)
