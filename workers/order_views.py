"""How an order is shown in a terminal: its parts as tables, its life as a coloured list.

Everything here takes the API's own JSON and gives what `rich` prints. Only numbers, goods, places
and amounts are shown; the customer's name and address never are.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from oms.money import format_money

Json = Mapping[str, Any]

BUCKETS = (
    "ordered", "cancelled", "reserved", "backordered", "allocated", "picked", "shipped",
    "delivered", "returned", "refunded",
)  # fmt: skip

_GOOD, _BAD, _BUSY = "green", "red", "yellow"
_STYLES = {
    "completed": _GOOD, "delivered": _GOOD, "paid": _GOOD, "fulfilled": _GOOD, "closed": _GOOD,
    "accepted": _GOOD, "authorized": "cyan", "open": _BUSY, "pending": _BUSY,
    "in_progress": _BUSY, "partially_paid": _BUSY, "partially_fulfilled": _BUSY,
    "unfulfilled": _BUSY, "requested": _BUSY, "on_hold": "magenta", "cancelled": _BAD,
    "voided": _BAD, "lost": _BAD, "damaged": _BAD, "rejected": _BAD, "expired": _BAD,
    "returned_to_sender": _BAD, "approved": _BUSY, "in_transit": _BUSY, "received": _BUSY,
    "partially_received": _BUSY, "inspected": _BUSY, "placed": _GOOD, "succeeded": _GOOD,
    "declined": _BAD, "failed": _BAD, "unknown": _BUSY, "left": "dim",
}  # fmt: skip
_KINDS = {
    "order": "bold", "payment": "cyan", "refund": "cyan", "fulfillment_order": "yellow",
    "shipment": "blue", "attention": "bold red", "stock": "magenta",
    "return": "green",
}  # fmt: skip


def order_view(order: Json) -> RenderableType:
    """Show what an order is now: statuses, lines by bucket, money, parcels."""
    parts: list[RenderableType] = [_heading(order), _lines(order["lines"]), _money(order)]
    if order.get("fulfillment_orders"):
        parts.append(_fulfillment(order["number"], order["fulfillment_orders"]))
    return Group(*parts)


def timeline_view(events: Sequence[Json], *, title: str = "Timeline") -> RenderableType:
    """Show what happened to an order, oldest first, each with the time since the first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("after", justify="right", style="dim", no_wrap=True)
    table.add_column("who", style="dim", no_wrap=True)
    table.add_column("what happened")
    first = _time(events[0]["at"]) if events else None
    for event in events:
        since = _time(event["at"]) - first if first else timedelta()
        style = _KINDS.get(event["kind"].partition(".")[0], "")
        table.add_row(_span(since), event["actor"], Text(event["summary"], style))
    return Group(Text(title, "bold"), table)


def explain_view(number: str, waits: Sequence[Json], routing: Sequence[str] = ()) -> RenderableType:
    """Show what an order waits for, what an operator may do, and why it is served from there."""
    parts = [_wait(wait) for wait in waits]
    if not waits:
        parts = [Text(f"{number} waits for nothing: it is closed.", _GOOD)]
    if routing:
        parts += [Text("\nWhy from there", "bold"), *(Text(f"  {words}") for words in routing)]
    return Group(*parts)


def status(word: str | None) -> Text:
    """Colour one status by whether it is good, bad or still going on."""
    return Text(word or "-", _STYLES.get(word or "", ""))


def _heading(order: Json) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row("status", status(order["status"]))
    if refusal := order.get("refusal"):
        grid.add_row("refused", Text(f"{refusal['code']}: {refusal['detail']}", _BAD))
    grid.add_row("payment", status(order["payment_status"]))
    grid.add_row("fulfillment", status(order["fulfillment_status"]))
    if order["return_status"] != "none":
        grid.add_row("returns", status(order["return_status"]))
    for back in order.get("returns") or ():
        grid.add_row(back["kind"], Text.assemble(f"{back['id']}  ", status(back["status"])))
    grid.add_row("channel", f"{order['channel']}, reference {order['reference']}")
    if promise := order.get("promise"):
        grid.add_row("promised by", moment(promise["by"]) if promise["by"] else "no date yet")
        if promise.get("status", "kept") != "kept":
            grid.add_row("promise", promise["status"].replace("_", " "))
    for hold in order.get("holds") or ():
        if hold["released_at"] is None:
            since = moment(hold["placed_at"])
            grid.add_row("held", Text(f"{hold['reason']} since {since}", "magenta"))
    return Panel(grid, title=f"Order {order['number']}", title_align="left", expand=False)


def _lines(lines: Sequence[Json]) -> RenderableType:
    used = [bucket for bucket in BUCKETS if any(line.get(bucket) for line in lines)]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("line", justify="right")
    table.add_column("sku")
    for bucket in used:
        table.add_column(bucket, justify="right", style=_STYLES.get(bucket, ""))
    for line in lines:
        counts = (str(line[bucket] or "") for bucket in used)
        table.add_row(str(line["line"]), line["sku"], *counts)
    return table


def _money(order: Json) -> RenderableType:
    currency, payments = order["currency"], order["payments"]
    parts = [f"total {format_money(order['total_minor'], currency)}"]
    parts += [
        f"{what} {format_money(payments[f'{what}_minor'], currency)}"
        for what in ("authorized", "captured", "voided", "refunded")
        if payments.get(f"{what}_minor")
    ]
    return Text(" · ".join(parts) + "\n")


def _fulfillment(number: str, fulfillment_orders: Sequence[Json]) -> RenderableType:
    """List the parts and their parcels; the order's number before each id is left out."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("part", "location", "status", "answer", "line: units", "tracking"):
        table.add_column(column)
    for part in fulfillment_orders:
        table.add_row(
            part["id"].removeprefix(f"{number}-"),
            part["location"],
            status(part["status"]),
            status(part["cancellation"] or part["request"]),
            _units(part["lines"]),
            f"pickup code {part['pickup_code']}" if part.get("pickup_code") else "",
        )
        for parcel in part["shipments"]:
            table.add_row(
                f"  {parcel['id'].removeprefix(f'{number}-')}",
                "",
                status(parcel["status"]),
                "",
                _units(parcel["lines"]),
                parcel["tracking_number"] or "(no label yet)",
            )
    return table


def _units(lines: Sequence[Json]) -> str:
    return ", ".join(f"{line['line']}: {line['quantity']}" for line in lines)


def _wait(wait: Json) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    if wait.get("step"):
        grid.add_row("parked step", Text(wait["step"], "bold red"))
    for name in ("since", "until"):
        if wait.get(name):
            grid.add_row(name, moment(wait[name]))
    if wait.get("then"):
        grid.add_row("then", str(wait["then"]))
    if wait.get("last_error"):
        grid.add_row("last error", Text(str(wait["last_error"]), _BAD))
    for number, action in enumerate(wait.get("actions") or ()):
        grid.add_row(
            "" if number else "you may",
            Text.assemble((action["action"], "bold"), f"  {action['method']} {action['path']}"),
        )
    return Panel(grid, title=str(wait["waiting_for"]), title_align="left", expand=False)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def moment(text: str) -> str:
    """Write a time so that it can be read aloud; all times are UTC."""
    return _time(text).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(since: timedelta) -> str:
    """Write a stretch of time in its two largest units, or in tenths of a second."""
    seconds = since.total_seconds()
    if seconds < 120:
        return f"+{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"+{days} d {hours} h"
    return f"+{hours} h {minutes} min" if hours else f"+{minutes} min {seconds} s"
