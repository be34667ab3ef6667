"""Lines of a kit, and what goods cost: by article, and by place where it is another cost."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("order_lines", sa.Column("kit", sa.TEXT(), nullable=True))
    for table in ("products", "stock_levels"):
        op.add_column(table, sa.Column("unit_cost_minor", sa.BIGINT(), nullable=True))
        op.add_column(table, sa.Column("cost_currency", sa.TEXT(), nullable=True))


def downgrade() -> None:
    for table in ("stock_levels", "products"):
        op.drop_column(table, "cost_currency")
        op.drop_column(table, "unit_cost_minor")
    op.drop_column("order_lines", "kit")
