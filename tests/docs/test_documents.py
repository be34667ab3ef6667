"""The documents say what is: whatever they name exists, and whatever exists is named there."""

import ast
import inspect
import re
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import typer
from temporalio import activity

import activities.carriers
import activities.nodes
import activities.orders
import activities.payments
import activities.reroutes
import activities.returns
from activities.faults import BROKEN_INVARIANT
from adapters.db.book import SqlBook
from adapters.db.engine import connect
from adapters.http import Http
from api.order_commands import HoldReason
from oms import agenda, errors, return_agenda
from oms.decisions import Action
from oms.errors import OmsError
from oms.payments import PaymentKind
from oms.policy import Policy
from simulator.settings import Settings as SimulatorSettings
from workers.cli import app
from workers.serving import activities_of, effects_over
from workers.temporal import SEARCH_ATTRIBUTES
from workflows.steps import NEEDS_A_PERSON, NO_PROGRESS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
OPERATE = (ROOT / "docs/operate.md").read_text(encoding="utf-8")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def rows_of(page: str) -> dict[str, str]:
    """The rows of all tables by each name in backticks that stands in their first column."""
    found = {}
    for line in page.splitlines():
        if line.startswith("| "):
            for name in re.findall(r"`([^`]+)`", line.split("|")[1]):
                found[name] = line
    return found


# --- operators ------------------------------------------------------------------------------


def steps_that_may_park() -> set[str]:
    """The kinds of steps, read from where the agenda names them; money's own from its entries."""
    kinds = {"authorise" if kind == "authorization" else kind for kind in get_args(PaymentKind)}
    for module in (agenda, return_agenda):
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            name = getattr(call.func, "id", "") if isinstance(call, ast.Call) else ""
            if isinstance(call, ast.Call) and name == "Due":
                kinds |= _steps_of(call, module)
            elif isinstance(call, ast.Call) and name == "_attention":
                kinds |= _first_words(call.args[1])
    return kinds - {agenda.SERVE, ""}


def _steps_of(call: ast.Call, module: ModuleType) -> set[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    return _constants(given["do"], module) if "step" not in given else _first_words(given["step"])


def _constants(node: ast.expr, module: ModuleType) -> set[str]:
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return {getattr(module, name) for name in names if name.isupper()}


def _first_words(node: ast.expr) -> set[str]:
    texts = [each for each in ast.walk(node) if isinstance(each, ast.Constant)]
    return {str(text.value).rstrip(":") for text in texts[:1]}


def test_every_step_that_may_park_has_its_row_for_operators() -> None:
    documented = {name.partition(":")[0] for name in rows_of(OPERATE)}

    kinds = {"capture", "offer", "label", "parcel", "reserve", "expire", "inspect", "give_back"}
    assert kinds <= steps_that_may_park()
    assert steps_that_may_park() <= documented


@pytest.mark.parametrize("action", get_args(Action))
def test_every_action_on_a_parked_step_is_explained(action: str) -> None:
    assert f"- **`{action}`**" in OPERATE


def every_fault() -> list[type[OmsError]]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    return [kind for kind in kinds if issubclass(kind, OmsError)]


def test_every_fault_has_a_code_of_its_own_that_operators_can_look_up() -> None:
    codes = [fault.code for fault in every_fault()]

    assert len(set(codes)) == len(codes)
    for code in [*codes, BROKEN_INVARIANT, NEEDS_A_PERSON, NO_PROGRESS]:
        assert f"`{code}`" in OPERATE, code


@pytest.mark.parametrize("reason", get_args(HoldReason))
def test_every_reason_for_a_hold_is_on_the_operators_page(reason: str) -> None:
    assert f"`{reason}`" in OPERATE


@pytest.mark.parametrize("name", sorted(SEARCH_ATTRIBUTES))
def test_every_search_attribute_is_used_in_a_query_on_the_operators_page(name: str) -> None:
    assert any(name in query for query in rows_of(OPERATE))


# --- names that stand in the pages ----------------------------------------------------------


def commands() -> set[str]:
    """Every command of `oms`, as it is typed."""
    found: set[str] = set()
    group = typer.main.get_command(app)
    for name, command in getattr(group, "commands", {}).items():
        below = getattr(command, "commands", {})
        found |= {f"{name} {each}" for each in below} or {name}
    return found


def test_every_command_is_on_the_operators_page() -> None:
    for command in commands():
        first, _, second = command.partition(" ")
        assert f"oms {first}" in OPERATE, command
        assert second in OPERATE, command


@every_page
def test_every_command_a_page_names_exists(page: Path) -> None:
    known = {command.split()[0] for command in commands()}
    orders = {command.split()[1] for command in commands() if " " in command}

    for named in re.findall(r"\boms ([a-z-]+)((?: [a-z]+)?)", code_in(page)):
        assert named[0] in known, named
        if named[0] == "order" and named[1]:
            assert named[1].strip() in orders, named


@every_page
def test_every_make_target_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z-]+)", code_in(page))) <= targets


def code_in(page: Path) -> str:
    """What stands in code blocks and backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.compile(r"```.*?```", re.DOTALL)
    return "\n".join([*blocks.findall(text), *re.findall(r"`[^`\n]+`", blocks.sub("", text))])


@every_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@every_page
def test_every_file_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if "**Status:** superseded" in text:
        return  # it stays as it was written, its files may be gone
    homes = "|".join(each.name for each in ROOT.iterdir() if re.match("[a-z]", each.name))

    for path in re.findall(rf"`((?:{homes})/[\w./*-]*)`", text):
        assert list(ROOT.glob(path.rstrip("/"))), path
    for name in re.findall(r"`(\w+\.py)`", text):
        assert [*ROOT.glob(f"*/{name}"), *ROOT.glob(f"*/*/{name}")], name


@every_page
def test_every_setting_a_page_names_is_on_the_settings_page(page: Path) -> None:
    settings = rows_of((ROOT / "docs/settings.md").read_text(encoding="utf-8"))
    # The command line's own, described where it is used.
    known = {*settings, "OMS_API_KEY"}

    assert set(re.findall(r"\bOMS_[A-Z_]+[A-Z]\b", page.read_text(encoding="utf-8"))) <= known


def test_every_setting_of_the_simulator_is_on_its_page() -> None:
    page = rows_of((ROOT / "docs/simulator.md").read_text(encoding="utf-8"))

    for name in SimulatorSettings.model_fields:
        assert f"SIM_{name.upper()}" in page, name


def test_every_image_is_small_and_shown_somewhere() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)

    for image in (ROOT / "docs/images").iterdir():
        assert image.name in pages, image.name
        assert image.stat().st_size < 400_000, image.name


def test_decisions_are_numbered_and_say_why() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))

    for number, page in enumerate(decisions, start=1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04}-"), page.name
        assert text.startswith(f"# {number}. "), page.name
        for part in ("Status", "## Context", "## Decision", "## Consequences"):
            assert part in text, (page.name, part)
        assert page.name in (ROOT / "docs/change.md").read_text(encoding="utf-8"), page.name


# --- and of the code ------------------------------------------------------------------------


def defined_activities() -> set[str]:
    modules = (
        activities.carriers,
        activities.nodes,
        activities.orders,
        activities.payments,
        activities.reroutes,
        activities.returns,
    )
    return {
        name
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if activity._Definition.from_callable(method) is not None
    }


async def test_every_activity_is_registered_by_the_worker() -> None:
    engine = connect("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    async with Http("http://127.0.0.1:1", timeout=timedelta(seconds=1)) as outside:
        book = SqlBook(engine, Policy())
        registered = {each.__name__ for each in activities_of(*effects_over(book, outside))}
    await engine.dispose()

    assert registered == defined_activities()
