"""However an order is split, charged and cancelled, its money adds up to the last minor unit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.money import share
from tests.scenarios.working import delivers, ships, until_closed
from tests.world import World

LINES = st.tuples(
    st.integers(0, 10**12), st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1)
)


@given(LINES)
def test_what_is_charged_and_given_back_is_what_units_cost(
    line: tuple[int, list[tuple[int, bool]]],
) -> None:
    total, steps = line
    units = max(1, sum(count for count, _ in steps))
    charged = refunded = taken = back = 0

    for count, comes_back in steps:
        taken += share(total, units=units, first=charged, count=count)
        charged += count
        if comes_back:
            back += share(total, units=units, first=refunded, count=count)
            refunded += count
        assert 0 <= back <= taken <= total

    rest = share(total, units=units, first=charged, count=units - charged)
    assert taken + rest == total
    if refunded == charged:
        assert back == taken


def priced(world: World, currency: str, price: int, **more: Any) -> dict[str, Any]:
    """An order of 3 lamps and 2 mugs at an odd price, with a discount that divides badly."""
    lines = [
        {"sku": "LAMP", "quantity": 3, "unit_price_minor": price, "discount_minor": 1},
        {"sku": "MUG", "quantity": 2, "unit_price_minor": price, "tax_minor": 1},
    ]
    total = 5 * price - 1 + 7
    tender = {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": total}
    order = world.an_order(1, shipping_minor=7)
    return order | {"currency": currency, "lines": lines, "tenders": [tender]} | more


@pytest.mark.parametrize(("currency", "price"), [("JPY", 333), ("KWD", 1_333), ("EUR", 1_999)])
async def test_captures_over_several_parcels_add_up_to_the_total(
    world: World, currency: str, price: int
) -> None:
    await world.sells("MUG")
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-lyon", 2)
    await world.holds("LAMP", "wh-nice", 1)
    await world.holds("MUG", "wh-nice", 2)
    await world.works_by_hand("wh-lyon", "wh-nice")
    body = priced(world, currency, price)
    placed = await world.ok("POST", "/v1/orders", body, who="channel")
    total = placed["total_minor"]
    offers = await world.until_offered(placed["number"], 2)

    done = await delivers(world, placed["number"], *(offer["id"] for offer in offers))

    entries = await world.money_of(placed["number"])
    captures = [minor for kind, minor in entries if kind == "capture"]
    assert len(captures) == 2
    assert sum(captures) == total == 5 * price + 6
    assert done["payments"]["captured_minor"] == total
    assert (done["payment_status"], done["payments"]["voided_minor"]) == ("paid", 0)
    books = await world.outside.ask("GET", "/books/payments")
    assert {entry["currency"] for entry in books["data"]} == {currency}
    await world.audit_is_clean()


async def test_what_is_cancelled_in_part_is_voided_to_the_last_cent(world: World) -> None:
    await world.sells("MUG")
    await world.holds("MUG", "wh-lyon", 2)
    await world.works_by_hand("wh-lyon")
    placed = await world.ok("POST", "/v1/orders", priced(world, "EUR", 1999), who="channel")
    number = placed["number"]
    await world.until_offered(number)
    lines = [{"line": 1, "quantity": 2}, {"line": 2, "quantity": 1}]
    await world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "x", "lines": lines})
    (offer,) = await world.until_offered(number)

    done = await delivers(world, number, offer["id"])

    lamp, mug = share(3 * 1999 - 1, units=3, first=0, count=1), 1999
    assert done["payments"]["captured_minor"] == lamp + mug + 7
    money = done["payments"]
    assert money["captured_minor"] + money["voided_minor"] == placed["total_minor"]
    await world.audit_is_clean()


async def test_an_order_that_costs_nothing_asks_no_provider(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    free = world.an_order(1) | {
        "lines": [{"sku": "LAMP", "quantity": 2, "unit_price_minor": 5, "discount_minor": 10}],
        "shipping_minor": 0,
        "tenders": [],
    }

    placed = await world.call("POST", "/v1/orders", free, who="channel")

    assert (placed.status_code, placed.json()["payment_status"]) == (201, "paid")
    number = placed.json()["number"]
    (offer,) = await world.until_offered(number)
    done = await delivers(world, number, offer["id"])
    assert (done["status"], done["payment_status"]) == ("completed", "paid")
    assert await world.money_of(number) == []
    await world.audit_is_clean()


async def test_goods_paid_at_the_till_are_not_charged_again(world: World) -> None:
    await world.works_by_hand("wh-lyon")
    till = {"kind": "terminal", "reference": "till-7", "amount_minor": 4488}
    order = await world.place(2, tenders=[till])
    assert (order["payment_status"], order["payments"]["captured_minor"]) == ("paid", 4488)
    (offer,) = await world.until_offered(order["number"])

    await delivers(world, order["number"], offer["id"])

    done = await until_closed(world, order["number"])
    assert done["payments"] == {
        "authorized_minor": 4488,
        "captured_minor": 4488,
        "refunded_minor": 0,
        "voided_minor": 0,
    }
    assert await world.money_of(order["number"]) == []
    await world.audit_is_clean()


async def test_shipping_goes_back_when_the_first_parcel_is_lost_and_the_rest_is_cancelled(
    world: World,
) -> None:
    await world.has_place("wh-nice", latitude=43.7, longitude=7.3)
    await world.holds("LAMP", "wh-lyon", 1)
    await world.holds("LAMP", "wh-nice", 1)
    await world.works_by_hand("wh-lyon", "wh-nice")
    number = (await world.place(2))["number"]
    first, second = await world.until_offered(number, 2)

    await world.scan(await ships(world, first["id"]), "lost")
    await world.until_parked(number, "parcel:S1")
    await world.resolve(number, "parcel:S1", "fail")
    await world.node(second["id"], "reject", {"reason": "closed"})
    order = await until_closed(world, number)

    assert (order["status"], order["payment_status"]) == ("cancelled", "refunded")
    captured = order["payments"]["captured_minor"]
    assert captured == order["payments"]["refunded_minor"] == 1999 + 490
    await world.audit_is_clean()


async def test_money_that_was_given_up_is_not_given_back_when_its_parcel_is_lost(
    world: World,
) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await world.place(1, token="tok_capture_fails"))["number"]
    (offer,) = await world.until_offered(number)

    tracking_number = await ships(world, offer["id"])
    await world.until_parked(number, "capture:1")
    await world.resolve(number, "capture:1", "fail")
    await world.scan(tracking_number, "lost")
    await world.until_parked(number, "parcel:S1")
    await world.resolve(number, "parcel:S1", "fail")
    order = await until_closed(world, number)

    assert (order["status"], order["payment_status"]) == ("cancelled", "voided")
    assert [kind for kind, _ in await world.money_of(number)] == ["authorize", "void"]
    await world.audit_is_clean()


@pytest.mark.parametrize(
    ("decision", "ends", "moved"), [("fail", "voided", 0), ("retry", "refunded", 1999 + 490)]
)
async def test_a_lost_parcels_money_goes_back_once_it_has_come_in_and_only_then(
    world: World, decision: str, ends: str, moved: int
) -> None:
    await world.works_by_hand("wh-lyon")
    number = (await world.place(1))["number"]
    (offer,) = await world.until_offered(number)
    await world.outside.breaks("payments", "capture", "decline", times=1)
    tracking_number = await ships(world, offer["id"])
    await world.until_parked(number, "capture:1")

    await world.scan(tracking_number, "lost")
    await world.until_parked(number, "parcel:S1")
    await world.resolve(number, "parcel:S1", "fail")
    assert [kind for kind, _ in await world.money_of(number)] == ["authorize"]
    await world.resolve(number, "capture:1", decision)
    order = await until_closed(world, number)

    assert (order["status"], order["payment_status"]) == ("cancelled", ends)
    assert order["payments"]["captured_minor"] == order["payments"]["refunded_minor"] == moved
    await world.audit_is_clean()
