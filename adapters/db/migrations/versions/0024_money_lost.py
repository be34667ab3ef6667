"""A capture that is taken back after its refund is a loss, and no longer breaks the books."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = "refunded_within_captured"


def upgrade() -> None:
    op.add_column(
        "tenders", sa.Column("lost_minor", sa.BIGINT(), server_default="0", nullable=False)
    )
    op.drop_constraint(_NAME, "tenders")
    op.create_check_constraint(_NAME, "tenders", "refunded_minor <= captured_minor + lost_minor")


def downgrade() -> None:
    op.drop_constraint(_NAME, "tenders")
    op.create_check_constraint(_NAME, "tenders", "refunded_minor <= captured_minor")
    op.drop_column("tenders", "lost_minor")
