"""`oms routing`: check rule sets, put them live, roll them back.

Commands leave 0 when done, 1 when the API refused, 2 when the file is wrong, 3 when there is no API
to ask.
"""

import uuid
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from oms.fields import Flaw
from workers import example_rules
from workers.api_client import ApiClient
from workers.asking import REFUSED, ApiKey, ApiUrl, AsJson, ask_api, leave
from workers.document_commands import (
    File,
    check_document,
    leave_with,
    print_found,
    put_document,
    read_or_leave,
    say,
    say_checked,
)
from workers.routing_views import (
    changed_view,
    difference_view,
    list_view,
    rule_set_view,
)
from workers.rule_files import read_rules
from workers.settings import settings
from workers.simulate_command import simulate
from workers.state import read_running

app = typer.Typer(help="Check routing rules, put them live, roll them back.")

Json = dict[str, Any]

SETS = "/v1/routing/rule-sets"
CHECK = "/v1/routing/check"

Id = Annotated[str, typer.Argument(help="Names the rule set.")]


app.command()(simulate)


@app.command()
def check(
    file: File, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Tell everything that is wrong with a file; with a stack, also names of what there is not."""
    read = read_or_leave(file, read_rules, as_json=as_json)
    if api_key is None and read_running(settings().home) is None:
        say(
            as_json,
            {"errors": [], "notes": []},
            f"{file} is in order, as far as can be told without a stack.",
        )
        return

    found = ask_api(lambda api: check_document(api, CHECK, read.document), api_url, api_key)
    say_checked(file, read, found, as_json=as_json)


@app.command()
def put(
    id: Id,
    file: File,
    *,
    activate: Annotated[bool, typer.Option("--activate", help="Let it route at once.")] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Add a version of a rule set, which routes nothing until it is activated."""
    read = read_or_leave(file, read_rules, as_json=as_json)

    async def ask(api: ApiClient) -> Json | list[Flaw]:
        # What would keep it from routing is told before anything is changed.
        if activate and (errors := (await check_document(api, CHECK, read.document)).errors):
            return errors
        added = await put_document(api, _path(id), read.document)
        if isinstance(added, list):
            return added
        return await _activate(api, id, added["version"]) if activate else added

    found = ask_api(ask, api_url, api_key)
    if isinstance(found, list):
        leave_with(file, read.located(found), as_json=as_json)
    print_found(as_json, found, changed_view(found))


@app.command()
def activate(
    id: Id,
    version: Annotated[int, typer.Argument(min=1, help="Which of its versions.")],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Let one version route from now on, instead of any other."""
    found = ask_api(lambda api: _activate(api, id, version), api_url, api_key)
    print_found(as_json, found, changed_view(found))


@app.command()
def deactivate(
    id: Id, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Let a rule set route no more: the default does."""
    found = ask_api(lambda api: _deactivate(api, id), api_url, api_key)
    print_found(as_json, found, changed_view(found))


@app.command()
def rollback(api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Go back to what routed before the last change; said twice, there and back."""

    async def ask(api: ApiClient) -> Json | None:
        newest = (await api.get("/v1/routing/activations", limit=2))["data"]
        if not newest:
            return None
        before: Json = newest[1] if len(newest) > 1 else {"rule_set": None}
        if before["rule_set"] is None:
            return await _deactivate(api, newest[0]["rule_set"])
        return await _activate(api, before["rule_set"], before["version"])

    found = ask_api(ask, api_url, api_key)
    if found is None:
        leave(REFUSED, "Nothing was ever activated.")
    print_found(as_json, found, changed_view(found))


@app.command()
def show(
    id: Annotated[str | None, typer.Argument(help="By default the one that routes.")] = None,
    *,
    version: Annotated[int | None, typer.Option(min=1, help="By default the newest.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Print a rule set as a file that can be put again."""

    async def ask(api: ApiClient) -> Json | None:
        if id is not None:
            return await api.get(_path(id), **({"version": version} if version else {}))
        active = (await api.get(SETS, active="true"))["data"]
        return active[0] if active else None

    found = ask_api(ask, api_url, api_key)
    print_found(as_json, found, rule_set_view(found))


@app.command("list")
def list_all(api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List all versions of all rule sets, newest first, and which one routes."""

    async def ask(api: ApiClient) -> list[Json]:
        return [each async for each in api.every(SETS)]

    found = ask_api(ask, api_url, api_key)
    print_found(as_json, {"data": found}, list_view(found))


@app.command()
def diff(
    id: Id,
    version: Annotated[int, typer.Argument(min=1, help="The older one.")],
    other: Annotated[str, typer.Argument(help="Another version, or a file.")],
    *,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Show what differs between two versions of a rule set, or a version and a file."""
    file = None if other.isdecimal() else read_or_leave(Path(other), read_rules, as_json=False)

    async def ask(api: ApiClient) -> tuple[Json, Json]:
        old = await api.get(_path(id), version=version)
        if file is not None:
            return old, file.document
        return old, await api.get(_path(id), version=int(other))

    old, new = ask_api(ask, api_url, api_key)
    names = (f"{id} v{version}", f"{id} v{other}" if file is None else other)
    Console().print(difference_view(old, new, names), soft_wrap=True)


@app.command()
def examples(
    name: Annotated[str | None, typer.Argument(help="Print this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List ready-made rule sets, or print one to start from."""
    if name is None:
        found = {each: example_rules.about(each) for each in example_rules.names()}
        say(as_json, found, "\n".join(f"{each:28} {words}" for each, words in found.items()))
    elif name in example_rules.names():
        typer.echo(example_rules.text(name), nl=False)
    else:
        leave(REFUSED, f"There is no example {name}. See `oms routing examples`.")


async def _activate(api: ApiClient, id: str, version: int) -> Json:
    path, body = f"{_path(id)}/activate", {"version": version}
    return (await api.post(path, body, key=uuid.uuid4().hex)).body


async def _deactivate(api: ApiClient, id: str) -> Json:
    return (await api.post(f"{_path(id)}/deactivate", {}, key=uuid.uuid4().hex)).body


def _path(id: str) -> str:
    return f"{SETS}/{quote(id, safe='')}"
