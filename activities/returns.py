"""A return's steps: in our own books, and with the carrier that brings it."""

import structlog
from temporalio import activity

from activities.faults import as_application_errors
from activities.messages import AtReturn, AtShipment
from oms.agenda import Agenda
from oms.numbers import return_of
from oms.ports import Carrier
from oms.return_book import ReturnBook

log = structlog.get_logger()


class ReturnActivities:
    """What the processes of returns do to the books: one transaction each, safe to repeat."""

    def __init__(self, book: ReturnBook) -> None:
        self._book = book

    @activity.defn
    async def read_return(self, about: AtReturn) -> Agenda:
        """Tell what is due for a return."""
        return await self._book.agenda(about.id, about.at)

    @activity.defn
    async def remind_customer(self, about: AtReturn) -> Agenda:
        """Tell that nothing was sent yet."""
        with as_application_errors():
            return await self._book.remind(about.id, about.at)

    @activity.defn
    async def expire_return(self, about: AtReturn) -> Agenda:
        """Expect a return no longer."""
        with as_application_errors():
            return await self._book.expire(about.id, about.at)

    @activity.defn
    async def give_back(self, about: AtReturn) -> Agenda:
        """Decide the refund that is due."""
        with as_application_errors():
            return await self._book.give_back(about.id, about.at)

    @activity.defn
    async def put_away(self, about: AtReturn) -> Agenda:
        """Put what was accepted where it belongs."""
        with as_application_errors():
            return await self._book.put_away(about.id, about.at)

    @activity.defn
    async def let_exchange_go(self, about: AtReturn) -> Agenda:
        """Let the goods in exchange leave."""
        with as_application_errors():
            return await self._book.let_exchange_go(about.id, about.at)

    @activity.defn
    async def cancel_exchange(self, about: AtReturn) -> Agenda:
        """Keep the goods in exchange."""
        with as_application_errors():
            return await self._book.cancel_exchange(about.id, about.at)

    @activity.defn
    async def close_return(self, about: AtReturn) -> Agenda:
        """End a return that has nothing left to do."""
        with as_application_errors():
            return await self._book.close(about.id, about.at)


class ReturnCarrierActivities:
    """Speaks to the carrier about parcels on their way back."""

    def __init__(self, book: ReturnBook, carrier: Carrier) -> None:
        self._book, self._carrier = book, carrier

    @activity.defn
    async def buy_return_label(self, about: AtShipment) -> Agenda:
        """Buy the label of one parcel; asked again, the carrier answers with the same one."""
        with as_application_errors():
            request = await self._book.label_request(about.id)
            if request is None:
                return await self._book.agenda(return_of(about.id), about.at)
            label = await self._carrier.buy_label(request)
            agenda = await self._book.label_bought(about.id, label, about.at)
        log.info("label_bought", shipment=about.id, carrier=label.carrier)
        return agenda

    @activity.defn
    async def look_for_return_parcel(self, about: AtShipment) -> Agenda:
        """Ask the carrier where a silent parcel is. Gives what is due then."""
        with as_application_errors():
            tracking_number = await self._book.tracking_number_of(about.id)
            assert tracking_number is not None, "only a labelled parcel is asked after"
            scans = await self._carrier.lookup(tracking_number=tracking_number)
            agenda = await self._book.scanned(about.id, scans, about.at)
        log.info("parcel_looked_for", shipment=about.id, scans=len(scans))
        return agenda
