"""Claims on idempotency keys: at most one request at a time works under a key.

A claim is taken and committed before the work, so that a second request sees it. It ends with the
first answer, or is given up so that the key is free. The claim's time is its fence: whoever takes
over a claim whose process died gets a new time, and the old one can no longer answer.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.at_once import Statement, at_once
from adapters.db.engine import by_statement
from adapters.db.unit import as_read, reading
from oms.orders import Order

KEPT_FOR = timedelta(days=30)
TAKEN_OVER_AFTER = timedelta(seconds=30)
"""Longer than requests take, so that a claim this old has lost its process. Were it still alive,
the fence would keep it from answering."""


@dataclass(frozen=True)
class Claim:
    """The right to work. `order_number`: an earlier process got as far as storing this order."""

    credential: str
    key: str
    claimed_at: datetime
    order_number: str | None = None


@dataclass(frozen=True)
class Answered:
    """The first answer under this key, to be given again."""

    status_code: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class InFlight:
    """Another request is at work under this key."""


@dataclass(frozen=True)
class Reused:
    """The key was used for another request."""


class ClaimLost(Exception):
    """Somebody took the claim over; what this transaction did must not be committed."""


_CLAIM = text(
    """
    INSERT INTO idempotency_keys AS held (credential, key, request_hash, claimed_at)
    VALUES (:credential, :key, :hash, :now)
    ON CONFLICT (credential, key) DO UPDATE
    SET request_hash = EXCLUDED.request_hash, claimed_at = EXCLUDED.claimed_at,
        status_code = NULL, headers = NULL, body = NULL,
        order_number = CASE WHEN held.claimed_at < :expired THEN NULL ELSE held.order_number END
    WHERE held.claimed_at < :expired
       OR (held.status_code IS NULL AND held.claimed_at <= :abandoned
           AND held.request_hash = EXCLUDED.request_hash)
    RETURNING order_number
    """
)
_HELD = text(
    "SELECT request_hash, status_code, headers, body FROM idempotency_keys"
    " WHERE credential = :credential AND key = :key"
)
_ANSWER = text(
    "UPDATE idempotency_keys SET status_code = :status, headers = :headers, body = :body"
    " WHERE credential = :credential AND key = :key AND claimed_at = :claimed_at"
    " AND status_code IS NULL"
).bindparams(bindparam("headers", type_=JSONB))
_ATTACH = (
    "UPDATE idempotency_keys SET order_number = :number"
    " WHERE credential = :credential AND key = :key AND claimed_at = :claimed_at"
    " AND status_code IS NULL RETURNING 1"
)
_FORGET = text(
    "DELETE FROM idempotency_keys WHERE credential = :credential AND key = :key"
    " AND claimed_at = :claimed_at AND status_code IS NULL AND order_number IS NULL"
)
_LAY_DOWN = text(
    "UPDATE idempotency_keys SET claimed_at = claimed_at - CAST(:age AS interval)"
    " WHERE credential = :credential AND key = :key AND claimed_at = :claimed_at"
    " AND status_code IS NULL"
)


async def claim(
    db: AsyncEngine, *, credential: str, key: str, request_hash: bytes, now: datetime
) -> Claim | Answered | InFlight | Reused:
    """Claim a key for the request with this hash, in a transaction of its own."""
    while True:
        async with by_statement(db).connect() as tx:
            claimed = (
                await tx.execute(
                    _CLAIM,
                    {
                        "credential": credential,
                        "key": key,
                        "hash": request_hash,
                        "now": now,
                        "expired": now - KEPT_FOR,
                        "abandoned": now - TAKEN_OVER_AFTER,
                    },
                )
            ).one_or_none()
            if claimed is not None:
                return Claim(credential, key, now, claimed.order_number)
            held = (await tx.execute(_HELD, {"credential": credential, "key": key})).one_or_none()
        if held is not None:
            break
        # Given up between the two statements: the key is free again.
        await asyncio.sleep(0)
    if bytes(held.request_hash) != request_hash:
        return Reused()
    if held.status_code is None:
        return InFlight()
    return Answered(held.status_code, held.headers, held.body)


async def store_answer(tx: AsyncConnection, claim: Claim, answer: Answered) -> None:
    """Keep the first answer, in the transaction that holds the effect where there is one.

    Raises:
        ClaimLost: somebody took over; roll back.
    """
    done = await tx.execute(
        _ANSWER,
        {
            **_identity(claim),
            "status": answer.status_code,
            "headers": answer.headers,
            "body": answer.body,
        },
    )
    if done.rowcount == 0:
        raise ClaimLost(claim.key)


async def attach_order(tx: AsyncConnection, claim: Claim, number: str) -> Order | None:
    """Note the order a request stored, in that transaction, so that it is finished, not repeated.

    Gives the order, read in the same round trip.

    Raises:
        ClaimLost: somebody took over; roll back.
    """
    attach = Statement(_ATTACH, {**_identity(claim), "number": number})
    attached, found = await at_once(tx, [attach, reading(number)])
    if not attached:
        raise ClaimLost(claim.key)
    return as_read(found) if found else None


async def give_up(tx: AsyncConnection, claim: Claim) -> None:
    """Free the key. Where an order was stored already, the next request may finish it at once."""
    forgotten = await tx.execute(_FORGET, _identity(claim))
    if forgotten.rowcount == 0:
        await tx.execute(_LAY_DOWN, {**_identity(claim), "age": TAKEN_OVER_AFTER})


async def sweep(tx: AsyncConnection, now: datetime) -> int:
    """Forget keys older than 30 days; returns how many, at most 10,000 at a time."""
    swept = await tx.execute(
        text(
            "DELETE FROM idempotency_keys WHERE (credential, key) IN (SELECT credential, key"
            " FROM idempotency_keys WHERE claimed_at < :expired LIMIT 10000)"
        ),
        {"expired": now - KEPT_FOR},
    )
    return swept.rowcount


def _identity(claim: Claim) -> dict[str, object]:
    return {"credential": claim.credential, "key": claim.key, "claimed_at": claim.claimed_at}
