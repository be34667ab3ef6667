"""How many orders a place was given today is found without reading all that there ever were."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("fulfillment_orders_by_day", "fulfillment_orders", ["location", "created_at"])
    op.create_index(
        "allocations_not_offered",
        "allocations",
        ["location"],
        postgresql_where=sa.text("state = 'open' AND fulfillment_order IS NULL"),
    )
    op.create_index(
        "reservations_held",
        "reservations",
        ["location"],
        postgresql_where=sa.text("state = 'open' AND kind = 'stock'"),
    )


def downgrade() -> None:
    op.drop_index("reservations_held", table_name="reservations")
    op.drop_index("allocations_not_offered", table_name="allocations")
    op.drop_index("fulfillment_orders_by_day", table_name="fulfillment_orders")
