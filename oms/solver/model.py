"""What is asked and what is answered, and the form the mathematics works on."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

# The systems of equations are small. Threads of the linear algebra only wait for each other then:
# fifteen times as long on a busy machine.
threadpool_limits(1, user_api="blas")

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

BEYOND = 2**62
"""More than any plan costs: the caller promises totals below 2**61."""

NOWHERE = -1
_MOST_BITS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is wanted, and what each place can give at what cost.

    Places come in the order that breaks ties. All costs are integers of one unit; the caller
    promises that no plan's total, of either sign, reaches 2**61.

    Attributes:
        wanted: Units of each item, at least 1; shape (items,).
        stock: Units each place can give, at least 0; shape (places, items).
        fixed: Cost as soon as a place sends anything, at least 0; shape (places,).
        unit: Cost of one unit, of either sign; shape (places, items).
        divide: Whether units of the item may come from several places; shape (items,). An item
            that may not is served whole by one place, or not at all.
        most_places: At most so many places send; None for any number.
        opened: Places that send anyway: they have no fixed cost and are not counted in
            `most_places`; shape (places,). None for none.
    """

    wanted: Ints
    stock: Ints
    fixed: Ints
    unit: Ints
    divide: Flags
    most_places: int | None = None
    opened: Flags | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A plan that can be carried out, and how good it is.

    Attributes:
        units: What each place gives; shape (places, items).
        unserved: Units of each item that no place gives; shape (items,).
        cost: Fixed and unit costs of the plan.
        bound: No plan that serves as many units costs less.
        exact: The plan is proven the best: it serves the most units, and `cost == bound`.
    """

    units: Ints
    unserved: Ints
    cost: int
    bound: int
    exact: bool

    def gives(self) -> list[tuple[int, int, int]]:
        """What is sent as (place, item, units), sorted; units at least 1."""
        places, items = np.nonzero(self.units)
        found = zip(places, items, self.units[places, items], strict=True)
        return [(int(place), int(item), int(units)) for place, item, units in found]


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """A problem without what cannot matter, every wanted unit of which can be served.

    An item that is served whole (or of which every place has all or nothing) counts as one unit.
    Costs of units are what they cost more than the cheapest place's: `base` is the rest.

    Attributes:
        wanted: Units of each item, at least 1; shape (items,).
        weight: How many units of the problem one unit is; shape (items,).
        cap: Units each row can give, at most `wanted`; shape (rows, items).
        cost: Of a unit, at least 0, and 0 where there is none; shape (rows, items).
        fixed: At least 0, and 0 for rows that send anyway; shape (rows,).
        sends: Rows that send anyway and are not counted; shape (rows,).
        places: The place of each row, ascending; NOWHERE for the row of what nobody serves.
        cheapest: Of a unit at the place where it costs least; shape (items,).
        step: All costs are multiples of it.
        most: At most so many rows that do not send anyway; None for any number.
        lost: Cost of each unit of the problem nobody serves; 0 where all are served.
        shift: Bits that all costs lack at the end, rounded down.
    """

    wanted: Ints
    weight: Ints
    cap: Ints
    cost: Ints
    fixed: Ints
    sends: Flags
    places: Ints
    cheapest: Ints
    step: int
    most: int | None = None
    lost: int = 0
    shift: int = 0

    @property
    def base(self) -> int:
        """What every plan costs on top of the costs here."""
        return int(self.cheapest @ self.wanted)

    def only(self, rows: Ints | Flags) -> "Core":
        """The same with these rows alone."""
        return replace(
            self,
            cap=self.cap[rows],
            cost=self.cost[rows],
            fixed=self.fixed[rows],
            sends=self.sends[rows],
            places=self.places[rows],
        )


def reduced(problem: Problem) -> Core:
    """The problem where any number of places may send, so that all that is there is served."""
    opened = np.zeros(len(problem.fixed), np.bool_) if problem.opened is None else problem.opened
    cap = np.minimum(problem.stock, problem.wanted)
    cap[:, ~problem.divide] *= cap[:, ~problem.divide] == problem.wanted[~problem.divide]
    wanted = np.minimum(problem.wanted, cap.sum(axis=0))
    rows = np.flatnonzero(cap.any(axis=1))
    items = np.array(_canonical(problem, np.flatnonzero(wanted)), np.int64)
    wanted, cap = wanted[items], np.minimum(cap[np.ix_(rows, items)], wanted[items])
    # What every place has all or nothing of counts as one unit.
    whole = ((cap == wanted) | (cap == 0)).all(axis=0)
    weight = np.where(whole, wanted, 1)
    cap //= weight
    cost = problem.unit[np.ix_(rows, items)] * weight
    cheapest = np.where(cap > 0, cost, BEYOND).min(axis=0, initial=BEYOND)
    cost = np.where(cap > 0, cost - cheapest, 0)
    fixed = np.where(opened[rows], 0, problem.fixed[rows])
    return Core(
        wanted=wanted // weight,
        weight=weight,
        cap=cap,
        cost=cost,
        fixed=fixed,
        sends=opened[rows],
        places=rows,
        cheapest=cheapest,
        step=_step(fixed, cost),
    )


def limited(core: Core, most: int) -> Core:
    """The same with at most so many places: a last row takes what nobody serves, very dearly.

    Costs of which the dearness would not fit 64 bits lose their last bits (`shift`).
    """
    dearest = core.cheapest + core.cost.max(axis=0, initial=0)
    fixed = int(np.sort(core.fixed)[::-1][:most].sum())
    highest = fixed + int(np.maximum(dearest, 0) @ core.wanted)
    lowest = int(np.minimum(core.cheapest, 0) @ core.wanted)
    units = int(core.wanted @ core.weight)
    over = ((highest - lowest + core.step) * (units + 2)) >> _MOST_BITS
    if over:
        shift = over.bit_length() + 1
        costs = {name: getattr(core, name) >> shift for name in ("fixed", "cost", "cheapest")}
        return limited(replace(core, **costs, step=1, shift=core.shift + shift), most)
    lost = -(-(highest - lowest + 1) // core.step) * core.step
    cost = np.vstack([core.cost, lost * core.weight - core.cheapest])
    return replace(
        core,
        cap=np.vstack([core.cap, core.wanted]),
        cost=cost,
        fixed=np.append(core.fixed, 0),
        sends=np.append(core.sends, True),
        places=np.append(core.places, NOWHERE),
        step=_step(core.fixed, cost),
        most=most,
        lost=lost,
    )


def _step(fixed: Ints, cost: Ints) -> int:
    return max(1, int(np.gcd(np.gcd.reduce(fixed), np.gcd.reduce(cost, axis=None))))


def _canonical(problem: Problem, items: Ints) -> list[int]:
    """The items in an order that does not depend on how they were given."""

    def content(item: int) -> tuple[int, bool, bytes, bytes]:
        unit, stock = problem.unit[:, item], problem.stock[:, item]
        return problem.wanted[item], problem.divide[item], unit.tobytes(), stock.tobytes()

    return sorted((int(item) for item in items), key=content)
