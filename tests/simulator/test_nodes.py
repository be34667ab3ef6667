from typing import Any

from tests.outside import Outside

LINES = [{"line": 1, "sku": "LAMP-01", "quantity": 2}, {"line": 2, "sku": "RUG-02", "quantity": 1}]


async def offer(outside: Outside, *, method: str = "home", at: str = "wh-paris") -> None:
    body = {"fulfillment_order": "A-1-F1", "reference": "A-1", "method": method, "lines": LINES}
    headers = {"Idempotency-Key": "A-1-F1"}
    await outside.ask("POST", f"/nodes/{at}/offers", json=body, headers=headers)


async def cancel(
    outside: Outside, lines: list[dict[str, Any]] | None = None, key: str = "A-1-F1:cancel:1"
) -> None:
    body = {"fulfillment_order": "A-1-F1", "reference": "A-1", "lines": lines}
    headers = {"Idempotency-Key": key}
    await outside.ask("POST", "/nodes/wh-paris/cancellations", json=body, headers=headers)


async def buy_label(outside: Outside) -> str:
    body = {
        "reference": "A-1",
        "shipment": "A-1-S1",
        "fulfillment_order": "A-1-F1",
        "location": "wh-paris",
        "sender": {"country": "FR", "postal_code": "75001"},
        "recipient": {"country": "FR", "postal_code": "69002"},
        "weight_g": 1500,
    }
    headers = {"Idempotency-Key": "A-1-S1:label:1"}
    label = await outside.ask("POST", "/carriers/labels", json=body, headers=headers)
    return str(label["tracking_number"])


def actions(outside: Outside) -> list[str]:
    return outside.inbox.told("action")


async def reports(outside: Outside, action: str) -> dict[str, Any]:
    """Wait for a node's report and give its body."""
    await outside.inbox.until(lambda _: action in actions(outside))
    return dict(next(it for it in outside.inbox.letters if it.get("action") == action)["body"])


async def test_a_warehouse_accepts_picks_packs_and_hands_over_when_the_label_is_there(
    outside: Outside,
) -> None:
    await outside.hurries()
    await offer(outside)

    packed = await reports(outside, "pack")
    assert actions(outside) == ["accept", "pick", "pack"]
    await buy_label(outside)
    handed_over = await reports(outside, "hand_over")

    both = [{"line": 1, "quantity": 2}, {"line": 2, "quantity": 1}]
    assert packed == {"parcels": [{"weight_g": 1500, "lines": both}]}
    assert handed_over == {}
    assert outside.inbox.letters[0]["path"] == "/v1/inbound/nodes/wh-paris"
    assert await outside.books("nodes") == [("offer", "A-1-F1")]


async def test_no_parcel_is_scanned_before_its_node_handed_it_over(outside: Outside) -> None:
    await outside.hurries()
    await offer(outside)
    await reports(outside, "pack")

    await buy_label(outside)
    await outside.inbox.until(
        lambda letters: any(it.get("status") == "delivered" for it in letters)
    )

    told = [letter.get("action") or letter["status"] for letter in outside.inbox.letters]
    assert told[2:] == ["pack", "hand_over", "in_transit", "out_for_delivery", "delivered"]


async def test_in_a_store_the_customer_collects_and_shows_a_document(outside: Outside) -> None:
    await outside.hurries()
    await offer(outside, method="store_pickup")

    handed_over = await reports(outside, "hand_over")

    assert handed_over == {"verified_by": "id_document"}
    assert actions(outside) == ["accept", "pick", "ready", "hand_over"]


async def test_a_full_location_rejects(outside: Outside) -> None:
    await outside.ask("POST", "/nodes/wh-paris/behaviour", json={"accept": False})
    await outside.hurries()
    await offer(outside)

    assert await reports(outside, "reject") == {"reason": "capacity"}


async def test_a_short_location_finds_so_many_fewer_and_packs_what_it_found(
    outside: Outside,
) -> None:
    await outside.ask("POST", "/nodes/wh-paris/behaviour", json={"short": {"LAMP-01": 1}})
    await outside.hurries()
    await offer(outside)

    packed = await reports(outside, "pack")

    picked = [{"line": 1, "picked": 1}, {"line": 2, "picked": 1}]
    assert await reports(outside, "pick") == {"lines": picked}
    assert packed["parcels"][0]["weight_g"] == 1000


async def test_a_manual_location_does_nothing_by_itself_even_after_it_turns_automatic(
    outside: Outside,
) -> None:
    await outside.ask("POST", "/nodes/wh-paris/behaviour", json={"manual": True})
    await outside.hurries()
    await offer(outside)
    await outside.ask("POST", "/nodes/wh-paris/behaviour", json={})
    await cancel(outside)

    number = await buy_label(outside)
    await outside.inbox.until(
        lambda letters: any(it.get("status") == "delivered" for it in letters)
    )

    assert actions(outside) == []
    assert set(outside.inbox.told("tracking_number")) == {number}
    assert [kind for kind, _ in await outside.books("nodes")] == ["offer", "cancel"]


async def test_a_behaviour_left_out_is_the_default_again(outside: Outside) -> None:
    await outside.ask("POST", "/nodes/x/behaviour", json={"manual": True, "short": {"A": 1}})

    assert await outside.ask("POST", "/nodes/x/behaviour", json={"accept": False}) == {
        "accept": False,
        "short": {},
        "manual": False,
    }


async def test_work_nobody_accepted_is_forgotten_without_an_answer(outside: Outside) -> None:
    await offer(outside)
    await cancel(outside)
    await outside.hurries()

    body = {"fulfillment_order": "B-2-F1", "reference": "B-2", "method": "home", "lines": LINES}
    await outside.ask(
        "POST", "/nodes/wh-paris/offers", json=body, headers={"Idempotency-Key": "B-2-F1"}
    )
    await reports(outside, "pack")

    assert set(outside.inbox.told("fulfillment_order")) == {"B-2-F1"}


async def test_an_offer_that_arrives_after_its_withdrawal_is_not_worked_on(
    outside: Outside,
) -> None:
    await cancel(outside)
    await offer(outside)
    await outside.hurries()
    await cancel(outside, key="A-1-F1:cancel:2")

    assert outside.inbox.letters == []
    assert [kind for kind, _ in await outside.books("nodes")] == ["cancel", "cancel"]


async def test_accepted_work_stops_when_asked_until_it_has_left(outside: Outside) -> None:
    await outside.hurries()
    await offer(outside)
    await reports(outside, "pack")

    await cancel(outside)

    assert await reports(outside, "cancel_response") == {"accepted": True}
    await buy_label(outside)
    assert "hand_over" not in actions(outside)


async def test_what_has_left_cannot_be_stopped(outside: Outside) -> None:
    await outside.hurries()
    await offer(outside)
    await reports(outside, "pack")
    await buy_label(outside)
    await reports(outside, "hand_over")

    await cancel(outside)

    assert await reports(outside, "cancel_response") == {"accepted": False}


async def test_a_part_that_is_stopped_is_not_picked(outside: Outside) -> None:
    await outside.hurries(18_000)  # a step takes a tenth of a second
    await offer(outside)
    await reports(outside, "accept")

    await cancel(outside, [{"line": 1, "sku": "LAMP-01", "quantity": 1}])
    await outside.hurries()

    assert await reports(outside, "cancel_response") == {"accepted": True}
    picked = [{"line": 1, "picked": 1}, {"line": 2, "picked": 1}]
    assert await reports(outside, "pick") == {"lines": picked}


async def test_a_declined_offer_makes_no_entry_and_is_rejected(outside: Outside) -> None:
    await outside.breaks("nodes", "offer", "decline")
    await outside.hurries()
    await offer(outside)

    assert await reports(outside, "reject") == {"reason": "capacity"}
    assert await outside.books("nodes") == []


async def test_a_declined_cancellation_makes_no_entry_and_work_goes_on(outside: Outside) -> None:
    await outside.breaks("nodes", "cancel", "decline")
    await outside.hurries(18_000)
    await offer(outside)
    await reports(outside, "accept")
    await cancel(outside)
    await outside.hurries()

    assert await reports(outside, "cancel_response") == {"accepted": False}
    await reports(outside, "pack")
    assert await outside.books("nodes") == [("offer", "A-1-F1")]


async def test_a_closed_parcel_is_stopped_whole_or_not_at_all(outside: Outside) -> None:
    await outside.hurries()
    await offer(outside)
    await reports(outside, "pack")

    await cancel(outside, LINES[:1])
    await outside.inbox.until(lambda _: actions(outside).count("cancel_response") == 1)
    await cancel(outside, LINES, key="A-1-F1:cancel:2")
    await outside.inbox.until(lambda _: actions(outside).count("cancel_response") == 2)

    answers = [it["body"] for it in outside.inbox.letters if it["action"] == "cancel_response"]
    assert answers == [{"accepted": False}, {"accepted": True}]


async def test_the_answer_to_a_cancellation_comes_before_the_work_that_leaves_it_out(
    outside: Outside,
) -> None:
    await outside.hurries(18_000)
    await offer(outside)
    await reports(outside, "pick")

    await cancel(outside, LINES[1:])
    packed = await reports(outside, "pack")

    assert actions(outside) == ["accept", "pick", "cancel_response", "pack"]
    assert packed["parcels"][0]["lines"] == [{"line": 1, "quantity": 2}]


async def test_who_offers_the_same_again_hears_the_same_again(outside: Outside) -> None:
    await outside.hurries()
    await offer(outside)
    await reports(outside, "pack")

    await offer(outside)
    await outside.inbox.until(lambda _: actions(outside).count("pack") == 2)

    first, again = outside.inbox.letters[:3], outside.inbox.letters[3:]
    assert [it["body"] for it in again] == [it["body"] for it in first]
    assert await outside.books("nodes") == [("offer", "A-1-F1")]
