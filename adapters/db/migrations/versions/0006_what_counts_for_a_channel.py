"""Channels say which kinds of locations count for them, and what they leave there."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("channels", sa.Column("location_kinds", sa.ARRAY(sa.TEXT()), nullable=True))
    op.add_column(
        "channels",
        sa.Column(
            "buffers",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )


def downgrade() -> None:
    op.drop_column("channels", "buffers")
    op.drop_column("channels", "location_kinds")
