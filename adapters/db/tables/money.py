"""How an order is paid, and every movement of money."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Index, text
from sqlalchemy.dialects.postgresql import BIGINT, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import of_order, when


class TenderRow(SQLModel, table=True):
    """What an order is paid with, and its sums. One tender an order today; the key allows more.

    The checks are the last guard; each sum moves by one conditional update. `lost_minor`: given
    back before the provider took the capture of it back; only so do refunds exceed captures.
    """

    __tablename__ = "tenders"
    __table_args__ = (
        CheckConstraint("captured_minor <= authorized_minor", name="captured_within_authorized"),
        CheckConstraint(
            "refunded_minor <= captured_minor + lost_minor", name="refunded_within_captured"
        ),
        CheckConstraint(
            "voided_minor <= authorized_minor - captured_minor", name="voided_within_open"
        ),
        CheckConstraint(
            "authorized_minor >= 0 AND captured_minor >= 0 AND refunded_minor >= 0"
            " AND voided_minor >= 0",
            name="sums_not_negative",
        ),
    )
    order_number: str = Field(sa_column=of_order(primary_key=True))
    tender: int = Field(primary_key=True)
    kind: str
    provider: str | None = None
    token: str | None = None
    reference: str | None = None
    amount_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    authorized_minor: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    captured_minor: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    refunded_minor: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    voided_minor: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    lost_minor: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    authorisation: str | None = None
    capture_before: datetime | None = Field(default=None, sa_column=when())


class PaymentEntryRow(SQLModel, table=True):
    """One movement of money under one key, e.g. `{number}:capture:1`.

    `status`: requested, succeeded, failed, unknown. `attempts`: calls begun under the key.
    `settled_by`: the provider, or an operator who did it by hand. `given_up`: failed, and a
    person decided not to pursue it. `cause`: what it pays for, e.g. the shipment or hand-over.
    """

    __tablename__ = "payment_entries"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="entry_amount_positive"),
        CheckConstraint(
            "kind IN ('authorization', 'capture', 'refund', 'void')", name="entry_kind"
        ),
        CheckConstraint(
            "status IN ('requested', 'succeeded', 'failed', 'unknown')", name="entry_status"
        ),
        Index("payment_entries_by_order", "order_number"),
        Index("entries_of_returns", "cause", postgresql_where=text("kind = 'refund'")),
        Index(
            "payment_entries_open",
            "at",
            postgresql_where=text("status IN ('requested', 'unknown')"),
        ),
    )
    key: str = Field(sa_column=Column(TEXT, primary_key=True))
    order_number: str = Field(sa_column=of_order())
    tender: int = 1
    kind: str
    seq: int
    amount_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    currency: str
    status: str = "requested"
    cause: str | None = None
    attempts: int = 0
    provider_reference: str | None = None
    reason: str | None = None
    settled_by: str | None = None
    given_up: bool = False
    at: datetime = Field(sa_column=when(nullable=False))
    settled_at: datetime | None = Field(default=None, sa_column=when())
