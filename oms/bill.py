"""What it costs to send what was picked: by the costs of one rule set, whoever picked it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from oms.costs import Setting
from oms.eligibility import Asked
from oms.router import Router
from oms.sourcing import Ask, Demand, Pick, Shelves


class Bill(NamedTuple):
    """In mills of the rule set's currency.

    `shipping` by its `costs`, `handling` by what a parcel costs to make at each place. `unpriced`:
    parcels for which no row of the costs counts, or handling has no rate; they add nothing there.
    """

    shipping: int = 0
    handling: int = 0
    unpriced: int = 0

    @property
    def total(self) -> int:
        """Of all that has a price."""
        return self.shipping + self.handling

    def plus(self, other: "Bill") -> "Bill":
        """Both together."""
        return Bill(*(a + b for a, b in zip(self, other, strict=True)))


def bill(
    router: Router, ask: Ask, demands: Sequence[Demand], picks: Sequence[Pick], shelves: Shelves
) -> Bill:
    """Work out what sending some picks costs by a rule set; each place sends one parcel."""
    asked = Asked(router.prices, ask, shelves)
    ids = sorted({pick.location for pick in picks})
    skus = sorted({pick.sku for pick in picks})
    rows = np.array([router.locations.row_of[id] for id in ids], dtype=np.int64)
    units = np.zeros((len(ids), len(skus)), dtype=np.int64)
    for pick in picks:
        units[ids.index(pick.location), skus.index(pick.sku)] += pick.quantity
    weights = {demand.sku: demand.weight_g for demand in demands}
    cost_row = asked.cost_rows(rows)
    fixed, unit = router.prices.shipping(
        Setting(
            rows=rows,
            metres=asked.metres[rows],
            weight_g=np.array([weights[sku] for sku in skus], dtype=np.int64),
            available=units,
            fullest=units.max(axis=0, initial=0),
            days=None,
            goods=None,
            cost_row=cost_row,
            adjusted={},
        )
    )
    unpriced = (cost_row < 0) | ~router.prices.has_rate[rows]
    return Bill(
        shipping=int(np.rint(fixed).sum() + np.rint(unit * units).sum()),
        handling=int(router.prices.handling[rows].sum()),
        unpriced=int(unpriced.sum()),
    )
