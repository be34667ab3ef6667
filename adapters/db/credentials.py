"""API keys: who calls, and what they may reach. Only hashes are kept."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

ROLES = ("operator", "channel", "node")
EVERYTHING = ("*",)


@dataclass(frozen=True)
class Credential:
    """A key that was shown. `channels` and `locations` are its reach; `*` is all of them."""

    id: str
    role: str
    channels: frozenset[str]
    locations: frozenset[str]

    @property
    def reach(self) -> list[str] | None:
        """The locations that lists are cut to, sorted; None for all."""
        everywhere = self.role == "operator" or "*" in self.locations
        return None if everywhere else sorted(self.locations)

    def reaches_channel(self, channel: str) -> bool:
        """Say whether this channel's things are this credential's."""
        return "*" in self.channels or channel in self.channels

    def reaches_location(self, location: str) -> bool:
        """Say whether this location's things are this credential's."""
        return "*" in self.locations or location in self.locations


def key_hash(key: str) -> bytes:
    """Hash an API key. Keys are long and random, so no salt and no slow hash is needed."""
    return hashlib.sha256(key.encode()).digest()


async def find_credential(tx: AsyncConnection, key: str) -> Credential | None:
    """Find whose key this is; none when it is unknown or revoked."""
    row = (
        await tx.execute(
            text(
                "SELECT id, role, channels, locations FROM api_keys"
                " WHERE hash = :hash AND revoked_at IS NULL"
            ),
            {"hash": key_hash(key)},
        )
    ).one_or_none()
    if row is None:
        return None
    return Credential(row.id, row.role, frozenset(row.channels), frozenset(row.locations))


async def store_credential(
    tx: AsyncConnection,
    *,
    id: str,
    key: str,
    role: str,
    now: datetime,
    channels: tuple[str, ...] = EVERYTHING,
    locations: tuple[str, ...] = EVERYTHING,
) -> None:
    """Let `key` in under `id`. The same id again replaces its key, role and reach."""
    assert role in ROLES, role
    await tx.execute(
        text(
            "INSERT INTO api_keys (id, hash, role, channels, locations, created_at)"
            " VALUES (:id, :hash, :role, :channels, :locations, :now)"
            " ON CONFLICT (id) DO UPDATE SET hash = EXCLUDED.hash, role = EXCLUDED.role,"
            " channels = EXCLUDED.channels, locations = EXCLUDED.locations, revoked_at = NULL"
        ),
        {
            "id": id,
            "hash": key_hash(key),
            "role": role,
            "channels": list(channels),
            "locations": list(locations),
            "now": now,
        },
    )
