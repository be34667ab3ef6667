"""How the report of what comes back is shown in a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oms.money import format_money

Json = Mapping[str, Any]

_HEADINGS = {
    "sku": "article", "reason": "reason", "location": "handed over by", "condition": "condition",
    "channel": "channel",
}  # fmt: skip
_BAR = 24
_HIGH, _NOTABLE = 20, 10
"""Percent, by which a row is red or yellow."""


def report_view(report: Json) -> RenderableType:
    """Show each row with a bar that is as long as its rate, the longest one full."""
    title = f"Returns of what was handed over from {report['from'][:10]} to {report['to'][:10]}"
    if not report["data"]:
        return Group(Text(title, "bold"), Text("Nothing came back.", "green"))
    most = max(row["rate_percent"] for row in report["data"])
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(_HEADINGS[report["by"]])
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for column in ("sold", "announced", "returned", "accepted", "refused", "given back"):
        table.add_column(column, justify="right")
    apart = [name for name in ("claimed", "undelivered") if any(r[name] for r in report["data"])]
    for column in apart:
        table.add_column(column, justify="right", style="dim")
    for row in report["data"]:
        style = _style(row["rate_percent"])
        table.add_row(
            Text(row["key"]),
            Text(f"{row['rate_percent']:.1f} %", style),
            Text(_bar(row["rate_percent"], most), style),
            *(_count(row[name]) for name in ("sold", "announced", "returned", "accepted")),
            Text(_count(row["refused"]), "red"),
            _money(row),
            *(_count(row[name]) for name in apart),
        )
    return Group(Text(title, "bold"), table)


def _style(rate: float) -> str:
    return "red" if rate >= _HIGH else "yellow" if rate >= _NOTABLE else "green"


def _bar(rate: float, most: float) -> str:
    return "█" * max(1, round(_BAR * rate / most)) if rate else ""


def _count(units: int) -> str:
    return str(units or "")


def _money(row: Json) -> str:
    amount = row["refunded_minor"]
    return format_money(amount, row["currency"]) if amount else ""
