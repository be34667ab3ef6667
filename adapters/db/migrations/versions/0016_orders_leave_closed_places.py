"""Orders leave places that close and articles that are recalled, by processes that are kept."""

from collections.abc import Sequence

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_WORDS = sqlmodel.sql.sqltypes.AutoString()
_WHEN = sa.DateTime(timezone=True)
_OPEN = sa.text("state = 'open'")
_UNDER_WAY = sa.text("status IN ('running', 'paused')")


def upgrade() -> None:
    op.add_column("locations", sa.Column("cleared_at", _WHEN, nullable=True))
    op.add_column("fulfillment_orders", sa.Column("stranded_at", _WHEN, nullable=True))
    op.add_column(
        "fulfillment_lines",
        sa.Column("move_asked", sa.Integer(), server_default="0", nullable=False),
    )
    op.create_check_constraint(
        "move_asked_within",
        "fulfillment_lines",
        "move_asked BETWEEN 0 AND quantity - cancel_asked",
    )
    for table in ("allocations", "reservations"):
        op.create_index(
            f"open_{table}_by_place", table, ["sku", "location"], postgresql_where=_OPEN
        )
    _create_reroutes()
    _create_reroute_orders()


def _create_reroutes() -> None:
    op.create_table(
        "reroutes",
        sa.Column("id", sa.TEXT(), nullable=False),
        sa.Column("kind", _WORDS, nullable=False),
        sa.Column("location", _WORDS, nullable=True),
        sa.Column("sku", _WORDS, nullable=True),
        sa.Column("reason", _WORDS, nullable=False),
        sa.Column("status", _WORDS, nullable=False),
        sa.Column("actor", _WORDS, nullable=False),
        sa.Column("at", _WHEN, nullable=False),
        sa.Column("touched_at", _WHEN, nullable=True),
        sa.Column("ended_at", _WHEN, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('location', 'sku')", name="reroute_kind"),
        sa.CheckConstraint(
            "status IN ('running', 'paused', 'done', 'cancelled')", name="reroute_status"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "one_reroute_at_a_time",
        "reroutes",
        ["kind", sa.text("coalesce(location, '')"), sa.text("coalesce(sku, '')")],
        unique=True,
        postgresql_where=_UNDER_WAY,
    )
    op.create_index("reroutes_under_way", "reroutes", ["touched_at"], postgresql_where=_UNDER_WAY)
    op.create_index("reroutes_by_age", "reroutes", ["at", "id"])


def _create_reroute_orders() -> None:
    op.create_table(
        "reroute_orders",
        sa.Column("reroute", sa.TEXT(), nullable=False),
        sa.Column("order_number", sa.TEXT(), nullable=False),
        sa.Column("outcome", _WORDS, nullable=False),
        sa.Column("detail", _WORDS, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("at", _WHEN, nullable=False),
        sa.ForeignKeyConstraint(["order_number"], ["orders.number"]),
        sa.ForeignKeyConstraint(["reroute"], ["reroutes.id"]),
        sa.PrimaryKeyConstraint("reroute", "order_number"),
    )
    op.create_index(
        "reroute_orders_by_outcome", "reroute_orders", ["reroute", "outcome", "order_number"]
    )


def downgrade() -> None:
    op.drop_table("reroute_orders")
    op.drop_table("reroutes")
    for table in ("allocations", "reservations"):
        op.drop_index(f"open_{table}_by_place", table_name=table)
    op.drop_constraint("move_asked_within", "fulfillment_lines")
    op.drop_column("fulfillment_lines", "move_asked")
    op.drop_column("fulfillment_orders", "stranded_at")
    op.drop_column("locations", "cleared_at")
