from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.restocking import Found, Shelf, Way, bucket_of, decide, facts_of, spread, to_place
from oms.return_policy import ReturnPolicy, UnitFacts
from oms.returns import Lot, Return

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def a_lot(**more: Any) -> Lot:
    lot = {"id": 1, "line": 1, "sku": "LAMP", "condition": "as_new", "location": "paris"}
    return Lot.model_validate(lot | {"quantity": 1, "state": "accepted", "at": NOW} | more)


def a_return(*lots: Lot, sku: str = "LAMP", reason: str = "too_small") -> Return:
    line = {"line": 1, "sku": sku, "quantity": 9, "reason": reason}
    known = {"id": "2222-2222-2-R1", "seq": 1, "kind": "return", "via": "post"}
    agreed = {"resolution": "refund", "location": "paris", "terms": {}, "refund_minor": 0}
    return Return.model_validate(
        known | agreed | {"requested_at": NOW, "lines": [line], "lots": lots}
    )


def found_of(lot: Lot, **more: Any) -> Found:
    facts = UnitFacts(
        location=lot.location,
        kind="warehouse",
        groups=(),
        condition=lot.condition,
        reason="",
        sku=lot.sku,
        tags=(),
    )
    known: dict[str, Any] = {"facts": facts, "country": "FR"}
    return facts_of(a_return(lot), lot, Found(**known | more))


def a_policy(*restock: dict[str, Any]) -> ReturnPolicy:
    rules = [{"name": f"rule {i}"} | rule for i, rule in enumerate(restock)]
    return ReturnPolicy.model_validate({"rules": [{"name": "usual"}], "restock": rules})


def a_shelf(location: str, supply: int = 0, sold: int = 0, **more: Any) -> Shelf:
    known: dict[str, Any] = {"location": location, "country": "FR", "supply": supply, "sold": sold}
    return Shelf(**known | more)


def ways(units: int, *shelves: Shelf, free: int = 0) -> list[tuple[str, int]]:
    """Where units go that are in Paris and shall go elsewhere."""
    found = found_of(a_lot(quantity=units), free=free)
    return [(way.to or "paris", way.units) for way in spread(units, found, shelves)]


# --- what becomes of units ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "becomes", "bucket"),
    [
        ("as_new", "restock", "on_hand"),
        ("opened", "restock", "on_hand"),
        ("damaged", "quarantine", "damaged"),
        ("wrong_item", "quarantine", None),
    ],
)
def test_without_a_rule_the_condition_decides(
    condition: Any, becomes: str, bucket: str | None
) -> None:
    lot = a_lot(condition=condition)

    way, to = decide(a_policy(), lot, found_of(lot))

    assert (way.disposition, to) == (becomes, None)
    assert way.why == f"{condition.replace('_', ' ')}, no rule says otherwise"
    assert bucket_of(condition, way.disposition) == bucket


@pytest.mark.parametrize("disposition", ["refurbish", "quarantine", "return_to_supplier"])
def test_sound_goods_that_are_set_aside_count_as_no_stock(disposition: Any) -> None:
    assert bucket_of("as_new", disposition) is None
    assert bucket_of("opened", disposition) is None


def test_a_place_s_rule_wins_over_the_condition_and_an_inspection_over_the_rule() -> None:
    policy = a_policy({"when": {"conditions": ["damaged"]}, "disposition": "refurbish"})
    damaged, looked_at = (
        a_lot(condition="damaged"),
        a_lot(condition="damaged", disposition="dispose"),
    )

    assert decide(policy, damaged, found_of(damaged))[0].disposition == "refurbish"
    assert decide(policy, looked_at, found_of(looked_at))[0].disposition == "dispose"


def test_a_rule_sees_why_the_customer_sent_it() -> None:
    policy = a_policy({"when": {"reasons": ["too_small"]}, "disposition": "refurbish"})
    lot = a_lot()

    way, _ = decide(policy, lot, found_of(lot))

    assert way.disposition == "refurbish"
    assert way.why == f"as new, by the rule “{policy.restock[0].name}”"


@pytest.mark.parametrize("asked", [None, "restock", "restock_elsewhere"])
@pytest.mark.parametrize("why", ["recalled", "blocked"])
def test_what_must_not_be_sold_never_goes_on_a_shelf(asked: Any, why: str) -> None:
    lot = a_lot(disposition=asked)

    way, to = decide(a_policy(), lot, found_of(lot, **{why: True}))

    assert (way.disposition, to) == ("quarantine", None)
    assert why in way.why


def test_something_else_goes_on_a_shelf_only_once_somebody_said_what_it_is() -> None:
    unnamed = a_lot(condition="wrong_item", disposition="restock")
    named = unnamed.model_copy(update={"sku": "MUG"})

    assert decide(a_policy(), unnamed, found_of(unnamed))[0].disposition == "quarantine"
    assert decide(a_policy(), named, found_of(named))[0].disposition == "restock"
    nothing_we_know = found_of(named, known=False)
    assert decide(a_policy(), named, nothing_we_know)[0].disposition == "quarantine"


# --- where it goes --------------------------------------------------------------------------


def test_of_places_that_are_out_of_stock_the_one_that_sold_most_comes_first() -> None:
    assert ways(1, a_shelf("nice", 0, 3), a_shelf("lyon", 0, 9), a_shelf("metz", 5, 99)) == [
        ("lyon", 1)
    ]
    assert ways(3, a_shelf("nice", 0, 3), a_shelf("lyon", 0, 9), a_shelf("metz", 5, 99)) == [
        ("lyon", 1),
        ("nice", 1),
        ("metz", 1),
    ]


def test_an_empty_place_that_never_sold_it_needs_it_only_if_it_shall_keep_some() -> None:
    assert ways(1, a_shelf("nice")) == [("paris", 1)]
    assert ways(1, a_shelf("nice", keeps=True)) == [("nice", 1)]


def test_a_place_gets_what_its_safety_stock_lacks_and_one_to_sell() -> None:
    assert ways(9, a_shelf("nice", -2, keeps=True)) == [("nice", 3), ("paris", 6)]


def test_goods_on_their_way_to_a_place_are_there_as_good_as() -> None:
    assert ways(1, a_shelf("nice", 1, 3), a_shelf("lyon", 0, 1)) == [("lyon", 1)]


def test_otherwise_it_goes_where_it_sells_best_for_what_is_there_if_need_be_here() -> None:
    paris = a_shelf("paris", 1, 8)

    assert ways(1, paris, a_shelf("nice", 1, 9)) == [("nice", 1)]
    assert ways(1, paris, a_shelf("nice", 4, 9)) == [("paris", 1)]
    assert ways(1, paris, a_shelf("nice", 1, 8)) == [("paris", 1)]
    assert ways(10, paris, a_shelf("nice", 1, 8)) == [("nice", 5), ("paris", 5)]


def test_it_crosses_a_border_only_if_nobody_at_home_sells_it() -> None:
    empty_abroad = a_shelf("oslo", 0, 99, country="NO")

    assert ways(1, empty_abroad, a_shelf("nice", 5, 1)) == [("nice", 1)]
    assert ways(1, empty_abroad, a_shelf("paris", 5, 1)) == [("paris", 1)]
    assert ways(1, empty_abroad, a_shelf("nice", 5, 0)) == [("oslo", 1)]


def test_what_is_promised_here_stays_here() -> None:
    assert ways(5, a_shelf("nice", 0, 9), a_shelf("lyon", 0, 1), free=-3) == [
        ("paris", 3),
        ("nice", 1),
        ("lyon", 1),
    ]
    found = found_of(a_lot(quantity=5), free=-3)
    here, there = "3 are promised or kept back here", "as it was inspected"
    assert to_place(Way("restock_elsewhere", 5, there), found, "nice") == (
        Way("restock_elsewhere", 2, there, "nice"),
        Way("restock", 3, here),
    )


SHELVES = st.lists(
    st.builds(
        a_shelf,
        st.sampled_from(("lyon", "metz", "nice", "oslo", "paris")),
        st.integers(-5, 5),
        st.integers(0, 5),
        country=st.sampled_from(("FR", "NO")),
        keeps=st.booleans(),
    ),
    unique_by=lambda shelf: shelf.location,
)


@given(units=st.integers(1, 30), free=st.integers(-20, 20), shelves=SHELVES)
def test_every_unit_goes_somewhere_once_and_none_that_is_needed_leaves(
    units: int, free: int, shelves: list[Shelf]
) -> None:
    found = found_of(a_lot(quantity=units), free=free)

    gone = spread(units, found, shelves)

    assert sum(way.units for way in gone) == units
    assert all(way.units > 0 and way.why for way in gone)
    assert len({way.to for way in gone}) == len(gone)
    leaving = [way for way in gone if way.to is not None]
    assert all(way.disposition == "restock_elsewhere" for way in leaving)
    assert sum(way.units for way in leaving) <= max(0, free + units)
    assert {way.to for way in leaving} <= {s.location for s in shelves if s.sold or s.keeps}
    assert "paris" not in {way.to for way in leaving}
