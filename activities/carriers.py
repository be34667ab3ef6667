"""Buying labels, and asking after parcels that say nothing."""

import structlog
from temporalio import activity

from activities.faults import as_application_errors
from activities.messages import AtShipment
from oms.agenda import Agenda
from oms.book import OrderBook
from oms.ports import Carrier

log = structlog.get_logger()


class CarrierActivities:
    """Speaks to the carrier."""

    def __init__(self, book: OrderBook, carrier: Carrier) -> None:
        self._book, self._carrier = book, carrier

    @activity.defn
    async def buy_label(self, about: AtShipment) -> Agenda:
        """Buy the label of one parcel; asked again, the carrier answers with the same one.

        Gives what is due then for its fulfillment order.
        """
        with as_application_errors():
            if await self._book.tracking_number_of(about.id) is not None:
                return await self._book.parcel_agenda(about.id, about.at)
            label = await self._carrier.buy_label(await self._book.label_request(about.id))
            agenda = await self._book.label_bought(about.id, label, about.at)
        log.info("label_bought", shipment=about.id, carrier=label.carrier)
        return agenda

    @activity.defn
    async def look_for_parcel(self, about: AtShipment) -> Agenda:
        """Ask the carrier where a silent parcel is. Gives what is due then."""
        with as_application_errors():
            tracking_number = await self._book.tracking_number_of(about.id)
            assert tracking_number is not None, "only a labelled parcel is handed over"
            scans = await self._carrier.lookup(tracking_number=tracking_number)
            agenda = await self._book.scanned(about.id, scans, about.at)
        log.info("parcel_looked_for", shipment=about.id, scans=len(scans))
        return agenda
