"""A location's own system, played by the simulator, spoken to as docs/simulator.md says."""

from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel
from typing_extensions import override

from adapters.http import Http
from oms.ports import CancelWork, FulfillmentNode, Offer, OfferLine


class _Receipt(BaseModel):
    status: Literal["received"]


class SimulatedNode(FulfillmentNode):
    """Takes work in at once and answers later, by webhook."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @override
    async def offer(self, offer: Offer) -> None:
        body = {
            "fulfillment_order": offer.fulfillment_order,
            "reference": offer.reference,
            "method": offer.method,
            "lines": _lines(offer.lines),
        }
        path = f"/nodes/{quote(offer.location, safe='')}/offers"
        await self._http.post(path, body, key=offer.fulfillment_order, answer=_Receipt)

    @override
    async def cancel(self, request: CancelWork) -> None:
        body = {
            "fulfillment_order": request.fulfillment_order,
            "reference": request.reference,
            "lines": None if request.lines is None else _lines(request.lines),
        }
        path = f"/nodes/{quote(request.location, safe='')}/cancellations"
        await self._http.post(path, body, key=request.key, answer=_Receipt)


def _lines(lines: tuple[OfferLine, ...]) -> list[dict[str, object]]:
    return [line.model_dump() for line in lines]
