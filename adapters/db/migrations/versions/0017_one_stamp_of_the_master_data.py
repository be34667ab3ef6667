"""A stamp of what routing rests on: another one as soon as anything of it was changed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLES = ("channels", "locations", "rule_sets", "shipping_services")

_BUMP = """
CREATE FUNCTION oms_stamp_master_data() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE master_stamp SET stamp = gen_random_uuid();
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "master_stamp",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stamp", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.CheckConstraint("id = 1", name="one_master_stamp"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO master_stamp (id) VALUES (1)")
    op.execute(_BUMP)
    for table in _TABLES:
        op.execute(
            f"CREATE TRIGGER stamps_the_master_data"
            f" AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION oms_stamp_master_data()"
        )


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"DROP TRIGGER stamps_the_master_data ON {table}")
    op.execute("DROP FUNCTION oms_stamp_master_data()")
    op.drop_table("master_stamp")
