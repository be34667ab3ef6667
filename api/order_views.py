"""Orders and their parts as the contract shows them. Nothing personal is in them."""

from collections.abc import Sequence

from oms.fields import Moment, Wire
from oms.fulfillment import FulfillmentOrder, Shipment
from oms.orders import Hold, Line, Order
from oms.payments import PaymentEntry


class LineView(Wire):
    """A line and its units: each unit is in one bucket; `returned` and `refunded` count beside.

    `kit`: lines of the same one are served together.
    """

    line: int
    sku: str
    kit: str | None
    ordered: int
    cancelled: int
    reserved: int
    backordered: int
    allocated: int
    picked: int
    shipped: int
    delivered: int
    returned: int
    refunded: int


class UnitsView(Wire):
    """Units of one line."""

    line: int
    quantity: int


class ShipmentView(Wire):
    """A parcel. `tracking_number` and `label_url` are null until the label is there."""

    id: str
    carrier: str | None
    tracking_number: str | None
    status: str
    tracking_url: str | None
    weight_g: int
    label_url: str | None
    lines: list[UnitsView]


class FulfillmentLineView(Wire):
    """Units of one line asked of one location, and those picked so far."""

    line: int
    sku: str
    quantity: int
    picked: int


class FulfillmentOrderView(Wire):
    """The part of an order that one location serves."""

    id: str
    order: str
    location: str
    method: str
    status: str
    request: str
    reject_reason: str | None
    cancellation: str | None
    pickup_code: str | None
    created_at: Moment
    answer_by: Moment | None
    collect_by: Moment | None
    version: int
    lines: list[FulfillmentLineView]
    shipments: list[ShipmentView]


class HoldView(Wire):
    """A reason why an order may not go on; open until `released_at`."""

    id: str
    reason: str
    note: str | None
    placed_at: Moment
    released_at: Moment | None


class RefusalView(Wire):
    """Why an order was never sold."""

    code: str
    detail: str


class MilestoneView(Wire):
    """A moment by which something must have happened."""

    kind: str
    at: Moment


class PromiseView(Wire):
    """What the customer was told when the order was confirmed, and how it stands.

    `by` is null while nobody knows when backordered goods come. `status`: `kept` (or on its way to
    be), `at_risk`, `missed`; `expected`: when the goods are expected as things are now.
    """

    by: Moment | None
    milestones: list[MilestoneView]
    status: str
    expected: Moment | None


class PaymentsView(Wire):
    """The order's money, in minor units of its currency."""

    authorized_minor: int
    captured_minor: int
    refunded_minor: int
    voided_minor: int


class RefundView(Wire):
    """Money asked to be given back: `requested`, `succeeded`, `failed` or `unknown`.

    `cause`: the return it is for, the parcel that was lost, or why else.
    """

    id: str
    amount_minor: int
    currency: str
    status: str
    cause: str | None


class OrdersReturnView(Wire):
    """A return of the order, in short."""

    id: str
    kind: str
    status: str


class OrderView(Wire):
    """An order. Its statuses are derived from its units and its money.

    `exchange_of`: the return whose goods it replaces.
    """

    number: str
    channel: str
    reference: str
    status: str
    payment_status: str
    fulfillment_status: str
    return_status: str
    refusal: RefusalView | None
    attention: bool
    currency: str
    total_minor: int
    placed_at: Moment
    exchange_of: str | None
    promise: PromiseView | None
    version: int
    lines: list[LineView]
    payments: PaymentsView
    refunds: list[RefundView]
    returns: list[OrdersReturnView]
    holds: list[HoldView]
    fulfillment_orders: list[FulfillmentOrderView]


class OrderList(Wire):
    """Orders, newest first."""

    data: list[OrderView]
    next_cursor: str | None


class FulfillmentOrderList(Wire):
    """Fulfillment orders, newest first."""

    data: list[FulfillmentOrderView]
    next_cursor: str | None


def order_view(order: Order) -> OrderView:
    """Show an order whole."""
    return OrderView(
        number=order.number,
        channel=order.channel,
        reference=order.reference,
        exchange_of=order.exchange_of,
        status=order.status.value,
        payment_status=order.payment_status.value,
        fulfillment_status=order.fulfillment_status.value,
        return_status=order.return_status.value,
        refusal=_refusal(order),
        attention=bool(order.parked),
        currency=order.currency,
        total_minor=order.total_minor,
        placed_at=order.placed_at,
        promise=_promise(order),
        version=order.version,
        lines=[_line(line) for line in order.lines],
        payments=_payments(order),
        refunds=[refund_view(each) for each in order.entries if each.kind == "refund"],
        returns=[
            OrdersReturnView(id=each.id, kind=each.kind, status=each.status)
            for each in order.returns
        ],
        holds=[hold_view(hold) for hold in order.holds],
        fulfillment_orders=[
            fulfillment_order_view(each, order.number, order.shipments_of(each.id))
            for each in order.fulfillment_orders
        ],
    )


def fulfillment_order_view(
    each: FulfillmentOrder, number: str, shipments: Sequence[Shipment]
) -> FulfillmentOrderView:
    """Show a fulfillment order with its parcels."""
    return FulfillmentOrderView(
        id=each.id,
        order=number,
        location=each.location,
        method=each.method,
        status=each.status,
        request=each.request,
        reject_reason=each.reject_reason,
        cancellation=each.cancellation,
        pickup_code=each.pickup_code,
        created_at=each.created_at,
        answer_by=each.answer_by,
        collect_by=each.collect_by,
        version=each.version,
        lines=[
            FulfillmentLineView(
                line=line.line, sku=line.sku, quantity=line.quantity, picked=line.picked or 0
            )
            for line in each.lines
        ],
        shipments=[_shipment(shipment) for shipment in shipments],
    )


def hold_view(hold: Hold) -> HoldView:
    """Show a hold."""
    return HoldView(**hold.model_dump())


def _line(line: Line) -> LineView:
    buckets = {name: getattr(line, name) for name in LineView.model_fields}
    # Units that no place has been found for yet wait for stock, as far as a channel can tell.
    return LineView(**{**buckets, "backordered": line.backordered + line.unplanned})


def _promise(order: Order) -> PromiseView | None:
    if order.confirmed_at is None:
        return None
    told = () if order.promise is None else order.promise.milestones
    return PromiseView(
        by=order.promise_by,
        milestones=[MilestoneView(kind=each.kind, at=each.at) for each in told],
        status=order.promise_status or "kept",
        # Orders of before promises were watched are expected as promised, until the next look.
        expected=order.expected_by if order.promise_status else order.promise_by,
    )


def _refusal(order: Order) -> RefusalView | None:
    if order.refusal_code is None:
        return None
    return RefusalView(code=order.refusal_code, detail=order.refusal_detail or "")


def refund_view(entry: PaymentEntry) -> RefundView:
    """Show a refund, whatever became of it."""
    return RefundView(
        id=entry.key,
        amount_minor=entry.amount_minor,
        currency=entry.currency,
        status=entry.status,
        cause=entry.cause,
    )


def _payments(order: Order) -> PaymentsView:
    return PaymentsView(
        **{
            name: sum(getattr(tender, name) for tender in order.tenders)
            for name in PaymentsView.model_fields
        }
    )


def _shipment(shipment: Shipment) -> ShipmentView:
    labelled = shipment.tracking_number is not None
    return ShipmentView(
        id=shipment.id,
        carrier=shipment.carrier,
        tracking_number=shipment.tracking_number,
        status=shipment.status,
        tracking_url=shipment.tracking_url,
        weight_g=shipment.weight_g,
        label_url=f"/v1/shipments/{shipment.id}/label.pdf" if labelled else None,
        lines=[UnitsView(line=line.line, quantity=line.quantity) for line in shipment.lines],
    )
