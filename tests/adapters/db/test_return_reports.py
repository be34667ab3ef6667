"""What comes back of what was sold, counted by the books; and who comes back too often."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from adapters.db.return_alerts import tell_return_rates
from adapters.db.return_reports import Asked, By, ReportRow, read_report
from oms.return_policy import ReturnAlert, ReturnPolicy, ReturnRule
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import NOW, Stockroom

DAY = timedelta(days=1)


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    await stockroom.holds("LAMP", "lyon", 50)
    await stockroom.holds("MUG", "lyon", 50)
    return Shop(stockroom)


async def report(shop: Shop, by: By, **more: Any) -> dict[str, ReportRow]:
    asked = Asked(**{"by": by, "since": NOW - DAY, "until": NOW + DAY} | more)
    async with shop.stockroom.db.connect() as tx:
        rows = await read_report(tx, asked)
    assert [row.rate_percent for row in rows] == sorted(r.rate_percent for r in rows)[::-1]
    return {row.key: row for row in rows}


async def comes_back(shop: Shop, number: str, line: int, units: int, condition: str) -> str:
    """Sent back, received in a condition, accepted unless it is another article, and settled."""
    id = await shop.asks(number, (line, units))
    await shop.receives(id, (line, units, condition))
    await shop.inspects(id, (line, units, condition != "wrong_item"))
    await shop.settles(id)
    return id


async def test_the_rate_of_an_article_is_what_arrived_of_what_left_whatever_was_only_announced(
    shop: Shop,
) -> None:
    first = await shop.delivers(("LAMP", 3), ("MUG", 4))
    await shop.delivers(("LAMP", 1))
    await comes_back(shop, first, 1, 1, "as_new")
    await shop.asks(first, (2, 2))

    found = await report(shop, "sku")

    assert found["LAMP"] == ReportRow("LAMP", "EUR", 4, 1, 1, 1, 0, 1000, Decimal("25.0"), 0, 0)
    assert found["MUG"][2:7] == (4, 2, 0, 0, 0)
    assert found["MUG"].rate_percent == 0


async def test_what_was_called_off_is_not_announced_and_what_was_refused_was_not_paid_back(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 4))
    await comes_back(shop, number, 1, 1, "wrong_item")
    await shop.calls_off(await shop.asks(number, (1, 2)))

    lamp = (await report(shop, "sku"))["LAMP"]

    assert (lamp.announced, lamp.returned, lamp.accepted, lamp.refused) == (1, 1, 0, 1)
    assert lamp.refunded_minor == 0


async def test_by_reason_place_condition_and_channel_the_same_units_are_told_apart(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 4), ("MUG", 4))
    await comes_back(shop, number, 1, 1, "as_new")
    await comes_back(shop, number, 2, 1, "damaged")

    assert (await report(shop, "reason"))["too_small"][2:5] == (8, 2, 2)
    assert (await report(shop, "location"))["lyon"][2:5] == (8, 2, 2)
    assert (await report(shop, "channel"))["web"].refunded_minor == 2000
    conditions = await report(shop, "condition")
    assert {key: row.returned for key, row in conditions.items()} == {"as_new": 1, "damaged": 1}
    assert conditions["damaged"].refunded_minor is None
    assert conditions["damaged"].rate_percent == Decimal("12.5")


async def test_a_sale_counts_on_the_day_it_left_with_all_that_came_back_of_it_later(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 2))
    shop.now = NOW + 10 * DAY
    await shop.delivers(("LAMP", 2))
    await comes_back(shop, number, 1, 2, "as_new")

    then = await report(shop, "sku")
    later = await report(shop, "sku", since=NOW + DAY, until=NOW + 20 * DAY)

    assert then["LAMP"].rate_percent == 100
    assert later == {}


async def test_articles_that_were_hardly_sold_and_other_places_and_channels_can_be_left_out(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 2))
    await comes_back(shop, number, 1, 1, "as_new")

    assert await report(shop, "sku", min_sold=3) == {}
    assert await report(shop, "sku", channel="phone") == {}
    assert await report(shop, "sku", location="nice") == {}
    assert set(await report(shop, "sku", channel="web", location="lyon")) == {"LAMP"}


async def test_parcels_that_turned_round_and_claims_stand_apart_from_customers_returns(
    shop: Shop,
) -> None:
    number = await shop.delivers(("LAMP", 5))
    await shop.asks(number, (1, 2), kind="undeliverable")
    await shop.asks(number, (1, 1), kind="claim", parcels=0)

    lamp = (await report(shop, "sku"))["LAMP"]

    assert (lamp.undelivered, lamp.claimed) == (2, 1)
    assert (lamp.announced, lamp.returned) == (0, 0)
    assert lamp.rate_percent == 0


# --- articles that come back too often ------------------------------------------------------


async def alerts(shop: Shop, *alerts: ReturnAlert) -> None:
    policy = ReturnPolicy(rules=(ReturnRule(name="usual"),), alerts=alerts)
    async with shop.stockroom.db.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO return_policies (version, document, actor, at) SELECT"
                " coalesce(max(version), 0) + 1, CAST(:document AS jsonb), 'ada', now()"
                " FROM return_policies"
            ),
            {"document": policy.model_dump_json()},
        )


async def look(shop: Shop) -> int:
    """Look some time later, as the relay does."""
    shop.now += timedelta(minutes=6)
    return await tell_return_rates(shop.stockroom.db, shop.now)


async def told(shop: Shop) -> list[tuple[str, str, dict[str, Any]]]:
    async with shop.stockroom.db.connect() as tx:
        rows = await tx.execute(
            text("SELECT kind, sku, data FROM stock_events WHERE kind LIKE 'product.%' ORDER BY id")
        )
        return [tuple(row) for row in rows]


async def test_an_article_over_its_threshold_is_told_once_and_once_more_when_it_no_longer_is(
    shop: Shop,
) -> None:
    await alerts(shop, ReturnAlert(rate_percent=50, min_sold=4))
    number = await shop.delivers(("LAMP", 4), ("MUG", 1))
    await comes_back(shop, number, 1, 1, "as_new")
    assert await look(shop) == 0
    await comes_back(shop, number, 1, 1, "as_new")
    await comes_back(shop, number, 2, 1, "as_new")

    assert [await look(shop) for _ in range(3)] == [1, 0, 0], "MUG was hardly sold"
    await shop.delivers(("LAMP", 1))
    assert [await look(shop) for _ in range(2)] == [1, 0]

    assert [(kind, sku) for kind, sku, _ in await told(shop)] == [
        ("product.returns_high", "LAMP"),
        ("product.returns_normal", "LAMP"),
    ]
    assert [(d["sold"], d["returned"], d["rate_percent"]) for *_, d in await told(shop)] == [
        (4, 2, 50),
        (5, 2, 40),
    ]


async def test_the_first_alert_that_fits_counts_and_its_removal_is_told(shop: Shop) -> None:
    of_lamps = {"skus": ["LAMP"], "reasons": ["too_small"]}
    await alerts(
        shop,
        ReturnAlert.model_validate({"when": of_lamps, "rate_percent": 10, "min_sold": 1}),
        ReturnAlert(rate_percent=20, min_sold=1),
        ReturnAlert.model_validate({"when": {"countries": ["DE"]}, "rate_percent": 1}),
    )
    number = await shop.delivers(("LAMP", 4), ("MUG", 10))
    await comes_back(shop, number, 1, 1, "as_new")
    await comes_back(shop, number, 2, 1, "as_new")

    assert await look(shop) == 1
    await alerts(shop)
    assert await look(shop) == 1

    assert [(kind, sku, d["threshold_percent"]) for kind, sku, d in await told(shop)] == [
        ("product.returns_high", "LAMP", 10),
        ("product.returns_normal", "LAMP", 0),
    ]


async def test_two_processes_that_look_at_the_same_time_tell_it_once(shop: Shop) -> None:
    await alerts(shop, ReturnAlert(rate_percent=10, min_sold=1))
    number = await shop.delivers(("LAMP", 2))
    await comes_back(shop, number, 1, 1, "as_new")

    later = shop.now + timedelta(minutes=6)
    looks = [tell_return_rates(shop.stockroom.db, later) for _ in range(2)]

    assert sorted(await asyncio.gather(*looks)) == [0, 1]
    assert len(await told(shop)) == 1
