"""What one location does for an order, and the parcels that leave it, as the books tell them."""

from datetime import datetime

from oms.stored import Stored


class FulfillmentLine(Stored):
    """What one location is asked for of a line, and what it picked (None: not told yet).

    It was asked to stop `cancel_asked` units for good, and `move_asked` for others to serve.
    """

    line: int
    sku: str
    asked: int
    quantity: int
    picked: int | None
    cancel_asked: int
    move_asked: int = 0

    @property
    def stop_asked(self) -> int:
        """Units that the location was asked to stop, and has not answered for."""
        return self.cancel_asked + self.move_asked


class FulfillmentOrder(Stored):
    """See `adapters.db.tables.fulfillment` for the words."""

    id: str
    seq: int
    location: str
    method: str
    status: str
    request: str
    reject_reason: str | None
    cancellation: str | None
    cancellation_seq: int
    cancellation_asked: int
    pickup_code: str | None
    created_at: datetime
    offered_at: datetime | None
    answer_by: datetime | None
    accepted_at: datetime | None
    work_by: datetime | None
    picked_at: datetime | None
    packed_at: datetime | None
    ready_at: datetime | None
    collect_by: datetime | None
    handed_over_at: datetime | None
    cancel_answer_by: datetime | None
    stranded_at: datetime | None = None
    ended_at: datetime | None
    version: int
    lines: tuple[FulfillmentLine, ...]

    @property
    def short_id(self) -> str:
        """`F1`, as steps and people call it."""
        return f"F{self.seq}"

    @property
    def is_offered(self) -> bool:
        """Still waiting for the node's yes or no."""
        return self.status in ("open", "on_hold")

    @property
    def is_live(self) -> bool:
        """Not ended: offered or worked on."""
        return self.status in ("open", "on_hold", "in_progress")

    @property
    def all_picked(self) -> bool:
        """Whether the location told of every line."""
        return all(line.picked is not None for line in self.lines if line.quantity)


class ShipmentLine(Stored):
    """Units of a line in one parcel. `claimed`: of a parcel given up, claims had paid for them."""

    line: int
    quantity: int
    claimed: int = 0


FINAL_PARCEL_STATUSES = ("delivered",)
TROUBLED_PARCEL_STATUSES = ("lost", "damaged", "attempt_failed", "returned_to_sender")


class Shipment(Stored):
    """One parcel. `written_off_at`: it will never arrive."""

    id: str
    fulfillment_order: str
    seq: int
    weight_g: int
    status: str
    carrier: str | None
    tracking_number: str | None
    tracking_url: str | None
    label_attempt: int
    created_at: datetime
    handed_over_at: datetime | None
    last_heard_at: datetime | None
    last_asked_at: datetime | None
    delivered_at: datetime | None
    written_off_at: datetime | None
    lines: tuple[ShipmentLine, ...]

    @property
    def short_id(self) -> str:
        """`S1`, as steps and people call it."""
        return f"S{self.seq}"

    @property
    def is_final(self) -> bool:
        """Nothing more is to come of it."""
        return self.delivered_at is not None or self.written_off_at is not None
