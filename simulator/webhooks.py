"""Sends what happened to the OMS: signed, stored until taken, in order for each subject."""

import asyncio
import itertools
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import httpx
import structlog
from standardwebhooks.webhooks import Webhook

from simulator.faults import Faults, Mode
from simulator.settings import Settings, Timings
from simulator.store import Store
from simulator.wire import Chores

log = structlog.get_logger()

Fate = Literal["taken", "refused", "lost", "held_back", "given_up"]
_TRY_AGAIN = {401, 408, 425, 429}


@dataclass(frozen=True)
class Mail:
    """One webhook. Those of one `stream` arrive in order, unless a fault shuffles them."""

    seq: int
    event_id: str
    party: str
    stream: str
    path: str
    body: str


class Postman:
    """Delivers webhooks until they are taken, over restarts of either side."""

    def __init__(
        self,
        settings: Settings,
        timings: Timings,
        store: Store,
        faults: Faults,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings, self._timings = settings, timings
        self._store, self._faults = store, faults
        # The OMS is a neighbour: a proxy meant for the wide world cannot reach it.
        self._http = httpx.AsyncClient(
            base_url=settings.oms_url,
            timeout=httpx.Timeout(10, pool=None),
            limits=httpx.Limits(max_connections=20),  # hundreds of parcels must not flood it
            trust_env=False,
            transport=transport,
        )
        self._queues: dict[str, deque[tuple[Mail, asyncio.Future[Fate]]]] = {}
        self._chores = Chores()
        self._passed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def resume(self) -> None:
        """Take up the webhooks that an earlier process could not deliver."""
        for row in self._store.all("SELECT * FROM outbox ORDER BY seq"):
            self._queue(Mail(**row))

    async def close(self) -> None:
        """Stop sending. What was not taken stays stored."""
        await self._chores.stop()
        await self._http.aclose()

    def post(
        self, party: str, stream: str, path: str, body: Mapping[str, object]
    ) -> asyncio.Future[Fate]:
        """Store a webhook, in the open transaction if there is one, and send it soon.

        Returns:
            What became of it; nobody has to wait for that.
        """
        text = json.dumps(body, separators=(",", ":"))
        with self._store.tx():
            row = self._store.one(
                "INSERT INTO outbox (event_id, party, stream, path, body)"
                " VALUES (?, ?, ?, ?, ?) RETURNING *",
                body["event_id"],
                party,
                stream,
                path,
                text,
            )
        assert row is not None
        return self._queue(Mail(**row))

    def _queue(self, mail: Mail) -> asyncio.Future[Fate]:
        fate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        queue = self._queues.setdefault(mail.stream, deque())
        queue.append((mail, fate))
        if len(queue) == 1:
            self._chores.start(self._empty(mail.stream))
        return fate

    async def _empty(self, stream: str) -> None:
        queue = self._queues[stream]
        while queue:
            mail, waiting = queue[0]
            fate = await self._treat(mail, self._faults.strike(mail.party, "webhook"))
            queue.popleft()
            if not waiting.done():
                waiting.set_result(fate)
        del self._queues[stream]

    async def _treat(self, mail: Mail, fault: Mode | None) -> Fate:
        match fault:
            case "lose_webhook":
                self._forget(mail)
                return "lost"
            case "shuffle_webhooks":
                self._chores.start(self._late(mail))
                return "held_back"
            case "duplicate_webhook":
                fate = await self._deliver(mail)
                await self._attempt(mail)
                return fate
            case _:
                return await self._deliver(mail)

    async def _late(self, mail: Mail) -> None:
        """Let one other webhook of the party pass, but hold nothing back for long."""
        try:
            async with asyncio.timeout(self._timings.hold_back):
                await self._passed[mail.party].wait()
        except TimeoutError:
            pass
        await self._deliver(mail)

    async def _deliver(self, mail: Mail) -> Fate:
        """Try until the OMS has taken it or said that it never will."""
        loop = asyncio.get_running_loop()
        started, fate = loop.time(), await self._attempt(mail)
        for tries in itertools.count():
            if fate is not None:
                break
            wait = min(self._timings.first_retry * 2 ** min(tries, 20), self._timings.last_retry)
            if loop.time() + wait - started > self._timings.give_up:
                fate = "given_up"
                break
            await asyncio.sleep(wait)
            fate = await self._attempt(mail)
        assert fate is not None
        self._forget(mail)
        self._passed.pop(mail.party, asyncio.Event()).set()
        if fate != "taken":
            log.warning("webhook_dropped", subject=mail.stream, path=mail.path, fate=fate)
        return fate

    async def _attempt(self, mail: Mail) -> Fate | None:
        """Send it once. None means that it has to be sent again."""
        secret = self._settings.secret(mail.party)
        if secret is None:
            return "given_up"
        sent_at = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": mail.event_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": Webhook(secret).sign(mail.event_id, sent_at, mail.body),
        }
        try:
            answer = await self._http.post(mail.path, content=mail.body, headers=headers)
        except httpx.HTTPError:
            return None
        if answer.is_success:
            return "taken"
        if answer.is_client_error and answer.status_code not in _TRY_AGAIN:
            return "refused"
        return None

    def _forget(self, mail: Mail) -> None:
        with self._store.tx():
            self._store.run("DELETE FROM outbox WHERE seq = ?", mail.seq)
