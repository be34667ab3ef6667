"""The page of routing says what a rule may say: all of it, and nothing else."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from oms.rules import Adjust, Cost, From, Lines, Never, Objective, Rule, RuleSet, Split, When
from tests.docs.test_documents import rows_of
from workers.example_rules import names
from workers.rule_files import parse_rules

PAGE = (Path(__file__).parents[2] / "docs/routing.md").read_text(encoding="utf-8")


def table(heading: str) -> set[str]:
    """The names in the first column of the table whose head begins so."""
    (found,) = re.findall(rf"^\| {re.escape(heading)} \|.*\n\| --- .*\n((?:\|.*\n)*)", PAGE, re.M)
    return set(rows_of(found))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("rule set", RuleSet),
        ("rule", Rule),
        ("`when`", When),
        ("`lines`", Lines),
        ("`from`, `except`, `prefer`", From),
        ("`costs`", Cost),
        ("`never`", Never),
        ("`objective`", Objective),
        ("`adjust`", Adjust),
        ("`split`", Split),
    ],
)
def test_every_field_of_a_rule_set_has_its_row(heading: str, model: type[BaseModel]) -> None:
    fields = {field.alias or name for name, field in model.model_fields.items()}

    assert table(heading) == fields


def test_every_ready_made_rule_set_has_its_row() -> None:
    (rows,) = re.findall(r"## Ready-made rule sets\n(.*?)\n## ", PAGE, re.S)

    assert set(names()) <= set(rows_of(rows))


def test_the_example_of_the_page_is_a_rule_set() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)

    assert parse_rules(example.encode()).errors == ()
