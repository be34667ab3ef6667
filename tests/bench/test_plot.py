"""`oms bench plot` draws the figures of several runs, so that people see how cost grows."""

import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from pydantic import ValidationError

from workers.bench.orders import OrdersBench
from workers.bench.plot import draw, read


def figures(**more: Any) -> OrdersBench:
    each: dict[str, Any] = {
        name: {} if field.annotation == dict[str, float] else 1
        for name, field in OrdersBench.model_fields.items()
    }
    plain = {"workers": 2, "asleep": 0, "lines": 1, "concurrency": 16}
    return OrdersBench.model_validate(each | plain | more)


def drawn(tmp_path: Path, *runs: OrdersBench) -> str:
    out = tmp_path / "picture.svg"
    draw(runs, out)
    return out.read_text(encoding="utf-8")


def test_the_picture_shows_how_cost_grows_in_three_ways(tmp_path: Path) -> None:
    picture = drawn(
        tmp_path,
        figures(workers=1, cpu_seconds_per_order=0.664),
        figures(workers=2, cpu_seconds_per_order=0.492),
        figures(workers=4, confirmed_per_second=18.3),
        figures(asleep=100_000, delivered_per_second=3.21),
        figures(lines=100, cpu_seconds_per_order=1.057),
    )

    for words in ("Worker processes", "Open orders asleep", "Lines an order"):
        assert f">{words}<" in picture
    for value in ("664", "492", "18.3", "3.21", "1057", "100,000"):
        assert f">{value}<" in picture
    assert "not measured" not in picture


def test_a_way_that_was_not_measured_is_left_empty(tmp_path: Path) -> None:
    picture = drawn(tmp_path, figures(workers=1), figures(workers=2))

    assert picture.count(">not measured<") == 2


def test_runs_that_differ_in_more_than_one_way_are_not_on_one_curve(tmp_path: Path) -> None:
    picture = drawn(
        tmp_path,
        figures(workers=1),
        figures(workers=2),
        figures(workers=4, concurrency=8, confirmed_per_second=77.7),
    )

    assert ">77.7<" not in picture


def test_of_runs_that_differ_in_nothing_the_middle_one_is_told(tmp_path: Path) -> None:
    same = [figures(cpu_seconds_per_order=seconds) for seconds in (0.5, 0.421, 0.3)]

    picture = drawn(tmp_path, *same, figures(workers=4))

    assert ">421<" in picture
    assert ">500<" not in picture


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    runs = [figures(workers=1), figures(workers=2)]

    assert drawn(tmp_path, *runs) == drawn(tmp_path, *runs)


def test_a_file_without_figures_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"orders": 3}', encoding="utf-8")

    with pytest.raises(ValidationError):
        read([other])


def test_the_product_needs_no_matplotlib_to_run() -> None:
    asked = "import sys, workers.cli; sys.exit('matplotlib' in sys.modules)"

    assert run([sys.executable, "-c", asked], check=False).returncode == 0


def test_files_are_drawn_from_the_command_line(tmp_path: Path) -> None:
    for workers in (1, 2):
        text = figures(workers=workers).model_dump_json()
        (tmp_path / f"{workers}.json").write_text(text, encoding="utf-8")
    out = tmp_path / "picture.png"

    oms = [sys.executable, "-m", "workers.cli", "bench", "plot"]
    done = run([*oms, *map(str, sorted(tmp_path.glob("*.json"))), "--out", str(out)], check=False)

    assert done.returncode == 0
    assert out.read_bytes().startswith(b"\x89PNG")
