"""Exchanges in the books: the goods are held from the start, and value is carried, not refunded."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from adapters.db import exchanges
from adapters.db.audit import read_snapshot
from adapters.db.cancelling import cancel_order
from adapters.db.return_asking import NotReturnable
from adapters.db.returns import cancel_return, change_return
from oms.book import ReleaseHold
from oms.cancelling import Refusal
from oms.orders import FulfillmentStatus, OrderStatus, PaymentStatus
from oms.placing import Unacceptable
from oms.ports import Approved, Declined
from oms.return_agenda import return_agenda
from oms.returns import ReturnStatus
from tests.adapters.db.exchanging import CARD, Exchanging
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Exchanging:
    await stockroom.holds("LAMP", "lyon", 10)
    await stockroom.holds("MUG", "lyon", 2)
    return Exchanging(stockroom)


async def steps_for_people(shop: Exchanging, id: str) -> list[str]:
    order = await shop.read(id.rpartition("-")[0])
    agenda = return_agenda(order, id, shop.now, silent=shop.book.policy.silent)
    return [each.step for each in agenda.due if each.do == "attend"]


async def test_the_goods_in_exchange_are_held_from_the_start_and_leave_when_the_others_are_back(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 2))
    back, other = await shop.swaps(first, {"sku": "MUG"})

    held = await shop.read(other)
    assert (held.exchange_of, held.reference, held.total_minor) == (back, back, 0)
    assert held.fulfillment_status is FulfillmentStatus.ON_HOLD
    assert held.payment_status is PaymentStatus.PAID
    assert await shop.stockroom.level("MUG", "lyon") == {"on_hand": 2, "allocated": 1}
    assert await shop.sends(other) == []

    await shop.comes_back(back)
    assert (await shop.back(back)).status is ReturnStatus.CLOSED
    assert await shop.money(first) == (2490, 0)
    await shop.arrives(other)
    assert (await shop.read(other)).status is OrderStatus.COMPLETED
    assert await shop.stockroom.level("MUG", "lyon") == {"on_hand": 1}
    assert await shop.is_sound()


async def test_a_dearer_article_is_paid_by_just_the_difference(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 1))
    wanted = {"sku": "MUG", "unit_price_minor": 1500}

    unpaid = await shop.tries(first, wanted)
    wrong = await shop.tries(first, wanted, tenders=[CARD | {"amount_minor": 1500}])
    assert isinstance(unpaid, Unacceptable)
    assert isinstance(wrong, Unacceptable)
    assert {unpaid.code, wrong.code} == {"tenders_do_not_match_total"}
    assert unpaid.errors[0].pointer == "/tenders"
    assert not (await shop.read(first)).returns

    back, other = await shop.swaps(first, wanted, tenders=[CARD | {"amount_minor": 500}])
    await shop.comes_back(back)
    await shop.arrives(other)
    assert await shop.money(first) == (1490, 0)
    assert await shop.money(other) == (500, 0)
    assert await shop.is_sound()


async def test_a_cheaper_article_gives_the_difference_back(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 2))
    back, other = await shop.swaps(first, {"sku": "MUG", "unit_price_minor": 700, "quantity": 2})

    await shop.comes_back(back, 2)
    await shop.arrives(other)

    assert await shop.money(first) == (2490, 600)
    assert (await shop.read(other)).total_minor == 0
    assert await shop.is_sound()


async def test_what_came_in_exchange_and_is_sent_back_is_paid_by_the_tenders_that_paid_for_it(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 1))
    tenders = [CARD | {"amount_minor": 500}]
    back, other = await shop.swaps(first, {"sku": "MUG", "unit_price_minor": 1500}, tenders=tenders)
    await shop.comes_back(back)
    await shop.arrives(other)

    second = await shop.asks(other, (1, 1))
    await shop.comes_back(second)

    assert (await shop.back(second)).status is ReturnStatus.CLOSED
    assert await shop.money(other) == (500, 500)
    assert await shop.money(first) == (1490, 1000)
    (entry,) = [e for e in (await shop.read(first)).entries if e.kind == "refund"]
    assert (entry.key, entry.cause, entry.status) == (f"{first}:refund:1", second, "succeeded")
    assert await shop.is_sound()


async def test_an_exchange_of_an_exchange_carries_what_each_tender_paid(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 1))
    tenders = [CARD | {"amount_minor": 500}]
    back, second = await shop.swaps(
        first, {"sku": "MUG", "unit_price_minor": 1500}, tenders=tenders
    )
    await shop.comes_back(back)
    await shop.arrives(second)
    back, third = await shop.swaps(second, {"sku": "LAMP", "unit_price_minor": 1200})
    await shop.comes_back(back)
    await shop.arrives(third)
    assert await shop.money(second) == (500, 300)

    back = await shop.asks(third, (1, 1))
    await shop.comes_back(back)

    assert await shop.money(second) == (500, 500)
    assert await shop.money(first) == (1490, 1000)
    assert await shop.is_sound()


async def test_only_as_many_leave_as_came_back_and_were_accepted(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 3))
    back, other = await shop.swaps(first, {"quantity": 3})

    await shop.receives(back, (1, 1, "as_new"), (1, 1, "damaged"), (1, 1, "missing"))
    await shop.inspects(back, (1, 1, True, None, "as_new"), (1, 1, False, None, "damaged"))
    await shop.settles(back)
    await shop.arrives(other)

    (line,) = (await shop.read(other)).lines
    assert (line.delivered, line.cancelled) == (1, 2)
    assert await shop.money(first) == (3490, 0)
    assert await steps_for_people(shop, back) == []
    assert await shop.is_sound()


async def test_nothing_leaves_where_nothing_was_accepted(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first)

    await shop.comes_back(back, accepted=False)
    await shop.runs(other)

    assert (await shop.read(other)).status is OrderStatus.CANCELLED
    assert (await shop.back(back)).exchange_told == "called_off"
    assert await shop.money(first) == (1490, 0)
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 9}


async def test_more_than_was_announced_is_paid(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 3))
    back, other = await shop.swaps(first)

    await shop.receives(back, (1, 2, "as_new"))
    await shop.inspects(back, (1, 2, True))
    await shop.settles(back)
    await shop.arrives(other)

    assert await shop.money(first) == (3490, 1000)
    assert await shop.is_sound()


async def test_a_return_that_is_called_off_frees_the_goods_in_exchange(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first, {"sku": "MUG"})

    await shop.book.change(
        first,
        shop.now,
        lambda unit: change_return(unit, back, cancel_return, cause="test"),
    )
    await shop.settles(back)
    await shop.runs(other)

    assert (await shop.read(other)).status is OrderStatus.CANCELLED
    assert await shop.stockroom.level("MUG", "lyon") == {"on_hand": 2}
    assert (await shop.read(first)).returnable(1) == 1
    assert await shop.is_sound()


async def test_a_return_that_expires_frees_the_goods_in_exchange(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first, {"sku": "MUG"})

    shop.now += timedelta(days=29)
    await shop.settles(back)
    await shop.runs(other)

    assert (await shop.back(back)).status is ReturnStatus.EXPIRED
    assert await shop.stockroom.level("MUG", "lyon") == {"on_hand": 2}


async def test_where_there_is_none_to_exchange_for_what_comes_back_is_paid(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 3))
    back, other = await shop.swaps(first, {"sku": "MUG", "quantity": 3})
    assert (await shop.read(other)).refusal_code == "insufficient_stock"

    await shop.comes_back(back, 3)

    assert await shop.money(first) == (3490, 3000)
    assert (await shop.back(back)).status is ReturnStatus.CLOSED
    assert await shop.is_sound()


async def test_goods_in_exchange_that_the_customer_cancels_are_paid(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 2))
    back, other = await shop.swaps(first, {"quantity": 2})

    await shop.book.change(
        other, shop.now, lambda unit: cancel_order(unit, {1: 1}, "changed", shop.book.policy)
    )
    await shop.comes_back(back, 2)
    await shop.arrives(other)
    await shop.settles(back)

    assert await shop.money(first) == (2490, 1000)
    assert (await shop.read(other)).lines[0].delivered == 1
    assert await shop.is_sound()


async def test_goods_in_exchange_that_are_lost_are_paid_though_the_return_was_closed(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 1))
    tenders = [CARD | {"amount_minor": 500}]
    back, other = await shop.swaps(first, {"sku": "MUG", "unit_price_minor": 1500}, tenders=tenders)
    await shop.comes_back(back)
    (parcel,) = await shop.sends(other)
    assert (await shop.back(back)).status is ReturnStatus.CLOSED

    await shop.gives_up(parcel)
    reopened = await shop.back(back)
    assert (reopened.closed_at, reopened.started_at) == (None, None)
    await shop.settles(back)

    assert await shop.money(other) == (500, 500)
    assert await shop.money(first) == (1490, 1000)
    assert (await shop.back(back)).status is ReturnStatus.CLOSED
    assert await shop.is_sound()


async def test_goods_that_left_at_once_and_were_never_sent_back_call_a_person(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first, ships="at_once")
    await shop.settles(back)
    await shop.arrives(other)
    assert (await shop.read(other)).status is OrderStatus.COMPLETED

    refused = await shop.book.change(
        first,
        shop.now,
        lambda unit: change_return(unit, back, cancel_return, cause="test"),
    )
    assert isinstance(refused, Refusal)
    shop.now += timedelta(days=29)
    await shop.settles(back)

    assert (await shop.back(back)).status is ReturnStatus.APPROVED
    assert await steps_for_people(shop, back) == ["overdue:R1"]
    assert (await shop.read(first)).returnable(1) == 0
    again = await shop.tries(first)
    assert isinstance(again, NotReturnable)


async def test_what_left_before_it_was_refused_calls_a_person(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first, ships="receipt")
    await shop.receives(back, (1, 1, "as_new"))
    await shop.settles(back)
    await shop.arrives(other)

    await shop.inspects(back, (1, 1, False))
    await shop.settles(back)

    assert await steps_for_people(shop, back) == ["overdue:R1"]
    assert await shop.money(first) == (1490, 0)


@pytest.mark.parametrize("ships", ["inspection", "at_once"])
async def test_goods_whose_parcel_is_given_up_are_paid_or_exchanged_and_not_both(
    shop: Exchanging, ships: str
) -> None:
    first = await shop.hands_over(("LAMP", 2))
    back, other = await shop.swaps(first, {"quantity": 2}, ships=ships)
    await shop.settles(back)
    (shipment,) = (await shop.read(first)).shipments

    await shop.gives_up(shipment.id)
    await shop.comes_back(back, 2)
    await shop.arrives(other)
    await shop.runs(first)

    exchanged = ships == "at_once"
    assert (await shop.read(other)).lines[0].delivered == (2 if exchanged else 0)
    assert (await shop.read(first)).lines[0].refunded == (0 if exchanged else 2)
    assert await shop.is_sound()


async def test_what_is_exchanged_at_a_till_comes_in_when_the_other_is_there(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first, {"sku": "MUG"}, via="store", location="lyon")

    await shop.settles(back)
    await shop.arrives(other)

    assert (await shop.back(back)).status is ReturnStatus.CLOSED
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 10}
    assert await shop.stockroom.level("MUG", "lyon") == {"on_hand": 1}
    assert await shop.is_sound()


async def test_a_return_whose_exchange_is_about_to_leave_is_not_called_off(
    shop: Exchanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first, ships="at_once")
    with monkeypatch.context() as broken:
        broken.setattr(exchanges, "release_hold", None)
        with pytest.raises(TypeError):
            await shop.settles(back)

    refused = await shop.book.change(
        first,
        shop.now,
        lambda unit: change_return(unit, back, cancel_return, cause="test"),
    )
    await shop.settles(back)
    await shop.arrives(other)

    assert isinstance(refused, Refusal)
    assert (await shop.read(other)).status is OrderStatus.COMPLETED
    assert await shop.is_sound()


async def test_nobody_but_the_return_lets_its_exchange_go(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 1))
    _, other = await shop.swaps(first)
    (hold,) = (await shop.read(other)).open_holds

    told = await shop.book.command(
        other, "release", ReleaseHold(hold=hold.id), shop.now, actor="ops"
    )

    assert told.refusal is not None
    assert told.refusal.code == "invalid_state"
    assert (await shop.read(other)).open_holds


@pytest.mark.parametrize("step", ["let_go", "call_off"])
async def test_a_word_to_the_exchange_that_was_cut_off_is_said_again(
    shop: Exchanging, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await shop.delivers(("LAMP", 2))
    back, other = await shop.swaps(first, {"sku": "MUG", "quantity": 2})
    accepted = step == "let_go"
    await shop.receives(back, (1, 2, "as_new"))
    await shop.inspects(back, (1, 1, accepted), (1, 1, False))
    with monkeypatch.context() as broken:
        broken.setattr(exchanges, "_tell", None)
        with pytest.raises(TypeError):
            await shop.settles(back)
    assert (await shop.back(back)).exchange_told == ("leaving" if accepted else "held")

    await shop.runs(other)
    await shop.settles(back)
    await shop.arrives(other)

    (line,) = (await shop.read(other)).lines
    assert (line.delivered, line.cancelled) == ((1, 1) if accepted else (0, 2))
    assert await shop.money(first) == (2490, 0)
    assert await shop.is_sound()


async def test_a_refund_from_an_earlier_order_that_fails_late_opens_the_return_again(
    shop: Exchanging,
) -> None:
    first = await shop.delivers(("LAMP", 1))
    back, other = await shop.swaps(first)
    await shop.comes_back(back)
    await shop.arrives(other)
    second = await shop.asks(other, (1, 1))
    await shop.comes_back(second)
    assert (await shop.back(second)).status is ReturnStatus.CLOSED

    key = f"{first}:refund:1"
    await shop.pays(key, Declined(reason="account closed"))

    reopened = await shop.back(second)
    assert (reopened.closed_at, reopened.started_at) == (None, None)
    assert (await shop.read(first)).closed_at is not None
    order = await shop.read(other)
    (due,) = return_agenda(order, second, shop.now, silent=shop.book.policy.silent).due
    assert (due.about, due.step) == (key, f"refund:1@{first}")
    await shop.book.settle_payment(
        key, Approved(provider_reference="by hand"), shop.now, settled_by="operator"
    )


TAMPERING = (
    "UPDATE orders SET exchange_of = NULL WHERE exchange_of IS NOT NULL",
    "UPDATE returns SET exchange_order = NULL",
    "UPDATE return_lines SET carried_minor = carried_minor - 10",
    "UPDATE order_lines SET carried = '{}'",
    "UPDATE return_lines SET refunded = settled",
    "UPDATE payment_entries SET amount_minor = 900 WHERE kind = 'refund'",
)


async def test_the_audit_finds_an_exchange_that_makes_or_loses_money(shop: Exchanging) -> None:
    first = await shop.delivers(("LAMP", 2))
    back, other = await shop.swaps(first, {"sku": "MUG", "quantity": 2, "unit_price_minor": 700})
    await shop.comes_back(back, 2)
    await shop.arrives(other)
    assert await shop.is_sound()

    for tampering in TAMPERING:
        async with shop.stockroom.db.connect() as tx:
            await tx.execute(text(tampering))
            found = (await read_snapshot(tx, shop.now)).findings
        assert {each.invariant for each in found if not each.pending} == {3}, tampering
