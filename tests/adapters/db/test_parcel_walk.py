"""Parcels turn round, are lost and found, and goods arrive that nobody announced: books agree.

Each walk is drawn from its seed; `OMS_WALKS` says how many. A failure tells the way there.
"""

import os
import random
from datetime import timedelta
from typing import Any, cast

import pytest

from adapters.db.audit import read_snapshot
from adapters.db.found_goods import FoundFilter, Goods, belongs_to, decide_fate, list_found, take_in
from adapters.db.return_decisions import decide_return
from adapters.db.return_inspections import hand_back
from adapters.db.returns import change_return
from adapters.db.unit import OrderUnit, load_orders
from oms import agenda as due_for
from oms.agenda import fulfillment_agenda
from oms.book import DecideFulfillment
from oms.cancelling import Refusal
from oms.decisions import Decision
from oms.found import Found
from oms.numbers import order_of
from oms.orders import Order
from oms.ports import Scan
from oms.return_agenda import return_agenda
from oms.returns import Return
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom

SEEDS = range(int(os.environ.get("OMS_WALKS", "2")))
STEPS = 50
SKUS = ("LAMP", "MUG")
PLACES = ("lyon", "nice")
CONDITIONS: Any = ("as_new", "as_new", "opened", "damaged", "wrong_item")
OUT = ("in_transit", "attempt_failed", "returned_to_sender", "returned_to_sender", "lost")


class Walk:
    """A few orders, their parcels, and whatever comes back of them."""

    def __init__(self, stockroom: Stockroom, seed: int) -> None:
        self.shop, self.chance = Shop(stockroom), random.Random(seed)
        self.numbers: list[str] = []
        self.trail: list[str] = []

    async def orders(self) -> list[Order]:
        async with self.shop.stockroom.db.connect() as tx:
            return await load_orders(tx, self.numbers)

    async def check(self) -> None:
        async with self.shop.stockroom.db.connect() as tx:
            found = (await read_snapshot(tx, self.shop.now)).findings
        assert not (wrong := [each for each in found if not each.pending]), wrong

    async def step(self) -> None:
        """Let one thing happen."""
        self.shop.now += timedelta(hours=self.chance.choice((1, 1, 5, 24 * 8)))
        if len(self.numbers) < 2 or (len(self.numbers) < 5 and self.chance.random() < 0.1):
            await self.buys()
            return
        order = self.chance.choice(await self.orders())
        happenings = (
            *(self.scans, self.scans, self.asks, self.arrives, self.arrives, self.arrives),
            *(self.inspects, self.goes_on, self.goes_on, self.decides, self.resolves),
        )
        await self.chance.choice(happenings)(order)

    async def buys(self) -> None:
        lines = [(sku, self.chance.randint(1, 3)) for sku in SKUS[: self.chance.randint(1, 2)]]
        self.numbers.append(await self.shop.hands_over(*lines))
        self.trail.append(f"{self.numbers[-1]} bought {lines}")

    async def scans(self, order: Order) -> None:
        """A carrier tells of a parcel, on its way out or back."""
        status = self.chance.choice((*OUT, "delivered"))
        back = [each.id for r in order.returns for each in r.parcels if each.tracking_number]
        parcel = self.chance.choice([each.id for each in order.shipments] + back)
        self.trail.append(f"{parcel} {status}")
        if parcel in back:
            scan = Scan(event_id=f"e-{len(self.trail)}", status=status, at=self.shop.now)
            await self.shop.returns.heard(
                parcel, scan, self.shop.now, actor="carrier", also=lambda unit: None
            )
        else:
            await self.shop.scanned(parcel, status)

    async def asks(self, order: Order) -> None:
        """A customer announces some of what they may."""
        line = self.chance.choice(order.lines)
        if units := order.returnable(line.line):
            units = self.chance.randint(1, units)
            self.trail.append(f"{order.number} line {line.line}: {units} asked for")
            await self.shop.asks(order.number, (line.line, units))

    async def arrives(self, order: Order) -> None:
        """A place opens a parcel: of a return, of ours, of the order, or of nobody knows what."""
        line = self.chance.choice(order.lines)
        condition = self.chance.choice(CONDITIONS)
        named = {"line": line.line} if condition == "wrong_item" else {"sku": line.sku}
        found = Found(self.chance.randint(1, 3), condition, **cast(dict[str, Any], named))
        place = self.chance.choice(PLACES)
        goods = Goods(place, f"box {self.chance.randint(1, 40)}", (found,))
        in_return = [{"back": each.id} for each in order.returns if each.kind != "claim"]
        in_ours = [{"shipment": each.id} for each in order.shipments]
        how = self.chance.choice([{}, *in_return, *in_ours])
        self.trail.append(f"{order.number} {goods} {how}")

        async def take(unit: OrderUnit) -> Refusal | bool:
            return await take_in(unit, goods, **how)

        await self.shop.book.change(order.number, self.shop.now, take, actor="node")

    async def inspects(self, order: Order) -> None:
        for back in order.returns:
            for lot in back.lots:
                if lot.state == "received" and self.chance.random() < 0.6:
                    yes = self.chance.random() < 0.7
                    self.trail.append(f"{back.id} lot {lot.id}: {yes}")
                    await self.shop.inspects(back.id, (lot.line, lot.quantity, yes))

    async def goes_on(self, order: Order) -> None:
        """The processes do what is due."""
        self.trail.append(f"{order.number} goes on")
        await self.shop.runs(order.number)
        for back in order.returns:
            await self.shop.settles(back.id)

    async def decides(self, order: Order) -> None:
        """People settle what waits for them."""
        for each in order.fulfillment_orders:
            agenda = fulfillment_agenda(
                order, each.id, self.shop.now, silent=self.shop.book.policy.silent
            )
            for due in agenda.due:
                if due.do == due_for.ATTEND:
                    decision = self._decision(due.step, self.chance.choice(due.actions))
                    command = DecideFulfillment(fulfillment_order=each.id, decision=decision)
                    await self.shop.book.command(
                        order.number, f"d{len(self.trail)}", command, self.shop.now, actor="ops"
                    )
                    return
        for back in order.returns:
            await self.attends(order, back, self.chance.random() < 0.5)

    def _decision(self, step: str, action: str) -> Decision:
        self.trail.append(f"{step}: {action}")
        return Decision.model_validate(
            {"step": step, "action": action, "actor": "ops", "reason": "walk"}
        )

    async def attends(self, order: Order, back: Return, ends: bool) -> None:
        """A person looks after one return; `ends`: does not wait any longer."""
        agenda = return_agenda(order, back.id, self.shop.now, silent=self.shop.book.policy.silent)
        for due in agenda.due:
            if due.do == due_for.ATTEND:
                action = "done_manually" if ends else self.chance.choice(due.actions)
                decision = self._decision(due.step, action)

                async def decide(unit: OrderUnit, decision: Decision = decision) -> None:
                    await decide_return(unit, back.id, decision)

                await self.shop.book.change(order.number, self.shop.now, decide)
                return

    async def resolves(self, order: Order) -> None:
        """An operator says what found goods are, rightly or not."""
        async with self.shop.stockroom.db.connect() as tx:
            wanted = FoundFilter(open=True)
            found = await list_found(tx, wanted, after=None, limit=5)
        if not found:
            return
        id = self.chance.choice(found)["id"]
        if self.chance.random() < 0.5:
            line = self.chance.choice(order.lines).line

            async def belongs(unit: OrderUnit) -> object:
                return await belongs_to(unit, id, line, "walk")

            done: object = await self.shop.book.change(order.number, self.shop.now, belongs)
        else:
            fate: Any = self.chance.choice(("restock", "quarantine", "dispose"))
            async with self.shop.stockroom.db.begin() as tx:
                done = await decide_fate(tx, id, fate, "walk", at=self.shop.now)
        self.trail.append(f"found {id}: {done}")

    async def _hands_back(self, id: str) -> None:
        """What was refused leaves for the customer."""

        async def apply(unit: OrderUnit) -> object:
            return await change_return(unit, id, hand_back, cause="fact", nudge=True)

        await self.shop.book.change(order_of(id), self.shop.now, apply)

    async def comes_home(self) -> None:
        """Everybody does their part: every order and return comes to its end."""
        for _ in range(30):
            for order in await self.orders():
                for shipment in order.shipments:
                    if not shipment.is_final and order.undeliverable(shipment.id) is None:
                        await self.shop.scanned(shipment.id, "delivered")
                for back in order.returns:
                    for lot in back.lots:
                        if lot.state == "received":
                            await self.shop.inspects(back.id, (lot.line, lot.quantity, True))
                    await self.attends(await self.shop.read(order.number), back, ends=True)
                    await self._hands_back(back.id)
                await self.goes_on(await self.shop.read(order.number))
            self.shop.now += timedelta(days=15)
            ended = [
                order.closed_at is not None and all(back.closed_at for back in order.returns)
                for order in await self.orders()
            ]
            if all(ended):
                return
        raise AssertionError("something never ends")


@pytest.mark.parametrize("seed", SEEDS)
async def test_parcels_that_wander_leave_the_books_in_order(
    stockroom: Stockroom, seed: int
) -> None:
    for sku in SKUS:
        await stockroom.holds(sku, "lyon", 50)
    walk = Walk(stockroom, seed)
    try:
        for _ in range(STEPS):
            await walk.step()
            await walk.check()
        await walk.comes_home()
        await walk.check()
    except Exception as fault:
        way = "\n".join(walk.trail[-40:])
        raise AssertionError(f"seed {seed}: {fault!r}, after\n{way}") from fault
