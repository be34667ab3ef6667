"""The page of returns says what a policy may say: all of it, and nothing else."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from oms.return_policy import (
    RestockRule,
    RestockWhen,
    ReturnAlert,
    ReturnPolicy,
    ReturnRule,
    ReturnTimes,
    ReturnWhen,
)
from oms.return_policy_checks import policy_notes, read_policy
from tests.docs.test_documents import rows_of
from workers.document_files import parse
from workers.example_policies import names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/returns.md").read_text(encoding="utf-8")
INTEGRATE = (ROOT / "docs/integrate.md").read_text(encoding="utf-8")


def table(heading: str) -> set[str]:
    """The names in the first column of the table whose head begins so."""
    (found,) = re.findall(rf"^\| {re.escape(heading)} \|.*\n\| --- .*\n((?:\|.*\n)*)", PAGE, re.M)
    return set(rows_of(found))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("policy", ReturnPolicy),
        ("rule", ReturnRule),
        ("`when` of a rule", ReturnWhen),
        ("restock rule", RestockRule),
        ("`when` of a restock rule", RestockWhen),
        ("`times`", ReturnTimes),
        ("`alerts`", ReturnAlert),
    ],
)
def test_every_field_of_a_return_policy_has_its_row(heading: str, model: type[BaseModel]) -> None:
    assert table(heading) == set(model.model_fields)


def test_every_ready_made_policy_has_its_row() -> None:
    (rows,) = re.findall(r"### Ready-made policies\n(.*)", PAGE, re.S)

    assert set(names()) <= set(rows_of(rows))


def test_the_example_of_the_page_is_a_policy() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    read = parse(example.encode(), read_policy)

    assert read.errors == ()
    assert read.content is not None
    assert policy_notes(read.content) == []


def test_every_reason_why_a_line_may_not_come_back_has_its_row() -> None:
    source = (ROOT / "oms/return_requests.py").read_text(encoding="utf-8")
    told = set(re.findall(r'return "([a-z_]+)", ', source)) | {"not_theirs"}

    assert table("code") == told


def test_everything_that_is_told_of_a_return_is_told_to_channels() -> None:
    files = (ROOT / "adapters/db").rglob("*.py")
    told = {
        kind
        for file in files
        for kind in re.findall(r'"(return\.[a-z_]+)"', file.read_text(encoding="utf-8"))
    }

    assert len(told) > 15
    assert told <= set(rows_of(INTEGRATE))
