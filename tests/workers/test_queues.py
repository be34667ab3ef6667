"""Each kind of work has a queue, workers and a rate of its own, and none holds up another."""

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from tests.world import POLICY, a_shop
from workers.pollers import unserved
from workflows.queues import Kind

_PARTITIONS = 4
"""The server splits a queue, and its rate; each part lets one call pass at once."""


async def test_a_provider_is_asked_no_more_often_a_second_than_it_allows(
    database_url: str, temporal: Client
) -> None:
    limit = {"per_second": {Kind.PAYMENTS: 2}}
    patient = POLICY.model_copy(update={"reservation": timedelta(hours=1)})
    async with (
        a_shop(database_url, temporal, policy=patient, worker_options=limit) as world,
        world.more_workers(kinds=[Kind.PAYMENTS], **limit),
    ):
        await world.works_by_hand("wh-lyon")
        began = datetime.now(UTC)
        placed = await asyncio.gather(*(world.place() for _ in range(10)))
        for order in placed:
            await world.until_status(order["number"], "open")

        books = (await world.outside.ask("GET", "/books/payments"))["data"]
        asked = [datetime.fromisoformat(entry["at"]) for entry in books]
        assert len(asked) == 10
        for before, at in enumerate(sorted(asked)):
            assert (at - began).total_seconds() >= (before + 1 - _PARTITIONS) / 2
        await world.audit_is_clean()


async def test_orders_wait_for_a_kind_of_worker_that_is_not_there_and_go_on_when_it_comes(
    database_url: str, temporal: Client
) -> None:
    others = {"kinds": tuple(kind for kind in Kind if kind is not Kind.CARRIERS)}
    async with a_shop(database_url, temporal, worker_options=others) as world:
        await world.works_by_hand("wh-lyon")
        number = (await world.place())["number"]
        id = await world.packs(number)
        await world.until_asked(f"fulfillment/{id}", "buy_label")
        waits = await world.ok("GET", f"/v1/orders/{number}/explain")
        later = await world.place()
        await world.until_offered(later["number"])

        assert [wait["waiting_for"] for wait in waits["data"]] == [
            f"the carrier's label for {number}-S1"
        ]
        assert await unserved(temporal, world.queue) == [Kind.CARRIERS]

        async with world.more_workers(kinds=[Kind.CARRIERS]):
            tracking_number = await world.until_labelled(number)
            await world.node(id, "hand-over")
            await world.scan(tracking_number, "delivered")
            await world.until_closed(number)
        await world.audit_is_clean()
