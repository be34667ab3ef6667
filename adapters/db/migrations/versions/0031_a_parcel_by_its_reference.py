"""A parcel that nobody announced is known by its reference, and by what was said of it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RECEIVED = """
INSERT INTO unannounced_scans (location, reference, order_number)
SELECT p.location, substr(p.key, length('unannounced:' || p.location || ':') + 1), r.order_number
FROM return_receipts p JOIN returns r ON r.id = p.return_id
WHERE starts_with(p.key, 'unannounced:' || p.location || ':')
ON CONFLICT DO NOTHING
"""
_FOUND = """
INSERT INTO unannounced_scans (location, reference)
SELECT location, reference FROM found_goods ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    op.create_table(
        "unannounced_scans",
        sa.Column("location", sa.TEXT(), nullable=False),
        sa.Column("reference", sa.TEXT(), nullable=False),
        sa.Column("said", sa.TEXT(), nullable=True),
        sa.Column("order_number", sa.TEXT(), nullable=True),
        sa.ForeignKeyConstraint(["location"], ["locations.id"]),
        sa.ForeignKeyConstraint(["order_number"], ["orders.number"]),
        sa.PrimaryKeyConstraint("location", "reference"),
    )
    op.execute(_RECEIVED)
    op.execute(_FOUND)


def downgrade() -> None:
    op.drop_table("unannounced_scans")
