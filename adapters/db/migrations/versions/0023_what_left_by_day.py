"""What left in a period is found without reading all that ever did."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "handed_over_by_day",
        "fulfillment_orders",
        ["handed_over_at"],
        postgresql_where=sa.text("handed_over_at IS NOT NULL"),
    )
    op.execute(
        "INSERT INTO stock_followers (name, xid, id, looked_at)"
        " VALUES ('return_rates', 0, 0, '2020-01-01T00:00:00Z')"
    )


def downgrade() -> None:
    op.execute("DELETE FROM stock_followers WHERE name = 'return_rates'")
    op.drop_index("handed_over_by_day", table_name="fulfillment_orders")
