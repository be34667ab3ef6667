"""How routing rule sets are shown in a terminal, and written as files that can be put again."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from oms.rule_checks import RESERVED
from oms.rules import RuleSet

Json = Mapping[str, Any]


def as_file(rule_set: Json) -> str:
    """Write a rule set as YAML, its fields in the order of the documentation."""
    document = {name: value for name, value in rule_set.items() if name not in RESERVED}
    try:
        known = RuleSet.model_validate(document)
        document = known.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValidationError:
        pass  # of a time before rules were read: as it stands
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def rule_set_view(rule_set: Json | None) -> str:
    """Show one version; without one, say what routes instead."""
    if rule_set is None:
        return "# No rule set is active: the default routes, fewest parcels, then nearest.\n"
    return f"# {_name(rule_set)}, {_stands(rule_set)}\n{as_file(rule_set)}"


def changed_view(rule_set: Json) -> Text:
    """Say how a version stands now."""
    style = "green" if rule_set["active"] else "yellow"
    return Text.assemble((_name(rule_set), "bold"), " ", (_stands(rule_set), style))


def list_view(rule_sets: Sequence[Json]) -> Table:
    """List versions."""
    table = Table("rule set", "version", "", "made", "name", "rules", box=None, pad_edge=False)
    for each in rule_sets:
        made = datetime.fromisoformat(each["created_at"])
        table.add_row(
            each["id"],
            str(each["version"]),
            Text("routes", "green") if each["active"] else "",
            f"{made:%Y-%m-%d %H:%M}",
            Text(str(each.get("name", ""))),
            str(len(each.get("rules", ()))),
        )
    return table


def difference_view(old: Json, new: Json, names: tuple[str, str]) -> Text:
    """Show what differs, line by line."""
    lines = difflib.unified_diff(
        as_file(old).splitlines(), as_file(new).splitlines(), *names, lineterm=""
    )
    text = Text("\n").join(Text(line, _DIFFERENCES.get(line[:1], "")) for line in lines)
    return text or Text("They are the same.")


_DIFFERENCES = {"+": "green", "-": "red", "@": "cyan"}


def _name(rule_set: Json) -> str:
    return f"{rule_set['id']} v{rule_set['version']}"


def _stands(rule_set: Json) -> str:
    return "routes" if rule_set["active"] else "does not route"
