"""What comes back: what was agreed, what arrived, and what became of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import BIGINT, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, of_order, texts, when


class ReturnPolicyRow(SQLModel, table=True):
    """A version of the rules for what comes back; the highest one stands.

    See `oms.return_policy.ReturnPolicy`. Without a row the usual one does, as version 0.
    """

    __tablename__ = "return_policies"
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    document: dict[str, Any] = Field(sa_column=as_json())
    actor: str
    at: datetime = Field(sa_column=when(nullable=False))


class ReturnRow(SQLModel, table=True):
    """Goods of one order that come back, or a claim for goods that do not.

    `kind`: return, claim, undeliverable. `via`: post, carrier_pickup, store, none. `location`:
    where they are expected. `terms`: what was agreed, by the policy of `policy_version`.
    `refund_minor`: what the customer was told; `fee_left_minor`: of the fee, not deducted yet.
    `remind_at`, `expire_at`: for a customer who sends nothing. `scanned_at`: the carrier's first
    scan. `receive_by`: for goods under way; `inspect_by`: for goods that arrived, and for refused
    ones that must leave again; then a person is called. `loss_at`: a person accepted that no more
    will come. `exchange_told`: how it stands with the exchange order, see `oms.returns`.
    `shipment`: the parcel that turned round. `leader`: the return in whose parcels these goods
    travel. `closed_at`: nothing is left to do.
    """

    __tablename__ = "returns"
    __table_args__ = (
        UniqueConstraint("order_number", "seq", name="return_seq"),
        CheckConstraint("kind IN ('return', 'claim', 'undeliverable')", name="return_kind"),
        CheckConstraint("resolution IN ('refund', 'exchange')", name="return_resolution"),
        Index("returns_by_age", "requested_at", "id"),
        Index("returns_not_started", "requested_at", postgresql_where=text("started_at IS NULL")),
        Index("returns_open", "order_number", postgresql_where=text("closed_at IS NULL")),
        Index("returns_along", "leader", postgresql_where=text("leader IS NOT NULL")),
        Index(
            "undeliverable_once",
            "shipment",
            unique=True,
            postgresql_where=text("shipment IS NOT NULL"),
        ),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    order_number: str = Field(sa_column=of_order())
    seq: int
    kind: str = "return"
    via: str
    resolution: str
    location: str | None = Field(default=None, sa_column=Column(TEXT, ForeignKey("locations.id")))
    policy_version: int = 0
    terms: dict[str, Any] = Field(sa_column=as_json())
    refund_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    fee_left_minor: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    actor: str
    requested_at: datetime = Field(sa_column=when(nullable=False))
    approved_at: datetime | None = Field(default=None, sa_column=when())
    declined_at: datetime | None = Field(default=None, sa_column=when())
    cancelled_at: datetime | None = Field(default=None, sa_column=when())
    expired_at: datetime | None = Field(default=None, sa_column=when())
    closed_at: datetime | None = Field(default=None, sa_column=when())
    started_at: datetime | None = Field(default=None, sa_column=when())
    remind_at: datetime | None = Field(default=None, sa_column=when())
    reminded_at: datetime | None = Field(default=None, sa_column=when())
    expire_at: datetime | None = Field(default=None, sa_column=when())
    receive_by: datetime | None = Field(default=None, sa_column=when())
    inspect_by: datetime | None = Field(default=None, sa_column=when())
    scanned_at: datetime | None = Field(default=None, sa_column=when())
    received_at: datetime | None = Field(default=None, sa_column=when())
    loss_at: datetime | None = Field(default=None, sa_column=when())
    exchange_order: str | None = Field(default=None, sa_column=Column(TEXT))
    exchange_told: str | None = Field(default=None, sa_column=Column(TEXT))
    shipment: str | None = Field(default=None, sa_column=Column(TEXT, ForeignKey("shipments.id")))
    leader: str | None = Field(default=None, sa_column=Column(TEXT))
    version: int = 1


class ReturnLineRow(SQLModel, table=True):
    """Units of one order line in a return; see `oms.returns.ReturnLine` for the counters."""

    __tablename__ = "return_lines"
    __table_args__ = (
        CheckConstraint(
            "quantity > 0 AND extra BETWEEN 0 AND quantity AND received >= 0 AND missing >= 0",
            name="return_units_not_negative",
        ),
        CheckConstraint("received + missing <= quantity", name="received_within_announced"),
        CheckConstraint(
            "settled BETWEEN 0 AND quantity AND refunded BETWEEN 0 AND settled",
            name="settled_within_announced",
        ),
    )
    return_id: str = Field(sa_column=Column(TEXT, ForeignKey("returns.id"), primary_key=True))
    line: int = Field(primary_key=True)
    sku: str = Field(sa_column=Column(TEXT, nullable=False, index=True))
    quantity: int
    extra: int = 0
    reason: str
    received: int = 0
    missing: int = 0
    settled: int = 0
    refunded: int = 0
    photos: list[str] = Field(sa_column=texts())
    exchange_sku: str | None = Field(default=None, sa_column=Column(TEXT))
    exchange_line: int | None = None
    condition: str | None = Field(default=None, sa_column=Column(TEXT))
    carried_minor: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    exchange_cancelled: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )


class ReturnLotRow(SQLModel, table=True):
    """Units that arrived together: one line, one condition, one location, one way to go.

    See `oms.returns.Lot`. `receipt` is the scan that brought them. `placed_at`: put where the
    `disposition` says, under the movements' key `{return}:put_away:{id}`, once. `why`: what decided
    that, in words.
    """

    __tablename__ = "return_lots"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="lot_quantity_positive"),
        CheckConstraint(
            "state IN ('received', 'accepted', 'rejected', 'placed', 'left')", name="lot_state"
        ),
        Index("lots_by_return", "return_id"),
        Index("lots_by_place", "location", "at"),
        Index("lots_to_inspect", "at", postgresql_where=text("state = 'received'")),
        Index("lots_by_age", "at", "id"),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    return_id: str = Field(sa_column=Column(TEXT, ForeignKey("returns.id"), nullable=False))
    receipt: str
    line: int
    sku: str
    condition: str
    location: str = Field(sa_column=Column(TEXT, ForeignKey("locations.id"), nullable=False))
    quantity: int
    state: str = "received"
    disposition: str | None = None
    at: datetime = Field(sa_column=when(nullable=False))
    decided_at: datetime | None = Field(default=None, sa_column=when())
    placed_at: datetime | None = Field(default=None, sa_column=when())
    transfer: str | None = Field(default=None, sa_column=Column(TEXT))
    why: str | None = Field(default=None, sa_column=Column(TEXT))


class ReturnReceiptRow(SQLModel, table=True):
    """A scan at a location, once by its key: what lay in the parcel, as it was told."""

    __tablename__ = "return_receipts"
    return_id: str = Field(sa_column=Column(TEXT, ForeignKey("returns.id"), primary_key=True))
    key: str = Field(sa_column=Column(TEXT, primary_key=True))
    location: str
    at: datetime = Field(sa_column=when(nullable=False))
    actor: str
    lines: list[Any] = Field(sa_column=as_json())


class ReturnParcelRow(SQLModel, table=True):
    """One parcel of a return. `direction`: in, or out for refused goods that go back."""

    __tablename__ = "return_parcels"
    __table_args__ = (CheckConstraint("direction IN ('in', 'out')", name="return_direction"),)
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    return_id: str = Field(
        sa_column=Column(TEXT, ForeignKey("returns.id"), nullable=False, index=True)
    )
    seq: int
    direction: str = "in"
    weight_g: int
    carrier: str | None = None
    tracking_number: str | None = Field(default=None, sa_column=Column(TEXT, unique=True))
    tracking_url: str | None = None
    label_attempt: int = 1
    status: str = "created"
    scanned_at: datetime | None = Field(default=None, sa_column=when())
    last_heard_at: datetime | None = Field(default=None, sa_column=when())
    last_asked_at: datetime | None = Field(default=None, sa_column=when())


class ReturnScanRow(SQLModel, table=True):
    """A carrier's event of a return's parcel, once by its event id."""

    __tablename__ = "return_scans"
    parcel: str = Field(sa_column=Column(TEXT, ForeignKey("return_parcels.id"), primary_key=True))
    event_id: str = Field(sa_column=Column(TEXT, primary_key=True))
    status: str
    at: datetime = Field(sa_column=when(nullable=False))
    heard_at: datetime = Field(sa_column=when(nullable=False))


class UnannouncedScanRow(SQLModel, table=True):
    """A parcel that nobody announced, once by what stands on it at its place.

    `said`: a digest of all that was told of it, so that the same words again are the same parcel,
    and others are not; null if it was told before digests were kept. `order_number`: whose it was.
    """

    __tablename__ = "unannounced_scans"
    location: str = Field(sa_column=Column(TEXT, ForeignKey("locations.id"), primary_key=True))
    reference: str = Field(sa_column=Column(TEXT, primary_key=True))
    said: str | None = Field(default=None, sa_column=Column(TEXT))
    order_number: str | None = Field(
        default=None, sa_column=Column(TEXT, ForeignKey("orders.number"))
    )


class FoundGoodsRow(SQLModel, table=True):
    """Goods that arrived and belong to nothing we know, until a person says what they are.

    `reference`: what stands on the parcel, and with `line`, counted from 1, the key: the same scan
    again is the same goods. `return_id`: the return they were in, beyond what was ever sent.
    `resolution`: the order's line they were of, or what became of them; `reason`: who says so why.
    """

    __tablename__ = "found_goods"
    __table_args__ = (
        UniqueConstraint("location", "reference", "line", name="found_goods_once"),
        Index("found_goods_by_age", "at", "id"),
        Index("found_goods_open", "at", postgresql_where=text("resolved_at IS NULL")),
        CheckConstraint("quantity > 0", name="found_quantity_positive"),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    location: str = Field(sa_column=Column(TEXT, ForeignKey("locations.id"), nullable=False))
    reference: str
    line: int = Field(default=1, sa_column=Column(Integer, nullable=False, server_default="1"))
    sku: str | None = None
    quantity: int
    condition: str
    return_id: str | None = Field(default=None, sa_column=Column(TEXT))
    at: datetime = Field(sa_column=when(nullable=False))
    actor: str
    resolved_at: datetime | None = Field(default=None, sa_column=when())
    resolution: str | None = None
    reason: str | None = None


class ReturnAlertRow(SQLModel, table=True):
    """An article that comes back too often and was told of; it goes when it no longer does."""

    __tablename__ = "return_alerts"
    sku: str = Field(sa_column=Column(TEXT, primary_key=True))
    since: datetime = Field(sa_column=when(nullable=False))
    rate_percent: int
    sold: int
    returned: int
