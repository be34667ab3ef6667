"""All locations as columns, so that a rule looks at a thousand of them in one step."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from oms.places import EARTH_RADIUS_KM
from oms.rules import From

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

UNKNOWN_METRES = 40_075_000
"""Once round the earth: a place without coordinates comes last."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place that holds stock, as rules see it. Degrees are north and east.

    `handling_minor`: what a parcel costs to make there, in minor units of `currency`; None is the
    rule set's. `daily_capacity`: orders a day; None for no limit.
    """

    id: str
    name: str = ""
    kind: str = "warehouse"
    country: str | None = None
    groups: frozenset[str] = frozenset()
    latitude: float | None = None
    longitude: float | None = None
    handling_minor: int = 0
    currency: str | None = None
    daily_capacity: int | None = None


class Locations:
    """Locations by row, in the order of their ids. Made once and shared: nothing in it changes."""

    def __init__(self, rows: Iterable[Location]) -> None:
        self.rows = tuple(sorted(rows, key=lambda each: each.id))
        self.ids = tuple(each.id for each in self.rows)
        self.row_of = {id: row for row, id in enumerate(self.ids)}
        assert len(self.row_of) == len(self.rows), "a location comes twice"
        self._fits: dict[From, Flags] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def countries(self) -> NDArray[np.str_]:
        """ISO 3166-1 alpha-2, by row; empty where unknown."""
        return np.array([each.country or "" for each in self.rows], dtype=np.str_)

    @cached_property
    def capacity(self) -> Ints:
        """Orders a day, by row; the highest number where there is no limit."""
        most = np.iinfo(np.int64).max
        limits = [most if e.daily_capacity is None else e.daily_capacity for e in self.rows]
        return np.array(limits, dtype=np.int64)

    @cached_property
    def _radians(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        nowhere = float("nan")
        degrees = [
            (nowhere, nowhere)
            if each.latitude is None or each.longitude is None
            else (each.latitude, each.longitude)
            for each in self.rows
        ]
        both = np.radians(np.array(degrees, dtype=np.float64).reshape(len(self), 2))
        return both[:, 0], both[:, 1]

    def metres_from(self, point: tuple[float, float] | None) -> Ints:
        """Great-circle distances in metres, by row; `UNKNOWN_METRES` where one end is unknown."""
        if point is None:
            return np.full(len(self), UNKNOWN_METRES, dtype=np.int64)
        latitude, longitude = np.radians(point[0]), np.radians(point[1])
        north, east = self._radians
        chord = (
            np.sin((north - latitude) / 2) ** 2
            + np.cos(latitude) * np.cos(north) * np.sin((east - longitude) / 2) ** 2
        )
        metres = 2000 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(1.0, chord)))
        known: Ints = np.rint(np.nan_to_num(metres, nan=UNKNOWN_METRES)).astype(np.int64)
        return known

    def fits(self, filter: From) -> Flags:
        """Which rows a filter allows, as far as it speaks of what the locations are."""
        found = self._fits.get(filter)
        if found is None:
            found = self._fits[filter] = self._look(filter)
        return found

    def _look(self, filter: From) -> Flags:
        return np.array(
            [
                (filter.kinds is None or each.kind in filter.kinds)
                and (filter.groups is None or not each.groups.isdisjoint(filter.groups))
                and (filter.locations is None or each.id in filter.locations)
                and (filter.countries is None or each.country in filter.countries)
                for each in self.rows
            ],
            dtype=np.bool_,
        )
