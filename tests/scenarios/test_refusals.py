"""A no leaves nothing behind: no stock, no money, no run; and its reference is free again."""

from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from tests.scenarios.working import has_kinds, until_closed
from tests.world import World


async def is_untouched(world: World) -> None:
    """No stock is held, no order stored, no provider asked, no run started."""
    for level in await world.all_levels():
        assert (level["reserved"], level["allocated"], level["backordered"]) == (0, 0, 0)
    async with world.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM orders")) == 0
        assert await connection.scalar(text("SELECT count(*) FROM payment_entries")) == 0
        assert await connection.scalar(text("SELECT count(*) FROM events")) == 0
        held = "SELECT count(*) FROM stock_movements WHERE cause <> 'count'"
        assert await connection.scalar(text(held)) == 0
    assert await world.outside.books("payments") == []


async def test_too_little_stock_says_what_there_is_and_frees_the_reference(world: World) -> None:
    await world.sells("MUG")
    await world.has_place("wh-far", channels=["other"])
    await world.holds("MUG", "wh-lyon", 3)
    await world.holds("MUG", "wh-far", 50)
    await world.ok("PUT", "/v1/stock/MUG/wh-lyon/policy", {"safety_stock": 1})
    body = world.an_order({"LAMP": 2, "MUG": 4})

    refused = await world.call("POST", "/v1/orders", body, who="channel")

    told = refused.json()
    assert (refused.status_code, told["code"]) == (422, "insufficient_stock")
    assert [(e["pointer"], e["available"]) for e in told["errors"]] == [("/lines/1", 2)]
    order = await until_closed(world, told["number"])
    assert (order["status"], order["payment_status"]) == ("cancelled", "none")
    assert order["refusal"]["code"] == "insufficient_stock"
    assert (await world.level("LAMP", "wh-lyon"))["available"] == 10
    assert await world.money_of(told["number"]) == []
    run = await world.run_of(told["number"]).describe()
    assert run.status is WorkflowExecutionStatus.COMPLETED

    await world.holds("MUG", "wh-lyon", 9)
    again = await world.call("POST", "/v1/orders", body, who="channel")
    assert again.status_code == 201
    assert again.json()["number"] != told["number"]
    await world.audit_is_clean()


@pytest.mark.parametrize("token", ["tok_declined", "tok_insufficient_funds"])
async def test_a_declined_card_leaves_nothing_held(world: World, token: str) -> None:
    body = world.an_order(2, token=token)

    refused = await world.call("POST", "/v1/orders", body, who="channel")

    told = refused.json()
    assert (refused.status_code, told["code"]) == (422, "payment_declined")
    order = await until_closed(world, told["number"])
    assert (order["status"], order["payment_status"]) == ("cancelled", "none")
    assert order["fulfillment_status"] == "cancelled"
    assert order["refusal"]["code"] == "payment_declined"
    level = await world.level("LAMP", "wh-lyon")
    assert (level["reserved"], level["allocated"], level["available"]) == (0, 0, 10)
    assert await world.money_of(told["number"]) == []
    assert (await has_kinds(world, told["number"]))[-2:] == ["order.cancelled", "order.closed"]
    body["tenders"][0]["token"] = "tok_ok"
    again = await world.call("POST", "/v1/orders", body, who="channel")
    assert again.status_code == 201
    await world.audit_is_clean()


async def test_a_payment_declined_later_refuses_the_pending_order(world: World) -> None:
    await world.outside.breaks("payments", "authorize", "decline")

    placed = await world.call(
        "POST", "/v1/orders", world.an_order(2, token="tok_pending"), who="channel"
    )

    number = placed.json()["number"]
    assert placed.status_code in (202, 422)
    order = await until_closed(world, number)
    assert (order["status"], order["refusal"]["code"]) == ("cancelled", "payment_declined")
    assert (await world.level("LAMP", "wh-lyon"))["reserved"] == 0
    await world.audit_is_clean()


async def test_what_is_not_an_order_leaves_no_trace(world: World) -> None:
    good = world.an_order(2)
    address = good["delivery"]["address"]
    line, tender = good["lines"][0], good["tenders"][0]
    odd: list[tuple[dict[str, Any], str, str]] = [
        ({"extra": 1}, "validation_failed", "/extra"),
        ({"currency": "XXQ"}, "validation_failed", "/currency"),
        ({"lines": [line | {"quantity": 0}]}, "validation_failed", "/lines/0/quantity"),
        ({"lines": [line | {"quantity": "2"}]}, "validation_failed", "/lines/0/quantity"),
        ({"lines": [line | {"quantity": True}]}, "validation_failed", "/lines/0/quantity"),
        ({"lines": [line | {"quantity": 2.0}]}, "validation_failed", "/lines/0/quantity"),
        (
            {"lines": [line | {"discount_minor": 10**6}]},
            "validation_failed",
            "/lines/0/discount_minor",
        ),
        ({"lines": [line | {"sku": "NOPE"}]}, "sku_unknown", "/lines/0/sku"),
        ({"channel": "nope"}, "channel_unknown", "/channel"),
        ({"tenders": []}, "tenders_do_not_match_total", "/tenders"),
        ({"tenders": [tender | {"amount_minor": 1}]}, "tenders_do_not_match_total", "/tenders"),
        (
            {"tenders": [{"kind": "invoice", "amount_minor": 4488}]},
            "tender_unsupported",
            "/tenders/0/kind",
        ),
        (
            {"tenders": [tender | {"token": "4111 1111 1111 1111"}]},
            "validation_failed",
            "/tenders/0/token",
        ),
        ({"delivery": {"method": "locker"}}, "delivery_method_unsupported", "/delivery/method"),
        (
            {"delivery": {"method": "store_pickup", "location": "x"}},
            "location_unknown",
            "/delivery/location",
        ),
        (
            {"delivery": {"method": "home", "address": address | {"postal_code": "ABC"}}},
            "address_invalid",
            "/delivery/address/postal_code",
        ),
        (
            {"delivery": {"method": "home", "address": address | {"country": "ZZ"}}},
            "validation_failed",
            "/delivery/address/country",
        ),
    ]

    for change, code, pointer in odd:
        answer = await world.call("POST", "/v1/orders", good | change, who="channel")
        told = answer.json()
        assert (answer.status_code, told["code"]) == (422, code), (change, told)
        assert told["errors"][0]["pointer"] == pointer, (change, told)
        assert "number" not in told

    await is_untouched(world)
    with pytest.raises(RPCError):
        await world.run_of("2222-2222-2").describe()
    placed = await world.call("POST", "/v1/orders", good, who="channel")
    assert placed.status_code == 201, "the reference was never taken"
    await world.audit_is_clean()


async def test_a_node_may_not_order_and_sees_no_orders(world: World) -> None:
    answer = await world.call("POST", "/v1/orders", world.an_order(1), who="node")

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    listed = await world.call("GET", "/v1/orders", who="node")
    assert listed.status_code == 403
    await is_untouched(world)
