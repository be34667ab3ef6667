"""A map of who serves whom: a line to each square of customers from who gives it most.

A panel for each rule set. Drawn with matplotlib, which the extra `plots` brings; needs no tiles
and asks nobody.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import cos, radians
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Curve

from oms.comparison import Column
from oms.locations import Location, Locations
from oms.past import PastOrder
from oms.words import count_of

MOST_NAMED = 6
"""So many places have a colour of their own; the rest share one."""

_CELLS = 60
"""So many squares of customers lie beside each other."""

_NUMBERS = re.compile(r"(?m)^(?:<path d=\")?[ML] [-0-9. ]+$")

# Okabe and Ito's palette: told apart by colour-blind readers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_OTHERS = "#8C8C8C"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.fonttype": "none",  # text that can be read and searched
    "svg.hashsalt": "oms",  # the same outcomes give the same file
    "path.simplify": False,
}

_Point = tuple[float, float]


class _Parcels(NamedTuple):
    """Units from places to points, and how many parcels are on the map, and not."""

    by_place: dict[str, Counter[_Point]]
    told: int
    elsewhere: int

    def units(self, place: str) -> int:
        """Of one place."""
        return self.by_place[place].total()


def draw(
    orders: Sequence[PastOrder], columns: Sequence[Column], locations: Locations, out: Path
) -> None:
    """Draw who serves whom in the country that most orders go to; the file's ending says how.

    Points without coordinates and other countries are not drawn, but counted.
    """
    countries = Counter(order.ask.country for order in orders if order.ask.point is not None)
    country = min(countries, key=lambda each: (-countries[each], each or ""), default=None)
    shown = [_parcels(orders, column, country) for column in columns]
    named = _most_units(shown)
    frame = _frame(shown, locations)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2 * len(columns), 4.3), layout="constrained")
        panels = figure.subplots(1, len(columns), squeeze=False)[0]
        for panel, column, parcels in zip(panels, columns, shown, strict=True):
            _draw(panel, column, parcels, locations, named, frame)
        figure.legend(handles=_legend(named, locations), loc="outside lower center", ncols=7)
        metadata = {"Date": None} if out.suffix == ".svg" else None
        figure.savefig(out, dpi=110, metadata=metadata)
    if out.suffix == ".svg":
        out.write_text(_shorter(out.read_text(encoding="utf-8")), encoding="utf-8")


def _shorter(picture: str) -> str:
    """Points of lines to a tenth of a point, which nobody sees."""
    return _NUMBERS.sub(lambda line: re.sub(r"(\.\d)\d+", r"\1", line[0]), picture)


def _parcels(orders: Sequence[PastOrder], column: Column, country: str | None) -> _Parcels:
    by_place: dict[str, Counter[_Point]] = {}
    told = elsewhere = 0
    for order in orders:
        outcome = column.outcomes[order.id]
        parcels = sum(len(sending.metres) for sending in outcome.sendings)
        point = order.ask.point
        if point is None or order.ask.country != country:
            elsewhere += parcels
            continue
        told += parcels
        for pick in outcome.picks:
            ends = by_place.setdefault(pick.location, Counter())
            ends[point[1], point[0]] += pick.quantity
    return _Parcels(by_place, told, elsewhere)


def _most_units(shown: Sequence[_Parcels]) -> dict[str, str]:
    """Colours of the places that give most, in any panel."""
    units: Counter[str] = Counter()
    for each in shown:
        units.update({place: each.units(place) for place in each.by_place})
    first = sorted(units, key=lambda place: (-units[place], place))[:MOST_NAMED]
    return dict(zip(first, _COLOURS, strict=False))


def _frame(shown: Sequence[_Parcels], locations: Locations) -> tuple[float, float, float, float]:
    """West, east, south and north of all that is drawn, but for the farthest hundredth."""
    ends = [end for each in shown for points in each.by_place.values() for end in points]
    if not ends:
        ends = [_where(each) for each in locations.rows if each.longitude is not None] or [(0, 0)]

    def middle(values: list[float]) -> tuple[float, float]:
        values.sort()
        cut = len(values) // 100
        return values[cut] - 2, values[-1 - cut] + 2

    return (*middle([end[0] for end in ends]), *middle([end[1] for end in ends]))


def _draw(
    panel: Axes,
    column: Column,
    parcels: _Parcels,
    locations: Locations,
    named: dict[str, str],
    frame: tuple[float, float, float, float],
) -> None:
    west, east, south, north = frame
    step = (east - west) / _CELLS
    # Those with a colour are drawn last, the busiest on top.
    order = sorted(parcels.by_place, key=lambda id: (id in named, parcels.units(id), id))
    mainly = _mainly(parcels, step)
    most = max((parcels.units(id) for id in order), default=1)
    for id in order:
        here = locations.rows[locations.row_of[id]]
        if here.longitude is None:
            continue
        colour = named.get(id, _OTHERS)
        if id in mainly:
            panel.add_collection(_lines(_where(here), mainly[id], colour))
        if id in named:
            size = (6 + 40 * (parcels.units(id) / most) ** 0.5) ** 0.5
            panel.plot(*_where(here), "o", color=colour, markersize=size, zorder=3)
    others = [locations.rows[locations.row_of[id]] for id in order if id not in named]
    dots = [_where(each) for each in others if each.longitude is not None]
    panel.plot([x for x, _ in dots], [y for _, y in dots], "o", color=_OTHERS, markersize=3)
    panel.set_xlim(west, east)
    panel.set_ylim(south, north)
    panel.set_aspect(1 / cos(radians((south + north) / 2)))
    panel.set_xticks([])
    panel.set_yticks([])
    more = f", {parcels.elsewhere:,} elsewhere" if parcels.elsewhere else ""
    panel.set_title(column.name, fontweight="bold")
    panel.set_xlabel(
        f"{count_of(parcels.told, 'parcel')} from {count_of(len(parcels.by_place), 'place')}{more}"
    )


def _mainly(parcels: _Parcels, step: float) -> dict[str, set[_Point]]:
    """By place, the squares of customers to whom it gives more than any other."""
    squares: dict[_Point, Counter[str]] = {}
    for place, ends in parcels.by_place.items():
        for (x, y), units in ends.items():
            square = (round(x / step) * step, round(y / step) * step)
            squares.setdefault(square, Counter())[place] += units
    found: dict[str, set[_Point]] = {}
    for square, by in squares.items():
        best = min(by, key=lambda place: (-by[place], place))
        found.setdefault(best, set()).add(square)
    return found


def _lines(start: _Point, ends: set[_Point], colour: str) -> PathCollection:
    """All lines of a place as one curve, which keeps the file small."""
    vertices = [point for end in sorted(ends) for point in (start, end)]
    codes = [Curve.MOVETO, Curve.LINETO] * len(ends)
    curve = Curve(vertices, codes)
    return PathCollection([curve], facecolors="none", edgecolors=colour, linewidths=0.8, alpha=0.7)


def _where(place: Location) -> _Point:
    assert place.longitude is not None
    assert place.latitude is not None
    return place.longitude, place.latitude


def _legend(named: dict[str, str], locations: Locations) -> list[Line2D]:
    rows = {id: locations.rows[locations.row_of[id]] for id in named}
    looks: list[tuple[str, str]] = [(rows[id].name or id, colour) for id, colour in named.items()]
    return [
        Line2D([], [], color=colour, marker="o", linewidth=1.5, label=label)
        for label, colour in [*looks, ("other places", _OTHERS)]
    ]
