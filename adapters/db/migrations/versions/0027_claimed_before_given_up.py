"""What a claim has paid is not paid again when its parcel is given up."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "shipment_lines", sa.Column("claimed", sa.Integer(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("shipment_lines", "claimed")
