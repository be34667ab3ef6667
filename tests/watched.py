"""What watches the product: the alert rules and the dashboard, as they lie in `deploy`."""

import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/oms.json"

_METRIC = re.compile(r"\b(?:oms|temporal|process|python)_[a-z0-9_]+\b")


class Watched(NamedTuple):
    """A file of queries, and the metrics they ask for; those of Prometheus itself left out."""

    name: str
    metrics: frozenset[str]


def alert_names() -> list[str]:
    """The alerts, in the order of their file."""
    return re.findall(r"^ +- alert: (\w+)$", ALERTS.read_text(), re.MULTILINE)


def alert_queries() -> list[str]:
    """The expressions of the alert rules, each on one line or folded below `expr: >-`."""
    text = ALERTS.read_text()
    return re.findall(r"^ +expr: (?:>-\n)?((?:.|\n)*?)(?=^ +(?:for|labels):)", text, re.MULTILINE)


def dashboard_queries() -> list[str]:
    """Every query of the dashboard's panels and variables."""
    board = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def metrics_in(queries: list[str]) -> frozenset[str]:
    """The names of metrics in these queries."""
    return frozenset(name for query in queries for name in _METRIC.findall(query))


def watched() -> list[Watched]:
    """All that asks for metrics."""
    return [
        Watched("alerts", metrics_in(alert_queries())),
        Watched("dashboard", metrics_in(dashboard_queries())),
    ]
