"""Stock levels count what is on the road and what was asked of another place.

The checks look at each row once: writers wait for it, about a second for each million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BUCKETS = ("in_transit", "requested")


def upgrade() -> None:
    for bucket in _BUCKETS:
        op.add_column(
            "stock_levels",
            sa.Column(bucket, sa.BIGINT(), server_default="0", nullable=False),
        )
        op.create_check_constraint(f"{bucket}_not_negative", "stock_levels", f"{bucket} >= 0")


def downgrade() -> None:
    for bucket in _BUCKETS:
        op.drop_column("stock_levels", bucket)
