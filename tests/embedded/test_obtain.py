import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.embedded import toolchains
from workers.embedded.obtain import NotHad, Report, Tool, ToolMissing, Way, run
from workers.settings import settings


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("OMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMS_TEST_SERVER", raising=False)
    monkeypatch.delenv("OMS_TEMPORAL_SERVER", raising=False)
    settings.cache_clear()
    yield tmp_path / "cache"
    settings.cache_clear()


def silently(line: str) -> None:
    pass


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def works(folder: Path, report: Report) -> None:
    program(folder / "hammer")


def fails(folder: Path, report: Report) -> None:
    program(folder / "half-made")
    raise NotHad("no network")


def hammer(*ways: Way) -> Tool:
    return Tool("a hammer", "hammer-1.0", "hammer", ways, "Buy one.")


def test_temporal_on_the_path_is_taken_before_the_cached_one(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = program(cache / f"temporal-{toolchains.TEMPORAL_VERSION}" / "temporal")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert toolchains.find_temporal() == cached

    own = program(tmp_path / "bin" / "temporal")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert toolchains.find_temporal() == own


def test_temporal_is_downloaded_before_it_is_built() -> None:
    names = [way.name for way in toolchains.TEMPORAL.ways]

    assert names == ["the SDK's download", "go install"]


def test_an_own_time_skipping_server_is_taken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = program(tmp_path / "own-server")
    monkeypatch.setenv("OMS_TEST_SERVER", str(own))
    settings.cache_clear()

    assert toolchains.find_test_server() == own


def test_an_own_time_skipping_server_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMS_TEST_SERVER", str(tmp_path / "misspelt"))
    settings.cache_clear()

    with pytest.raises(ToolMissing, match="misspelt: no program"):
        toolchains.find_test_server()


def test_an_own_real_server_is_taken_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    programs = [program(own / name) for name in ("temporal-server", "temporal-sql-tool")]
    program(cache / toolchains.BTREE_GIN.folder / toolchains.BTREE_GIN.program)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("OMS_TEMPORAL_SERVER", str(own))
    settings.cache_clear()

    found = toolchains.find_server()

    assert found is not None
    assert [found.server, found.sql_tool, found.ui] == [*programs, None]


def test_an_own_real_server_without_its_schema_tool_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "own" / "temporal-server")
    monkeypatch.setenv("OMS_TEMPORAL_SERVER", str(tmp_path / "own"))
    settings.cache_clear()

    with pytest.raises(ToolMissing, match="not both temporal-server and temporal-sql-tool"):
        toolchains.find_server()


def test_the_next_way_is_tried_when_one_fails_and_leaves_nothing(cache: Path) -> None:
    tool = hammer(Way("borrowing", fails), Way("forging", works))

    found = tool.fetch(silently)

    assert os.access(found, os.X_OK)
    assert [file.name for file in found.parent.iterdir()] == ["hammer"]


def test_what_was_fetched_once_is_not_fetched_again() -> None:
    hammer(Way("forging", works)).fetch(silently)

    assert hammer(Way("borrowing", fails)).fetch(silently).name == "hammer"


def test_when_no_way_works_all_of_them_are_told_with_what_to_do() -> None:
    with pytest.raises(ToolMissing) as missing:
        hammer(Way("borrowing", fails), Way("begging", fails)).fetch(silently)

    told = str(missing.value)
    assert "borrowing: no network" in told
    assert "begging: no network" in told
    assert told.endswith("Buy one.")


def test_a_download_that_gets_stuck_is_given_up() -> None:
    with pytest.raises(NotHad, match="nothing came of it"):
        run(["sleep", "60"], silently, "downloading", within=60, silent_for=1)


def test_a_command_that_fails_says_its_last_word() -> None:
    with pytest.raises(NotHad, match="no such module"):
        run(["sh", "-c", "echo no such module; exit 1"], silently, "building", within=60)


def test_a_jar_that_is_not_the_one_we_know_is_refused(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "server.jar").write_bytes(b"something else")
    known = tmp_path / "known.sha256"
    known.write_text(f"{'0' * 64}  server.jar\n")

    with pytest.raises(NotHad, match=r"server\.jar is not the file we know"):
        toolchains.check_jars(lib, known)
