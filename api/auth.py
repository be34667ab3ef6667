"""Who calls, and whether a role may do a thing at all.

A role that may never do it gets 403. The right role at somebody else's thing gets 404, from the
route that knows whose it is.
"""

import time
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.credentials import Credential, find_credential, key_hash
from api.problems import Problem

MAX_KEY_LENGTH = 200
REMEMBERED_SECONDS = 5.0

# Documents the scheme; the header is read below, so that every failure is our own problem.
_bearer = HTTPBearer(auto_error=False, description="An API key.")


def database(request: Request) -> AsyncEngine:
    """The pool of this process."""
    engine: AsyncEngine = request.app.state.engine
    return engine


Database = Annotated[AsyncEngine, Depends(database)]


class KnownKeys:
    """Remembers whose keys were shown in the last seconds, so that not every request asks.

    A key that is revoked opens nothing after `REMEMBERED_SECONDS`. Wrong keys are not remembered.
    """

    def __init__(self) -> None:
        self._until: dict[bytes, tuple[float, Credential]] = {}

    async def find(self, db: AsyncEngine, key: str) -> Credential | None:
        """Find whose key this is; none when it is unknown or revoked."""
        now, hashed = time.monotonic(), key_hash(key)
        until, known = self._until.get(hashed, (0.0, None))
        if known is not None and now < until:
            return known
        async with db.connect() as tx:
            found = await find_credential(tx, key)
        if found is None:
            self._until.pop(hashed, None)
        else:
            self._until[hashed] = (now + REMEMBERED_SECONDS, found)
        return found


async def caller(
    request: Request, db: Database, _: Annotated[object, Security(_bearer)]
) -> Credential:
    """Whose key the request shows.

    Raises:
        Problem: `unauthenticated`.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    known: KnownKeys = request.app.state.known_keys
    possible = scheme.lower() == "bearer" and 0 < len(key.strip()) <= MAX_KEY_LENGTH
    if possible and (found := await known.find(db, key.strip())):
        return found
    raise Problem(
        "unauthenticated",
        "Send `Authorization: Bearer <api key>`.",
        headers={"WWW-Authenticate": "Bearer"},
    )


class Roles:
    """A dependency that lets these roles in, and operators always."""

    def __init__(self, *roles: str) -> None:
        self._roles = {*roles, "operator"}

    async def __call__(self, who: Annotated[Credential, Depends(caller)]) -> Credential:
        """Let them in.

        Raises:
            Problem: `forbidden`.
        """
        if who.role not in self._roles:
            raise Problem("forbidden", f"Not for the role {who.role}.")
        return who


Anybody = Annotated[Credential, Depends(caller)]
Operator = Annotated[Credential, Depends(Roles())]
ChannelOrOperator = Annotated[Credential, Depends(Roles("channel"))]
NodeOrOperator = Annotated[Credential, Depends(Roles("node"))]
