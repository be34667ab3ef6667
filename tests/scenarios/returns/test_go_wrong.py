"""Goods that come back otherwise than they should: what was told counts, and nothing else moves.

All share one shop; each has an article of its own, and the audit looks at everything there.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata

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
    time_passes_to,
)
from tests.world import KEYS, World


async def rules(world: World, **rule: Any) -> None:
    """From now on these rules stand, whatever stood before."""
    policy = {"currency": "EUR", "rules": [{"name": "of this test"} | rule]}
    await world.ok("PUT", "/v1/return-policy", policy)


@pytest.fixture
async def usual(world: World) -> AsyncIterator[World]:
    """The usual rules stand again after a test that makes its own."""
    yield world
    await rules(world)


# --- in the parcel --------------------------------------------------------------------------


async def test_more_than_was_announced_is_taken_and_paid_as_far_as_it_was_sent(
    world: World,
) -> None:
    sku, number = await bought(world, 2)
    id = (await world.ask_return(number))["id"]

    received = await world.receive(id, 3)
    await world.inspect(id, 2)
    await world.until_return(id, "closed")

    (line,) = received["lines"]
    assert (line["quantity"], line["extra"], line["received"]) == (2, 1, 2)
    assert await shelf(world, sku) == {"on_hand": HELD}
    await is_back(world, number, returned=2, refunded_minor=2 * PRICE + SHIPPING)


async def test_something_else_in_the_box_is_no_return_of_what_was_sold(world: World) -> None:
    sku, number = await bought(world)
    id = (await world.ask_return(number))["id"]

    await world.receive(id, condition="wrong_item")
    await world.inspect(id, accepted=False)
    inspected = await world.until_return(id, "inspected")
    await world.ok("POST", f"/v1/returns/{id}/hand-back", {}, who="node")
    closed = await world.until_return(id, "closed")

    assert inspected["lines"][0]["rejected"] == 1
    assert closed["refunds"] == []
    assert await shelf(world, sku) == {"on_hand": HELD - 1}
    await is_back(world, number, returned=0, refunded_minor=0)


async def test_what_is_missing_from_a_parcel_is_not_paid_and_may_be_sent_later(
    world: World,
) -> None:
    sku, number = await bought(world, 2)
    id = (await world.ask_return(number, 2))["id"]

    await world.receive(id, 1)
    await world.receive(id, 1, condition="missing")
    await world.inspect(id, 1)
    closed = await world.until_return(id, "closed")
    again = await world.ask_return(number)

    assert (closed["lines"][0]["received"], closed["lines"][0]["missing"]) == (1, 1)
    assert again["status"] == "approved"
    assert await shelf(world, sku) == {"on_hand": HELD - 1, "incoming": 1}
    await is_back(world, number, returned=1, refunded_minor=PRICE)


async def test_damaged_goods_that_are_accepted_are_paid_and_kept_from_sale(world: World) -> None:
    sku, number = await bought(world)
    id = (await world.ask_return(number, reason="damaged"))["id"]

    await world.takes_back(id, condition="damaged")
    await world.until_return(id, "closed")

    assert await shelf(world, sku) == {"on_hand": HELD - 1, "damaged": 1}
    await is_back(world, number, returned=1, refunded_minor=PRICE + SHIPPING)


async def test_goods_refused_at_inspection_bring_no_money_and_wait_until_they_have_left(
    world: World,
) -> None:
    sku, number = await bought(world)
    id = (await world.ask_return(number))["id"]
    await puts_in_the_post(world, id)

    await world.receive(id, condition="opened")
    await world.inspect(id, accepted=False)
    waiting = await world.until_back(
        id, lambda back: [p["direction"] for p in back["parcels"]] == ["in", "out"]
    )
    there = await shelf(world, sku)
    await world.ok("POST", f"/v1/returns/{id}/hand-back", {}, who="node")
    closed = await world.until_return(id, "closed")

    assert (waiting["status"], closed["refunds"]) == ("inspected", [])
    assert there == await shelf(world, sku) == {"on_hand": HELD - 1}
    assert (await world.order(number))["return_status"] == "none"
    await is_back(world, number, returned=0, refunded_minor=0)


async def test_a_scan_without_a_key_told_twice_counts_once(world: World) -> None:
    sku, number = await bought(world, 2)
    id = (await world.ask_return(number, 2))["id"]
    line = {"line": 1, "quantity": 1, "condition": "as_new"}
    body = {"location": "wh-lyon", "lines": [line]}

    for _ in range(2):
        answer = await world.http.post(
            f"/v1/returns/{id}/receive",
            json=body,
            headers={"Authorization": f"Bearer {KEYS['node']}"},
        )
        assert (answer.status_code, answer.json()["lines"][0]["received"]) == (200, 1)
    await world.inspect(id)
    await world.until_back(id, lambda back: bool(back["refunds"]))

    assert await shelf(world, sku) == {"on_hand": HELD - 1, "incoming": 1}
    assert (await world.order(number))["lines"][0]["returned"] == 1


# --- before it is sent ----------------------------------------------------------------------


async def test_a_return_called_off_before_it_is_sent_expects_nothing_any_more(
    world: World,
) -> None:
    sku, number = await bought(world)
    id = (await world.ask_return(number))["id"]

    await world.ok("POST", f"/v1/returns/{id}/cancel", {}, who="channel")
    cancelled = await world.until_back(id, lambda back: back["closed_at"] is not None)
    again = await world.ask_return(number)

    assert cancelled["status"] == "cancelled"
    assert again["status"] == "approved", "its units may come back after all"
    assert await shelf(world, sku) == {"on_hand": HELD - 1, "incoming": 1}
    await is_back(world, number, returned=0, refunded_minor=0)


async def test_a_return_on_its_way_can_not_be_called_off(world: World) -> None:
    _, number = await bought(world)
    id = (await world.ask_return(number))["id"]
    (tracking_number,) = await labelled(world, id)
    await world.scan(tracking_number, "in_transit")
    await world.until_return(id, "in_transit")

    refused = await world.call("POST", f"/v1/returns/{id}/cancel", {}, who="channel")

    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    assert (await world.back(id))["status"] == "in_transit"
    await is_back(world, number, returned=0, refunded_minor=0)


async def test_a_return_that_needs_approval_waits_for_it_and_then_goes_on(usual: World) -> None:
    world = usual
    await rules(world, approval_for=["changed_mind"])
    sku, number = await bought(world, 2)

    asked = await world.ask_return(number, reason="changed_mind")
    declined = await world.ask_return(number, reason="changed_mind")
    nothing = await shelf(world, sku)
    await world.ok("POST", f"/v1/returns/{asked['id']}/approve", {})
    await world.ok("POST", f"/v1/returns/{declined['id']}/decline", {"reason": "worn"})
    await world.until_return(declined["id"], "declined")
    await puts_in_the_post(world, asked["id"])
    await world.takes_back(asked["id"])
    await world.until_return(asked["id"], "closed")

    assert (asked["status"], declined["status"]) == ("requested", "requested")
    assert nothing == {"on_hand": HELD - 2}
    assert await shelf(world, sku) == {"on_hand": HELD - 1}
    await is_back(world, number, returned=1, refunded_minor=PRICE)


async def test_goods_that_arrive_after_their_return_expired_are_taken_all_the_same(
    world: World,
) -> None:
    sku, number = await bought(world)
    id = (await world.ask_return(number))["id"]
    await labelled(world, id)
    await time_passes_to(world, id, "expire_at")
    await world.until_return(id, "expired")
    expected = await shelf(world, sku)

    await world.takes_back(id)
    await world.until_return(id, "closed")

    assert expected == {"on_hand": HELD - 1}
    assert await shelf(world, sku) == {"on_hand": HELD}
    await is_back(world, number, returned=1, refunded_minor=PRICE + SHIPPING)


# --- the money ------------------------------------------------------------------------------


async def details(world: World, id: str) -> str:
    """What the Temporal UI shows of a return's run."""
    told: WorkflowMetadata = await world.temporal.get_workflow_handle(f"return/{id}").query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )
    return told.current_details


async def test_a_refund_that_fails_late_leaves_the_goods_and_calls_a_person(world: World) -> None:
    sku, number = await bought(world, token="tok_refund_fails_late")
    id = (await world.ask_return(number, via="store", location="store-lyon"))["id"]

    await world.until_return_parked(id, "refund:1")
    failed = await world.order(number)
    there = await shelf(world, sku, "store-lyon")
    told = await details(world, id)
    paid = {"reference": "transfer-9"}
    await world.resolve(number, "refund:1", "done_manually", result=paid)
    closed = await world.until_return(id, "closed")

    assert failed["payments"]["refunded_minor"] == 0
    assert failed["attention"]
    assert "refund:1 needs a person" in told
    assert f"`oms returns explain {id}` tells more." in told
    assert there == {"on_hand": 1}
    assert closed["refunds"][0]["status"] == "succeeded"
    assert await shelf(world, sku, "store-lyon") == {"on_hand": 1}
    order = await world.order(number)
    assert order["payments"]["refunded_minor"] == PRICE + SHIPPING
    assert not order["attention"]
    await world.audit_is_clean()


async def test_money_taken_at_a_till_is_given_back_at_a_till(world: World) -> None:
    sku = await an_article(world)
    till = {"kind": "terminal", "reference": "till-7", "amount_minor": PRICE + SHIPPING}
    number = await delivered(world, {sku: 1}, tenders=[till])

    id = (await world.ask_return(number, via="store", location="store-lyon"))["id"]
    await world.until_return_parked(id, "refund:1")
    waiting = await world.order(number)
    paid = {"reference": "till-7-back"}
    await world.resolve(number, "refund:1", "done_manually", result=paid)
    await world.until_return(id, "closed")

    assert waiting["payments"]["refunded_minor"] == 0
    order = await world.order(number)
    assert order["payments"]["refunded_minor"] == PRICE + SHIPPING
    assert await world.money_of(number) == [], "no card is asked"
    assert await shelf(world, sku, "store-lyon") == {"on_hand": 1}
    await world.audit_is_clean()


async def test_a_fee_is_kept_once_and_what_is_told_is_what_is_given(usual: World) -> None:
    world = usual
    await rules(world, fees_minor={"post": 300}, refund_shipping="never")
    _, number = await bought(world, 2)

    asked = await world.ask_return(number, 2)
    await world.takes_back(asked["id"], 1)
    await world.takes_back(asked["id"], 1)
    await world.until_return(asked["id"], "closed")

    assert asked["refund_minor"] == 2 * PRICE - 300
    assert sum(await refunds_of(world, number)) == 2 * PRICE - 300
    await is_back(world, number, returned=2, refunded_minor=2 * PRICE - 300)


async def test_money_given_back_at_the_first_scan_calls_a_person_when_nothing_arrives(
    usual: World,
) -> None:
    world = usual
    await rules(world, refund_at="scan")
    sku, number = await bought(world)
    id = (await world.ask_return(number))["id"]

    (tracking_number,) = await labelled(world, id)
    await world.scan(tracking_number, "in_transit")
    await world.until_back(id, lambda back: [r["status"] for r in back["refunds"]] == ["succeeded"])
    await time_passes_to(world, id, "receive_by")
    await world.until_return_parked(id, "overdue:R1")
    await world.resolve(number, "overdue:R1", "done_manually")
    await world.until_return(id, "closed")

    assert await shelf(world, sku) == {"on_hand": HELD - 1}, "nothing is expected any more"
    await is_back(world, number, returned=0, refunded_minor=PRICE + SHIPPING)


# --- bad input ------------------------------------------------------------------------------


async def test_what_may_not_come_back_is_refused_by_line_and_moves_nothing(world: World) -> None:
    _, number = await bought(world)
    not_sent = await an_article(world)
    await world.works_by_hand("wh-lyon")
    waits = (await world.place({not_sent: 1}))["number"]
    before = await world.all_levels()

    def codes(answer: httpx.Response) -> tuple[int, str, list[tuple[str, str]]]:
        told = answer.json()
        flaws = [(each["pointer"], each["code"]) for each in told["errors"]]
        return answer.status_code, told["code"], flaws

    never_bought = await world.try_return(number, {2: 1, 1: 1})
    too_many = await world.try_return(number, 2)
    too_early = await world.try_return(waits)
    levels = await world.all_levels()
    await world.ok("POST", f"/v1/orders/{waits}/cancel", {"reason": "only a test"})
    await world.outside.ask("POST", "/nodes/wh-lyon/behaviour", json={})

    assert codes(never_bought) == (422, "not_returnable", [("/lines/0", "line_unknown")])
    assert codes(too_many) == (422, "not_returnable", [("/lines/0", "more_than_sent")])
    assert codes(too_early) == (422, "not_returnable", [("/lines/0", "not_sent")])
    assert levels == before
    assert (await world.ok("GET", f"/v1/returns?order={number}"))["data"] == []
    await is_back(world, number, returned=0, refunded_minor=0)


async def test_what_was_delivered_too_long_ago_or_is_a_final_sale_stays_with_the_customer(
    usual: World,
) -> None:
    world = usual
    sku, number = await bought(world)
    await rules(world, window_days=0)
    late = await world.try_return(number)
    await rules(world, returnable=False)
    final = await world.try_return(number)

    assert late.json()["errors"][0]["code"] == "outside_window"
    assert final.json()["errors"][0]["code"] == "final_sale"
    assert await shelf(world, sku) == {"on_hand": HELD - 1}
    await is_back(world, number, returned=0, refunded_minor=0)


async def test_somebody_else_s_order_is_not_known(world: World) -> None:
    _, number = await bought(world)

    stranger = await world.try_return(number, customer={"email": "eve@example.com"})
    guest = await world.try_return(number, customer={"email": "Ada@Example.com"})
    unknown = await world.try_return("2222-2222-2")

    assert stranger.status_code in (404, 422)
    assert unknown.status_code == 404
    assert guest.status_code == 201, "who wrote it with capitals is still Ada"
    await is_back(world, number, returned=0, refunded_minor=0)


async def test_store_credit_is_not_offered(world: World) -> None:
    _, number = await bought(world)

    refused = await world.try_return(number, resolution="store_credit")

    assert (refused.status_code, refused.json()["code"]) == (422, "resolution_unsupported")
    await is_back(world, number, returned=0, refunded_minor=0)
