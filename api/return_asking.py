"""Asking for a return or a claim: once under its key, and the exchange's verdict awaited."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Response

from adapters.db.book import SqlBook, known_answer, store_answer
from adapters.db.credentials import Credential
from adapters.db.idempotency import Claim
from adapters.db.return_asking import Asked, NotReturnable
from adapters.db.unit import OrderUnit
from api.answers import Answer
from api.auth import ChannelOrOperator, Database
from api.exchanges import Exchanges
from api.finding_returns import shown_return
from api.idempotency import OnceOnly
from api.orders import visible_order
from api.problems import Problem, refused
from api.wiring import SettingsOfApi, Temporal
from oms.book import CommandAnswer
from oms.cancelling import Refusal
from oms.fields import Flaw
from oms.orders import Order
from oms.placing import Unacceptable
from oms.return_requests import ClaimRequest, ReturnRequest, check_request

Write = Callable[[OrderUnit], Awaitable[Asked]]


class AskingOnce:
    """One request for a return or a claim, by one who may ask, under its key."""

    def __init__(
        self,
        who: ChannelOrOperator,
        once: OnceOnly,
        db: Database,
        temporal: Temporal,
        settings: SettingsOfApi,
    ) -> None:
        self._who, self._once, self._db = who, once, db
        self._book = SqlBook(db, settings.policy)
        self._exchanges = Exchanges(self._book, temporal, settings, who)

    async def ask(self, body: ReturnRequest | ClaimRequest, write: Write) -> Response:
        """Write what is asked for, place the order of an exchange, and answer with the return.

        Raises:
            Problem: it contradicts itself or may not be; nothing was written, or it was called off.
        """
        if wrong := check_request(body):
            raise Problem(wrong.code, wrong.detail, errors=wrong.errors)

        async def work(_: Claim) -> Answer:
            order = await visible_order(self._db, body.order, self._who)
            command = command_id(self._once.key, self._who)
            id = await _write_once(self._book, order, write, self._who, command)
            await self._exchanges.conclude(id)
            return await shown_return(self._db, id, 201)

        return await self._once.around(work)


Asking = Annotated[AskingOnce, Depends(AskingOnce)]


async def _write_once(
    book: SqlBook, order: Order, write: Write, who: Credential, command: str
) -> str:
    """Write what is asked for under its command's id, and give its own; once.

    Raises:
        Problem: it may not be; nothing was written.
    """

    async def apply(unit: OrderUnit) -> Asked:
        if (known := await known_answer(unit, command)) and known.id is not None:
            return known.id
        asked = await write(unit)
        if isinstance(asked, str):
            store_answer(unit, command, CommandAnswer(id=asked))
        return asked

    found = await book.change(order.number, datetime.now(UTC), apply, actor=who.id)
    if isinstance(found, NotReturnable):
        raise not_returnable(found.flaws)
    if isinstance(found, Unacceptable):
        raise Problem(found.code, found.detail, errors=found.errors)
    if isinstance(found, Refusal):
        raise refused(found)
    return found


def not_returnable(flaws: tuple[Flaw, ...]) -> Problem:
    """Say which lines may not come back, and why."""
    return Problem("not_returnable", "Nothing was changed; see errors.", errors=flaws)


def command_id(key: str | None, who: Credential) -> str:
    """Name a command by who gives it and its key, so that its effect and answer are one."""
    assert key is not None
    return hashlib.sha256(f"{who.id}\n{key}".encode()).hexdigest()
