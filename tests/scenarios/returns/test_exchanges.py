"""Other goods instead: held from the start, let go when the first are back, and paid once.

All share one shop; each has articles of its own, and the audit looks at everything there.
"""

from typing import Any

import pytest

from tests.scenarios.returns.sending_back import (
    HELD,
    PRICE,
    an_article,
    bought,
    refunds_of,
    shelf,
    time_passes_to,
)
from tests.world import World


def card(amount_minor: int, token: str = "tok_ok") -> list[dict[str, Any]]:
    return [{"kind": "card", "provider": "simulator", "token": token, "amount_minor": amount_minor}]


async def is_delivered(world: World, number: str) -> None:
    """The exchange order leaves by itself and reaches the customer."""
    await world.outside.hurries()
    await world.until_status(number, "completed")
    await world.outside.hurries(1)


async def test_the_same_article_in_another_size_costs_nothing_and_leaves_when_the_first_is_back(
    world: World,
) -> None:
    sku, number = await bought(world, 2)
    larger = await an_article(world)

    back = await world.exchange(number, {"sku": larger})
    other = await world.order(back["exchange_order"])
    (wait,) = (await world.ok("GET", f"/v1/orders/{other['number']}/explain"))["data"]
    held = await shelf(world, larger)
    await world.takes_back(back["id"])
    await is_delivered(world, other["number"])
    closed = await world.until_return(back["id"], "closed")

    assert (back["refund_minor"], back["refunds"]) == (0, [])
    assert (other["exchange_of"], other["reference"]) == (back["id"], back["id"])
    assert (other["total_minor"], other["payment_status"]) == (0, "paid")
    assert other["fulfillment_status"] == "on_hold"
    assert wait["waiting_for"] == f"the return {back['id']} to let it go"
    assert held == {"on_hand": HELD, "allocated": 1}
    assert closed["refunds"] == []
    assert await world.money_of(other["number"]) == []
    assert await refunds_of(world, number) == []
    assert (await shelf(world, sku), await shelf(world, larger)) == (
        {"on_hand": HELD - 1},
        {"on_hand": HELD - 1},
    )
    await world.audit_is_clean()


async def test_a_dearer_article_takes_just_the_difference(world: World) -> None:
    _, number = await bought(world)
    line = {"sku": await an_article(world), "unit_price_minor": PRICE + 1000}

    unpaid = await world.try_exchange(number, line)
    too_much = await world.try_exchange(number, line, tenders=card(PRICE + 1000))
    back = await world.exchange(number, line, tenders=card(1000))
    await world.takes_back(back["id"])
    await is_delivered(world, back["exchange_order"])

    for refused in (unpaid, too_much):
        assert (refused.status_code, refused.json()["code"]) == (422, "tenders_do_not_match_total")
        assert refused.json()["errors"][0]["pointer"] == "/tenders"
        assert "10.00 EUR" in refused.json()["detail"]
    assert await world.money_of(back["exchange_order"]) == [("authorize", 1000), ("capture", 1000)]
    assert await refunds_of(world, number) == []
    await world.audit_is_clean()


async def test_a_cheaper_article_gives_the_difference_back_by_the_first_tender(
    world: World,
) -> None:
    _, number = await bought(world)
    line = {"sku": await an_article(world), "unit_price_minor": PRICE - 500}

    back = await world.exchange(number, line)
    await world.takes_back(back["id"])
    closed = await world.until_return(back["id"], "closed")
    await is_delivered(world, back["exchange_order"])

    assert back["refund_minor"] == 500
    assert [each["status"] for each in closed["refunds"]] == ["succeeded"]
    assert await refunds_of(world, number) == [500]
    await world.audit_is_clean()


@pytest.mark.parametrize("lack", ["goods", "money"])
async def test_an_exchange_that_cannot_be_is_told_at_once_and_leaves_nothing(
    world: World, lack: str
) -> None:
    _, number = await bought(world)
    sku = await an_article(world, HELD if lack == "money" else 1)
    line: dict[str, Any] = {"sku": sku}
    tenders = []
    if lack == "money":
        line["unit_price_minor"], tenders = PRICE + 1000, card(1000, "tok_declined")
    else:
        await world.place({sku: 1})
    held = await shelf(world, sku)

    asked = {
        "order": number,
        "via": "post",
        "lines": [{"line": 1, "quantity": 1, "reason": "too_small"} | line],
        "resolution": "exchange",
        "tenders": tenders,
    }
    key = f"no-{lack}"
    answers = [
        await world.call("POST", "/v1/returns", asked, who="channel", Idempotency_Key=key)
        for _ in range(2)
    ]

    code = "payment_declined" if lack == "money" else "insufficient_stock"
    assert [(a.status_code, a.json()["code"]) for a in answers] == [(422, code)] * 2
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    refused = await world.until_closed(answers[0].json()["number"])
    assert (refused["status"], refused["refusal"]["code"]) == ("cancelled", code)
    (back,) = (await world.ok("GET", f"/v1/returns?order={number}"))["data"]
    assert back["status"] == "cancelled"
    assert await shelf(world, sku) == held
    assert (await world.ask_return(number))["status"] == "approved"
    await world.audit_is_clean()


async def test_what_came_in_exchange_is_paid_back_by_each_tender_that_paid_for_it(
    world: World,
) -> None:
    _, number = await bought(world)
    line = {"sku": await an_article(world), "unit_price_minor": PRICE + 1000}
    first = await world.exchange(number, line, tenders=card(1000))
    other = first["exchange_order"]
    await world.takes_back(first["id"])
    await is_delivered(world, other)

    second = await world.ask_return(other)
    await world.takes_back(second["id"])
    closed = await world.until_return(second["id"], "closed")

    assert second["refund_minor"] == PRICE + 1000
    assert sorted(each["id"] for each in closed["refunds"]) == sorted(
        [f"{number}:refund:1", f"{other}:refund:1"]
    )
    assert await refunds_of(world, number) == [PRICE]
    assert await refunds_of(world, other) == [1000]
    await world.audit_is_clean()


async def test_a_refund_by_an_earlier_tender_that_is_declined_waits_for_a_person(
    world: World,
) -> None:
    _, number = await bought(world)
    first = await world.exchange(number)
    other = first["exchange_order"]
    await world.takes_back(first["id"])
    await is_delivered(world, other)
    fault = {"party": "payments", "operation": "refund", "mode": "decline"}
    await world.outside.ask("POST", "/faults", json=fault)

    second = await world.ask_return(other)
    await world.takes_back(second["id"])
    step = f"refund:1@{number}"
    await world.until_return_parked(second["id"], step)
    parked = await world.back(second["id"])
    await world.resolve(other, step, "retry")
    await world.until_return(second["id"], "closed")

    assert [each["status"] for each in parked["refunds"]] == ["failed"]
    assert await refunds_of(world, number) == [PRICE]
    await world.audit_is_clean()


async def test_goods_that_left_at_once_call_a_person_if_the_first_never_come(
    world: World,
) -> None:
    _, number = await bought(world)
    rule = {"name": "trusting", "exchange_ships": "at_once"}
    await world.ok("PUT", "/v1/return-policy", {"currency": "EUR", "rules": [rule]})
    back = await world.exchange(number)
    await world.ok("PUT", "/v1/return-policy", {"currency": "EUR", "rules": [{"name": "usual"}]})
    await is_delivered(world, back["exchange_order"])

    refused = await world.call("POST", f"/v1/returns/{back['id']}/cancel", {}, who="channel")
    await time_passes_to(world, back["id"], "expire_at")
    await world.until_return_parked(back["id"], "overdue:R1")
    await world.resolve(number, "overdue:R1", "done_manually")
    await world.until_return(back["id"], "closed")

    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    assert await refunds_of(world, number) == []
    assert (await world.try_return(number)).json()["code"] == "not_returnable"
    await world.audit_is_clean()


async def test_what_is_exchanged_at_a_till_leaves_at_once(world: World) -> None:
    sku, number = await bought(world)

    back = await world.exchange(number, via="store", location="store-lyon")
    await is_delivered(world, back["exchange_order"])
    await world.until_return(back["id"], "closed")

    assert await shelf(world, sku, "store-lyon") == {"on_hand": 1}
    assert await refunds_of(world, number) == []
    await world.audit_is_clean()
