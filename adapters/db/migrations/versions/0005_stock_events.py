"""Movements know their transaction, and stock has events of its own.

The default of `xid` is stable, so that the column is added without writing a row: movements from
before all count as of this migration. The index is built inside the migration's transaction:
writers of `stock_movements` wait for it, about a second for each million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_THIS_TRANSACTION = sa.text("pg_current_xact_id()::text::bigint")


def upgrade() -> None:
    op.add_column(
        "stock_movements",
        sa.Column("xid", sa.BIGINT(), server_default=_THIS_TRANSACTION, nullable=False),
    )
    op.create_index("movements_by_transaction", "stock_movements", ["xid", "id"])
    op.create_table(
        "stock_events",
        sa.Column(
            "id",
            sa.BIGINT(),
            server_default=sa.text("nextval('stock_movements_id_seq')"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("sku", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("location", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("xid", sa.BIGINT(), server_default=_THIS_TRANSACTION, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("stock_events_by_transaction", "stock_events", ["xid", "id"])


def downgrade() -> None:
    op.drop_index("stock_events_by_transaction", table_name="stock_events")
    op.drop_table("stock_events")
    op.drop_index("movements_by_transaction", table_name="stock_movements")
    op.drop_column("stock_movements", "xid")
