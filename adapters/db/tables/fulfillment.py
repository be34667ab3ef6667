"""What each location does for an order, and the parcels that leave it."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import of_order, when


class FulfillmentOrderRow(SQLModel, table=True):
    """The part of an order that one location serves.

    `status`: open, on_hold, in_progress, closed, cancelled. `request`: requested, accepted,
    rejected, expired. `cancellation`: null, requested, accepted, rejected. Deadlines:
    `answer_by` for the node's answer, `work_by` for picking and hand-over (for pickups: ready),
    `collect_by` for the customer, `cancel_answer_by` for the node's answer to a cancellation.
    `stranded_at`: it was to be served from elsewhere, and units were picked already; until a person
    has seen to it.
    """

    __tablename__ = "fulfillment_orders"
    __table_args__ = (
        UniqueConstraint("order_number", "seq", name="fulfillment_order_seq"),
        Index("fulfillment_orders_by_location", "location", "status", "id"),
        Index("fulfillment_orders_by_day", "location", "created_at"),
        Index(
            "handed_over_by_day",
            "handed_over_at",
            postgresql_where=text("handed_over_at IS NOT NULL"),
        ),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    order_number: str = Field(sa_column=of_order())
    seq: int
    location: str
    method: str
    status: str = "open"
    request: str = "requested"
    reject_reason: str | None = None
    cancellation: str | None = None
    cancellation_seq: int = 0
    cancellation_asked: int = 0
    pickup_code: str | None = None
    created_at: datetime = Field(sa_column=when(nullable=False))
    offered_at: datetime | None = Field(default=None, sa_column=when())
    answer_by: datetime | None = Field(default=None, sa_column=when())
    accepted_at: datetime | None = Field(default=None, sa_column=when())
    work_by: datetime | None = Field(default=None, sa_column=when())
    picked_at: datetime | None = Field(default=None, sa_column=when())
    packed_at: datetime | None = Field(default=None, sa_column=when())
    ready_at: datetime | None = Field(default=None, sa_column=when())
    collect_by: datetime | None = Field(default=None, sa_column=when())
    handed_over_at: datetime | None = Field(default=None, sa_column=when())
    cancel_answer_by: datetime | None = Field(default=None, sa_column=when())
    stranded_at: datetime | None = Field(default=None, sa_column=when())
    ended_at: datetime | None = Field(default=None, sa_column=when())
    version: int = 1


class FulfillmentLineRow(SQLModel, table=True):
    """Units of one order line asked of one location.

    `quantity` falls when units are withdrawn, rejected or cancelled; `picked` is null until told.
    `cancel_asked`: units the node was asked to stop and has not answered for. `move_asked`: the
    same, but others are to serve them.
    """

    __tablename__ = "fulfillment_lines"
    __table_args__ = (
        CheckConstraint("quantity >= 0", name="fulfillment_quantity_not_negative"),
        CheckConstraint("picked IS NULL OR picked BETWEEN 0 AND quantity", name="picked_within"),
        CheckConstraint("cancel_asked BETWEEN 0 AND quantity", name="cancel_asked_within"),
        CheckConstraint(
            "move_asked BETWEEN 0 AND quantity - cancel_asked", name="move_asked_within"
        ),
    )
    fulfillment_order: str = Field(
        sa_column=Column(TEXT, ForeignKey("fulfillment_orders.id"), primary_key=True)
    )
    line: int = Field(primary_key=True)
    sku: str
    asked: int
    quantity: int
    picked: int | None = None
    cancel_asked: int = 0
    move_asked: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )


class ShipmentRow(SQLModel, table=True):
    """One parcel. `status`: what its scans amount to; `label_attempt` numbers the label's key."""

    __tablename__ = "shipments"
    __table_args__ = (UniqueConstraint("order_number", "seq", name="shipment_seq"),)
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    order_number: str = Field(sa_column=of_order())
    fulfillment_order: str = Field(
        sa_column=Column(TEXT, ForeignKey("fulfillment_orders.id"), nullable=False, index=True)
    )
    seq: int
    weight_g: int
    status: str = "created"
    carrier: str | None = None
    tracking_number: str | None = Field(default=None, sa_column=Column(TEXT, unique=True))
    tracking_url: str | None = None
    label_attempt: int = 1
    created_at: datetime = Field(sa_column=when(nullable=False))
    handed_over_at: datetime | None = Field(default=None, sa_column=when())
    last_heard_at: datetime | None = Field(default=None, sa_column=when())
    last_asked_at: datetime | None = Field(default=None, sa_column=when())
    delivered_at: datetime | None = Field(default=None, sa_column=when())
    written_off_at: datetime | None = Field(default=None, sa_column=when())


class ShipmentLineRow(SQLModel, table=True):
    """What lies in a parcel. `claimed`: of one that was given up, what claims had paid already."""

    __tablename__ = "shipment_lines"
    shipment: str = Field(sa_column=Column(TEXT, ForeignKey("shipments.id"), primary_key=True))
    line: int = Field(primary_key=True)
    quantity: int
    claimed: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))


class ShipmentScanRow(SQLModel, table=True):
    """A carrier's event, once by its event id."""

    __tablename__ = "shipment_scans"
    shipment: str = Field(sa_column=Column(TEXT, ForeignKey("shipments.id"), primary_key=True))
    event_id: str = Field(sa_column=Column(TEXT, primary_key=True))
    status: str
    at: datetime = Field(sa_column=when(nullable=False))
    heard_at: datetime = Field(sa_column=when(nullable=False))
