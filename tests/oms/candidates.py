"""Places as tests name them: what each has, and how far away it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from oms.locations import UNKNOWN_METRES, Location, Locations
from oms.sourcing import Shelves


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that may serve. `available` units by SKU; `distance_km` is None where unknown.

    `buffer`: units of each SKU that the channel leaves there; they are not in `available`.
    """

    location: str
    distance_km: float | None
    available: Mapping[str, int]
    buffer: int = 0


def shelves_of(candidates: Sequence[Candidate], locations: Locations | None = None) -> Shelves:
    """The shelves of some candidates; of places that serve, unless told otherwise."""
    if locations is None:
        locations = Locations(Location(each.location) for each in candidates)
    skus = sorted({sku for each in candidates for sku in each.available})
    column = {sku: number for number, sku in enumerate(skus)}
    available = np.zeros((len(locations), len(skus)), dtype=np.int64)
    buffer = np.zeros(len(locations), dtype=np.int64)
    metres = np.full(len(locations), UNKNOWN_METRES, dtype=np.int64)
    for each in candidates:
        row = locations.row_of[each.location]
        buffer[row] = each.buffer
        if each.distance_km is not None:
            metres[row] = round(each.distance_km * 1000)
        for sku, units in each.available.items():
            available[row, column[sku]] = max(0, units)
    shut = np.zeros(len(locations), dtype="<U17")
    return Shelves(locations, tuple(skus), available, shut, buffer, metres=metres)
