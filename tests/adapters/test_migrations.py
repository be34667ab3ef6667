"""Migrations stand in a line: each number once, each after the one before it."""

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

HOME = Path(__file__).parents[2] / "adapters" / "db" / "migrations"


def test_migrations_follow_each_other_by_number() -> None:
    config = Config()
    config.set_main_option("script_location", str(HOME))
    line = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    files = sorted(path.name for path in (HOME / "versions").glob("[0-9]*.py"))

    assert [name.partition("_")[0] for name in files] == sorted(line)
    assert line == [f"{number:04}" for number in range(len(files), 0, -1)]
