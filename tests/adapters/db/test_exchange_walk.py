"""Exchanges, claims and refunds of one another at will: the books stay sound, nothing is stuck.

Each walk is drawn from its seed; `OMS_WALKS` says how many.
"""

import os
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from typing_extensions import override

from adapters.db.cancelling import cancel_order
from adapters.db.returns import cancel_return, change_return
from oms.book import DecidePayment
from oms.decisions import Action, Decision
from oms.exchanges import unit_worth
from oms.orders import Order
from oms.ports import Approved, Declined
from tests.adapters.db.delivered import YES
from tests.adapters.db.exchanging import CARD, Exchanging
from tests.adapters.db.stockroom import Stockroom

SEEDS = range(int(os.environ.get("OMS_WALKS", "3")))
STEPS = 30


class Unlucky(Exchanging):
    """A shop whose provider says no now and then, so that people decide about the money."""

    def __init__(self, stockroom: Stockroom, chance: random.Random) -> None:
        super().__init__(stockroom)
        self.chance = chance
        self.trail: list[str] = []

    @override
    async def pays(self, key: str, answer: Approved | Declined = YES) -> None:
        if ":authorize:" in key or self.chance.random() < 0.8:
            await super().pays(key, answer)
            return
        await super().pays(key, Declined(reason="no"))
        actions: tuple[Action, ...] = ("retry", "new_attempt", "done_manually", "fail")
        action = self.chance.choice(actions)
        self.trail.append(f"{key} declined: {action}")
        decision = Decision(step="money", action=action, actor="ops", reason="walk")
        command = DecidePayment(key=key, decision=decision)
        number, id = key.partition(":")[0], f"d-{len(self.trail)}"
        await self.book.command(number, id, command, self.now, actor="ops")

    async def takes_back(self, key: str) -> None:
        """The provider takes back what it had done."""
        self.trail.append(f"{key} fails after all")
        no = Declined(reason="late")
        await self.book.settle_payment(key, no, self.now, settled_by="provider", nudge=True)


class Walk:
    """What customers, carriers and locations may do next, drawn by chance."""

    def __init__(self, shop: Unlucky, chance: random.Random) -> None:
        self.shop, self.chance = shop, chance
        self.placed: list[str] = []
        self.doing: list[Callable[[Order], Awaitable[None]]] = [
            *(self.swaps, self.asks, self.claims, self.comes_back, self.comes_back),
            *(self.leaves, self.leaves, self.arrives, self.gets_lost, self.thinks_again),
            *(self.turns_round, self.money_is_taken_back),
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
            doing, order = self.chance.choice(self.doing), self.chance.choice(orders)
            self.shop.trail.append(f"{order.number} {doing.__name__}")
            await doing(order)
        if self.chance.random() < 0.6:
            await self.rests()

    async def sound(self) -> None:
        assert await self.shop.is_sound()

    async def comes_to_an_end(self) -> None:
        """Nothing of what was left to itself is forgotten, nor held for ever."""
        for order in await self.orders():
            for back in order.returns:
                assert back.is_live or back.closed_at is not None, f"{back.id} never ends"
                if back.exchange_order is not None and not back.is_live:
                    other = await self.shop.read(back.exchange_order)
                    held = other.open_holds and not other.closed_at
                    assert not held, f"{other.number} is held for ever"

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
        live = [each for each in order.returns if each.is_live and each.kind != "claim"]
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

    async def turns_round(self, order: Order) -> None:
        for shipment in order.shipments:
            if shipment.handed_over_at is not None and not shipment.is_final:
                await self.shop.scanned(shipment.id, "returned_to_sender")

    async def money_is_taken_back(self, order: Order) -> None:
        """What a return gave back did not reach the customer; a person decides then."""
        done = [e for e in order.entries if e.of_return and e.status == "succeeded"]
        for entry in done[:1]:
            if entry.settled_by == "provider":
                await self.shop.takes_back(entry.key)
                action: Action = self.chance.choice(["new_attempt", "done_manually", "fail"])
                decision = Decision(step="money", action=action, actor="ops", reason="walk")
                command = DecidePayment(key=entry.key, decision=decision)
                id = f"t-{len(self.shop.trail)}"
                await self.shop.book.command(order.number, id, command, self.shop.now, actor="ops")

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
    chance = random.Random(seed)
    walk = Walk(Unlucky(stockroom, chance), chance)
    try:
        for _ in range(STEPS):
            await walk.step()
            await walk.sound()
        await walk.rests()
        await walk.sound()
        await walk.comes_to_an_end()
    except Exception as fault:
        way = "\n".join(walk.shop.trail[-40:])
        raise AssertionError(f"seed {seed}: {fault!r}, after\n{way}") from fault
