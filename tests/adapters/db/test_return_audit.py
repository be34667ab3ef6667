"""The audit finds what is planted in the books of returns, in a transaction nobody keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from adapters.db.audit import Snapshot, read_snapshot
from oms.audit import Effect, Finding, check_return_waits, compare_money
from oms.numbers import order_of
from oms.returns import Terms
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom

SILENT = timedelta(days=1)


@dataclass
class Planted:
    """`closed`: sent back, paid back, put away. `open`: one unit arrived, one is still to come."""

    shop: Shop
    closed: str
    open: str

    async def audited(self, *tampering: str) -> Snapshot:
        """Our books as if this had happened; nothing is kept."""
        names = {"closed": self.closed, "open": self.open, "number": order_of(self.closed)}
        async with self.shop.stockroom.db.connect() as tx:
            for statement in tampering:
                used = {name: value for name, value in names.items() if f":{name}" in statement}
                await tx.execute(text(statement), used)
            return await read_snapshot(tx, self.shop.now)

    def waits(self, ours: Snapshot, at: datetime) -> list[Finding]:
        return [
            found
            for order in ours.returning
            for back in order.returns
            if back.closed_at is None
            for found in check_return_waits(
                order, back, at, silent=SILENT, quiet_since=ours.quiet_since[order.number]
            )
        ]


@pytest.fixture
async def planted(stockroom: Stockroom) -> Planted:
    await stockroom.holds("LAMP", "lyon", 10)
    shop = Shop(stockroom)
    closed = await shop.asks(await shop.delivers(("LAMP", 2)), (1, 1))
    await shop.receives(closed, (1, 1, "as_new"))
    await shop.inspects(closed, (1, 1, True))
    await shop.settles(closed)
    waiting = await shop.asks(await shop.delivers(("LAMP", 2)), (1, 2))
    await shop.receives(waiting, (1, 1, "as_new"))
    return Planted(shop, closed, waiting)


def violations(ours: Snapshot) -> set[tuple[int, str]]:
    return {(found.invariant, found.about) for found in ours.findings if not found.pending}


async def test_honest_returns_are_clean_and_the_open_one_must_have_its_process(
    planted: Planted,
) -> None:
    ours = await planted.audited()

    assert violations(ours) == set()
    assert [order.number for order in ours.returning] == [order_of(planted.open)]
    assert ours.closed_returns == (planted.closed,)
    assert planted.waits(ours, planted.shop.now) == []


PLANTED: dict[str, tuple[str, set[tuple[int, str]]]] = {
    "an order says that more came back than its lots hold": (
        "UPDATE order_lines SET returned = 2 WHERE order_number = :number",
        {(3, "{number} line 1")},
    ),
    "a lot is gone": (
        "DELETE FROM return_lots WHERE return_id = :open",
        {(3, "{open} line 1"), (3, "{of_open} line 1"), (2, "LAMP at lyon")},
    ),
    "more is asked back than was sent": (
        "UPDATE return_lines SET quantity = 3 WHERE return_id = :open",
        {(3, "{of_open} line 1"), (2, "LAMP at lyon")},
    ),
    "a return paid back units that its order did not": (
        "UPDATE order_lines SET refunded = 0 WHERE order_number = :number",
        {(3, "{number} line 1"), (3, "{number}")},
    ),
    "money is given back for a return that there is not": (
        "UPDATE payment_entries SET cause = order_number || '-R9' WHERE cause = :closed",
        {(3, "{number}:refund:1"), (3, "{closed}")},
    ),
    "a closed return still owes its refund": (
        "UPDATE payment_entries SET status = 'unknown' WHERE cause = :closed",
        {(6, "{closed}"), (3, "{number} tender 1")},
    ),
    "an article comes back too often and nobody was told": (
        "INSERT INTO return_alerts (sku, since, rate_percent, sold, returned)"
        " VALUES ('MUG', now(), 50, 2, 1)",
        {(8, "MUG")},
    ),
    "a closed return has goods that nobody looked at": (
        "UPDATE returns SET closed_at = now() WHERE id = :open",
        {(6, "{open}"), (2, "LAMP at lyon")},
    ),
}


@pytest.mark.parametrize("what", PLANTED)
async def test_the_audit_finds_it_when(planted: Planted, what: str) -> None:
    tampering, expected = PLANTED[what]
    names = {
        "number": order_of(planted.closed),
        "closed": planted.closed,
        "open": planted.open,
        "of_open": order_of(planted.open),
    }

    found = violations(await planted.audited(tampering))

    assert found == {(invariant, about.format(**names)) for invariant, about in expected}


async def test_a_refund_of_a_return_that_an_order_waits_for_is_no_violation(
    planted: Planted,
) -> None:
    ours = await planted.audited(
        "UPDATE returns SET closed_at = NULL WHERE id = :closed",
        "UPDATE payment_entries SET status = 'unknown' WHERE cause = :closed",
        "UPDATE tenders SET refunded_minor = 0 WHERE order_number = :number",
    )

    assert not [about for invariant, about in violations(ours) if invariant == 6]


async def test_refunds_of_returns_are_held_against_the_providers_books(planted: Planted) -> None:
    ours = await planted.audited()

    def effects(*, skip: str = "") -> Sequence[Effect]:
        kinds = {"authorization": "authorize"}
        return [
            Effect(
                key=entry.key,
                kind=kinds.get(entry.kind, entry.kind),
                reference=entry.order_number,
                amount_minor=entry.amount_minor,
                currency=entry.currency,
            )
            for entry in ours.entries
            if entry.kind != skip
        ]

    assert list(compare_money(ours.entries, effects())) == []
    assert [found.about for found in compare_money(ours.entries, effects(skip="refund"))] == [
        f"{order_of(planted.closed)}:refund:1"
    ]


async def test_a_return_whose_deadline_passed_is_pending_first_and_stuck_after_a_while(
    planted: Planted,
) -> None:
    ours = await planted.audited()
    (back,) = (each for each in ours.returning[0].returns if each.id == planted.open)
    assert back.inspect_by is not None

    just_now = planted.waits(ours, back.inspect_by + timedelta(seconds=1))
    later = planted.waits(ours, back.inspect_by + timedelta(minutes=20))

    assert [(found.about, found.pending) for found in just_now] == [(planted.open, True)]
    assert [(found.about, found.pending) for found in later] == [(planted.open, False)]
    assert f"inspect:{back.short_id}" in later[0].detail


async def test_a_return_that_waits_for_nobody_and_no_day_is_found(planted: Planted) -> None:
    ours = await planted.audited(
        "UPDATE returns SET inspect_by = NULL, receive_by = NULL WHERE id = :open",
        "DELETE FROM return_parcels WHERE return_id = :open",
    )

    (found,) = planted.waits(ours, planted.shop.now)

    assert (found.invariant, found.about, found.pending) == (7, planted.open, False)
    assert "without a deadline" in found.detail


async def test_refused_goods_wait_for_the_place_where_they_lie(planted: Planted) -> None:
    shop = planted.shop
    id = await shop.asks(
        await shop.delivers(("LAMP", 1)), (1, 1), terms=Terms(refused="send_back"), via="store"
    )
    await shop.receives(id, (1, 1, "damaged"))
    await shop.inspects(id, (1, 1, False))

    assert planted.waits(await planted.audited(), shop.now) == []
