"""The reconciliation after a restore: ask the outside what it did, and compare.

It runs while every worker rests. What it writes are facts that others vouch for: the outcome of a
payment, the scans of a parcel; and a hold on each order that must not go on before somebody looked.
Everything it does may be done again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.db import recovery
from adapters.db.book import SqlBook
from adapters.db.mode import Mode
from adapters.db.recovery import OpenParcel, OpenPayment
from adapters.db.return_book import SqlReturns
from oms.agenda import IN_DOUBT
from oms.audit import Effect
from oms.book import PlaceHold
from oms.errors import OmsError
from oms.ports import Approved, Carrier, Declined, FulfillmentNode, Offer, PaymentProvider
from oms.recovery import Found, RecoveryReport, compare_outside, in_doubt
from workers.auditing import OutsideBooks, Party

MARGIN = timedelta(hours=1)
"""How far before the backup's moment the outside is asked: clocks differ, and nobody minds seeing
what is known already."""

_AT_ONCE = 8
_LONGEST_NOTE = 255

Progress = Callable[[str, int, int], None]
"""Told what is looked at, how many of it are done, and of how many."""

_T = TypeVar("_T")


class OutsideParties(NamedTuple):
    """Whom to ask: providers and carriers by name, the locations, and the books they show."""

    providers: Mapping[str, PaymentProvider]
    carriers: Mapping[str, Carrier]
    nodes: FulfillmentNode
    books: OutsideBooks


class Recovery:
    """One reconciliation at one time."""

    def __init__(
        self,
        engine: AsyncEngine,
        book: SqlBook,
        outside: OutsideParties,
        temporal: Client | None,
        *,
        now: datetime,
        progress: Progress = lambda what, done, of: None,
    ) -> None:
        self._engine, self._book, self._outside, self._temporal = engine, book, outside, temporal
        self._now, self._progress = now, progress
        self._found: list[Found] = []
        self._counts: dict[str, int] = {}

    async def run(self, mode: Mode) -> RecoveryReport:
        """Ask everybody, hold what is in doubt, and tell what was found."""
        async with self._engine.connect() as tx:
            payments = await recovery.open_payments(tx)
            parcels = await recovery.open_parcels(tx)
            offers = await recovery.offers_under_way(tx)
        await self._each("payments", payments, lambda each: each.key, self._look_up)
        await self._each("parcels", parcels, lambda each: each.id, self._follow)
        await self._each("offers", offers, lambda each: each.fulfillment_order, self._offer_again)
        await self._compare(mode)
        await self._look_for_runs()
        found = sorted(self._found, key=lambda each: (each.kind, each.about))
        return RecoveryReport(found=tuple(found), counts=self._counts)

    # --- by key, through the ports ---

    async def _each(
        self,
        what: str,
        things: Sequence[_T],
        name: Callable[[_T], str],
        ask: Callable[[_T], Awaitable[None]],
    ) -> None:
        gate, done = asyncio.Semaphore(_AT_ONCE), 0
        self._counts[what] = len(things)
        self._progress(what, 0, len(things))

        async def one(thing: _T) -> None:
            nonlocal done
            async with gate:
                try:
                    await ask(thing)
                except OmsError as fault:
                    self._unanswered(name(thing), fault)
            done += 1
            self._progress(what, done, len(things))

        await asyncio.gather(*(one(thing) for thing in things))

    def _unanswered(self, about: str, fault: Exception) -> None:
        words = str(fault) or type(fault).__name__
        self._found.append(Found(kind="unanswered", about=about, effects=(words[:500],)))

    async def _look_up(self, payment: OpenPayment) -> None:
        """Settle a payment by what its provider did. What it never did is asked for later."""
        provider = self._outside.providers[payment.provider]
        if not provider.promises.looks_up_by_key:
            return
        result = await provider.lookup(key=payment.key)
        other_amount = isinstance(result, Approved) and result.amount_minor not in (
            None,
            payment.amount_minor,
        )
        if isinstance(result, Approved | Declined) and not other_amount:
            await self._book.settle_payment(
                payment.key, result, self._now, settled_by="provider", nudge=True
            )

    async def _follow(self, parcel: OpenParcel) -> None:
        """Take in the scans that were lost. A parcel that moves was handed over."""
        carrier = self._outside.carriers.get(parcel.carrier)
        if carrier is not None:  # a label made by hand is nobody's we could ask
            scans = await carrier.lookup(tracking_number=parcel.tracking_number)
            book = SqlReturns(self._book) if parcel.of_return else self._book
            await book.scanned(parcel.id, scans, self._now)

    async def _offer_again(self, offer: Offer) -> None:
        """Offer the same under the same key: a location that works on it reports again."""
        await self._outside.nodes.offer(offer)

    # --- by the books that the outside shows ---

    async def _compare(self, mode: Mode) -> None:
        assert mode.moment is not None, "whoever lets the system rest says since when"
        since = mode.moment - MARGIN
        payments = await self._shown("payments", since)
        labels = await self._shown("carriers", since)
        offers = await self._shown("nodes", since)
        async with self._engine.connect() as tx:
            named = {each.reference for each in (*payments, *labels, *offers)}
            ours = await recovery.known_orders(tx, named)
        found = compare_outside(ours, payments=payments, labels=labels, offers=offers)
        self._found += found
        await self._hold(found, mode, closed={n for n, order in ours.items() if order.closed})

    async def _shown(self, party: Party, since: datetime) -> list[Effect]:
        try:
            shown = await self._outside.books.of(party)
        except OmsError as fault:
            self._unanswered(f"the books of {party}", fault)
            return []
        lately = [each for each in shown if each.at is None or each.at >= since]
        self._counts[f"effects of {party}"] = len(lately)
        return lately

    async def _hold(self, found: Iterable[Found], mode: Mode, *, closed: set[str]) -> None:
        """Let orders in doubt rest. One hold an order, however often this runs."""
        for number, note in in_doubt(found).items():
            if number not in closed:
                await self._book.command(
                    number,
                    f"recover:{mode.moment}",
                    PlaceHold(reason=IN_DOUBT, note=note[:_LONGEST_NOTE]),
                    self._now,
                    actor="oms recover",
                )

    async def _look_for_runs(self) -> None:
        """Find runs of orders that our books, older than Temporal's, do not know."""
        if self._temporal is None:
            return
        query = "WorkflowType = 'Order' AND ExecutionStatus = 'Running'"
        try:
            numbers = [
                run.id.removeprefix("order/") async for run in self._temporal.list_workflows(query)
            ]
        except RPCError as fault:
            self._unanswered("Temporal", fault)
            return
        async with self._engine.connect() as tx:
            await tx.execute(text("SET TRANSACTION READ ONLY"))
            unknown = await recovery.unknown_of(tx, numbers)
        self._counts["runs"] = len(numbers)
        self._found += [
            Found(kind="run_unknown", about=number, effects=(f"Temporal: order/{number} runs",))
            for number in unknown
        ]
