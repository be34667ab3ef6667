"""How commands ask the HTTP API: where it is, with which key, and what they say if it refuses."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from workers.api_client import ApiClient, ApiRefused, ApiUnreachable
from workers.settings import settings
from workers.state import read_running

REFUSED, NO_API = 1, 3
T = TypeVar("T")
Json = dict[str, Any]

ApiUrl = Annotated[str | None, typer.Option(envvar="OMS_API_URL", help="Where the API listens.")]
ApiKey = Annotated[str | None, typer.Option(envvar="OMS_API_KEY", help="An operator's API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def ask_api(ask: Callable[[ApiClient], Awaitable[T]], url: str | None, key: str | None) -> T:
    """Ask the API named by the options, the environment or the stack that runs here."""
    if key is None:
        running = read_running(settings().home)
        if running is None:
            leave(
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
        leave(REFUSED, problem_view(refused))
    except ApiUnreachable as error:
        leave(NO_API, Text(f"The API does not answer ({error}). See `oms doctor`."))


async def with_timeline(api: ApiClient, path: str, name: str) -> Json:
    """Read what stands at a path, under `name`, and everything that happened to it."""
    return {
        name: await api.get(path),
        "timeline": [event async for event in api.every(f"{path}/timeline")],
    }


def print_answer(document: Json, as_json: bool, *views: RenderableType) -> None:
    """Print what the API answered: the document for machines, views of it for people."""
    if as_json:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        Console().print(*views, sep="\n")


def problem_view(refused: ApiRefused) -> RenderableType:
    """Show a refusal: the code for looking it up, the reason, and each field at fault."""
    text = Text.assemble((refused.problem_code, "bold red"), f"  {refused.detail}")
    for flaw in refused.flaws:
        text.append(f"\n  {flaw.get('pointer', '')}  ", "bold")
        text.append(f"{flaw.get('code', '')}: {flaw.get('detail', '')}")
    return text


def leave(code: int, message: RenderableType) -> NoReturn:
    """Say why on the error output, and end the command."""
    Console(stderr=True).print(message)
    raise typer.Exit(code)
