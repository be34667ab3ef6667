"""An order's steps in the books: one transaction each, safe to repeat."""

from temporalio import activity

from activities.faults import as_application_errors
from activities.messages import AtFulfillment, AtOrder, CommandAt, ParkAt, UnparkAt
from oms.agenda import Agenda
from oms.book import CommandAnswer, OrderBook


class OrderActivities:
    """What the processes of orders and fulfillment orders do to the books."""

    def __init__(self, book: OrderBook) -> None:
        self._book = book

    @activity.defn
    async def read_order(self, about: AtOrder) -> Agenda:
        """Tell what is due for an order."""
        return await self._book.agenda(about.number, about.at)

    @activity.defn
    async def reserve_stock(self, about: AtOrder) -> Agenda:
        """Hold stock for an order, or refuse it."""
        with as_application_errors():
            return await self._book.reserve(about.number, about.at)

    @activity.defn
    async def release_reservation(self, about: AtOrder) -> Agenda:
        """Give back stock that was held too long without payment."""
        with as_application_errors():
            return await self._book.release_reservation(about.number, about.at)

    @activity.defn
    async def confirm_order(self, about: AtOrder) -> Agenda:
        """Allocate what is held and give the promise."""
        with as_application_errors():
            return await self._book.confirm(about.number, about.at)

    @activity.defn
    async def route_order(self, about: AtOrder) -> Agenda:
        """Give every unit to a location."""
        with as_application_errors():
            return await self._book.route(about.number, about.at)

    @activity.defn
    async def close_order(self, about: AtOrder) -> Agenda:
        """End an order that has nothing left to do."""
        with as_application_errors():
            return await self._book.close(about.number, about.at)

    @activity.defn
    async def carry_out(self, request: CommandAt) -> CommandAnswer:
        """Decide and apply a command once."""
        with as_application_errors():
            return await self._book.command(
                request.number,
                request.id,
                request.command,
                request.at,
                actor=request.actor,
                expected_version=request.expected_version,
            )

    @activity.defn
    async def read_fulfillment(self, about: AtFulfillment) -> Agenda:
        """Tell what is due for a fulfillment order."""
        return await self._book.fulfillment_agenda(about.id, about.at)

    @activity.defn
    async def expire_offer(self, about: AtFulfillment) -> Agenda:
        """Take work back from a location that did not answer."""
        with as_application_errors():
            return await self._book.expire(about.id, about.at)

    @activity.defn
    async def park_step(self, request: ParkAt) -> None:
        """Write that a step waits for a person."""
        await self._book.park(request.number, request.parked, request.workflow_id, request.at)

    @activity.defn
    async def unpark_step(self, request: UnparkAt) -> None:
        """Write that a step waits no longer."""
        await self._book.unpark(request.number, request.step, request.at)
