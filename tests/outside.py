"""The outside world on a real port, and an OMS that only listens to it."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from standardwebhooks.webhooks import Webhook
from starlette.types import Receive, Scope, Send

from simulator.app import create_app
from simulator.settings import Settings, Timings

SECRETS = {
    party: "whsec_" + base64.b64encode(party.encode() * 4).decode()
    for party in ("payments", "carriers", "nodes")
}

# Real waits are cut short; simulated ones are left alone, for the clock to shorten.
QUICK = Timings(
    hang=0.4,
    slow=0.3,
    settle=0.05,
    hold_back=0.2,
    after_label=0,
    first_retry=0.01,
    last_retry=0.05,
)


PATIENT = timedelta(seconds=5)


def patience_for(fault: str) -> timedelta:
    """How long to wait for a party: less than it hangs where it is to hang, else long enough."""
    return timedelta(seconds=0.25) if "timeout" in fault else PATIENT


@dataclass
class Inbox:
    """Takes webhooks as the OMS would: verified, in the order they arrive."""

    answers: list[int] = field(default_factory=list)
    letters: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        party = scope["path"].split("/")[3]
        Webhook(SECRETS[party]).verify(body, headers)
        status = self.answers.pop(0) if self.answers else 204
        if status < 300:
            async with self._news:
                self.letters.append({"path": scope["path"], **json.loads(body)})
                self._news.notify_all()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def until(self, heard: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until the letters received fulfil the condition."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: heard(self.letters))

    def told(self, name: str) -> list[Any]:
        """Give one field of each letter that has it, in the order of arrival."""
        return [letter[name] for letter in self.letters if name in letter]


@dataclass
class Outside:
    """The simulator, spoken to by its own HTTP interface."""

    url: str
    http: httpx.AsyncClient
    inbox: Inbox

    async def ask(self, method: str, path: str, **request: Any) -> Any:
        """Call it and give the answer's body; anything but a 2xx is an error."""
        answer = await self.http.request(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def breaks(self, party: str, operation: str, mode: str, times: int = 1) -> None:
        """Ask for a fault."""
        fault = {"party": party, "operation": operation, "mode": mode, "times": times}
        await self.ask("POST", "/faults", json=fault)

    async def hurries(self, speed: float = 1_000_000) -> None:
        """Make nodes and carriers work at speed."""
        await self.ask("POST", "/clock", json={"speed": speed})

    async def books(self, party: str) -> list[tuple[str, str]]:
        """Give (kind, key) of each entry, oldest first."""
        entries = (await self.ask("GET", f"/books/{party}"))["data"]
        return [(entry["kind"], entry["key"]) for entry in entries]


@asynccontextmanager
async def an_outside(
    books: Path | None = None, inbox: Inbox | None = None
) -> AsyncIterator[Outside]:
    """Run the simulator on a free port of this machine, with a listener in the OMS's place."""
    inbox = inbox or Inbox()
    settings = Settings(
        oms_url="http://oms",
        books=books,
        secret_payments=SECRETS["payments"],
        secret_carriers=SECRETS["carriers"],
        secret_nodes=SECRETS["nodes"],
    )
    app = create_app(settings, QUICK, httpx.ASGITransport(inbox))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="critical",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=600,  # as in `tests.world.serving`
            lifespan="on",
        )
    )
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    while not server.started:
        await asyncio.sleep(0.005)
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        yield Outside(url, http, inbox)
    server.should_exit = True
    await serving
    listener.close()
