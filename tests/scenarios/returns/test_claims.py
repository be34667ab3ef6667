"""Lost, damaged, wrong: paid or replaced at once, and nothing is sent back.

All share one shop; each has an article of its own, and the audit looks at everything there.
"""

from tests.scenarios.returns.sending_back import (
    HELD,
    PRICE,
    SHIPPING,
    an_article,
    bought,
    refunds_of,
    shelf,
)
from tests.scenarios.working import accepted_work, ships
from tests.world import World


async def under_way(world: World, sku: str) -> tuple[str, str]:
    """An order whose parcel travels: (its number, the tracking number)."""
    number, id = await accepted_work(world, {sku: 1})
    parcel = await ships(world, id)
    await world.scan(parcel, "in_transit")
    await world.outside.ask("POST", "/nodes/wh-lyon/behaviour", json={"manual": False})
    await world.until(number, lambda order: bool(order["payment_status"] == "paid"))
    return number, parcel


async def test_what_came_broken_is_paid_and_stays_where_it_is(world: World) -> None:
    sku, number = await bought(world, 2)

    claim = await world.claim(number, reason="damaged")
    closed = await world.until_return(claim["id"], "closed")

    assert (claim["kind"], claim["via"], claim["label_url"]) == ("claim", "none", None)
    assert (claim["id"], claim["refund_minor"]) == (f"{number}-R1", PRICE)
    assert [each["amount_minor"] for each in closed["refunds"]] == [PRICE]
    assert await refunds_of(world, number) == [PRICE]
    assert await shelf(world, sku) == {"on_hand": HELD - 2}
    assert (await world.order(number))["lines"][0]["refunded"] == 1
    await world.audit_is_clean()


async def test_a_parcel_claimed_as_lost_and_given_up_later_is_paid_once(world: World) -> None:
    number, parcel = await under_way(world, await an_article(world))

    claim = await world.claim(number)
    await world.until_return(claim["id"], "closed")
    await world.scan(parcel, "lost")
    await world.until_parked(number, "parcel:S1")
    await world.resolve(number, "parcel:S1", "fail")
    closed = await world.until_closed(number)

    assert closed["status"] == "cancelled"
    assert await refunds_of(world, number) == [PRICE + SHIPPING]
    await world.audit_is_clean()


async def test_what_was_lost_is_sent_again_at_once(world: World) -> None:
    sku = await an_article(world)
    number, parcel = await under_way(world, sku)

    claim = await world.claim(number, resolution="replace")
    await world.outside.hurries()
    other = await world.until_status(claim["exchange_order"], "completed")
    await world.outside.hurries(1)
    await world.until_return(claim["id"], "closed")
    await world.scan(parcel, "lost")
    await world.until_parked(number, "parcel:S1")
    await world.resolve(number, "parcel:S1", "fail")
    await world.until_closed(number)

    assert (other["exchange_of"], other["total_minor"]) == (claim["id"], 0)
    assert await refunds_of(world, number) == []
    assert await shelf(world, sku) == {"on_hand": HELD - 2}
    await world.audit_is_clean()


async def test_where_there_is_none_to_replace_it_the_customer_may_ask_for_money(
    world: World,
) -> None:
    number, _ = await under_way(world, await an_article(world, 1))

    refused = await world.try_claim(number, resolution="replace")
    claim = await world.claim(number)
    await world.until_return(claim["id"], "closed")

    assert (refused.status_code, refused.json()["code"]) == (422, "insufficient_stock")
    assert refused.json()["errors"][0]["pointer"] == "/lines/0"
    assert (await world.back(f"{number}-R1"))["status"] == "cancelled"
    assert claim["id"] == f"{number}-R2"
    assert await refunds_of(world, number) == [PRICE + SHIPPING]
    await world.audit_is_clean()


async def test_a_claim_that_needs_a_persons_word_waits_for_it(world: World) -> None:
    _, number = await bought(world, 2)
    rule = {"name": "careful", "approval_for": ["damaged"]}
    await world.ok("PUT", "/v1/return-policy", {"currency": "EUR", "rules": [rule]})
    granted = await world.claim(number, reason="damaged")
    turned_down = await world.claim(number, reason="damaged", resolution="replace")
    await world.ok("PUT", "/v1/return-policy", {"currency": "EUR", "rules": [{"name": "usual"}]})

    await world.ok("POST", f"/v1/returns/{granted['id']}/approve", {})
    await world.ok("POST", f"/v1/returns/{turned_down['id']}/decline", {"reason": "no photo"})
    await world.until_return(granted["id"], "closed")
    cancelled = await world.until_status(turned_down["exchange_order"], "cancelled")

    assert (granted["status"], turned_down["status"]) == ("requested", "requested")
    assert cancelled["fulfillment_orders"] == []
    assert await refunds_of(world, number) == [PRICE]
    await world.audit_is_clean()


async def test_what_cannot_be_claimed_is_told_line_by_line_and_nothing_moves(
    world: World,
) -> None:
    _, number = await bought(world)

    wrong = await world.try_claim(number, {1: 2, 7: 1})
    no_reason = await world.try_claim(number, reason="too_small")
    a_node = await world.try_claim(number, who="node")
    unknown = await world.try_claim("2222-2222-2")

    assert (wrong.status_code, wrong.json()["code"]) == (422, "not_returnable")
    assert [(each["pointer"], each["code"]) for each in wrong.json()["errors"]] == [
        ("/lines/0", "more_than_sent"),
        ("/lines/1", "line_unknown"),
    ]
    assert (no_reason.status_code, no_reason.json()["code"]) == (422, "validation_failed")
    assert (a_node.status_code, unknown.status_code) == (403, 404)
    assert (await world.ok("GET", f"/v1/returns?order={number}"))["data"] == []
    assert await refunds_of(world, number) == []
