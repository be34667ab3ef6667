"""The report of what comes back, over HTTP."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import NOW, Stockroom
from tests.api.conftest import Api

PATH = "/v1/reports/returns"
PERIOD = {"from": (NOW - timedelta(days=1)).isoformat(), "to": "2027-01-01T00:00:00Z"}


@pytest.fixture
async def shop(api: Api) -> Shop:
    room = Stockroom(api.engine)
    await room.sells("LAMP", "MUG")
    await room.has_place("lyon")
    await room.holds("LAMP", "lyon", 10)
    await room.holds("MUG", "lyon", 10)
    return Shop(room)


async def test_operators_read_the_articles_with_the_highest_rate_first(
    api: Api, shop: Shop
) -> None:
    number = await shop.delivers(("LAMP", 4), ("MUG", 1))
    id = await shop.asks(number, (1, 1), (2, 1))
    await shop.receives(id, (1, 1, "as_new"), (2, 1, "as_new"))
    await shop.inspects(id, (1, 1, True), (2, 1, True))
    await shop.settles(id)

    answer = await api.operator.get(PATH, params=PERIOD)

    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["by"], report["to"]) == ("sku", "2027-01-01T00:00:00Z")
    assert [(row["key"], row["rate_percent"]) for row in report["data"]] == [
        ("MUG", 100.0),
        ("LAMP", 25.0),
    ]
    assert report["data"][1] == {
        "key": "LAMP", "sold": 4, "announced": 1, "returned": 1, "accepted": 1, "refused": 0,
        "refunded_minor": 1000, "currency": "EUR", "rate_percent": 25.0, "claimed": 0,
        "undelivered": 0,
    }  # fmt: skip
    narrowed = await api.operator.get(PATH, params=PERIOD | {"min_sold": "2", "limit": "1"})
    assert [row["key"] for row in narrowed.json()["data"]] == ["LAMP"]
    by_place = await api.operator.get(PATH, params=PERIOD | {"by": "location"})
    assert [(row["key"], row["returned"]) for row in by_place.json()["data"]] == [("lyon", 2)]


async def test_without_a_period_it_is_of_the_last_ninety_days(api: Api) -> None:
    report = (await api.operator.get(PATH)).json()

    since, until = (datetime.fromisoformat(report[name]) for name in ("from", "to"))
    assert until - since == timedelta(days=90)
    assert datetime.now(UTC) - until < timedelta(minutes=1)


async def test_reports_are_for_operators_and_questions_must_fit(api: Api) -> None:
    for who in (api.channel, api.node):
        assert (await who.get(PATH)).status_code == 403
    for wrong in (
        {"by": "colour"},
        {"from": "2026-11-01"},
        {"since": PERIOD["to"]},
        {"limit": "0"},
    ):
        answer = await api.operator.get(PATH, params=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "query_invalid")
