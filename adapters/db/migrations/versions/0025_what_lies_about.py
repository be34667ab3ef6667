"""What came back is listed by age."""

from collections.abc import Sequence

from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("lots_by_age", "return_lots", ["at", "id"])


def downgrade() -> None:
    op.drop_index("lots_by_age", "return_lots")
