"""Labels of goods that come back, on paper or as a code that is scanned off a phone."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from adapters.db.credentials import Credential
from adapters.db.return_parcels import carries_others, ends_of
from adapters.labels import Label, as_pdf, as_qr, as_zpl
from api.auth import Anybody, Database
from api.finding_returns import visible_return
from api.ids import PathId
from api.lists import Query, QueryOf, WholeNumber
from api.problems import Problem, may_answer, not_found

router = APIRouter(prefix="/v1/returns", tags=["Returns"])


class ParcelQuery(Query):
    """Which parcel of a return, from 1."""

    parcel: Annotated[WholeNumber, Field(ge=1)] = 1


AskedParcel = Annotated[ParcelQuery, Depends(QueryOf(ParcelQuery))]


@router.get(
    "/{id}/label.pdf",
    response_class=Response,
    responses={200: {"content": {"application/pdf": {}}}},
    openapi_extra=may_answer("invalid_state", "label_void"),
)
async def get_return_label_pdf(
    who: Anybody, id: PathId, asked: AskedParcel, db: Database
) -> Response:
    """Get the label of goods that come back for any printer, 4 by 6 inches."""
    return Response(as_pdf(await _label(db, id, asked.parcel, who)), media_type="application/pdf")


@router.get(
    "/{id}/label.zpl",
    response_class=Response,
    responses={200: {"content": {"application/zpl": {}}}},
    openapi_extra=may_answer("invalid_state", "label_void"),
)
async def get_return_label_zpl(
    who: Anybody, id: PathId, asked: AskedParcel, db: Database
) -> Response:
    """Get the label of goods that come back for a label printer, at a till."""
    label = await _label(db, id, asked.parcel, who)
    return Response(as_zpl(label).encode(), media_type="application/zpl")


@router.get(
    "/{id}/qr.svg",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}}},
    openapi_extra=may_answer("invalid_state", "label_void"),
)
async def get_return_qr(who: Anybody, id: PathId, asked: AskedParcel, db: Database) -> Response:
    """Get the code that a post office or a locker scans, so that nothing has to be printed."""
    label = await _label(db, id, asked.parcel, who)
    return Response(as_qr(label.tracking_number), media_type="image/svg+xml")


async def _label(db: Database, id: str, seq: int, who: Credential) -> Label:
    """The label of a parcel.

    Raises:
        Problem: `not_found`; `label_void` where nothing of it is to be sent any more;
            `invalid_state` while the carrier has not answered.
    """
    order, back = await visible_return(db, id, who)
    parcel = next((each for each in back.parcels if each.seq == seq), None)
    if parcel is None:
        raise not_found()
    if parcel.direction == "in" and back.fell_away and not await _others_travel(db, id):
        raise Problem("label_void", f"{id} was {back.status}: nothing of it is to be sent.")
    if parcel.tracking_number is None or parcel.carrier is None:
        raise Problem("invalid_state", "The carrier has not given the label yet.")
    async with db.connect() as tx:
        sender, recipient = await ends_of(tx, parcel.id)
    return Label(
        carrier=parcel.carrier,
        tracking_number=parcel.tracking_number,
        order_number=order.number,
        shipment=parcel.id,
        weight_g=parcel.weight_g,
        sender=sender,
        recipient=recipient,
    )


async def _others_travel(db: Database, id: str) -> bool:
    async with db.connect() as tx:
        return await carries_others(tx, id)
