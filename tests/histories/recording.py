"""Records the histories that `tests/workflows/test_histories.py` replays.

    .venv/bin/python -m tests.histories.recording [NAME ...]

Orders and fulfillment orders are brought to every kind of end and every kind of wait against real
servers, and what Temporal remembers of each is written beside this file. Record again only
together with a change that is meant to break old runs; see `docs/decisions`.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus

from adapters.db.migrate import upgrade
from tests.world import POLICY, World, a_shop
from workers.embedded.places import free_port
from workers.embedded.postgres import Postgres
from workers.embedded.temporal import development_server
from workers.embedded.toolchains import fetch_temporal
from workers.temporal import data_converter, ensure_search_attributes, reachable
from workflows import steps

FOLDER = Path(__file__).parent
_A_PAGE = 20
"""Events after which a run that is made to continue as new does so."""

_NOBODY_ASKS = {"stackTrace", "binaryChecksum", "buildId", "workerVersion"}
_PROCESS = re.compile(r"\d+@\S+")  # also in the name of its own task queue
Scenario = Callable[[World], Awaitable[str]]


# --- what is recorded: each gives its order's number ---


async def in_grace(world: World) -> str:
    return str((await world.place())["number"])


async def on_hold(world: World) -> str:
    number = await in_grace(world)
    await world.ok("POST", f"/v1/orders/{number}/holds", {"reason": "fraud"})
    return number


async def cancelled(world: World) -> str:
    number = await in_grace(world)
    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
    await world.until_closed(number)
    return number


async def declined(world: World) -> str:
    answer = await world.call(
        "POST", "/v1/orders", world.an_order(token="tok_declined"), who="channel"
    )
    number = str(answer.json()["number"])
    await world.until_closed(number)
    return number


async def pending_at_first(world: World) -> str:
    number = str((await world.place(token="tok_pending"))["number"])
    await world.until_status(number, "open")
    return number


async def offered(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    number = await in_grace(world)
    await world.until_offered(number)
    return number


async def shipped(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    number = await in_grace(world)
    tracking_number = await world.sends(number)
    await world.scan(tracking_number, "in_transit")
    await world.until(number, lambda order: order["payment_status"] == "paid")
    return number


async def delivered(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    number = await in_grace(world)
    await world.scan(await world.sends(number), "delivered")
    await world.until_closed(number)
    return number


async def stopped_by_its_location(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    number = await in_grace(world)
    id = await world.packs(number)
    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
    await world.node(id, "cancel-response", {"accepted": True})
    await world.until_closed(number)
    return number


async def turned_down(world: World) -> str:
    await world.works_by_hand("wh-lyon", "wh-paris")
    await world.has_place("wh-paris", latitude=48.85, longitude=2.35)
    await world.holds("LAMP", "wh-paris", 10)
    number = await in_grace(world)
    offer = (await world.until_offered(number))[0]
    await world.node(offer["id"], "reject", {"reason": "capacity"})
    await world.until(number, lambda order: len(order["fulfillment_orders"]) == 2)
    await world.until_offered(number)
    return number


async def ready_to_collect(world: World) -> str:
    await world.works_by_hand("store-lyon")
    await world.has_place("store-lyon", kind="store")
    await world.holds("LAMP", "store-lyon", 3)
    delivery = {"method": "store_pickup", "location": "store-lyon"}
    number = str((await world.place(delivery=delivery, shipping_minor=0))["number"])
    id = (await world.until_offered(number))[0]["id"]
    await world.node(id, "accept")
    await world.node(id, "pick", {"lines": [{"line": 1, "picked": 1}]})
    await world.node(id, "ready")
    return number


async def parked_at_its_label(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    await world.outside.breaks("carriers", "label", "error_before", times=50)
    number = await in_grace(world)
    await world.packs(number)
    await world.until_parked(number, "label:S1")
    await world.outside.ask("DELETE", "/faults")
    return number


async def parked_at_its_capture(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    number = str((await world.place(token="tok_capture_fails"))["number"])
    await world.sends(number)
    await world.until_parked(number, "capture:1")
    return number


async def resolved(world: World) -> str:
    number = await parked_at_its_capture(world)
    paid = {"result": {"reference": "by hand"}}
    await world.resolve(number, "capture:1", "done_manually", **paid)
    parcel = (await world.order(number))["fulfillment_orders"][0]["shipments"][0]
    await world.scan(parcel["tracking_number"], "delivered")
    await world.until_closed(number)
    return number


async def left_a_closed_place(world: World) -> str:
    await world.works_by_hand("wh-lyon", "wh-paris")
    await world.has_place("wh-paris", latitude=48.85, longitude=2.35)
    await world.holds("LAMP", "wh-paris", 10)
    number = await in_grace(world)
    offer = (await world.until_offered(number))[0]
    await world.node(offer["id"], "accept")
    body = {"reason": "water damage", "reroute": True}
    told = await world.ok("POST", "/v1/locations/wh-lyon/close", body)
    await world.temporal.get_workflow_handle(f"reroute/{told['reroute']['id']}").result()
    await world.node(offer["id"], "cancel-response", {"accepted": True})
    await world.until_offered(number)
    return number


async def continued_as_new(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    server_suggests = steps.history_is_long
    steps.history_is_long = lambda: workflow.info().get_current_history_length() > _A_PAGE
    try:
        number = await in_grace(world)
        await world.sends(number)
        await world.until(number, lambda order: order["payment_status"] == "paid")
    finally:
        steps.history_is_long = server_suggests
    return number


# --- what comes back ---


async def came_back_by_post(world: World) -> str:
    number = await delivered(world)
    id = (await world.ask_return(number))["id"]
    await until_its_label(world, id)
    await world.takes_back(id)
    await until_over(world, id)
    return number


async def came_back_at_the_till(world: World) -> str:
    await world.has_place("store-lyon", kind="store")
    number = await delivered(world)
    id = (await world.ask_return(number, via="store", location="store-lyon"))["id"]
    await until_over(world, id)
    return number


async def refused_at_inspection(world: World) -> str:
    number = await delivered(world)
    id = (await world.ask_return(number))["id"]
    await until_its_label(world, id)
    await world.receive(id, condition="opened")
    await world.inspect(id, accepted=False)
    await until_its_label(world, id, parcel=1)
    return number


async def never_sent_back(world: World) -> str:
    number = await delivered(world)
    await expires(world, (await world.ask_return(number))["id"])
    return number


async def expires(world: World, id: str) -> None:
    await until_its_label(world, id)
    async with world.engine.begin() as tx:
        late = "UPDATE returns SET expire_at = now(), remind_at = now(), reminded_at = now()"
        await tx.execute(text(f"{late} WHERE id = :id"), {"id": id})
    run = world.temporal.get_workflow_handle(f"return/{id}")
    await run.signal("changed", "the test's clock moved")
    await until_over(world, id)


async def parked_at_its_refund(world: World) -> str:
    await world.works_by_hand("wh-lyon")
    number = str((await world.place(token="tok_refund_fails_late"))["number"])
    await world.scan(await world.sends(number), "delivered")
    await world.until_closed(number)
    id = (await world.ask_return(number))["id"]
    await until_its_label(world, id)
    await world.takes_back(id)
    await world.until_return_parked(id, "refund:1")
    return number


async def exchanged(world: World) -> str:
    number = await delivered(world)
    back = await world.exchange(number)
    await until_its_label(world, back["id"])
    await world.takes_back(back["id"])
    await arrives_instead(world, back)
    return number


async def exchange_never_sent(world: World) -> str:
    number = await delivered(world)
    back = await world.exchange(number)
    await expires(world, back["id"])
    await world.until_closed(back["exchange_order"])
    return number


async def replaced(world: World) -> str:
    number = await delivered(world)
    await arrives_instead(world, await world.claim(number, reason="damaged", resolution="replace"))
    return number


async def arrives_instead(world: World, back: dict[str, Any]) -> None:
    await world.scan(await world.sends(back["exchange_order"]), "delivered")
    await world.until_closed(back["exchange_order"])
    await until_over(world, back["id"])


async def until_its_label(world: World, id: str, *, parcel: int = 0) -> None:
    def has_label(back: dict[str, Any]) -> bool:
        return len(back["parcels"]) > parcel and bool(back["parcels"][parcel]["tracking_number"])

    await world.until_back(id, has_label)


async def until_over(world: World, id: str) -> None:
    await world.until_back(id, lambda back: back["closed_at"] is not None)
    await world.temporal.get_workflow_handle(f"return/{id}").result()


IN_GRACE: tuple[Scenario, ...] = (in_grace, on_hold, cancelled, declined, pending_at_first)
ROUTED: tuple[Scenario, ...] = (
    offered,
    shipped,
    delivered,
    stopped_by_its_location,
    turned_down,
    ready_to_collect,
    left_a_closed_place,
    parked_at_its_label,
    parked_at_its_capture,
    resolved,
    continued_as_new,
)
BACK: tuple[Scenario, ...] = (
    came_back_by_post,
    came_back_at_the_till,
    refused_at_inspection,
    never_sent_back,
    parked_at_its_refund,
    exchanged,
    exchange_never_sent,
    replaced,
)
"""Of these the return's own run is kept, and those of the order in exchange; the runs of the order
that came back are recorded above."""


# --- recording ---


def scrubbed(history: Any) -> Any:
    """Leave out who ran it where: replay does not ask."""
    if isinstance(history, dict):
        return {key: scrubbed(value) for key, value in history.items() if key not in _NOBODY_ASKS}
    if isinstance(history, str):
        return _PROCESS.sub("worker", history)
    return [scrubbed(each) for each in history] if isinstance(history, list) else history


def names_this_machine(record: str) -> list[str]:
    """What in a record tells a machine, a process or a folder."""
    here = re.escape(socket.gethostname())
    return re.findall(rf".{{9}}(?:\d@|{here}|/work/|/root/|/home/).{{9}}", record)


async def _runs_of(world: World, number: str) -> dict[str, str]:
    order = await world.order(number)
    backs = (await world.ok("GET", f"/v1/returns?order={number}"))["data"]
    if backs:
        runs = {each["id"].rsplit("-", 1)[1]: f"return/{each['id']}" for each in backs}
        for each in backs:
            if each.get("exchange_order"):
                runs |= await _runs_of(world, each["exchange_order"])
        return runs
    runs = {"order": f"order/{number}"}
    for each in order["fulfillment_orders"]:
        runs[each["id"].rsplit("-", 1)[1]] = f"fulfillment/{each['id']}"
    for each in (await world.ok("GET", "/v1/reroutes"))["data"]:
        runs["reroute"] = f"reroute/{each['id']}"
    return runs


async def _write(world: World, name: str, number: str) -> None:
    for what, id in (await _runs_of(world, number)).items():
        await _settled(world.temporal, id)
        history = await world.temporal.get_workflow_handle(id).fetch_history()
        record = {"workflow_id": id, "history": scrubbed(history.to_json_dict())}
        written = json.dumps(record, indent=1, sort_keys=True) + "\n"
        assert not (told := names_this_machine(written)), f"{name} tells where it was: {told}"
        (FOLDER / f"{name}.{what}.json").write_text(written)


async def _settled(client: Client, id: str) -> None:
    """Wait until a run has nothing in the air: what is recorded ends with a finished task."""
    handle = client.get_workflow_handle(id)
    async with asyncio.timeout(20):
        while True:
            told = await handle.describe()
            busy = told.raw_description.HasField("pending_workflow_task")
            if told.status is not WorkflowExecutionStatus.RUNNING or not (
                busy or told.raw_description.pending_activities
            ):
                return
            await asyncio.sleep(0.1)


async def record(
    client: Client, database: Callable[[], Awaitable[str]], names: Sequence[str]
) -> None:
    """Record scenarios, each in a shop of its own, over the files that are there; or some only."""
    for old in FOLDER.glob("*.json"):
        if not names or old.name.split(".")[0] in names:
            old.unlink()
    patient = POLICY.model_copy(update={"grace": timedelta(hours=1)})
    for policy, scenarios in ((patient, IN_GRACE), (POLICY, (*ROUTED, *BACK))):
        for scenario in scenarios:
            if names and scenario.__name__ not in names:
                continue
            async with a_shop(await database(), client, policy=policy, heal_seconds=600) as world:
                await _write(world, scenario.__name__, await scenario(world))
            print(f"recorded {scenario.__name__}", flush=True)


async def main() -> None:
    """Start what is needed, record, and stop it again."""
    home = Path(tempfile.mkdtemp(prefix="oms-record-"))
    home.chmod(0o711)  # PostgreSQL's account passes through
    books = Postgres(
        home / "data", password="test", port=free_port(), log=home / "pg.log", durable=False
    )
    await books.start()
    await books.create("template_oms")
    upgrade(books.url("template_oms"))
    port = free_port()
    server = development_server(fetch_temporal(print), port=port, log=home / "temporal.log")
    await server.start()
    address = f"127.0.0.1:{port}"
    await server.until(lambda: reachable(address), within=60)
    client = await Client.connect(address, data_converter=data_converter())
    await ensure_search_attributes(client)

    async def database() -> str:
        name = f"r{os.urandom(6).hex()}"
        await books.create(name, template="template_oms")
        return books.url(name)

    try:
        await record(client, database, sys.argv[1:])
    finally:
        await server.stop()
        await books.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)  # Temporal's client now and then crashes the interpreter at its end
