"""Returns whose order changes meanwhile: nothing is paid twice, forgotten, or waits for nobody."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from adapters.db.parking import decide_payment
from adapters.db.return_decisions import decide_return
from adapters.db.return_lists import return_timeline
from adapters.db.returns import Announced, NewReturn, request_return
from oms.agenda import ATTEND
from oms.decisions import Decision
from oms.ports import Declined, Scan
from oms.return_agenda import return_agenda
from oms.returns import ReturnStatus, Terms
from tests.adapters.db.exchanging import Exchanging
from tests.adapters.db.stockroom import Stockroom

WHOLE = Terms(shipping_minor=490, shipping_whole=True)


@pytest.fixture
async def shop(stockroom: Stockroom) -> Exchanging:
    await stockroom.holds("LAMP", "lyon", 5)
    await stockroom.holds("SOFA", "lyon", 1)
    await stockroom.holds("SOFA", "nice", 1)
    return Exchanging(stockroom)


async def nudged(shop: Exchanging) -> list[str]:
    async with shop.stockroom.db.begin() as tx:
        rows = await tx.execute(text("DELETE FROM nudges RETURNING workflow_id"))
        return sorted(rows.scalars())


async def tasks(shop: Exchanging, id: str) -> list[str]:
    order = await shop.read(id.rpartition("-")[0])
    due = return_agenda(order, id, shop.now, silent=timedelta(days=2)).due
    return [each.step for each in due if each.do == ATTEND]


async def test_a_refund_that_waits_for_a_capture_goes_on_once_the_capture_is_there(
    shop: Exchanging,
) -> None:
    number = await shop.places(("LAMP", 1))
    await shop.runs(number)
    for each in (await shop.read(number)).fulfillment_orders:
        await shop.serves(number, each.id)
    id = await shop.asks(number, (1, 1))
    await shop.comes_back(id)
    capture = next(e for e in (await shop.read(number)).entries if e.kind == "capture")
    assert capture.is_open
    await nudged(shop)

    await shop.pays(capture.key)

    assert f"return/{id}" in await nudged(shop)
    await shop.settles(id)
    assert await shop.money(number) == (1490, 1000)


async def test_a_claim_whose_parcel_is_given_up_before_it_is_paid_is_paid_once(
    shop: Exchanging,
) -> None:
    number = await shop.hands_over(("LAMP", 1))
    (shipment,) = (await shop.read(number)).shipments
    id = await shop.claims(number)
    assert isinstance(id, str)

    await shop.gives_up(shipment.id)
    await shop.settles(id)

    assert await shop.money(number) == (1490, 1490)
    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await shop.is_sound()


async def test_a_replaced_parcel_that_is_given_up_gives_no_shipping_back(shop: Exchanging) -> None:
    number = await shop.hands_over(("LAMP", 1))
    (shipment,) = (await shop.read(number)).shipments
    id = await shop.claims(number, resolution="replace")
    assert isinstance(id, str)

    await shop.gives_up(shipment.id)

    assert await shop.money(number) == (1490, 0)


@pytest.mark.parametrize("back_first", [True, False])
async def test_the_shipping_goes_back_when_all_is_returned_or_lost(
    shop: Exchanging, back_first: bool
) -> None:
    number = await shop.places(("SOFA", 2))
    first, second = await shop.sends(number)
    await shop.scanned(first, "delivered")
    await shop.runs(number)
    id = await shop.asks(number, (1, 1), terms=WHOLE)
    if back_first:
        await shop.comes_back(id)

    await shop.gives_up(second)
    if not back_first:
        await shop.comes_back(id)
    await shop.runs(number)

    assert await shop.money(number) == (2490, 2490)
    assert (await shop.read(number)).closed_at is not None
    assert await shop.is_sound()


async def test_goods_paid_on_trust_and_given_up_are_taken_in_when_they_come(
    shop: Exchanging,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1), terms=Terms(refund_at="scan"))
    (parcel,) = (await shop.back(id)).parcels
    scan = Scan(event_id="moves", status="in_transit", at=shop.now)
    await shop.returns.scanned(parcel.id, [scan], shop.now)
    await shop.settles(id)
    lost = Decision(step="overdue:R1", action="done_manually", actor="ann", reason="gone")
    await shop.book.change(number, shop.now, lambda unit: decide_return(unit, id, lost))
    await shop.settles(id)
    assert (await shop.back(id)).status is ReturnStatus.CLOSED

    await shop.comes_back(id)

    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert (await shop.back(id)).lines[0].received == 1
    assert await shop.money(number) == (1490, 1000)
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 5}


async def test_each_parcel_has_its_own_time_to_be_inspected(shop: Exchanging) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))
    await shop.receives(id, (1, 1, "as_new"), key="first")
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)
    shop.now += timedelta(days=10)

    await shop.receives(id, (1, 1, "as_new"), key="second")

    assert await tasks(shop, id) == []
    shop.now += timedelta(days=3)
    assert await tasks(shop, id) == ["inspect:R1"]


async def test_refused_goods_that_nobody_sends_back_call_a_person(shop: Exchanging) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    await shop.receives(id, (1, 1, "opened"))
    await shop.inspects(id, (1, 1, False))
    await shop.settles(id)
    assert await tasks(shop, id) == []

    order = await shop.read(number)
    wake_at = return_agenda(order, id, shop.now, silent=timedelta(days=2)).wake_at
    assert wake_at is not None
    shop.now = wake_at

    assert await tasks(shop, id) == ["hand_back:R1"]


async def test_goods_whose_money_never_came_in_give_none_back(shop: Exchanging) -> None:
    number = await shop.places(("LAMP", 1))
    await shop.runs(number)
    for each in (await shop.read(number)).fulfillment_orders:
        await shop.serves(number, each.id)
    capture = next(e for e in (await shop.read(number)).entries if e.kind == "capture")
    await shop.pays(capture.key, Declined(reason="expired"))
    waived = Decision(step=capture.step, action="fail", actor="ann", reason="we let it go")
    await shop.book.change(
        number,
        shop.now,
        lambda unit: decide_payment(unit, unit.order.entry(capture.key), waived),
    )

    id = await shop.asks(number, (1, 1))
    await shop.comes_back(id)

    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await shop.money(number) == (0, 0)
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 5}
    assert await shop.is_sound()


@pytest.mark.parametrize("arrived", [True, False])
async def test_what_is_claimed_as_damaged_and_then_given_up_is_paid_once(
    shop: Exchanging, arrived: bool
) -> None:
    number = await shop.places(("SOFA", 2))
    first, second = await shop.sends(number)
    if arrived:  # then it was that one, and the other is lost besides
        await shop.scanned(second, "delivered")
    id = await shop.claimed(number, reason="damaged")

    await shop.gives_up(first)
    if not arrived:
        await shop.scanned(second, "delivered")
    await shop.runs(number)

    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    goods = 2000 if arrived else 1000
    assert (await shop.money(number))[1] in (goods, goods + 490)
    assert await shop.is_sound()


@pytest.mark.parametrize("reason", ["lost", "damaged"])
async def test_a_claim_whose_parcel_was_given_up_and_paid_can_only_be_declined(
    shop: Exchanging, reason: str
) -> None:
    number = await shop.hands_over(("LAMP", 1))
    (shipment,) = (await shop.read(number)).shipments
    claim = NewReturn(
        lines=(Announced(1, 1, reason),),
        terms=Terms(),
        refund_minor=1000,
        via="none",
        kind="claim",
        needs_approval="it is dear",
    )
    id = await shop.book.change(number, shop.now, lambda unit: request_return(unit, claim))
    shop.now += timedelta(hours=1)
    await shop.gives_up(shipment.id)

    (due,) = return_agenda(await shop.read(number), id, shop.now, silent=timedelta(days=2)).due
    assert (due.step, due.actions) == ("approve:R1", ("fail",))
    yes = Decision(step="approve:R1", action="done_manually", actor="ann", reason="why not")
    await shop.book.change(number, shop.now, lambda unit: decide_return(unit, id, yes))
    await shop.settles(id)

    assert (await shop.back(id)).status is ReturnStatus.REQUESTED
    assert await shop.money(number) == (1490, 1490)
    no = Decision(step="approve:R1", action="fail", actor="ann", reason="it is paid")
    await shop.book.change(number, shop.now, lambda unit: decide_return(unit, id, no))
    await shop.settles(id)
    assert (await shop.back(id)).closed_at is not None
    assert await shop.money(number) == (1490, 1490)
    assert await shop.is_sound()


async def test_what_a_person_decided_about_its_parcel_stands_on_the_returns_timeline(
    shop: Exchanging,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    own = Decision(step="label:R1-P1", action="fail", actor="ann", reason="they send it themselves")

    await shop.book.change(number, shop.now, lambda unit: decide_return(unit, id, own))

    async with shop.stockroom.db.connect() as tx:
        told = await return_timeline(tx, number, id, after=0, limit=100)
    assert "attention.resolved" in [each["kind"] for each in told]


@pytest.mark.parametrize("lost", [True, False])
async def test_money_that_was_given_up_and_came_in_after_all_is_given_back(
    shop: Exchanging, lost: bool
) -> None:
    number = await shop.places(("LAMP", 1))
    await shop.runs(number)
    for each in (await shop.read(number)).fulfillment_orders:
        await shop.serves(number, each.id)
    capture = next(e for e in (await shop.read(number)).entries if e.kind == "capture")
    await shop.book.begin_payment(capture.key, shop.now)
    await shop.book.doubt_payment(capture.key, "timeout", shop.now)
    waived = Decision(step=capture.step, action="fail", actor="ann", reason="we let it go")
    await shop.book.change(
        number,
        shop.now,
        lambda unit: decide_payment(unit, unit.order.entry(capture.key), waived),
    )
    await shop.pays(capture.key)
    assert await shop.money(number) == (1490, 0)

    if lost:
        await shop.gives_up(f"{number}-S1")
    else:
        await shop.comes_back(await shop.asks(number, (1, 1)))

    assert await shop.money(number) == (1490, 1490 if lost else 1000)
    assert await shop.is_sound()
