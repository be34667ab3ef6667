"""`Idempotency-Key`: claimed before the work, answered once, and the same answer ever after.

Work that is one SQL transaction keeps its answer in that transaction, so there is no moment in
which the effect is there and the answer is not. Longer work is repeatable under keys of its own.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated

import structlog
from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db import idempotency as claims
from adapters.db.credentials import Credential
from adapters.db.idempotency import Answered, Claim, ClaimLost, InFlight, Reused
from api.answers import Answer, problem_answer
from api.auth import Database, caller
from api.problems import Problem

log = structlog.get_logger()

_KEY = re.compile(r"[!-~]{1,255}")
_NOT_KEPT = {400, 401, 403, 413}

InTransaction = Callable[[AsyncConnection], Awaitable[Answer]]


@dataclass(frozen=True)
class Once:
    """One request under one key, or under none where the key is optional."""

    db: AsyncEngine
    credential: str
    key: str | None
    method: str
    path: str
    request: Request

    @property
    def business_key(self) -> str:
        """Names the effect for ledgers: the credential and its key, the same on each retry."""
        assert self.key is not None, "only required keys name effects"
        return f"{self.credential}:{self.key}"

    async def in_transaction(self, work: InTransaction) -> Response:
        """Run work that is one transaction; its answer commits with it."""
        if self.key is None:
            async with self.db.begin() as tx:
                return (await work(tx)).response()
        return await self.around(lambda claim: self._work_and_answer(work, claim))

    async def around(self, work: Callable[[Claim], Awaitable[Answer]]) -> Response:
        """Run work that may be repeated under its own keys; the answer is kept when it ends."""
        claim = await self._claim()
        if isinstance(claim, Answered):
            replay = Answer(claim.status_code, claim.body, claim.headers)
            return replay.response(**{"Idempotent-Replayed": "true"})
        try:
            answer = await work(claim)
            if not answer.kept:
                await self._keep(claim, answer)
        except Problem as problem:
            answer = problem_answer(problem)
            if not _is_kept(problem):
                await self._give_up(claim)
                raise
            await self._keep(claim, answer)
        except ClaimLost:
            raise _in_flight() from None
        except asyncio.CancelledError:
            # Out of time. Whatever held us up may hold this up too, so nobody waits for it.
            _let_go(self._give_up(claim))
            raise
        except Exception:
            await self._give_up(claim)
            raise
        return answer.response()

    async def _work_and_answer(self, work: InTransaction, claim: Claim) -> Answer:
        async with self.db.begin() as tx:
            return await keep_in(tx, claim, await work(tx))

    async def _claim(self) -> Claim | Answered:
        assert self.key is not None
        found = await claims.claim(
            self.db,
            credential=self.credential,
            key=self.key,
            request_hash=self._hash(),
            now=datetime.now(UTC),
        )
        match found:
            case InFlight():
                raise _in_flight()
            case Reused():
                raise Problem(
                    "idempotency_key_reused", "Use a new key for another request or content."
                )
            case _:
                return found

    async def _keep(self, claim: Claim, answer: Answer) -> None:
        """Store the answer of work that was no transaction of its own."""
        async with self.db.begin() as tx:
            try:
                await keep_in(tx, claim, answer)
            except ClaimLost:
                # Taken over by a repeat, which gives the same answer.
                return

    async def _give_up(self, claim: Claim) -> None:
        try:
            async with self.db.begin() as tx:
                await claims.give_up(tx, claim)
        except Exception as fault:  # noqa: BLE001 - the first fault is the one to tell about
            # The claim lapses by itself.
            log.warning("claim_not_given_up", fault=type(fault).__name__)

    def _hash(self) -> bytes:
        """Name the request by what it asks for, however its JSON was written."""
        document = json.dumps(self.request.state.json, sort_keys=True, separators=(",", ":"))
        asked = "\n".join((self.method, self.path, document))
        return hashlib.sha256(asked.encode()).digest()


_letting_go: set[asyncio.Task[None]] = set()


def _let_go(work: Coroutine[None, None, None]) -> None:
    """Run on beside; the loop itself keeps no hold of its tasks."""
    task = asyncio.create_task(work)
    _letting_go.add(task)
    task.add_done_callback(_letting_go.discard)


def _key(request: Request) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise Problem("idempotency_key_invalid", "Send one key of 1-255 visible ASCII characters.")
    return keys[0]


async def optional_key(
    request: Request, db: Database, who: Annotated[Credential, Depends(caller)]
) -> Once:
    """For actions that are safe to repeat anyway."""
    return Once(db, who.id, _key(request), request.method, request.url.path, request)


async def required_key(once: Annotated[Once, Depends(optional_key)]) -> Once:
    """For everything that moves goods or money.

    Raises:
        Problem: `idempotency_key_missing`.
    """
    if once.key is None:
        raise Problem("idempotency_key_missing", "Send the header Idempotency-Key.")
    return once


OnceOnly = Annotated[Once, Depends(required_key)]
OptionallyOnce = Annotated[Once, Depends(optional_key)]


def _is_kept(problem: Problem) -> bool:
    return not (
        problem.status in _NOT_KEPT or problem.status >= 500 or problem.code == "validation_failed"
    )


async def keep_in(tx: AsyncConnection, claim: Claim, answer: Answer) -> Answer:
    """Store an answer in the transaction that holds the effect.

    Raises:
        ClaimLost: somebody took the claim over; roll back.
    """
    stored = Answered(answer.status, dict(answer.headers), answer.body)
    await claims.store_answer(tx, claim, stored)
    return replace(answer, kept=True)


def _in_flight() -> Problem:
    return Problem(
        "idempotency_key_in_flight", "Ask again in a moment.", headers={"Retry-After": "1"}
    )
