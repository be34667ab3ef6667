"""How an order's cost grows, drawn from the figures of several runs of `oms bench orders`.

Imports matplotlib, which the extra `plots` brings, as `workers.simulate_map` does.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from oms.words import count_of
from workers.bench.orders import OrdersBench

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey by marker and line.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E3E3E3",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text that can be read and searched
    "svg.hashsalt": "oms",  # the same figures give the same file
}


class _Way(NamedTuple):
    """What is varied, and what is held: each is a field of the figures."""

    varied: str
    title: str
    held: tuple[str, ...]
    words: Callable[[OrdersBench], tuple[str, ...]]


class _Curve(NamedTuple):
    """A figure that is drawn, its looks, and what it is called. `told`: its numbers are written."""

    label: str
    value: Callable[[OrdersBench], float]
    color: str
    marker: str
    line: str = "-"
    told: bool = True

    def looks(self) -> dict[str, Any]:
        """As matplotlib wants to hear it."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.line}


_WAYS = (
    _Way(
        "workers",
        "Worker processes",
        ("asleep", "lines", "concurrency"),
        lambda run: (_lines(run), _asleep(run)),
    ),
    _Way(
        "asleep",
        "Open orders asleep",
        ("workers", "lines", "concurrency"),
        lambda run: (_workers(run), _lines(run)),
    ),
    _Way(
        "lines",
        "Lines an order",
        ("workers", "asleep", "concurrency"),
        lambda run: (_workers(run), _asleep(run)),
    ),
)
_RATES = (
    _Curve("confirmed", lambda run: run.confirmed_per_second, _BLUE, "o"),
    _Curve("delivered", lambda run: run.delivered_per_second, _ORANGE, "s"),
    _Curve("bare runs (the floor)", lambda run: run.floor_per_second, _GREY, "^", ":", told=False),
)
_COSTS = (
    _Curve("an order", lambda run: 1000 * run.cpu_seconds_per_order, _GREEN, "o"),
    _Curve(
        "a bare run (the floor)",
        lambda run: 1000 * run.floor_cpu_seconds_per_order,
        _GREY,
        "^",
        ":",
    ),
)


def read(files: Iterable[Path]) -> list[OrdersBench]:
    """Read what `--json` wrote.

    Raises:
        OSError, pydantic.ValidationError: a file is not there, or holds no such figures.
    """
    return [OrdersBench.model_validate_json(file.read_bytes()) for file in files]


def draw(runs: Sequence[OrdersBench], out: Path) -> None:
    """Draw rates and CPU by what was varied; the file's ending says how (`.svg`, `.png`).

    For each way the runs are taken that differ in it alone, the largest such group; of runs that
    do not differ the median is the curve, and each is a dot.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 6.2), layout="constrained")
        above, below = figure.subplots(2, len(_WAYS), sharex="col", sharey="row")
        for way, rates, costs in zip(_WAYS, above, below, strict=True):
            group = _group(runs, way)
            _curves(rates, group, way, _RATES)
            _curves(costs, group, way, _COSTS)
            held = _held(group, way)
            rates.set_title(f"{way.title}\n", fontweight="bold")
            rates.text(0.5, 1.03, held, transform=rates.transAxes, ha="center", color=_GREY)
        above[0].set_ylabel("a second")
        below[0].set_ylabel("ms of CPU, all processes")
        for row, curves in ((above, _RATES), (below, _COSTS)):
            row[0].set_ylim(0, 1.1 * row[0].get_ylim()[1])
            row[-1].legend(
                handles=[Line2D([], [], **curve.looks(), label=curve.label) for curve in curves],
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
            )
        metadata = {"Date": None} if out.suffix == ".svg" else None
        figure.savefig(out, dpi=110, metadata=metadata)


def _group(runs: Iterable[OrdersBench], way: _Way) -> list[OrdersBench]:
    groups: dict[tuple[int, ...], list[OrdersBench]] = defaultdict(list)
    for run in runs:
        groups[tuple(getattr(run, name) for name in way.held)].append(run)
    varied = {
        held: len({getattr(run, way.varied) for run in group}) for held, group in groups.items()
    }
    best = max(groups, key=lambda held: (varied[held], [-each for each in held]))
    return groups[best] if varied[best] > 1 else []


def _held(group: Sequence[OrdersBench], way: _Way) -> str:
    if not group:
        return "not measured"
    return ", ".join((*way.words(group[0]), f"{group[0].concurrency} at once"))


def _curves(axes: Axes, group: Sequence[OrdersBench], way: _Way, curves: Sequence[_Curve]) -> None:
    steps = sorted({getattr(run, way.varied) for run in group})
    axes.set_xticks(range(len(steps)), [f"{step:,}" for step in steps])
    axes.margins(x=0.15)
    for curve in curves:
        at = [[curve.value(run) for run in group if getattr(run, way.varied) == s] for s in steps]
        for index, values in enumerate(at):
            axes.plot([index] * len(values), values, curve.marker, color=curve.color, alpha=0.35)
        middle = [median(values) for values in at]
        axes.plot(middle, **curve.looks())
        for index, value in enumerate(middle if curve.told else ()):
            axes.annotate(
                f"{value:.3g}" if value < 100 else f"{value:.0f}",
                (index, value), xytext=(0, 6), textcoords="offset points",
                ha="center", fontsize=8, color=curve.color,
            )  # fmt: skip


def _workers(run: OrdersBench) -> str:
    return count_of(run.workers, "worker")


def _lines(run: OrdersBench) -> str:
    return f"{count_of(run.lines, 'line')} an order"


def _asleep(run: OrdersBench) -> str:
    return f"{run.asleep:,} asleep" if run.asleep else "none asleep"
