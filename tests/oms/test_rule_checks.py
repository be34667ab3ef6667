"""A wrong rule set is refused with every error, and only what is certainly wrong is called so."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.document_checks import Reference
from oms.rule_checks import read_rule_set, references
from oms.rules import DEFAULT, From, Rule, RuleSet

PLAIN: dict[str, Any] = {"name": "Plain", "currency": "EUR", "rules": [{"name": "all"}]}


def rules(*rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    named = [{"name": f"rule {i}", **rule} for i, rule in enumerate(rules)]
    return {**PLAIN, "rules": named, **changes}


def flaws(document: Any) -> list[tuple[str, str]]:
    found = read_rule_set(document)
    assert not isinstance(found, RuleSet)
    return [(flaw.pointer, flaw.code) for flaw in found]


def test_a_rule_set_is_read_as_it_was_written() -> None:
    found = read_rule_set(PLAIN)

    assert isinstance(found, RuleSet)
    assert found.model_dump(mode="json", by_alias=True, exclude_unset=True) == PLAIN


def test_the_default_is_a_rule_set_like_any_other() -> None:
    document = DEFAULT.model_dump(mode="json", by_alias=True)

    assert read_rule_set(document) == DEFAULT


def test_every_error_is_told_at_once() -> None:
    document = {
        "currency": "EUR",
        "rates": {"USD": 1.1, "EUR": "1"},
        "rules": [
            {"name": "one", "from": {"kinds": ["stre"]}, "left": "cancel"},
            {"name": "one", "left": "cancel", "objective": {"parcel_minor": -1}},
            {"name": "two", "left": "cancel"},
            {"name": "three", "when": {"country": ["FR"]}},
            {"name": "four"},
        ],
        "version": 3,
    }

    assert flaws(document) == [
        ("/name", "required"),
        ("/rates/USD", "wrong_type"),
        ("/rules/0/from/kinds/0", "not_allowed"),
        ("/rules/1/objective/parcel_minor", "too_small"),
        ("/rules/3/when/country", "unknown_field"),
        ("/version", "reserved_name"),
        ("/rules/1/name", "repeated"),
        ("/rules/4", "never_reached"),
        ("/rates/EUR", "not_allowed"),
    ]


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        (
            rules({"from": {"kinds": ["stre"]}}),
            "/rules/0/from/kinds/0",
            '"stre" is none of warehouse, store, supplier, marketplace, reseller, '
            "third_party_logistics. Did you mean `store`?",
        ),
        (
            rules({"form": {}}),
            "/rules/0/form",
            "There is no such field. Did you mean `from`?",
        ),
        (
            rules({"objective": {"shipping": 1}}),
            "/rules/0/objective/shipping",
            '1 must stand in quotes ("1"), so that it is not rounded.',
        ),
        (
            rules({"objective": {"shipping": "-1"}}),
            "/rules/0/objective/shipping",
            '"-1" is no decimal number of 0 or more with at most 6 places, like "1.25".',
        ),
        (
            rules({"from": {"has_capacity": False}}),
            "/rules/0/from/has_capacity",
            "false is none of true.",
        ),
        (rules({"when": 5}), "/rules/0/when", "Fields are wanted, not 5."),
        (rules({"keep": 1.5}), "/rules/0/keep", "A whole number is wanted, not 1.5."),
        (rules({"keep": -1}), "/rules/0/keep", "0 or more is wanted, not -1."),
        (rules({"name": None}), "/rules/0/name", "A text is wanted, not null."),
        (
            rules({"from": {"locations": ["a b"]}}),
            "/rules/0/from/locations/0",
            '"a b" is no id: letters, digits, `.`, `_` and `-`, at most 64.',
        ),
        (
            rules({"when": {"countries": ["XX"]}}),
            "/rules/0/when/countries/0",
            '"XX" is no country of ISO 3166-1 alpha-2.',
        ),
        (rules({}, rates={"USD": "0.000"}), "/rates/USD", 'More than 0 is wanted, not "0.000".'),
        ([], "", "Fields are wanted, not []."),
    ],
)
def test_an_error_is_told_in_words_that_help(document: Any, pointer: str, words: str) -> None:
    found = read_rule_set(document)

    assert not isinstance(found, RuleSet)
    assert [(flaw.pointer, flaw.detail) for flaw in found] == [(pointer, words)]


FRANCE, ABROAD = {"countries": ["FR"]}, {"countries": ["FR", "DE"]}


@pytest.mark.parametrize(
    "document",
    [
        rules({"left": "cancel"}, {}),
        rules({"left": "backorder"}, {"when": FRANCE}),
        rules({"left": "cancel", "when": ABROAD}, {"when": FRANCE}),
        rules({"left": "cancel", "lines": {"tags": ["a", "b"]}}, {"lines": {"tags": ["b"]}}),
        rules(
            {"left": "cancel", "when": {"value_minor": {"at_least": 5}}},
            {"when": {"value_minor": {"at_least": 5, "at_most": 9}}},
        ),
        rules(
            {"left": "cancel", "when": {"except_countries": ["FR"]}},
            {"when": {"countries": ["DE"]}},
        ),
    ],
)
def test_a_rule_to_which_nothing_is_left_is_never_reached(document: dict[str, Any]) -> None:
    assert flaws(document) == [("/rules/1", "never_reached")]


@pytest.mark.parametrize(
    "document",
    [
        rules({}, {}),
        rules({"left": "cancel", "when": FRANCE}, {"when": ABROAD}),
        rules({"left": "cancel", "when": FRANCE}, {}),
        rules({"left": "cancel", "when": {"except_countries": ["FR"]}}, {}),
        rules({"left": "cancel", "lines": {"without_tags": ["a"]}}, {}),
        rules(
            {"left": "cancel", "when": {"value_minor": {"at_most": 5}}},
            {"when": {"value_minor": {"at_least": 5}}},
        ),
    ],
)
def test_a_rule_to_which_something_is_left_is_none_of_our_business(
    document: dict[str, Any],
) -> None:
    assert isinstance(read_rule_set(document), RuleSet)


STORES, WAREHOUSES = {"kinds": ["store"]}, {"kinds": ["warehouse"]}


@pytest.mark.parametrize(
    ("document", "pointer", "code"),
    [
        (rules({"from": STORES, "except": STORES}), "/rules/0/except", "fits_nothing"),
        (rules({"except": {}}), "/rules/0/except", "fits_nothing"),
        (
            rules({"from": {"locations": ["a"]}, "except": {"locations": ["b", "a"]}}),
            "/rules/0/except",
            "fits_nothing",
        ),
        (
            rules({"from": STORES, "prefer": [{"groups": ["x"]}, WAREHOUSES]}),
            "/rules/0/prefer/1",
            "fits_nothing",
        ),
        (
            rules({"except": WAREHOUSES, "prefer": [WAREHOUSES]}),
            "/rules/0/prefer/0",
            "fits_nothing",
        ),
        (
            rules({"prefer": [STORES, {**STORES, "within_km": 9}]}),
            "/rules/0/prefer/1",
            "never_reached",
        ),
        (
            rules({"lines": {"tags": ["a"], "without_tags": ["a", "b"]}}),
            "/rules/0/lines",
            "fits_nothing",
        ),
        (
            rules({"when": {"countries": ["FR"], "except_countries": ["FR"]}}),
            "/rules/0/when",
            "fits_nothing",
        ),
        (rules({}, never=[{"why": "x", "from": {}}]), "/never/0", "fits_nothing"),
        (rules({}, costs=[{}, {"from": STORES}]), "/costs/1", "never_reached"),
        (rules({}, rates={"EUR": "1"}), "/rates/EUR", "not_allowed"),
        (
            rules({"when": {"value_minor": {"at_least": 2, "at_most": 1}}}),
            "/rules/0/when/value_minor",
            "not_allowed",
        ),
        (rules({"when": {"channels": []}}), "/rules/0/when/channels", "required"),
        (rules({"when": {"channels": ["a", "a"]}}), "/rules/0/when/channels", "repeated"),
    ],
)
def test_what_can_never_take_effect_is_refused(
    document: dict[str, Any], pointer: str, code: str
) -> None:
    assert flaws(document) == [(pointer, code)]


def test_a_group_of_places_may_have_members_of_another_kind_too() -> None:
    document = rules(
        {"from": STORES, "except": {"groups": ["x"]}, "prefer": [{"groups": ["x", "y"]}]}
    )

    assert isinstance(read_rule_set(document), RuleSet)


def test_what_is_named_is_found_wherever_it_stands_also_beside_errors() -> None:
    document = {
        "rules": [
            {
                "when": {"channels": ["web"], "methods": ["drone"]},
                "lines": {"skus": ["LAMP", "no sku"]},
                "from": {"locations": ["paris"], "carriers": ["dhl"], "groups": ["île de France"]},
            }
        ],
        "never": [{"from": {"locations": ["lyon"]}}],
    }

    assert references(document) == [
        Reference("channel", "web", "/rules/0/when/channels/0"),
        Reference("sku", "LAMP", "/rules/0/lines/skus/0"),
        Reference("location", "paris", "/rules/0/from/locations/0"),
        Reference("carrier", "dhl", "/rules/0/from/carriers/0"),
        Reference("group", "île de France", "/rules/0/from/groups/0"),
        Reference("location", "lyon", "/never/0/from/locations/0"),
    ]


# --- only what is certain -------------------------------------------------------------------


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


def given_or_not(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


SPANS = (
    st.builds(lambda low: {"at_least": low}, st.integers(0, 3))
    | st.builds(lambda high: {"at_most": high}, st.integers(0, 3))
    | st.builds(
        lambda low, more: {"at_least": low, "at_most": low + more},
        st.integers(0, 3),
        st.integers(0, 2),
    )
)
WHENS = given_or_not(
    channels=some("web", "till"),
    countries=some("FR", "DE", "IT"),
    except_countries=some("FR", "DE", "IT"),
    value_minor=SPANS,
)
LINES = given_or_not(skus=some("A", "B"), tags=some("x", "y"), without_tags=some("x", "y"))
RULES = st.fixed_dictionaries(
    {"when": WHENS, "lines": LINES, "left": st.sampled_from(["next_rule", "cancel", "backorder"])}
)
ORDERS = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(["web", "till"]),
        "country": st.sampled_from(["FR", "DE", "IT", "US"]),
        "value": st.integers(0, 4),
        "sku": st.sampled_from("ABC"),
        "tags": st.sets(st.sampled_from("xyz")),
    }
)


def is_about(rule: Rule, order: dict[str, Any]) -> bool:
    when, lines = rule.when, rule.lines
    return (
        (when.channels is None or order["channel"] in when.channels)
        and (when.countries is None or order["country"] in when.countries)
        and order["country"] not in (when.except_countries or ())
        and (when.value_minor is None or when.value_minor.holds(order["value"]))
        and (lines.skus is None or order["sku"] in lines.skus)
        and (lines.tags is None or bool(order["tags"] & set(lines.tags)))
        and not order["tags"] & set(lines.without_tags or ())
    )


@settings(max_examples=150)
@given(st.lists(RULES, min_size=1, max_size=4), st.lists(ORDERS, min_size=1, max_size=20))
def test_no_order_ever_comes_to_a_rule_that_was_called_useless(
    written: list[dict[str, Any]], orders: list[dict[str, Any]]
) -> None:
    document = rules(*written)
    found = read_rule_set(document)
    told = () if isinstance(found, RuleSet) else found
    useless = {int(f.pointer.split("/")[2]) for f in told}
    read = [Rule.model_validate(rule) for rule in document["rules"]]

    for order in orders:
        for i, rule in enumerate(read):
            if is_about(rule, order):
                assert i not in useless
                if rule.left != "next_rule":
                    break


PLACES = given_or_not(
    kinds=some("store", "warehouse"),
    groups=some("a", "b"),
    countries=some("FR", "DE"),
    within_km=st.integers(0, 2),
    same_country=st.booleans(),
)


@settings(max_examples=150)
@given(
    st.fixed_dictionaries(
        {"from": PLACES}, optional={"except": PLACES, "prefer": st.lists(PLACES, max_size=3)}
    ),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["store", "warehouse"]),
            "groups": st.sets(st.sampled_from("abc")),
            "country": st.sampled_from(["FR", "DE"]),
            "km": st.integers(0, 3),
            "to": st.sampled_from(["FR", "DE"]),
        }
    ),
)
def test_no_place_is_ever_in_a_group_that_was_called_empty(
    written: dict[str, Any], place: dict[str, Any]
) -> None:
    document = rules(written)
    found = read_rule_set(document)
    told = () if isinstance(found, RuleSet) else found
    rule = Rule.model_validate(document["rules"][0])

    def allowed(by: From | None) -> bool:
        return by is not None and (
            (by.kinds is None or place["kind"] in by.kinds)
            and (by.groups is None or bool(place["groups"] & set(by.groups)))
            and (by.countries is None or place["country"] in by.countries)
            and (by.within_km is None or place["km"] <= by.within_km)
            and by.same_country in (None, place["country"] == place["to"])
        )

    may_serve = allowed(rule.from_) and not allowed(rule.except_)
    tier = next((i for i, group in enumerate(rule.prefer) if allowed(group)), None)
    for flaw in told:
        if flaw.pointer == "/rules/0/except":
            assert not may_serve
        else:
            assert not (may_serve and flaw.pointer == f"/rules/0/prefer/{tier}")
