"""Goods come back: returns, what arrived of them, and where it was put."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLES = (
    "return_alerts",
    "found_goods",
    "return_scans",
    "return_parcels",
    "return_receipts",
    "return_lots",
    "return_lines",
    "returns",
    "return_policies",
)


def _words(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.TEXT(), nullable=nullable)


def _when(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _count(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _minor(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BIGINT(), server_default="0", nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), nullable=False)


def upgrade() -> None:
    op.add_column("stock_levels", _minor("coming_back"))
    op.create_check_constraint("coming_back_not_negative", "stock_levels", "coming_back >= 0")
    op.add_column(
        "orders",
        sa.Column("shipping_refunded", sa.Boolean(), server_default="false", nullable=False),
    )
    op.add_column("orders", _words("exchange_of", nullable=True))
    op.add_column(
        "order_lines",
        sa.Column(
            "carried",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.create_index(
        "entries_of_returns",
        "payment_entries",
        ["cause"],
        postgresql_where=sa.text("kind = 'refund'"),
    )
    op.create_table(
        "return_policies",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        _json("document"),
        _words("actor"),
        _when("at", nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    _returns()
    _lines()
    _what_arrived()
    _parcels()
    _beside()


def _returns() -> None:
    op.create_table(
        "returns",
        _words("id"),
        _words("order_number"),
        _count("seq"),
        *(_words(name) for name in ("kind", "via", "resolution")),
        _words("location", nullable=True),
        _count("policy_version"),
        _json("terms"),
        sa.Column("refund_minor", sa.BIGINT(), nullable=False),
        _minor("fee_left_minor"),
        _words("actor"),
        _when("requested_at", nullable=False),
        *(
            _when(f"{name}")
            for name in (
                "approved_at",
                "declined_at",
                "cancelled_at",
                "expired_at",
                "closed_at",
                "started_at",
                "remind_at",
                "reminded_at",
                "expire_at",
                "receive_by",
                "inspect_by",
                "scanned_at",
                "received_at",
                "loss_at",
            )
        ),
        *(
            _words(name, nullable=True)
            for name in ("exchange_order", "exchange_told", "shipment", "leader")
        ),
        _count("version"),
        sa.CheckConstraint("kind IN ('return', 'claim', 'undeliverable')", name="return_kind"),
        sa.CheckConstraint("resolution IN ('refund', 'exchange')", name="return_resolution"),
        sa.ForeignKeyConstraint(["order_number"], ["orders.number"]),
        sa.ForeignKeyConstraint(["location"], ["locations.id"]),
        sa.ForeignKeyConstraint(["shipment"], ["shipments.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("order_number", "seq", name="return_seq"),
    )
    op.create_index("returns_by_age", "returns", ["requested_at", "id"])
    op.create_index(
        "returns_not_started",
        "returns",
        ["requested_at"],
        postgresql_where=sa.text("started_at IS NULL"),
    )
    op.create_index(
        "returns_open",
        "returns",
        ["order_number"],
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        "undeliverable_once",
        "returns",
        ["shipment"],
        unique=True,
        postgresql_where=sa.text("shipment IS NOT NULL"),
    )


def _lines() -> None:
    op.create_table(
        "return_lines",
        _words("return_id"),
        _count("line"),
        _words("sku"),
        _count("quantity"),
        _count("extra"),
        _words("reason"),
        *(_count(name) for name in ("received", "missing", "settled", "refunded")),
        sa.Column(
            "photos", postgresql.ARRAY(sa.TEXT()), server_default=sa.text("'{}'"), nullable=False
        ),
        _words("exchange_sku", nullable=True),
        _count("exchange_line", nullable=True),
        _minor("carried_minor"),
        sa.CheckConstraint(
            "quantity > 0 AND extra BETWEEN 0 AND quantity AND received >= 0 AND missing >= 0",
            name="return_units_not_negative",
        ),
        sa.CheckConstraint("received + missing <= quantity", name="received_within_announced"),
        sa.CheckConstraint(
            "settled BETWEEN 0 AND quantity AND refunded BETWEEN 0 AND settled",
            name="settled_within_announced",
        ),
        sa.ForeignKeyConstraint(["return_id"], ["returns.id"]),
        sa.PrimaryKeyConstraint("return_id", "line"),
    )
    op.create_index("ix_return_lines_sku", "return_lines", ["sku"])


def _what_arrived() -> None:
    op.create_table(
        "return_lots",
        sa.Column("id", sa.BIGINT(), autoincrement=True, nullable=False),
        *(_words(name) for name in ("return_id", "receipt")),
        _count("line"),
        *(_words(name) for name in ("sku", "condition", "location")),
        _count("quantity"),
        _words("state"),
        _words("disposition", nullable=True),
        _when("at", nullable=False),
        _when("decided_at"),
        _when("placed_at"),
        _words("transfer", nullable=True),
        sa.CheckConstraint("quantity > 0", name="lot_quantity_positive"),
        sa.CheckConstraint(
            "state IN ('received', 'accepted', 'rejected', 'placed', 'left')", name="lot_state"
        ),
        sa.ForeignKeyConstraint(["return_id"], ["returns.id"]),
        sa.ForeignKeyConstraint(["location"], ["locations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("lots_by_return", "return_lots", ["return_id"])
    op.create_index("lots_by_place", "return_lots", ["location", "at"])
    op.create_table(
        "return_receipts",
        *(_words(name) for name in ("return_id", "key", "location")),
        _when("at", nullable=False),
        _words("actor"),
        _json("lines"),
        sa.ForeignKeyConstraint(["return_id"], ["returns.id"]),
        sa.PrimaryKeyConstraint("return_id", "key"),
    )


def _parcels() -> None:
    op.create_table(
        "return_parcels",
        *(_words(name) for name in ("id", "return_id")),
        _count("seq"),
        _words("direction"),
        _count("weight_g"),
        *(_words(name, nullable=True) for name in ("carrier", "tracking_number", "tracking_url")),
        _count("label_attempt"),
        _words("status"),
        *(_when(name) for name in ("scanned_at", "last_heard_at", "last_asked_at")),
        sa.CheckConstraint("direction IN ('in', 'out')", name="return_direction"),
        sa.ForeignKeyConstraint(["return_id"], ["returns.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tracking_number"),
    )
    op.create_index("ix_return_parcels_return_id", "return_parcels", ["return_id"])
    op.create_table(
        "return_scans",
        *(_words(name) for name in ("parcel", "event_id", "status")),
        _when("at", nullable=False),
        _when("heard_at", nullable=False),
        sa.ForeignKeyConstraint(["parcel"], ["return_parcels.id"]),
        sa.PrimaryKeyConstraint("parcel", "event_id"),
    )


def _beside() -> None:
    op.create_table(
        "found_goods",
        sa.Column("id", sa.BIGINT(), autoincrement=True, nullable=False),
        *(_words(name) for name in ("location", "reference")),
        _words("sku", nullable=True),
        _count("quantity"),
        _words("condition"),
        _words("return_id", nullable=True),
        _when("at", nullable=False),
        _words("actor"),
        _when("resolved_at"),
        _words("resolution", nullable=True),
        sa.CheckConstraint("quantity > 0", name="found_quantity_positive"),
        sa.ForeignKeyConstraint(["location"], ["locations.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("location", "reference", name="found_goods_once"),
    )
    op.create_table(
        "return_alerts",
        _words("sku"),
        _when("since", nullable=False),
        *(_count(name) for name in ("rate_percent", "sold", "returned")),
        sa.PrimaryKeyConstraint("sku"),
    )


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    op.drop_index("entries_of_returns", table_name="payment_entries")
    op.drop_column("order_lines", "carried")
    op.drop_column("orders", "exchange_of")
    op.drop_column("orders", "shipping_refunded")
    op.drop_constraint("coming_back_not_negative", "stock_levels")
    op.drop_column("stock_levels", "coming_back")
