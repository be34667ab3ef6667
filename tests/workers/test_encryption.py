"""What Temporal stores can be read with a key, and only with its own."""

import base64
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some
from temporalio.api.common.v1 import Payload
from typer.testing import CliRunner

from oms.errors import BadSetting, KeyMissing, PayloadDamaged
from workers.cli import app
from workers.encryption import EncryptingCodec, KeyRing
from workers.temporal import data_converter

OLD, NEW, OTHER = (
    f"{id}:{base64.b64encode(id.encode().ljust(32, b'.')).decode()}"
    for id in ("old", "new", "other")
)
STREET = Payload(metadata={"encoding": b"json/plain"}, data=b'"77 Wisteria Lane"')

payloads = some.lists(
    some.builds(
        Payload,
        metadata=some.dictionaries(some.text(max_size=9), some.binary(max_size=9), max_size=3),
        data=some.binary(max_size=200),
    ),
    max_size=4,
)


def codec(*keys: str) -> EncryptingCodec:
    return EncryptingCodec(KeyRing.read(",".join(keys)))


async def sealed(*keys: str, payload: Payload = STREET) -> Payload:
    return (await codec(*keys).encode([payload]))[0]


async def opened(payload: Payload, *keys: str) -> Payload:
    return (await codec(*keys).decode([payload]))[0]


@given(clear=payloads)
async def test_what_is_sealed_opens_as_it_was(clear: Sequence[Payload]) -> None:
    once = await codec(NEW).encode(clear)
    assert await codec(NEW).decode(once) == list(clear)
    assert all(each.metadata["encryption-key-id"] == b"new" for each in once)


async def test_nothing_of_it_can_be_read_and_twice_the_same_looks_different() -> None:
    once, again = await sealed(NEW), await sealed(NEW)

    assert b"Wisteria" not in once.SerializeToString()
    assert b"json/plain" not in once.SerializeToString()
    assert once.data != again.data


@given(at=some.integers(min_value=0), flip=some.integers(min_value=1, max_value=255))
async def test_a_single_changed_byte_is_found(at: int, flip: int) -> None:
    changed = await sealed(NEW)
    data = bytearray(changed.data)
    data[at % len(data)] ^= flip
    changed.data = bytes(data)

    with pytest.raises(PayloadDamaged):
        await opened(changed, NEW)


@pytest.mark.parametrize("left", [0, 1, 12, 27])
async def test_one_that_was_cut_short_is_found(left: int) -> None:
    cut = await sealed(NEW)
    cut.data = cut.data[:left]

    with pytest.raises(PayloadDamaged):
        await opened(cut, NEW)


async def test_a_payload_passed_off_as_sealed_with_another_key_is_found() -> None:
    same_bytes = NEW.partition(":")[2]
    relabelled = await sealed(NEW)
    relabelled.metadata["encryption-key-id"] = b"other"

    with pytest.raises(PayloadDamaged):
        await opened(relabelled, f"other:{same_bytes}")


async def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens() -> None:
    before = await sealed(OLD)
    after = await sealed(NEW, OLD)

    assert await opened(before, NEW, OLD) == STREET
    assert after.metadata["encryption-key-id"] == b"new"
    assert await opened(after, NEW) == STREET


async def test_a_missing_key_is_named() -> None:
    before = await sealed(OLD)

    with pytest.raises(KeyMissing, match="codec key old is missing") as missing:
        await opened(before, NEW)

    assert (missing.value.id, missing.value.code) == ("old", "codec_key_missing")


async def test_a_damaged_key_id_is_not_repeated() -> None:
    before = await sealed(OLD)
    before.metadata["encryption-key-id"] = b"<script>" + bytes(200)

    with pytest.raises(KeyMissing, match="without a readable id"):
        await opened(before, NEW)


async def test_what_was_written_in_clear_is_read_after_it_is_switched_on() -> None:
    assert await opened(STREET, NEW) == STREET


async def test_switched_off_again_nothing_new_is_sealed_and_all_can_be_read() -> None:
    assert await sealed("plain", OLD) == STREET
    assert await opened(await sealed(OLD), "plain", OLD) == STREET


def test_without_keys_nothing_is_between_us_and_temporal() -> None:
    assert data_converter(None).payload_codec is None
    assert data_converter("").payload_codec is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("k1", "key of k1"),
        ("k1:", "key of k1"),
        (":" + NEW.partition(":")[2], "entry 1 has no id"),
        ("plain:" + NEW.partition(":")[2], "entry 1 has no id"),
        (f"{NEW},", "entry 2 has no id"),
        (f"{NEW},{NEW}", "entry 2 repeats the id new"),
        ("k1:" + base64.b64encode(b"short").decode(), "key of k1"),
        ("k1:not base64, really!", "key of k1"),
        (f"{NEW},plain", "entry 2 has no id"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused_without_repeating_a_key(
    setting: str, words: str
) -> None:
    with pytest.raises(BadSetting, match=words) as refused:
        KeyRing.read(setting)

    assert all(secret not in str(refused.value) for secret in (NEW.partition(":")[2], "short"))


def test_a_key_is_drawn_on_the_command_line() -> None:
    named = CliRunner().invoke(app, ["codec-key", "2026-winter"])
    assert list(KeyRing.read(named.output.strip()).keys) == ["2026-winter"]

    dated = CliRunner().invoke(app, ["codec-key"])
    assert KeyRing.read(dated.output.strip()).seals_with is not None

    assert CliRunner().invoke(app, ["codec-key", "no spaces"]).exit_code == 2
