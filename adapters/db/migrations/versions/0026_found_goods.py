"""A parcel may hold several things nobody knows; what travels along with a return is found fast."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "found_goods", sa.Column("line", sa.Integer(), server_default="1", nullable=False)
    )
    op.add_column("found_goods", sa.Column("reason", sa.TEXT(), nullable=True))
    op.drop_constraint("found_goods_once", "found_goods")
    op.create_unique_constraint(
        "found_goods_once", "found_goods", ["location", "reference", "line"]
    )
    op.create_index("found_goods_by_age", "found_goods", ["at", "id"])
    op.create_index(
        "returns_along",
        "returns",
        ["leader"],
        postgresql_where=sa.text("leader IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("returns_along", table_name="returns")
    op.drop_index("found_goods_by_age", table_name="found_goods")
    op.drop_constraint("found_goods_once", "found_goods")
    op.create_unique_constraint("found_goods_once", "found_goods", ["location", "reference"])
    op.drop_column("found_goods", "reason")
    op.drop_column("found_goods", "line")
