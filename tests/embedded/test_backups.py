"""What a backup and a restore refuse. What they do is shown by the drill, `make test-restore`."""

import hashlib
import json
from pathlib import Path

import pytest

from workers.embedded.backups import CannotBackUp, CannotRestore, back_up, restore


def a_copy(folder: Path, *, content: bytes = b"18\n") -> Path:
    """A backup of one file, which the manifest knows as `18`."""
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres/PG_VERSION").write_bytes(content)
    entry = {"Path": "PG_VERSION", "Checksum": hashlib.sha256(b"18\n").hexdigest()}
    (folder / "postgres/backup_manifest").write_text(json.dumps({"Files": [entry]}))
    (folder / "secrets.json").write_text("{}")
    label = {"moment": "2026-11-22T10:00:00Z", "runs": "left_out"}
    (folder / "backup.json").write_text(json.dumps(label))
    return folder


def quiet(line: str) -> None:
    """Nobody listens."""


def test_a_backup_goes_into_a_new_folder_only(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="exists"):
        back_up(tmp_path / "home", tmp_path, quiet)


def test_a_home_in_which_nothing_ever_ran_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="no stack has run"):
        back_up(tmp_path / "home", tmp_path / "backup", quiet)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_backup_restores_nothing(tmp_path: Path) -> None:
    with pytest.raises(CannotRestore, match="no backup"):
        restore(tmp_path / "home", tmp_path, quiet)


@pytest.mark.parametrize("damage", [b"17\n", None])
def test_a_damaged_backup_is_refused_before_anything_is_written(
    tmp_path: Path, damage: bytes | None
) -> None:
    copy = a_copy(tmp_path / "copy", content=damage or b"18\n")
    if damage is None:
        (copy / "postgres/PG_VERSION").unlink()

    with pytest.raises(CannotRestore, match="PG_VERSION is not what was copied"):
        restore(tmp_path / "home", copy, quiet)

    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["secrets.json", "temporal.db"])
def test_a_restore_overwrites_nothing(tmp_path: Path, name: str) -> None:
    copy, home = a_copy(tmp_path / "copy"), tmp_path / "home"
    home.mkdir()
    (home / name).write_text("somebody's")

    with pytest.raises(CannotRestore, match=name):
        restore(home, copy, quiet)

    assert (home / name).read_text() == "somebody's"
    assert not (home / "postgres").exists()
