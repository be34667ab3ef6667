"""Returns in the books over PostgreSQL. See `oms.return_book.ReturnBook` for each method."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from typing_extensions import override

from adapters.db import exchanges, restocking, return_parcels, return_steps, returns
from adapters.db.book import SqlBook
from adapters.db.return_policies import current_policy
from adapters.db.unit import OrderUnit
from oms.agenda import Agenda
from oms.numbers import order_of, return_of
from oms.ports import LabelBought, LabelRequest, Scan
from oms.return_agenda import return_agenda
from oms.return_book import ReturnBook
from oms.returns import Return

Effect = Callable[[OrderUnit, Return], Awaitable[Any]]


class SqlReturns(ReturnBook):
    """Every method is one transaction on the return's order."""

    def __init__(self, book: SqlBook) -> None:
        self._book = book

    async def _change(self, id: str, at: datetime, effect: Effect, cause: str) -> Agenda:
        async def apply(unit: OrderUnit) -> Agenda:
            await returns.change_return(unit, id, effect, cause=cause)
            return return_agenda(await unit.reloaded(), id, at, silent=self._book.policy.silent)

        return await self._book.change(order_of(id), at, apply)

    @override
    async def agenda(self, id: str, at: datetime) -> Agenda:
        order = await self._book.read(order_of(id))
        return return_agenda(order, id, at, silent=self._book.policy.silent)

    @override
    async def remind(self, id: str, at: datetime) -> Agenda:
        return await self._change(id, at, return_steps.remind, "remind")

    @override
    async def expire(self, id: str, at: datetime) -> Agenda:
        return await self._change(id, at, return_steps.expire, "expire")

    @override
    async def give_back(self, id: str, at: datetime) -> Agenda:
        return await self._change(id, at, return_steps.give_back, "give_back")

    @override
    async def put_away(self, id: str, at: datetime) -> Agenda:
        async def effect(unit: OrderUnit, back: Return) -> None:
            await restocking.put_away(unit, back, await current_policy(unit.tx))

        return await self._change(id, at, effect, "put_away")

    @override
    async def let_exchange_go(self, id: str, at: datetime) -> Agenda:
        await exchanges.let_go(self._book, id, at)
        return await self.agenda(id, at)

    @override
    async def cancel_exchange(self, id: str, at: datetime) -> Agenda:
        await exchanges.call_off(self._book, id, at)
        return await self.agenda(id, at)

    @override
    async def close(self, id: str, at: datetime) -> Agenda:
        return await self._change(id, at, return_steps.close_return, "close_return")

    # --- parcels ---

    @override
    async def label_request(self, parcel: str) -> LabelRequest | None:
        async with self._book.engine.connect() as tx:
            return await return_parcels.return_label_request(tx, parcel)

    @override
    async def label_bought(self, parcel: str, label: LabelBought, at: datetime) -> Agenda:
        async def effect(unit: OrderUnit, back: Return) -> None:
            await return_parcels.write_return_label(unit, back, parcel, label)

        return await self._change(return_of(parcel), at, effect, "label")

    @override
    async def tracking_number_of(self, parcel: str) -> str | None:
        order = await self._book.read(order_of(parcel))
        parcels = order.return_(return_of(parcel)).parcels
        return next(each.tracking_number for each in parcels if each.id == parcel)

    @override
    async def scanned(self, parcel: str, scans: Sequence[Scan], at: datetime) -> Agenda:
        await self._tell_followers(parcel, scans, at, "oms")

        async def effect(unit: OrderUnit, back: Return) -> None:
            await return_parcels.record_look_up(unit, back, parcel, scans)

        return await self._change(return_of(parcel), at, effect, "look_up")

    async def heard(
        self,
        parcel: str,
        scan: Scan,
        at: datetime,
        *,
        actor: str,
        also: Callable[[OrderUnit], None],
    ) -> None:
        """Write down a scan that a carrier told by itself, and `also` together with it."""
        await self._tell_followers(parcel, [scan], at, actor)

        async def effect(unit: OrderUnit, back: Return) -> None:
            await return_parcels.record_return_scans(unit, back, parcel, [scan])

        async def apply(unit: OrderUnit) -> None:
            await returns.change_return(unit, return_of(parcel), effect, cause="scan", nudge=True)
            also(unit)

        await self._book.change(order_of(parcel), at, apply, actor=actor)

    async def _tell_followers(
        self, parcel: str, scans: Sequence[Scan], at: datetime, actor: str
    ) -> None:
        """Write what a scan means for returns of other orders in the same parcel.

        They come first: what is repeated because it was cut off finds none left out.
        """
        if all(scan.status == "label_created" for scan in scans):
            return
        async with self._book.engine.connect() as tx:
            followers = await return_parcels.followers_of(tx, parcel)
        for number, id in followers:

            async def follow(unit: OrderUnit, id: str = id) -> None:
                await returns.change_return(
                    unit, id, return_parcels.follow_scan, cause="scan", nudge=True
                )

            await self._book.change(number, at, follow, actor=actor)
