"""Which lost effects explain themselves, and which need a person."""

import pytest

from oms.audit import Effect, OurEntry
from oms.recovery import Found, KnownOrder, compare_outside, in_doubt

N = "79LW-CZTX-6"


def effect(key: str, kind: str, amount: int | None = None) -> Effect:
    currency = None if amount is None else "EUR"
    return Effect(key=key, kind=kind, reference=N, amount_minor=amount, currency=currency)


def entry(key: str, kind: str, *, amount: int = 1000, status: str = "succeeded") -> OurEntry:
    return OurEntry(
        key=key,
        order_number=N,
        kind=kind,
        amount_minor=amount,
        currency="EUR",
        status=status,
        settled_by="provider",
        provider="simulator",
    )


HELD = entry(f"{N}:authorize:1", "authorization")
AT_WORK = KnownOrder(
    number=N, closed=False, entries=(HELD,), live_parts=(f"{N}-F1",), parts={f"{N}-F1": 0}
)


def judged(
    order: KnownOrder | None, *, payments: object = (), labels: object = (), offers: object = ()
) -> Found | None:
    given = [
        list(each) if isinstance(each, tuple) else [each] for each in (payments, labels, offers)
    ]
    known = {} if order is None else {order.number: order}
    found = compare_outside(known, payments=given[0], labels=given[1], offers=given[2])  # type: ignore[arg-type]
    assert len(found) <= 1
    return found[0] if found else None


def test_what_both_have_is_not_worth_a_word() -> None:
    held = effect(f"{N}:authorize:1", "authorize", 1000)

    assert judged(AT_WORK, payments=held, offers=effect(f"{N}-F1", "offer")) is None


def test_money_held_for_an_order_that_nobody_knows_is_told_with_what_to_do() -> None:
    found = judged(None, payments=effect(f"{N}:authorize:1", "authorize", 1000))

    assert found is not None
    assert (found.kind, found.about, found.needs_a_person) == ("order_unknown", N, True)
    assert found.effects == (f"payments: authorize of 1000 EUR under {N}:authorize:1",)
    assert "void or refund" in found.do


def test_a_capture_is_asked_again_under_its_key_when_the_location_reports_again() -> None:
    found = judged(
        AT_WORK,
        payments=effect(f"{N}:capture:1", "capture", 1000),
        labels=effect(f"{N}-S1:label:1", "label"),
    )

    assert found is not None
    assert (found.kind, found.needs_a_person) == ("asked_again", False)


@pytest.mark.parametrize(
    "lost",
    [
        effect(f"{N}:void:1", "void", 1000),
        effect(f"{N}:refund:1", "refund", 1000),
        effect(f"{N}:capture:2", "capture", 1000),
        effect("somebody's", "capture", 1000),
        effect(f"{N}:authorize:1", "authorize", 999),
        effect(f"{N}:authorize:1", "refund_failed", 1000),
    ],
    ids=lambda each: f"{each.kind} {each.key} {each.amount_minor}",
)
def test_money_that_followed_a_lost_decision_puts_its_order_in_doubt(lost: Effect) -> None:
    found = judged(AT_WORK, payments=lost)

    assert found is not None
    assert found.kind == "in_doubt"


@pytest.mark.parametrize("status", ["requested", "unknown", "failed"])
def test_a_new_attempt_that_was_lost_keeps_the_old_one_from_being_asked_again(status: str) -> None:
    first = entry(f"{N}:capture:1", "capture", status=status)
    order = AT_WORK.model_copy(update={"entries": (HELD, first)})

    found = judged(order, payments=effect(f"{N}:capture:2", "capture", 1000))

    assert found is not None
    assert found.kind == "in_doubt"


def test_a_capture_without_a_location_that_reports_is_in_doubt() -> None:
    nowhere = AT_WORK.model_copy(update={"live_parts": ()})

    found = judged(nowhere, payments=effect(f"{N}:capture:1", "capture", 1000))

    assert found is not None
    assert found.kind == "in_doubt"


@pytest.mark.parametrize("key", [f"{N}-F2", f"{N}-F1:cancel:1"])
def test_work_a_location_heard_of_and_we_did_not_puts_the_order_in_doubt(key: str) -> None:
    found = judged(AT_WORK, offers=effect(key, "offer"), labels=effect(f"{N}-S1:label:1", "label"))

    assert found is not None
    assert found.kind == "in_doubt"
    assert len(found.effects) == 2


def test_nothing_explains_itself_on_a_closed_order() -> None:
    closed = AT_WORK.model_copy(update={"closed": True})

    found = judged(closed, payments=effect(f"{N}:capture:1", "capture", 1000))

    assert found is not None
    assert found.kind == "in_doubt"


def test_a_return_label_that_our_books_have_is_no_stranger() -> None:
    known = AT_WORK.model_copy(update={"closed": True, "labels": {f"{N}-R1-P1": 2}})

    for attempt in (1, 2):
        assert judged(known, labels=effect(f"{N}-R1-P1:label:{attempt}", "label")) is None
    assert judged(known, labels=effect(f"{N}-R1-P1:label:3", "label")) is not None


def test_a_return_that_is_lost_with_the_books_is_told_and_holds_nothing_up() -> None:
    labels = (effect(f"{N}-R1-P1:label:1", "label"), effect(f"{N}-R1-P2:label:1", "label"))

    found = judged(AT_WORK, labels=labels)

    assert found is not None
    assert (found.kind, found.about, found.needs_a_person) == ("return_unknown", f"{N}-R1", True)
    assert len(found.effects) == 2
    assert in_doubt([found]) == {}
