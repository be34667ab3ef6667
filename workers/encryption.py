"""What Temporal stores of us, unreadable to whoever has no key.

A payload is sealed whole by AES-256-GCM under a fresh nonce. The id of its key stands beside it in
clear and is part of what is authenticated, so keys can be rotated while runs that were written
under an older one go on.
"""

import base64
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec
from typing_extensions import override

from oms.errors import BadSetting, KeyMissing, PayloadDamaged

PLAIN = "plain"
"""In the place of the first key: nothing new is sealed, and what is sealed stays readable."""

_ENCODING = b"binary/encrypted"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


class KeyRing(NamedTuple):
    """The keys by id. `seals_with`: the id of the one that encrypts; none encrypts nothing."""

    keys: Mapping[str, bytes]
    seals_with: str | None

    @classmethod
    def read(cls, setting: str) -> Self:
        """Read `id:base64key,…`. The first key encrypts, all of them decrypt.

        Raises:
            BadSetting: it cannot be read. The message names the key's place, never the key.
        """
        entries = [each.strip() for each in setting.split(",")]
        seals = entries[0] != PLAIN
        keys: dict[str, bytes] = {}
        for place, entry in enumerate(entries if seals else entries[1:], start=1 if seals else 2):
            id, key = _read_entry(entry, place)
            if id in keys:
                raise BadSetting(f"OMS_CODEC_KEYS: entry {place} repeats the id {id}")
            keys[id] = key
        return cls(keys, next(iter(keys)) if seals else None)


def new_codec_key(id: str) -> str:
    """Draw a key, as an entry of the setting.

    Raises:
        BadSetting: the id is none.
    """
    entry = f"{id}:{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"
    _read_entry(entry, 1)
    return entry


def _read_entry(entry: str, place: int) -> tuple[str, bytes]:
    id, _, encoded = entry.partition(":")
    if not _ID.fullmatch(id) or id == PLAIN:
        raise BadSetting(
            f"OMS_CODEC_KEYS: entry {place} has no id: letters, digits, `_`, `.` and `-`, at most"
            " 32, then a colon and the key"
        )
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise BadSetting(
            f"OMS_CODEC_KEYS: the key of {id} is not {_KEY_BYTES} bytes in base64;"
            " `oms codec-key` draws one"
        )
    return id, key


class EncryptingCodec(PayloadCodec):
    """Seals what is sent to Temporal and opens what comes back; clear payloads pass as they are."""

    def __init__(self, ring: KeyRing) -> None:
        self._ciphers = {id: AESGCM(key) for id, key in ring.keys.items()}
        self._seals_with = ring.seals_with

    @override
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal each payload, one for one."""
        return [self._seal(payload) for payload in payloads]

    @override
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open each payload that is sealed.

        Raises:
            KeyMissing: one was sealed with a key that the ring lacks.
            PayloadDamaged: one is not what was sealed.
        """
        return [self._open(payload) for payload in payloads]

    def _seal(self, payload: Payload) -> Payload:
        id = self._seals_with
        if id is None:
            return payload
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[id].encrypt(nonce, payload.SerializeToString(), id.encode())
        return Payload(
            metadata={"encoding": _ENCODING, "encryption-key-id": id.encode()}, data=nonce + sealed
        )

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != _ENCODING:
            return payload
        id = payload.metadata.get("encryption-key-id", b"").decode(errors="replace")
        if id not in self._ciphers:
            raise KeyMissing(id if _ID.fullmatch(id) else "without a readable id")
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            clear = self._ciphers[id].decrypt(nonce, sealed, id.encode())
            return Payload.FromString(clear)
        except (InvalidTag, ValueError, DecodeError) as error:
            raise PayloadDamaged(id) from error
