"""Orders brought to the door by the books alone, and the returns of them, due step by due step."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from adapters.db import nodes, parcels, return_inspections, return_receipts, returns
from adapters.db.audit import read_snapshot
from adapters.db.book import SqlBook
from adapters.db.nodes import Parcel
from adapters.db.return_book import SqlReturns
from adapters.db.return_inspections import Inspected
from adapters.db.return_receipts import Arrived
from adapters.db.returns import Announced, NewReturn
from adapters.db.unit import OrderUnit
from oms import agenda as due_for
from oms import return_agenda as due_back
from oms.agenda import Due, order_agenda
from oms.audit import Finding
from oms.cancelling import Refusal
from oms.numbers import number_from, order_of
from oms.orders import Order
from oms.placing import OrderRequest
from oms.policy import Policy
from oms.ports import Approved, Declined, LabelBought
from oms.return_agenda import return_agenda
from oms.returns import Return, Terms
from tests.adapters.db.stockroom import NOW, Stockroom, record

POLICY = Policy(grace=timedelta(0))
YES = Approved(provider_reference="p-1")


class Shop:
    """One shop's books, where everybody does their part at once."""

    def __init__(self, stockroom: Stockroom, policy: Policy = POLICY) -> None:
        self.stockroom = stockroom
        self.book = SqlBook(stockroom.db, policy)
        self.returns = SqlReturns(self.book)
        self.now: datetime = NOW
        self._placed = 0

    async def findings(self) -> list[Finding]:
        """What the audit of our own books finds wrong; nothing, as it should be."""
        async with self.stockroom.db.connect() as tx:
            found = (await read_snapshot(tx, self.now)).findings
        return [each for each in found if not each.pending]

    async def tale(self, number: str) -> list[str]:
        """What happened to an order, by kind, oldest first."""
        async with self.stockroom.db.connect() as tx:
            rows = await tx.execute(
                text("SELECT kind FROM events WHERE order_number = :n ORDER BY seq"), {"n": number}
            )
            return list(rows.scalars())

    # --- orders ---

    async def read(self, number: str) -> Order:
        return await self.book.read(number)

    async def back(self, id: str) -> Return:
        return (await self.read(order_of(id))).return_(id)

    async def delivers(self, *lines: tuple[str, int], **more: Any) -> str:
        """An order of (sku, quantity) lines, 10.00 a unit, at the customer's door and closed."""
        number = await self.hands_over(*lines, **more)
        for shipment in (await self.read(number)).shipments:
            await self.scanned(shipment.id, "delivered")
        await self.runs(number)
        assert (await self.read(number)).closed_at is not None
        return number

    async def hands_over(self, *lines: tuple[str, int], **more: Any) -> str:
        """The same, on its way: everything has left and is paid."""
        number = await self.places(*lines, **more)
        await self.runs(number)
        for each in (await self.read(number)).fulfillment_orders:
            await self.serves(number, each.id)
        await self.runs(number)
        return number

    async def places(
        self, *lines: tuple[str, int], price: int = 1000, shipping: int = 490, **more: Any
    ) -> str:
        self._placed += 1
        number = number_from(500_000 + self._placed)
        total = sum(units for _, units in lines) * price + shipping
        tender = {"kind": "card", "provider": "simulator", "token": "tok_ok"}
        request: dict[str, Any] = {
            "channel": "web",
            "reference": f"d-{self._placed}",
            "currency": "EUR",
            "customer": {"id": "c-1"},
            "lines": [
                {"sku": sku, "quantity": units, "unit_price_minor": price} for sku, units in lines
            ],
            "shipping_minor": shipping,
            "delivery": {"method": "home", "address": {"country": "FR"}},
            "tenders": [tender | {"amount_minor": total}] if total else [],
        }
        request |= more
        await record(self.stockroom.db, number, OrderRequest.model_validate(request), at=self.now)
        return number

    async def runs(self, number: str) -> None:
        """The order's process does what is due until nothing is."""
        for _ in range(50):
            order = await self.read(number)
            due = [each for each in order_agenda(order, self.now).due if each.do != due_for.SERVE]
            if not due:
                return
            await self._do(order, due[0])
        raise AssertionError("it never comes to rest")

    async def _do(self, order: Order, due: Due) -> None:
        steps = {
            due_for.RESERVE: self.book.reserve,
            due_for.CONFIRM: self.book.confirm,
            due_for.ROUTE: self.book.route,
            due_for.CLOSE: self.book.close,
        }
        if due.do == due_for.SETTLE:
            await self.pays(due.about)
        else:
            await steps[due.do](order.number, self.now)

    async def pays(self, key: str, answer: Approved | Declined = YES) -> None:
        """The provider answers about a payment."""
        await self.book.begin_payment(key, self.now)
        await self.book.settle_payment(key, answer, self.now, settled_by="provider")

    async def serves(self, number: str, id: str) -> None:
        """A location sends all of a fulfillment order."""
        each = (await self.read(number)).fulfillment_order(id)
        await self.book.offered(id, self.now)
        lines = {line.line: line.quantity for line in each.lines}
        facts = (
            nodes.accept,
            lambda unit, each, _: nodes.pick(unit, each, lines),
            lambda unit, each, _: nodes.pack(unit, each, [Parcel(weight_g=500, lines=lines)]),
        )
        for fact in facts:
            told = await self.book.node_fact(id, self.now, fact, actor="node:x")
            assert not isinstance(told, Refusal)
        for shipment in (await self.read(number)).shipments_of(id):
            label = LabelBought(carrier="simulator", tracking_number=f"SIM-{shipment.id}")
            await self.book.label_bought(shipment.id, label, self.now)
        gone = await self.book.node_fact(
            id,
            self.now,
            lambda unit, each, _: nodes.hand_over(unit, each, code=None, verified_by=None),
            actor="node:x",
        )
        assert not isinstance(gone, Refusal)

    async def scanned(self, shipment: str, status: str) -> None:
        """The carrier scans an outbound parcel."""

        async def scan(unit: OrderUnit) -> None:
            await parcels.record_scan(
                unit,
                unit.order.shipment(shipment),
                event_id=f"e-{shipment}-{status}-{self.now.isoformat()}",
                status=status,
                at=self.now,
            )

        await self.book.change(order_of(shipment), self.now, scan)

    # --- returns ---

    async def asks(
        self,
        number: str,
        *lines: tuple[int, int],
        location: str | None = "lyon",
        terms: Terms | None = None,
        **more: Any,
    ) -> str:
        """A return of (line, quantity), agreed by the usual terms unless said otherwise."""
        more = {"parcels": 1, "days": (14, 28), **more}
        new = NewReturn(
            lines=tuple(Announced(line, units, "too_small") for line, units in lines),
            terms=terms or Terms(),
            refund_minor=0,
            location=location,
            **more,
        )
        return await self.book.change(
            number, self.now, lambda unit: returns.request_return(unit, new)
        )

    async def receives(
        self, id: str, *found: tuple[Any, ...], at: str = "lyon", key: str = "scan-1"
    ) -> Refusal | None:
        """A location scans (line, quantity, condition)."""
        arrived = [Arrived(*each) for each in found]
        return await self._fact(
            id, lambda unit, back: return_receipts.receive_goods(unit, back, at, arrived, key=key)
        )

    async def inspects(self, id: str, *decided: tuple[Any, ...]) -> Refusal | None:
        """A location decides about (line, quantity, accepted)."""
        decisions = [Inspected(*each) for each in decided]
        return await self._fact(
            id, lambda unit, back: return_inspections.inspect_goods(unit, back, decisions)
        )

    async def calls_off(self, id: str) -> None:
        """The customer keeps it after all."""
        assert await self._fact(id, returns.cancel_return) is None

    async def _fact(self, id: str, fact: Any) -> Refusal | None:
        async def apply(unit: OrderUnit) -> Refusal | None:
            done: Refusal | None = await returns.change_return(
                unit, id, fact, cause="fact", nudge=True
            )
            return done

        return await self.book.change(order_of(id), self.now, apply, actor="node:x")

    async def settles(self, id: str, answers: Sequence[Approved | Declined] = ()) -> None:
        """The return's process does what is due until nothing is; tasks of people stay."""
        told = iter(answers)
        for _ in range(50):
            order = await self.read(order_of(id))
            agenda = return_agenda(order, id, self.now, silent=self.book.policy.silent)
            failed = {each.key for each in (*order.entries, *order.elsewhere) if not each.is_open}
            due = [
                each
                for each in agenda.due
                if each.do != due_for.ATTEND and each.about not in failed
            ]
            if not due:
                return
            await self.does(id, due[0], next(told, YES) if due[0].do == "settle" else YES)
        raise AssertionError("it never comes to rest")

    async def does(self, id: str, due: Due, answer: Approved | Declined = YES) -> None:
        """The return's process does one thing."""
        steps = {
            due_back.REMIND: self.returns.remind,
            due_for.EXPIRE: self.returns.expire,
            due_back.GIVE_BACK: self.returns.give_back,
            due_back.PUT_AWAY: self.returns.put_away,
            due_back.LET_EXCHANGE_GO: self.returns.let_exchange_go,
            due_back.CANCEL_EXCHANGE: self.returns.cancel_exchange,
            due_for.CLOSE: self.returns.close,
        }
        if due.do == due_for.SETTLE:
            await self.pays(due.about, answer)
        elif due.do == due_for.BUY_LABEL:
            label = LabelBought(carrier="simulator", tracking_number=f"SIM-{due.about}")
            await self.returns.label_bought(due.about, label, self.now)
        elif due.do == due_for.POLL:
            await self.returns.scanned(due.about, [], self.now)
        else:
            await steps[due.do](id, self.now)
