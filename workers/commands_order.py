"""`oms order`: look at an order, learn what it waits for, cancel it, settle a parked step.

Everything goes through the HTTP API, so that it also works against a stack elsewhere. Commands
leave 0 when done, 1 when the API refused, 3 when there is no API to ask.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import quote

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from workers.api_client import ApiClient, ApiRefused, ApiUnreachable
from workers.commands_recover import run_restart
from workers.order_views import explain_view, order_view, timeline_view
from workers.settings import settings
from workers.state import read_running

app = typer.Typer(help="Look at one order, cancel it, or settle what it is parked on.")

REFUSED, NO_API = 1, 3
Json = dict[str, Any]
T = TypeVar("T")


class Resolution(StrEnum):
    """What to do with a parked step."""

    RETRY = "retry"
    NEW_ATTEMPT = "new_attempt"
    DONE_MANUALLY = "done_manually"
    FAIL = "fail"


Number = Annotated[str, typer.Argument(help="The order number, e.g. K3M9-QXZ4-7.")]
ApiUrl = Annotated[str | None, typer.Option(envvar="OMS_API_URL", help="Where the API listens.")]
ApiKey = Annotated[str | None, typer.Option(envvar="OMS_API_KEY", help="An operator's API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command()
def show(
    number: Number, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Show an order: statuses, units by bucket, money, parcels and everything that happened."""

    async def ask(api: ApiClient) -> Json:
        path = _path(number)
        return {
            "order": await api.get(path),
            "timeline": [event async for event in api.every(f"{path}/timeline")],
        }

    found = _call(ask, api_url, api_key)
    _print(found, as_json, order_view(found["order"]), timeline_view(found["timeline"]))


@app.command()
def explain(
    number: Number, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Say what an order waits for, since when, until when, what then, and what you may do."""
    found = _call(lambda api: api.get(f"{_path(number)}/explain"), api_url, api_key)
    _print(found, as_json, explain_view(number, found["data"]))


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
    answer = _call(
        lambda api: api.post(f"{_path(number)}/cancel", body, key=str(uuid.uuid4())),
        api_url,
        api_key,
    )
    word = "Cancelled." if answer.status == 200 else "The location is asked; see `oms order show`."
    _print(answer.body, as_json, order_view(answer.body), Text(word, "bold"))


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
    answer = _call(
        lambda api: api.post(f"{_path(number)}/resolve", body, key=str(uuid.uuid4())),
        api_url,
        api_key,
    )
    _print(answer.body, as_json, Text(f"{step} of {number}: {action.value}.", "bold"))


@app.command()
def restart(
    number: Annotated[str | None, typer.Argument(help="The order number.")] = None,
    *,
    all_missing: Annotated[
        bool, typer.Option(help="Every open order that has no run, e.g. after Temporal was lost.")
    ] = False,
) -> None:
    """Give a run to an order whose own was terminated or lost. Safe to repeat.

    It goes on where the books stand. Asks the database and Temporal, not the API.
    """
    if (number is None) != all_missing:
        raise typer.BadParameter("give an order number, or --all-missing")
    typer.echo(run_restart(None if number is None else [number]))


def _path(number: str) -> str:
    return f"/v1/orders/{quote(number, safe='')}"


def _call(ask: Callable[[ApiClient], Awaitable[T]], url: str | None, key: str | None) -> T:
    """Ask the API named by the options, the environment or the stack that runs here."""
    if key is None:
        running = read_running(settings().home)
        if running is None:
            _leave(
                NO_API,
                Text("No stack runs here. Start one with `oms up`,")
                + Text(" or set OMS_API_URL and OMS_API_KEY."),
            )
        url, key = url or running.api, running.keys["operator"]

    async def run() -> T:
        async with ApiClient.at(url or settings().api_url, key) as api:
            return await ask(api)

    try:
        return asyncio.run(run())
    except ApiRefused as refused:
        _leave(REFUSED, problem_view(refused))
    except ApiUnreachable as error:
        _leave(NO_API, Text(f"The API does not answer ({error}). See `oms doctor`."))


def problem_view(refused: ApiRefused) -> RenderableType:
    """Show a refusal: the code for looking it up, the reason, and each field at fault."""
    text = Text.assemble((refused.problem_code, "bold red"), f"  {refused.detail}")
    for flaw in refused.flaws:
        text.append(f"\n  {flaw.get('pointer', '')}  ", "bold")
        text.append(f"{flaw.get('code', '')}: {flaw.get('detail', '')}")
    return text


def _leave(code: int, message: RenderableType) -> NoReturn:
    Console(stderr=True).print(message)
    raise typer.Exit(code)


def _print(document: Json, as_json: bool, *views: RenderableType) -> None:
    if as_json:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        Console().print(*views, sep="\n")
