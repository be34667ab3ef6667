"""Returns as the contract shows them. Nothing personal is in them."""

from api.order_views import RefundView, refund_view
from oms.fields import Moment, Wire
from oms.orders import Order
from oms.return_agenda import refunds_of
from oms.returns import Lot, Return, ReturnLine, ReturnParcel


class ReturnLineView(Wire):
    """Units of one order line that come back.

    `extra` of `quantity` were never announced. `missing`: announced, and not in the parcel.
    `accepted` and `rejected`: of those `received`, once they were inspected. `settled`: units whose
    value was given back or carried over to the exchange.
    """

    line: int
    sku: str
    quantity: int
    extra: int
    reason: str
    received: int
    missing: int
    accepted: int
    rejected: int
    settled: int
    exchange_sku: str | None


class LotView(Wire):
    """Units that arrived together. `state`: received, accepted, rejected, placed, left.

    `why`: what decided the disposition, in words.
    """

    id: int
    line: int
    sku: str
    condition: str
    location: str
    quantity: int
    state: str
    disposition: str | None
    transfer: str | None
    why: str | None


class ReturnParcelView(Wire):
    """A parcel on its way back; `out`: refused goods that go to the customer again."""

    id: str
    direction: str
    carrier: str | None
    tracking_number: str | None
    tracking_url: str | None
    status: str


class ReturnView(Wire):
    """A return, a claim, or a parcel that turned round.

    `label_url` and `qr_url` are null where nothing is sent, or no longer is to be; they answer once
    the carrier has taken the parcel on. `refund_minor`: what the customer was told.
    `travels_with`: the return in whose parcels these goods travel.
    """

    id: str
    order: str
    kind: str
    status: str
    via: str
    resolution: str
    location: str | None
    label_url: str | None
    qr_url: str | None
    refund_minor: int
    currency: str
    refunds: list[RefundView]
    lines: list[ReturnLineView]
    lots: list[LotView]
    parcels: list[ReturnParcelView]
    exchange_order: str | None
    travels_with: str | None
    requested_at: Moment
    expires_at: Moment | None
    closed_at: Moment | None
    version: int


def return_view(order: Order, back: Return) -> ReturnView:
    """A return as it is now."""
    travels = back.leader is not None or any(each.direction == "in" for each in back.parcels)
    sent = travels and not back.fell_away
    path = f"/v1/returns/{back.leader or back.id}"
    return ReturnView(
        id=back.id,
        order=order.number,
        kind=back.kind,
        status=back.status,
        via=back.via,
        resolution=back.resolution,
        location=back.location,
        label_url=f"{path}/label.pdf" if sent else None,
        qr_url=f"{path}/qr.svg" if sent else None,
        refund_minor=back.refund_minor,
        currency=order.currency,
        refunds=[refund_view(each) for each in refunds_of(order, back)],
        lines=[_line(back, line) for line in back.lines],
        lots=[_lot(lot) for lot in back.lots],
        parcels=[_parcel(parcel) for parcel in back.parcels],
        exchange_order=back.exchange_order,
        travels_with=back.leader,
        requested_at=back.requested_at,
        expires_at=back.expire_at,
        closed_at=back.closed_at,
        version=back.version,
    )


def _line(back: Return, line: ReturnLine) -> ReturnLineView:
    def units(*states: str) -> int:
        return sum(lot.quantity for lot in back.lots_of(line.line) if lot.state in states)

    kept = {
        name: getattr(line, name) for name in ReturnLineView.model_fields if hasattr(line, name)
    }
    return ReturnLineView(
        **kept, accepted=units("accepted", "placed"), rejected=units("rejected", "left")
    )


def _lot(lot: Lot) -> LotView:
    return LotView(**{name: getattr(lot, name) for name in LotView.model_fields})


def _parcel(parcel: ReturnParcel) -> ReturnParcelView:
    return ReturnParcelView(**{n: getattr(parcel, n) for n in ReturnParcelView.model_fields})
