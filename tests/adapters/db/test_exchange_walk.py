"""Exchanges, claims and refunds of one another at will: the books stay sound, nothing is stuck.

Each walk is drawn from its seed; `OMS_WALKS` says how many.
"""

import os
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.db.cancelling import cancel_order
from adapters.db.returns import cancel_return, change_return
from oms.exchanges import unit_worth
from oms.orders import Order
from tests.adapters.db.exchanging import CARD, Exchanging
from tests.adapters.db.stockroom import Stockroom

SEEDS = range(int(os.environ.get("OMS_WALKS", "3")))
STEPS = 30


class Walk:
    """What customers, carriers and locations may do next, drawn by chance."""

    def __init__(self, shop: Exchanging, chance: random.Random) -> None:
        self.shop, self.chance = shop, chance
        self.placed: list[str] = []
        self.doing: list[Callable[[Order], Awaitable[None]]] = [
            *(self.swaps, self.asks, self.claims, self.comes_back, self.comes_back),
            *(self.leaves, self.leaves, self.arrives, self.gets_lost, self.thinks_again),
        ]

    async def orders(self) -> list[Order]:
        """All orders, those in exchange too."""
        found, numbers = [], list(self.placed)
        for number in numbers:
            order = await self.shop.read(number)
            found.append(order)
            numbers += [each.exchange_order for each in order.returns if each.exchange_order]
        return found

    async def step(self) -> None:
        self.shop.now += timedelta(minutes=self.chance.randint(1, 600))
        orders = await self.orders()
        if not orders or self.chance.random() < 0.1:
            await self.buys()
        else:
            await self.chance.choice(self.doing)(self.chance.choice(orders))
        if self.chance.random() < 0.6:
            await self.rests()

    async def rests(self) -> None:
        """Every process does what is due; what one tells another, too."""
        for _ in range(3):
            for order in await self.orders():
                await self.shop.runs(order.number)
                for back in order.returns:
                    await self.shop.settles(back.id)

    # --- what may happen ---

    async def buys(self) -> None:
        units, price = self.chance.randint(1, 3), self.chance.choice([1000, 333])
        line = (self.chance.choice(["LAMP", "SOFA"]), units)
        self.placed.append(await self.shop.places(line, price=price))

    async def swaps(self, order: Order) -> None:
        free, price = order.returnable(1), self.chance.choice([None, 400, 1500])
        if not free:
            return
        units = self.chance.randint(1, free)
        line = {"quantity": units, "sku": self.chance.choice(["LAMP", "MUG"])}
        more: dict[str, Any] = {"ships": self.chance.choice([None, "at_once", "receipt"])}
        worth = sum(unit_worth(order.number, order.lines[0]).values())
        if price is not None:
            line["unit_price_minor"] = price
            due = (price - worth) * units
            more["tenders"] = [CARD | {"amount_minor": due}] if due > 0 else []
        await self.shop.swaps(order.number, line, **more)

    async def asks(self, order: Order) -> None:
        if free := order.returnable(1):
            await self.shop.asks(order.number, (1, self.chance.randint(1, free)))

    async def claims(self, order: Order) -> None:
        if free := order.returnable(1):
            reason = self.chance.choice(["lost", "damaged"])
            resolution = self.chance.choice(["refund", "replace"])
            units = self.chance.randint(1, free)
            await self.shop.claimed(order.number, units, reason=reason, resolution=resolution)

    async def comes_back(self, order: Order) -> None:
        live = [each for each in order.returns if each.is_live and each.kind == "return"]
        for back in live[:1]:
            units = self.chance.randint(1, max(1, back.lines[0].expected))
            condition = self.chance.choice(["as_new", "opened", "damaged", "missing"])
            key = f"scan-{self.chance.random()}"
            await self.shop.receives(back.id, (1, units, condition), key=key)
            lots = (await self.shop.back(back.id)).lots
            waiting = sum(lot.quantity for lot in lots if lot.state == "received")
            if waiting:
                await self.shop.inspects(back.id, (1, waiting, self.chance.random() < 0.7))

    async def leaves(self, order: Order) -> None:
        await self.shop.sends(order.number)

    async def arrives(self, order: Order) -> None:
        for shipment in order.shipments:
            if shipment.handed_over_at is not None and not shipment.is_final:
                await self.shop.scanned(shipment.id, "delivered")

    async def gets_lost(self, order: Order) -> None:
        for shipment in order.shipments:
            if shipment.handed_over_at is not None and not shipment.is_final:
                await self.shop.gives_up(shipment.id)

    async def thinks_again(self, order: Order) -> None:
        """The customer calls a return off, or an order, if they still may."""
        book, now = self.shop.book, self.shop.now
        if not order.returns:
            await book.change(
                order.number, now, lambda unit: cancel_order(unit, None, "changed", book.policy)
            )
            return
        id = order.returns[0].id
        await book.change(
            order.number, now, lambda unit: change_return(unit, id, cancel_return, cause="test")
        )


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_is_exchanged_for_what_the_books_stay_sound(
    stockroom: Stockroom, seed: int
) -> None:
    for sku, place, units in (("LAMP", "lyon", 20), ("MUG", "lyon", 4), ("SOFA", "nice", 5)):
        await stockroom.holds(sku, place, units)
    walk = Walk(Exchanging(stockroom), random.Random(seed))

    for _ in range(STEPS):
        await walk.step()
    await walk.rests()

    assert await walk.shop.is_sound()
    for order in await walk.orders():
        for back in order.returns:
            assert back.is_live or back.closed_at is not None, f"{back.id} never ends"
            if back.exchange_order is not None and not back.is_live:
                other = await walk.shop.read(back.exchange_order)
                assert not other.open_holds or other.closed_at, f"{other.number} is held for ever"
