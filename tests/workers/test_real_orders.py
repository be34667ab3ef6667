"""The ready-made rules on real orders, where these lie beside the project."""

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from workers import cli, example_rules

REAL = Path(__file__).parents[3] / "shared" / "data"
ORDERS = 60


def by_rules(tmp_path: Path, *names: str) -> dict[str, Any]:
    """Try ready-made rules on the first of the orders; what is measured, by name."""
    words = ["routing", "simulate", "--json"]
    for name in names:
        rules = tmp_path / f"{name}.yaml"
        rules.write_text(example_rules.text(name))
        words += ["--rules", str(rules)]
    with gzip.open(REAL / "orders.jsonl.gz", "rt") as all_orders:
        orders = tmp_path / "orders.jsonl"
        orders.write_text("".join(islice(all_orders, ORDERS)))
    words += ["--orders", str(orders), "--postal-codes", str(REAL / "postal_codes.csv.gz")]
    for option, name in (("locations", "jsonl"), ("products", "jsonl"), ("stock", "csv")):
        words += [f"--{option}", str(REAL / f"{option}.{name}.gz")]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return dict(zip(names, found["measured"], strict=True))


if REAL.is_dir():  # not part of the project

    def test_each_ready_made_rule_set_is_best_at_what_it_is_for(tmp_path: Path) -> None:
        found = by_rules(tmp_path, "fewest-parcels", "lowest-cost", "nearest")

        for each in found.values():
            assert each["orders"] == each["served_orders"] + each["refused"] == ORDERS
            assert each["served_units"] + each["refused_units"] == each["units"]
            assert each["exact"] == ORDERS
        counts = {
            "fewest-parcels": {name: each["parcels"] for name, each in found.items()},
            "lowest-cost": {name: each["costs"]["total_minor"] for name, each in found.items()},
            "nearest": {name: each["mean_km"] for name, each in found.items()},
        }
        for name, by_name in counts.items():
            assert min(by_name, key=lambda each: by_name[each]) == name
