"""The queue of backorders in the books: released in turn, recorded, and never twice."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db import backorders
from adapters.db.audit import read_snapshot
from adapters.db.book import SqlBook
from adapters.db.releases import Released, releases_of
from adapters.db.routing_decisions import decisions_of
from oms.audit import Finding
from oms.backorders import BackorderPolicy, Decision, Release, place_of
from oms.book import CancelUnits, Command, PlaceHold, ReleaseHold, Reroute
from oms.numbers import number_from
from oms.orders import Order
from oms.placing import OrderRequest
from oms.policy import Policy
from tests.adapters.db.stockroom import NOW, Stockroom, record


class Shop:
    """Orders that cost nothing, so that only their goods matter."""

    def __init__(self, stockroom: Stockroom) -> None:
        self.stockroom, self.db = stockroom, stockroom.db
        self.book = SqlBook(stockroom.db, Policy())
        self._orders = self._commands = 0

    async def waits(
        self,
        units: int | dict[str, int] = 1,
        *,
        days: float = 1,
        confirmed: bool = True,
        **more: Any,
    ) -> str:
        """An order placed so many days ago, for which nothing was there."""
        self._orders += 1
        number = number_from(1000 + self._orders)
        wanted = {"LAMP": units} if isinstance(units, int) else units
        request = _request(number, wanted, **more)
        at = NOW - timedelta(days=days)
        await record(self.db, number, request, at=at)
        await self.book.reserve(number, at)
        if confirmed:
            await self.book.confirm(number, at)
        return number

    async def order(self, number: str) -> Order:
        return await self.book.read(number)

    async def got(self, *numbers: str) -> list[int]:
        """How many units each order has by now."""
        orders = [await self.order(number) for number in numbers]
        return [sum(line.allocated for line in order.lines) for order in orders]

    async def arrives(self, units: int, sku: str = "LAMP", location: str = "lyon") -> None:
        self._commands += 1
        await self.stockroom.counts(f"arrival:{self._commands}", sku, location, off_by=units)

    async def sweeps(self, at: datetime = NOW, *, most: int = 50) -> int:
        return await self.book.release_backorders(at, most=most)

    async def command(self, number: str, command: Command) -> None:
        self._commands += 1
        answer = await self.book.command(
            number, f"c{self._commands}", command, NOW, actor="operator:ines"
        )
        assert answer.refusal is None

    async def rules(self, **policy: Any) -> None:
        async with self.db.begin() as tx:
            made = await backorders.set_policy(tx, BackorderPolicy(**policy), actor="ines", at=NOW)
        assert isinstance(made, BackorderPolicy)

    async def releases(self, sku: str = "LAMP") -> list[Released]:
        """Oldest first."""
        async with self.db.connect() as tx:
            return (await releases_of(tx, sku, before=None, limit=100))[::-1]

    async def events(self, number: str) -> list[Any]:
        async with self.db.connect() as tx:
            found = await tx.execute(
                text("SELECT * FROM events WHERE order_number = :n ORDER BY seq"), {"n": number}
            )
            return list(found)

    async def decision(self, *skus: str) -> Decision:
        async with backorders.one_moment(self.db) as tx:
            return await backorders.read_decision(tx, skus or ("LAMP",), NOW, Policy())

    async def is_sound(self) -> bool:
        async with self.db.connect() as tx:
            wrong = await violations(tx)
        assert not wrong, wrong
        return True


async def violations(tx: AsyncConnection) -> list[Finding]:
    """What the audit finds in our books, less what is still on its way."""
    return [each for each in (await read_snapshot(tx, NOW)).findings if not each.pending]


def _request(number: str, wanted: dict[str, int], **more: Any) -> OrderRequest:
    return OrderRequest.model_validate(
        {
            "channel": "web",
            "reference": number,
            "currency": "EUR",
            "customer": {"id": "c-1", "segment": more.pop("segment", None)},
            "lines": [
                {"sku": sku, "quantity": units, "unit_price_minor": 0}
                for sku, units in wanted.items()
            ],
            "allow_backorder": True,
            "delivery": {
                "method": "home",
                "address": {
                    "name": "A",
                    "line1": "1",
                    "city": "Lyon",
                    "postal_code": "69001",
                    "country": "FR",
                },
            },
            "tenders": [],
        }
        | more
    )


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    for sku in ("LAMP", "MUG"):
        await stockroom.keeps(sku, "lyon", backorder_limit=100)
    return Shop(stockroom)


async def test_what_arrives_goes_to_the_oldest_first_and_the_record_says_why(shop: Shop) -> None:
    late = await shop.waits(2, days=1)
    early = await shop.waits(2, days=3)
    await shop.arrives(3)

    assert await shop.sweeps() == 2

    assert await shop.got(early, late) == [2, 1]
    first, second = await shop.releases()
    assert (first.order, first.quantity, first.place, first.waiting) == (early, 2, 1, 2)
    assert (first.location, first.policy, first.policy_version) == ("lyon", "oldest_first", 0)
    assert first.reason == "oldest first: waiting since 2026-11-19 09:00 UTC"
    assert first.behind == [
        {"order": late, "place": 2, "words": "waiting since 2026-11-21 09:00 UTC"}
    ]
    assert (second.order, second.quantity, second.place, second.passed) == (late, 1, 2, [])
    told = (await shop.events(early))[-1]
    assert told.kind == "order.backorder_released"
    assert told.summary == (
        "2 backordered units released at lyon: LAMP 1 of 2 in the queue"
        " (oldest first: waiting since 2026-11-19 09:00 UTC)"
    )
    assert late not in str(told.data), "an order's timeline names no other order"
    assert await shop.is_sound()


async def test_who_waits_is_served_from_where_the_rules_say_and_the_decision_is_kept(
    shop: Shop,
) -> None:
    number = await shop.waits()
    rules = {
        "name": "Paris",
        "currency": "EUR",
        "rules": [{"name": "Paris first", "prefer": [{"locations": ["paris"]}]}],
    }
    async with shop.db.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO rule_sets (id, version, document, active, created_at)"
                " VALUES ('paris', 7, CAST(:rules AS jsonb), true, now())"
            ),
            {"rules": json.dumps(rules)},
        )
    await shop.arrives(1, location="lyon")
    await shop.arrives(1, location="paris")

    assert await shop.sweeps() == 1

    assert (await shop.stockroom.level("LAMP", "paris"))["allocated"] == 1
    async with shop.db.connect() as tx:
        decided = await decisions_of(tx, number, limit=10)
    assert [(each.cause, each.record.version) for each in decided] == [
        ("reserve", None),
        ("release", 7),
    ]
    assert await shop.is_sound()


async def test_its_process_is_told_of_what_an_order_got(shop: Shop) -> None:
    number = await shop.waits()
    await shop.arrives(1)
    await shop.sweeps()

    async with shop.db.connect() as tx:
        owed = await tx.scalars(text("SELECT workflow_id FROM nudges"))
        assert f"order/{number}" in owed.all()


async def test_a_sweep_with_nothing_to_give_gives_nothing(shop: Shop) -> None:
    await shop.waits()

    assert await shop.sweeps() == 0
    await shop.arrives(1)
    assert (await shop.sweeps(), await shop.sweeps()) == (1, 0)


async def test_many_sweeps_at_once_give_each_unit_once_and_in_turn(shop: Shop) -> None:
    numbers = [await shop.waits(days=20 - n) for n in range(12)]
    await shop.arrives(7)

    served = await asyncio.gather(*(shop.sweeps() for _ in range(6)))

    assert sum(served) == 7
    assert await shop.got(*numbers) == [1] * 7 + [0] * 5
    assert [each.order for each in await shop.releases()] == numbers[:7]
    assert await shop.is_sound()


async def test_a_sweep_that_dies_at_any_moment_is_taken_up_by_the_next(shop: Shop) -> None:
    first, second = await shop.waits(days=2), await shop.waits(days=1)
    await shop.arrives(2)
    (before, _) = (await shop.decision()).releases

    with pytest.raises(RuntimeError, match="lost"):
        await shop.book.change(first, NOW, lambda unit: _dies(unit, before))
    assert await shop.got(first, second) == [0, 0]
    assert await shop.sweeps(most=1) == 1  # dies after its first order
    assert await shop.got(first, second) == [1, 0]

    assert await shop.sweeps() == 1
    assert await shop.got(first, second) == [1, 1]
    assert len(await shop.releases()) == 2
    assert await shop.is_sound()


async def _dies(unit: Any, release: Release) -> None:
    assert await backorders.release_units(unit, release, BackorderPolicy())
    await unit.send()
    raise RuntimeError("the connection is lost")


async def test_what_was_decided_and_is_not_so_any_more_is_not_forced(shop: Shop) -> None:
    number = await shop.waits(2)
    await shop.arrives(2)
    decision = await shop.decision()
    (release,) = decision.releases
    await shop.command(number, CancelUnits(reason="changed mind", lines={1: 1}))

    async def give(unit: Any) -> bool:
        return await backorders.release_units(unit, release, decision.policy)

    assert await shop.book.change(number, NOW, give) is False
    await shop.arrives(-1)
    assert await shop.sweeps() == 1
    assert await shop.got(number) == [1]
    assert await shop.is_sound()


async def test_an_order_that_breaks_is_passed_over_and_stops_nobody(shop: Shop) -> None:
    broken, sound = await shop.waits(days=2), await shop.waits(days=1)
    await shop.arrives(2)
    async with shop.db.begin() as tx:
        await tx.execute(
            text("UPDATE order_lines SET backordered = 0, unplanned = 1 WHERE order_number = :n"),
            {"n": broken},
        )

    assert await shop.sweeps() == 1

    assert await shop.got(broken, sound) == [0, 1]
    (release,) = await shop.releases()
    assert [each["words"] for each in release.passed] == [
        "serving it failed, which is a fault of ours"
    ]


async def test_held_unconfirmed_and_cancelled_orders_are_passed_over(shop: Shop) -> None:
    held = await shop.waits(days=9)
    unpaid = await shop.waits(days=8, confirmed=False)
    gone = await shop.waits(days=7)
    free = await shop.waits(days=6)
    await shop.command(held, PlaceHold(reason="fraud"))
    await shop.command(gone, CancelUnits(reason="x"))
    await shop.arrives(2)

    await shop.sweeps()

    assert await shop.got(held, unpaid, free) == [0, 0, 1]
    (release,) = await shop.releases()
    assert release.place == 3
    assert release.passed == [
        {"order": held, "place": 1, "words": "on hold (fraud)"},
        {"order": unpaid, "place": 2, "words": "not confirmed yet"},
    ]
    await shop.command(held, ReleaseHold(hold=f"{held}-H1"))
    await shop.sweeps()
    assert await shop.got(held) == [1]
    assert await shop.is_sound()


async def test_the_same_queue_is_served_otherwise_by_each_policy(shop: Shop) -> None:
    big = await shop.waits(3, days=9)
    gold = await shop.waits(1, days=1, segment="gold")
    small = await shop.waits(2, days=5)
    await shop.arrives(2)

    def served(decision: Decision) -> dict[str, int]:
        return {r.order: sum(p.quantity for p in r.picks) for r in decision.releases}

    assert served(await shop.decision()) == {big: 2}
    await shop.rules(policy="priority", segments=("gold",))
    assert served(await shop.decision()) == {gold: 1, big: 1}
    await shop.rules(policy="ship_complete", patience_days=30)
    assert served(await shop.decision()) == {small: 2}
    await shop.sweeps()
    (release,) = await shop.releases()
    assert (release.order, release.policy, release.policy_version) == (small, "ship_complete", 2)


async def test_a_policy_changed_while_they_wait_changes_their_places(shop: Shop) -> None:
    old = await shop.waits(days=9)
    gold = await shop.waits(days=1, segment="gold")

    async def places() -> list[tuple[int, int] | None]:
        queue = [each.waiting for each in (await shop.decision()).verdicts]
        return [place_of(number, "LAMP", queue) for number in (old, gold)]

    assert await places() == [(1, 2), (2, 2)]
    await shop.rules(policy="priority", segments=("gold",))
    assert await places() == [(2, 2), (1, 2)]
    await shop.arrives(1)
    await shop.sweeps()
    assert await shop.got(old, gold) == [0, 1]


async def test_units_come_from_another_place_where_they_lie_there(shop: Shop) -> None:
    number = await shop.waits(2)
    await shop.arrives(1, location="paris")
    await shop.arrives(1, location="nice")

    await shop.sweeps()

    assert await shop.got(number) == [2]
    assert {each.location for each in await shop.releases()} == {"paris", "nice"}
    assert await shop.stockroom.level("LAMP", "lyon") == {}
    assert await shop.is_sound()


async def test_three_units_wanted_and_two_arrived(shop: Shop) -> None:
    number, behind = await shop.waits(3, days=2), await shop.waits(1, days=1)

    await shop.arrives(2)
    await shop.sweeps()
    assert await shop.got(number, behind) == [2, 0]

    await shop.arrives(2)
    await shop.sweeps()
    assert await shop.got(number, behind) == [3, 1]
    assert await shop.is_sound()


async def test_an_operator_lets_an_order_jump_the_queue_and_that_is_recorded(shop: Shop) -> None:
    first, favoured = await shop.waits(days=9), await shop.waits(days=1)
    await shop.arrives(1)

    await shop.command(favoured, Reroute())

    await shop.sweeps()
    assert await shop.got(first, favoured) == [0, 1]
    (release,) = await shop.releases()
    assert (release.policy, release.policy_version, release.place) == ("reroute", None, None)
    assert release.actor == "operator:ines"
    assert await shop.is_sound()


async def test_a_preorder_is_released_on_its_day_and_not_before(shop: Shop) -> None:
    await _comes_on_sale(shop, "now() + interval '1 day'")
    await shop.arrives(5)
    number = await shop.waits(2)
    assert sum(line.backordered for line in (await shop.order(number)).lines) == 2

    assert await shop.sweeps() == 0
    await shop.command(number, Reroute())
    assert await shop.got(number) == [0]

    await _comes_on_sale(shop, "now()")
    assert await shop.sweeps() == 1
    assert await shop.got(number) == [2]
    assert await shop.is_sound()


async def _comes_on_sale(shop: Shop, when: str) -> None:
    async with shop.db.begin() as tx:
        await tx.execute(text(f"UPDATE products SET available_from = {when} WHERE sku = 'LAMP'"))


async def test_goods_arrive_for_five_who_wait_while_fifty_new_buyers_come(shop: Shop) -> None:
    waiting = [await shop.waits(days=5 - n / 10) for n in range(5)]

    async def buys(n: int) -> str:
        return await shop.waits(days=0, reference=f"new-{n}", allow_backorder=False)

    async def sweeps_for_a_while() -> None:
        while await shop.got(*waiting) != [1] * 5:
            await shop.sweeps()

    buyers = asyncio.gather(*(buys(n) for n in range(50)))
    await asyncio.gather(shop.arrives(5), sweeps_for_a_while(), buyers)

    refused = [(await shop.order(buyer)).refusal_code for buyer in buyers.result()]
    assert refused == ["insufficient_stock"] * 50
    assert [each.order for each in await shop.releases()] == waiting
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 5, "allocated": 5}
    assert await shop.is_sound()


async def test_stock_that_rises_a_hold_that_ends_and_a_new_rule_wake_the_sweep(shop: Shop) -> None:
    number = await shop.waits()
    await shop.command(number, PlaceHold(reason="fraud"))

    async def restocks_another() -> None:
        await shop.arrives(2, sku="MUG")

    async def rises() -> None:
        await shop.arrives(2)

    async def ends() -> None:
        await shop.command(number, ReleaseHold(hold=f"{number}-H1"))

    async def changes() -> None:
        await shop.rules(policy="ship_complete")

    assert [await _hears(shop, it) for it in (restocks_another, rises, ends, changes)] == [
        False,
        True,
        True,
        True,
    ]


async def _hears(shop: Shop, happens: Callable[[], Awaitable[None]]) -> bool:
    """Whether a relay would be woken by it; PostgreSQL tells in the order of the commits."""
    async with shop.db.connect() as tx:
        connection: Any = (await tx.get_raw_connection()).driver_connection
        await connection.set_autocommit(True)
        await connection.execute("LISTEN oms_backorders")
        await connection.execute("LISTEN the_end")
        await happens()
        await connection.execute("NOTIFY the_end")
        heard = []
        async for note in connection.notifies(timeout=10):
            heard.append(note.channel)
            if note.channel == "the_end":
                break
        await connection.execute("UNLISTEN *")
    return "oms_backorders" in heard


@pytest.mark.parametrize(
    ("tampering", "about"),
    [
        ("UPDATE backorder_releases SET quantity = quantity + 1", "lyon"),
        ("DELETE FROM backorder_releases", "lyon"),
        ("UPDATE backorder_releases SET location = 'nice'", "nice"),
    ],
)
async def test_the_audit_finds_a_release_that_the_ledger_does_not_know(
    shop: Shop, tampering: str, about: str
) -> None:
    number = await shop.waits(2)
    await shop.arrives(2)
    await shop.sweeps()
    assert await shop.is_sound()

    async with shop.db.connect() as tx:
        await tx.execute(text(tampering))
        found = await violations(tx)

    assert {(each.invariant, number in each.about) for each in found} == {(2, True)}
    assert any(about in each.detail for each in found)
