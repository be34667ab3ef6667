"""Goods that came back are put where they belong, each unit once."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from adapters.db import restocking, returns
from adapters.db.audit import read_snapshot
from adapters.db.recalls import end_recall, recall
from adapters.db.return_lots import NewWay, place_again
from adapters.db.stock import StockChange
from adapters.db.transfers import NewTransfer, load_transfer, request_transfer
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.numbers import order_of
from oms.return_policy import Disposition, ReturnPolicy, VersionedPolicy
from oms.returns import Lot, Return, Terms
from oms.transfers import Transfer
from tests.adapters.db.crowds import deadlocks
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import NOW, Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    await stockroom.holds("LAMP", "lyon", 10)
    return Shop(stockroom)


def rules(*restock: dict[str, Any]) -> VersionedPolicy:
    named = [{"name": f"rule {i}"} | rule for i, rule in enumerate(restock)]
    document = {"rules": [{"name": "usual"}], "restock": named}
    return VersionedPolicy(version=1, policy=ReturnPolicy.model_validate(document))


ELSEWHERE = rules({"disposition": "restock_elsewhere"})


async def came_back(shop: Shop, *found: tuple[Any, ...], at: str = "lyon", **more: Any) -> str:
    """Lamps of one order, back at a place and accepted: (1, units, condition)."""
    number = await shop.delivers(("LAMP", sum(units for _, units, *_ in found)))
    return await arrives(shop, number, *found, at=at, **more)


async def arrives(
    shop: Shop, number: str, *found: tuple[Any, ...], at: str = "lyon", **more: Any
) -> str:
    id = await shop.asks(number, (1, sum(units for _, units, *_ in found)), location=at, **more)
    assert await shop.receives(id, *found, at=at) is None
    decided = [(line, units, True, None, condition) for line, units, condition, *_ in found]
    assert await shop.inspects(id, *decided) is None
    return id


async def put_away(shop: Shop, id: str, policy: VersionedPolicy, *, dies: bool = False) -> None:
    """Put away under these rules; `dies`: just before it would have been kept."""

    async def effect(unit: OrderUnit, back: Return) -> None:
        await restocking.put_away(unit, back, policy)

    async def apply(unit: OrderUnit) -> None:
        await returns.change_return(unit, id, effect, cause="put_away")
        if dies:
            raise ConnectionError

    await shop.book.change(order_of(id), shop.now, apply)


async def lots(shop: Shop, id: str) -> tuple[Lot, ...]:
    return (await shop.back(id)).lots


async def transfer_of(shop: Shop, lot: Lot) -> Transfer:
    assert lot.transfer is not None
    async with shop.stockroom.db.connect() as tx:
        found = await load_transfer(tx, lot.transfer)
    assert found is not None
    return found


async def nothing_is_wrong(shop: Shop) -> None:
    async with shop.stockroom.db.connect() as tx:
        found = (await read_snapshot(tx, shop.now)).findings
    assert [each for each in found if not each.pending] == []


async def level(shop: Shop, location: str) -> dict[str, int]:
    return await shop.stockroom.level("LAMP", location)


async def test_sound_goods_go_on_the_shelf_and_damaged_ones_beside_it(shop: Shop) -> None:
    id = await came_back(shop, (1, 2, "as_new"), (1, 1, "opened"), (1, 3, "damaged"))

    await put_away(shop, id, rules())

    assert await level(shop, "lyon") == {"on_hand": 4 + 3, "damaged": 3}
    assert [(lot.state, lot.disposition) for lot in await lots(shop, id)] == [
        ("placed", "restock"),
        ("placed", "restock"),
        ("placed", "quarantine"),
    ]
    assert all(lot.why and lot.placed_at == NOW for lot in await lots(shop, id))
    await nothing_is_wrong(shop)


async def test_sound_goods_that_are_set_aside_lie_there_and_are_not_for_sale(shop: Shop) -> None:
    policy = rules({"when": {"locations": ["lyon"]}, "disposition": "refurbish"})
    id = await came_back(shop, (1, 2, "opened"))

    await put_away(shop, id, policy)

    assert await level(shop, "lyon") == {"on_hand": 8}
    (lot,) = await lots(shop, id)
    assert (lot.state, lot.disposition, lot.quantity) == ("placed", "refurbish", 2)


async def test_what_is_recalled_meanwhile_is_kept_off_the_shelf(shop: Shop) -> None:
    id = await came_back(shop, (1, 1, "as_new"))
    async with shop.stockroom.db.begin() as tx:
        await recall(tx, "LAMP", None)

    await put_away(shop, id, rules({"disposition": "restock"}))

    assert await level(shop, "lyon") == {"on_hand": 9}
    (lot,) = await lots(shop, id)
    assert (lot.disposition, lot.why) == ("quarantine", "LAMP is recalled")


async def test_put_away_twice_or_dying_on_the_way_each_unit_counts_once(shop: Shop) -> None:
    id = await came_back(shop, (1, 3, "as_new"), (1, 1, "damaged"))

    with pytest.raises(ConnectionError):
        await put_away(shop, id, ELSEWHERE, dies=True)
    assert await level(shop, "lyon") == {"on_hand": 6, "incoming": 4, "coming_back": 4}
    for _ in range(3):
        await put_away(shop, id, rules())

    assert await level(shop, "lyon") == {"on_hand": 9, "damaged": 1}
    await nothing_is_wrong(shop)


# --- elsewhere ------------------------------------------------------------------------------


async def sold_out(shop: Shop, place: str, units: int) -> str:
    """A place that had so many and sold all of them, to the customer who sends them back."""
    await shop.stockroom.counts(f"emptied:{place}", "LAMP", "lyon", off_by=-10)
    await shop.stockroom.holds("LAMP", place, units)
    number = await shop.delivers(("LAMP", units))
    assert await level(shop, place) == {}
    return number


async def test_it_goes_where_it_was_sold_out_by_a_transfer_that_holds_it_at_once(
    shop: Shop,
) -> None:
    number = await sold_out(shop, "nice", 2)
    id = await arrives(shop, number, (1, 1, "as_new"), at="paris")

    await put_away(shop, id, ELSEWHERE)

    (lot,) = await lots(shop, id)
    moving = await transfer_of(shop, lot)
    assert (moving.origin, moving.destination) == ("paris", "nice")
    assert moving.reference == f"{id}:{lot.id}"
    assert (lot.disposition, lot.location) == ("restock_elsewhere", "paris")
    assert "nice is out of stock" in (lot.why or "")
    assert await level(shop, "paris") == {"on_hand": 1, "allocated": 1}
    assert await level(shop, "nice") == {"requested": 1}
    await nothing_is_wrong(shop)


async def test_parts_go_different_ways_as_lots_of_their_own(shop: Shop) -> None:
    number = await sold_out(shop, "nice", 3)
    await shop.stockroom.keeps("LAMP", "lyon", safety_stock=1)
    id = await arrives(shop, number, (1, 3, "as_new"), at="paris")
    await shop.stockroom.keeps("LAMP", "paris", safety_stock=1)

    await put_away(shop, id, ELSEWHERE)

    found = [(lot.disposition, lot.quantity, lot.transfer) for lot in await lots(shop, id)]
    assert [each[:2] for each in found] == [("restock", 1), ("restock_elsewhere", 1), (
        "restock_elsewhere", 1)]  # fmt: skip
    assert [transfer is None for *_, transfer in found] == [True, False, False]
    assert await level(shop, "paris") == {"on_hand": 3, "allocated": 2}
    assert await level(shop, "nice") == await level(shop, "lyon") == {"requested": 1}
    await nothing_is_wrong(shop)


async def test_two_lots_do_not_fill_the_same_gap_twice(shop: Shop) -> None:
    number = await sold_out(shop, "nice", 2)
    await shop.stockroom.keeps("LAMP", "lyon", safety_stock=1)
    await shop.stockroom.counts("some", "LAMP", "lyon", off_by=1)
    id = await arrives(shop, number, (1, 1, "as_new"), (1, 1, "opened"), at="paris")

    await put_away(shop, id, ELSEWHERE)

    assert await level(shop, "nice") == {"requested": 1}
    assert await level(shop, "lyon") == {"on_hand": 1, "requested": 1}


async def test_a_rule_names_the_place_and_what_is_promised_here_stays(shop: Shop) -> None:
    id = await came_back(shop, (1, 3, "as_new"), at="paris")
    await shop.stockroom.keeps("LAMP", "paris", safety_stock=2)

    await put_away(shop, id, rules({"disposition": "restock_elsewhere", "to": "lyon"}))

    assert await level(shop, "paris") == {"on_hand": 3, "allocated": 1}
    assert await level(shop, "lyon") == {"on_hand": 7, "requested": 1}
    await nothing_is_wrong(shop)


@pytest.mark.parametrize("to", ["paris", "atlantis", "closed"])
async def test_goods_stay_where_the_place_that_is_named_cannot_take_them(
    shop: Shop, to: str
) -> None:
    await shop.stockroom.has_place("closed", active=False)
    id = await came_back(shop, (1, 1, "as_new"), at="paris")

    await put_away(shop, id, rules({"disposition": "restock_elsewhere", "to": to}))

    assert await level(shop, "paris") == {"on_hand": 1}
    (lot,) = await lots(shop, id)
    assert (lot.disposition, lot.transfer) == ("restock", None)


async def test_nobody_sells_it_so_it_stays(shop: Shop) -> None:
    await shop.stockroom.holds("LAMP", "nice", 0 + 5)
    id = await came_back(shop, (1, 1, "as_new"), at="paris")
    async with shop.stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE stock_movements SET at = at - interval '60 days'"))

    await put_away(shop, id, ELSEWHERE)

    assert await level(shop, "paris") == {"on_hand": 1}


# --- refused --------------------------------------------------------------------------------


async def test_what_is_refused_is_disposed_of_where_the_terms_say_so(shop: Shop) -> None:
    number = await shop.delivers(("LAMP", 2))
    id = await shop.asks(number, (1, 2), terms=Terms(refused="dispose"))
    await shop.receives(id, (1, 2, "opened"))
    await shop.inspects(id, (1, 1, True), (1, 1, False))

    await shop.settles(id)

    assert await level(shop, "lyon") == {"on_hand": 9}
    assert sorted((lot.state, lot.disposition) for lot in await lots(shop, id)) == [
        ("left", "dispose"),
        ("placed", "restock"),
    ]
    assert (await shop.back(id)).closed_at is not None
    await nothing_is_wrong(shop)


# --- whatever happens -----------------------------------------------------------------------

CONDITIONS = ("as_new", "opened", "damaged", "wrong_item")
DISPOSITIONS: tuple[Any, ...] = (
    None,
    "restock",
    "restock_elsewhere",
    "refurbish",
    "quarantine",
    "return_to_supplier",
    "dispose",
)
examples = itertools.count()
LOTS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(CONDITIONS), st.sampled_from(DISPOSITIONS)),
    min_size=1,
    max_size=4,
)


LATER = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(DISPOSITIONS[1:]), st.integers(1, 3)), max_size=4
)


async def place_later(shop: Shop, id: str, new: NewWay) -> None:
    async def apply(unit: OrderUnit) -> Refusal | None:
        return await returns.change_return(
            unit,
            id,
            lambda unit, back: place_again(unit, back, new, lambda _: True),
            cause="reported",
        )

    await shop.book.change(order_of(id), shop.now, apply, actor="ada")


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    found=LOTS,
    rule=st.sampled_from(DISPOSITIONS),
    to=st.sampled_from((None, "nice", "paris")),
    blocked=st.booleans(),
    needed=st.integers(0, 3),
    later=LATER,
)
@example([(3, "as_new", None), (2, "damaged", None)], "restock_elsewhere", None, False, 1, [])
@example([(3, "as_new", "restock_elsewhere")], None, None, True, 0, [(0, "restock", 2)])
@example([(3, "damaged", None)], None, None, False, 0, [(0, "restock", 2), (0, "refurbish", 1)])
async def test_each_unit_lies_in_one_place_whatever_becomes_of_it(
    stockroom: Stockroom,
    found: Sequence[tuple[int, str, str | None]],
    rule: str | None,
    to: str | None,
    blocked: bool,
    needed: int,
    later: Sequence[tuple[int, Disposition, int]],
) -> None:
    sku = f"LAMP-{next(examples)}"
    shop, units = Shop(stockroom), sum(units for units, *_ in found)
    await stockroom.sells(sku)
    await stockroom.holds(sku, "nice", units)
    shop._placed = 1000 * next(examples)
    number = await shop.delivers((sku, units))
    await stockroom.keeps(sku, "paris", safety_stock=needed)
    id = await shop.asks(number, (1, units), location="paris")
    for i, (count, condition, _) in enumerate(found):
        await shop.receives(id, (1, count, condition), at="paris", key=f"scan-{i}")
    for count, condition, disposition in found:
        await shop.inspects(id, (1, count, True, disposition, condition))
    accepted = sum(lot.quantity for lot in await lots(shop, id) if lot.state == "accepted")
    async with stockroom.db.begin() as tx:
        if blocked:
            await recall(tx, sku, "paris")

    policy = rules({"disposition": rule, "to": to}) if rule else rules()
    with pytest.raises(ConnectionError):
        await put_away(shop, id, policy, dies=True)
    await put_away(shop, id, policy)
    await put_away(shop, id, policy)
    for which, disposition, count in later:
        lying = await lots(shop, id)
        lot = lying[which % len(lying)]
        await place_later(shop, id, NewWay(lot.id, disposition, units=min(count, lot.quantity)))

    here = await stockroom.level(sku, "paris")
    placed = [lot for lot in await lots(shop, id) if lot.state == "placed"]
    nowhere: Counter[str] = Counter()
    for lot in placed:
        counted = lot.disposition in ("restock", "restock_elsewhere") or (
            lot.condition == "damaged" and lot.disposition == "quarantine"
        )
        nowhere[str(lot.disposition)] += 0 if counted else lot.quantity
    assert sum(lot.quantity for lot in placed) == accepted == units
    on_shelf, damaged = here.get("on_hand", 0), here.get("damaged", 0)
    assert on_shelf + damaged + nowhere.total() == units
    assert not (blocked and on_shelf)
    assert here.get("allocated", 0) == sum(lot.quantity for lot in placed if lot.transfer)
    assert here.get("allocated", 0) <= max(0, on_shelf - needed)
    assert not {"incoming", "coming_back"} & {*here}
    await nothing_is_wrong(shop)


# --- the audit ------------------------------------------------------------------------------

BROKEN = {
    "on a shelf twice": "INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)"
    " SELECT at, sku, location, bucket, delta, 'place_again', return_id || ':place_again:' || r.id"
    " FROM stock_movements m JOIN return_lots r USING (sku, location, at) LIMIT 1",
    "never on the shelf": "DELETE FROM stock_movements WHERE cause = 'put_away'",
    "never decided about": "UPDATE return_lots SET state = 'received'",
    "in quarantine, and for sale": "UPDATE return_lots SET disposition = 'quarantine'",
    "more of them than arrived": "UPDATE return_lots SET quantity = quantity + 1",
    "gone": "DELETE FROM return_lots",
    "moved by nobody": "UPDATE return_lots SET transfer = 'T-2222-2222-2'",
    "sent on, and yet here": "UPDATE return_lots SET disposition = 'restock_elsewhere'",
}


async def test_the_audit_finds_whatever_does_not_lie_where_it_should(shop: Shop) -> None:
    id = await came_back(shop, (1, 2, "as_new"))
    await put_away(shop, id, rules())
    await nothing_is_wrong(shop)
    unseen = []

    for how, statement in BROKEN.items():
        async with shop.stockroom.db.connect() as tx:
            changed = await tx.execute(text(statement))
            assert changed.rowcount > 0
            found = (await read_snapshot(tx, shop.now)).findings
            await tx.rollback()
        if not any(each.about.startswith(id) and not each.pending for each in found):
            unseen.append(how)

    assert unseen == []


async def test_goods_put_away_at_once_beside_transfers_and_recalls_meet_no_deadlock(
    shop: Shop, database_url: str
) -> None:
    async def moves(origin: str, destination: str, i: int) -> None:
        new = NewTransfer(
            id=f"T-{origin}-{i}",
            origin=origin,
            destination=destination,
            lines=(("LAMP", 1), ("MUG", 1)),
            reference=f"moves-{origin}-{i}",
        )
        async with shop.stockroom.db.begin() as tx:
            await request_transfer(tx, new, actor="ada", at=NOW)

    async def recalls(sku: str) -> None:
        async with shop.stockroom.db.begin() as tx:
            await recall(tx, sku, None)
        async with shop.stockroom.db.begin() as tx:
            await end_recall(tx, sku, None)

    await shop.stockroom.holds("MUG", "lyon", 10)
    backs = []
    for _ in range(6):
        number = await shop.delivers(("LAMP", 1), ("MUG", 1))
        id = await shop.asks(number, (1, 1), (2, 1), location="paris")
        await shop.receives(id, (1, 1, "as_new"), (2, 1, "opened"), at="paris")
        await shop.inspects(id, (1, 1, True), (2, 1, True))
        backs.append(id)
    for sku in ("LAMP", "MUG"):
        for place in ("nice", "paris"):
            await shop.stockroom.change(
                f"more:{sku}:{place}", StockChange(sku=sku, location=place, on_hand=20)
            )
    to_nice = rules({"disposition": "restock_elsewhere", "to": "nice"})

    await asyncio.gather(
        *(put_away(shop, id, to_nice) for id in backs),
        *(moves("nice", "paris", i) for i in range(6)),
        *(moves("paris", "nice", i) for i in range(6)),
        *(recalls(sku) for sku in ("LAMP", "MUG", "LAMP", "MUG")),
    )

    placed = [lot for id in backs for lot in await lots(shop, id)]
    assert [lot.state for lot in placed] == ["placed"] * 12
    await nothing_is_wrong(shop)
    assert await deadlocks(shop.stockroom, database_url) == 0
