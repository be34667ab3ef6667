"""Goods that come back as they should: by post, in parts, at the till, to another place.

All share one shop; each has an article of its own, and the audit looks at everything there.
"""

from tests.scenarios.returns.sending_back import (
    HELD,
    PRICE,
    SHIPPING,
    an_article,
    bought,
    delivered,
    is_back,
    labelled,
    puts_in_the_post,
    refunds_of,
    shelf,
)
from tests.world import World


async def test_a_parcel_sent_back_is_received_inspected_refunded_and_put_on_the_shelf(
    world: World,
) -> None:
    sku, number = await bought(world)

    asked = await world.ask_return(number)
    coming = await shelf(world, sku)
    (tracking_number,) = await labelled(world, asked["id"])
    await world.scan(tracking_number, "in_transit")
    under_way = await world.until_return(asked["id"], "in_transit")
    await world.scan(tracking_number, "delivered")
    received = await world.receive(asked["id"])
    await world.inspect(asked["id"])
    closed = await world.until_return(asked["id"], "closed")

    assert (asked["status"], asked["refund_minor"]) == ("approved", PRICE + SHIPPING)
    assert coming == {"on_hand": HELD - 1, "incoming": 1}
    assert under_way["refunds"] == []
    assert received["status"] == "received"
    (refund,) = closed["refunds"]
    assert (refund["amount_minor"], refund["currency"], refund["status"]) == (
        PRICE + SHIPPING,
        "EUR",
        "succeeded",
    )
    assert await shelf(world, sku) == {"on_hand": HELD}
    order = await world.order(number)
    assert (order["return_status"], order["payment_status"]) == ("returned", "refunded")
    told = await world.story_of(asked["id"])
    assert told[:2] == ["return.requested", "return.approved"]
    assert told[-1] == "return.closed"
    for kind in ("in_transit", "received", "inspected", "settled", "closed"):
        assert told.count(f"return.{kind}") == 1
    await is_back(world, number, returned=1, refunded_minor=PRICE + SHIPPING)


async def test_units_that_arrive_in_parts_are_refunded_as_they_are_inspected(world: World) -> None:
    sku, number = await bought(world, 3)
    id = (await world.ask_return(number, 3))["id"]
    await puts_in_the_post(world, id)

    await world.takes_back(id, 1)
    partly = await world.until_back(id, lambda back: bool(back["refunds"]))
    half = await shelf(world, sku)
    await world.takes_back(id, 2)
    await world.until_return(id, "closed")

    assert partly["status"] == "partially_received"
    assert half["incoming"] == 2
    assert await refunds_of(world, number) == [PRICE, 2 * PRICE + SHIPPING]
    assert await shelf(world, sku) == {"on_hand": HELD}
    await is_back(world, number, returned=3, refunded_minor=3 * PRICE + SHIPPING)


async def test_a_return_in_two_parcels_has_two_labels_and_is_taken_parcel_by_parcel(
    world: World,
) -> None:
    sku, number = await bought(world, 2)

    id = (await world.ask_return(number, 2, parcels=2))["id"]
    first, second = await labelled(world, id)
    await world.scan(first, "in_transit")
    await world.scan(first, "delivered")
    await world.takes_back(id, 1)
    waiting = await world.until_return(id, "partially_received")
    await world.scan(second, "delivered")
    await world.takes_back(id, 1)
    await world.until_return(id, "closed")

    assert first != second
    assert [parcel["status"] for parcel in waiting["parcels"]] == ["delivered", "created"]
    assert await shelf(world, sku) == {"on_hand": HELD}
    await is_back(world, number, returned=2, refunded_minor=2 * PRICE + SHIPPING)


async def test_what_is_brought_to_a_store_is_refunded_and_on_its_shelf_at_once(
    world: World,
) -> None:
    sku, number = await bought(world, 2)

    asked = await world.ask_return(number, via="store", location="store-lyon")
    await world.until_return(asked["id"], "closed")

    assert asked["status"] in ("inspected", "closed")
    assert await shelf(world, sku, "store-lyon") == {"on_hand": 1}
    assert await shelf(world, sku) == {"on_hand": HELD - 2}
    assert (await world.order(number))["return_status"] == "in_progress"
    await is_back(world, number, returned=1, refunded_minor=PRICE)


async def test_goods_that_arrive_at_another_place_than_planned_are_taken_there(
    world: World,
) -> None:
    sku, number = await bought(world)
    id = (await world.ask_return(number))["id"]
    await puts_in_the_post(world, id)

    await world.takes_back(id, location="store-lyon")
    await world.until_return(id, "closed")

    assert await shelf(world, sku, "store-lyon") == {"on_hand": 1}
    assert await shelf(world, sku) == {"on_hand": HELD - 1}, "nothing is expected there any more"
    await is_back(world, number, returned=1, refunded_minor=PRICE + SHIPPING)


async def test_two_returns_of_one_order_give_back_each_unit_once_and_its_way_with_the_last(
    world: World,
) -> None:
    sku, number = await bought(world, 2)

    first = await world.ask_return(number)
    second = await world.ask_return(number)
    third = await world.try_return(number)
    for asked in (first, second):
        await world.takes_back(asked["id"])
        await world.until_return(asked["id"], "closed")

    assert (first["refund_minor"], second["refund_minor"]) == (PRICE, PRICE + SHIPPING)
    assert third.json()["errors"][0]["code"] == "more_than_sent"
    assert await refunds_of(world, number) == [PRICE, PRICE + SHIPPING]
    assert await shelf(world, sku) == {"on_hand": HELD}
    await is_back(world, number, returned=2, refunded_minor=2 * PRICE + SHIPPING)


async def test_goods_that_cost_nothing_come_back_without_money(world: World) -> None:
    sku = await an_article(world)
    free = [{"sku": sku, "quantity": 1, "unit_price_minor": 0}]
    number = await delivered(world, {sku: 1}, shipping_minor=0, lines=free, tenders=[])

    asked = await world.ask_return(number)
    await world.takes_back(asked["id"])
    closed = await world.until_return(asked["id"], "closed")

    assert (asked["refund_minor"], closed["refunds"]) == (0, [])
    assert await shelf(world, sku) == {"on_hand": HELD}
    assert await world.money_of(number) == []
    await is_back(world, number, returned=1, refunded_minor=0)


async def test_a_return_while_another_parcel_is_still_under_way_takes_what_was_handed_over(
    world: World,
) -> None:
    here, there = await an_article(world), await an_article(world, 0)
    await world.has_place("wh-nice", latitude=43.7, longitude=7.26)
    await world.holds(there, "wh-nice", 1)
    await world.works_by_hand("wh-nice")
    await world.outside.hurries()
    number = (await world.place({here: 1, there: 1}))["number"]
    await world.until(number, lambda order: order["lines"][0]["delivered"] == 1)
    await world.outside.hurries(1)

    early = await world.try_return(number, {2: 1})
    id = (await world.ask_return(number, {1: 1}))["id"]
    await world.takes_back(id)
    await world.until_return(id, "closed")

    assert early.json()["errors"][0]["code"] == "not_sent"
    assert (await world.order(number))["status"] == "open"
    assert await shelf(world, here) == {"on_hand": HELD}
    await is_back(world, number, returned=1, refunded_minor=PRICE)


async def test_a_parcel_that_is_back_before_anybody_heard_that_it_was_delivered_is_refunded(
    world: World,
) -> None:
    sku = await an_article(world)
    await world.works_by_hand("wh-lyon")
    number = (await world.place({sku: 1}))["number"]
    parcel = await world.sends(number)
    await world.until(number, lambda order: order["payment_status"] == "paid")

    asked = await world.ask_return(number, via="store", location="store-lyon")
    await world.until_return(asked["id"], "closed")
    done = await world.until_status(number, "completed")
    await world.scan(parcel, "delivered")
    await world.outside.ask("POST", "/nodes/wh-lyon/behaviour", json={})

    assert done["lines"][0]["delivered"] == 1, "who sends it back has had it"
    assert await shelf(world, sku, "store-lyon") == {"on_hand": 1}
    await is_back(world, number, returned=1, refunded_minor=PRICE + SHIPPING)


async def test_the_same_scan_twice_counts_once_whatever_key_it_comes_under(world: World) -> None:
    sku, number = await bought(world, 2)
    id = (await world.ask_return(number, 2))["id"]

    for _ in range(2):
        await world.receive(id, 1, Idempotency_Key="scan-1")
    for _ in range(2):
        await world.receive(id, 1, Idempotency_Key="scan-2")
    again = await world.receive(id, 2, Idempotency_Key="scan-3")
    await world.inspect(id, 2)
    await world.until_return(id, "closed")

    assert again["lines"][0]["received"] == 2
    assert await shelf(world, sku) == {"on_hand": HELD}
    await is_back(world, number, returned=2, refunded_minor=2 * PRICE + SHIPPING)
