"""How returns are shown in a terminal: where they stand, what arrived, what is waited for.

Everything here takes the API's own JSON and gives what `rich` prints. Only numbers, goods, places
and amounts are shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from oms.money import format_money
from workers.order_views import moment, status

Json = Mapping[str, Any]

_UNITS = ("quantity", "missing", "received", "accepted", "rejected", "settled")


def returns_view(returns: Sequence[Json]) -> RenderableType:
    """List returns, newest first."""
    if not returns:
        return Text("No such return.", "dim")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("return", "kind", "status", "via", "at", "lines", "asked for", "refund"):
        table.add_column(column, justify="right" if column == "refund" else "left")
    for back in returns:
        table.add_row(
            back["id"],
            back["kind"],
            status(back["status"]),
            back["via"].replace("_", " "),
            back["location"] or "",
            ", ".join(f"{line['quantity']} x {line['sku']}" for line in back["lines"]),
            moment(back["requested_at"]),
            format_money(back["refund_minor"], back["currency"]),
        )
    return table


def return_view(back: Json) -> RenderableType:
    """Show what a return is now: how far, units, where they lie, money, parcels."""
    parts: list[RenderableType] = [_heading(back), _lines(back)]
    if back["lots"]:
        parts += [Text("\nWhat arrived", "bold"), _lots(back["lots"])]
    if back["parcels"]:
        parts += [Text("\nParcels", "bold"), _parcels(back)]
    return Group(*parts)


def reckoning_view(words: Sequence[str]) -> RenderableType:
    """Show why a return gives back what it does; nothing where that is not told."""
    if not words:
        return Group()
    return Group(Text("\nWhy this much", "bold"), *(Text(f"  {each}") for each in words))


def _heading(back: Json) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row("status", status(back["status"]))
    via = "nothing is sent back" if back["via"] == "none" else back["via"].replace("_", " ")
    grid.add_row("kind", f"{back['kind']}, {via}")
    if back["location"]:
        grid.add_row("expected at", back["location"])
    grid.add_row("wanted", back["resolution"])
    grid.add_row("told", format_money(back["refund_minor"], back["currency"]))
    for entry in back["refunds"]:
        amount = format_money(entry["amount_minor"], entry["currency"])
        grid.add_row("refund", Text.assemble(f"{amount}  ", status(entry["status"])))
    if back["exchange_order"]:
        grid.add_row("exchange", back["exchange_order"])
    if back["travels_with"]:
        grid.add_row("travels with", back["travels_with"])
    grid.add_row("asked for", moment(back["requested_at"]))
    if back["expires_at"] and back["status"] in ("requested", "approved"):
        grid.add_row("expires", moment(back["expires_at"]))
    if back["closed_at"]:
        grid.add_row("closed", moment(back["closed_at"]))
    return Panel(grid, title=f"Return {back['id']}", title_align="left", expand=False)


def _lines(back: Json) -> RenderableType:
    lines, exchanged = back["lines"], back["resolution"] == "exchange"
    used = [name for name in _UNITS if any(line[name] for line in lines)]
    words = {"quantity": "announced", "settled": "exchanged" if exchanged else "given back"}
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("line", justify="right")
    table.add_column("sku")
    if exchanged:
        table.add_column("for")
    table.add_column("reason")
    for name in used:
        table.add_column(words.get(name, name), justify="right")
    for line in lines:
        counts = (str(line[name] or "") for name in used)
        wanted = (line["exchange_sku"] or line["sku"],) if exchanged else ()
        table.add_row(str(line["line"]), line["sku"], *wanted, line["reason"], *counts)
    return table


def _lots(lots: Sequence[Json]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("line", "units", "condition", "at", "stands", "goes", "why"):
        table.add_column(column)
    for lot in lots:
        table.add_row(
            str(lot["line"]),
            f"{lot['quantity']} x {lot['sku']}",
            lot["condition"],
            lot["location"],
            status(lot["state"]),
            (lot["disposition"] or "").replace("_", " "),
            Text(lot["why"] or "", "dim"),
        )
    return table


def _parcels(back: Json) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for parcel in back["parcels"]:
        table.add_row(
            parcel["id"].removeprefix(f"{back['id']}-"),
            "to the customer" if parcel["direction"] == "out" else "",
            status(parcel["status"]),
            parcel["carrier"] or "",
            parcel["tracking_number"] or "(no label yet)",
        )
    return table
