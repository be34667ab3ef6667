"""Transfers, and expectations whose dates move, that arrive in parts and are called off.

What is expected already begins its history now. Levels are also found by location: building that
index keeps writers of `stock_levels` waiting, about a second for each million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_STILL_EXPECTED = "ended_at IS NULL AND received < quantity"
_OPEN = "status IN ('requested', 'shipped', 'partially_received')"


def upgrade() -> None:
    _expectations()
    _transfers()
    op.create_index("levels_by_location", "stock_levels", ["location", "sku"])


def _words(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sqlmodel.sql.sqltypes.AutoString(), nullable=nullable)


def _when(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _units(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BIGINT(), server_default="0", nullable=False)


def _expectations() -> None:
    for column in (_units("received"), _units("damaged"), _when("ended_at"), _when("told_overdue")):
        op.add_column("incoming", column)
    op.add_column(
        "incoming", sa.Column("version", sa.Integer(), server_default="1", nullable=False)
    )
    op.create_check_constraint(
        "incoming_received_not_negative", "incoming", "received >= damaged AND damaged >= 0"
    )
    still = sa.text(_STILL_EXPECTED)
    op.create_index("incoming_due", "incoming", ["expected_at"], postgresql_where=still)
    op.create_table(
        "incoming_changes",
        sa.Column("incoming", sa.BIGINT(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        _when("at", nullable=False),
        _words("actor"),
        _words("kind"),
        sa.Column("quantity", sa.Integer(), nullable=False),
        _when("expected_at", nullable=False),
        _units("received"),
        _units("damaged"),
        sa.ForeignKeyConstraint(["incoming"], ["incoming.id"]),
        sa.PrimaryKeyConstraint("incoming", "seq"),
    )
    op.execute(
        "INSERT INTO incoming_changes (incoming, seq, at, actor, kind, quantity, expected_at)"
        " SELECT id, 1, now(), 'migration', 'announced', quantity, expected_at FROM incoming"
    )


def _transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("id", sa.TEXT(), nullable=False),
        sa.Column("origin", sa.TEXT(), nullable=False),
        sa.Column("destination", sa.TEXT(), nullable=False),
        _words("status"),
        _words("reference", nullable=True),
        _when("expected_at"),
        _when("created_at", nullable=False),
        _when("closed_at"),
        _when("told_overdue"),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("origin <> destination", name="transfer_leads_elsewhere"),
        sa.ForeignKeyConstraint(["origin"], ["locations.id"]),
        sa.ForeignKeyConstraint(["destination"], ["locations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "transfer_reference_once",
        "transfers",
        ["reference"],
        unique=True,
        postgresql_where=sa.text("reference IS NOT NULL"),
    )
    op.create_index("transfers_by_age", "transfers", ["created_at", "id"])
    op.create_index("transfers_due", "transfers", ["expected_at"], postgresql_where=sa.text(_OPEN))
    op.create_table(
        "transfer_lines",
        sa.Column("transfer", sa.TEXT(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("sku", sa.TEXT(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        *(_units(name) for name in ("shipped", "received", "damaged", "lost", "cancelled")),
        sa.CheckConstraint(
            "quantity >= 0 AND shipped >= 0 AND damaged >= 0 AND received >= damaged"
            " AND lost >= 0 AND cancelled >= 0 AND shipped + cancelled <= quantity",
            name="transfer_units_fit",
        ),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"]),
        sa.ForeignKeyConstraint(["sku"], ["products.sku"]),
        sa.PrimaryKeyConstraint("transfer", "line"),
        sa.UniqueConstraint("transfer", "sku", name="transfer_line_once"),
    )
    op.create_index(
        "transfer_lines_on_the_road",
        "transfer_lines",
        ["sku"],
        postgresql_where=sa.text("shipped > received + lost"),
    )
    op.create_table(
        "transfer_events",
        sa.Column("transfer", sa.TEXT(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        _when("at", nullable=False),
        _words("actor"),
        _words("kind"),
        _words("summary"),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"]),
        sa.PrimaryKeyConstraint("transfer", "seq"),
    )


def downgrade() -> None:
    op.drop_index("levels_by_location", table_name="stock_levels")
    for table in ("transfer_events", "transfer_lines", "transfers", "incoming_changes"):
        op.drop_table(table)
    op.drop_index("incoming_due", table_name="incoming")
    for column in ("received", "damaged", "ended_at", "told_overdue", "version"):
        op.drop_column("incoming", column)
