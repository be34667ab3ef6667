"""Each step fails before, fails after, loses its answer: nothing is forgotten, nothing done twice.

Many orders run side by side, each with a fault of its own, so that the whole list takes seconds.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from tests.breaking import FAST_TRIES, TROUBLES, Break
from tests.returning import PATIENCE
from tests.world import POLICY, World, a_shop

PRICE = 1999 + 490
UNTOUCHED = 500

# A step that breaks once, before it begins and after it took effect.
TO_THE_DOOR = [
    Break(activity, when, about=about)
    for activity, about in (
        ("reserve_stock", ""),
        ("settle_payment", ":authorize:"),
        ("route_order", ""),
        ("offer_work", ""),
        ("buy_label", ""),
        ("settle_payment", ":capture:"),
        ("close_order", ""),
    )
    for when in ("before", "after")
]
WHEN_CANCELLED = [
    Break(activity, when, about=about)
    for activity, about in (
        ("read_order", ""),
        ("carry_out", ""),
        ("ask_to_stop", ""),
        ("settle_payment", ":void:"),
    )
    for when in ("before", "after")
]


@pytest.fixture
async def world(world: World) -> World:
    """A world with plenty of lamps."""
    await world.holds("LAMP", "wh-lyon", UNTOUCHED)
    return world


def impatient(database_url: str, temporal: Client, wait: str) -> AbstractAsyncContextManager[World]:
    """A shop in which one thing is not waited for long."""
    policy = POLICY.model_copy(update={wait: timedelta(seconds=1.5)})
    return a_shop(database_url, temporal, units=UNTOUCHED, policy=policy, verdict_seconds=1)


async def place(world: World, count: int, **more: Any) -> list[str]:
    orders = await asyncio.gather(*(world.place(1, **more) for _ in range(count)))
    return [order["number"] for order in orders]


async def all_have(world: World, numbers: list[str], status: str) -> list[dict[str, Any]]:
    return [await world.until_status(number, status) for number in numbers]


async def all_have_struck(world: World, numbers: list[str]) -> None:
    async def struck() -> bool:
        return not any(world.break_of(number)[1] for number in numbers)

    await world.wait(struck)


async def shelf(world: World, location: str = "wh-lyon") -> tuple[int, int, int]:
    """On hand, reserved, allocated."""
    level = await world.level("LAMP", location)
    return level["on_hand"], level["reserved"], level["allocated"]


async def is_paid_once(world: World, number: str) -> None:
    assert await world.money_of(number) == [("authorize", PRICE), ("capture", PRICE)]


async def are_parked(world: World, numbers: list[str], step: str) -> None:
    """Wait until a person is called to this step of all these orders."""
    for number in numbers:
        await world.until_parked(number, step)


async def faults_left(world: World) -> list[str]:
    """Faults of the outside that have not struck yet."""
    asked = (await world.outside.ask("GET", "/faults"))["data"]
    return [f"{fault['operation']} {fault['mode']}" for fault in asked if fault["left"]]


# --- our own steps --------------------------------------------------------------------------


async def test_whichever_step_breaks_once_the_order_is_delivered_and_paid_once(
    world: World,
) -> None:
    await world.outside.hurries()
    world.breaks_each_order(*TO_THE_DOOR)

    numbers = await place(world, len(TO_THE_DOOR))
    await all_have(world, numbers, "completed")

    await all_have_struck(world, numbers)
    for number in numbers:
        await is_paid_once(world, number)
    assert await shelf(world) == (UNTOUCHED - len(numbers), 0, 0)
    await world.audit_is_clean()


async def test_a_location_that_answers_late_loses_the_work_once_however_the_look_breaks(
    database_url: str, temporal: Client
) -> None:
    async with impatient(database_url, temporal, "node_answer") as world:
        await world.works_by_hand("wh-lyon")
        breaks = [Break("read_fulfillment", when) for when in ("before", "after")]
        world.breaks_each_order(*breaks)

        numbers = await place(world, len(breaks))

        for number in await all_closed(world, numbers):
            order = await world.order(number)
            assert [each["request"] for each in order["fulfillment_orders"]] == ["expired"]
        await all_have_struck(world, numbers)
        assert await shelf(world) == (UNTOUCHED, 0, 0)
        await world.audit_is_clean()


async def all_closed(world: World, numbers: list[str]) -> list[str]:
    for number in numbers:
        await world.until_closed(number)
    return numbers


async def test_an_order_paid_at_the_till_is_confirmed_once_however_that_breaks(
    world: World,
) -> None:
    """A card's yes confirms the order with it; money that is there already leaves a step to do."""
    await world.outside.hurries()
    breaks = [Break("confirm_order", when) for when in ("before", "after")]
    world.breaks_each_order(*breaks)
    till = {"kind": "terminal", "reference": "till-7", "amount_minor": PRICE}

    numbers = await place(world, len(breaks), tenders=[till])
    await all_have(world, numbers, "completed")

    await all_have_struck(world, numbers)
    assert await shelf(world) == (UNTOUCHED - len(numbers), 0, 0)
    for number in numbers:
        told = [event["kind"] for event in await world.timeline(number)]
        assert told.count("order.confirmed") == 1
    await world.audit_is_clean()


async def test_whichever_step_breaks_once_a_cancelled_order_gives_everything_back(
    world: World,
) -> None:
    await world.works_by_hand("wh-lyon")
    world.breaks_each_order(*WHEN_CANCELLED)
    numbers = await place(world, len(WHEN_CANCELLED))

    await asyncio.gather(*(cancel_accepted_work(world, number) for number in numbers))
    await all_have(world, numbers, "cancelled")

    for number in numbers:
        await world.until_closed(number)
    await all_have_struck(world, numbers)
    for number in numbers:
        assert await world.money_of(number) == [("authorize", PRICE), ("void", PRICE)]
    assert await shelf(world) == (UNTOUCHED, 0, 0)
    await world.audit_is_clean()


async def cancel_accepted_work(world: World, number: str) -> None:
    offered = (await world.until_offered(number))[0]["id"]
    await world.node(offered, "accept")
    asked = await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "too late"})
    assert asked.status_code == 202
    await world.node(offered, "cancel-response", {"accepted": True})


async def test_a_release_that_breaks_gives_stock_back_once_and_the_order_goes_on_when_paid(
    database_url: str, temporal: Client
) -> None:
    async with impatient(database_url, temporal, "reservation") as world:
        await world.outside.breaks("payments", "authorize", "error_before", times=1000)
        world.breaks_each_order(
            Break("release_reservation", "before"), Break("release_reservation", "after")
        )

        numbers = await place(world, 2)
        await all_have_struck(world, numbers)
        await world.wait(lambda: shelf_is(world, (UNTOUCHED, 0, 0)))
        await world.outside.ask("DELETE", "/faults")
        await world.outside.hurries()
        await all_have(world, numbers, "completed")

        for number in numbers:
            await is_paid_once(world, number)
        assert await shelf(world) == (UNTOUCHED - 2, 0, 0)
        await world.audit_is_clean()


async def test_an_offer_that_expires_badly_still_goes_to_the_next_location(
    database_url: str, temporal: Client
) -> None:
    async with impatient(database_url, temporal, "node_answer") as world:
        await world.works_by_hand("wh-lyon")
        await world.has_place("wh-paris", latitude=48.85, longitude=2.35)
        await world.holds("LAMP", "wh-paris", UNTOUCHED)
        await world.outside.hurries()
        world.breaks_each_order(Break("expire_offer", "before"), Break("expire_offer", "after"))

        numbers = await place(world, 2)
        await all_have(world, numbers, "completed")

        await all_have_struck(world, numbers)
        for number in numbers:
            await is_paid_once(world, number)
        assert await shelf(world) == (UNTOUCHED, 0, 0)
        assert await shelf(world, "wh-paris") == (UNTOUCHED - 2, 0, 0)
        await world.audit_is_clean()


async def test_asking_after_a_silent_parcel_may_break_and_the_parcel_still_arrives(
    database_url: str, temporal: Client
) -> None:
    async with impatient(database_url, temporal, "silent") as world:
        await world.outside.hurries()
        await world.outside.breaks("carriers", "webhook", "lose_webhook", times=1000)
        world.breaks_each_order(
            Break("look_for_parcel", "before"), Break("look_for_parcel", "after")
        )

        numbers = await place(world, 2)
        await all_have(world, numbers, "completed")

        await all_have_struck(world, numbers)
        for number in numbers:
            await is_paid_once(world, number)
        assert await shelf(world) == (UNTOUCHED - 2, 0, 0)
        await world.audit_is_clean()


async def test_parking_and_unparking_may_break_and_people_still_see_what_waits(
    world: World,
) -> None:
    await world.outside.hurries()
    world.breaks_each_order(
        *(
            Break(name, when)
            for name in ("park_step", "unpark_step")
            for when in ("before", "after")
        )
    )

    numbers = await place(world, 4, token="tok_capture_fails")
    await are_parked(world, numbers, "capture:1")
    for number in numbers:
        await world.resolve(number, "capture:1", "fail")
    await all_have(world, numbers, "completed")

    await all_have_struck(world, numbers)
    for number in numbers:
        assert await world.money_of(number) == [("authorize", PRICE), ("void", PRICE)]
        assert not (await world.order(number))["attention"]
    await world.audit_is_clean()


OUTSIDE_CALLS = [
    Break(activity, when, times=FAST_TRIES, about=about)
    for activity, about in (
        ("settle_payment", ":authorize:"),
        ("settle_payment", ":capture:"),
        ("offer_work", ""),
        ("buy_label", ""),
    )
    for when in ("before", "after")
]


async def test_what_fails_for_longer_parks_and_heals_by_itself(world: World) -> None:
    await world.outside.hurries()
    world.breaks_each_order(*OUTSIDE_CALLS)

    numbers = await place(world, len(OUTSIDE_CALLS))
    await all_have(world, numbers, "completed")

    await all_have_struck(world, numbers)
    for number in numbers:
        raised, cleared = await attention_of(world, number)
        assert raised == cleared == 1, world.break_of(number)
        await is_paid_once(world, number)
    assert await shelf(world) == (UNTOUCHED - len(numbers), 0, 0)
    await world.audit_is_clean()


async def attention_of(world: World, number: str) -> tuple[int, int]:
    """How often a person was called to an order, and how often that was over."""
    kinds = [event["kind"] for event in await world.timeline(number)]
    return kinds.count("attention.raised"), kinds.count("attention.cleared")


async def test_what_does_not_heal_goes_on_when_a_person_says_so(
    database_url: str, temporal: Client
) -> None:
    stubborn = [each for each in OUTSIDE_CALLS if each.when == "before"]
    async with a_shop(
        database_url, temporal, units=UNTOUCHED, heal_seconds=3600, verdict_seconds=1
    ) as world:
        await world.outside.hurries()
        world.breaks_each_order(*stubborn)

        numbers = await place(world, len(stubborn))
        for number in numbers:
            steps = await world.until_parked(number)
            await world.resolve(number, steps[0], "retry")
        await all_have(world, numbers, "completed")

        for number in numbers:
            await is_paid_once(world, number)
        assert await shelf(world) == (UNTOUCHED - len(numbers), 0, 0)
        await world.audit_is_clean()


async def shelf_is(world: World, wanted: tuple[int, int, int]) -> bool:
    return await shelf(world) == wanted


# --- the outside ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("party", "operation"),
    [("payments", "authorize"), ("payments", "capture"), ("nodes", "offer"), ("carriers", "label")],
)
async def test_whatever_befalls_a_call_on_the_way_to_the_door_it_has_one_effect(
    world: World, party: str, operation: str
) -> None:
    await world.outside.hurries()
    for mode in TROUBLES:
        await world.outside.breaks(party, operation, mode)

    numbers = await place(world, len(TROUBLES))
    await all_have(world, numbers, "completed")

    assert await faults_left(world) == []
    for number in numbers:
        await is_paid_once(world, number)
    assert await effects(world, "nodes", "offer") == len(numbers)
    assert await effects(world, "carriers", "label") == len(numbers)
    assert await shelf(world) == (UNTOUCHED - len(numbers), 0, 0)
    await world.audit_is_clean()


async def effects(world: World, party: str, kind: str) -> int:
    return [kind for kind, _ in await world.outside.books(party)].count(kind)


@pytest.mark.parametrize(("party", "operation"), [("payments", "void"), ("nodes", "cancel")])
async def test_whatever_befalls_a_call_that_undoes_it_has_one_effect(
    world: World, party: str, operation: str
) -> None:
    await world.works_by_hand("wh-lyon")
    for mode in TROUBLES:
        await world.outside.breaks(party, operation, mode)

    numbers = await place(world, len(TROUBLES))
    await asyncio.gather(*(cancel_accepted_work(world, number) for number in numbers))
    for number in numbers:
        await world.until_closed(number)
        # The location is told to stop, though its own word has closed the order already.
        part = world.temporal.get_workflow_handle(f"fulfillment/{number}-F1")
        await asyncio.wait_for(part.result(), PATIENCE)

    assert await faults_left(world) == []
    for number in numbers:
        assert await world.money_of(number) == [("authorize", PRICE), ("void", PRICE)]
    assert await effects(world, "nodes", "cancel") == len(numbers)
    assert await shelf(world) == (UNTOUCHED, 0, 0)
    await world.audit_is_clean()


async def test_whatever_befalls_a_refund_it_is_paid_once(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    for mode in TROUBLES:
        await world.outside.breaks("payments", "refund", mode)
    numbers = await place(world, len(TROUBLES))

    await asyncio.gather(*(lose_the_parcel(world, number) for number in numbers))
    for number in numbers:
        await world.until_closed(number)

    assert await faults_left(world) == []
    for number in numbers:
        paid = [("authorize", PRICE), ("capture", PRICE), ("refund", PRICE)]
        assert await world.money_of(number) == paid
    assert await shelf(world) == (UNTOUCHED - len(numbers), 0, 0)
    await world.audit_is_clean()


async def lose_the_parcel(world: World, number: str) -> None:
    """Send it, lose it, and give it up once it is paid for."""
    await world.scan(await world.sends(number), "lost")
    await world.until(number, lambda order: order["payment_status"] == "paid")
    await world.until_parked(number, "parcel:S1")
    await world.resolve(number, "parcel:S1", "fail")


async def test_whatever_befalls_a_look_up_the_payment_is_found(world: World) -> None:
    await world.outside.hurries()
    await world.outside.breaks("payments", "capture", "error_after", times=len(TROUBLES))
    for mode in TROUBLES:
        await world.outside.breaks("payments", "lookup", mode)

    numbers = await place(world, len(TROUBLES))
    await all_have(world, numbers, "completed")

    assert await faults_left(world) == []
    for number in numbers:
        await is_paid_once(world, number)
    await world.audit_is_clean()


async def test_whatever_befalls_asking_after_a_parcel_it_is_followed_to_the_door(
    database_url: str, temporal: Client
) -> None:
    async with impatient(database_url, temporal, "silent") as world:
        await world.outside.hurries()
        await world.outside.breaks("carriers", "webhook", "lose_webhook", times=1000)
        for mode in TROUBLES:
            await world.outside.breaks("carriers", "lookup", mode)

        numbers = await place(world, len(TROUBLES))
        await all_have(world, numbers, "completed")

        for number in numbers:
            await is_paid_once(world, number)
            assert [s["status"] for s in await shipments(world, number)] == ["delivered"]
        await world.audit_is_clean()


async def shipments(world: World, number: str) -> list[dict[str, Any]]:
    order = await world.order(number)
    return [each for f in order["fulfillment_orders"] for each in f["shipments"]]


# --- refusals -------------------------------------------------------------------------------


async def test_a_provider_that_declines_refuses_the_order_and_holds_nothing(world: World) -> None:
    await world.outside.breaks("payments", "authorize", "decline")

    answer = await world.call("POST", "/v1/orders", world.an_order(), who="channel")

    assert (answer.status_code, answer.json()["code"]) == (422, "payment_declined")
    assert await world.money_of(answer.json()["number"]) == []
    assert await shelf(world) == (UNTOUCHED, 0, 0)
    await world.audit_is_clean()


@pytest.mark.parametrize("action", ["retry", "new_attempt"])
async def test_a_declined_capture_is_taken_when_it_is_asked_again(
    world: World, action: str
) -> None:
    await world.outside.hurries()
    await world.outside.breaks("payments", "capture", "decline")

    number = (await place(world, 1))[0]
    await world.until_parked(number, "capture:1")
    await world.resolve(number, "capture:1", action)
    await world.until_status(number, "completed")

    await is_paid_once(world, number)
    await world.audit_is_clean()


@pytest.mark.parametrize("action", ["retry", "new_attempt"])
async def test_a_declined_void_is_given_back_when_it_is_asked_again(
    world: World, action: str
) -> None:
    await world.outside.breaks("payments", "void", "decline")
    number = (await place(world, 1))[0]

    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "changed my mind"})
    await world.until_parked(number, "void:1")
    await world.resolve(number, "void:1", action)
    await world.until_closed(number)

    assert await world.money_of(number) == [("authorize", PRICE), ("void", PRICE)]
    assert (await world.order(number))["payment_status"] == "voided"
    await world.audit_is_clean()


async def test_a_refund_that_fails_late_is_called_out_and_paid_by_hand(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await place(world, 1, token="tok_refund_fails_late"))[0]

    await lose_the_parcel(world, number)
    await world.until_parked(number, "refund:1")
    failed = await world.order(number)
    result = {"reference": "transfer-9"}
    await world.resolve(number, "refund:1", "done_manually", result=result)
    paid_back = await world.until_closed(number)

    assert failed["payments"]["refunded_minor"] == 0
    assert paid_back["payments"]["refunded_minor"] == PRICE
    await world.audit_is_clean()


async def test_a_carrier_that_refuses_a_label_parks_the_parcel_until_it_sells_one(
    world: World,
) -> None:
    await world.outside.hurries()
    await world.outside.breaks("carriers", "label", "decline")

    number = (await place(world, 1))[0]
    await world.until_parked(number, "label:S1")
    await world.resolve(number, "label:S1", "retry")
    await world.until_status(number, "completed")

    await is_paid_once(world, number)
    await world.audit_is_clean()


async def test_a_location_that_declines_an_offer_leaves_it_to_the_next(world: World) -> None:
    await world.has_place("wh-paris", latitude=48.85, longitude=2.35)
    await world.holds("LAMP", "wh-paris", 5)
    await world.outside.hurries()
    await world.outside.breaks("nodes", "offer", "decline")

    number = (await place(world, 1))[0]
    done = await world.until_status(number, "completed")

    places = [(f["location"], f["status"]) for f in done["fulfillment_orders"]]
    assert places == [("wh-lyon", "cancelled"), ("wh-paris", "closed")]
    assert await shelf(world) == (UNTOUCHED, 0, 0)
    assert await shelf(world, "wh-paris") == (4, 0, 0)
    await world.audit_is_clean()


async def test_a_location_that_declines_to_stop_delivers(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await place(world, 1))[0]
    offered = (await world.until_offered(number))[0]["id"]
    await world.node(offered, "accept")

    asked = await world.call("POST", f"/v1/orders/{number}/cancel", {"reason": "too late"})
    await world.node(offered, "cancel-response", {"accepted": False})
    order = await world.order(number)

    assert asked.status_code == 202
    assert order["fulfillment_orders"][0]["cancellation"] == "rejected"
    assert order["lines"][0]["cancelled"] == 0
    assert await shelf(world) == (UNTOUCHED, 0, 1)
    await world.audit_is_clean()


async def test_a_look_up_that_is_not_permitted_parks_until_it_is(world: World) -> None:
    await world.outside.hurries()
    await world.outside.breaks("payments", "capture", "error_after")
    await world.outside.breaks("payments", "lookup", "decline")

    number = (await place(world, 1))[0]
    await world.until_parked(number, "capture:1")
    await world.resolve(number, "capture:1", "retry")
    await world.until_status(number, "completed")

    await is_paid_once(world, number)
    await world.audit_is_clean()


# --- webhooks -------------------------------------------------------------------------------


@pytest.mark.parametrize("party", ["carriers", "nodes"])
@pytest.mark.parametrize("mode", ["duplicate_webhook", "shuffle_webhooks"])
async def test_doubled_and_shuffled_news_is_heard_once_and_in_any_order(
    world: World, party: str, mode: str
) -> None:
    await world.outside.hurries()
    await world.outside.breaks(party, "webhook", mode, times=1000)

    numbers = await place(world, 2)
    await all_have(world, numbers, "completed")

    for number in numbers:
        await is_paid_once(world, number)
        kinds = [event["kind"] for event in await world.timeline(number)]
        assert kinds.count("shipment.delivered") == 1
        assert kinds.count("fulfillment_order.accepted") == 1
    assert await shelf(world) == (UNTOUCHED - 2, 0, 0)
    await world.audit_is_clean()


async def test_a_yes_that_nobody_hears_sends_the_work_elsewhere(
    database_url: str, temporal: Client
) -> None:
    async with impatient(database_url, temporal, "node_answer") as world:
        await world.has_place("wh-paris", latitude=48.85, longitude=2.35)
        await world.holds("LAMP", "wh-paris", 5)
        await world.works_by_hand("wh-paris")
        await world.outside.breaks("nodes", "webhook", "lose_webhook")
        await world.outside.hurries()

        number = (await place(world, 1))[0]
        await world.until(number, lambda order: len(order["fulfillment_orders"]) == 2)

        first, second = (await world.order(number))["fulfillment_orders"]
        assert (first["location"], first["request"]) == ("wh-lyon", "expired")
        assert second["location"] == "wh-paris"
        await world.audit_is_clean()


async def test_a_hand_over_that_nobody_reports_is_proven_by_the_first_scan(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await place(world, 1))[0]
    offered = (await world.until_offered(number))[0]["id"]
    await world.node(offered, "accept")
    await world.node(offered, "pick", {"lines": [{"line": 1, "picked": 1}]})
    parcels = [{"weight_g": 500, "lines": [{"line": 1, "quantity": 1}]}]
    await world.node(offered, "pack", {"parcels": parcels})
    tracking_number = await world.until_labelled(number)

    await world.scan(tracking_number, "delivered")
    await world.until_status(number, "completed")

    await is_paid_once(world, number)
    assert await shelf(world) == (UNTOUCHED - 1, 0, 0)
    await world.audit_is_clean()
