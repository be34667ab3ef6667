"""Bring a database to the newest schema. Safe to run again, and by several processes at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

# Any number that nothing else in this database locks; it serialises concurrent migrations.
_MIGRATION_LOCK = 7_035_991


def alembic_config(url: str) -> Config:
    """The settings Alembic needs, so that no ini file has to be found."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Apply every migration that is missing. `url` is `postgresql+psycopg://…`."""
    engine = create_engine(url)
    try:
        with engine.connect() as lock:
            lock.execute(text("SELECT pg_advisory_lock(:n)"), {"n": _MIGRATION_LOCK})
            command.upgrade(alembic_config(url), "head")
    finally:
        engine.dispose()


def is_current(url: str) -> bool:
    """Whether the database has every migration of this code."""
    script = ScriptDirectory.from_config(alembic_config(url))
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_heads()
            return set(found) == set(script.get_heads())
    finally:
        engine.dispose()
