"""What is wrong with a return policy is told at its place, and nothing that is right is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.document_checks import Reference
from oms.return_policy import LineFacts, ReturnPolicy, rule_for
from oms.return_policy_checks import loosely_named, named, policy_notes, read_policy


def flaws(**document: Any) -> list[tuple[str, str]]:
    """What is wrong with a policy that has a rule for everything, where it says no other."""
    found = read_policy({"rules": [{"name": "all"}]} | document)
    return [] if isinstance(found, ReturnPolicy) else [(f.pointer, f.code) for f in found]


def rules(*said: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"rule {i}"} | each for i, each in enumerate(said)]


def restock(*said: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"rule {i}", "disposition": "restock"} | each for i, each in enumerate(said)]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"rules": []}, [("/rules", "too_few")]),
        ({"rules": rules({"window_day": 3})}, [("/rules/0/window_day", "unknown_field")]),
        ({"rules": rules({"window_days": -1})}, [("/rules/0/window_days", "too_small")]),
        (
            {"rules": rules({"fees_minor": {"pigeon": 1}})},
            [("/rules/0/fees_minor/pigeon", "not_allowed")],
        ),
        (
            {"rules": [{"name": "a"}, {"name": "a"}]},
            [("/rules/1/name", "repeated"), ("/rules/1", "never_reached")],
        ),
        (
            {
                "rules": rules(
                    {"when": {"countries": ["FR", "DE"]}},
                    {"when": {"countries": ["FR"], "tags": ["x"]}},
                    {},
                )
            },
            [("/rules/1", "never_reached")],
        ),
        (
            {"rules": rules({"when": {"reasons": ["Too Small"]}}, {})},
            [("/rules/0/when/reasons/0", "not_allowed")],
        ),
        (
            {"rules": rules({"when": {"reasons": ["late"]}, "photo_for": ["damaged"]}, {})},
            [("/rules/0/photo_for/0", "fits_nothing")],
        ),
        (
            {"rules": rules({"fees_minor": {"post": 300}})},
            [("/rules/0/fees_minor/post", "currency_missing")],
        ),
        (
            {"rules": rules({"approval_above_minor": 0})},
            [("/rules/0/approval_above_minor", "currency_missing")],
        ),
        (
            {"restock": restock({}, {"when": {"conditions": ["as_new"]}})},
            [("/restock/1", "never_reached")],
        ),
        ({"restock": restock({"to": "lyon"})}, [("/restock/0/to", "not_allowed")]),
        (
            {
                "restock": restock(
                    {
                        "disposition": "restock_elsewhere",
                        "to": "lyon",
                        "when": {"locations": ["lyon"]},
                    }
                )
            },
            [("/restock/0/to", "not_allowed")],
        ),
        ({"times": {"remind_days": 28}}, [("/times/remind_days", "too_large")]),
        ({"times": {"expire_days": 14}}, [("/times/remind_days", "too_large")]),
        ({"version": 3}, [("/version", "reserved_name")]),
    ],
)
def test_each_slip_is_told_at_its_place(
    document: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    assert flaws(**document) == told


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rules": rules({"fees_minor": {"post": 0, "store": 0}})},
        {"currency": "EUR", "rules": rules({"fees_minor": {"post": 300}})},
        {"rules": rules({"when": {"countries": ["FR"]}}, {"when": {"tags": ["x"]}}, {})},
        {"restock": restock({"disposition": "restock_elsewhere", "to": "lyon"})},
        {"times": {"remind_days": 0, "expire_days": 1}},
    ],
)
def test_what_makes_sense_is_taken(document: dict[str, Any]) -> None:
    assert flaws(**document) == []


def test_what_a_policy_names_is_found_with_its_place() -> None:
    document = {
        "return_to": "wh",
        "rules": [{"when": {"channels": ["web"], "skus": ["A"], "tags": ["new"]}}],
        "restock": [{"to": "lyon", "when": {"locations": ["x"], "groups": ["fr"]}}],
    }

    assert named(document) == [
        Reference("location", "wh", "/return_to"),
        Reference("channel", "web", "/rules/0/when/channels/0"),
        Reference("sku", "A", "/rules/0/when/skus/0"),
        Reference("location", "lyon", "/restock/0/to"),
        Reference("location", "x", "/restock/0/when/locations/0"),
    ]
    assert [each.id for each in loosely_named(document)] == ["new", "fr"]


def test_a_policy_without_a_rule_for_the_rest_is_noted() -> None:
    found = read_policy({"rules": rules({"when": {"tags": ["x"]}, "window_days": 0})})
    assert isinstance(found, ReturnPolicy)

    assert [note.pointer for note in policy_notes(found)] == ["/rules", "/rules/0/window_days"]


_WHEN = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.lists(st.sampled_from(["web", "app"]), min_size=1, unique=True),
        "countries": st.lists(st.sampled_from(["FR", "DE"]), min_size=1, unique=True),
        "tags": st.lists(st.sampled_from(["a", "b"]), min_size=1, unique=True),
        "skus": st.lists(st.sampled_from(["X", "Y"]), min_size=1, unique=True),
        "reasons": st.lists(st.sampled_from(["late", "lost"]), min_size=1, unique=True),
    },
)
_FACTS = st.builds(
    LineFacts,
    channel=st.sampled_from(["web", "app"]),
    country=st.sampled_from(["FR", "DE"]),
    segment=st.none(),
    sku=st.sampled_from(["X", "Y"]),
    tags=st.sampled_from([(), ("a",), ("b",), ("a", "b")]),
    reason=st.sampled_from(["late", "lost"]),
)


@given(whens=st.lists(_WHEN, min_size=2, max_size=5), facts=_FACTS)
def test_no_rule_said_never_to_be_reached_is_ever_the_first_that_fits(
    whens: list[dict[str, Any]], facts: LineFacts
) -> None:
    document = {"rules": rules(*({"when": when} for when in whens))}
    told = {pointer for pointer, code in flaws(**document) if code == "never_reached"}
    first = rule_for(ReturnPolicy.model_validate(document), facts)

    assert first is None or f"/rules/{first.name.removeprefix('rule ')}" not in told
