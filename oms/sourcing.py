"""What a decision about an order is made of: what is wanted, what lies where, what came of it.

`oms.router` decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oms.locations import Flags, Ints, Locations
from oms.reasons import Record


@dataclass(frozen=True, slots=True)
class Demand:
    """Units of one order line to serve. `not_from`: places that turned this line down.

    Lines may name the same SKU; what turned down one of them gives none of that SKU to the others.
    `tags`: of the article. `kit`: lines of the same one are served together. `price_minor`: of a
    unit, in the order's currency.
    """

    line: int
    sku: str
    quantity: int
    not_from: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    kit: str | None = None
    weight_g: int = 0
    price_minor: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """An order as rules look at it. `value_minor`: of its goods, in `currency`.

    It is None where nobody has said; then no rule about values fits. `country` and `point` (degrees
    north and east): where the goods go.
    """

    channel: str = ""
    method: str = "home"
    country: str | None = None
    segment: str | None = None
    currency: str | None = None
    value_minor: int | None = 0
    point: tuple[float, float] | None = None
    allow_split: bool = True


class Article(NamedTuple):
    """What rules look at beside an order's line."""

    tags: frozenset[str]
    weight_g: int


class Levels(NamedTuple):
    """What explains that a shelf gives nothing; shapes (places, skus). `taken`: held by others."""

    on_hand: Ints
    taken: Ints
    safety: Ints
    blocked: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Shelves:
    """What lies where of the articles asked for, at one moment. Rows: locations.

    Attributes:
        locations: All of them.
        skus: The columns.
        available: What the order could have, were the place chosen; shape (places, skus).
        at_most: What the order may take at most, where less than `available`: to weigh a plan by
            what it took. Costs and what is kept go by `available`.
        shut: Why a place may not serve the order at all (`oms.reasons.Code`), the empty text
            where it may; shape (places,).
        buffer: Units of each article that the channel leaves there, not in `available`.
        levels: What is told of shelves that give nothing; None where nobody is told.
        metres: Distances, where they are known otherwise than by coordinates.
        load: Orders given to each place today, where the rules ask for it.
        days: Days until the customer has it, where the rules ask for it.
        goods: What a unit costs there in mills of the rule set's currency, -1 where unknown;
            shape (places, skus), where the rules ask for it.
        carriers: Which places each carrier fetches from for this order, where the rules ask.
    """

    locations: Locations
    skus: tuple[str, ...]
    available: Ints
    shut: NDArray[np.str_]
    buffer: Ints
    at_most: Ints | None = None
    levels: Levels | None = None
    metres: Ints | None = None
    load: Ints | None = None
    days: Ints | None = None
    goods: Ints | None = None
    carriers: Mapping[str, Flags] = field(default_factory=dict)

    def metres_from(self, point: tuple[float, float] | None) -> Ints:
        """How far each place is from where the goods go."""
        return self.locations.metres_from(point) if self.metres is None else self.metres

    def carried_by(self, carriers: Iterable[str]) -> Flags:
        """The places that one of the carriers fetches from."""
        found = np.zeros(len(self.locations), dtype=np.bool_)
        for carrier in carriers:
            found |= self.carriers.get(carrier, False)
        return found


@dataclass(frozen=True, slots=True, order=True)
class Pick:
    """Units of one line from one place. `keep`: so many of the article the rule leaves there."""

    line: int
    location: str
    quantity: int
    sku: str
    keep: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Missing:
    """A line that cannot be served whole.

    `missing` of its `wanted` units have no place; `available` is what the candidates hold of the
    SKU altogether (in one place, where the order must not be split).
    """

    line: int
    sku: str
    wanted: int
    missing: int
    available: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Who gives what, sorted by line, nearer places first. `exact`: proven to be the best."""

    picks: tuple[Pick, ...]
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan for what can be served, what is left, and why.

    `then`: what the rules say of a line that is left: `backorder` or `cancel`; a line without goes
    as its order wishes. `key`: what plans of the same order are compared by, the least is best.
    `by`: units that each rule served, by its name. `record` is None where nobody is told.
    """

    plan: Plan
    left: tuple[Missing, ...] = ()
    then: Mapping[int, str] = field(default_factory=dict)
    key: tuple[tuple[int, ...], ...] = ()
    by: Mapping[str, int] = field(default_factory=dict)
    record: Record | None = None
