"""Migrations stand in a line, each number once, and lead to the tables as they are declared."""

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import TEXT, create_engine
from sqlmodel import AutoString, SQLModel

import adapters.db.tables  # noqa: F401 # declares them

HOME = Path(__file__).parents[2] / "adapters" / "db" / "migrations"


def test_migrations_follow_each_other_by_number() -> None:
    config = Config()
    config.set_main_option("script_location", str(HOME))
    line = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    files = sorted(path.name for path in (HOME / "versions").glob("[0-9]*.py"))

    assert [name.partition("_")[0] for name in files] == sorted(line)
    assert line == [f"{number:04}" for number in range(len(files), 0, -1)]


def test_migrations_lead_to_the_tables_as_they_are_declared(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as tx:
        found = MigrationContext.configure(tx, opts={"compare_type": _differ})
        assert compare_metadata(found, SQLModel.metadata) == []
    engine.dispose()


def _differ(*compared: Any) -> bool | None:
    """Whether two types differ; SQLModel says a text otherwise."""
    there, declared = compared[-2:]
    both_text = isinstance(there, TEXT) and isinstance(declared, TEXT | AutoString)
    return False if both_text else None
