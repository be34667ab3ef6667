"""Backorders wait in turn: when each began, by which rule they are served, and what was released.

The trigger tells the relay of stock that rose where backorders wait, whoever moved it.
"""

from collections.abc import Sequence

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_WORDS = sqlmodel.sql.sqltypes.AutoString()
_WHEN = sa.DateTime(timezone=True)

_TELL = """
CREATE FUNCTION oms_tell_of_backorders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('oms_backorders', '');
    RETURN NULL;
END $$
"""
_LEFT = "{0}.on_hand - {0}.reserved - {0}.allocated - {0}.safety_stock"
_TRIGGER = f"""
CREATE TRIGGER stock_rose_below_backorders AFTER UPDATE ON stock_levels FOR EACH ROW
WHEN (NEW.backordered > 0 AND {_LEFT.format("NEW")} > {_LEFT.format("OLD")})
EXECUTE FUNCTION oms_tell_of_backorders()
"""


def upgrade() -> None:
    op.add_column("products", sa.Column("available_from", _WHEN, nullable=True))
    op.create_index(
        "preorders",
        "products",
        ["available_from"],
        postgresql_where=sa.text("available_from IS NOT NULL"),
    )
    op.add_column(
        "stock_levels",
        sa.Column("backorder_from_incoming", sa.Boolean(), server_default="false", nullable=False),
    )
    op.create_index(
        "levels_with_backorders",
        "stock_levels",
        ["sku"],
        postgresql_where=sa.text("backordered > 0"),
    )
    op.add_column(
        "reservations", sa.Column("since", _WHEN, server_default=sa.text("now()"), nullable=False)
    )
    op.execute(
        "UPDATE reservations r SET since = o.placed_at FROM orders o"
        " WHERE o.number = r.order_number AND r.state = 'open' AND r.kind = 'backorder'"
    )
    op.create_table(
        "backorder_policies",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("policy", _WORDS, nullable=False),
        sa.Column(
            "segments", postgresql.ARRAY(sa.TEXT()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("patience_days", sa.Integer(), nullable=False),
        sa.Column("actor", _WORDS, nullable=False),
        sa.Column("at", _WHEN, nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "backorder_releases",
        sa.Column("id", sa.BIGINT(), autoincrement=True, nullable=False),
        sa.Column("order_number", sa.TEXT(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("sku", _WORDS, nullable=False),
        sa.Column("location", _WORDS, nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("at", _WHEN, nullable=False),
        sa.Column("actor", _WORDS, nullable=False),
        sa.Column("policy", _WORDS, nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=True),
        sa.Column("place", sa.Integer(), nullable=True),
        sa.Column("waiting", sa.Integer(), nullable=True),
        sa.Column("since", _WHEN, nullable=False),
        sa.Column("reason", _WORDS, nullable=False),
        sa.Column("passed", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("behind", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("key", _WORDS, nullable=False),
        sa.CheckConstraint("quantity > 0", name="release_quantity_positive"),
        sa.ForeignKeyConstraint(["order_number"], ["orders.number"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("releases_by_sku", "backorder_releases", ["sku", "id"])
    op.create_index("releases_by_order", "backorder_releases", ["order_number"])
    op.execute(_TELL)
    op.execute(_TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER stock_rose_below_backorders ON stock_levels")
    op.execute("DROP FUNCTION oms_tell_of_backorders()")
    op.drop_table("backorder_releases")
    op.drop_table("backorder_policies")
    op.drop_column("reservations", "since")
    op.drop_index("levels_with_backorders", table_name="stock_levels")
    op.drop_column("stock_levels", "backorder_from_incoming")
    op.drop_column("products", "available_from")
