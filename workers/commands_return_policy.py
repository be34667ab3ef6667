"""`oms returns policy`: check the return policy, put it, read what stands.

Commands leave 0 when done, 1 when the API refused, 2 when the file is wrong, 3 when there is no API
to ask.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table
from rich.text import Text

from oms.return_policy import ReturnPolicy
from oms.return_policy_checks import RESERVED, read_policy
from workers import example_policies
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
from workers.document_files import DocumentFile, read_file
from workers.settings import settings
from workers.state import read_running

app = typer.Typer(help="What may be sent back, until when, and where it goes: as data.")

POLICY = "/v1/return-policy"


@app.command()
def check(
    file: File, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Tell everything that is wrong with a file; with a stack, also names of what there is not."""
    read = read_or_leave(file, _read, as_json=as_json)
    if api_key is None and read_running(settings().home) is None:
        words = f"{file} is in order, as far as can be told without a stack."
        say(as_json, {"errors": [], "notes": []}, words)
        return
    found = ask_api(
        lambda api: check_document(api, f"{POLICY}/check", read.document), api_url, api_key
    )
    say_checked(file, read, found, as_json=as_json)


@app.command()
def put(
    file: File, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Let a policy stand from now on. Returns agreed before keep their terms."""
    read = read_or_leave(file, _read, as_json=as_json)
    found = ask_api(lambda api: put_document(api, POLICY, read.document), api_url, api_key)
    if isinstance(found, list):
        leave_with(file, read.located(found), as_json=as_json)
    words = Text.assemble(("The return policy", "bold"), f" v{found['version']} ", _STANDS)
    print_found(as_json, found, words)


@app.command()
def show(
    version: Annotated[
        int | None, typer.Option(min=0, help="By default the one that stands; 0 is the usual one.")
    ] = None,
    *,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Print a policy as a file that can be put again."""

    async def ask(api: ApiClient) -> dict[str, Any]:
        return await api.get(POLICY, **({} if version is None else {"version": version}))

    found = ask_api(ask, api_url, api_key)
    print_found(as_json, found, as_file(found))


@app.command("list")
def list_all(api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List all versions, newest first, and who put them."""

    async def ask(api: ApiClient) -> list[dict[str, Any]]:
        return [each async for each in api.every(f"{POLICY}/versions")]

    found = ask_api(ask, api_url, api_key)
    print_found(as_json, {"data": found}, _list_view(found))


@app.command()
def examples(
    name: Annotated[str | None, typer.Argument(help="Print this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List ready-made policies, or print one to start from."""
    if name is None:
        found = {each: example_policies.about(each) for each in example_policies.names()}
        say(as_json, found, "\n".join(f"{each:24} {words}" for each, words in found.items()))
    elif name in example_policies.names():
        typer.echo(example_policies.text(name), nl=False)
    else:
        leave(REFUSED, f"There is no example {name}. See `oms returns policy examples`.")


def as_file(policy: Mapping[str, Any]) -> str:
    """Write a policy as YAML, without what it leaves as usual."""
    known = ReturnPolicy.model_validate(
        {name: value for name, value in policy.items() if name not in RESERVED}
    )
    document = known.model_dump(mode="json", exclude_defaults=True)
    head = f"# The return policy, version {policy['version']}"
    head += ", the usual one.\n" if policy["version"] == 0 else f", by {policy['actor']}.\n"
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


_STANDS = ("stands", "green")


def _list_view(versions: Sequence[Mapping[str, Any]]) -> Table | str:
    if not versions:
        return "None was ever put: the usual policy stands. See `oms returns policy show`.\n"
    table = Table("version", "", "put", "by", "rules", "restock", box=None, pad_edge=False)
    for i, each in enumerate(versions):
        at = datetime.fromisoformat(each["created_at"])
        table.add_row(
            str(each["version"]),
            "" if i else Text(*_STANDS),
            f"{at:%Y-%m-%d %H:%M}",
            Text(each["actor"]),
            str(len(each["rules"])),
            str(len(each["restock"])),
        )
    return table


def _read(path: Path) -> DocumentFile[ReturnPolicy]:
    found: DocumentFile[ReturnPolicy] = read_file(path, read_policy)
    return found
