"""Telling locations what to do. The key is the fulfillment order's own id."""

import structlog
from temporalio import activity

from activities.faults import as_application_errors
from activities.messages import AtFulfillment
from oms.agenda import Agenda
from oms.book import OrderBook
from oms.errors import KeyReused
from oms.ports import FulfillmentNode

log = structlog.get_logger()


class NodeActivities:
    """Offers work, and asks to stop it."""

    def __init__(self, book: OrderBook, node: FulfillmentNode) -> None:
        self._book, self._node = book, node

    @activity.defn
    async def offer_work(self, about: AtFulfillment) -> Agenda:
        """Offer a fulfillment order to its location. Gives what is due then."""
        with as_application_errors():
            offer = await self._book.offer_of(about.id)
            if offer is None:
                return await self._book.fulfillment_agenda(about.id, about.at)
            await self._node.offer(offer)
            agenda = await self._book.offered(about.id, about.at)
        log.info("work_offered", fulfillment_order=about.id, location=offer.location)
        return agenda

    @activity.defn
    async def ask_to_stop(self, about: AtFulfillment) -> Agenda:
        """Ask a location to stop, or tell it that an offer is withdrawn. Gives what is due then."""
        with as_application_errors():
            request = await self._book.work_to_cancel(about.id)
            if request is None:
                return await self._book.fulfillment_agenda(about.id, about.at)
            try:
                await self._node.cancel(request)
            except KeyReused:
                if request.lines:
                    raise
                # An earlier try was heard, though its answer was lost: the location has answered
                # for all that was asked since, and so there is nothing left to name.
            agenda = await self._book.asked_to_stop(about.id, request.key, about.at)
        log.info("asked_to_stop", fulfillment_order=about.id, location=request.location)
        return agenda
