import tomllib
from pathlib import Path

import pytest

from workers.settings import EMBEDDED, Settings

ROOT = Path(__file__).parents[2]
NAMES = [f"OMS_{name.upper()}" for name in Settings.model_fields]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_on_the_settings_page(name: str) -> None:
    field = Settings.model_fields[name.removeprefix("OMS_").lower()]
    rows = [line for line in (ROOT / "docs/settings.md").read_text().splitlines() if name in line]

    assert any(f"`{name}`" in row and str(field.description) in row for row in rows)


def test_the_embedded_stack_only_sets_what_exists() -> None:
    assert set(EMBEDDED) <= set(NAMES)


def test_settings_are_read_with_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_GRACE_SECONDS", "0.5")

    assert Settings().grace_seconds == 0.5


def test_a_password_in_a_setting_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_DATABASE_URL", "postgresql+psycopg://oms:hunter2@db/oms")

    assert "hunter2" not in repr(Settings())


def test_each_of_our_packages_is_the_one_in_this_checkout() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]

    for name in build["targets"]["wheel"]["packages"]:
        package = __import__(name)
        assert package.__file__ is not None
        assert Path(package.__file__).is_relative_to(ROOT)
