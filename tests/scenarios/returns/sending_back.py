"""What customers in these scenarios have bought, and what is looked at once it came back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from sqlalchemy import text
from temporalio.client import Client

from tests.returning import Back
from tests.world import World, a_shop

PRICE = 1999
SHIPPING = 490
HELD = 10

_ARTICLES = count(1)


@asynccontextmanager
async def a_shop_for_returns(
    database_url: str, temporal: Client, **options: Any
) -> AsyncIterator[World]:
    """A warehouse and a store in Lyon; nobody is in a hurry."""
    async with a_shop(database_url, temporal, **options) as world:
        await world.has_place("store-lyon", kind="store", active=True)
        yield world


async def an_article(world: World, units: int = HELD) -> str:
    """A new article, of which the warehouse holds so many: no other test touches it."""
    sku = f"ARTICLE-{next(_ARTICLES)}"
    await world.sells(sku)
    await world.holds(sku, "wh-lyon", units)
    return sku


async def delivered(world: World, wanted: dict[str, int], **more: Any) -> str:
    """An order that was paid for and is with its customer; gives its number."""
    await world.outside.hurries()
    number: str = (await world.place(wanted, **more))["number"]
    await world.until_status(number, "completed")
    await world.outside.hurries(1)
    return number


async def bought(world: World, units: int = 1, **more: Any) -> tuple[str, str]:
    """A customer has so many of a new article: (its SKU, the order's number)."""
    sku = await an_article(world)
    return sku, await delivered(world, {sku: units}, **more)


async def shelf(world: World, sku: str, location: str = "wh-lyon") -> dict[str, int]:
    """What lies there, and what is on its way there; what is nought is left out."""
    levels = (await world.ok("GET", f"/v1/stock/{sku}"))["locations"]
    none: dict[str, int] = {}
    here = next((row for row in levels if row["location"] == location), none)
    seen = ("on_hand", "reserved", "allocated", "damaged", "incoming")
    return {bucket: here[bucket] for bucket in seen if here.get(bucket)}


async def refunds_of(world: World, number: str) -> list[int]:
    """What the provider gave back for an order, refund by refund."""
    return [minor for kind, minor in await world.money_of(number) if kind == "refund"]


async def is_back(world: World, number: str, *, returned: int, refunded_minor: int) -> None:
    """The order tells what came back; our books and the provider's say the same; all agree."""
    order = await world.order(number)
    assert sum(line["returned"] for line in order["lines"]) == returned
    assert order["payments"]["refunded_minor"] == refunded_minor
    assert sum(await refunds_of(world, number)) == refunded_minor
    await world.audit_is_clean()


async def time_passes_to(world: World, id: str, moment: str) -> None:
    """A deadline of a return (a column of the books) passes now, and its process looks."""
    async with world.engine.begin() as tx:
        await tx.execute(text(f"UPDATE returns SET {moment} = now() WHERE id = :id"), {"id": id})
    run = world.temporal.get_workflow_handle(f"return/{id}")
    await run.signal("changed", "the test's clock moved")


async def labelled(world: World, id: str) -> list[str]:
    """Wait until every parcel of a return has its label; gives the tracking numbers."""

    def all_have(back: Back) -> bool:
        parcels = back["parcels"]
        return bool(parcels) and all(each["tracking_number"] for each in parcels)

    back = await world.until_back(id, all_have)
    return [each["tracking_number"] for each in back["parcels"]]


async def puts_in_the_post(world: World, id: str) -> None:
    """The customer brings the parcels to the post, which carries them to their place."""
    for tracking_number in await labelled(world, id):
        await world.scan(tracking_number, "in_transit")
        await world.scan(tracking_number, "delivered")


async def each_has_one(world: World, count: int) -> tuple[str, list[str]]:
    """So many customers have one of an article each: its SKU, and the orders' numbers."""
    sku = await an_article(world, HELD + count)
    await world.outside.hurries()
    placed = await asyncio.gather(*(world.place({sku: 1}) for _ in range(count)))
    numbers = [order["number"] for order in placed]
    for number in numbers:
        await world.until_status(number, "completed")
    return sku, numbers


async def all_have_struck(world: World, numbers: Sequence[str]) -> None:
    """Wait until whatever breaks on these orders has broken."""

    async def struck() -> bool:
        return not any(world.break_of(number)[1] for number in numbers)

    await world.wait(struck)
