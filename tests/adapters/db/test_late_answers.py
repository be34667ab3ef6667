"""A location that answered in time keeps its work, however late its answer is applied."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from adapters.db.book import SqlBook
from adapters.db.inbound import apply_waiting, store_inbound
from oms.book import PlaceHold
from oms.fulfillment import FulfillmentOrder
from oms.numbers import number_from
from oms.placing import OrderRequest
from oms.policy import Policy
from oms.ports import Approved
from tests.adapters.db.stockroom import NOW, Stockroom, record

POLICY = Policy(
    grace=timedelta(),
    node_answer=timedelta(seconds=10),
    reservation=timedelta(minutes=10),
    pick=timedelta(minutes=30),
    pickup=timedelta(hours=1),
    silent=timedelta(hours=1),
)
NUMBER = number_from(1)
PART = f"{NUMBER}-F1"
AFTER = NOW + POLICY.node_answer

ORDER = OrderRequest.model_validate(
    {
        "channel": "web",
        "reference": "r-1",
        "currency": "EUR",
        "customer": {"id": "c-1"},
        "lines": [{"sku": "LAMP", "quantity": 1, "unit_price_minor": 1999}],
        "delivery": {"method": "home", "address": {"country": "FR"}},
        "tenders": [
            {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": 1999}
        ],
    }
)


@pytest.fixture
async def book(stockroom: Stockroom) -> SqlBook:
    """The books of an order that is offered to its location, and not answered."""
    await stockroom.holds("LAMP", "lyon", 5)
    book = SqlBook(stockroom.db, POLICY)
    await record(stockroom.db, NUMBER, ORDER)
    await book.reserve(NUMBER, NOW)
    key = f"{NUMBER}:authorize:1"
    await book.begin_payment(key, NOW)
    await book.settle_payment(key, Approved(provider_reference="p-1"), NOW, settled_by="call")
    await book.confirm(NUMBER, NOW)
    await book.route(NUMBER, NOW)
    await book.offered(PART, NOW)
    return book


async def part(book: SqlBook) -> FulfillmentOrder:
    return (await book.read(NUMBER)).fulfillment_order(PART)


async def lyon_says(stockroom: Stockroom, action: str, body: dict[str, Any] | None = None) -> None:
    async with stockroom.db.begin() as tx:
        await store_inbound(
            tx,
            party="nodes",
            source="lyon",
            event_id=f"e-{action}",
            body={"fulfillment_order": PART, "action": action, "body": body or {}},
            now=NOW,
        )


async def test_an_answer_that_waits_its_turn_keeps_the_work(
    book: SqlBook, stockroom: Stockroom
) -> None:
    await lyon_says(stockroom, "accept")

    await book.expire(PART, AFTER)
    assert (await part(book)).status == "open"

    await apply_waiting(stockroom.db, book, AFTER, most=10)
    assert (await part(book)).status == "in_progress"


async def test_a_location_that_said_nothing_loses_the_work(book: SqlBook) -> None:
    await book.expire(PART, AFTER)

    assert (await part(book)).request == "expired"


async def test_only_an_answer_holds_the_deadline_off(book: SqlBook, stockroom: Stockroom) -> None:
    await lyon_says(stockroom, "pick")

    await book.expire(PART, AFTER)

    assert (await part(book)).request == "expired"


async def test_a_rush_of_news_keeps_its_order_within_one_part(
    book: SqlBook, stockroom: Stockroom
) -> None:
    await lyon_says(stockroom, "accept")
    for action in ("pick", "pack"):
        lines = [{"line": 1, "picked": 1, "quantity": 1}]
        await lyon_says(
            stockroom, action, {"lines": lines, "parcels": [{"weight_g": 500, "lines": lines}]}
        )

    looked_at = await apply_waiting(stockroom.db, book, NOW, most=10)

    assert looked_at == 3
    assert [parcel.lines[0].quantity for parcel in (await book.read(NUMBER)).shipments] == [1]


async def test_what_waited_its_turn_is_told_after_what_came_before_it(
    book: SqlBook, stockroom: Stockroom
) -> None:
    asked = NOW - timedelta(minutes=5)
    hold = PlaceHold(reason="other", note=None)

    await book.command(NUMBER, "c-1", hold, asked, actor="operator:x")

    async with stockroom.db.connect() as connection:
        times = await connection.execute(text("SELECT at FROM events ORDER BY seq"))
        told = list(times.scalars())
    assert told == sorted(told)
