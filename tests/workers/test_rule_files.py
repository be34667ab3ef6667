"""Files of rules are read as YAML of JSON's types, and each error stands at its line and column."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.document_files import MOST_BYTES, MOST_DEPTH
from workers.rule_files import parse_rules, read_rules

WRONG = """\
# Routing for the north
name: North
currency: NOK
costs:
  - from: {kinds: [stre]}
    parcel_km_minor: 1.10
rules:
  - name: Home
    when: {countries: [NO, XX]}
    form: {kinds: [store]}
    left: cancel
  - name: All
    name: Rest
  - keep: -1
"""


def errors(text: str | bytes) -> list[tuple[int, int, str, str]]:
    raw = text.encode() if isinstance(text, str) else text
    return [(*e.place, e.pointer, e.code) for e in parse_rules(raw).errors]


def test_every_error_of_a_file_stands_at_its_line_and_column() -> None:
    assert errors(WRONG) == [
        (5, 20, "/costs/0/from/kinds/0", "not_allowed"),
        (6, 22, "/costs/0/parcel_km_minor", "wrong_type"),
        (9, 28, "/rules/0/when/countries/1", "country_unknown"),
        (10, 5, "/rules/0/form", "unknown_field"),
        (13, 5, "/rules/1/name", "repeated"),
        (14, 5, "/rules/2/name", "required"),
        (14, 11, "/rules/2/keep", "too_small"),
    ]


def value(written: str) -> Any:
    return parse_rules(f"name: {written}".encode()).document["name"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("NO", "NO"),
        ("off", "off"),
        ("012", "012"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        (".5", ".5"),
        ("True", "True"),
        ("~", "~"),
        ("<<", "<<"),
        ("'1'", "1"),
        ('"\\u00e9"', "é"),
        ("true", True),
        ("null", None),
        ("", None),
        ("-12", -12),
        ("1.10", 1.1),
        ("2e3", 2000.0),
    ],
)
def test_only_what_looks_like_json_is_more_than_a_text(written: str, read: Any) -> None:
    assert value(written) == read
    assert type(value(written)) is type(read)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=3), st.sampled_from([None, 2, "\t"]))
def test_json_is_read_as_it_was_meant(document: dict[str, Any], indent: Any) -> None:
    written = json.dumps(document, indent=indent)

    assert parse_rules(written.encode()).document == document


@pytest.mark.parametrize(
    ("text", "line", "column", "code"),
    [
        ("name: a\nrules: [", 2, 9, "malformed"),
        ("name: a\n\tcurrency: EUR", 2, 1, "malformed"),
        ("name: a\n---\nname: b", 2, 1, "malformed"),
        ("name: a\x01", 1, 8, "malformed"),
        (b"name: a\nname: \xff", 2, 7, "malformed"),
        ("[" * 100_000, 1, MOST_DEPTH + 1, "malformed"),
        ("a: " * 2 + "b", 1, 5, "malformed"),
        (b"#" * (MOST_BYTES + 1), 1, 1, "too_large"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_place(
    text: str | bytes, line: int, column: int, code: str
) -> None:
    assert errors(text) == [(line, column, "", code)]


def test_a_file_that_grows_by_aliases_is_not_read() -> None:
    bomb = "name: &a [x, x]\ncurrency: &b [*a, *a]\nrules: [*b, *b]\n"

    assert [e for e in errors(bomb) if e[3] == "not_allowed" and not e[2]] == [
        (2, 15, "", "not_allowed"),
        (2, 19, "", "not_allowed"),
        (3, 9, "", "not_allowed"),
        (3, 13, "", "not_allowed"),
    ]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.getcwd []", "!x {}", "!!binary aGk="])
def test_nothing_in_a_file_is_run(tag: str) -> None:
    assert (1, 7, "/name", "not_allowed") in errors(f"name: {tag}")


def test_a_name_that_is_no_text_is_refused_by_its_place() -> None:
    assert (1, 3, "", "wrong_type") in errors("? [a]\n: b")


@given(st.text() | st.binary())
def test_whatever_a_file_holds_it_is_read_or_told_what_is_wrong(content: str | bytes) -> None:
    raw = content.encode(errors="replace") if isinstance(content, str) else content
    read = parse_rules(raw)

    assert (read.content is None) == bool(read.errors)
    assert all(error.place.line >= 1 and error.place.column >= 1 for error in read.errors)


def test_a_file_is_read_from_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: A\ncurrency: EUR\nrules: [{name: all}]\n")

    found = read_rules(path)

    assert found.errors == ()
    assert found.content is not None
    assert found.content.name == "A"
