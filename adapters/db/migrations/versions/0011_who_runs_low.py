"""Who runs low or out: the thresholds, what was told of whom, and how far the ledger was followed.

The follower begins with what comes after this migration.
"""

from collections.abc import Sequence

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("products", sa.Column("low_at", sa.BIGINT(), nullable=True))
    op.add_column("stock_levels", sa.Column("low_at", sa.BIGINT(), nullable=True))
    op.create_table(
        "stock_followers",
        sa.Column("name", sa.TEXT(), nullable=False),
        sa.Column("xid", sa.BIGINT(), nullable=False),
        sa.Column("id", sa.BIGINT(), nullable=False),
        sa.Column("listing", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "stock_alerts",
        sa.Column("sku", sa.TEXT(), nullable=False),
        sa.Column("location", sa.TEXT(), nullable=False),
        sa.Column("state", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('low', 'out')", name="alert_state"),
        sa.PrimaryKeyConstraint("sku", "location"),
    )
    op.execute(
        "INSERT INTO stock_followers (name, xid, id, looked_at) SELECT 'running_low',"
        " pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 0, now()"
    )


def downgrade() -> None:
    op.drop_table("stock_alerts")
    op.drop_table("stock_followers")
    op.drop_column("stock_levels", "low_at")
    op.drop_column("products", "low_at")
