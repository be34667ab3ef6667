"""What all bodies and keys have in common."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from simulator.faults import Answer, Party
from simulator.store import Store

Key = Annotated[
    str, Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Amount = Annotated[int, Field(ge=1, le=10**12)]


class Wire(BaseModel):
    """A body. Nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def once(
    store: Store, party: Party, operation: str, *, key: str, call: Wire, apply: Callable[[], Answer]
) -> Answer:
    """Apply a call in one transaction, or answer its key as before.

    The same key with another content is a 409, whatever the first content was.
    """
    with store.tx():
        request = call.model_dump(mode="json")
        known = store.answered(party, key)
        if known is None:
            answer = apply()
            if answer.keep:
                store.remember(party, key, operation, request, answer.body)
            return answer
    if (known["operation"], known["request"]) == (operation, request):
        return Answer(known["answer"])
    return wrong("key_reused", 409)


def refusal(reason: str) -> Answer:
    """Say no, as a business does. The key stays free."""
    return Answer({"status": "declined", "reason": reason}, keep=False)


def wrong(code: str, status: int = 422) -> Answer:
    """Say that the caller is mistaken."""
    return Answer({"code": code}, status, keep=False)


class Chores:
    """Background work of one party, ended with the process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Do it in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel all of it and wait until it is gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
