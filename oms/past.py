"""What happened, and the world it happened in: what a simulation goes through again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from oms.locations import Flags, Ints, Locations
from oms.sourcing import Ask, Demand, Pick

# --- what happened --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PastOrder:
    """An order to be decided again.

    `pickup`: the store it is collected in. `was`: what was decided then, where that is known; what
    is missing in it waits, unless the order `was_refused`.
    """

    id: str
    at: datetime
    ask: Ask
    demands: tuple[Demand, ...]
    allow_backorder: bool = False
    pickup: str | None = None
    was: tuple[Pick, ...] | None = None
    was_refused: bool = False

    @property
    def units(self) -> int:
        """All that was ordered."""
        return sum(demand.quantity for demand in self.demands)


class Arrival(NamedTuple):
    """Units that came to a shelf, or left it, below zero."""

    at: datetime
    sku: str
    location: str
    units: int


class GivenBack(NamedTuple):
    """Units of an order's lines that were cancelled later."""

    at: datetime
    order: str
    units: Mapping[int, int]


Event = PastOrder | Arrival | GivenBack


@dataclass(frozen=True, slots=True)
class PricedArticle:
    """What rules need to know of an article. `cost`: of a unit, where no place differs."""

    sku: str
    weight_g: int = 0
    tags: frozenset[str] = frozenset()
    cost: "Cost | None" = None


def demand(
    article: PricedArticle,
    line: int,
    quantity: int,
    *,
    kit: str | None = None,
    price_minor: int = 0,
) -> Demand:
    """An order's line as rules look at it."""
    return Demand(
        line=line,
        sku=article.sku,
        quantity=quantity,
        tags=article.tags,
        kit=kit,
        weight_g=article.weight_g,
        price_minor=price_minor,
    )


# --- the world it happened in ---------------------------------------------------------------


class Serving(NamedTuple):
    """Whom a location serves, and how. `channels`: `*` for all."""

    active: bool = True
    methods: frozenset[str] = frozenset({"home"})
    channels: frozenset[str] = frozenset({"*"})
    time_zone: str = "UTC"


class Channel(NamedTuple):
    """Which kinds of places count for a channel (None: all), and what it leaves at each kind."""

    kinds: frozenset[str] | None = None
    buffers: Mapping[str, int] = {}


class Fetching(NamedTuple):
    """A service by which a carrier fetches from places; no kinds and no groups are any."""

    carrier: str
    method: str
    countries: frozenset[str] = frozenset({"*"})
    kinds: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def places(self, locations: Locations) -> Flags:
        """Where it fetches from."""
        return np.array(
            [
                (not self.kinds or each.kind in self.kinds)
                and (not self.groups or not self.groups.isdisjoint(each.groups))
                for each in locations.rows
            ],
            dtype=np.bool_,
        )


class Days(Protocol):
    """How many days after its order somebody has the goods, from some places.

    `rows`: of the places that are asked; `metres`: of all. By place, 0 for those not asked.
    """

    def __call__(self, order: PastOrder, rows: Ints, metres: Ints) -> Ints:
        """See the class."""
        ...


ROAD = ((250, 1), (1000, 2), (1600, 3), (2900, 4), (5000, 5))
"""Days on the road up to so many kilometres, about what parcels need on the ground."""
FARTHER = 8
"""Days to another continent, or to where nobody knows."""


def days_on_the_road(order: PastOrder, rows: Ints, metres: Ints) -> Ints:
    """Guess by distance alone; who collects in the store has it on that day."""
    found = np.zeros(len(metres), dtype=np.int64)
    if order.ask.method != "store_pickup":
        upto = np.array([km * 1000 for km, _ in ROAD])
        days = np.array([*(days for _, days in ROAD), FARTHER], dtype=np.int64)
        found[rows] = days[np.searchsorted(upto, metres[rows])]
    return found


Cost = tuple[int, str | None]
"""What a unit costs us: minor units, and their currency."""


@dataclass(frozen=True, eq=False)
class World:
    """Places, and what lies there before the first event.

    Attributes:
        locations: All of them.
        serving: Whom each serves, by id.
        stock: By SKU, what each place could give; below zero where more was promised than there
            is; shape (places,). A SKU that is not named lies nowhere.
        channels: By id; one that is not named sells from everywhere.
        blocked: By SKU, where nothing of it may be sold.
        on_sale_from: By SKU, before when nothing of it is sold.
        goods: By SKU, what a unit costs us at each place, None where nobody knows.
        services: By which carriers fetch.
        days: How days are counted, and in words (`days_are`).
    """

    locations: Locations
    serving: Mapping[str, Serving]
    stock: Mapping[str, Ints]
    channels: Mapping[str, Channel] = field(default_factory=dict)
    blocked: Mapping[str, Flags] = field(default_factory=dict)
    on_sale_from: Mapping[str, datetime] = field(default_factory=dict)
    goods: Mapping[str, Sequence[Cost | None]] = field(default_factory=dict)
    services: Sequence[Fetching] = ()
    days: Days = days_on_the_road
    days_are: str = "guessed by distance"

    def shut(self, channel: str, method: str, only: str | None) -> NDArray[np.str_]:
        """Why each place may not serve an order; the empty text where it may."""
        codes = [self._shut(place, channel, method, only) for place in self.locations.ids]
        return np.array(codes, dtype="<U17")

    def _shut(self, place: str, channel: str, method: str, only: str | None) -> str:
        serving = self.serving.get(place, Serving())
        if not serving.active:
            return "inactive"
        kinds = self.channels.get(channel, Channel()).kinds
        kind = self.locations.rows[self.locations.row_of[place]].kind
        if (kinds is not None and kind not in kinds) or serving.channels.isdisjoint({"*", channel}):
            return "channel"
        if method not in serving.methods:
            return "method"
        return "" if only in (None, place) else "asked_for_another"

    def buffer(self, channel: str) -> Ints:
        """Units of each article that a channel leaves at each place."""
        buffers = self.channels.get(channel, Channel()).buffers
        return np.array([buffers.get(e.kind, 0) for e in self.locations.rows], dtype=np.int64)

    def carried(self, method: str, country: str | None) -> dict[str, Flags]:
        """Which places each carrier fetches from for such an order."""
        found: dict[str, Flags] = {}
        for each in self.services:
            if each.method == method and not each.countries.isdisjoint({"*", country}):
                here = each.places(self.locations)
                found[each.carrier] = found.get(each.carrier, np.zeros_like(here)) | here
        return found
