"""How goods are that are brought to a till, as the till saw it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("return_lines", sa.Column("condition", sa.TEXT(), nullable=True))


def downgrade() -> None:
    op.drop_column("return_lines", "condition")
