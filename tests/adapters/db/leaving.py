"""A shop over three places whose orders cost nothing, brought to any state in which they may be."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from adapters.db import master, nodes, reroutes
from adapters.db.book import SqlBook
from adapters.db.recalls import recall
from oms.book import Command
from oms.cancelling import Refusal
from oms.fulfillment import FulfillmentOrder
from oms.numbers import number_from
from oms.orders import Order
from oms.placing import OrderRequest
from oms.policy import Policy
from tests.adapters.db.crowds import violations
from tests.adapters.db.stockroom import NOW, Stockroom, record

POLICY = Policy(grace=timedelta(minutes=1), node_answer=timedelta(minutes=10))
LATER = NOW + timedelta(minutes=2)
Fact = Callable[..., Awaitable[Refusal | None]]


class Shop:
    """Lyon is nearest, then Nice, then Paris. Orders cost nothing."""

    def __init__(self, stockroom: Stockroom) -> None:
        self.stockroom, self.db = stockroom, stockroom.db
        self.book = SqlBook(stockroom.db, POLICY)
        self._orders = self._commands = 0

    async def recorded(self, wanted: dict[str, int] | int = 2, **more: Any) -> str:
        self._orders += 1
        number = number_from(self._orders)
        lines = {"LAMP": wanted} if isinstance(wanted, int) else wanted
        request = OrderRequest.model_validate(
            {
                "channel": "web",
                "reference": number,
                "currency": "EUR",
                "customer": {"id": "c-1"},
                "lines": [
                    {"sku": sku, "quantity": units, "unit_price_minor": 0}
                    for sku, units in lines.items()
                ],
                "delivery": {"method": "home", "address": {"country": "FR"}},
                "tenders": [],
            }
            | more
        )
        await record(self.db, number, request)
        return number

    async def reserved(self, wanted: dict[str, int] | int = 2, **more: Any) -> str:
        number = await self.recorded(wanted, **more)
        await self.book.reserve(number, NOW)
        return number

    async def in_grace(self, wanted: dict[str, int] | int = 2, **more: Any) -> str:
        number = await self.reserved(wanted, **more)
        await self.book.confirm(number, NOW)
        return number

    async def offered(self, wanted: dict[str, int] | int = 2, **more: Any) -> str:
        number = await self.in_grace(wanted, **more)
        await self.routed(number)
        return number

    async def routed(self, number: str) -> Order:
        await self.book.route(number, LATER)
        for each in (await self.order(number)).fulfillment_orders:
            if each.status == "open" and each.offered_at is None:
                await self.book.offered(each.id, LATER)
        return await self.order(number)

    async def accepted(self, wanted: dict[str, int] | int = 2, **more: Any) -> str:
        number = await self.offered(wanted, **more)
        await self.says(f"{number}-F1", nodes.accept)
        return number

    async def says(self, id: str, fact: Fact) -> FulfillmentOrder:
        done = await self.book.node_fact(id, LATER, fact, actor="node")
        assert not isinstance(done, Refusal), done
        return done

    async def picks(self, number: str, **found: int) -> None:
        units = {int(line.removeprefix("line")): count for line, count in found.items()}
        await self.says(f"{number}-F1", lambda unit, each, _: nodes.pick(unit, each, units))

    async def stops(self, number: str, *, accepted: bool) -> None:
        def answer(unit: Any, each: FulfillmentOrder, _: Policy) -> Awaitable[Refusal | None]:
            return nodes.cancel_response(unit, each, accepted=accepted)

        await self.says(f"{number}-F1", answer)

    async def command(self, number: str, command: Command) -> None:
        self._commands += 1
        id = f"c{self._commands}"
        answer = await self.book.command(number, id, command, LATER, actor="operator:ines")
        assert answer.refusal is None, answer.refusal

    async def closes(self, place: str = "lyon", *, clear: bool = True) -> None:
        async with self.db.begin() as tx:
            assert await master.close_location(tx, place, clear=clear, at=LATER)

    async def opens(self, place: str = "lyon") -> None:
        async with self.db.begin() as tx:
            assert await master.open_location(tx, place)

    async def recalls(self, sku: str = "LAMP", place: str | None = None) -> None:
        async with self.db.begin() as tx:
            await recall(tx, sku, place)

    async def leaves(self, number: str, reroute: str = "RR-1") -> tuple[str, str]:
        """What became of the order, and told again the same."""
        async with self.db.begin() as tx:
            await reroutes.begin(
                tx,
                reroute,
                kind="location",
                location=reroute,
                sku=None,
                reason="water damage",
                actor="operator:ines",
                at=LATER,
            )
        for _ in range(2):
            await self.book.leave_places(number, LATER, reroute, actor="operator:ines")
        async with self.db.connect() as tx:
            found = await reroutes.orders_of(tx, reroute, outcome=None, after=None, limit=100)
        (done,) = [row for row in found if row["order_number"] == number]
        return done["outcome"], done["detail"]

    async def order(self, number: str) -> Order:
        return await self.book.read(number)

    async def held(self, number: str) -> dict[str, int]:
        """Units allocated to the order by place."""
        found: dict[str, int] = {}
        for each in (await self.order(number)).allocations:
            found[each.location] = found.get(each.location, 0) + each.quantity
        return found

    async def parts(self, number: str) -> list[tuple[str, str]]:
        order = await self.order(number)
        return [(each.location, each.status) for each in order.fulfillment_orders]

    async def allocated(self, place: str, sku: str = "LAMP") -> int:
        return (await self.stockroom.level(sku, place)).get("allocated", 0)

    async def opens_its_doors(self) -> None:
        """Twenty lamps and mugs at each place, all of which serve both ways."""
        async with self.db.begin() as tx:
            for place, latitude in (("lyon", 45.7), ("nice", 43.7), ("paris", 48.9)):
                await tx.execute(
                    text(
                        "UPDATE locations SET latitude = :lat, longitude = 4.8,"
                        " serves = ARRAY['home', 'store_pickup'] WHERE id = :id"
                    ),
                    {"lat": latitude, "id": place},
                )
        for sku in ("LAMP", "MUG"):
            for place in ("lyon", "nice", "paris"):
                await self.stockroom.holds(sku, place, 20)

    async def is_sound(self) -> bool:
        assert not (wrong := await violations(self.stockroom)), wrong
        return await self.stockroom.adds_up()
