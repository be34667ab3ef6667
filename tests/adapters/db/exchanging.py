"""Exchanges and claims by the books alone, as customers ask for them."""

import json
from typing import Any

from sqlalchemy import text

from adapters.db import parcel_ends
from adapters.db.audit import read_snapshot
from adapters.db.return_asking import NotReturnable, ask_claim, ask_return, finish_at_till
from adapters.db.unit import OrderUnit
from oms.agenda import SERVE, order_agenda
from oms.cancelling import Refusal
from oms.numbers import order_of
from oms.placing import Unacceptable
from oms.return_requests import ClaimRequest, ReturnRequest
from tests.adapters.db.delivered import Shop

CARD = {"kind": "card", "provider": "simulator", "token": "tok_ok"}


class Exchanging(Shop):
    """A shop whose customers want something else instead, or claim."""

    async def tries(
        self, number: str, *lines: dict[str, Any], **more: Any
    ) -> str | NotReturnable | Unacceptable | Refusal:
        """Ask for an exchange of lines; a line has one unit of the first, unless said otherwise."""
        usual = {"line": 1, "quantity": 1, "reason": "too_small"}
        body = {
            "order": number,
            "via": "post",
            "lines": [usual | line for line in lines or ({},)],
            "resolution": "exchange",
        } | more
        request = ReturnRequest.model_validate_json(json.dumps(body))
        return await self.book.change(number, self.now, lambda unit: ask_return(unit, request))

    async def swaps(self, number: str, *lines: dict[str, Any], **more: Any) -> tuple[str, str]:
        """Exchange; gives the return, and the exchange order as its process has placed it."""
        ships = more.pop("ships", None)
        id = await self.tries(number, *lines, **more)
        assert isinstance(id, str), id
        if ships is not None:
            await self._terms(id, exchange_ships=ships)
        other = (await self.back(id)).exchange_order
        assert other is not None
        await self.runs(other)
        await self.book.change(number, self.now, lambda unit: finish_at_till(unit, id))
        return id, other

    async def _terms(self, id: str, **values: Any) -> None:
        async with self.stockroom.db.begin() as tx:
            await tx.execute(
                text("UPDATE returns SET terms = terms || CAST(:t AS jsonb) WHERE id = :id"),
                {"t": json.dumps(values), "id": id},
            )

    async def claims(
        self, number: str, units: int = 1, reason: str = "lost", resolution: str = "refund"
    ) -> str | NotReturnable | Unacceptable | Refusal:
        body = {
            "order": number,
            "lines": [{"line": 1, "quantity": units, "reason": reason}],
            "resolution": resolution,
        }
        request = ClaimRequest.model_validate_json(json.dumps(body))
        return await self.book.change(number, self.now, lambda unit: ask_claim(unit, request))

    async def claimed(self, number: str, units: int = 1, **more: Any) -> str:
        """A claim that is taken, its exchange order placed, and all that was due done."""
        id = await self.claims(number, units, **more)
        assert isinstance(id, str), id
        other = (await self.back(id)).exchange_order
        if other is not None:
            await self.runs(other)
        await self.settles(id)
        return id

    async def comes_back(self, id: str, units: int = 1, *, accepted: bool = True) -> None:
        """Units of the first line arrive and are looked at, and all that is due then is done."""
        await self.receives(id, (1, units, "as_new"), key=f"scan-{units}-{accepted}")
        await self.inspects(id, (1, units, accepted))
        await self.settles(id)

    async def sends(self, number: str) -> list[str]:
        """An order's process and its locations do their part; gives the parcels that left."""
        await self.runs(number)
        for due in order_agenda(await self.read(number), self.now).due:
            if due.do == SERVE:
                await self.serves(number, due.about)
        await self.runs(number)
        order = await self.read(number)
        return [each.id for each in order.shipments if each.handed_over_at is not None]

    async def arrives(self, number: str) -> None:
        """All of an order leaves and reaches the customer."""
        for shipment in await self.sends(number):
            await self.scanned(shipment, "delivered")
        await self.runs(number)

    async def gives_up(self, shipment: str) -> None:
        """A person writes a parcel off."""

        async def lose(unit: OrderUnit) -> None:
            await parcel_ends.write_off(unit, unit.order.shipment(shipment))
            await unit.flush("written_off")

        await self.book.change(order_of(shipment), self.now, lose)
        await self.runs(order_of(shipment))

    async def money(self, number: str) -> tuple[int, int]:
        """Captured and refunded, of an order's tender."""
        tender = (await self.read(number)).tender
        return (tender.captured_minor, tender.refunded_minor) if tender else (0, 0)

    async def is_sound(self) -> bool:
        """Whether the audit finds nothing, and the stock adds up."""
        async with self.stockroom.db.connect() as tx:
            found = (await read_snapshot(tx, self.now)).findings
        broken = [each for each in found if not each.pending]
        assert broken == [], broken
        return await self.stockroom.adds_up()
