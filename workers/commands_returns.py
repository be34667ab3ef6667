"""`oms returns`: what comes back, what it waits for, and how much it is of what was sold.

Commands leave 0 when done, 1 when the API refused, 3 when there is no API to ask.
"""

import csv
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from workers import commands_return_policy
from workers.asking import (
    ApiKey,
    ApiUrl,
    AsJson,
    Json,
    ask_api,
    print_answer,
    with_timeline,
)
from workers.order_views import explain_view, timeline_view
from workers.return_report_views import report_view
from workers.return_views import reckoning_view, return_view, returns_view

app = typer.Typer(help="What comes back, how much of it, and by which rules.")
app.add_typer(commands_return_policy.app, name="policy")

RETURNS, REPORT = "/v1/returns", "/v1/reports/returns"
MOST_LISTED = 100

Id = Annotated[str, typer.Argument(help="The return's id, e.g. K3M9-QXZ4-7-R1.")]


class By(StrEnum):
    """What a report's rows are."""

    SKU = "sku"
    REASON = "reason"
    LOCATION = "location"
    CONDITION = "condition"
    CHANNEL = "channel"


@app.command("list")
def list_returns(
    *,
    order: Annotated[str | None, typer.Option(help="Only of this order.")] = None,
    status: Annotated[str | None, typer.Option(help="Only these, e.g. received.")] = None,
    location: Annotated[str | None, typer.Option(help="Expected or arrived there.")] = None,
    kind: Annotated[str | None, typer.Option(help="return, claim or undeliverable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="How many.")] = 25,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List returns, newest first."""
    names = {"order": order, "status": status, "location": location, "kind": kind}
    asked = {name: value for name, value in names.items() if value is not None}
    found = ask_api(lambda api: api.get(RETURNS, limit=limit, **asked), api_url, api_key)
    print_answer(found, as_json, returns_view(found["data"]))


@app.command()
def show(id: Id, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show a return: how far it is, what arrived, where it lies, money, what happened."""
    path = _path(id)
    found = ask_api(lambda api: with_timeline(api, path, "return"), api_url, api_key)
    print_answer(found, as_json, return_view(found["return"]), timeline_view(found["timeline"]))


@app.command()
def explain(
    id: Id, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Say what a return waits for, until when, what then, and why it gives back what it does."""
    found = ask_api(lambda api: api.get(f"{_path(id)}/explain"), api_url, api_key)
    why = reckoning_view(found.get("refund", ()))
    print_answer(found, as_json, explain_view(id, found["data"]), why)


@app.command()
def report(
    *,
    by: Annotated[By, typer.Option(help="What the rows are.")] = By.SKU,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=["%Y-%m-%d"], help="First day of the sales (UTC); else 90 days ago."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            "--to", formats=["%Y-%m-%d"], help="The day after the last (UTC); else up to now."
        ),
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Only what this channel sold.")] = None,
    location: Annotated[str | None, typer.Option(help="Only what this place handed over.")] = None,
    min_sold: Annotated[int, typer.Option(min=1, help="Leave out what was sold less.")] = 1,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Rows.")] = 25,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets.")] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what comes back most, of what was handed over in a period."""
    if as_csv and as_json:
        raise typer.BadParameter("--csv or --json, not both")
    asked: dict[str, str | int] = {"by": by.value, "min_sold": min_sold, "limit": limit}
    days = {"from": since, "to": until}
    asked |= {name: _moment(day) for name, day in days.items() if day is not None}
    names = {"channel": channel, "location": location}
    asked |= {name: value for name, value in names.items() if value is not None}
    found = ask_api(lambda api: api.get(REPORT, **asked), api_url, api_key)
    if as_csv:
        _write_csv(found["data"])
    else:
        print_answer(found, as_json, report_view(found))


def _path(id: str) -> str:
    return f"{RETURNS}/{quote(id, safe='')}"


def _moment(day: datetime) -> str:
    return day.replace(tzinfo=UTC).isoformat()


_COLUMNS = (
    "key", "currency", "sold", "announced", "returned", "accepted", "refused", "refunded_minor",
    "rate_percent", "claimed", "undelivered",
)  # fmt: skip


def _write_csv(rows: list[Json]) -> None:
    writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
