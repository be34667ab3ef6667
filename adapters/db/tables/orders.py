"""The order, its lines, and what holds it up."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Column, Index, text
from sqlalchemy.dialects.postgresql import BIGINT, BYTEA, JSONB, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, of_order, when


class OrderRow(SQLModel, table=True):
    """An order as accepted, and the few facts its statuses are derived from.

    `document` is the request as the channel sent it (personal data lives here and nowhere else).
    `started_at`: a workflow was started. `confirmed_at`: stock and payment are held.
    `closed_at`: nothing is left to do. `exchange_of`: the return whose goods it replaces.
    `shipping_refunded`: the outbound way was given back.
    `refusal_code`: refused; the reference is free again.
    `promise_by` and the milestones in `promise` are what the customer was told when it was
    confirmed, and stay; `expected_by` and `promise_status` (`kept, at_risk, missed`) say how it
    stands (`adapters.db.promise_watch`).
    """

    __tablename__ = "orders"
    __table_args__ = (
        Index(
            "one_order_a_reference",
            "channel",
            "reference",
            unique=True,
            postgresql_where=text("refusal_code IS NULL"),
        ),
        Index("orders_by_age", "placed_at", "number"),
        Index("orders_not_started", "placed_at", postgresql_where=text("started_at IS NULL")),
        Index("orders_by_customer", "customer_id"),
        # What is open is watched all the time, beside all the orders that ever were.
        Index(
            "orders_open",
            "promise_by",
            postgresql_include=["confirmed_at", "grace_until"],
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "orders_promised",
            "number",
            postgresql_where=text("closed_at IS NULL AND confirmed_at IS NOT NULL"),
        ),
        Index(
            "orders_in_danger",
            "promise_status",
            "placed_at",
            "number",
            postgresql_where=text("promise_status <> 'kept'"),
        ),
    )
    number: str = Field(sa_column=Column(TEXT, primary_key=True))
    channel: str
    reference: str
    content_hash: bytes = Field(sa_column=Column(BYTEA, nullable=False))
    currency: str
    customer_id: str
    customer_segment: str | None = None
    method: str
    pickup_location: str | None = None
    country: str
    latitude: float | None = None
    longitude: float | None = None
    allow_split: bool
    allow_backorder: bool
    total_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    shipping_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    shipping_tax_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    document: dict[str, Any] = Field(sa_column=as_json())
    placed_at: datetime = Field(sa_column=when(nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=when())
    confirmed_at: datetime | None = Field(default=None, sa_column=when())
    grace_until: datetime | None = Field(default=None, sa_column=when())
    promise_by: datetime | None = Field(default=None, sa_column=when())
    promise: dict[str, Any] | None = Field(default=None, sa_column=as_json(nullable=True))
    promise_status: str | None = Field(default=None, sa_column=Column(TEXT))
    expected_by: datetime | None = Field(default=None, sa_column=when())
    closed_at: datetime | None = Field(default=None, sa_column=when())
    refusal_code: str | None = None
    refusal_detail: str | None = None
    shortages: list[Any] | None = Field(default=None, sa_column=as_json(nullable=True))
    shipping_captured: bool = False
    shipping_refunded: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default="false")
    )
    exchange_of: str | None = Field(default=None, sa_column=Column(TEXT))
    version: int = 1


class OrderLineRow(SQLModel, table=True):
    """A line and its units by bucket. The buckets always add up to what was ordered.

    `total_minor` is the line after discount, tax included; `shipping_minor`/`shipping_tax_minor`
    are its share of the order's shipping, fixed at placement. `charged`: units in captures so far.
    `kit`: lines of the same one are served together. `carried`: of an exchange, the value that
    goods sent back bring along, by the order that holds the money.
    """

    __tablename__ = "order_lines"
    __table_args__ = (
        CheckConstraint(
            "ordered = cancelled + reserved + backordered + allocated + picked + shipped"
            " + delivered + unplanned",
            name="buckets_add_up",
        ),
        CheckConstraint(
            "cancelled >= 0 AND reserved >= 0 AND backordered >= 0 AND allocated >= 0"
            " AND picked >= 0 AND shipped >= 0 AND delivered >= 0 AND unplanned >= 0"
            " AND returned >= 0 AND refunded >= 0",
            name="buckets_not_negative",
        ),
        CheckConstraint("charged >= 0 AND charged <= ordered", name="charged_within_ordered"),
        CheckConstraint("refunded <= charged", name="refunded_within_charged"),
        Index("order_lines_by_sku", "sku"),
    )
    order_number: str = Field(sa_column=of_order(primary_key=True))
    line: int = Field(primary_key=True)
    sku: str
    kit: str | None = Field(default=None, sa_column=Column(TEXT))
    unit_price_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    discount_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    tax_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    total_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    shipping_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    shipping_tax_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    ordered: int
    unplanned: int
    cancelled: int = 0
    reserved: int = 0
    backordered: int = 0
    allocated: int = 0
    picked: int = 0
    shipped: int = 0
    delivered: int = 0
    returned: int = 0
    refunded: int = 0
    charged: int = 0
    carried: dict[str, int] = Field(
        sa_column=Column(JSONB, nullable=False, server_default=text("'{}'"))
    )


class HoldRow(SQLModel, table=True):
    """A reason why an order may not go on."""

    __tablename__ = "holds"
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    order_number: str = Field(sa_column=of_order(index=True))
    reason: str
    note: str | None = None
    placed_at: datetime = Field(sa_column=when(nullable=False))
    released_at: datetime | None = Field(default=None, sa_column=when())
