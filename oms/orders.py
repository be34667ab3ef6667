"""An order as the books tell it: lines with units in buckets, and everything derived from them.

The models mirror what is stored; statuses are properties, because they are never stored.
Quantities are units, money is minor units of the order's currency.
"""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from oms.fulfillment import FulfillmentOrder, Shipment
from oms.money import share
from oms.outlook import Standing
from oms.payments import PaymentEntry, Tender
from oms.promises import Milestone
from oms.returns import Return
from oms.stored import Stored

UNIT_BUCKETS = (
    "unplanned",
    "cancelled",
    "reserved",
    "backordered",
    "allocated",
    "picked",
    "shipped",
    "delivered",
)
OPEN_BUCKETS = ("unplanned", "reserved", "backordered", "allocated", "picked", "shipped")
UPFRONT_TENDERS = ("terminal",)

EXCHANGE_HOLD = "exchange"
"""The reason of the hold under which an exchange order waits for its return."""


class OrderStatus(StrEnum):
    """Where an order stands as a whole."""

    PENDING = "pending"
    OPEN = "open"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class PaymentStatus(StrEnum):
    """Where its money stands."""

    NONE = "none"
    PENDING = "pending"
    AUTHORIZED = "authorized"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    VOIDED = "voided"


class FulfillmentStatus(StrEnum):
    """Where its goods stand."""

    UNFULFILLED = "unfulfilled"
    ON_HOLD = "on_hold"
    IN_PROGRESS = "in_progress"
    PARTIALLY_FULFILLED = "partially_fulfilled"
    FULFILLED = "fulfilled"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class ReturnStatus(StrEnum):
    """What came back of it."""

    NONE = "none"
    REQUESTED = "requested"
    IN_PROGRESS = "in_progress"
    RETURNED = "returned"


class Line(Stored):
    """`total_minor`: the line after discount, tax included. `charged`: units in captures.

    `kit`: lines of the same one are served together. `carried`: of an exchange, the value that the
    goods sent back bring along, by the order that holds the money.
    """

    line: int
    sku: str
    kit: str | None = None
    unit_price_minor: int
    discount_minor: int
    tax_minor: int
    total_minor: int
    shipping_minor: int
    shipping_tax_minor: int
    ordered: int
    unplanned: int
    cancelled: int
    reserved: int
    backordered: int
    allocated: int
    picked: int
    shipped: int
    delivered: int
    returned: int
    refunded: int
    charged: int
    carried: dict[str, int] = Field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Units not cancelled."""
        return self.ordered - self.cancelled

    @property
    def open_units(self) -> int:
        """Units neither cancelled nor delivered."""
        return self.ordered - self.cancelled - self.delivered

    @property
    def handed_over(self) -> int:
        """Units that left: under way or delivered."""
        return self.shipped + self.delivered

    def price_of(self, *, first: int, count: int) -> int:
        """What units `first` … `first + count - 1` cost, by the allotment fixed at placement."""
        return share(self.total_minor, units=self.ordered, first=first, count=count)


class Reservation(Stored):
    """Units held before payment (`stock`), or promised beyond stock (`backorder`)."""

    id: int
    line: int
    sku: str
    location: str
    quantity: int
    kind: str
    expires_at: datetime | None
    since: datetime | None = None


class Allocation(Stored):
    """Units of a confirmed order at one location. See `adapters.db.tables.reservations`."""

    id: int
    line: int
    sku: str
    location: str
    quantity: int
    fulfillment_order: str | None
    picked: bool
    turned_down: bool


class Hold(Stored):
    """A reason why an order may not go on."""

    id: str
    reason: str
    note: str | None
    placed_at: datetime
    released_at: datetime | None


class ParkedStep(Stored):
    """A step that waits for a person."""

    step: str
    workflow_id: str
    since: datetime
    heals_at: datetime | None
    error_code: str
    last_error: str
    actions: tuple[str, ...]


class PromiseTold(Stored):
    """What an order's promise rests on, as it was when it was confirmed."""

    earliest: datetime
    milestones: tuple[Milestone, ...]


class Order(Stored):
    """Everything stored about one order, less what is personal.

    Of reservations and allocations only the open ones. `exchange_of`: the return whose goods it
    replaces. `elsewhere`: what is given back for its returns out of money that other orders hold.
    """

    number: str
    channel: str
    reference: str
    currency: str
    customer_id: str
    customer_segment: str | None
    method: str
    pickup_location: str | None
    country: str
    latitude: float | None
    longitude: float | None
    allow_split: bool
    allow_backorder: bool
    total_minor: int
    shipping_minor: int
    shipping_tax_minor: int
    placed_at: datetime
    started_at: datetime | None
    confirmed_at: datetime | None
    grace_until: datetime | None
    promise_by: datetime | None
    promise: PromiseTold | None = None
    promise_status: Standing | None = None
    expected_by: datetime | None = None
    closed_at: datetime | None
    refusal_code: str | None
    refusal_detail: str | None
    shortages: tuple[dict[str, int | str], ...] | None
    shipping_captured: bool
    shipping_refunded: bool = False
    exchange_of: str | None = None
    version: int
    lines: tuple[Line, ...]
    reservations: tuple[Reservation, ...]
    allocations: tuple[Allocation, ...]
    fulfillment_orders: tuple[FulfillmentOrder, ...]
    shipments: tuple[Shipment, ...]
    tenders: tuple[Tender, ...]
    entries: tuple[PaymentEntry, ...]
    holds: tuple[Hold, ...]
    parked: tuple[ParkedStep, ...]
    returns: tuple[Return, ...] = ()
    elsewhere: tuple[PaymentEntry, ...] = ()

    # --- finding things ---

    def line(self, line: int) -> Line | None:
        """A line by its number, from 1."""
        return next((each for each in self.lines if each.line == line), None)

    def fulfillment_order(self, id: str) -> FulfillmentOrder:
        """One of its fulfillment orders; `StopIteration` for any other."""
        return next(each for each in self.fulfillment_orders if each.id == id)

    def shipment(self, id: str) -> Shipment:
        """One of its parcels; `StopIteration` for any other."""
        return next(each for each in self.shipments if each.id == id)

    def shipments_of(self, fulfillment_order: str) -> tuple[Shipment, ...]:
        """The parcels of a fulfillment order, oldest first."""
        return tuple(s for s in self.shipments if s.fulfillment_order == fulfillment_order)

    def return_(self, id: str) -> Return:
        """One of its returns; `StopIteration` for any other."""
        return next(each for each in self.returns if each.id == id)

    def undeliverable(self, shipment: str) -> Return | None:
        """The return as which a parcel that turned round is expected; None if it is not."""
        found = (each for each in self.returns if each.shipment == shipment and each.is_live)
        return next(found, None)

    def entry(self, key: str) -> PaymentEntry:
        """One of its payment entries; `StopIteration` for any other."""
        return next(each for each in self.entries if each.key == key)

    @property
    def tender(self) -> Tender | None:
        """The one tender of today; none when there was nothing to pay."""
        return self.tenders[0] if self.tenders else None

    @property
    def authorization(self) -> PaymentEntry | None:
        """The last authorisation that was decided."""
        return next((e for e in reversed(self.entries) if e.kind == "authorization"), None)

    # --- deriving things ---

    @property
    def open_holds(self) -> tuple[Hold, ...]:
        """Holds that nobody lifted."""
        return tuple(hold for hold in self.holds if hold.released_at is None)

    @property
    def goods_there_at(self) -> datetime | None:
        """When the last goods were with the customer, or ready to be collected; None if none."""
        sent = (s.delivered_at for s in self.shipments if s.written_off_at is None)
        collected = (
            each.ready_at or each.handed_over_at
            for each in self.fulfillment_orders
            if each.method == "store_pickup" and each.status == "closed"
        )
        return max((at for at in (*sent, *collected) if at is not None), default=None)

    @property
    def all_cancelled(self) -> bool:
        """Whether no unit is left."""
        return all(line.kept == 0 for line in self.lines)

    @property
    def has_open_units(self) -> bool:
        """Whether a unit is neither cancelled nor delivered."""
        return any(line.open_units for line in self.lines)

    @property
    def is_settled(self) -> bool:
        """No payment is on its way, and none failed that a person has yet to decide about.

        What is given back for a return is the return's own affair.
        """
        return not any(entry.is_unsettled for entry in self.entries if entry.of_return is None)

    @property
    def awaits_captures(self) -> bool:
        """Whether a capture has no outcome yet, or one that a person has yet to decide about."""
        return any(entry.kind == "capture" and entry.is_unsettled for entry in self.entries)

    def is_held_back(self, entry: PaymentEntry) -> bool:
        """Whether a refund waits: what has not come in where it was paid cannot go back."""
        if entry.kind != "refund":
            return False
        return self.awaits_captures if entry.holder_waits is None else entry.holder_waits

    @property
    def is_paid_for(self) -> bool:
        """Nothing to pay, or an authorisation stands."""
        return self.tender is None or self.tender.authorized_minor > 0

    @property
    def status(self) -> OrderStatus:
        """The order as a whole."""
        if self.all_cancelled:
            return OrderStatus.CANCELLED
        if self.closed_at is not None:
            return OrderStatus.COMPLETED
        return OrderStatus.PENDING if self.confirmed_at is None else OrderStatus.OPEN

    @property
    def goods_minor(self) -> int:
        """What all its units cost when it was placed, without shipping."""
        return self.total_minor - self.shipping_minor

    @property
    def value_kept_minor(self) -> int:
        """What the uncancelled units and, if any is left, shipping cost."""
        goods = sum(line.price_of(first=0, count=line.kept) for line in self.lines)
        return goods if self.all_cancelled else goods + self.shipping_minor

    @property
    def payment_status(self) -> PaymentStatus:
        """Its money, from the tender's sums."""
        tender = self.tender
        if tender is None:
            return PaymentStatus.PAID
        if tender.refunded_minor:
            whole = tender.refunded_minor == tender.captured_minor
            return PaymentStatus.REFUNDED if whole else PaymentStatus.PARTIALLY_REFUNDED
        if tender.captured_minor:
            enough = tender.captured_minor >= self.value_kept_minor
            return PaymentStatus.PAID if enough else PaymentStatus.PARTIALLY_PAID
        if tender.voided_minor:
            return PaymentStatus.VOIDED
        if tender.authorized_minor:
            return PaymentStatus.AUTHORIZED
        entry = self.authorization
        waiting = self.refusal_code is None and (entry is None or entry.is_open)
        return PaymentStatus.PENDING if waiting else PaymentStatus.NONE

    @property
    def fulfillment_status(self) -> FulfillmentStatus:
        """Its goods: the first that fits the uncancelled units."""
        kept = sum(line.kept for line in self.lines)
        handed_over = sum(line.handed_over for line in self.lines)
        if kept == 0:
            return FulfillmentStatus.CANCELLED
        if sum(line.delivered for line in self.lines) == kept:
            return FulfillmentStatus.DELIVERED
        if handed_over == kept:
            return FulfillmentStatus.FULFILLED
        if handed_over:
            return FulfillmentStatus.PARTIALLY_FULFILLED
        if self.open_holds:
            return FulfillmentStatus.ON_HOLD
        if any(each.status == "in_progress" for each in self.fulfillment_orders):
            return FulfillmentStatus.IN_PROGRESS
        return FulfillmentStatus.UNFULFILLED

    @property
    def return_status(self) -> ReturnStatus:
        """What came back, or is to."""
        back = sum(line.returned for line in self.lines)
        if back:
            whole = back >= sum(line.delivered for line in self.lines)
            return ReturnStatus.RETURNED if whole else ReturnStatus.IN_PROGRESS
        if any(each.brings_goods and each.is_live for each in self.returns):
            return ReturnStatus.REQUESTED
        return ReturnStatus.NONE

    def spoken_for(self, line: int) -> int:
        """Units of a line that are announced in a return, back, or claimed: not returnable.

        Nor are those in parcels that turned round. Claimed as lost and given up since, they are not
        with the customer any more either.
        """
        taken = sum(each.takes_of(line) for each in self.returns) - self.given_up_claimed(line)
        return taken + max(0, self._turned_round(line) - self.claimed_as_lost(line))

    def _turned_round(self, line: int) -> int:
        """Units of a line in parcels that are on their way back to where they left from."""
        return sum(
            held.quantity
            for each in self.shipments
            if not each.is_final and self.undeliverable(each.id) is not None
            for held in each.lines
            if held.line == line
        )

    def returnable(self, line: int) -> int:
        """Units of a line that may be sent back: handed over, less those that are spoken for."""
        found = self.line(line)
        return 0 if found is None else max(0, found.handed_over - self.spoken_for(line))

    def claimed_as_lost(self, line: int) -> int:
        """Units under way that a claim has paid or replaced, should their parcel be given up.

        What was claimed as damaged or wrong had arrived, heard of or not: beyond the units that the
        customer has by the books, it is under way by them.
        """
        lost = arrived = 0
        for each in self.returns:
            found = each.line(line)
            if each.kind != "claim" or each.approved_at is None or each.fell_away or not found:
                continue
            lost += found.quantity if found.reason == "lost" else 0
            arrived += found.quantity if found.reason != "lost" else 0
        ordered = self.line(line)
        there = max(0, ordered.delivered - ordered.returned) if ordered else 0
        return max(0, lost + max(0, arrived - there) - self.given_up_claimed(line))

    def given_up_claimed(self, line: int) -> int:
        """Units whose parcel was given up after a claim had paid or replaced them."""
        parts = (part for each in self.shipments for part in each.lines)
        return sum(part.claimed for part in parts if part.line == line)
