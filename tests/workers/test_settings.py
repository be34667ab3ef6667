import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from oms.errors import BadSetting
from workers.deploying import version_of
from workers.settings import EMBEDDED, Settings
from workflows.queues import Kind

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


@pytest.mark.parametrize(
    ("said", "served"),
    [
        ("all", tuple(Kind)),
        ("", tuple(Kind)),
        ("payments", (Kind.PAYMENTS,)),
        ("orders, nodes,orders", (Kind.ORDERS, Kind.NODES)),
    ],
)
def test_a_worker_serves_the_kinds_of_work_it_is_told_to(
    said: str, served: tuple[Kind, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMS_WORKER_KINDS", said)

    assert Settings().worker_kinds == served


def test_a_kind_of_work_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_WORKER_KINDS", "payments,refunds")

    with pytest.raises(ValidationError, match="refunds"):
        Settings()


def test_a_worker_with_half_a_version_does_not_start() -> None:
    assert version_of(Settings()) is None
    assert version_of(Settings(deployment="shop", build_id="v12")) is not None
    for half in (Settings(deployment="shop"), Settings(build_id="v12")):
        with pytest.raises(BadSetting, match="or neither"):
            version_of(half)
