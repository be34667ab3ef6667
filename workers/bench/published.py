"""`oms bench published`: the fulfilment setting that the literature measures itself in.

Jasin and Sinha, "An LP-based correlated rounding scheme for multi-item ecommerce order
fulfillment" (Operations Research 63(6), 2015), and after them Ma, "Order-optimal correlated
rounding for fulfilling multi-item e-commerce orders" (M&SOM 2023), and Amil, Makhdoumi and Wei,
"Multi-item order fulfillment revisited" (Management Science 2025). What is known of it here was
read in the data and code that Ma, and Amil, Makhdoumi and Wei published: the costs, the smaller of
the two networks (five centres of a large retailer, the ten largest US cities and how many live
there), 20 articles, five kinds of order of each size from 1 to 5, how they and their rates are
drawn, the stock, and what it costs not to serve. Of our own choosing: the random numbers, the great
circle of 6,371 km, that the horizon is a day, and costs rounded to a thousandth of a cent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from oms.places import Point, distance_km
from oms.rules import MILLS
from oms.solver import Ints
from oms.together import Wish

CENTRES = (
    ("OAK4", 37.7448, -121.3985),
    ("IND1", 39.9797, -86.3833),
    ("AVP3", 41.2776, -75.4973),
    ("CAE1", 33.9114, -81.0501),
    ("DFW7", 32.9709, -97.3348),
)
CITIES = (
    ("New York", 40.6943, -73.9249, 18_680_025),
    ("Los Angeles", 34.1141, -118.4068, 12_531_334),
    ("Chicago", 41.8375, -87.6866, 8_586_888),
    ("Miami", 25.7840, -80.2101, 6_076_316),
    ("Dallas", 32.7935, -96.7667, 5_910_669),
    ("Houston", 29.7860, -95.3885, 5_724_418),
    ("Philadelphia", 40.0077, -75.1339, 5_540_199),
    ("Atlanta", 33.7628, -84.4220, 5_151_496),
    ("Washington", 38.9047, -77.0163, 5_066_973),
    ("Boston", 42.3188, -71.0852, 4_465_966),
)

CENT = MILLS
USD = 100 * CENT
PARCEL = 875_900 * CENT // 1_000
"""8.759 USD, in thousandths of a cent."""
UNIT = 42_300 * CENT // 1_000
"""0.423 USD."""
UNIT_AND_MILE = 54.1 * CENT / 1_000
"""0.000541 USD."""
KM_A_MILE = 1.609344
NOT_SERVED = 2
"""What is not served costs twice a parcel, and for each unit twice the dearest centre's."""

ARTICLES = 20
LARGEST = 5
KINDS_OF_A_SIZE = 5
CARRIED = 0.75
SAFETY = 0.5

Order = tuple[int, int, int]
"""Period, kind and city."""

NOWHERE = len(CENTRES)
"""Not served: a place more, which has everything."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An order of this kind wants one unit of each of these articles."""

    articles: tuple[int, ...]
    rate: float


@dataclass(frozen=True, eq=False)
class Setting:
    """One draw of what is ordered how often, and of the stock.

    Attributes:
        kinds: What is ordered; the first kind is no order at all.
        stock: Units at each centre, and without end nowhere; shape (centres + 1, articles).
        periods: In each of them at most one order comes.
    """

    kinds: tuple[Kind, ...]
    stock: Ints
    periods: int

    @cached_property
    def rates(self) -> NDArray[np.float64]:
        """How likely each kind comes from each city in a period; shape (kinds, cities)."""
        return np.outer([kind.rate for kind in self.kinds], people())

    def day(self, seed: int) -> list[Order]:
        """Draw a day: period, kind and city of each order, as they come."""
        drawn = np.random.default_rng([seed, self.periods])
        rates = self.rates.ravel()
        came = drawn.choice(len(rates), size=self.periods, p=rates / rates.sum())
        pairs = (divmod(int(pair), len(CITIES)) for pair in came)
        return [(period, kind, city) for period, (kind, city) in enumerate(pairs) if kind]

    def wish(self, kind: int, city: int) -> Wish:
        """What an order wants, and what each centre costs it."""
        articles = np.array(self.kinds[kind].articles, np.int64)
        return Wish(
            articles=articles,
            wanted=np.ones(len(articles), np.int64),
            fixed=parcels(),
            unit=np.repeat(units()[:, [city]], len(articles), axis=1),
            divide=np.ones(len(articles), np.bool_),
        )


def some_setting(seed: int, periods: int) -> Setting:
    """Draw what is ordered and what is there; the same for the same numbers."""
    drawn = np.random.default_rng([seed])
    sizes = drawn.random(LARGEST + 1)
    kinds = [Kind((), sizes[0] / sizes.sum())]
    for size in range(1, LARGEST + 1):
        shares = drawn.random(KINDS_OF_A_SIZE)
        for share in shares:
            articles = sorted(drawn.permutation(ARTICLES)[:size].tolist())
            kinds.append(Kind(tuple(articles), sizes[size] / sizes.sum() * share / shares.sum()))
    stock = np.zeros((NOWHERE + 1, ARTICLES), np.int64)
    carried = drawn.random((len(CENTRES), ARTICLES)) < CARRIED
    for article in range(ARTICLES):
        asked = sum(kind.rate for kind in kinds if article in kind.articles) * people()
        near = np.where(carried[:, [article]], _miles(), np.inf)
        served = near.argmin(axis=0)
        for centre in np.flatnonzero(carried[:, article]):
            demand = float(asked[served == centre].sum())
            spread = SAFETY * np.sqrt(periods * demand * (1 - demand))
            stock[centre, article] = round(periods * demand + spread)
    stock[NOWHERE] = periods
    return Setting(tuple(kinds), stock, periods)


@cache
def people() -> NDArray[np.float64]:
    """Which share of all people lives in each city."""
    everybody = sum(city[3] for city in CITIES)
    return np.array([city[3] / everybody for city in CITIES], np.float64)


@cache
def _miles() -> NDArray[np.float64]:
    """Between each centre and each city; shape (centres, cities)."""
    far = [[distance_km(Point(*c[1:3]), Point(*city[1:3])) for city in CITIES] for c in CENTRES]
    return np.array(far) / KM_A_MILE


@cache
def units() -> Ints:
    """What a unit costs from each centre to each city, and nowhere; (centres + 1, cities)."""
    from_centres = np.rint(UNIT + UNIT_AND_MILE * _miles()).astype(np.int64)
    return np.vstack([from_centres, NOT_SERVED * from_centres.max(axis=0)])


@cache
def parcels() -> Ints:
    """What a parcel costs from each centre, and nowhere."""
    return np.array([PARCEL] * len(CENTRES) + [NOT_SERVED * PARCEL], np.int64)


def cheapest(articles: Sequence[int], city: int, stock: Ints) -> int:
    """Try every set of places for one order of one unit each: the least that it can cost.

    Shares nothing with the solver, which it is there to check.
    """
    costs = [int(cost) for cost in units()[:, city]]
    fixed = [int(cost) for cost in parcels()]
    best = None
    for size in range(1, len(costs) + 1):
        for places in combinations(range(len(costs)), size):
            cost = sum(fixed[place] for place in places)
            for article in articles:
                cost += min((costs[p] for p in places if stock[p, article] > 0), default=10**12)
            best = cost if best is None else min(best, cost)
    assert best is not None
    return best
