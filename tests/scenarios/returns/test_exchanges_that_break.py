"""Each step of exchanges, claims and turned parcels fails before and after: sent once, paid once.

Many run side by side, each with a fault of its own. What is looked at is the world: the provider's
and the carrier's books, the shelf, and the audit.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from temporalio.client import Client

from tests.breaking import Break
from tests.returning import Back
from tests.scenarios.returns.sending_back import (
    HELD,
    PRICE,
    SHIPPING,
    a_shop_for_returns,
    all_have_struck,
    an_article,
    each_has_one,
    labelled,
    refunds_of,
    shelf,
    time_passes_to,
)
from tests.scenarios.working import accepted_work, ships
from tests.world import World

CHEAPER = 500


def before_and_after(*steps: str) -> list[Break]:
    """Each of these steps broken both ways. `settle_payment` is of a refund."""
    return [
        Break(step, when, about=":refund:" if step == "settle_payment" else "")
        for step in steps
        for when in ("before", "after")
    ]


IN_ITS_RETURN = before_and_after("let_exchange_go", "give_back", "settle_payment")
IN_ITS_ORDER = before_and_after("reserve_stock", "route_order", "close_order")
NEVER_SENT = before_and_after("look_for_return_parcel", "cancel_exchange")
REPLACED = before_and_after("let_exchange_go")
PAID = before_and_after("give_back", "settle_payment")
TURNED_ROUND = before_and_after("settle_payment", "put_away")
HELD_EARLIER = before_and_after("settle_payment")


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop of its own: faults are planned for the orders of one test."""
    async with a_shop_for_returns(database_url, temporal, units=1) as world:
        yield world


def breaks_on(world: World, numbers: Sequence[str], breaks: Sequence[Break]) -> None:
    for number, what in zip(numbers, breaks, strict=True):
        world.breaks_order(number, what)


async def all_are_over(world: World, backs: Sequence[Back], status: str = "closed") -> None:
    """Wait until the returns have ended so, and the orders in exchange were delivered."""
    for back in backs:
        await world.until_return(back["id"], status)
        if back["exchange_order"] and status == "closed":
            await world.until_status(back["exchange_order"], "completed")


async def parcels_of(world: World, number: str) -> int:
    """How many labels the carrier sold for an order."""
    books = await world.outside.books("carriers")
    return len([key for kind, key in books if kind == "label" and key.startswith(number)])


async def test_whichever_step_breaks_an_exchange_is_sent_once_and_its_difference_paid_once(
    world: World,
) -> None:
    sku, numbers = await each_has_one(world, len(IN_ITS_RETURN))
    other = await an_article(world)
    breaks_on(world, numbers, IN_ITS_RETURN)
    world.breaks_each_order(*IN_ITS_ORDER)

    line = {"sku": other, "unit_price_minor": PRICE - CHEAPER}
    backs = await asyncio.gather(*(world.exchange(number, line) for number in numbers))
    for back in backs:
        await world.takes_back(back["id"])
    await all_are_over(world, backs)

    exchanged = [back["exchange_order"] for back in backs]
    await all_have_struck(world, [*numbers, *exchanged])
    for number, new in zip(numbers, exchanged, strict=True):
        assert await refunds_of(world, number) == [CHEAPER]
        assert await world.money_of(new) == []
        assert await parcels_of(world, new) == 1
    assert await shelf(world, sku) == {"on_hand": HELD + len(numbers)}
    assert await shelf(world, other) == {"on_hand": HELD - len(numbers)}
    await world.audit_is_clean()


async def test_an_exchange_that_nobody_sends_frees_its_goods_once_however_that_breaks(
    world: World,
) -> None:
    sku, numbers = await each_has_one(world, len(NEVER_SENT))
    await world.outside.hurries(1)
    breaks_on(world, numbers, NEVER_SENT)

    backs = await asyncio.gather(*(world.exchange(number) for number in numbers))
    for back in backs:
        await labelled(world, back["id"])
        await time_passes_to(world, back["id"], "remind_at")
    for back in backs:
        await world.wait(partial(was_reminded, world, back["id"]))
        await time_passes_to(world, back["id"], "expire_at")
    await all_are_over(world, backs, "expired")
    for back in backs:
        await world.until_status(back["exchange_order"], "cancelled")

    await all_have_struck(world, numbers)
    for number, back in zip(numbers, backs, strict=True):
        assert await refunds_of(world, number) == []
        assert await parcels_of(world, back["exchange_order"]) == 0
    assert await shelf(world, sku) == {"on_hand": HELD}
    await world.audit_is_clean()


async def was_reminded(world: World, id: str) -> bool:
    return "return.reminded" in await world.story_of(id)


async def test_whichever_step_breaks_a_claim_is_paid_or_replaced_once(world: World) -> None:
    sku, numbers = await each_has_one(world, len(REPLACED) + len(PAID))
    breaks_on(world, numbers, [*REPLACED, *PAID])

    ways = ["replace"] * len(REPLACED) + ["refund"] * len(PAID)
    claims = await asyncio.gather(
        *(
            world.claim(number, reason="damaged", resolution=way)
            for number, way in zip(numbers, ways, strict=True)
        )
    )
    await all_are_over(world, claims)

    await all_have_struck(world, numbers)
    for number, claim, way in zip(numbers, claims, ways, strict=True):
        if way == "replace":
            assert await refunds_of(world, number) == []
            assert await parcels_of(world, claim["exchange_order"]) == 1
        else:
            assert sum(await refunds_of(world, number)) == claim["refund_minor"]
            assert len(await refunds_of(world, number)) == 1
    assert await shelf(world, sku) == {"on_hand": HELD - len(REPLACED)}
    await world.audit_is_clean()


async def test_whichever_step_breaks_a_parcel_that_turned_round_is_paid_and_shelved_once(
    world: World,
) -> None:
    sku = await an_article(world)
    numbers = []
    for _ in TURNED_ROUND:
        number, id = await accepted_work(world, {sku: 1})
        parcel = await ships(world, id)
        await world.until(number, lambda order: bool(order["payment_status"] == "paid"))
        await world.scan(parcel, "returned_to_sender")
        numbers.append(number)
    breaks_on(world, numbers, TURNED_ROUND)

    for number in numbers:
        id = f"{number}-R1"
        await world.wait(partial(is_expected, world, id))
        await world.receive(id)
    for number in numbers:
        await world.until_return(f"{number}-R1", "closed")
        await world.until_closed(number)

    await all_have_struck(world, numbers)
    for number in numbers:
        assert await refunds_of(world, number) == [PRICE + SHIPPING]
    assert await shelf(world, sku) == {"on_hand": HELD}
    await world.audit_is_clean()


async def is_expected(world: World, id: str) -> bool:
    return bool((await world.call("GET", f"/v1/returns/{id}")).is_success)


async def test_money_that_an_earlier_order_holds_is_given_back_once_however_that_breaks(
    world: World,
) -> None:
    _, numbers = await each_has_one(world, len(HELD_EARLIER))
    firsts = await asyncio.gather(*(world.exchange(number) for number in numbers))
    for first in firsts:
        await world.takes_back(first["id"])
    await all_are_over(world, firsts)
    breaks_on(world, numbers, HELD_EARLIER)

    seconds = [await world.ask_return(first["exchange_order"]) for first in firsts]
    for second in seconds:
        await world.takes_back(second["id"])
    for second in seconds:
        await world.until_return(second["id"], "closed")

    await all_have_struck(world, numbers)
    for number, first in zip(numbers, firsts, strict=True):
        assert await refunds_of(world, number) == [PRICE]
        assert await world.money_of(first["exchange_order"]) == []
    await world.audit_is_clean()
