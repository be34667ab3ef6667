"""Labels of parcels, drawn when they are asked for."""

from fastapi import APIRouter, Response

from adapters.db.credentials import Credential
from adapters.db.parcels import label_request
from adapters.db.unit import load_order
from adapters.labels import Label, as_pdf, as_zpl
from api.auth import Database, NodeOrOperator
from api.fulfillment_orders import order_number_of
from api.ids import PathId
from api.problems import not_found

router = APIRouter(prefix="/v1/shipments", tags=["Nodes"])


@router.get("/{id}/label.pdf", responses={200: {"content": {"application/pdf": {}}}})
async def get_label_pdf(who: NodeOrOperator, id: PathId, db: Database) -> Response:
    """Get a parcel's label for an office printer, 4 by 6 inches."""
    return Response(as_pdf(await _label(db, id, who)), media_type="application/pdf")


@router.get("/{id}/label.zpl", responses={200: {"content": {"application/zpl": {}}}})
async def get_label_zpl(who: NodeOrOperator, id: PathId, db: Database) -> Response:
    """Get a parcel's label for a label printer."""
    return Response(as_zpl(await _label(db, id, who)).encode(), media_type="application/zpl")


async def _label(db: Database, id: str, who: Credential) -> Label:
    number = order_number_of(id)
    async with db.connect() as tx:
        order = await load_order(tx, number)
        parcels = order.shipments if order else ()
        parcel = next((each for each in parcels if each.id == id), None)
        if order is None or parcel is None:
            raise not_found()
        location = order.fulfillment_order(parcel.fulfillment_order).location
        if not who.reaches_location(location):
            raise not_found()
        if parcel.tracking_number is None or parcel.carrier is None:
            raise not_found()
        asked = await label_request(tx, id)
    return Label(
        carrier=parcel.carrier,
        tracking_number=parcel.tracking_number,
        order_number=number,
        shipment=id,
        weight_g=parcel.weight_g,
        sender=asked.sender,
        recipient=asked.recipient,
    )
