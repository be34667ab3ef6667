"""Open orders are counted and found by an index of their own.

Built inside the migration's transaction: writers of `orders` wait for it, about a second for each
million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "orders_open",
        "orders",
        ["promise_by"],
        postgresql_include=["confirmed_at", "grace_until"],
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("orders_open", table_name="orders")
