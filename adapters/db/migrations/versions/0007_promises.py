"""By when: shipping services, what a place needs to promise, and what an order was promised.

The index on `orders` is built inside the migration's transaction: writers of `orders` wait for it,
about a second for each million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _texts(name: str) -> sa.Column[list[str]]:
    return sa.Column(name, sa.ARRAY(sa.TEXT()), server_default=sa.text("'{}'"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "shipping_services",
        sa.Column("id", sa.TEXT(), nullable=False),
        sa.Column("method", sa.TEXT(), nullable=False),
        sa.Column("carrier", sa.TEXT(), nullable=False),
        _texts("countries"),
        _texts("from_kinds"),
        _texts("from_groups"),
        sa.Column("transit_days", postgresql.JSONB(), nullable=False),
        sa.Column(
            "transit_days_by_country",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        _texts("picks_up_on"),
        _texts("delivers_on"),
        sa.Column("deliver_until", sa.TEXT(), nullable=False),
        sa.Column("cost_minor", sa.BIGINT(), nullable=False),
        sa.Column("currency", sa.TEXT(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column(
        "locations",
        sa.Column("handling_minutes", sa.Integer(), server_default=sa.text("60"), nullable=False),
    )
    op.add_column("locations", _texts("closed_on"))
    op.add_column(
        "locations",
        sa.Column(
            "open_on_holidays", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
    )
    op.add_column("orders", sa.Column("promise", postgresql.JSONB(), nullable=True))
    op.add_column("orders", sa.Column("promise_status", sa.TEXT(), nullable=True))
    op.add_column("orders", sa.Column("expected_by", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "orders_in_danger",
        "orders",
        ["promise_status", "placed_at", "number"],
        postgresql_where=sa.text("promise_status <> 'kept'"),
    )
    op.create_index(
        "orders_promised",
        "orders",
        ["number"],
        postgresql_where=sa.text("closed_at IS NULL AND confirmed_at IS NOT NULL"),
    )
    op.create_index("incoming_by_place", "incoming", ["sku", "location", "expected_at"])
    op.create_index(
        "backorders_waiting",
        "reservations",
        ["sku", "location", "id"],
        postgresql_where=sa.text("kind = 'backorder' AND state = 'open'"),
    )


def downgrade() -> None:
    op.drop_index("backorders_waiting", table_name="reservations")
    op.drop_index("incoming_by_place", table_name="incoming")
    op.drop_index("orders_promised", table_name="orders")
    op.drop_index("orders_in_danger", table_name="orders")
    op.drop_column("orders", "expected_by")
    op.drop_column("orders", "promise_status")
    op.drop_column("orders", "promise")
    op.drop_column("locations", "open_on_holidays")
    op.drop_column("locations", "closed_on")
    op.drop_column("locations", "handling_minutes")
    op.drop_table("shipping_services")
