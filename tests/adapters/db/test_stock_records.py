from datetime import timedelta
from typing import Any

from adapters.db.availability import Expected, availability, backorder_room
from adapters.db.incoming import Incoming, expect_incoming
from adapters.db.stock import StockChange, Want
from adapters.db.stock_records import (
    Policy,
    Unknown,
    VersionConflict,
    movements_of,
    set_policy,
)
from adapters.db.stock_view import levels
from tests.adapters.db.crowds import candidates
from tests.adapters.db.stockroom import NOW, Stockroom
from tests.oms.candidates import Candidate


async def test_a_level_shows_its_buckets_and_what_can_be_had(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 9)
    await stockroom.keeps("LAMP", "paris", safety_stock=2)
    await stockroom.take("o1", Want(sku="LAMP", location="paris", quantity=3))

    async with stockroom.db.begin() as tx:
        (level,) = await levels(tx, sku="LAMP")

    assert (level.location, level.on_hand, level.reserved, level.available) == ("paris", 9, 3, 4)


async def test_movements_are_read_newest_first_page_by_page(stockroom: Stockroom) -> None:
    for day in range(3):
        await stockroom.change(f"day {day}", StockChange(sku="LAMP", location="nice", on_hand=1))

    async with stockroom.db.begin() as tx:
        first = await movements_of(tx, "LAMP", limit=2)
        rest = await movements_of(tx, "LAMP", before=first[-1][0], limit=2)

    assert [movement.key for _, movement in first + rest] == ["day 2", "day 1", "day 0"]


async def test_a_policy_is_new_once_and_then_changed_by_who_has_seen_it(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "paris", 9)

    async def put(safety_stock: int, if_version: int | None = None) -> object:
        async with stockroom.db.begin() as tx:
            return await set_policy(
                tx,
                sku="LAMP",
                location="paris",
                safety_stock=safety_stock,
                backorder_limit=4,
                if_version=if_version,
            )

    assert await put(1) == Policy("LAMP", "paris", 1, 4, False, None, None, None, 1)
    assert await put(2, if_version=1) == Policy("LAMP", "paris", 2, 4, False, None, None, None, 2)
    assert await put(3, if_version=1) == VersionConflict(2)


async def test_a_policy_for_what_does_not_exist_is_refused(stockroom: Stockroom) -> None:
    async with stockroom.db.begin() as tx:
        rules: dict[str, Any] = {"safety_stock": 1, "backorder_limit": 0}
        article = await set_policy(tx, sku="LAPM", location="paris", **rules)
        place = await set_policy(tx, sku="LAMP", location="mars", **rules)
        unseen = await set_policy(tx, sku="LAMP", location="nice", if_version=1, **rules)

    assert (article, place, unseen) == (Unknown("sku"), Unknown("location"), VersionConflict(0))


async def test_only_places_that_serve_the_channel_by_the_method_are_asked(
    stockroom: Stockroom,
) -> None:
    await stockroom.has_place("closed", active=False)
    await stockroom.has_place("store", serves=["store_pickup"])
    await stockroom.has_place("outlet", channels=["outlet"])
    for place in ("paris", "closed", "store", "outlet"):
        await stockroom.holds("LAMP", place, 5)
    await stockroom.holds("LAMP", "lyon", 1)
    await stockroom.keeps("LAMP", "lyon", safety_stock=1, backorder_limit=3)

    async with stockroom.db.begin() as tx:
        home = await candidates(tx, skus=["LAMP", "MUG"], channel="web", method="home")
        outlet = await candidates(tx, skus=["LAMP"], channel="outlet", method="home")
        pickup = await candidates(
            tx, skus=["LAMP"], channel="web", method="store_pickup", pickup_location="store"
        )
        wrong_store = await candidates(
            tx, skus=["LAMP"], channel="web", method="store_pickup", pickup_location="paris"
        )
        room = await backorder_room(tx, skus=["LAMP"], channel="web", method="home")

    assert home == [Candidate("paris", None, {"LAMP": 5})]
    assert [candidate.location for candidate in outlet] == ["outlet", "paris"]
    assert [candidate.location for candidate in pickup] == ["store"]
    assert wrong_store == []
    assert room == {("LAMP", "lyon"): 3}


async def test_distances_are_from_the_customers_door(stockroom: Stockroom) -> None:
    await stockroom.has_place("marseille", at=(43.2965, 5.3698))
    await stockroom.holds("LAMP", "marseille", 1)
    await stockroom.holds("LAMP", "paris", 1)

    async with stockroom.db.begin() as tx:
        near, unknown = await candidates(
            tx, skus=["LAMP"], channel="web", method="home", latitude=45.764, longitude=4.8357
        )

    assert near.distance_km is not None
    assert round(near.distance_km) == 278
    assert unknown.distance_km is None


async def test_availability_adds_up_who_serves_the_channel_and_what_comes(
    stockroom: Stockroom,
) -> None:
    await stockroom.has_place("outlet", channels=["outlet"])
    for place, units in (("paris", 3), ("lyon", 2), ("outlet", 50)):
        await stockroom.holds("LAMP", place, units)
    soon, late = NOW + timedelta(days=2), NOW + timedelta(days=9)
    async with stockroom.db.begin() as tx:
        for reference, day in (("PO-2", late), ("PO-1", soon), ("PO-0", NOW - timedelta(days=1))):
            await expect_incoming(
                tx, Incoming("LAMP", "paris", 10, day, reference), actor="ada", at=NOW
            )

        web = await availability(tx, sku="LAMP", quantity=6, channel="web", now=NOW)
        anyone = await availability(tx, sku="LAMP", quantity=6, now=NOW)

    assert (web.available, web.in_stock) == (5, False)
    assert web.incoming == (Expected(10, soon), Expected(10, late))
    assert (anyone.available, anyone.in_stock) == (55, True)
