"""Orders whose runs nobody reads without a key, sealed at once or while under way."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import PayloadCodec
from typing_extensions import override

from tests.world import World, a_shop
from workers.encryption import EncryptingCodec, KeyRing, new_codec_key
from workers.temporal import data_converter

FIRST, SECOND = new_codec_key("first"), new_codec_key("second")


class Restarted(PayloadCodec):
    """The codec of processes that are started again with other keys, now and then."""

    def __init__(self, keys: str) -> None:
        self.given(keys)

    def given(self, keys: str) -> None:
        self._codec = EncryptingCodec(KeyRing.read(keys))

    @override
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._codec.encode(payloads)

    @override
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._codec.decode(payloads)


def with_codec(temporal: Client, codec: PayloadCodec) -> Client:
    config = temporal.config()
    config["data_converter"] = replace(data_converter(FIRST), payload_codec=codec)
    return Client(**config)


def parts_of(message: Message, name: str = "") -> Iterator[tuple[str, Message]]:
    """Every message within a message, with the name of the field that holds it."""
    yield name, message
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE or field.name == "search_attributes":
            continue
        if isinstance(value, Mapping):
            values = [each for each in value.values() if isinstance(each, Message)]
        else:
            values = value if field.is_repeated else [value]
        for each in values:
            yield from parts_of(each, field.name)


def keys_of(history: WorkflowHistory) -> set[str]:
    """What the payloads of a history are sealed with; in clear the SDK's own notes may stand."""
    payloads = [p for event in history.events for _, p in parts_of(event) if isinstance(p, Payload)]
    assert payloads
    return {
        payload.metadata.get("encryption-key-id", payload.metadata["encoding"]).decode()
        for payload in payloads
        if not is_a_note_of_the_sdk(payload)
    }


def is_a_note_of_the_sdk(payload: Payload) -> bool:
    """Beside the result of a local activity the SDK's core writes down its name and its times."""
    if payload.metadata["encoding"] != b"json/plain":
        return False
    told = json.loads(payload.data)
    return isinstance(told, dict) and set(told) == {
        *("activity_id", "activity_type", "attempt", "backoff", "seq"),
        *("activation_index", "complete_time", "original_schedule_time"),
    }


async def histories(temporal: Client, number: str) -> list[WorkflowHistory]:
    """Both runs of an order as Temporal holds them."""
    ids = (f"order/{number}", f"fulfillment/{number}-F1")
    return [await temporal.get_workflow_handle(id).fetch_history() for id in ids]


async def test_of_a_sealed_run_only_ids_and_search_attributes_can_be_read(
    database_url: str, temporal: Client
) -> None:
    client = with_codec(temporal, EncryptingCodec(KeyRing.read(FIRST)))
    async with a_shop(database_url, client) as world:
        await world.works_by_hand("wh-lyon")
        await world.outside.breaks("carriers", "label", "decline", times=1)
        number = (await world.place(token="tok_capture_fails"))["number"]
        id = await world.packs(number)
        await world.until_parked(number, "label:S1")
        await world.resolve(number, "label:S1", "retry")
        tracking_number = await world.until_labelled(number)
        await world.node(id, "hand-over")
        await world.until_parked(number, "capture:1")
        await world.resolve(number, "capture:1", "done_manually", result={"reference": "till-88"})
        await world.scan(tracking_number, "delivered")
        await world.until_closed(number)

        for each in await histories(temporal, number):
            assert keys_of(each) == {"first"}
            failures = [p for e in each.events for _, p in parts_of(e) if isinstance(p, Failure)]
            ours = [f for f in failures if not f.HasField("server_failure_info")]
            assert {(f.message, f.stack_trace) for f in ours} <= {("Encoded failure", "")}
            readable = repr(list(each.events))
            assert [w for w in ("till-88", "ops-ines", "seen to it") if w in readable] == []


async def test_encryption_is_switched_on_rotated_and_off_while_orders_are_under_way(
    database_url: str, temporal: Client
) -> None:
    codec = Restarted(f"plain,{FIRST}")
    client = with_codec(temporal, codec)
    options = {"max_cached_workflows": 0}  # each task reads its whole history again
    async with a_shop(database_url, client, worker_options=options) as world:
        await world.works_by_hand("wh-lyon")
        number = (await world.place())["number"]
        id = (await world.until_offered(number))[0]["id"]

        codec.given(f"{FIRST},{SECOND}")
        await world.node(id, "accept")
        await world.node(id, "pick", {"lines": [{"line": 1, "picked": 1}]})
        lines = [{"line": 1, "quantity": 1}]
        await world.node(id, "pack", {"parcels": [{"weight_g": 500, "lines": lines}]})
        tracking_number = await world.until_labelled(number)

        codec.given(f"{SECOND},{FIRST}")
        await world.node(id, "hand-over")
        await _until_captured(world, number)

        codec.given(f"plain,{SECOND},{FIRST}")
        await world.scan(tracking_number, "delivered")
        done = await world.until_closed(number)

        assert (done["status"], done["payment_status"]) == ("completed", "paid")
        await world.audit_is_clean()
        order, part = [keys_of(each) for each in await histories(temporal, number)]
        assert order | part >= {"json/plain", "first", "second"}


async def test_a_run_whose_key_is_missing_stands_still_and_goes_on_when_it_is_given(
    database_url: str, temporal: Client
) -> None:
    codec = Restarted(FIRST)
    client = with_codec(temporal, codec)
    async with a_shop(database_url, client, worker_options={"max_cached_workflows": 0}) as world:
        await world.works_by_hand("wh-lyon")
        number = (await world.place())["number"]
        id = (await world.until_offered(number))[0]["id"]

        codec.given(SECOND)
        await world.node(id, "accept")
        run = temporal.get_workflow_handle(f"fulfillment/{id}")

        async def stands_still() -> bool:
            told = [event async for event in run.fetch_history_events()]
            return any(e.HasField("workflow_task_failed_event_attributes") for e in told)

        await world.wait(stands_still)
        codec.given(f"{SECOND},{FIRST}")
        await world.node(id, "pick", {"lines": [{"line": 1, "picked": 1}]})
        lines = [{"line": 1, "quantity": 1}]
        await world.node(id, "pack", {"parcels": [{"weight_g": 500, "lines": lines}]})
        tracking_number = await world.until_labelled(number)
        await world.node(id, "hand-over")
        await world.scan(tracking_number, "delivered")
        await world.until_closed(number)
        await world.audit_is_clean()


async def _until_captured(world: World, number: str) -> None:
    await world.until(number, lambda order: order["payment_status"] == "paid")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="temporalio")
