"""`oms location`, `oms sku`, `oms reroute`: close a place, recall an article, watch what follows.

Commands leave 0 when done, 1 when the API refused, 3 when there is no API to ask. Watching leaves 1
too when the reroute was stopped, or orders failed.
"""

import asyncio
import json
import uuid
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from oms.words import count_of, is_or_are
from workers.api_client import ApiClient
from workers.asking import REFUSED, ApiKey, ApiUrl, AsJson, ask_api
from workers.demo.board import loading

locations = typer.Typer(help="Close a place, or open it again.")
articles = typer.Typer(help="Recall an article, or let it be sold again.")
reroutes = typer.Typer(help="Watch, pause, resume or stop orders that leave a place.")

Json = dict[str, Any]

REROUTES = "/v1/reroutes"
ASK_AGAIN_SECONDS = 0.5

Place = Annotated[str, typer.Argument(help="The location's id, e.g. store-lyon.")]
Sku = Annotated[str, typer.Argument(help="The article's SKU.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept, and names no customer.")]
Where = Annotated[str | None, typer.Option("--location", help="Only there; else everywhere.")]
Id = Annotated[str, typer.Argument(help="The reroute's id, e.g. RR-K3M9-QXZ4-7.")]


# --- oms location ---------------------------------------------------------------------------


@locations.command("close")
def close_location(
    location: Place,
    *,
    reason: Reason,
    reroute: Annotated[
        bool, typer.Option("--reroute", help="Serve its orders from elsewhere.")
    ] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Close a place: no new order uses it. Without --reroute it ends what it has."""
    body: Json = {"reason": reason, "reroute": reroute}
    told = _post(f"/v1/locations/{_in_path(location)}/close", body, api_url, api_key)
    _show(told, as_json, Text(f"{location} is closed."), *_follow(told["reroute"]))


@locations.command("open")
def open_location(
    location: Place, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Open a place again. What has left it stays where it is."""
    told = _post(f"/v1/locations/{_in_path(location)}/open", {}, api_url, api_key)
    _show(told, as_json, Text(f"{location} is open."))


# --- oms sku --------------------------------------------------------------------------------


@articles.command()
def recall(
    sku: Sku,
    *,
    reason: Reason,
    location: Where = None,
    reroute: Annotated[
        bool, typer.Option("--reroute/--no-reroute", help="Look for the orders that hold it.")
    ] = True,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Let nobody sell an article, at one place or anywhere; its orders are served otherwise."""
    body: Json = {"reason": reason, "location": location, "reroute": reroute}
    told = _post(f"/v1/stock/{_in_path(sku)}/recall", body, api_url, api_key)
    _show(told, as_json, Text(_standing(told)), *_follow(told["reroute"]))


@articles.command()
def release(
    sku: Sku,
    *,
    location: Where = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """End a recall: let an article be sold again, at one place or everywhere."""
    path = f"/v1/stock/{_in_path(sku)}/recall/end"
    told = _post(path, {"location": location}, api_url, api_key)
    _show(told, as_json, Text(_standing(told)))


def _standing(told: Json) -> str:
    if told["everywhere"]:
        return f"{told['sku']} is recalled everywhere."
    if told["blocked"]:
        return f"{told['sku']} is not sold from {', '.join(told['blocked'])}."
    return f"{told['sku']} is sold again."


# --- oms reroute ----------------------------------------------------------------------------


@reroutes.command()
def watch(id: Id, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Follow a reroute until it is over. Ctrl-C stops watching, not the reroute."""
    told = ask_api(lambda api: _until_over(api, id), api_url, api_key)
    _show(told, as_json, reroute_view(told))
    if told["status"] == "cancelled" or told["problems"]:
        raise typer.Exit(REFUSED)


async def _until_over(api: ApiClient, id: str) -> Json:
    path = f"{REROUTES}/{_in_path(id)}"
    with loading(Console(stderr=True)) as report:
        while True:
            told = await api.get(path)
            report("orders", told["done"], told["done"] + (told["left"] or 0))
            if told["left"] is None:
                return told
            await asyncio.sleep(ASK_AGAIN_SECONDS)


@reroutes.command()
def pause(id: Id, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Pause a reroute after the order at hand."""
    _steer(id, "pause", api_url, api_key, as_json)


@reroutes.command()
def resume(id: Id, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Let a paused reroute go on."""
    _steer(id, "resume", api_url, api_key, as_json)


@reroutes.command()
def stop(id: Id, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """End a reroute. Orders that have left stay where they are."""
    _steer(id, "stop", api_url, api_key, as_json)


def _steer(id: str, word: str, api_url: str | None, api_key: str | None, as_json: bool) -> None:
    told = _post(f"{REROUTES}/{_in_path(id)}/{word}", {}, api_url, api_key)
    _show(told, as_json, reroute_view(told))


# --- shown ----------------------------------------------------------------------------------


def _post(path: str, body: Json, api_url: str | None, api_key: str | None) -> Json:
    answer = ask_api(lambda api: api.post(path, body, key=str(uuid.uuid4())), api_url, api_key)
    return answer.body


def _in_path(name: str) -> str:
    return quote(name, safe="")


def _show(told: Json, as_json: bool, *views: RenderableType) -> None:
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        Console().print(Group(*views))


def _follow(reroute: Json | None) -> list[RenderableType]:
    if reroute is None:
        return []
    left = reroute["left"]
    words = (
        f"{count_of(left, 'order')} {is_or_are(left)} to be served from elsewhere: {reroute['id']}"
    )
    return [Text(words, "bold"), Text(f"Watch it: oms reroute watch {reroute['id']}")]


def reroute_view(told: Json) -> RenderableType:
    """Show how far a reroute is, by outcome, and what failed first."""
    left = "" if told["left"] is None else f", {told['left']} left"
    head = Text(
        f"{told['id']} is {told['status']}: {count_of(told['done'], 'order')} done{left}", "bold"
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for outcome, count in sorted(told["outcomes"].items()):
        table.add_row(outcome, str(count))
    problems = [Text(f"{each['order']}  {each['detail']}", "red") for each in told["problems"]]
    return Group(head, table, *problems)
