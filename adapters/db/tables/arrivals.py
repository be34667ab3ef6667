"""What is expected from suppliers, and what moves from one location to another."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import BIGINT, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, no_units, when


class IncomingRow(SQLModel, table=True):
    """Units expected at a location by a purchase order.

    What has not arrived counts in `incoming`, until it is called off (`ended_at`). `received` are
    all units that arrived, `damaged` of them included; they may be more than were announced.
    `told_overdue`: the expected time that passed and was told.
    """

    __tablename__ = "incoming"
    __table_args__ = (
        UniqueConstraint("reference", "sku", "location", name="incoming_reference_once"),
        CheckConstraint("quantity > 0", name="incoming_quantity_positive"),
        Index("incoming_by_place", "sku", "location", "expected_at"),
        CheckConstraint(
            "received >= damaged AND damaged >= 0", name="incoming_received_not_negative"
        ),
        Index(
            "incoming_due",
            "expected_at",
            postgresql_where=text("ended_at IS NULL AND received < quantity"),
        ),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    sku: str
    location: str
    quantity: int
    expected_at: datetime = Field(sa_column=when(nullable=False))
    reference: str
    received: int = Field(default=0, sa_column=no_units())
    damaged: int = Field(default=0, sa_column=no_units())
    ended_at: datetime | None = Field(default=None, sa_column=when())
    told_overdue: datetime | None = Field(default=None, sa_column=when())
    version: int = Field(default=1, sa_column=Column(Integer, nullable=False, server_default="1"))


class IncomingChangeRow(SQLModel, table=True):
    """What happened to an expectation, so that a date that moved can be explained.

    `kind`: `announced, changed, received, cancelled, overdue`. `quantity` and `expected_at` are
    what was expected from then on; `received` and `damaged` what came in this step.
    """

    __tablename__ = "incoming_changes"
    incoming: int = Field(sa_column=Column(BIGINT, ForeignKey("incoming.id"), primary_key=True))
    seq: int = Field(primary_key=True)
    at: datetime = Field(sa_column=when(nullable=False))
    actor: str
    kind: str
    quantity: int
    expected_at: datetime = Field(sa_column=when(nullable=False))
    received: int = Field(default=0, sa_column=no_units())
    damaged: int = Field(default=0, sa_column=no_units())


class TransferRow(SQLModel, table=True):
    """Goods that move from one location to another.

    `status` is derived from the lines (`oms.transfers`) and kept to find transfers by it.
    `told_overdue`: the expected time that passed and was told.
    """

    __tablename__ = "transfers"
    __table_args__ = (
        CheckConstraint("origin <> destination", name="transfer_leads_elsewhere"),
        Index(
            "transfer_reference_once",
            "reference",
            unique=True,
            postgresql_where=text("reference IS NOT NULL"),
        ),
        Index("transfers_by_age", "created_at", "id"),
        Index(
            "transfers_due",
            "expected_at",
            postgresql_where=text("status IN ('requested', 'shipped', 'partially_received')"),
        ),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    origin: str = Field(sa_column=Column(TEXT, ForeignKey("locations.id"), nullable=False))
    destination: str = Field(sa_column=Column(TEXT, ForeignKey("locations.id"), nullable=False))
    status: str
    reference: str | None = None
    expected_at: datetime | None = Field(default=None, sa_column=when())
    created_at: datetime = Field(sa_column=when(nullable=False))
    closed_at: datetime | None = Field(default=None, sa_column=when())
    told_overdue: datetime | None = Field(default=None, sa_column=when())
    version: int = 1


class TransferLineRow(SQLModel, table=True):
    """Units of one article in a transfer, as `oms.transfers.TransferLine` counts them."""

    __tablename__ = "transfer_lines"
    __table_args__ = (
        UniqueConstraint("transfer", "sku", name="transfer_line_once"),
        CheckConstraint(
            "quantity >= 0 AND shipped >= 0 AND damaged >= 0 AND received >= damaged"
            " AND lost >= 0 AND cancelled >= 0 AND shipped + cancelled <= quantity",
            name="transfer_units_fit",
        ),
        Index("transfer_lines_by_sku", "sku"),
        Index(
            "transfer_lines_on_the_road",
            "sku",
            postgresql_where=text("shipped > received + lost"),
        ),
    )
    transfer: str = Field(sa_column=Column(TEXT, ForeignKey("transfers.id"), primary_key=True))
    line: int = Field(primary_key=True)
    sku: str = Field(sa_column=Column(TEXT, ForeignKey("products.sku"), nullable=False))
    quantity: int
    shipped: int = Field(default=0, sa_column=no_units())
    received: int = Field(default=0, sa_column=no_units())
    damaged: int = Field(default=0, sa_column=no_units())
    lost: int = Field(default=0, sa_column=no_units())
    cancelled: int = Field(default=0, sa_column=no_units())


class TransferEventRow(SQLModel, table=True):
    """A step of a transfer, in words and data. `seq` has no gaps. No personal data."""

    __tablename__ = "transfer_events"
    transfer: str = Field(sa_column=Column(TEXT, ForeignKey("transfers.id"), primary_key=True))
    seq: int = Field(primary_key=True)
    at: datetime = Field(sa_column=when(nullable=False))
    actor: str
    kind: str
    summary: str
    data: dict[str, Any] = Field(sa_column=as_json())
