"""Who let which version of the routing rules route, and when."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "rule_set_activations",
        sa.Column("seq", sa.BIGINT(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.TEXT(), nullable=False),
        sa.Column("rule_set", sa.TEXT(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["rule_set", "version"], ["rule_sets.id", "rule_sets.version"]),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.execute(
        "INSERT INTO rule_set_activations (at, actor, rule_set, version)"
        " SELECT created_at, 'unknown', id, version FROM rule_sets WHERE active"
    )


def downgrade() -> None:
    op.drop_table("rule_set_activations")
