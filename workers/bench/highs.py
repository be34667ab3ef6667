"""HiGHS as a referee: the same orders, planned by somebody else's solver of integer programs.

The only module that imports highspy, which the extra `solvers` brings. The model is the strong form
of the facility-location problem: each unit of a place is linked to the place by a row of its own
(`x <= min(stock, wanted) * y`; Balinski, "Integer programming: methods, uses, computation",
Management Science 12, 1965), several orders share rows of stock.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from oms.together import Wish

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_Gives = tuple[Ints, Ints, Ints]
"""Places and items that may meet, and how many units at most; a row for each pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What HiGHS says.

    Attributes:
        solved: It proved its answer within the time given.
        bound: No plan costs less, as far as floats can say.
        units: What each place gives to each order; shape (places, items). None without a plan.
        seconds: Taking the model in, and solving it; not our building of it.
    """

    solved: bool
    bound: float
    units: list[Ints] | None
    seconds: float


def plan(
    wishes: Sequence[Wish],
    stock: Ints,
    *,
    times: Sequence[int] | None = None,
    whole: bool = True,
    seconds: float = 60,
) -> Found:
    """Serve all orders whole from one stock, at the least cost of them all.

    Args:
        wishes: The orders; their items may be divided, and any number of places may send.
        stock: Units of each article at each place; shape (places, articles). Enough for all.
        times: How often each order comes; more than once only where `whole` is False.
        whole: Places send or do not. False lets them send by halves: the bound of the linear
            program, which is quick.
        seconds: After so long the best found so far is given.
    """
    assert not whole or times is None, "an order that comes twice is two orders"
    model, gives = _model(wishes, stock, times or [1] * len(wishes), whole=whole)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # of theirs
    options = {"output_flag": False, "threads": 1, "time_limit": seconds, "mip_rel_gap": 0.0}
    for name, value in options.items():
        solver.setOptionValue(name, value)
    began = time.perf_counter()
    solver.passModel(model)
    solver.run()
    took = time.perf_counter() - began
    solved = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    info = solver.getInfo()
    units = None
    if whole and info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        values = np.rint(solver.getSolution().col_value).astype(np.int64)
        units = _units(values[len(wishes) * len(stock) :], wishes, gives, len(stock))
    bound = info.mip_dual_bound if whole else info.objective_function_value
    return Found(solved, bound, units, took)


def _units(values: Ints, wishes: Sequence[Wish], gives: list[_Gives], places: int) -> list[Ints]:
    """What it lets each place give; with whole places the units come out whole too."""
    found, first = [], 0
    for wish, (place, item, _) in zip(wishes, gives, strict=True):
        units = np.zeros((places, len(wish.wanted)), np.int64)
        units[place, item] = values[first : first + len(place)]
        assert (units.sum(axis=0) == wish.wanted).all(), "every order is served whole"
        found.append(units)
        first += len(place)
    return found


def _model(
    wishes: Sequence[Wish], stock: Ints, times: Sequence[int], *, whole: bool
) -> tuple[highspy.HighsLp, list[_Gives]]:
    """Columns: who sends, an order after the other; then what each gives of each item."""
    places, articles = stock.shape
    opens = len(wishes) * places
    gives = [_gives(wish, stock) for wish in wishes]
    order = np.repeat(np.arange(len(wishes)), [len(given[0]) for given in gives])
    place, item, most = (np.concatenate(part) for part in zip(*gives, strict=True))
    often = np.asarray(times, np.float64)
    first_item = np.cumsum([0, *(len(wish.wanted) for wish in wishes)])
    item_row = first_item[order] + item
    article = np.concatenate([wish.articles for wish in wishes])[item_row]
    columns = opens + np.arange(len(place))
    wanted = np.concatenate([w.wanted * t for w, t in zip(wishes, times, strict=True)])

    links = first_item[-1] + np.arange(len(place))
    shared = links[-1] + 1 + place * articles + article
    ones = np.ones(len(place))
    rows = np.concatenate([item_row, links, links, shared])
    cols = np.concatenate([columns, order * places + place, columns, columns])
    values = np.concatenate([ones, -most.astype(np.float64), ones, ones])
    sort = np.lexsort((rows, cols))

    model = highspy.HighsLp()
    model.num_col_ = opens + len(place)
    model.num_row_ = int(first_item[-1] + len(place) + stock.size)
    unit = np.concatenate([w.unit[g[0], g[1]] for w, g in zip(wishes, gives, strict=True)])
    model.col_cost_ = np.concatenate([*(w.fixed for w in wishes), unit]).astype(np.float64)
    model.col_lower_ = np.zeros(model.num_col_)
    model.col_upper_ = np.concatenate([np.repeat(often, places), most * often[order]])
    least = np.full(len(place) + stock.size, -highspy.kHighsInf)
    model.row_lower_ = np.concatenate([wanted, least])
    model.row_upper_ = np.concatenate([wanted, np.zeros(len(place)), stock.ravel()])
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(cols[sort], np.arange(model.num_col_ + 1))
    model.a_matrix_.index_ = rows[sort]
    model.a_matrix_.value_ = values[sort]
    if whole:
        kinds = highspy.HighsVarType
        model.integrality_ = [kinds.kInteger] * opens + [kinds.kContinuous] * len(place)
    return model, gives


def _gives(wish: Wish, stock: Ints) -> _Gives:
    most = np.minimum(stock[:, wish.articles], wish.wanted)
    place, item = np.nonzero(most)
    return place, item, most[place, item]
