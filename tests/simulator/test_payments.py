from typing import Any

import pytest

from tests.outside import Outside

AUTHORIZE: dict[str, Any] = {
    "reference": "A-1",
    "amount_minor": 4488,
    "currency": "EUR",
    "token": "tok_ok",
}


async def pay(
    outside: Outside, operation: str, key: str, status: int = 200, **body: Any
) -> dict[str, Any]:
    answer = await outside.http.post(
        f"/payments/{operation}", json=body, headers={"Idempotency-Key": key}
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def a_hold(
    outside: Outside, amount_minor: int = 1000, token: str = "tok_ok"
) -> dict[str, Any]:
    held = await pay(
        outside,
        "authorize",
        "A-1:authorise:1",
        **AUTHORIZE | {"amount_minor": amount_minor, "token": token},
    )
    return {"reference": "A-1", "currency": "EUR", "authorization": held["id"]}


async def test_a_hold_says_until_when_it_may_be_captured(outside: Outside) -> None:
    held = await pay(outside, "authorize", "A-1:authorise:1", **AUTHORIZE)

    assert held["status"] == "approved"
    assert held["capture_before"].endswith("Z")
    entries = (await outside.ask("GET", "/books/payments?reference=A-1"))["data"]
    assert [entry.pop("at") is not None for entry in entries] == [True]
    assert entries == [
        {
            "key": "A-1:authorise:1",
            "kind": "authorize",
            "reference": "A-1",
            "amount_minor": 4488,
            "currency": "EUR",
        }
    ]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_nobody_knows", "token_unknown"),
    ],
)
async def test_a_refused_card_leaves_no_trace_in_the_books(
    outside: Outside, token: str, reason: str
) -> None:
    answer = await pay(outside, "authorize", "A-1:authorise:1", **AUTHORIZE | {"token": token})

    assert answer == {"status": "declined", "reason": reason}
    assert await outside.books("payments") == []
    lookup = await outside.http.get("/payments/lookup", params={"key": "A-1:authorise:1"})
    assert lookup.status_code == 404


async def test_the_same_key_moves_money_once_and_another_amount_under_it_is_refused(
    outside: Outside,
) -> None:
    first = await pay(outside, "authorize", "A-1:authorise:1", **AUTHORIZE)
    again = await pay(outside, "authorize", "A-1:authorise:1", **AUTHORIZE)
    other = await pay(
        outside, "authorize", "A-1:authorise:1", 409, **AUTHORIZE | {"amount_minor": 1}
    )

    assert again == first
    assert other == {"code": "key_reused"}
    assert len(await outside.books("payments")) == 1


async def test_no_more_is_captured_than_held_and_no_more_refunded_than_captured(
    outside: Outside,
) -> None:
    hold = await a_hold(outside, 1000)

    await pay(outside, "capture", "c1", **hold, amount_minor=600)
    await pay(outside, "capture", "c2", 422, **hold, amount_minor=401)
    await pay(outside, "void", "v1", **hold, amount_minor=400)
    await pay(outside, "capture", "c3", 422, **hold, amount_minor=1)
    await pay(outside, "refund", "r1", 422, **hold, amount_minor=601)
    await pay(outside, "refund", "r2", **hold, amount_minor=600)

    kinds = [kind for kind, _ in await outside.books("payments")]
    assert kinds == ["authorize", "capture", "void", "refund"]


async def test_money_moves_only_in_its_own_order_and_currency(outside: Outside) -> None:
    hold = await a_hold(outside)

    for change in ({"reference": "B-2"}, {"currency": "USD"}, {"authorization": "auth_none"}):
        await pay(outside, "capture", "c1", 422, **hold | change, amount_minor=1)

    assert len(await outside.books("payments")) == 1


async def test_a_pending_hold_settles_later_and_says_so(outside: Outside) -> None:
    held = await pay(outside, "authorize", "k", **AUTHORIZE | {"token": "tok_pending"})
    assert held["status"] == "pending"
    assert await outside.books("payments") == []

    await outside.inbox.until(lambda letters: len(letters) == 1)

    letter = outside.inbox.letters[0]
    assert letter["path"] == "/v1/inbound/payments/simulator"
    assert (letter["key"], letter["kind"], letter["status"]) == ("k", "authorize", "succeeded")
    assert (await outside.ask("GET", "/payments/lookup?key=k"))["status"] == "approved"
    move = {"reference": "A-1", "currency": "EUR", "authorization": held["id"]}
    await pay(outside, "capture", "c1", **move, amount_minor=4488)


async def test_a_pending_hold_is_declined_later_if_a_decline_was_waiting(outside: Outside) -> None:
    await outside.breaks("payments", "authorize", "decline")

    await pay(outside, "authorize", "k", **AUTHORIZE | {"token": "tok_pending"})
    await outside.inbox.until(lambda letters: len(letters) == 1)

    assert outside.inbox.told("status") == ["failed"]
    assert (await outside.ask("GET", "/payments/lookup?key=k"))["status"] == "declined"
    assert await outside.books("payments") == []


async def test_some_cards_never_let_themselves_be_charged(outside: Outside) -> None:
    hold = await a_hold(outside, token="tok_capture_fails")

    answer = await pay(outside, "capture", "c1", **hold, amount_minor=1000)

    assert answer["status"] == "declined"
    assert await outside.books("payments") == [("authorize", "A-1:authorise:1")]


async def test_a_refund_may_be_taken_back_after_it_was_accepted(outside: Outside) -> None:
    hold = await a_hold(outside, token="tok_refund_fails_late")
    await pay(outside, "capture", "c1", **hold, amount_minor=1000)

    assert (await pay(outside, "refund", "r1", **hold, amount_minor=1000))["status"] == "approved"
    await outside.inbox.until(lambda letters: len(letters) == 1)

    assert outside.inbox.told("status") == ["failed"]
    assert (await outside.books("payments"))[2:] == [("refund", "r1"), ("refund_failed", "r1")]
    assert (await outside.ask("GET", "/payments/lookup?key=r1"))["status"] == "failed"
    await pay(outside, "refund", "r2", **hold, amount_minor=1000)


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": "1"},
        {"amount_minor": 0},
        {"amount_minor": 1.0},
        {"extra": 1},
        {"token": None},
    ],
)
async def test_a_body_that_is_not_exactly_right_is_refused(
    outside: Outside, change: dict[str, Any]
) -> None:
    await pay(outside, "authorize", "k", 422, **AUTHORIZE | change)

    assert await outside.books("payments") == []
