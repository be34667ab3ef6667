"""The verdict about an exchange: its order is placed while the customer waits, or called off.

The return and its exchange order are in the books before, in one transaction. If this process dies
here, the relay starts both, and what became of them is told to whoever asks again under the key.
"""

from datetime import UTC, datetime

from adapters.db.book import SqlBook
from adapters.db.credentials import Credential
from adapters.db.return_asking import finish_at_till
from adapters.db.returns import cancel_return, change_return
from adapters.db.unit import OrderUnit
from api.placing import OrderPlacing, refusal_of
from api.wiring import ApiSettings, TemporalClient
from oms.numbers import order_of


class Exchanges:
    """What asking for an exchange needs: the books, the processes, and who asks."""

    def __init__(
        self, book: SqlBook, temporal: TemporalClient, settings: ApiSettings, who: Credential
    ) -> None:
        self._book, self._who = book, who
        self._placing = OrderPlacing(book.engine, temporal, settings, who)

    async def conclude(self, id: str) -> None:
        """Wait for the verdict about a return's exchange order, if it has one.

        Raises:
            Problem: there are no goods, or no money for them; the return is called off.
        """
        number = (await self._book.read(order_of(id))).return_(id).exchange_order
        if number is None:
            return
        placed = await self._placing.verdict(number)
        if placed.refusal_code is not None:
            await self._call_off(id)
            raise refusal_of(placed)
        await self._book.change(
            order_of(id),
            datetime.now(UTC),
            lambda unit: finish_at_till(unit, id),
            actor=self._who.id,
        )

    async def _call_off(self, id: str) -> None:
        async def apply(unit: OrderUnit) -> None:
            await change_return(unit, id, cancel_return, cause="refused", nudge=True)

        await self._book.change(order_of(id), datetime.now(UTC), apply, actor=self._who.id)
