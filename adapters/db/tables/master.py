"""Who sells, what is sold, where it lies, and how it travels."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, Column, DateTime, Index, Integer, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, JSONB, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, texts, when


class ChannelRow(SQLModel, table=True):
    """Where orders come from, and which stock counts for it.

    `location_kinds`: only locations of these kinds count; null for all. `buffers`: units of every
    article that this channel leaves at each location of a kind, beside the safety stock.
    """

    __tablename__ = "channels"
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    name: str
    active: bool = True
    location_kinds: list[str] | None = Field(default=None, sa_column=Column(ARRAY(TEXT)))
    buffers: dict[str, int] = Field(
        sa_column=Column(JSONB, nullable=False, server_default=text("'{}'"))
    )
    version: int = 1


class ProductRow(SQLModel, table=True):
    """An article. `weight_g` grams, `dimensions_mm` length, width, height.

    `available_from`: before it, units are sold only as preorders. `low_at`: all places together run
    low at so many available units; null for never. `unit_cost_minor`: what a unit costs the
    merchant, in `cost_currency`, where its place says no other. `recalled`: none of it may be sold
    anywhere; its levels are blocked, and those to come.
    """

    __tablename__ = "products"
    __table_args__ = (
        Index(
            "preorders",
            "available_from",
            postgresql_where=text("available_from IS NOT NULL"),
        ),
    )
    sku: str = Field(sa_column=Column(TEXT, primary_key=True))
    name: str
    gtin: str | None = None
    weight_g: int | None = None
    dimensions_mm: list[int] | None = Field(default=None, sa_column=Column(ARRAY(Integer)))
    tags: list[str] = Field(sa_column=texts())
    sellable: bool = True
    image_url: str | None = None
    available_from: datetime | None = Field(default=None, sa_column=when())
    low_at: int | None = Field(default=None, sa_column=Column(BIGINT))
    unit_cost_minor: int | None = Field(default=None, sa_column=Column(BIGINT))
    cost_currency: str | None = Field(default=None, sa_column=Column(TEXT))
    recalled: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default="false")
    )
    version: int = 1


class LocationRow(SQLModel, table=True):
    """A place that holds stock. `channels` is `{*}` for all; hours and cut-off are local time.

    `closed_on`: days like `2026-12-31` on which it is closed besides. `cleared_at`: since when what
    it was to serve goes elsewhere; null while it is open, or ends what it has.
    """

    __tablename__ = "locations"
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    name: str
    kind: str
    address: dict[str, Any] = Field(sa_column=as_json())
    country: str
    latitude: float | None = None
    longitude: float | None = None
    time_zone: str = "UTC"
    cutoff: str | None = None
    opening_hours: dict[str, Any] | None = Field(default=None, sa_column=as_json(nullable=True))
    serves: list[str] = Field(sa_column=texts())
    channels: list[str] = Field(sa_column=texts())
    groups: list[str] = Field(sa_column=texts())
    handling_minutes: int = Field(
        default=60, sa_column=Column(Integer, nullable=False, server_default="60")
    )
    closed_on: list[str] = Field(sa_column=texts())
    open_on_holidays: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false"))
    )
    daily_capacity: int | None = None
    handling_minor: int = 0
    currency: str | None = None
    active: bool = True
    cleared_at: datetime | None = Field(default=None, sa_column=when())
    version: int = 1
    created_at: datetime | None = Field(
        default=None,
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("now()")),
    )


class ShippingServiceRow(SQLModel, table=True):
    """How parcels get to customers. Days are `mon` to `sun`; `deliver_until` is their local time.

    `countries` is `{*}` for all; empty `from_kinds` and `from_groups` are any.
    """

    __tablename__ = "shipping_services"
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    method: str = Field(sa_column=Column(TEXT, nullable=False))
    carrier: str = Field(sa_column=Column(TEXT, nullable=False))
    countries: list[str] = Field(sa_column=texts())
    from_kinds: list[str] = Field(sa_column=texts())
    from_groups: list[str] = Field(sa_column=texts())
    transit_days: dict[str, int] = Field(sa_column=as_json())
    transit_days_by_country: dict[str, Any] = Field(
        sa_column=Column(JSONB, nullable=False, server_default=text("'{}'"))
    )
    picks_up_on: list[str] = Field(sa_column=texts())
    delivers_on: list[str] = Field(sa_column=texts())
    deliver_until: str = Field(sa_column=Column(TEXT, nullable=False))
    cost_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    currency: str = Field(sa_column=Column(TEXT, nullable=False))
    active: bool = True
    version: int = 1
    created_at: datetime | None = Field(
        default=None,
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("now()")),
    )


class MasterStampRow(SQLModel, table=True):
    """One row: another stamp after any change of channels, locations, services or rule sets.

    Triggers of those tables write it (migration 0017).
    """

    __tablename__ = "master_stamp"
    __table_args__ = (CheckConstraint("id = 1", name="one_master_stamp"),)
    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    stamp: UUID = Field(
        sa_column=Column(Uuid, nullable=False, server_default=text("gen_random_uuid()"))
    )
