"""Returns in the books: each unit comes back once, is paid back once, and is put away once."""

import pytest
from sqlalchemy import text

from adapters.db.relaying import mark_return_started, unstarted_returns
from oms.ports import Approved, Declined
from oms.return_agenda import return_waiting
from oms.returns import ReturnStatus, Terms
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    await stockroom.holds("LAMP", "lyon", 10)
    await stockroom.holds("MUG", "lyon", 10)
    return Shop(stockroom)


async def refunded(shop: Shop, number: str) -> int:
    tender = (await shop.read(number)).tender
    assert tender is not None
    return tender.refunded_minor


async def test_units_on_their_way_back_are_seen_as_incoming_until_they_are_put_away(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 3))
    id = await shop.asks(number, (1, 2))
    assert await shop.stockroom.level("LAMP", "lyon") == {
        "on_hand": 7, "incoming": 2, "coming_back": 2
    }  # fmt: skip

    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)

    assert (await shop.back(id)).status is ReturnStatus.PARTIALLY_RECEIVED
    assert await shop.stockroom.level("LAMP", "lyon") == {
        "on_hand": 8, "incoming": 1, "coming_back": 1
    }  # fmt: skip
    assert await refunded(shop, number) == 1000
    await shop.receives(id, (1, 1, "opened"), key="scan-2")
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)
    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 9}
    assert await refunded(shop, number) == 2000


async def test_units_that_arrive_elsewhere_are_incoming_there(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))

    await shop.receives(id, (1, 1, "as_new"), at="nice")

    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 9}
    assert await shop.stockroom.level("LAMP", "nice") == {"incoming": 1, "coming_back": 1}


async def test_the_place_that_has_yet_to_inspect_is_the_one_that_is_waited_for(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))
    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, True))

    await shop.receives(id, (1, 1, "as_new"), at="nice", key="scan-2")

    assert return_waiting(await shop.back(id)) == "nice to inspect what came back."


async def test_units_received_twice_count_once(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 1))

    for key in ("scan-1", "scan-1", "scan-2"):
        assert await shop.receives(id, (1, 1, "as_new"), key=key) is None

    line = (await shop.read(number)).line(1)
    assert line is not None
    assert line.returned == 1


async def test_more_than_announced_is_taken_as_far_as_it_was_sent(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 1))

    await shop.receives(id, (1, 3, "as_new"))

    back = await shop.back(id)
    assert back.lines[0].received == 2
    assert back.lines[0].extra == 1


async def test_what_is_refused_is_neither_paid_nor_put_away(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))
    await shop.receives(id, (1, 2, "opened"))

    await shop.inspects(id, (1, 1, True), (1, 1, False))
    await shop.settles(id)

    assert (await shop.back(id)).status is ReturnStatus.INSPECTED
    assert await refunded(shop, number) == 1000
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 9}


async def test_what_was_decided_is_not_decided_otherwise(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    await shop.receives(id, (1, 1, "opened"))
    await shop.inspects(id, (1, 1, True))

    again = await shop.inspects(id, (1, 1, True))
    otherwise = await shop.inspects(id, (1, 1, False))

    assert again is None
    assert otherwise is not None
    assert otherwise.code == "invalid_state"


async def test_the_whole_order_back_brings_the_shipping_back(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1), ("MUG", 1))
    id = await shop.asks(number, (1, 1), (2, 1), terms=Terms(shipping_minor=490, fee_minor=300))

    await shop.receives(id, (1, 1, "as_new"), (2, 1, "damaged"))
    await shop.inspects(id, (1, 1, True), (2, 1, True))
    await shop.settles(id)

    assert await refunded(shop, number) == 2490 - 300
    assert await shop.stockroom.level("MUG", "lyon") == {"on_hand": 9, "damaged": 1}
    assert await shop.findings() == []


async def test_no_money_goes_back_for_units_that_were_missing(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))

    await shop.receives(id, (1, 1, "as_new"), (1, 1, "missing"))
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)

    assert (await shop.back(id)).status is ReturnStatus.CLOSED
    assert await refunded(shop, number) == 1000
    assert (await shop.read(number)).returnable(1) == 1


async def test_the_books_agree_with_themselves(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 1))
    await shop.receives(id, (1, 1, "as_new"))

    assert await shop.findings() == []


async def test_a_lot_that_is_decided_whole_stays_the_same_lot(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 3))
    id = await shop.asks(number, (1, 3))
    await shop.receives(id, (1, 3, "opened"))
    (lot,) = (await shop.back(id)).lots

    await shop.inspects(id, (1, 1, True), (1, 1, False))
    await shop.inspects(id, (1, 1, True))

    lots = {each.id: (each.quantity, each.state) for each in (await shop.back(id)).lots}
    assert sorted(lots.values()) == [(1, "accepted"), (1, "accepted"), (1, "rejected")]
    assert lots[lot.id] == (1, "accepted")


async def test_a_capture_taken_back_after_its_refund_is_a_loss_and_breaks_nothing(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)

    no = Declined(reason="insufficient_funds")
    await shop.book.settle_payment(f"{number}:capture:1", no, shop.now, settled_by="provider")

    tender = (await shop.read(number)).tender
    assert tender is not None
    assert (tender.captured_minor, tender.refunded_minor) == (0, 1000)
    assert "payment.lost" in await shop.tale(number)
    assert await shop.findings() == []
    yes = Approved(provider_reference="p-2")
    await shop.book.settle_payment(f"{number}:capture:1", yes, shop.now, settled_by="operator")
    assert await shop.findings() == []


async def test_a_return_that_changed_while_its_run_was_started_is_looked_at_once_more(
    shop: Shop,
) -> None:
    """It may have been closed and opened again meanwhile, and then no run is left."""
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    (seen,) = await unstarted_returns(shop.book.engine, most=9)
    await shop.receives(id, (1, 1, "as_new"))

    await mark_return_started(shop.book.engine, seen, shop.now)
    (again,) = await unstarted_returns(shop.book.engine, most=9)
    await mark_return_started(shop.book.engine, again, shop.now)

    assert again.id == id
    assert await unstarted_returns(shop.book.engine, most=9) == []


async def test_a_unit_that_was_missing_may_turn_up_in_another_parcel(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))
    await shop.receives(id, (1, 1, "as_new"), (1, 1, "missing"))
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)

    again = await shop.receives(id, (1, 1, "as_new"), (1, 1, "missing"), key="scan-2")
    found = await shop.receives(id, (1, 1, "opened"), key="scan-3")
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id)

    assert (again, found) == (None, None)
    back = await shop.back(id)
    assert (back.lines[0].received, back.lines[0].missing) == (2, 0)
    assert back.status is ReturnStatus.CLOSED
    assert await refunded(shop, number) == 2000
    assert await shop.findings() == []


async def test_a_missing_unit_that_came_by_another_return_does_not_turn_up_once_more(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 2))
    first = await shop.asks(number, (1, 2))
    await shop.receives(first, (1, 1, "as_new"), (1, 1, "missing"))
    second = await shop.asks(number, (1, 1))
    await shop.receives(second, (1, 1, "as_new"))

    await shop.receives(first, (1, 2, "as_new"), key="scan-2")

    line = (await shop.read(number)).line(1)
    assert line is not None
    assert line.returned == 2
    assert await shop.findings() == []


async def test_what_is_told_of_a_return_and_of_its_refund_names_the_return(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 1))
    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, True))
    await shop.settles(id, [Declined(reason="closed_account")])

    async with shop.stockroom.db.connect() as tx:
        told = {
            row.kind: row.data
            for row in await tx.execute(
                text(
                    "SELECT kind, data FROM events WHERE order_number = :number"
                    " AND (kind LIKE 'return.%' OR kind LIKE 'refund.%')"
                ),
                {"number": number},
            )
        }
    assert {"return.requested", "return.received", "return.settled", "refund.failed"} <= set(told)
    assert {data["return"] for data in told.values()} == {id}


async def test_a_return_whose_refund_failed_after_it_was_to_be_closed_stays_open(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))
    await shop.receives(id, (1, 1, "as_new"))
    await shop.inspects(id, (1, 1, True))
    await shop.returns.put_away(id, shop.now)
    await shop.returns.give_back(id, shop.now)
    await shop.pays(f"{number}:refund:1")

    no = Declined(reason="late")
    await shop.book.settle_payment(f"{number}:refund:1", no, shop.now, settled_by="provider")
    await shop.returns.close(id, shop.now)

    assert (await shop.back(id)).closed_at is None
    assert [due.step for due in (await shop.returns.agenda(id, shop.now)).due] == ["refund:1"]


async def found(shop: Shop) -> list[tuple[str | None, int, str]]:
    """What waits for a person to say what it is: article, units and condition."""
    async with shop.stockroom.db.connect() as tx:
        rows = await tx.execute(
            text("SELECT sku, quantity, condition FROM found_goods ORDER BY id")
        )
        return [(row.sku, row.quantity, row.condition) for row in rows]


async def test_each_scan_of_more_than_was_sent_keeps_its_own_and_twice_said_counts_once(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))

    for key in ("scan-1", "scan-1", "scan-2", "scan-2"):
        await shop.receives(id, (1, 3, "as_new"), key=key)

    assert (await shop.back(id)).lines[0].received == 2
    assert await found(shop) == [("LAMP", 1, "as_new"), ("LAMP", 1, "as_new")]


async def test_what_is_beyond_all_that_was_sent_lies_there_as_it_is(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 1))
    id = await shop.asks(number, (1, 1))

    await shop.receives(
        id, (1, 1, "as_new"), (1, 1, "damaged"), (1, 1, "wrong_item", "MUG"), (1, 1, "wrong_item")
    )

    assert await found(shop) == [
        ("LAMP", 1, "damaged"),
        ("MUG", 1, "wrong_item"),
        (None, 1, "wrong_item"),
    ]


async def test_what_is_missing_is_neither_found_nor_beyond_what_was_announced(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 3), ("MUG", 1))
    id = await shop.asks(number, (1, 1))

    await shop.receives(id, (1, 2, "missing"), (2, 1, "missing"))

    back = await shop.back(id)
    assert [(line.line, line.quantity, line.missing) for line in back.lines] == [(1, 1, 1)]
    assert await found(shop) == []


async def test_goods_that_lie_there_are_not_displaced_by_what_is_said_to_be_missing(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2))

    await shop.receives(id, (1, 1, "missing"), (1, 2, "as_new"))

    (line,) = (await shop.back(id)).lines
    assert (line.received, line.missing) == (2, 0)
    assert await found(shop) == []
