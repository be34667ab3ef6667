"""Payments whose outcome nobody knows: asked again under their key, looked up, never guessed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from tests.world import POLICY, World, a_shop

PRICE = 1999 + 490
PAID = [("authorize", PRICE), ("capture", PRICE)]
GIVEN_BACK = [("authorize", PRICE), ("void", PRICE)]
UNHELD = (10, 0, 0)

SHORT = POLICY.model_copy(update={"reservation": timedelta(seconds=1.5)})
FOR_EVER = 10_000


async def shelf(world: World) -> tuple[int, int, int]:
    """On hand, reserved, allocated."""
    level = await world.level("LAMP", "wh-lyon")
    return level["on_hand"], level["reserved"], level["allocated"]


async def shelf_becomes(world: World, wanted: tuple[int, int, int]) -> None:
    async def is_so() -> bool:
        return await shelf(world) == wanted

    await world.wait(is_so)


async def nobody_can_tell(world: World) -> None:
    """Every authorisation is applied, and no answer about one ever arrives."""
    await world.outside.breaks("payments", "authorize", "error_after", times=FOR_EVER)
    await world.outside.breaks("payments", "lookup", "error_before", times=FOR_EVER)


async def the_provider_is_back(world: World) -> None:
    await world.outside.ask("DELETE", "/faults")


# --- an answer that comes late --------------------------------------------------------------


async def test_an_authorisation_whose_answer_was_lost_or_late_holds_the_money_once(
    world: World,
) -> None:
    await world.outside.hurries()

    orders = await asyncio.gather(
        *(
            world.place(token=token)
            for token in ("tok_timeout_after", "tok_error_after", "tok_slow")
        )
    )
    for order in orders:
        await world.until_status(order["number"], "completed")

    for order in orders:
        assert await world.money_of(order["number"]) == PAID
    await world.audit_is_clean()


async def test_a_pending_payment_that_is_approved_confirms_the_order(world: World) -> None:
    await world.outside.hurries()

    number = (await world.place(token="tok_pending"))["number"]
    await world.until_status(number, "completed")

    assert await world.money_of(number) == PAID
    await world.audit_is_clean()


async def test_a_pending_payment_that_is_declined_refuses_the_order_and_frees_its_stock(
    world: World,
) -> None:
    await world.outside.breaks("payments", "authorize", "decline")

    body = world.an_order(token="tok_pending")
    answer = await world.call("POST", "/v1/orders", body, who="channel")
    number = answer.json()["number"]
    refused = await world.until_closed(number)

    assert answer.status_code in (202, 422)
    assert (refused["status"], refused["refusal"]["code"]) == ("cancelled", "payment_declined")
    assert refused["payment_status"] == "none"
    assert await world.money_of(number) == []
    assert await shelf(world) == UNHELD
    await world.audit_is_clean()


@pytest.mark.parametrize("mode", ["lose_webhook", "duplicate_webhook", "shuffle_webhooks"])
async def test_whatever_becomes_of_the_providers_webhook_the_payment_is_settled_once(
    world: World, mode: str
) -> None:
    await world.outside.breaks("payments", "webhook", mode, times=FOR_EVER)

    number = (await world.place(token="tok_pending"))["number"]
    order = await world.until_status(number, "open")

    assert order["payments"]["authorized_minor"] == PRICE
    assert await world.money_of(number) == [("authorize", PRICE)]
    kinds = [event["kind"] for event in await world.timeline(number)]
    assert kinds.count("payment.authorized") == 1
    await world.audit_is_clean()


# --- an answer that does not come -----------------------------------------------------------


async def test_an_order_whose_payment_is_unknown_is_acknowledged_and_waits(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, verdict_seconds=0.5) as world:
        await nobody_can_tell(world)

        answer = await world.call("POST", "/v1/orders", world.an_order(), who="channel")
        number = answer.json()["number"]
        await world.until_parked(number, "authorise")

        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        assert (await world.order(number))["payment_status"] == "pending"
        assert await shelf(world) == (10, 1, 0)

        await the_provider_is_back(world)
        await world.until_status(number, "open")
        assert await world.money_of(number) == [("authorize", PRICE)]
        assert not (await world.order(number))["attention"]
        await world.audit_is_clean()


async def test_stock_is_free_again_when_the_reservation_ends_before_the_payment_is_known(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, policy=SHORT, verdict_seconds=0.5) as world:
        await world.outside.hurries()
        await nobody_can_tell(world)
        late, too_late = [(await world.place())["number"] for _ in range(2)]
        await shelf_becomes(world, UNHELD)

        await world.holds("LAMP", "wh-lyon", 1)
        await the_provider_is_back(world)
        for number in (late, too_late):
            await world.until_closed(number)

        ended = {number: await world.order(number) for number in (late, too_late)}
        statuses = sorted(order["status"] for order in ended.values())
        assert statuses == ["cancelled", "completed"]
        for number, order in ended.items():
            served = order["status"] == "completed"
            assert await world.money_of(number) == (PAID if served else GIVEN_BACK)
            code = None if served else order["refusal"]["code"]
            assert code in (None, "insufficient_stock")
        assert await shelf(world) == (0, 0, 0)
        await world.audit_is_clean()


async def test_a_pending_order_is_cancelled_at_once_and_a_late_authorisation_is_given_back(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, verdict_seconds=0.5) as world:
        await nobody_can_tell(world)
        number = (await world.place())["number"]

        answer = await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "too slow"})
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert await shelf(world) == UNHELD

        await the_provider_is_back(world)
        await world.until_closed(number)
        assert await world.money_of(number) == GIVEN_BACK
        assert (await world.order(number))["payment_status"] == "voided"
        await world.audit_is_clean()


async def test_a_pending_order_that_was_cancelled_owes_nothing_when_the_payment_is_declined(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, verdict_seconds=0.5) as world:
        await world.outside.breaks("payments", "authorize", "error_before", times=FOR_EVER)
        number = (await world.place(token="tok_declined"))["number"]
        await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "too slow"})

        await the_provider_is_back(world)
        await world.until_closed(number)

        assert await world.money_of(number) == []
        assert await shelf(world) == UNHELD
        await world.audit_is_clean()


# --- what a person says of it ---------------------------------------------------------------


async def test_a_person_who_finds_the_authorisation_at_the_provider_confirms_the_order(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, heal_seconds=3600, verdict_seconds=0.5) as world:
        await world.outside.hurries()
        await nobody_can_tell(world)
        number = (await world.place())["number"]
        await world.until_parked(number, "authorise")

        await the_provider_is_back(world)
        seen = await world.outside.ask(
            "GET", "/payments/lookup", params={"key": f"{number}:authorize:1"}
        )
        result = {"reference": seen["id"]}
        await world.resolve(number, "authorise", "done_manually", result=result)
        await world.until_status(number, "completed")

        assert await world.money_of(number) == PAID
        await world.audit_is_clean()


async def test_a_person_who_gives_the_authorisation_up_refuses_the_order(
    database_url: str, temporal: Client
) -> None:
    async with a_shop(database_url, temporal, heal_seconds=3600, verdict_seconds=0.5) as world:
        await world.outside.breaks("payments", "authorize", "error_before", times=FOR_EVER)
        number = (await world.place())["number"]
        await world.until_parked(number, "authorise")

        await world.resolve(number, "authorise", "fail")
        refused = await world.until_closed(number)

        assert refused["refusal"]["code"] == "payment_declined"
        assert await world.money_of(number) == []
        assert await shelf(world) == UNHELD
        await world.audit_is_clean()


# --- captures that fail ---------------------------------------------------------------------


async def delivered_but_unpaid(world: World) -> str:
    """An order whose parcel arrived although its capture was declined."""
    number = str((await world.place(token="tok_capture_fails"))["number"])
    await world.until_parked(number, "capture:1")
    order = await world.until(number, lambda order: order["fulfillment_status"] == "delivered")
    assert (order["status"], order["payments"]["captured_minor"]) == ("open", 0)
    return number


async def test_a_declined_capture_parks_the_order_and_not_the_parcel(world: World) -> None:
    await world.outside.hurries()
    again, by_hand, given_up = await asyncio.gather(
        *(delivered_but_unpaid(world) for _ in range(3))
    )

    await world.resolve(again, "capture:1", "new_attempt")
    await world.until_parked(again, "capture:2")
    await world.resolve(again, "capture:2", "fail")
    await world.resolve(by_hand, "capture:1", "done_manually", result={"reference": "bank-77"})
    await world.resolve(given_up, "capture:1", "fail")
    ended = [await world.until_closed(number) for number in (again, by_hand, given_up)]

    assert [order["status"] for order in ended] == ["completed"] * 3
    captured = [order["payments"]["captured_minor"] for order in ended]
    assert captured == [0, PRICE, 0]
    assert await world.money_of(again) == GIVEN_BACK
    assert await world.money_of(by_hand) == [("authorize", PRICE)]
    assert await world.money_of(given_up) == GIVEN_BACK
    await world.audit_is_clean()


# --- money taken at the till ----------------------------------------------------------------


def paid_at_the_till(world: World) -> dict[str, Any]:
    tender = {"kind": "terminal", "reference": "till-7/0042", "amount_minor": PRICE}
    return world.an_order(tenders=[tender])


async def test_money_taken_at_the_till_goes_back_at_the_till(world: World) -> None:
    placed = await world.call("POST", "/v1/orders", paid_at_the_till(world), who="channel")
    number = placed.json()["number"]
    assert placed.json()["payment_status"] == "paid"

    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
    await world.until_parked(number, "refund:1")
    await world.resolve(number, "refund:1", "done_manually", result={"reference": "till-7/0043"})
    order = await world.until_closed(number)

    assert (order["status"], order["payment_status"]) == ("cancelled", "refunded")
    assert order["payments"]["refunded_minor"] == PRICE
    assert await world.money_of(number) == []
    assert await shelf(world) == UNHELD
    await world.audit_is_clean()
