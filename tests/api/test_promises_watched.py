"""A promise is watched: what will be missed is marked and told before it is, once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from adapters.db import nodes, parcels
from adapters.db.book import SqlBook
from adapters.db.metrics import read_facts
from adapters.db.promise_watch import look_at_promises
from oms.policy import Policy
from tests.api.conftest import Api, key
from tests.api.orders import Carried
from tests.api.test_availability import expects, has, may_backorder, moment, shop

__all__ = ["shop"]


async def an_order(api: Api, sku: str, units: int = 1, **changes: Any) -> str:
    """A confirmed order for an article, delivered at home unless said otherwise."""
    address = {"line1": "1 Road", "city": "Lyon", "postal_code": "69002", "country": "FR"}
    body = {
        "channel": "web-fr",
        "reference": key()["Idempotency-Key"],
        "currency": "EUR",
        "customer": {"id": "c-1"},
        "lines": [{"sku": sku, "quantity": units, "unit_price_minor": 0}],
        "delivery": {"method": "home", "address": address},
        "tenders": [],
        **changes,
    }
    placed = await api.channel.post("/v1/orders", json=body, headers=key())
    number = str(placed.json()["number"])
    await Carried(api).order(number, until_routed=False)
    return number


async def look(api: Api, now: datetime | None = None, *, most: int = 500) -> list[str]:
    """Look at all open promises, page by page."""
    told: list[str] = []
    last: str | None = ""
    while last is not None:
        found = await look_at_promises(
            api.engine, Policy(), now or datetime.now(UTC), after=last, most=most
        )
        told += found.told
        last = found.last
    return told


async def promise_of(api: Api, number: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.operator.get(f"/v1/orders/{number}")).json()["promise"]
    return found


async def told_of(api: Api, number: str) -> list[str]:
    timeline = (await api.operator.get(f"/v1/orders/{number}/timeline")).json()["data"]
    return [each["kind"] for each in timeline if each["kind"].startswith("promise.")]


async def found_by(api: Api, status: str) -> set[str]:
    page = (await api.operator.get(f"/v1/orders?promise={status}&limit=100")).json()
    return {order["number"] for order in page["data"]}


def at(promise: dict[str, Any], kind: str) -> datetime:
    return next(moment(each["at"]) for each in promise["milestones"] if each["kind"] == kind)


async def test_an_order_that_is_not_released_in_time_is_at_risk_and_recovers(shop: Api) -> None:
    await has(shop, "SLOW", wh_paris=5)
    number = await an_order(shop, "SLOW")
    promise = await promise_of(shop, number)
    late = at(promise, "release_by") + timedelta(minutes=2)

    before = (await look(shop), await told_of(shop, number))
    in_danger = await _fact(shop, "oms_promises_at_risk", late)
    first = (await look(shop, late), await look(shop, late))
    at_risk = await promise_of(shop, number)
    listed = number in await found_by(shop, "at_risk")
    more_in_danger = await _fact(shop, "oms_promises_at_risk", late)
    await Carried(shop).order(number)  # it is released after all, and in time by its own clock
    await look(shop, late)

    assert before == ([], [])
    assert first == (["promise.at_risk"], [])
    assert (at_risk["status"], at_risk["by"]) == ("at_risk", promise["by"])
    assert moment(at_risk["expected"]) > moment(promise["by"])
    assert listed
    assert more_in_danger == in_danger + 1
    assert await told_of(shop, number) == ["promise.at_risk", "promise.recovered"]
    assert await promise_of(shop, number) == promise
    assert number in await found_by(shop, "kept")


async def test_a_date_that_moves_is_seen_at_once(shop: Api) -> None:
    await has(shop, "SHIP")
    await may_backorder(shop, "SHIP", "wh-paris", 5)
    await expects(shop, "SHIP", "wh-paris", 5, in_days=10)
    number = await an_order(shop, "SHIP", allow_backorder=True)
    promise = await promise_of(shop, number)

    calm = await look(shop)
    await _moves(shop, "SHIP", days=20)
    moved = await look(shop)
    at_risk = await promise_of(shop, number)
    await _moves(shop, "SHIP", days=-20)
    back = await look(shop)

    assert calm == []
    assert moved == ["promise.at_risk"]
    assert at_risk["by"] == promise["by"]
    later = moment(at_risk["expected"]) - moment(promise["by"])
    assert timedelta(days=19) < later < timedelta(days=24)  # Christmas may lie between
    assert back == ["promise.recovered"]
    assert await promise_of(shop, number) == promise


async def _moves(api: Api, sku: str, *, days: int) -> None:
    async with api.engine.begin() as tx:
        await tx.execute(
            text(
                "UPDATE incoming SET expected_at = expected_at + make_interval(days => :d)"
                " WHERE sku = :sku"
            ),
            {"d": days, "sku": sku},
        )


async def test_what_waits_for_goods_that_nobody_expects_any_more_is_at_risk(shop: Api) -> None:
    await has(shop, "LOST")
    await may_backorder(shop, "LOST", "wh-paris", 5)
    await expects(shop, "LOST", "wh-paris", 5, in_days=10)
    number = await an_order(shop, "LOST", allow_backorder=True)
    async with shop.engine.begin() as tx:
        await tx.execute(text("UPDATE incoming SET ended_at = now() WHERE sku = 'LOST'"))

    assert await look(shop) == ["promise.at_risk"]
    promise = await promise_of(shop, number)
    assert (promise["status"], promise["expected"]) == ("at_risk", None)


async def test_a_promise_that_has_passed_is_missed_for_good(shop: Api) -> None:
    await has(shop, "MISS", wh_paris=5)
    number = await an_order(shop, "MISS")
    promise = await promise_of(shop, number)

    await look(shop, moment(promise["by"]) + timedelta(minutes=1))
    missed = await promise_of(shop, number)
    await look(shop)

    assert (missed["status"], missed["by"]) == ("missed", promise["by"])
    assert "promise.missed" in await told_of(shop, number)
    assert (await promise_of(shop, number))["status"] == "missed"
    assert number in await found_by(shop, "missed")


async def test_an_order_told_no_date_misses_none_and_shows_when_goods_are_expected(
    shop: Api,
) -> None:
    await has(shop, "SOME")
    await may_backorder(shop, "SOME", "wh-paris", 5)
    number = await an_order(shop, "SOME", allow_backorder=True)
    await expects(shop, "SOME", "wh-paris", 5, in_days=4)

    assert await look(shop) == []
    promise = await promise_of(shop, number)
    assert (promise["by"], promise["status"]) == (None, "kept")
    assert moment(promise["expected"]) > datetime.now(UTC) + timedelta(days=4)


async def _delivered(api: Api, number: str) -> None:
    """Everybody does their part, until the customer has it."""
    carried, book = Carried(api), SqlBook(api.engine, Policy())
    await carried.order(number)
    order = await book.read(number)
    (part,) = order.fulfillment_orders
    units = {line.line: line.quantity for line in part.lines}
    now = datetime.now(UTC)
    await carried.offered(part.id)
    await book.node_fact(part.id, now, nodes.accept, actor="node")
    await book.node_fact(part.id, now, lambda u, e, _: nodes.pick(u, e, units), actor="node")
    boxes = [nodes.Parcel(weight_g=1, lines=units)]
    await book.node_fact(part.id, now, lambda u, e, _: nodes.pack(u, e, boxes), actor="node")
    parcel = (await book.read(number)).shipments[0].id
    await carried.labelled(parcel)
    for status in ("handed_over", "delivered"):
        await book.change(
            number,
            now,
            lambda u, said=status: parcels.record_scan(  # type: ignore[misc]
                u, u.order.shipment(parcel), event_id=f"{parcel}-{said}", status=said, at=now
            ),
        )
    await carried.order(number)


@pytest.mark.parametrize(
    ("days_early", "status", "told"), [(0, "kept", []), (9, "missed", ["promise.missed"])]
)
async def test_an_order_closes_with_what_became_of_its_promise(
    shop: Api, days_early: int, status: str, told: list[str]
) -> None:
    await has(shop, f"END-{days_early}", wh_paris=5)
    number = await an_order(shop, f"END-{days_early}")
    async with shop.engine.begin() as tx:
        await tx.execute(
            text(
                "UPDATE orders SET promise_by = promise_by - make_interval(days => :d)"
                " WHERE number = :n"
            ),
            {"n": number, "d": days_early},
        )

    await _delivered(shop, number)

    assert (await shop.operator.get(f"/v1/orders/{number}")).json()["status"] == "completed"
    assert (await promise_of(shop, number))["status"] == status
    assert await told_of(shop, number) == told


async def test_goods_that_lie_ready_in_time_are_not_overdue_while_the_customer_takes_theirs(
    shop: Api,
) -> None:
    await has(shop, "PICK", store_lyon=5)
    delivery = {"method": "store_pickup", "location": "store-lyon"}
    number = await an_order(shop, "PICK", delivery=delivery)
    carried, book = Carried(shop), SqlBook(shop.engine, Policy())
    await carried.order(number)
    (part,) = (await book.read(number)).fulfillment_orders
    now = datetime.now(UTC)
    later = moment((await promise_of(shop, number))["by"]) + timedelta(days=2)
    overdue = await _fact(shop, "oms_promises_overdue", later)
    await carried.offered(part.id)
    await book.node_fact(part.id, now, nodes.accept, actor="node")
    await book.node_fact(part.id, now, lambda u, e, _: nodes.pick(u, e, {1: 1}), actor="node")
    await book.node_fact(part.id, now, nodes.ready, actor="node")

    await look(shop, later)

    assert (await promise_of(shop, number))["status"] == "kept"
    assert await _fact(shop, "oms_promises_overdue", later) == overdue - 1


async def _fact(api: Api, name: str, now: datetime) -> float:
    for family in await read_facts(api.engine, now):
        if family.name == name:
            return float(family.samples[0].value)
    raise AssertionError("no such fact")


async def test_a_look_costs_the_same_few_statements_for_a_page_of_any_length(shop: Api) -> None:
    await has(shop, "MANY", wh_paris=50)
    for _ in range(6):
        await an_order(shop, "MANY")
    statements: list[str] = []
    engine = shop.engine.sync_engine

    def count(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    try:
        far = datetime.now(UTC) + timedelta(days=60)
        await look_at_promises(shop.engine, Policy(), far, after="")
    finally:
        event.remove(engine, "before_cursor_execute", count)

    assert len(statements) == 3


async def test_an_order_that_moved_on_meanwhile_is_left_for_the_next_look(shop: Api) -> None:
    await has(shop, "BUSY", wh_paris=5)
    number = await an_order(shop, "BUSY")
    far = datetime.now(UTC) + timedelta(days=60)
    async with shop.engine.begin() as tx:
        await tx.execute(text("SELECT FROM orders WHERE number = :n FOR UPDATE"), {"n": number})
        await look(shop, far)

    assert await told_of(shop, number) == []
    await look(shop, far, most=2)
    assert await told_of(shop, number) == ["promise.missed"]
