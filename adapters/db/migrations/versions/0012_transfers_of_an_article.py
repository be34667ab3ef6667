"""Transfers are found by article."""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("transfer_lines_by_sku", "transfer_lines", ["sku"])


def downgrade() -> None:
    op.drop_index("transfer_lines_by_sku", table_name="transfer_lines")
