"""Closed runs leave Temporal after a while. The order's history is in the books, and stays."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import text
from standardwebhooks.webhooks import Webhook
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from adapters.db.relaying import sweep_technical
from tests.outside import SECRETS
from tests.world import World
from workers.temporal import connect_to, ensure_namespace, ensure_retention


async def forget_run(temporal: Client, id: str) -> None:
    """Delete a closed run, as the server does when its time is over."""
    request = DeleteWorkflowExecutionRequest(
        namespace=temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=id)
    )
    await temporal.workflow_service.delete_workflow_execution(request)


async def is_gone(temporal: Client, id: str) -> bool:
    try:
        await temporal.get_workflow_handle(id).describe()
    except RPCError as fault:
        return fault.status is RPCStatusCode.NOT_FOUND
    return False


async def says_payments(world: World, **body: object) -> None:
    """The payment provider sends a signed webhook."""
    sent = json.dumps({"event_id": "late-1", "currency": "EUR"} | body)
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "late-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRETS["payments"]).sign("late-1", now, sent),
        "content-type": "application/json",
    }
    path = "/v1/inbound/payments/simulator"
    answer = await world.http.post(path, content=sent, headers=headers)
    assert answer.is_success, answer.text


async def owed(world: World) -> int:
    async with world.engine.connect() as tx:
        rows = await tx.execute(
            text(
                "SELECT (SELECT count(*) FROM nudges)"
                " + (SELECT count(*) FROM inbound_events WHERE outcome IS NULL)"
            )
        )
        return int(rows.scalar_one())


async def test_an_order_is_told_and_hears_late_news_after_its_runs_are_gone(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await world.place())["number"]
    id = (await world.until_offered(number))[0]["id"]
    tracking_number = await world.sends(number)
    await world.scan(tracking_number, "delivered")
    before = await world.until_closed(number)
    told = await world.timeline(number)
    runs = (f"order/{number}", f"fulfillment/{id}")

    for run in runs:
        await world.wait(partial(has_ended, world.temporal, run))
        await forget_run(world.temporal, run)
        await world.wait(partial(is_gone, world.temporal, run))
    assert await world.order(number) == before
    assert await world.timeline(number) == told
    assert (await world.ok("GET", f"/v1/orders/{number}/explain"))["data"] == []

    await world.scan(tracking_number, "in_transit")
    at = datetime.now(UTC).isoformat()
    key = f"{number}:capture:1"
    await says_payments(
        world, key=key, kind="capture", status="succeeded", amount_minor=2489, at=at
    )

    async def taken() -> bool:
        return await owed(world) == 0

    await world.wait(taken)
    after = await world.order(number)
    assert (after["status"], after["fulfillment_status"]) == ("completed", "delivered")
    await world.audit_is_clean()


async def has_ended(temporal: Client, id: str) -> bool:
    described = await temporal.get_workflow_handle(id).describe()
    return described.close_time is not None


async def test_what_is_only_technical_is_swept_and_the_history_stays(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await world.place())["number"]
    still_open = (await world.place())["number"]
    await world.until_offered(number)
    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
    await world.ok("POST", f"/v1/orders/{still_open}/holds", {"reason": "fraud"})
    await world.until_closed(number)
    at = datetime.now(UTC).isoformat()
    await says_payments(
        world, key="nobody's", kind="capture", status="succeeded", amount_minor=1, at=at
    )

    async def applied() -> bool:
        return await owed(world) == 0

    await world.wait(applied)
    told = await world.timeline(number)
    before = datetime.now(UTC) + timedelta(seconds=1)

    async with world.engine.begin() as tx:
        assert await sweep_technical(tx, before - timedelta(days=1)) == 0
        assert await sweep_technical(tx, before) >= 2
        left = await tx.execute(text("SELECT DISTINCT order_number FROM commands"))
        webhooks = await tx.execute(text("SELECT count(*) FROM inbound_events"))

    assert [row.order_number for row in left] == [still_open]
    assert webhooks.scalar_one() == 0
    assert await world.timeline(number) == told
    await world.audit_is_clean()


async def test_a_namespace_keeps_closed_runs_for_as_long_as_it_is_told(
    temporal_address: str,
) -> None:
    client = await connect_to(temporal_address)
    await ensure_namespace(client)

    assert await ensure_retention(client, timedelta(days=7)) == timedelta(days=7)
    assert await ensure_retention(client, timedelta(days=7)) == timedelta(days=7)
    assert await ensure_retention(client, timedelta(days=30)) == timedelta(days=30)
