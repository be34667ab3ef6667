"""A simulation reads the books: who serves whom as they say it, and nothing can be written."""

import numpy as np

from adapters.db.at_once import at_once
from adapters.db.network import ask_who_serves
from adapters.db.past import looking, read_articles, read_now
from oms.policy import Policy
from tests.adapters.db.stockroom import Stockroom


async def test_who_serves_whom_is_said_alike_in_the_books_and_in_a_simulation(
    stockroom: Stockroom,
) -> None:
    await stockroom.has_place("closed", active=False)
    await stockroom.has_place("agent", kind="reseller", channels=("outlet",))
    await stockroom.has_place("pickup", serves=("store_pickup",), channels=("web", "app"))
    await stockroom.has_channel("web", location_kinds=["store"], buffers={"store": 2})
    await stockroom.has_channel("outlet", buffers={"reseller": 1, "warehouse": 3})
    for place in ("lyon", "agent", "closed"):
        await stockroom.holds("LAMP", place, 5)

    async with looking(stockroom.db) as tx:
        world = await read_now(tx, await read_articles(tx), Policy())
        for channel in ("web", "outlet", "app"):
            for method in ("home", "store_pickup"):
                ((row,),) = await at_once(tx, [ask_who_serves(channel, method)])
                said = {id: (why, leaves) for id, why, leaves in row.places}
                shut, leaves = world.shut(channel, method, None), world.buffer(channel)
                ours = zip(shut.tolist(), leaves.tolist(), strict=True)
                assert dict(zip(world.locations.ids, ours, strict=True)) == said
    rows = world.locations.row_of
    assert {id: int(world.stock["LAMP"][rows[id]]) for id in ("lyon", "agent", "nice")} == {
        "lyon": 5,
        "agent": 5,
        "nice": 0,
    }
    assert np.flatnonzero(world.stock["LAMP"]).size == 3
