"""The return policy: versions that are only added. The newest stands; without one, the usual."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.master import Changed
from oms.return_policy import USUAL, ReturnPolicy, VersionedPolicy

_COLUMNS = "version, CAST(document AS text) AS document, actor, at"


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A version as it was put. The usual one was put by nobody."""

    policy: VersionedPolicy
    actor: str | None = None
    at: datetime | None = None


async def current_policy(tx: AsyncConnection) -> VersionedPolicy:
    """The policy that stands now."""
    return (await newest_policy(tx)).policy


async def newest_policy(tx: AsyncConnection) -> StoredPolicy:
    """The policy that stands now, and who put it when."""
    found = await tx.execute(
        text(f"SELECT {_COLUMNS} FROM return_policies ORDER BY version DESC LIMIT 1")
    )
    row = found.one_or_none()
    return StoredPolicy(USUAL) if row is None else _stored(row)


async def policy_of(tx: AsyncConnection, version: int) -> StoredPolicy | None:
    """One version, 0 for the usual one; None where there is none."""
    if version == USUAL.version:
        return StoredPolicy(USUAL)
    found = await tx.execute(
        text(f"SELECT {_COLUMNS} FROM return_policies WHERE version = :version"),
        {"version": version},
    )
    row = found.one_or_none()
    return None if row is None else _stored(row)


async def list_policies(
    tx: AsyncConnection, *, before: int | None, limit: int
) -> list[StoredPolicy]:
    """All versions that were put, newest first, from below `before` on."""
    found = await tx.execute(
        text(
            f"SELECT {_COLUMNS} FROM return_policies"
            " WHERE (CAST(:before AS int) IS NULL OR version < :before)"
            " ORDER BY version DESC LIMIT :limit"
        ),
        {"before": before, "limit": limit},
    )
    return [_stored(row) for row in found]


async def put_policy(
    tx: AsyncConnection,
    policy: ReturnPolicy,
    expected_version: int | None,
    actor: str,
    at: datetime,
) -> StoredPolicy | Changed:
    """Add a version, which stands from now on. Returns agreed before keep their terms.

    `expected_version`: what the writer read, 0 for the usual one; None for whatever it is.
    """
    # One writer at a time: two would both see the same newest version.
    await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('return_policies'))"))
    newest = await tx.scalar(text("SELECT max(version) FROM return_policies")) or USUAL.version
    if expected_version not in (None, newest):
        return Changed()
    added = await tx.execute(
        text(
            "INSERT INTO return_policies (version, document, actor, at)"
            f" VALUES (:version, CAST(:document AS jsonb), :actor, :at) RETURNING {_COLUMNS}"
        ),
        {
            "version": newest + 1,
            "document": policy.model_dump_json(exclude_unset=True),
            "actor": actor,
            "at": at,
        },
    )
    return _stored(added.one())


def _stored(row: Row[Any]) -> StoredPolicy:
    return StoredPolicy(_read(row.version, row.document), row.actor, row.at)


@lru_cache(maxsize=32)
def _read(version: int, document: str) -> VersionedPolicy:
    """Versions never change, and every return asks for one."""
    return VersionedPolicy(version=version, policy=ReturnPolicy.model_validate_json(document))
