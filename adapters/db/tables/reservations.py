"""Units of stock that are an order's: reserved, waited for, allocated."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, Index, Integer, text
from sqlalchemy.dialects.postgresql import BIGINT, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, of_order, texts, when

_OPEN = text("state = 'open'")


class ReservationRow(SQLModel, table=True):
    """Units held for an order before payment, at one location.

    `kind`: `stock` counts in `reserved`; `backorder` counts in `backordered` and stays open until
    the units are allocated or cancelled. `state`: `open`, then once `allocated` or `released`.
    `since`: when the units were held; a backorder's place in the queue goes by it.
    """

    __tablename__ = "reservations"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="reservation_quantity_positive"),
        CheckConstraint("kind IN ('stock', 'backorder')", name="reservation_kind"),
        CheckConstraint("state IN ('open', 'allocated', 'released')", name="reservation_state"),
        Index("open_reservations", "expires_at", postgresql_where=_OPEN),
        Index(
            "reservations_held",
            "location",
            postgresql_where=text("state = 'open' AND kind = 'stock'"),
        ),
        Index("open_reservations_by_place", "sku", "location", postgresql_where=_OPEN),
        Index(
            "backorders_waiting",
            "sku",
            "location",
            "id",
            postgresql_where=text("kind = 'backorder' AND state = 'open'"),
        ),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    order_number: str = Field(sa_column=of_order(index=True))
    line: int
    sku: str
    location: str
    quantity: int
    kind: str = "stock"
    state: str = "open"
    expires_at: datetime | None = Field(default=None, sa_column=when())
    since: datetime | None = Field(
        default=None,
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("now()")),
    )


class BackorderPolicyRow(SQLModel, table=True):
    """A version of the rule by which backordered units are released; the highest one stands.

    See `oms.backorders.BackorderPolicy`. Without a row: oldest first, version 0.
    """

    __tablename__ = "backorder_policies"
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    policy: str
    segments: list[str] = Field(sa_column=texts())
    patience_days: int
    actor: str
    at: datetime = Field(sa_column=when(nullable=False))


class BackorderReleaseRow(SQLModel, table=True):
    """Backordered units that got stock at `location`, and why this order before others.

    `key` is that of the movements. `policy` is `reroute` where an operator's word stood before the
    queue; then `policy_version` and `place` are null. `place`: the order's in the queue of the SKU,
    `waiting` orders long. `passed`: who stood before it and got nothing, `behind`: who came next;
    other orders by number, for operators only.
    """

    __tablename__ = "backorder_releases"
    __table_args__ = (
        Index("releases_by_sku", "sku", "id"),
        Index("releases_by_order", "order_number"),
        CheckConstraint("quantity > 0", name="release_quantity_positive"),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    order_number: str = Field(sa_column=Column(TEXT, ForeignKey("orders.number"), nullable=False))
    line: int
    sku: str
    location: str
    quantity: int
    at: datetime = Field(sa_column=when(nullable=False))
    actor: str
    policy: str
    policy_version: int | None = None
    place: int | None = None
    waiting: int | None = None
    since: datetime = Field(sa_column=when(nullable=False))
    reason: str
    passed: list[Any] = Field(sa_column=as_json())
    behind: list[Any] = Field(sa_column=as_json())
    key: str


class AllocationRow(SQLModel, table=True):
    """Units of a confirmed order at one location; counts in `allocated` while `state` is `open`.

    `fulfillment_order` is null until the units are offered. `turned_down`: this location will not
    serve these units (rejected, short, no answer); they stay allocated until another place, a
    backorder or a cancellation takes them over. `picked`: they lie in the picking box.
    Ends once: `shipped` (handed over) or `released`. A part that ends is split off first.
    """

    __tablename__ = "allocations"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="allocation_quantity_positive"),
        CheckConstraint("state IN ('open', 'shipped', 'released')", name="allocation_state"),
        Index(
            "allocations_not_offered",
            "location",
            postgresql_where=text("state = 'open' AND fulfillment_order IS NULL"),
        ),
        Index("open_allocations_by_place", "sku", "location", postgresql_where=_OPEN),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    order_number: str = Field(sa_column=of_order(index=True))
    line: int
    sku: str
    location: str
    quantity: int
    fulfillment_order: str | None = Field(default=None, index=True)
    picked: bool = False
    turned_down: bool = False
    state: str = "open"
