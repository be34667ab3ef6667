"""Stock is imported: staged in parts, applied once and whole.

The index over the ledger's times is small and built in one pass: writers of `stock_movements` wait
for it, less than a second for each million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_WORDS = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.create_table(
        "stock_imports",
        sa.Column("id", sa.TEXT(), nullable=False),
        sa.Column("scope", _WORDS(), nullable=False),
        sa.Column("reference", _WORDS(), nullable=False),
        sa.Column("kind", _WORDS(), nullable=False),
        sa.Column("location", _WORDS(), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("missing", _WORDS(), nullable=False),
        sa.Column("state", _WORDS(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("moved", sa.Integer(), nullable=True),
        sa.Column("unchanged", sa.Integer(), nullable=True),
        sa.Column("superseded", sa.Integer(), nullable=True),
        sa.Column("vanished", sa.Integer(), nullable=True),
        sa.Column("units_added", sa.BIGINT(), nullable=True),
        sa.Column("units_removed", sa.BIGINT(), nullable=True),
        sa.Column("errors", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('snapshot', 'counts', 'deltas')", name="import_kind"),
        sa.CheckConstraint("missing IN ('report', 'zero')", name="import_missing"),
        sa.CheckConstraint("state IN ('open', 'applied', 'refused')", name="import_state"),
        sa.CheckConstraint(
            "(kind = 'snapshot') <= (location IS NOT NULL)", name="snapshot_of_a_location"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("scope", "reference", name="import_reference_once"),
    )
    op.create_index("imports_by_age", "stock_imports", ["opened_at", "id"])
    op.create_index(
        "imports_counted",
        "stock_imports",
        ["taken_at"],
        postgresql_where=sa.text("state = 'applied'"),
    )
    op.create_table(
        "stock_import_parts",
        sa.Column("import_id", sa.TEXT(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("hash", postgresql.BYTEA(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["stock_imports.id"]),
        sa.PrimaryKeyConstraint("import_id", "part"),
    )
    op.create_table(
        "stock_import_rows",
        sa.Column("import_id", sa.TEXT(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sku", _WORDS(), nullable=False),
        sa.Column("location", _WORDS(), nullable=False),
        sa.Column("units", sa.BIGINT(), nullable=False),
        sa.Column("reason", _WORDS(), nullable=True),
        sa.PrimaryKeyConstraint("import_id", "part", "position"),
    )
    op.create_table(
        "stock_import_notes",
        sa.Column("import_id", sa.TEXT(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("code", sa.TEXT(), nullable=False),
        sa.Column("outcome", _WORDS(), nullable=False),
        sa.Column("sku", _WORDS(), nullable=False),
        sa.Column("location", _WORDS(), nullable=False),
        sa.Column("field", _WORDS(), nullable=True),
        sa.Column("detail", _WORDS(), nullable=False),
        sa.CheckConstraint("outcome IN ('refused', 'superseded', 'vanished')", name="note_outcome"),
        sa.PrimaryKeyConstraint("import_id", "part", "position", "code"),
    )
    op.create_index(
        "movements_by_time",
        "stock_movements",
        ["at"],
        postgresql_using="brin",
        postgresql_with={"autosummarize": True},
    )


def downgrade() -> None:
    op.drop_index("movements_by_time", table_name="stock_movements")
    op.drop_table("stock_import_notes")
    op.drop_table("stock_import_rows")
    op.drop_table("stock_import_parts")
    op.drop_table("stock_imports")
