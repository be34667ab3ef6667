"""`oms bench routing` measures what it says, and its referee knows the rules."""

import json
from pathlib import Path

from typer.testing import CliRunner

from oms.solver import solve
from workers.bench.command import app
from workers.bench.highs import plan
from workers.bench.routing import Case, RoutingBench, RoutingRun, as_wish, cost_of, some_order


def test_every_size_is_measured_and_highs_finds_the_same_costs() -> None:
    run = RoutingRun(lines=[1, 3], locations=[4, 6], repeat=8, highs=plan)
    found = run.measure()

    assert [(case.lines, case.locations) for case in found.cases] == [
        (1, 4),
        (1, 6),
        (3, 4),
        (3, 6),
    ]
    for case in found.cases:
        assert (case.optimal_share, case.bound_gap, case.differ) == (1, 0, 0)
        assert (case.highs_cases, case.highs_solved) == (8, 8)
        assert case.highs_p50_ms is not None
        assert 0 < case.p50_ms <= case.p99_ms


def test_an_order_drawn_again_is_the_same_and_can_be_served_whole() -> None:
    for lines, locations in ((1, 9), (5, 10), (50, 3)):
        one, again = (some_order(lines, locations, 7) for _ in range(2))
        assert (one.stock == again.stock).all()
        assert (one.stock.sum(axis=0) >= one.wanted).all()
        assert one.wanted.min() >= 1
        assert not (one.stock == some_order(lines, locations, 8).stock).all()


def test_what_a_plan_costs_is_counted_to_the_mill() -> None:
    order = some_order(3, 6, 1)
    found = solve(order)
    theirs = plan([as_wish(order)], order.stock).units

    assert theirs is not None
    assert cost_of(order, found.units) == cost_of(order, theirs[0]) == found.cost


def test_halves_of_places_cost_no_more_than_whole_ones() -> None:
    order = some_order(3, 8, 2)
    whole = plan([as_wish(order)], order.stock)
    halves = plan([as_wish(order)], order.stock, whole=False)

    assert whole.solved
    assert halves.solved
    assert halves.bound <= whole.bound + 0.5


def test_the_figures_are_printed_as_json_or_written_to_a_file(tmp_path: Path) -> None:
    short = ["routing", "--lines", "1,2", "--locations", "3", "--repeat", "2", "--json"]
    printed = CliRunner().invoke(app, [*short, "--no-highs"])
    written = CliRunner().invoke(app, [*short, str(tmp_path / "figures.json")])

    assert printed.exit_code == written.exit_code == 0
    names = set(Case.model_fields)
    assert [set(case) for case in json.loads(printed.stdout)["cases"]] == [names, names]
    figures = RoutingBench.model_validate_json((tmp_path / "figures.json").read_bytes())
    assert [case.highs_cases for case in figures.cases] == [2, 2]


def test_a_size_that_is_no_number_is_refused() -> None:
    assert CliRunner().invoke(app, ["routing", "--lines", "1,many"]).exit_code == 2
