"""Stock may be blocked: an article that is recalled is sold from nowhere, or not from one place.

A level that is made later for an article recalled everywhere is blocked from its first day. It
waits for a recall that is being written, so that none slips through between.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BLOCK = """
CREATE FUNCTION oms_block_recalled() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_recalled boolean;
BEGIN
    SELECT recalled INTO is_recalled FROM products WHERE sku = NEW.sku FOR KEY SHARE;
    NEW.blocked := NEW.blocked OR coalesce(is_recalled, false);
    RETURN NEW;
END $$
"""
_TRIGGER = """
CREATE TRIGGER recalled_articles_are_blocked BEFORE INSERT ON stock_levels FOR EACH ROW
EXECUTE FUNCTION oms_block_recalled()
"""


def upgrade() -> None:
    for table, column in (("products", "recalled"), ("stock_levels", "blocked")):
        op.add_column(
            table, sa.Column(column, sa.Boolean(), server_default="false", nullable=False)
        )
    op.execute(_BLOCK)
    op.execute(_TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER recalled_articles_are_blocked ON stock_levels")
    op.execute("DROP FUNCTION oms_block_recalled()")
    op.drop_column("stock_levels", "blocked")
    op.drop_column("products", "recalled")
