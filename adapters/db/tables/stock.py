"""What lies where, every movement of it, and who is told."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import BIGINT, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, transaction, when


class StockLevelRow(SQLModel, table=True):
    """Units of one SKU at one place.

    `available = on_hand - reserved - allocated - safety_stock - backordered`, at least 0: what the
    place's open backorders wait for is theirs.

    No check says `on_hand >= allocated`: a low count is a fact. `damaged` lies outside `on_hand`.
    `incoming`: expected here, by a purchase order or by a transfer under way; `in_transit`: the
    part of it that is on the road in a transfer; `coming_back`: the part that customers send back,
    or that arrived and is not put away yet. `requested`: asked of another place, not sent yet.
    `blocked`: nothing of it may be sold or promised, whatever lies there.
    `backordered`: units promised beyond stock, against `backorder_limit` and, with
    `backorder_from_incoming`, what is coming. `low_at`: the place runs low at so many available
    units; null for never. `unit_cost_minor`: what a unit costs the merchant here, in
    `cost_currency`; null: what the article costs. `policy_version` counts how often these were set,
    0 for never.
    """

    __tablename__ = "stock_levels"
    __table_args__ = (
        CheckConstraint("on_hand >= 0", name="on_hand_not_negative"),
        CheckConstraint("reserved >= 0", name="reserved_not_negative"),
        CheckConstraint("allocated >= 0", name="allocated_not_negative"),
        CheckConstraint("safety_stock >= 0", name="safety_stock_not_negative"),
        CheckConstraint("incoming >= 0", name="incoming_not_negative"),
        CheckConstraint("in_transit >= 0", name="in_transit_not_negative"),
        CheckConstraint("requested >= 0", name="requested_not_negative"),
        CheckConstraint("coming_back >= 0", name="coming_back_not_negative"),
        CheckConstraint("damaged >= 0", name="damaged_not_negative"),
        CheckConstraint("backordered >= 0", name="backordered_not_negative"),
        Index("levels_with_backorders", "sku", postgresql_where=text("backordered > 0")),
        Index("levels_by_location", "location", "sku"),
    )
    sku: str = Field(sa_column=Column(TEXT, ForeignKey("products.sku"), primary_key=True))
    location: str = Field(sa_column=Column(TEXT, ForeignKey("locations.id"), primary_key=True))
    on_hand: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    reserved: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    allocated: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    safety_stock: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    incoming: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    in_transit: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    requested: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    coming_back: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    damaged: int = Field(default=0, sa_column=Column(BIGINT, nullable=False, server_default="0"))
    backordered: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    backorder_limit: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    backorder_from_incoming: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default="false")
    )
    low_at: int | None = Field(default=None, sa_column=Column(BIGINT))
    unit_cost_minor: int | None = Field(default=None, sa_column=Column(BIGINT))
    cost_currency: str | None = Field(default=None, sa_column=Column(TEXT))
    blocked: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default="false")
    )
    policy_version: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )


class StockMovementRow(SQLModel, table=True):
    """One change of one of the buckets of `adapters.db.stock`.

    `key` names the business effect, e.g. `{number}:reserve:1`; the same key never moves a bucket
    of a (sku, location) twice. `xid` is the transaction that wrote it: ids are drawn before their
    transactions commit, so only (xid, id) below the oldest open transaction can be read in order
    without missing one that commits late.
    """

    __tablename__ = "stock_movements"
    __table_args__ = (
        UniqueConstraint("key", "sku", "location", "bucket", name="movement_once"),
        Index("movements_by_sku", "sku", "id"),
        Index("movements_by_transaction", "xid", "id"),
        # What moved since a count: nearly free, as the ledger grows in the order of time.
        Index(
            "movements_by_time",
            "at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": True},
        ),
        CheckConstraint("delta <> 0", name="movement_moves"),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    at: datetime = Field(sa_column=when(nullable=False))
    sku: str
    location: str
    bucket: str
    delta: int = Field(sa_column=Column(BIGINT, nullable=False))
    cause: str
    key: str
    xid: int | None = Field(default=None, sa_column=transaction())


class StockEventRow(SQLModel, table=True):
    """What is told of stock that belongs to no order: the outbox of later webhooks.

    `kind`, e.g. `stock.out`. `sku` or `location` is null where it is about a whole place or a whole
    article. Ids come from the sequence of `stock_movements`, so that (xid, id) puts movements and
    events in one order. No personal data.
    """

    __tablename__ = "stock_events"
    __table_args__ = (Index("stock_events_by_transaction", "xid", "id"),)
    id: int | None = Field(
        default=None,
        sa_column=Column(
            BIGINT,
            primary_key=True,
            autoincrement=False,
            server_default=text("nextval('stock_movements_id_seq')"),
        ),
    )
    at: datetime = Field(sa_column=when(nullable=False))
    kind: str
    sku: str | None = None
    location: str | None = None
    data: dict[str, Any] = Field(sa_column=as_json())
    xid: int | None = Field(default=None, sa_column=transaction())


class StockFollowerRow(SQLModel, table=True):
    """How far one follower has read the ledger; see `adapters.db.stock_changes.Position`."""

    __tablename__ = "stock_followers"
    name: str = Field(sa_column=Column(TEXT, primary_key=True))
    xid: int = Field(sa_column=Column(BIGINT, nullable=False))
    id: int = Field(sa_column=Column(BIGINT, nullable=False))
    listing: dict[str, Any] | None = Field(default=None, sa_column=as_json(nullable=True))
    looked_at: datetime = Field(sa_column=when(nullable=False))


class StockAlertRow(SQLModel, table=True):
    """What was told last of an article at a place, while it is `low` or `out`.

    `location` is empty for all places together. Without a row it has enough.
    """

    __tablename__ = "stock_alerts"
    __table_args__ = (CheckConstraint("state IN ('low', 'out')", name="alert_state"),)
    sku: str = Field(sa_column=Column(TEXT, primary_key=True))
    location: str = Field(sa_column=Column(TEXT, primary_key=True))
    state: str
    since: datetime = Field(sa_column=when(nullable=False))
