"""`oms order`: look at an order, learn what it waits for, cancel it, settle a parked step.

Everything goes through the HTTP API, so that it also works against a stack elsewhere. Commands
leave 0 when done, 1 when the API refused, 3 when there is no API to ask.
"""

import json
import uuid
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer
from rich.text import Text

from workers.asking import (
    ApiKey,
    ApiUrl,
    AsJson,
    Json,
    ask_api,
    print_answer,
    with_timeline,
)
from workers.commands_recover import run_restart
from workers.order_views import explain_view, order_view, timeline_view

app = typer.Typer(help="Look at one order, cancel it, or settle what it is parked on.")


class Resolution(StrEnum):
    """What to do with a parked step."""

    RETRY = "retry"
    NEW_ATTEMPT = "new_attempt"
    DONE_MANUALLY = "done_manually"
    FAIL = "fail"


Number = Annotated[str, typer.Argument(help="The order number, e.g. K3M9-QXZ4-7.")]


@app.command()
def show(
    number: Number, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Show an order: statuses, units by bucket, money, parcels and everything that happened."""
    path = _path(number)
    found = ask_api(lambda api: with_timeline(api, path, "order"), api_url, api_key)
    print_answer(found, as_json, order_view(found["order"]), timeline_view(found["timeline"]))


@app.command()
def explain(
    number: Number, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Say what an order waits for, since when, until when, what then, and what you may do."""
    found = ask_api(lambda api: api.get(f"{_path(number)}/explain"), api_url, api_key)
    print_answer(found, as_json, explain_view(number, found["data"], found.get("routing", ())))


@app.command()
def cancel(
    number: Number,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands on the timeline.")],
    line: Annotated[
        list[int] | None, typer.Option(help="A line to cancel units of; may be repeated.")
    ] = None,
    quantity: Annotated[
        list[int] | None, typer.Option(help="How many units of that line; one for each --line.")
    ] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an order, or units of its lines. Where a location must agree it is asked."""
    lines, quantities = line or [], quantity or []
    if len(lines) != len(quantities):
        raise typer.BadParameter("give one --quantity for each --line")
    body: Json = {"reason": reason}
    if lines:
        body["lines"] = [
            {"line": line, "quantity": units} for line, units in zip(lines, quantities, strict=True)
        ]
    answer = ask_api(
        lambda api: api.post(f"{_path(number)}/cancel", body, key=str(uuid.uuid4())),
        api_url,
        api_key,
    )
    word = "Cancelled." if answer.status == 200 else "The location is asked; see `oms order show`."
    print_answer(answer.body, as_json, order_view(answer.body), Text(word, "bold"))


@app.command()
def resolve(
    number: Number,
    step: Annotated[str, typer.Argument(help="The parked step, as `oms order explain` names it.")],
    action: Annotated[Resolution, typer.Argument(help="What to do with it.")],
    *,
    actor: Annotated[str, typer.Option(help="Who decides; it stands on the timeline.")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the timeline.")],
    result: Annotated[
        str | None, typer.Option(help="What came of it, as JSON, where the step has a result.")
    ] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Settle a parked step: try again, start afresh, say it was done by hand, or give it up."""
    body: Json = {"step": step, "action": action.value, "actor": actor, "reason": reason}
    if result is not None:
        try:
            body["result"] = json.loads(result)
        except ValueError as error:
            raise typer.BadParameter(f"--result is no JSON: {error}") from error
    answer = ask_api(
        lambda api: api.post(f"{_path(number)}/resolve", body, key=str(uuid.uuid4())),
        api_url,
        api_key,
    )
    print_answer(answer.body, as_json, Text(f"{step} of {number}: {action.value}.", "bold"))


@app.command()
def restart(
    number: Annotated[str | None, typer.Argument(help="The order number.")] = None,
    *,
    all_missing: Annotated[
        bool,
        typer.Option(
            help="Every open order or return that has no run, e.g. after Temporal was lost."
        ),
    ] = False,
) -> None:
    """Give a run to an order, or to its returns, whose own was terminated or lost. Safe to repeat.

    It goes on where the books stand. Asks the database and Temporal, not the API.
    """
    if (number is None) != all_missing:
        raise typer.BadParameter("give an order number, or --all-missing")
    typer.echo(run_restart(None if number is None else [number]))


def _path(number: str) -> str:
    return f"/v1/orders/{quote(number, safe='')}"
