"""The simulated carrier, spoken to as docs/simulator.md says."""

from datetime import datetime

import structlog
from pydantic import BaseModel
from typing_extensions import override

from adapters.http import Http
from oms.errors import BadRequest
from oms.fields import code_like
from oms.ports import CARRIER_STATUSES, Carrier, LabelBought, LabelRequest, Place, Scan

log = structlog.get_logger()


class _Label(BaseModel):
    tracking_number: str
    tracking_url: str | None = None


class _Event(BaseModel):
    event_id: str
    status: str
    at: datetime


class _Course(BaseModel):
    events: list[_Event]


class SimulatedCarrier(Carrier):
    """A carrier that gives one key one tracking number, however often it is asked."""

    name = "simulator"

    def __init__(self, http: Http) -> None:
        self._http = http

    @override
    async def buy_label(self, request: LabelRequest) -> LabelBought:
        body = {
            "reference": request.reference,
            "shipment": request.shipment,
            "fulfillment_order": request.fulfillment_order,
            "location": request.location,
            "sender": _area(request.sender),
            "recipient": _area(request.recipient),
            "weight_g": request.weight_g,
            "of_return": request.of_return,
            "collect": request.collect,
        }
        label = await self._http.post("/carriers/labels", body, key=request.key, answer=_Label)
        return LabelBought(
            carrier=self.name,
            tracking_number=label.tracking_number,
            tracking_url=label.tracking_url,
        )

    @override
    async def lookup(self, *, tracking_number: str) -> list[Scan]:
        params = {"tracking_number": tracking_number}
        course = await self._http.get("/carriers/lookup", params, answer=_Course)
        if course is None:
            raise BadRequest(f"the carrier knows no parcel {tracking_number}")
        return [
            Scan(event_id=event.event_id, status=event.status, at=event.at)
            for event in course.events
            if _is_ours(tracking_number, event.status)
        ]


def _is_ours(tracking_number: str, status: str) -> bool:
    """Let no word through that we have no meaning for; the other scans still count."""
    if status in CARRIER_STATUSES:
        return True
    log.warning(
        "scan_not_understood",
        tracking_number=tracking_number,
        status=code_like(status, "unreadable"),
    )
    return False


def _area(place: Place) -> dict[str, str | None]:
    """Give away as much of an address as the price depends on, and no names."""
    return {"country": place.country, "postal_code": place.postal_code}
