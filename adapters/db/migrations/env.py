"""Alembic's entry: one online run against the URL in the configuration."""

from alembic import context
from sqlalchemy import create_engine, pool
from sqlmodel import SQLModel

import adapters.db.tables  # noqa: F401  - fills SQLModel.metadata

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None
engine = create_engine(url, poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=SQLModel.metadata, compare_server_default=True
    )
    with context.begin_transaction():
        context.run_migrations()
