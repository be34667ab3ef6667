"""What an exchange order cancelled of each line is told to the return it replaces."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "return_lines",
        sa.Column("exchange_cancelled", sa.Integer(), server_default="0", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("return_lines", "exchange_cancelled")
