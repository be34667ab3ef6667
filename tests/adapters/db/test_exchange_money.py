"""Money that an earlier order holds: it goes back by the tender that paid there, once it is in."""

import pytest
from sqlalchemy import text

from adapters.db.parking import decide_payment
from oms.decisions import Decision
from oms.payments import PaymentEntry
from oms.ports import Declined
from oms.return_explain import explain_return
from oms.returns import ReturnStatus
from tests.adapters.db.exchanging import Exchanging
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Exchanging:
    await stockroom.holds("LAMP", "lyon", 10)
    await stockroom.holds("MUG", "lyon", 10)
    return Exchanging(stockroom)


async def exchanged(shop: Exchanging) -> tuple[str, PaymentEntry, str]:
    """An order whose capture has no outcome yet, and the one that came in exchange for its lamp."""
    first = await shop.places(("LAMP", 1))
    await shop.runs(first)
    for each in (await shop.read(first)).fulfillment_orders:
        await shop.serves(first, each.id)
    back, other = await shop.swaps(first)
    await shop.comes_back(back)
    await shop.arrives(other)
    capture = next(e for e in (await shop.read(first)).entries if e.kind == "capture")
    assert capture.is_open
    return first, capture, other


async def sent_back(shop: Exchanging, number: str) -> str:
    """What came in exchange is sent back too."""
    id = await shop.asks(number, (1, 1))
    await shop.comes_back(id)
    return id


async def gives_up(shop: Exchanging, number: str, capture: PaymentEntry) -> None:
    """The provider declines a capture, and a person gives it up."""
    await shop.pays(capture.key, Declined(reason="lapsed"))
    decision = Decision(step="capture:1", action="fail", actor="ops", reason="lapsed")
    await shop.book.change(
        number,
        shop.now,
        lambda unit: decide_payment(unit, unit.order.entry(capture.key), decision),
    )


async def nudged(shop: Exchanging) -> set[str]:
    async with shop.stockroom.db.begin() as tx:
        return set((await tx.execute(text("DELETE FROM nudges RETURNING workflow_id"))).scalars())


async def test_what_an_earlier_order_holds_goes_back_once_it_has_come_in_there(
    shop: Exchanging,
) -> None:
    first, capture, other = await exchanged(shop)
    id = await sent_back(shop, other)

    assert await shop.money(first) == (0, 0)
    order = await shop.read(other)
    (wait,) = explain_return(order, order.return_(id))
    assert wait.waiting_for == f"the captures of {first} to be settled"
    await nudged(shop)
    await shop.pays(capture.key)
    assert f"return/{id}" in await nudged(shop)
    await shop.settles(id)

    assert await shop.money(first) == (1490, 1000)
    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await shop.is_sound()


async def test_what_was_asked_of_an_earlier_order_and_never_came_in_is_not_given_back(
    shop: Exchanging,
) -> None:
    first, capture, other = await exchanged(shop)
    id = await sent_back(shop, other)

    await gives_up(shop, first, capture)
    await shop.settles(id)

    assert await shop.money(first) == (0, 0)
    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await shop.is_sound()


async def test_what_never_came_in_at_an_earlier_order_is_not_asked_of_it(shop: Exchanging) -> None:
    first, capture, other = await exchanged(shop)
    await gives_up(shop, first, capture)

    id = await sent_back(shop, other)

    assert [each.kind for each in (await shop.read(first)).entries if not each.given_up] == [
        "authorization"
    ]
    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await shop.is_sound()
