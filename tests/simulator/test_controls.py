import asyncio
from pathlib import Path
from typing import Any

import pytest

from simulator.clock import Clock
from simulator.faults import OPERATIONS
from tests.outside import Inbox, Outside, an_outside
from tests.simulator.test_nodes import buy_label, offer, reports
from tests.simulator.test_payments import AUTHORIZE, pay


async def scan(outside: Outside, number: str, status: str, **more: Any) -> None:
    body = {"status": status, **more}
    await outside.ask("POST", f"/carriers/{number}/events", json=body)


async def test_a_fault_strikes_as_often_as_asked_and_is_then_spent(outside: Outside) -> None:
    await outside.breaks("payments", "authorize", "decline", times=2)

    answers = [await pay(outside, "authorize", key, **AUTHORIZE) for key in ("a", "b", "c")]

    assert [answer["status"] for answer in answers] == ["declined", "declined", "approved"]
    (fault,) = (await outside.ask("GET", "/faults"))["data"]
    assert (fault["times"], fault["left"]) == (2, 0)
    await outside.ask("DELETE", "/faults")
    assert (await outside.ask("GET", "/faults"))["data"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "label"},
        {"party": "nodes"},
        {"party": "weather"},
        {"mode": "explode"},
        {"mode": "lose_webhook"},
        {"operation": "webhook", "mode": "decline"},
        {"times": 0},
        {"times": True},
        {"surprise": 1},
    ],
)
async def test_a_fault_that_could_never_strike_is_refused(
    outside: Outside, change: dict[str, Any]
) -> None:
    fault = {"party": "payments", "operation": "capture", "mode": "decline"} | change

    answer = await outside.http.post("/faults", json=fault)

    assert answer.status_code == 422
    assert (await outside.ask("GET", "/faults"))["data"] == []


@pytest.mark.parametrize("party", OPERATIONS)
async def test_every_published_operation_can_be_struck(outside: Outside, party: str) -> None:
    for operation in OPERATIONS[party]:
        mode = "lose_webhook" if operation == "webhook" else "slow"
        await outside.breaks(party, operation, mode)

    assert len((await outside.ask("GET", "/faults"))["data"]) == len(OPERATIONS[party])


@pytest.mark.parametrize("speed", [0, -1, 1_000_001, True, "3600"])
async def test_the_clock_runs_only_at_speeds_that_make_sense(outside: Outside, speed: Any) -> None:
    answer = await outside.http.post("/clock", json={"speed": speed})

    assert answer.status_code == 422


async def test_a_change_of_speed_shortens_the_waits_that_are_running() -> None:
    clock = Clock()
    waiting = asyncio.create_task(clock.wait(48 * 3600))
    await asyncio.sleep(0)

    clock.run_at(1_000_000)

    async with asyncio.timeout(5):
        await waiting


async def test_a_scan_by_hand_ends_the_script_and_returns_when_the_oms_has_it(
    outside: Outside,
) -> None:
    number = await buy_label(outside)
    await scan(outside, number, "lost", at="2026-11-22T10:00:00+01:00")
    told = list(outside.inbox.letters)
    await outside.hurries()
    await scan(outside, number, "delivered")

    assert [(it["status"], it["at"]) for it in told] == [("lost", "2026-11-22T09:00:00Z")]
    assert outside.inbox.told("status") == ["lost", "delivered"]
    events = (await outside.ask("GET", f"/carriers/lookup?tracking_number={number}"))["events"]
    assert [event["status"] for event in events] == ["lost", "delivered"]


async def test_a_parcel_never_sold_and_a_status_nobody_knows_are_refused(outside: Outside) -> None:
    number = await buy_label(outside)

    unknown = await outside.http.post("/carriers/SIM1/events", json={"status": "lost"})
    strange = await outside.http.post(f"/carriers/{number}/events", json={"status": "eaten"})

    assert (unknown.status_code, strange.status_code) == (404, 422)


async def test_a_webhook_is_sent_until_it_is_taken(outside: Outside) -> None:
    number = await buy_label(outside)
    outside.inbox.answers += [503, 500, 429, 401]

    await scan(outside, number, "delivered")

    assert outside.inbox.told("status") == ["delivered"]


async def test_a_webhook_the_oms_will_never_want_is_dropped(outside: Outside) -> None:
    number = await buy_label(outside)
    outside.inbox.answers += [404]

    answer = await outside.http.post(f"/carriers/{number}/events", json={"status": "lost"})

    assert answer.status_code == 502
    await scan(outside, number, "delivered")
    assert outside.inbox.told("status") == ["delivered"]


async def test_a_lost_webhook_never_arrives_but_a_lookup_tells(outside: Outside) -> None:
    number = await buy_label(outside)
    await outside.breaks("carriers", "webhook", "lose_webhook")

    await scan(outside, number, "in_transit")
    await scan(outside, number, "delivered")

    assert outside.inbox.told("status") == ["delivered"]
    events = (await outside.ask("GET", f"/carriers/lookup?tracking_number={number}"))["events"]
    assert [event["status"] for event in events] == ["in_transit", "delivered"]


async def test_a_doubled_webhook_arrives_twice_as_the_same_event(outside: Outside) -> None:
    number = await buy_label(outside)
    await outside.breaks("carriers", "webhook", "duplicate_webhook")

    await scan(outside, number, "delivered")

    assert len(outside.inbox.letters) == 2
    assert len(set(outside.inbox.told("event_id"))) == 1


async def test_a_shuffled_webhook_arrives_after_the_next(outside: Outside) -> None:
    number = await buy_label(outside)
    await outside.breaks("carriers", "webhook", "shuffle_webhooks")

    await scan(outside, number, "in_transit")
    await scan(outside, number, "delivered")
    await outside.inbox.until(lambda letters: len(letters) == 2)

    assert outside.inbox.told("status") == ["delivered", "in_transit"]


async def test_books_work_and_unsent_webhooks_outlive_a_restart(tmp_path: Path) -> None:
    books, inbox = tmp_path / "books.sqlite", Inbox()
    async with an_outside(books, inbox) as outside:
        await outside.ask("POST", "/nodes/store-lyon/behaviour", json={"manual": True})
        await pay(outside, "authorize", "k", **AUTHORIZE | {"token": "tok_pending"})
        inbox.answers += [503] * 1000
        await outside.hurries()
        await offer(outside)
    inbox.answers.clear()

    async with an_outside(books, inbox) as outside:
        await outside.hurries()
        await reports(outside, "pack")
        await buy_label(outside)
        await reports(outside, "hand_over")
        await inbox.until(lambda _: "succeeded" in inbox.told("status"))

        assert inbox.told("action") == ["accept", "pick", "pack", "hand_over"]
        assert await outside.books("payments") == [("authorize", "k")]
        assert (await outside.ask("GET", "/nodes/store-lyon/behaviour"))["manual"] is True
