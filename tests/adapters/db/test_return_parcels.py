"""What carriers say of parcels on their way back, in any order, and of those that turned round."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from adapters.db import recovery
from adapters.db.audit import CHECKS
from adapters.db.found_goods import Goods, take_in
from adapters.db.unit import OrderUnit
from oms.agenda import fulfillment_agenda
from oms.book import DecideFulfillment, DecideReturn
from oms.cancelling import Refusal
from oms.decisions import Decision
from oms.explain import explain
from oms.found import Found
from oms.numbers import order_of
from oms.ports import LabelBought, Scan
from oms.return_agenda import return_agenda
from oms.returns import Terms
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    await stockroom.holds("LAMP", "lyon", 10)
    await stockroom.holds("MUG", "lyon", 10)
    return Shop(stockroom)


async def books_agree(shop: Shop) -> None:
    """No rule of the audit that our books alone can show is broken."""
    async with shop.stockroom.db.connect() as tx:
        found = [
            (number, *row) for number, check in CHECKS for row in await tx.execute(text(check))
        ]
    assert found == []


async def scans(
    shop: Shop, parcel: str, *statuses: str, event: str | None = None, hours: int = 0
) -> None:
    """The carrier tells of a parcel by itself, some hours from now by its own clock."""
    for status in statuses:
        scan = Scan(
            event_id=event or f"{parcel}-{status}-{hours}",
            status=status,
            at=shop.now + timedelta(hours=hours),
        )
        await shop.returns.heard(
            parcel, scan, shop.now, actor="carrier:simulator", also=lambda unit: None
        )


async def story(shop: Shop, number: str) -> list[str]:
    async with shop.stockroom.db.connect() as tx:
        rows = await tx.execute(
            text("SELECT kind FROM events WHERE order_number = :n ORDER BY seq"), {"n": number}
        )
        return [row.kind for row in rows]


async def due_now(shop: Shop, id: str) -> list[tuple[str, str]]:
    """What the return's process would do now."""
    order = await shop.read(order_of(id))
    agenda = return_agenda(order, id, shop.now, silent=timedelta(days=1))
    return [(due.do, due.step) for due in agenda.due]


async def decides(shop: Shop, id: str, step: str, action: str) -> None:
    command = DecideReturn(
        return_id=id,
        decision=Decision(step=step, action=action, actor="ines", reason="seen to it"),
    )
    await shop.book.command(order_of(id), f"{step}-{action}", command, shop.now, actor="ines")


# --- on their way back ----------------------------------------------------------------------


async def test_the_first_scan_starts_the_wait_for_the_goods(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 1), terms=Terms(receive_days=5))
    await shop.settles(id)

    await scans(shop, f"{id}-P1", "label_created")
    assert (await shop.back(id)).status == "approved"
    shop.now += timedelta(hours=3)
    await scans(shop, f"{id}-P1", "handed_over", "in_transit")

    back = await shop.back(id)
    assert back.status == "in_transit"
    assert back.scanned_at == back.parcels[0].scanned_at == shop.now
    assert back.receive_by == shop.now + timedelta(days=5)
    assert (await story(shop, number)).count("return.in_transit") == 1
    await books_agree(shop)


async def test_scans_that_come_shuffled_and_twice_amount_to_the_same(shop: Shop) -> None:
    id = await shop.asks(await shop.delivers(("LAMP", 1)), (1, 1))
    await shop.settles(id)

    for status, hours in (("delivered", 9), ("in_transit", 20), ("handed_over", 1)):
        for _ in range(2):
            await scans(shop, f"{id}-P1", status, hours=hours)

    back = await shop.back(id)
    assert back.parcels[0].status == "delivered"
    async with shop.stockroom.db.connect() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM return_scans")) == 3


async def test_what_a_look_up_brings_counts_once_beside_the_webhooks(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    await shop.settles(id)
    known = [
        Scan(event_id=f"{id}-P1-{status}-{hours}", status=status, at=shop.now)
        for hours, status in enumerate(("handed_over", "in_transit"))
    ]

    await scans(shop, f"{id}-P1", "handed_over")
    await shop.returns.scanned(f"{id}-P1", known, shop.now)

    assert (await shop.back(id)).parcels[0].status == "in_transit"
    assert (await story(shop, number)).count("return.in_transit") == 1
    assert (await shop.back(id)).parcels[0].last_asked_at == shop.now


async def test_goods_of_another_order_in_the_same_parcel_are_on_their_way_too(shop: Shop) -> None:
    first, second = await shop.delivers(("LAMP", 1)), await shop.delivers(("MUG", 1))
    leader = await shop.asks(first, (1, 1))
    follower = await shop.asks(second, (1, 1), leader=leader, parcels=0)
    await shop.settles(leader)

    await scans(shop, f"{leader}-P1", "in_transit")
    await scans(shop, f"{leader}-P1", "delivered")

    assert (await shop.back(follower)).status == "in_transit"
    assert (await shop.back(follower)).receive_by is not None
    assert (await story(shop, second)).count("return.in_transit") == 1
    await books_agree(shop)


@pytest.mark.parametrize("trouble", ["lost", "damaged", "returned_to_sender"])
async def test_a_person_decides_about_a_parcel_in_trouble(shop: Shop, trouble: str) -> None:
    id = await shop.asks(await shop.delivers(("LAMP", 1)), (1, 1))
    await shop.settles(id)

    await scans(shop, f"{id}-P1", trouble)
    assert await due_now(shop, id) == [("attend", "parcel:R1-P1")]

    await decides(shop, id, "parcel:R1-P1", "retry")
    assert await due_now(shop, id) == []
    assert (await shop.back(id)).status == "in_transit"


async def test_a_parcel_that_is_given_up_ends_its_return_and_may_be_claimed(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    await shop.settles(id)
    await scans(shop, f"{id}-P1", "lost")

    await decides(shop, id, "parcel:R1-P1", "done_manually")
    await shop.settles(id)

    assert (await shop.back(id)).status == "closed"
    assert (await shop.read(number)).returnable(1) == 1
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 9}
    await books_agree(shop)


async def test_one_of_two_parcels_given_up_leaves_the_other_awaited(shop: Shop) -> None:
    id = await shop.asks(await shop.delivers(("LAMP", 2)), (1, 2), parcels=2)
    await shop.settles(id)
    await scans(shop, f"{id}-P1", "lost")

    await decides(shop, id, "parcel:R1-P1", "done_manually")

    assert (await shop.back(id)).status == "in_transit"
    assert await due_now(shop, id) == []


async def test_what_was_refused_has_left_once_its_last_parcel_moves(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))
    await shop.receives(id, (1, 2, "opened"))
    await shop.inspects(id, (1, 1, False))
    await shop.inspects(id, (1, 1, False))
    await shop.settles(id)
    first, second = [each.id for each in (await shop.back(id)).parcels if each.direction == "out"]

    await scans(shop, first, "in_transit")
    assert [lot.state for lot in (await shop.back(id)).lots] == ["rejected"] * 2
    await scans(shop, second, "handed_over")
    await shop.settles(id)

    back = await shop.back(id)
    assert [lot.state for lot in back.lots] == ["left"] * 2
    assert back.status == "closed"
    assert (await shop.read(number)).lines[0].returned == 0
    await books_agree(shop)

    await scans(shop, second, "lost")
    assert await due_now(shop, id) == [("attend", f"parcel:{second.split('-', 3)[3]}")]
    await decides(shop, id, f"parcel:{second.split('-', 3)[3]}", "done_manually")
    await shop.settles(id)
    assert (await shop.back(id)).closed_at is not None


async def test_the_first_label_stands(shop: Shop) -> None:
    id = await shop.asks(await shop.delivers(("LAMP", 1)), (1, 1))

    for number in ("SIM1", "SIM2"):
        label = LabelBought(carrier="simulator", tracking_number=number)
        await shop.returns.label_bought(f"{id}-P1", label, shop.now)

    assert (await shop.back(id)).parcels[0].tracking_number == "SIM1"
    assert await shop.returns.label_request(f"{id}-P1") is None


async def test_a_reconciliation_follows_parcels_that_come_back_until_they_are_there(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    await shop.settles(id)

    async def followed() -> list[str]:
        async with shop.stockroom.db.connect() as tx:
            return [each.id for each in await recovery.open_parcels(tx) if each.of_return]

    assert await followed() == [f"{id}-P1"]
    async with shop.stockroom.db.connect() as tx:
        known = (await recovery.known_orders(tx, [number]))[number]
    assert known.labels == {f"{number}-S1": 1, f"{id}-P1": 1}
    await scans(shop, f"{id}-P1", "delivered")
    assert await followed() == []


# --- parcels that turned round --------------------------------------------------------------


async def turned(shop: Shop, *lines: tuple[str, int]) -> tuple[str, str]:
    """An order whose parcel nobody took: its number, and the return as which it comes back."""
    number = await shop.hands_over(*lines)
    await shop.scanned(f"{number}-S1", "returned_to_sender")
    (back,) = (await shop.read(number)).returns
    return number, back.id


async def test_a_parcel_that_turned_round_is_expected_where_it_left_from(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 2), ("MUG", 1))
    await shop.scanned(f"{number}-S1", "in_transit")
    shop.now += timedelta(days=2)
    await shop.scanned(f"{number}-S1", "returned_to_sender")

    order = await shop.read(number)
    (back,) = order.returns
    assert (back.kind, back.location, back.status) == ("undeliverable", "lyon", "in_transit")
    assert [(each.line, each.quantity, each.reason) for each in back.lines] == [
        (1, 2, "undeliverable"),
        (2, 1, "undeliverable"),
    ]
    assert back.receive_by == back.requested_at + timedelta(days=21)
    assert await shop.stockroom.level("LAMP", "lyon") == {
        "on_hand": 8,
        "incoming": 2,
        "coming_back": 2,
    }
    agenda = fulfillment_agenda(order, f"{number}-F1", shop.now, silent=timedelta(hours=1))
    assert (agenda.due, agenda.wake_at) == ((), None)
    assert agenda.waiting == f"To come back undelivered {number}-S1"
    (wait,) = explain(order, silent=timedelta(hours=1))
    assert wait.until == back.receive_by
    assert (await story(shop, number)).count("return.approved") == 1
    await books_agree(shop)
    assert id == back.id


async def test_what_came_back_is_cancelled_paid_back_and_for_sale_again(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 2))

    assert await shop.receives(id, (1, 2, "as_new")) is None
    assert await shop.receives(id, (1, 2, "as_new")) is None
    await shop.settles(id)
    await shop.runs(number)

    order = await shop.read(number)
    assert order.status == "cancelled"
    assert (order.lines[0].cancelled, order.lines[0].returned) == (2, 0)
    assert order.shipments[0].written_off_at is not None
    (refund,) = [each for each in order.entries if each.kind == "refund"]
    assert (refund.amount_minor, refund.cause, refund.status) == (
        2490,
        f"{number}-S1",
        "succeeded",
    )
    assert (await shop.back(id)).status == "closed"
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 10}
    await books_agree(shop)


async def test_what_came_back_damaged_waits_for_somebody_to_look(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 2))

    await shop.receives(id, (1, 1, "as_new"), (1, 1, "damaged"))
    await shop.settles(id)
    assert (await shop.back(id)).status == "received"
    assert (await shop.read(number)).lines[0].cancelled == 2
    await shop.inspects(id, (1, 1, False))
    await shop.settles(id)

    back = await shop.back(id)
    assert back.status == "closed"
    assert not back.parcels, "nothing goes to a customer who was paid back"
    assert (await shop.stockroom.level("LAMP", "lyon"))["on_hand"] == 9
    await books_agree(shop)


async def test_a_part_that_is_missing_is_paid_back_too(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 2))

    await shop.receives(id, (1, 1, "as_new"), (1, 1, "missing"))
    await shop.settles(id)
    await shop.runs(number)

    assert (await shop.read(number)).status == "cancelled"
    assert (await shop.back(id)).status == "closed"
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 9}
    await books_agree(shop)


async def test_a_parcel_that_is_delivered_after_all_is_expected_no_longer(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 2))

    await shop.scanned(f"{number}-S1", "delivered")
    await shop.settles(id)
    await shop.runs(number)

    assert (await shop.back(id)).status == "cancelled"
    assert (await shop.read(number)).status == "completed"
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 8}
    await shop.scanned(f"{number}-S1", "returned_to_sender")
    assert len((await shop.read(number)).returns) == 1
    await books_agree(shop)


async def test_what_was_delivered_says_its_carrier_is_not_paid_back_unseen(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 1))
    await shop.scanned(f"{number}-S1", "delivered")

    refusal = await shop.receives(id, (1, 1, "as_new"))

    assert refusal is not None
    assert refusal.code == "invalid_state"
    goods = Goods("lyon", "box 1", (Found(1, "as_new"),))

    async def found(unit: OrderUnit) -> Refusal | bool:
        return await take_in(unit, goods, shipment=f"{number}-S1")

    assert await shop.book.change(number, shop.now, found) is True
    assert await shop.book.change(number, shop.now, found) is False
    (back,) = [each for each in (await shop.read(number)).returns if each.kind == "return"]
    assert (back.status, back.lines[0].reason) == ("received", "unannounced")
    await books_agree(shop)


async def test_one_lamp_too_many_in_a_parcel_that_turned_round_is_nobodys(shop: Shop) -> None:
    number = await shop.hands_over(("LAMP", 2))
    goods = Goods("lyon", "box 1", (Found(3, "as_new", sku="LAMP"),))

    async def found(unit: OrderUnit) -> Refusal | bool:
        return await take_in(unit, goods, shipment=f"{number}-S1")

    assert await shop.book.change(number, shop.now, found) is True
    (back,) = (await shop.read(number)).returns
    await shop.settles(back.id)
    await shop.runs(number)

    order = await shop.read(number)
    assert (order.returnable(1), order.shipping_refunded) == (0, True)
    assert [e.amount_minor for e in order.entries if e.kind == "refund"] == [2490]
    async with shop.stockroom.db.connect() as tx:
        kept = (await tx.execute(text("SELECT sku, quantity FROM found_goods"))).all()
    assert [tuple(row) for row in kept] == [("LAMP", 1)]
    await books_agree(shop)


async def test_what_was_lost_on_its_way_back_and_turns_up_is_put_away(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 2))
    shop.now += timedelta(days=22)
    await decides(shop, id, "overdue:R1", "done_manually")
    await shop.settles(id)
    goods = Goods("lyon", "box 1", (Found(2, "as_new", sku="LAMP"),))

    async def found(unit: OrderUnit) -> Refusal | bool:
        return await take_in(unit, goods, shipment=f"{number}-S1")

    assert await shop.book.change(number, shop.now, found) is True
    await shop.settles(id)

    assert (await shop.back(id)).status == "closed"
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 10}
    await books_agree(shop)


async def test_goods_in_a_parcel_that_was_delivered_after_all_are_its_customers(
    shop: Shop,
) -> None:
    number, id = await turned(shop, ("LAMP", 2))
    await shop.scanned(f"{number}-S1", "delivered")

    for box in ("box 1", "box 2"):
        goods = Goods("lyon", box, (Found(1, "as_new", sku="LAMP"),))

        async def found(unit: OrderUnit, goods: Goods = goods) -> Refusal | bool:
            return await take_in(unit, goods, back=id)

        assert await shop.book.change(number, shop.now, found) is True

    assert [each.kind for each in (await shop.read(number)).returns] == [
        "undeliverable",
        "return",
        "return",
    ]
    await books_agree(shop)


async def test_what_is_on_its_way_back_undelivered_cannot_be_asked_for(shop: Shop) -> None:
    number, _ = await turned(shop, ("LAMP", 2))

    assert (await shop.read(number)).returnable(1) == 0
    await shop.scanned(f"{number}-S1", "delivered")
    assert (await shop.read(number)).returnable(1) == 2


async def test_the_audit_sees_a_parcel_that_is_both_back_and_under_way(shop: Shop) -> None:
    _, id = await turned(shop, ("LAMP", 1))
    await shop.receives(id, (1, 1, "as_new"))
    async with shop.stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE shipments SET written_off_at = NULL"))

    told = [found.detail for found in await shop.findings() if found.about == id]

    assert told == [f"undeliverable arrived, but its parcel {order_of(id)}-S1 is under way"]


async def test_a_parcel_never_handed_over_cannot_turn_round(shop: Shop) -> None:
    number = await shop.hands_over(("LAMP", 1))
    async with shop.stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE shipments SET handed_over_at = NULL"))

    await shop.scanned(f"{number}-S1", "returned_to_sender")

    assert (await shop.read(number)).returns == ()


async def test_a_parcel_that_never_comes_back_is_written_off_by_a_person(shop: Shop) -> None:
    number, id = await turned(shop, ("LAMP", 2))
    shop.now += timedelta(days=22)
    assert await due_now(shop, id) == [("attend", "overdue:R1")]

    await decides(shop, id, "overdue:R1", "retry")
    assert await due_now(shop, id) == []
    shop.now += timedelta(days=22)
    await decides(shop, id, "overdue:R1", "done_manually")
    await shop.settles(id)
    await shop.runs(number)

    assert (await shop.read(number)).status == "cancelled"
    assert (await shop.back(id)).status == "closed"
    await books_agree(shop)

    await shop.receives(id, (1, 2, "as_new"))
    await shop.settles(id)
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 10}
    order = await shop.read(number)
    assert sum(e.amount_minor for e in order.entries if e.kind == "refund") == 2490
    await books_agree(shop)


async def test_a_parcel_that_was_given_up_and_turns_round_is_not_paid_back_twice(
    shop: Shop,
) -> None:
    number = await shop.hands_over(("LAMP", 1))
    await shop.scanned(f"{number}-S1", "lost")
    await given_up(shop, number)
    await shop.runs(number)
    shop.now += timedelta(hours=1)

    await shop.scanned(f"{number}-S1", "returned_to_sender")
    (back,) = (await shop.read(number)).returns
    await shop.receives(back.id, (1, 1, "as_new"))
    await shop.settles(back.id)

    order = await shop.read(number)
    assert [e.amount_minor for e in order.entries if e.kind == "refund"] == [1490]
    assert (await shop.back(back.id)).status == "closed"
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 10}
    await books_agree(shop)


async def given_up(shop: Shop, number: str) -> None:
    """A person writes the parcel off."""
    decision = Decision(step="parcel:S1", action="fail", actor="ines", reason="lost")
    command = DecideFulfillment(fulfillment_order=f"{number}-F1", decision=decision)
    await shop.book.command(number, "write-off", command, shop.now, actor="ines")


# --- back before anybody heard that it arrived ----------------------------------------------


async def test_goods_that_a_customer_sent_back_had_reached_them(shop: Shop) -> None:
    number = await shop.hands_over(("LAMP", 2))
    id = await shop.asks(number, (1, 1))

    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)
    await shop.runs(number)

    order = await shop.read(number)
    assert order.shipments[0].delivered_at is not None
    assert (order.lines[0].delivered, order.lines[0].returned) == (2, 1)
    assert order.status == "completed"
    assert (await story(shop, number)).count("shipment.delivered") == 1
    await books_agree(shop)


async def test_only_the_parcels_that_must_have_arrived_are_delivered(shop: Shop) -> None:
    number = await shop.hands_over(("LAMP", 1), ("MUG", 1))
    id = await shop.asks(number, (2, 1))

    await shop.receives(id, (2, 1, "opened"))

    assert (await shop.read(number)).lines[1].delivered == 1
    await books_agree(shop)


async def test_goods_sent_back_out_of_a_parcel_that_seemed_to_turn_round(shop: Shop) -> None:
    number, undelivered = await turned(shop, ("LAMP", 1))
    id = await shop.asks(number, (1, 1))

    await shop.receives(id, (1, 1, "opened"))
    await shop.inspects(id, (1, 1, True))
    for each in (id, undelivered):
        await shop.settles(each)

    assert (await shop.back(undelivered)).status == "cancelled"
    assert (await shop.back(id)).status == "closed"
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 10}
    await books_agree(shop)
