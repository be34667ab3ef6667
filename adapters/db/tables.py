"""The books: every table, its constraints, and what each column means.

Quantities are units, money is integer minor units, times are UTC with a zone. Ledgers
(`stock_movements`, `payment_entries`' amounts, `events`) only grow. The order row is locked
before any other row of the order; stock rows are locked last, sorted by (sku, location).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, BYTEA, JSONB, TEXT
from sqlmodel import Field, SQLModel


def _when(*, nullable: bool = True) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


def _json(*, nullable: bool = False) -> Any:
    return Column(JSONB, nullable=nullable)


def _texts() -> Any:
    return Column(ARRAY(TEXT), nullable=False, server_default=text("'{}'"))


def _transaction() -> Any:
    """The number of the transaction that writes the row, as PostgreSQL counts them for good."""
    current = text("pg_current_xact_id()::text::bigint")
    return Column(BIGINT, nullable=False, server_default=current)


def _units() -> Any:
    return Column(BIGINT, nullable=False, server_default="0")


_OPEN = text("state = 'open'")
_UNDER_WAY = text("status IN ('running', 'paused')")


def _order(*, primary_key: bool = False, nullable: bool = False, index: bool = False) -> Any:
    return Column(
        TEXT,
        ForeignKey("orders.number"),
        primary_key=primary_key,
        nullable=nullable,
        index=index,
    )


# --- master data ----------------------------------------------------------------------------


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
    tags: list[str] = Field(sa_column=_texts())
    sellable: bool = True
    image_url: str | None = None
    available_from: datetime | None = Field(default=None, sa_column=_when())
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
    address: dict[str, Any] = Field(sa_column=_json())
    country: str
    latitude: float | None = None
    longitude: float | None = None
    time_zone: str = "UTC"
    cutoff: str | None = None
    opening_hours: dict[str, Any] | None = Field(default=None, sa_column=_json(nullable=True))
    serves: list[str] = Field(sa_column=_texts())
    channels: list[str] = Field(sa_column=_texts())
    groups: list[str] = Field(sa_column=_texts())
    handling_minutes: int = Field(
        default=60, sa_column=Column(Integer, nullable=False, server_default="60")
    )
    closed_on: list[str] = Field(sa_column=_texts())
    open_on_holidays: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false"))
    )
    daily_capacity: int | None = None
    handling_minor: int = 0
    currency: str | None = None
    active: bool = True
    cleared_at: datetime | None = Field(default=None, sa_column=_when())
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
    countries: list[str] = Field(sa_column=_texts())
    from_kinds: list[str] = Field(sa_column=_texts())
    from_groups: list[str] = Field(sa_column=_texts())
    transit_days: dict[str, int] = Field(sa_column=_json())
    transit_days_by_country: dict[str, Any] = Field(
        sa_column=Column(JSONB, nullable=False, server_default=text("'{}'"))
    )
    picks_up_on: list[str] = Field(sa_column=_texts())
    delivers_on: list[str] = Field(sa_column=_texts())
    deliver_until: str = Field(sa_column=Column(TEXT, nullable=False))
    cost_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    currency: str = Field(sa_column=Column(TEXT, nullable=False))
    active: bool = True
    version: int = 1
    created_at: datetime | None = Field(
        default=None,
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("now()")),
    )


class RuleSetRow(SQLModel, table=True):
    """A version of a routing rule set, kept as data. At most one version of all is active."""

    __tablename__ = "rule_sets"
    __table_args__ = (
        Index("one_active_rule_set", "active", unique=True, postgresql_where=text("active")),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    version: int = Field(primary_key=True)
    document: dict[str, Any] = Field(sa_column=_json())
    active: bool = False
    created_at: datetime = Field(sa_column=_when(nullable=False))


class RuleSetActivationRow(SQLModel, table=True):
    """From `at` on this version routes; without a rule set, the default does. Only grows."""

    __tablename__ = "rule_set_activations"
    __table_args__ = (
        ForeignKeyConstraint(["rule_set", "version"], ["rule_sets.id", "rule_sets.version"]),
    )
    seq: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    at: datetime = Field(sa_column=_when(nullable=False))
    actor: str = Field(sa_column=Column(TEXT, nullable=False))
    rule_set: str | None = Field(default=None, sa_column=Column(TEXT))
    version: int | None = None


class RoutingDecisionRow(SQLModel, table=True):
    """Why an order is served from where it is; `document` is an `oms.reasons.Record`.

    `cause`: reserve, source_again, reroute, release, route_again. `rule_set` null: the default one.
    """

    __tablename__ = "routing_decisions"
    order_number: str = Field(sa_column=_order(primary_key=True))
    seq: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    at: datetime = Field(sa_column=_when(nullable=False))
    cause: str = Field(sa_column=Column(TEXT, nullable=False))
    rule_set: str | None = Field(default=None, sa_column=Column(TEXT))
    version: int | None = None
    document: dict[str, Any] = Field(sa_column=_json())


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


class ApiKeyRow(SQLModel, table=True):
    """A credential, kept as the SHA-256 of the key. `channels`/`locations` `{*}` reach all."""

    __tablename__ = "api_keys"
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    hash: bytes = Field(sa_column=Column(BYTEA, nullable=False, unique=True))
    role: str
    channels: list[str] = Field(sa_column=_texts())
    locations: list[str] = Field(sa_column=_texts())
    created_at: datetime = Field(sa_column=_when(nullable=False))
    revoked_at: datetime | None = Field(default=None, sa_column=_when())


class IdempotencyRow(SQLModel, table=True):
    """A claimed request: in flight while `status_code` is null, else its first answer.

    `order_number` is set in the transaction that stores an order, so that a request cut off
    after it can be finished instead of repeated.
    """

    __tablename__ = "idempotency_keys"
    credential: str = Field(sa_column=Column(TEXT, primary_key=True))
    key: str = Field(sa_column=Column(TEXT, primary_key=True))
    request_hash: bytes = Field(sa_column=Column(BYTEA, nullable=False))
    claimed_at: datetime = Field(sa_column=_when(nullable=False))
    order_number: str | None = None
    status_code: int | None = None
    headers: dict[str, str] | None = Field(default=None, sa_column=_json(nullable=True))
    body: str | None = Field(default=None, sa_column=Column(TEXT))


# --- stock ----------------------------------------------------------------------------------


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
    at: datetime = Field(sa_column=_when(nullable=False))
    sku: str
    location: str
    bucket: str
    delta: int = Field(sa_column=Column(BIGINT, nullable=False))
    cause: str
    key: str
    xid: int | None = Field(default=None, sa_column=_transaction())


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
    at: datetime = Field(sa_column=_when(nullable=False))
    kind: str
    sku: str | None = None
    location: str | None = None
    data: dict[str, Any] = Field(sa_column=_json())
    xid: int | None = Field(default=None, sa_column=_transaction())


class StockFollowerRow(SQLModel, table=True):
    """How far one follower has read the ledger; see `adapters.db.stock_changes.Position`."""

    __tablename__ = "stock_followers"
    name: str = Field(sa_column=Column(TEXT, primary_key=True))
    xid: int = Field(sa_column=Column(BIGINT, nullable=False))
    id: int = Field(sa_column=Column(BIGINT, nullable=False))
    listing: dict[str, Any] | None = Field(default=None, sa_column=_json(nullable=True))
    looked_at: datetime = Field(sa_column=_when(nullable=False))


class StockAlertRow(SQLModel, table=True):
    """What was told last of an article at a place, while it is `low` or `out`.

    `location` is empty for all places together. Without a row it has enough.
    """

    __tablename__ = "stock_alerts"
    __table_args__ = (CheckConstraint("state IN ('low', 'out')", name="alert_state"),)
    sku: str = Field(sa_column=Column(TEXT, primary_key=True))
    location: str = Field(sa_column=Column(TEXT, primary_key=True))
    state: str
    since: datetime = Field(sa_column=_when(nullable=False))


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
    expected_at: datetime = Field(sa_column=_when(nullable=False))
    reference: str
    received: int = Field(default=0, sa_column=_units())
    damaged: int = Field(default=0, sa_column=_units())
    ended_at: datetime | None = Field(default=None, sa_column=_when())
    told_overdue: datetime | None = Field(default=None, sa_column=_when())
    version: int = Field(default=1, sa_column=Column(Integer, nullable=False, server_default="1"))


class IncomingChangeRow(SQLModel, table=True):
    """What happened to an expectation, so that a date that moved can be explained.

    `kind`: `announced, changed, received, cancelled, overdue`. `quantity` and `expected_at` are
    what was expected from then on; `received` and `damaged` what came in this step.
    """

    __tablename__ = "incoming_changes"
    incoming: int = Field(sa_column=Column(BIGINT, ForeignKey("incoming.id"), primary_key=True))
    seq: int = Field(primary_key=True)
    at: datetime = Field(sa_column=_when(nullable=False))
    actor: str
    kind: str
    quantity: int
    expected_at: datetime = Field(sa_column=_when(nullable=False))
    received: int = Field(default=0, sa_column=_units())
    damaged: int = Field(default=0, sa_column=_units())


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
    expected_at: datetime | None = Field(default=None, sa_column=_when())
    created_at: datetime = Field(sa_column=_when(nullable=False))
    closed_at: datetime | None = Field(default=None, sa_column=_when())
    told_overdue: datetime | None = Field(default=None, sa_column=_when())
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
    shipped: int = Field(default=0, sa_column=_units())
    received: int = Field(default=0, sa_column=_units())
    damaged: int = Field(default=0, sa_column=_units())
    lost: int = Field(default=0, sa_column=_units())
    cancelled: int = Field(default=0, sa_column=_units())


class TransferEventRow(SQLModel, table=True):
    """A step of a transfer, in words and data. `seq` has no gaps. No personal data."""

    __tablename__ = "transfer_events"
    transfer: str = Field(sa_column=Column(TEXT, ForeignKey("transfers.id"), primary_key=True))
    seq: int = Field(primary_key=True)
    at: datetime = Field(sa_column=_when(nullable=False))
    actor: str
    kind: str
    summary: str
    data: dict[str, Any] = Field(sa_column=_json())


class StockImportRow(SQLModel, table=True):
    """A file of counts or corrections, staged in parts and applied once and whole.

    `scope` is empty for operators, else the credential whose references these are. `state`: `open`
    while parts come, then `applied`, or `refused` until it is opened again. Counts say what was
    there at `taken_at`. What was applied is in the ledger under `count:{id}` or `delta:{id}`;
    `moved` is how many places that are.
    """

    __tablename__ = "stock_imports"
    __table_args__ = (
        UniqueConstraint("scope", "reference", name="import_reference_once"),
        CheckConstraint("kind IN ('snapshot', 'counts', 'deltas')", name="import_kind"),
        CheckConstraint("missing IN ('report', 'zero')", name="import_missing"),
        CheckConstraint("state IN ('open', 'applied', 'refused')", name="import_state"),
        CheckConstraint(
            "(kind = 'snapshot') <= (location IS NOT NULL)", name="snapshot_of_a_location"
        ),
        Index("imports_by_age", "opened_at", "id"),
        Index("imports_counted", "taken_at", postgresql_where=text("state = 'applied'")),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    scope: str
    reference: str
    kind: str
    location: str | None = None
    taken_at: datetime = Field(sa_column=_when(nullable=False))
    missing: str = "report"
    state: str = "open"
    opened_at: datetime = Field(sa_column=_when(nullable=False))
    finished_at: datetime | None = Field(default=None, sa_column=_when())
    moved: int | None = None
    unchanged: int | None = None
    superseded: int | None = None
    vanished: int | None = None
    units_added: int | None = Field(default=None, sa_column=Column(BIGINT))
    units_removed: int | None = Field(default=None, sa_column=Column(BIGINT))
    errors: int | None = None
    version: int = 1


class StockImportPartRow(SQLModel, table=True):
    """A part of an import that has come, known by the hash of its content."""

    __tablename__ = "stock_import_parts"
    import_id: str = Field(sa_column=Column(TEXT, ForeignKey("stock_imports.id"), primary_key=True))
    part: int = Field(primary_key=True)
    hash: bytes = Field(sa_column=Column(BYTEA, nullable=False))
    rows: int


class StockImportStagedRow(SQLModel, table=True):
    """A row as it was sent. `units`: on hand, or the correction.

    No foreign key: a hundred thousand rows are copied at once, after the part that names them.
    """

    __tablename__ = "stock_import_rows"
    import_id: str = Field(sa_column=Column(TEXT, primary_key=True))
    part: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    sku: str
    location: str
    units: int = Field(sa_column=Column(BIGINT, nullable=False))
    reason: str | None = None


class StockImportNoteRow(SQLModel, table=True):
    """What is to be said of a row beside its movement: why it is refused, or has no effect.

    `vanished`: an article with stock that a snapshot does not name; it follows all parts.
    """

    __tablename__ = "stock_import_notes"
    __table_args__ = (
        CheckConstraint("outcome IN ('refused', 'superseded', 'vanished')", name="note_outcome"),
    )
    import_id: str = Field(sa_column=Column(TEXT, primary_key=True))
    part: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    code: str = Field(sa_column=Column(TEXT, primary_key=True))
    outcome: str
    sku: str
    location: str
    field: str | None = None
    detail: str


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
    order_number: str = Field(sa_column=_order(index=True))
    line: int
    sku: str
    location: str
    quantity: int
    kind: str = "stock"
    state: str = "open"
    expires_at: datetime | None = Field(default=None, sa_column=_when())
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
    segments: list[str] = Field(sa_column=_texts())
    patience_days: int
    actor: str
    at: datetime = Field(sa_column=_when(nullable=False))


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
    at: datetime = Field(sa_column=_when(nullable=False))
    actor: str
    policy: str
    policy_version: int | None = None
    place: int | None = None
    waiting: int | None = None
    since: datetime = Field(sa_column=_when(nullable=False))
    reason: str
    passed: list[Any] = Field(sa_column=_json())
    behind: list[Any] = Field(sa_column=_json())
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
    order_number: str = Field(sa_column=_order(index=True))
    line: int
    sku: str
    location: str
    quantity: int
    fulfillment_order: str | None = Field(default=None, index=True)
    picked: bool = False
    turned_down: bool = False
    state: str = "open"


class RerouteRow(SQLModel, table=True):
    """Orders that are to be served from elsewhere: a place was closed, or an article recalled.

    `kind`: location, sku (then `location` is null for everywhere). `status`: running, paused, done,
    cancelled. What is left to do is read from the orders. `touched_at`: when its process last
    looked; null before it began.
    """

    __tablename__ = "reroutes"
    __table_args__ = (
        CheckConstraint("kind IN ('location', 'sku')", name="reroute_kind"),
        CheckConstraint(
            "status IN ('running', 'paused', 'done', 'cancelled')", name="reroute_status"
        ),
        Index(
            "one_reroute_at_a_time",
            "kind",
            text("coalesce(location, '')"),
            text("coalesce(sku, '')"),
            unique=True,
            postgresql_where=_UNDER_WAY,
        ),
        Index("reroutes_under_way", "touched_at", postgresql_where=_UNDER_WAY),
        Index("reroutes_by_age", "at", "id"),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    kind: str
    location: str | None = None
    sku: str | None = None
    reason: str
    status: str = "running"
    actor: str
    at: datetime = Field(sa_column=_when(nullable=False))
    touched_at: datetime | None = Field(default=None, sa_column=_when())
    ended_at: datetime | None = Field(default=None, sa_column=_when())
    version: int = 1


class RerouteOrderRow(SQLModel, table=True):
    """What became of one order. `outcome` as in `oms.rerouting`; `tries`: of one that failed."""

    __tablename__ = "reroute_orders"
    __table_args__ = (Index("reroute_orders_by_outcome", "reroute", "outcome", "order_number"),)
    reroute: str = Field(sa_column=Column(TEXT, ForeignKey("reroutes.id"), primary_key=True))
    order_number: str = Field(sa_column=_order(primary_key=True))
    outcome: str
    detail: str
    tries: int = 1
    at: datetime = Field(sa_column=_when(nullable=False))


class TurnedDownRow(SQLModel, table=True):
    """A location that will not be offered this order line again, and why."""

    __tablename__ = "turned_down"
    order_number: str = Field(sa_column=_order(primary_key=True))
    line: int = Field(primary_key=True)
    location: str = Field(primary_key=True)
    reason: str
    at: datetime = Field(sa_column=_when(nullable=False))


# --- orders ---------------------------------------------------------------------------------


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
    document: dict[str, Any] = Field(sa_column=_json())
    placed_at: datetime = Field(sa_column=_when(nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=_when())
    confirmed_at: datetime | None = Field(default=None, sa_column=_when())
    grace_until: datetime | None = Field(default=None, sa_column=_when())
    promise_by: datetime | None = Field(default=None, sa_column=_when())
    promise: dict[str, Any] | None = Field(default=None, sa_column=_json(nullable=True))
    promise_status: str | None = Field(default=None, sa_column=Column(TEXT))
    expected_by: datetime | None = Field(default=None, sa_column=_when())
    closed_at: datetime | None = Field(default=None, sa_column=_when())
    refusal_code: str | None = None
    refusal_detail: str | None = None
    shortages: list[Any] | None = Field(default=None, sa_column=_json(nullable=True))
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
    order_number: str = Field(sa_column=_order(primary_key=True))
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
    order_number: str = Field(sa_column=_order(index=True))
    reason: str
    note: str | None = None
    placed_at: datetime = Field(sa_column=_when(nullable=False))
    released_at: datetime | None = Field(default=None, sa_column=_when())


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
    order_number: str = Field(sa_column=_order())
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
    created_at: datetime = Field(sa_column=_when(nullable=False))
    offered_at: datetime | None = Field(default=None, sa_column=_when())
    answer_by: datetime | None = Field(default=None, sa_column=_when())
    accepted_at: datetime | None = Field(default=None, sa_column=_when())
    work_by: datetime | None = Field(default=None, sa_column=_when())
    picked_at: datetime | None = Field(default=None, sa_column=_when())
    packed_at: datetime | None = Field(default=None, sa_column=_when())
    ready_at: datetime | None = Field(default=None, sa_column=_when())
    collect_by: datetime | None = Field(default=None, sa_column=_when())
    handed_over_at: datetime | None = Field(default=None, sa_column=_when())
    cancel_answer_by: datetime | None = Field(default=None, sa_column=_when())
    stranded_at: datetime | None = Field(default=None, sa_column=_when())
    ended_at: datetime | None = Field(default=None, sa_column=_when())
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
    order_number: str = Field(sa_column=_order())
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
    created_at: datetime = Field(sa_column=_when(nullable=False))
    handed_over_at: datetime | None = Field(default=None, sa_column=_when())
    last_heard_at: datetime | None = Field(default=None, sa_column=_when())
    last_asked_at: datetime | None = Field(default=None, sa_column=_when())
    delivered_at: datetime | None = Field(default=None, sa_column=_when())
    written_off_at: datetime | None = Field(default=None, sa_column=_when())


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
    at: datetime = Field(sa_column=_when(nullable=False))
    heard_at: datetime = Field(sa_column=_when(nullable=False))


# --- money ----------------------------------------------------------------------------------


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
    order_number: str = Field(sa_column=_order(primary_key=True))
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
    capture_before: datetime | None = Field(default=None, sa_column=_when())


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
    order_number: str = Field(sa_column=_order())
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
    at: datetime = Field(sa_column=_when(nullable=False))
    settled_at: datetime | None = Field(default=None, sa_column=_when())


# --- returns --------------------------------------------------------------------------------


class ReturnPolicyRow(SQLModel, table=True):
    """A version of the rules for what comes back; the highest one stands.

    See `oms.return_policy.ReturnPolicy`. Without a row the usual one does, as version 0.
    """

    __tablename__ = "return_policies"
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    document: dict[str, Any] = Field(sa_column=_json())
    actor: str
    at: datetime = Field(sa_column=_when(nullable=False))


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
    order_number: str = Field(sa_column=_order())
    seq: int
    kind: str = "return"
    via: str
    resolution: str
    location: str | None = Field(default=None, sa_column=Column(TEXT, ForeignKey("locations.id")))
    policy_version: int = 0
    terms: dict[str, Any] = Field(sa_column=_json())
    refund_minor: int = Field(sa_column=Column(BIGINT, nullable=False))
    fee_left_minor: int = Field(
        default=0, sa_column=Column(BIGINT, nullable=False, server_default="0")
    )
    actor: str
    requested_at: datetime = Field(sa_column=_when(nullable=False))
    approved_at: datetime | None = Field(default=None, sa_column=_when())
    declined_at: datetime | None = Field(default=None, sa_column=_when())
    cancelled_at: datetime | None = Field(default=None, sa_column=_when())
    expired_at: datetime | None = Field(default=None, sa_column=_when())
    closed_at: datetime | None = Field(default=None, sa_column=_when())
    started_at: datetime | None = Field(default=None, sa_column=_when())
    remind_at: datetime | None = Field(default=None, sa_column=_when())
    reminded_at: datetime | None = Field(default=None, sa_column=_when())
    expire_at: datetime | None = Field(default=None, sa_column=_when())
    receive_by: datetime | None = Field(default=None, sa_column=_when())
    inspect_by: datetime | None = Field(default=None, sa_column=_when())
    scanned_at: datetime | None = Field(default=None, sa_column=_when())
    received_at: datetime | None = Field(default=None, sa_column=_when())
    loss_at: datetime | None = Field(default=None, sa_column=_when())
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
    photos: list[str] = Field(sa_column=_texts())
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
    at: datetime = Field(sa_column=_when(nullable=False))
    decided_at: datetime | None = Field(default=None, sa_column=_when())
    placed_at: datetime | None = Field(default=None, sa_column=_when())
    transfer: str | None = Field(default=None, sa_column=Column(TEXT))
    why: str | None = Field(default=None, sa_column=Column(TEXT))


class ReturnReceiptRow(SQLModel, table=True):
    """A scan at a location, once by its key: what lay in the parcel, as it was told."""

    __tablename__ = "return_receipts"
    return_id: str = Field(sa_column=Column(TEXT, ForeignKey("returns.id"), primary_key=True))
    key: str = Field(sa_column=Column(TEXT, primary_key=True))
    location: str
    at: datetime = Field(sa_column=_when(nullable=False))
    actor: str
    lines: list[Any] = Field(sa_column=_json())


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
    scanned_at: datetime | None = Field(default=None, sa_column=_when())
    last_heard_at: datetime | None = Field(default=None, sa_column=_when())
    last_asked_at: datetime | None = Field(default=None, sa_column=_when())


class ReturnScanRow(SQLModel, table=True):
    """A carrier's event of a return's parcel, once by its event id."""

    __tablename__ = "return_scans"
    parcel: str = Field(sa_column=Column(TEXT, ForeignKey("return_parcels.id"), primary_key=True))
    event_id: str = Field(sa_column=Column(TEXT, primary_key=True))
    status: str
    at: datetime = Field(sa_column=_when(nullable=False))
    heard_at: datetime = Field(sa_column=_when(nullable=False))


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
    at: datetime = Field(sa_column=_when(nullable=False))
    actor: str
    resolved_at: datetime | None = Field(default=None, sa_column=_when())
    resolution: str | None = None
    reason: str | None = None


class ReturnAlertRow(SQLModel, table=True):
    """An article that comes back too often and was told of; it goes when it no longer does."""

    __tablename__ = "return_alerts"
    sku: str = Field(sa_column=Column(TEXT, primary_key=True))
    since: datetime = Field(sa_column=_when(nullable=False))
    rate_percent: int
    sold: int
    returned: int


# --- what people read, and what is on its way ------------------------------------------------


class EventRow(SQLModel, table=True):
    """What happened, in words and data: the timeline, and the outbox of later webhooks.

    `seq` numbers an order's events without gaps. `kind` is an event name of the API where it has
    one, e.g. `order.placed`. No personal data.
    """

    __tablename__ = "events"
    order_number: str = Field(sa_column=_order(primary_key=True))
    seq: int = Field(primary_key=True)
    at: datetime = Field(sa_column=_when(nullable=False))
    actor: str
    kind: str
    summary: str
    data: dict[str, Any] = Field(sa_column=_json())


class ParkedStepRow(SQLModel, table=True):
    """A step that waits for a person, or for the other side to come back.

    `workflow_id`: the run to resolve it in. `heals_at`: when it is tried again by itself, if so.
    `actions`: what an operator may choose.
    """

    __tablename__ = "parked_steps"
    order_number: str = Field(sa_column=_order(primary_key=True))
    step: str = Field(sa_column=Column(TEXT, primary_key=True))
    workflow_id: str
    since: datetime = Field(sa_column=_when(nullable=False))
    heals_at: datetime | None = Field(default=None, sa_column=_when())
    error_code: str
    last_error: str
    actions: list[str] = Field(sa_column=_texts())


class CommandRow(SQLModel, table=True):
    """A command that was decided, and its answer: the same command again is answered the same."""

    __tablename__ = "commands"
    order_number: str = Field(sa_column=_order(primary_key=True))
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    result: dict[str, Any] = Field(sa_column=_json())
    at: datetime = Field(sa_column=_when(nullable=False))


class NudgeRow(SQLModel, table=True):
    """A `changed` signal owed to a workflow, written with the change itself."""

    __tablename__ = "nudges"
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    workflow_id: str
    reason: str
    at: datetime = Field(sa_column=_when(nullable=False))


class InboundRow(SQLModel, table=True):
    """A verified webhook, stored before it is answered and processed after.

    `outcome`: null while waiting, else applied, ignored (old news, unknown) or dead (did not fit
    for too long). `not_before`: when to try again what does not fit yet.
    """

    __tablename__ = "inbound_events"
    __table_args__ = (
        UniqueConstraint("party", "source", "event_id", name="inbound_once"),
        Index("inbound_waiting", "not_before", postgresql_where=text("outcome IS NULL")),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    party: str
    source: str
    event_id: str
    body: dict[str, Any] = Field(sa_column=_json())
    received_at: datetime = Field(sa_column=_when(nullable=False))
    not_before: datetime = Field(sa_column=_when(nullable=False))
    tries: int = 0
    processed_at: datetime | None = Field(default=None, sa_column=_when())
    outcome: str | None = None
    detail: str | None = None


# --- the system itself ----------------------------------------------------------------------


class SystemStateRow(SQLModel, table=True):
    """What the whole system is at: one row, or none while it has never been anything but normal.

    `mode`: `normal` or `reconciling`. `moment`: of the books that were restored; what the outside
    did after it is not in them. `since`: when the mode was set; `reason`: why. `report`: what the
    latest reconciliation found.
    """

    __tablename__ = "system_state"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_system_state"),
        CheckConstraint("mode IN ('normal', 'reconciling')", name="system_mode"),
    )
    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    mode: str
    moment: datetime | None = Field(default=None, sa_column=_when())
    since: datetime = Field(sa_column=_when(nullable=False))
    reason: str
    report: dict[str, Any] | None = Field(default=None, sa_column=_json(nullable=True))
