"""What carriers say: in any order, twice, about nothing we know, and before the location does."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from standardwebhooks import Webhook

from tests.outside import SECRETS
from tests.scenarios.working import accepted_work, packs, part, ships
from tests.world import World


async def tells(
    world: World, tracking_number: str, status: str, *, minutes: int = 0, event: str | None = None
) -> None:
    """The carrier's webhook about a scan some minutes ago (or ahead)."""
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    event = event or uuid4().hex
    body = json.dumps(
        {
            "event_id": event,
            "tracking_number": tracking_number,
            "status": status,
            "at": at.isoformat(),
        }
    )
    signed = datetime.now(UTC)
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(int(signed.timestamp())),
        "webhook-signature": Webhook(SECRETS["carriers"]).sign(event, signed, body),
        "content-type": "application/json",
    }
    answer = await world.http.post("/v1/inbound/carriers/simulator", content=body, headers=headers)
    assert answer.is_success, answer.text


async def until_parcel(world: World, id: str, status: str) -> dict[str, Any]:
    """Wait until a fulfillment order's parcel is as wanted."""

    async def is_so() -> bool:
        return bool((await part(world, id))["shipments"][0]["status"] == status)

    await world.wait(is_so)
    return await part(world, id)


async def test_scans_that_come_shuffled_and_twice_amount_to_the_same(world: World) -> None:
    number, id = await accepted_work(world)
    parcel = await ships(world, id)

    for status, minutes in (("out_for_delivery", 30), ("in_transit", 10), ("handed_over", 1)):
        for _ in range(2):
            await tells(world, parcel, status, minutes=minutes, event=f"{number}-{status}")
    await until_parcel(world, id, "out_for_delivery")
    assert (await world.order(number))["fulfillment_status"] == "fulfilled"
    for _ in range(2):
        await tells(world, parcel, "delivered", minutes=20, event=f"{number}-delivered")
    await tells(world, parcel, "in_transit", minutes=40)

    done = await world.until_status(number, "completed")
    assert done["lines"][0]["delivered"] == 2
    assert done["fulfillment_orders"][0]["shipments"][0]["status"] == "delivered"
    assert await world.money_of(number) == [("authorize", 4488), ("capture", 4488)]
    await world.audit_is_clean()


async def test_a_scan_proves_that_the_goods_have_left(world: World) -> None:
    number, id = await accepted_work(world)
    parcel = (await packs(world, id))["shipments"][0]["tracking_number"]

    await tells(world, parcel, "in_transit")

    left = await until_parcel(world, id, "in_transit")
    assert left["status"] == "closed"
    paid = await world.until(number, lambda o: o["payment_status"] == "paid")
    assert paid["lines"][0]["shipped"] == 2
    assert (await world.level("LAMP", "wh-lyon"))["on_hand"] == 8
    assert (await world.node(id, "hand-over"))["status"] == "closed"
    await tells(world, parcel, "delivered")
    await world.until_status(number, "completed")
    await world.audit_is_clean()


async def test_a_label_alone_moves_nothing(world: World) -> None:
    number, id = await accepted_work(world)
    parcel = (await packs(world, id))["shipments"][0]["tracking_number"]

    await tells(world, parcel, "label_created")
    await tells(world, "SIM-unknown", "delivered")

    order = await world.order(number)
    assert order["lines"][0]["picked"] == 2
    assert order["payments"]["captured_minor"] == 0
    await world.node(id, "hand-over")
    await tells(world, parcel, "delivered")
    await world.until_status(number, "completed")
    await world.audit_is_clean()


async def test_a_parcel_in_trouble_calls_a_person_until_it_is_out_of_it(world: World) -> None:
    number, id = await accepted_work(world)
    parcel = await ships(world, id)

    await tells(world, parcel, "attempt_failed", minutes=5)
    await world.until(number, lambda order: bool(order["attention"]))
    waits = (await world.ok("GET", f"/v1/orders/{number}/explain"))["data"]
    assert "parcel:S1" in [each["step"] for each in waits]
    await tells(world, parcel, "lost", minutes=1)  # old news changes nothing
    await tells(world, parcel, "out_for_delivery", minutes=10)

    await world.until(number, lambda order: not order["attention"])
    await tells(world, parcel, "delivered", minutes=20)
    await world.until_status(number, "completed")
    await world.audit_is_clean()


async def test_a_lost_parcel_that_is_given_up_is_paid_back_with_its_shipping(world: World) -> None:
    number, id = await accepted_work(world)
    parcel = await ships(world, id)
    await world.until(number, lambda o: o["payment_status"] == "paid")

    await tells(world, parcel, "lost")
    await world.until(number, lambda order: bool(order["attention"]))
    await world.ok(
        "POST",
        f"/v1/orders/{number}/resolve",
        {"step": "parcel:S1", "action": "fail", "actor": "kim", "reason": "the carrier pays"},
    )

    after = await world.until(number, lambda o: o["payment_status"] == "refunded")
    assert (after["status"], after["lines"][0]["cancelled"]) == ("cancelled", 2)
    assert after["lines"][0]["refunded"] == 2
    assert await world.money_of(number) == [
        ("authorize", 4488),
        ("capture", 4488),
        ("refund", 4488),
    ]
    await world.audit_is_clean()
