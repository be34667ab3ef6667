"""The books over PostgreSQL. See `oms.book.OrderBook` for what each method means."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import override

from adapters.db import (
    backorders,
    cancelling,
    money,
    nodes,
    parcels,
    parking,
    placing,
    reroutes,
    rerouting,
    routing,
)
from adapters.db.engine import by_statement
from adapters.db.return_decisions import decide_return
from adapters.db.unit import OrderUnit, load_order, load_orders, lock_order
from adapters.metrics import count_events
from oms.agenda import Agenda, fulfillment_agenda, order_agenda
from oms.backorders import BackorderPolicy, Release
from oms.book import (
    CancelUnits,
    Command,
    CommandAnswer,
    DecideFulfillment,
    DecidePayment,
    DecideReturn,
    OrderBook,
    PlaceHold,
    ReleaseHold,
    Reroute,
    Settled,
)
from oms.cancelling import Refusal
from oms.decisions import Parked
from oms.errors import OmsError
from oms.exchanges import is_of_exchange
from oms.fulfillment import FulfillmentOrder, Shipment
from oms.numbers import is_of_an_order, order_of, order_of_workflow, order_workflow_id
from oms.orders import Order, OrderStatus
from oms.payments import PaymentCall, PaymentEntry, PaymentOutcome
from oms.policy import Policy
from oms.ports import (
    Approved,
    CancelWork,
    Declined,
    LabelBought,
    LabelRequest,
    Offer,
    OfferLine,
    Scan,
)
from oms.return_agenda import return_agenda

DEADLOCKS = 5
"""How often a transaction that PostgreSQL chose as a deadlock's victim is run again."""

DECISIONS = 5
"""How often the queue of backorders is decided anew in one go because something changed."""

log = structlog.get_logger()

_DEADLOCK_OR_SERIALIZATION = ("40P01", "40001")
_T = TypeVar("_T")


class SqlBook(OrderBook):
    """Every method is one transaction on one locked order."""

    def __init__(self, engine: AsyncEngine, policy: Policy) -> None:
        self._engine, self._policy = engine, policy
        self._reads = by_statement(engine)

    @property
    def engine(self) -> AsyncEngine:
        """The database of these books."""
        return self._engine

    @property
    def policy(self) -> Policy:
        """The durations that the merchant chose."""
        return self._policy

    # --- the frame ---

    @asynccontextmanager
    async def _locked(self, number: str, at: datetime, actor: str) -> AsyncIterator[OrderUnit]:
        async with self._engine.begin() as tx:
            unit = await lock_order(tx, number, at=at, actor=actor)
            assert unit is not None, f"{number} is not stored"
            yield unit

    async def change(
        self,
        number: str,
        at: datetime,
        effect: Callable[[OrderUnit], Awaitable[_T]],
        *,
        actor: str = "oms",
    ) -> _T:
        """Run an effect in a transaction of its own; again if it met a deadlock.

        Raises:
            AssertionError: a constraint of the books would be broken, which is a bug.
            sqlalchemy.exc.SQLAlchemyError: the database cannot be reached.
        """
        for attempt in range(DEADLOCKS):
            try:
                async with self._locked(number, at, actor) as unit:
                    result = await effect(unit)
                    await unit.send()
                count_events(unit.told, refusal=unit.order.refusal_code)
                return result
            except IntegrityError as bug:
                # Its first line names the constraint; the next quotes the row, perhaps an address.
                raise AssertionError(str(bug.orig).partition("\n")[0]) from None
            except OperationalError as fault:
                state = getattr(fault.orig, "sqlstate", None)
                if state not in _DEADLOCK_OR_SERIALIZATION or attempt == DEADLOCKS - 1:
                    raise
        raise AssertionError("unreachable")

    async def read(self, number: str) -> Order:
        """Read an order without locking it."""
        async with self._reads.connect() as connection:
            order = await load_order(connection, number)
        assert order is not None, f"{number} is not stored"
        return order

    async def _change_order(
        self, number: str, at: datetime, effect: Callable[[OrderUnit], Awaitable[Any]]
    ) -> Agenda:
        async def apply(unit: OrderUnit) -> Agenda:
            await effect(unit)
            return order_agenda(await unit.reloaded(), at)

        return await self.change(number, at, apply)

    # --- the order ---

    @override
    async def agenda(self, number: str, at: datetime) -> Agenda:
        return order_agenda(await self.read(number), at)

    async def agendas(self, workflow_ids: Sequence[str], at: datetime) -> dict[str, Agenda]:
        """Tell what is due in each of these workflows, by one read of all their orders."""
        numbers = {id: order_of_workflow(id) for id in workflow_ids if is_of_an_order(id)}
        async with self._reads.connect() as connection:
            found = await load_orders(connection, sorted(set(numbers.values())))
        orders = {order.number: order for order in found}
        return {
            id: self._agenda_of(id, orders[number], at)
            for id, number in numbers.items()
            if number in orders
        }

    def _agenda_of(self, workflow_id: str, order: Order, at: datetime) -> Agenda:
        if workflow_id == order_workflow_id(order.number):
            return order_agenda(order, at)
        kind, _, id = workflow_id.partition("/")
        if kind == "return":
            return return_agenda(order, id, at, silent=self._policy.silent)
        return fulfillment_agenda(order, id, at, silent=self._policy.silent)

    @override
    async def reserve(self, number: str, at: datetime) -> Agenda:
        return await self._change_order(
            number, at, lambda unit: placing.reserve_order(unit, self._policy)
        )

    @override
    async def release_reservation(self, number: str, at: datetime) -> Agenda:
        return await self._change_order(number, at, placing.release_reservation)

    @override
    async def confirm(self, number: str, at: datetime) -> Agenda:
        return await self._change_order(
            number, at, lambda unit: placing.confirm_order(unit, self._policy)
        )

    @override
    async def route(self, number: str, at: datetime) -> Agenda:
        return await self._change_order(
            number, at, lambda unit: rerouting.route_from_open_places(unit, self._policy)
        )

    @override
    async def close(self, number: str, at: datetime) -> Agenda:
        return await self._change_order(number, at, placing.close_order)

    async def release_backorders(self, at: datetime, *, most: int) -> int:
        """Give units that arrived to the orders that wait for them; how many orders got some.

        Decided of one moment's books, carried out in the queue's order. What has changed since
        is not forced: the rest is decided anew. An order that meets a bug of ours stops no other.
        """
        served = 0
        broken: set[str] = set()
        lost = 0
        while lost < DECISIONS:
            known = len(broken)
            async with backorders.one_moment(self._engine) as tx:
                skus = await backorders.stocked_skus(tx)
                decision = await backorders.read_decision(
                    tx, skus, at, self._policy, most=most - served, broken=broken
                )
            for release in decision.releases:
                if not await self._release(release, decision.policy, at, broken):
                    break
                served += 1
            else:
                break
            lost += len(broken) == known
        return served

    async def _release(
        self, release: Release, policy: BackorderPolicy, at: datetime, broken: set[str]
    ) -> bool:
        try:
            return await self.change(
                release.order, at, lambda unit: backorders.release_units(unit, release, policy)
            )
        except (AssertionError, OmsError):
            log.exception("backorder_release_broke", order=release.order)
            broken.add(release.order)
            return False

    async def leave_places(self, number: str, at: datetime, reroute: str, *, actor: str) -> None:
        """Let an order leave the places that may not serve it; once for a reroute, and kept."""

        async def leave(unit: OrderUnit) -> None:
            if not await reroutes.is_done(unit, reroute):
                left = await rerouting.leave_places(unit, self._policy)
                reroutes.write_done(unit, reroute, left)

        await self.change(number, at, leave, actor=actor)

    # --- commands ---

    @override
    async def command(
        self,
        number: str,
        id: str,
        command: Command,
        at: datetime,
        *,
        actor: str,
        expected_version: int | None = None,
    ) -> CommandAnswer:
        async def apply(unit: OrderUnit) -> CommandAnswer:
            if known := await known_answer(unit, id):
                return known
            if expected_version is not None and expected_version != unit.order.version:
                return CommandAnswer(
                    refusal=Refusal(
                        code="version_conflict",
                        detail=f"The order is at version {unit.order.version} by now.",
                    )
                )
            answer = await self._carry_out(unit, command)
            store_answer(unit, id, answer)
            return answer

        try:
            return await self.change(number, at, apply, actor=actor)
        except cancelling.CannotReroute as fault:
            return CommandAnswer(refusal=fault.refusal)

    async def _carry_out(self, unit: OrderUnit, command: Command) -> CommandAnswer:
        match command:
            case CancelUnits(reason=reason, lines=lines):
                cancelled = await cancelling.cancel_order(unit, lines, reason, self._policy)
                if isinstance(cancelled, Refusal):
                    return CommandAnswer(refusal=cancelled)
                return CommandAnswer(asked=cancelled)
            case PlaceHold(reason=reason, note=note):
                held = await cancelling.place_hold(unit, reason, note)
                if isinstance(held, Refusal):
                    return CommandAnswer(refusal=held)
                return CommandAnswer(id=held)
            case ReleaseHold(hold=hold):
                if is_of_exchange(unit.order, hold):
                    detail = f"{unit.order.exchange_of} lets it go once it may."
                    return CommandAnswer(refusal=Refusal(code="invalid_state", detail=detail))
                if await cancelling.release_hold(unit, hold):
                    return CommandAnswer(id=hold)
                missing = Refusal(code="not_found", detail="The order has no such hold.")
                return CommandAnswer(refusal=missing)
            case Reroute(fulfillment_order=fulfillment_order, location=location):
                await cancelling.reroute_order(unit, fulfillment_order, location, self._policy)
            case DecidePayment() | DecideFulfillment() | DecideReturn():
                await self._decide(unit, command)
        return CommandAnswer()

    async def _decide(
        self, unit: OrderUnit, decided: DecidePayment | DecideFulfillment | DecideReturn
    ) -> None:
        match decided:
            case DecidePayment(key=key, decision=decision):
                await parking.decide_payment(unit, unit.order.entry(key), decision)
            case DecideReturn(return_id=id, decision=decision):
                await decide_return(unit, id, decision)
            case DecideFulfillment(fulfillment_order=id, decision=decision):
                each = unit.order.fulfillment_order(id)
                await parking.decide_fulfillment(unit, each, decision, self._policy)

    # --- money ---

    @override
    async def begin_payment(self, key: str, at: datetime) -> PaymentCall:
        async with self._reads.connect() as connection:
            return await money.begin_call(connection, key, at)

    @override
    async def settle_payment(
        self,
        key: str,
        result: Approved | Declined,
        at: datetime,
        *,
        settled_by: str,
        nudge: bool = False,
    ) -> Settled:
        async def settle(unit: OrderUnit) -> Settled:
            entry = unit.order.entry(key)
            outcome = await money.settle_entry(unit, entry, result, settled_by=settled_by)
            refuses = outcome.status == "failed" and entry.kind == "authorization"
            if refuses and unit.order.status is OrderStatus.PENDING and not entry.given_up:
                reason = (outcome.reason or "declined").replace("_", " ")
                await placing.refuse_order(
                    unit, "payment_declined", f"The payment was declined: {reason}."
                )
            if nudge:
                _nudge_settler(unit, entry, "payment settled")
            await unit.flush("settle")
            if entry.kind == "authorization" and outcome.status == "succeeded":
                # The verdict is one transaction, be it a yes or a no.
                await unit.again()
                await placing.confirm_order(unit, self._policy)
            return self._settled(entry, outcome, await unit.reloaded(), at)

        return await self.change(_order_of_key(key), at, settle)

    @override
    async def settled(self, key: str, at: datetime) -> Settled:
        order = await self.read(_order_of_key(key))
        entry = order.entry(key)
        status = "pending" if entry.is_open else entry.status
        outcome = PaymentOutcome.model_validate({"status": status, "reason": entry.reason})
        return self._settled(entry, outcome, order, at)

    def _settled(
        self, entry: PaymentEntry, outcome: PaymentOutcome, order: Order, at: datetime
    ) -> Settled:
        id, agenda = entry.of_return, None
        if id is None:
            agenda = order_agenda(order, at)
        elif order_of(id) == order.number:  # of another's return, this order does not know all
            agenda = return_agenda(order, id, at, silent=self._policy.silent)
        return Settled(outcome=outcome, agenda=agenda, of_return=id)

    @override
    async def doubt_payment(self, key: str, reason: str, at: datetime) -> None:
        async def doubt(unit: OrderUnit) -> None:
            await money.doubt_entry(unit, unit.order.entry(key), reason)
            await unit.flush("doubt")

        await self.change(_order_of_key(key), at, doubt)

    async def nudge_settler(self, key: str, at: datetime, reason: str) -> None:
        """Owe a signal to the process that settles a payment, though no book changed."""

        async def nudge(unit: OrderUnit) -> None:
            _nudge_settler(unit, unit.order.entry(key), reason)
            await unit.flush("nudge")

        await self.change(_order_of_key(key), at, nudge)

    # --- fulfillment ---

    @override
    async def fulfillment_agenda(self, id: str, at: datetime) -> Agenda:
        order = await self.read(order_of(id))
        return fulfillment_agenda(order, id, at, silent=self._policy.silent)

    async def _change_fulfillment(
        self,
        id: str,
        at: datetime,
        effect: Callable[[OrderUnit, FulfillmentOrder], Awaitable[Any]],
    ) -> Agenda:
        async def apply(unit: OrderUnit) -> Agenda:
            await effect(unit, unit.order.fulfillment_order(id))
            await unit.flush("fulfillment")
            return fulfillment_agenda(await unit.reloaded(), id, at, silent=self._policy.silent)

        return await self.change(order_of(id), at, apply)

    @override
    async def offer_of(self, id: str) -> Offer | None:
        order = await self.read(order_of(id))
        each = order.fulfillment_order(id)
        if each.status != "open" or each.offered_at is not None:
            return None
        return Offer(
            fulfillment_order=id,
            reference=order.number,
            location=each.location,
            method="store_pickup" if each.method == "store_pickup" else "home",
            lines=tuple(
                OfferLine(line=line.line, sku=line.sku, quantity=line.quantity)
                for line in each.lines
                if line.quantity
            ),
        )

    @override
    async def offered(self, id: str, at: datetime) -> Agenda:
        return await self._change_fulfillment(
            id, at, lambda unit, each: parking.write_offered(unit, each, self._policy)
        )

    @override
    async def expire(self, id: str, at: datetime) -> Agenda:
        async def expire(unit: OrderUnit, each: FulfillmentOrder) -> None:
            if each.status != "open" or each.answer_by is None or each.answer_by > at:
                return
            if await nodes.answer_is_waiting(unit, each):
                # It answered in time, and we said that we have it: only its turn has not come.
                later = at + nodes.ANSWER_APPLIED_WITHIN
                unit.set_fulfillment(each.id, answer_by=later)
                return
            await routing.take_away(unit, each, request="expired", reason="no answer")
            unit.tell(
                "fulfillment_order.expired",
                f"{each.location} did not answer in time",
                fulfillment_order=id,
            )

        return await self._change_fulfillment(id, at, expire)

    @override
    async def work_to_cancel(self, id: str) -> CancelWork | None:
        order = await self.read(order_of(id))
        each = order.fulfillment_order(id)
        if each.cancellation_asked >= each.cancellation_seq or each.offered_at is None:
            return None
        asked = tuple(
            OfferLine(line=line.line, sku=line.sku, quantity=line.stop_asked)
            for line in each.lines
            if line.stop_asked
        )
        return CancelWork(
            key=f"{id}:cancel:{each.cancellation_seq}",
            fulfillment_order=id,
            reference=order.number,
            location=each.location,
            lines=asked if each.status == "in_progress" else None,
        )

    @override
    async def asked_to_stop(self, id: str, key: str, at: datetime) -> Agenda:
        seq = int(key.rsplit(":", 1)[1])

        async def asked(unit: OrderUnit, each: FulfillmentOrder) -> None:
            if each.cancellation_asked < seq:
                unit.set_fulfillment(id, cancellation_asked=seq)

        return await self._change_fulfillment(id, at, asked)

    # --- parcels ---

    @override
    async def parcel_agenda(self, shipment: str, at: datetime) -> Agenda:
        order = await self.read(order_of(shipment))
        parcel = order.shipment(shipment)
        return fulfillment_agenda(order, parcel.fulfillment_order, at, silent=self._policy.silent)

    @override
    async def label_request(self, shipment: str) -> LabelRequest:
        async with self._reads.connect() as connection:
            return await parcels.label_request(connection, shipment)

    @override
    async def label_bought(self, shipment: str, label: LabelBought, at: datetime) -> Agenda:
        return await self._change_parcel(
            shipment, at, lambda unit, parcel: parcels.write_label(unit, parcel, label)
        )

    async def _change_parcel(
        self,
        shipment: str,
        at: datetime,
        effect: Callable[[OrderUnit, Shipment], Awaitable[Any]],
    ) -> Agenda:
        """Change a parcel; what is due then is asked of its fulfillment order."""

        async def apply(unit: OrderUnit) -> Agenda:
            parcel = unit.order.shipment(shipment)
            await effect(unit, parcel)
            return fulfillment_agenda(
                await unit.reloaded(), parcel.fulfillment_order, at, silent=self._policy.silent
            )

        return await self.change(order_of(shipment), at, apply)

    @override
    async def tracking_number_of(self, shipment: str) -> str | None:
        return (await self.read(order_of(shipment))).shipment(shipment).tracking_number

    @override
    async def scanned(self, shipment: str, scans: Sequence[Scan], at: datetime) -> Agenda:
        for scan in scans:
            await self.change(
                order_of(shipment),
                at,
                lambda unit, scan=scan: parcels.record_scan(  # type: ignore[misc]
                    unit,
                    unit.order.shipment(shipment),
                    event_id=scan.event_id,
                    status=scan.status,
                    at=scan.at,
                ),
            )

        async def asked(unit: OrderUnit, parcel: Shipment) -> None:
            if parcel.last_asked_at == at:
                return  # told before, and its answer was lost
            unit.run("UPDATE shipments SET last_asked_at = :at WHERE id = :id", at=at, id=shipment)
            await unit.flush("asked")

        return await self._change_parcel(shipment, at, asked)

    # --- people ---

    @override
    async def park(self, number: str, parked: Parked, workflow_id: str, at: datetime) -> None:
        await self.change(number, at, lambda unit: parking.park(unit, parked, workflow_id))

    @override
    async def unpark(self, number: str, step: str, at: datetime) -> None:
        await self.change(number, at, lambda unit: parking.unpark(unit, step))

    # --- facts from locations ---

    async def node_fact(
        self,
        fulfillment_order: str,
        at: datetime,
        fact: Callable[[OrderUnit, FulfillmentOrder, Policy], Awaitable[Refusal | None]],
        *,
        actor: str,
        expected_version: int | None = None,
    ) -> FulfillmentOrder | Refusal:
        """Apply what a location reports; the fulfillment order after it, or why not."""

        async def apply(unit: OrderUnit) -> FulfillmentOrder | Refusal:
            each = unit.order.fulfillment_order(fulfillment_order)
            if expected_version is not None and expected_version != each.version:
                return Refusal(
                    code="version_conflict",
                    detail=f"{fulfillment_order} is at version {each.version} by now.",
                )
            refusal = await fact(unit, each, self._policy)
            if refusal is not None:
                return refusal
            return (await unit.reloaded()).fulfillment_order(fulfillment_order)

        return await self.change(order_of(fulfillment_order), at, apply, actor=actor)


def _order_of_key(key: str) -> str:
    return key.split(":", 1)[0]


def _nudge_settler(unit: OrderUnit, entry: PaymentEntry, reason: str) -> None:
    if entry.of_return is None:
        unit.nudge_order(reason)
    else:
        unit.nudge_return(entry.of_return, reason)


async def known_answer(unit: OrderUnit, id: str) -> CommandAnswer | None:
    """The answer of a command that was decided before; None for a new one."""
    found = await unit.ask(
        "SELECT result FROM commands WHERE order_number = :n AND id = :id", n=unit.number, id=id
    )
    return CommandAnswer.model_validate(found[0].result) if found else None


def store_answer(unit: OrderUnit, id: str, answer: CommandAnswer) -> None:
    """Keep a command's answer with its effect."""
    unit.run(
        "INSERT INTO commands (order_number, id, result, at)"
        " VALUES (:n, :id, CAST(:result AS jsonb), :at)",
        n=unit.number,
        id=id,
        result=answer.model_dump_json(),
        at=unit.at,
    )
