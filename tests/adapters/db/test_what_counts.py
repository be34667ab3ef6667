from adapters.db.availability import availability, backorder_room
from adapters.db.stock import Short, ShortRow, Taken, Want
from tests.adapters.db.crowds import candidates
from tests.adapters.db.stockroom import NOW, Stockroom


async def could_have(stockroom: Stockroom, channel: str) -> tuple[dict[str, int], int]:
    """Units by place that an order of the channel would be served from, and the sum it is shown."""
    async with stockroom.db.begin() as tx:
        places = await candidates(tx, skus=["LAMP"], channel=channel, method="home")
        shown = await availability(tx, sku="LAMP", channel=channel, now=NOW)
    return {place.location: place.available["LAMP"] for place in places}, shown.available


async def test_a_channel_leaves_its_buffer_at_each_place_beside_the_safety_stock(
    stockroom: Stockroom,
) -> None:
    await stockroom.has_place("depot", kind="warehouse")
    for place, units in (("paris", 5), ("lyon", 2), ("nice", 1), ("depot", 4)):
        await stockroom.holds("LAMP", place, units)
    await stockroom.keeps("LAMP", "lyon", safety_stock=1)
    await stockroom.has_channel("careful", buffers={"store": 1})

    assert await could_have(stockroom, "careful") == ({"depot": 4, "paris": 4}, 8)
    assert await could_have(stockroom, "web") == (
        {"depot": 4, "lyon": 1, "nice": 1, "paris": 5},
        11,
    )


async def test_only_the_kinds_of_places_that_a_channel_names_count_for_it(
    stockroom: Stockroom,
) -> None:
    kinds = ("warehouse", "supplier", "marketplace", "reseller", "third_party_logistics")
    for kind in kinds:
        await stockroom.has_place(kind, kind=kind)
        await stockroom.holds("LAMP", kind, 3)
        await stockroom.keeps("LAMP", kind, backorder_limit=2)
    await stockroom.has_channel("market", location_kinds=["supplier", "reseller"])

    async with stockroom.db.begin() as tx:
        room = await backorder_room(tx, skus=["LAMP"], channel="market", method="home")

    assert await could_have(stockroom, "market") == ({"reseller": 3, "supplier": 3}, 6)
    assert list(room) == [("LAMP", "reseller"), ("LAMP", "supplier")]
    assert await could_have(stockroom, "web") == (dict.fromkeys(sorted(kinds), 3), 15)


async def test_what_must_stay_stays_even_if_others_were_faster(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "paris", 4)
    await stockroom.keeps("LAMP", "paris", safety_stock=1)

    two = Want(sku="LAMP", location="paris", quantity=2, leave=1)
    first = await stockroom.take("first", two)
    second = await stockroom.take("second", two)
    anybody = await stockroom.take("third", Want(sku="LAMP", location="paris", quantity=1))

    assert first == Taken()
    assert second == Short((ShortRow("LAMP", "paris", 2, 0),))
    assert anybody == Taken()
