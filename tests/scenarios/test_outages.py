"""A whole part of the product is gone for a while: what can be taken is taken, nothing is lost."""

from tests.on_a_stack import PRICE, Channel, violations
from workers.stack import Stack

PAID = [("authorize", PRICE), ("capture", PRICE)]


async def test_an_order_placed_while_temporal_is_down_is_stored_and_starts_when_it_is_back(
    whole_stack: Stack,
) -> None:
    async with Channel.of(whole_stack) as channel:
        await channel.opens("LAMP", 10)
        before = await channel.places("LAMP")

        await whole_stack.kill("temporal")
        answer = await channel.call("POST", "/v1/orders", channel.an_order("LAMP"))
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        during = answer.json()["number"]
        cancelled = await channel.call("POST", f"/v1/orders/{before}/cancel", {"reason": "late"})
        assert (cancelled.status_code, cancelled.json()["code"]) == (503, "unavailable")
        await whole_stack.restart("temporal")

        orders = await channel.until_delivered("LAMP")
        assert sorted(order["number"] for order in orders) == sorted([before, during])
        for number in (before, during):
            assert await channel.money_of(number) == PAID
        assert await violations(whole_stack) == []


async def test_an_order_placed_while_no_worker_runs_is_stored_and_served_by_the_next(
    whole_stack: Stack,
) -> None:
    async with Channel.of(whole_stack) as channel:
        await channel.opens("VASE", 10)

        await whole_stack.kill("worker")
        answer = await channel.call("POST", "/v1/orders", channel.an_order("VASE"))
        assert answer.status_code == 202
        await whole_stack.restart("worker")

        orders = await channel.until_delivered("VASE")
        assert [order["number"] for order in orders] == [answer.json()["number"]]
        assert await channel.money_of(answer.json()["number"]) == PAID
        assert await violations(whole_stack) == []


async def test_while_postgresql_is_down_nothing_is_acknowledged_and_nothing_acknowledged_is_lost(
    whole_stack: Stack,
) -> None:
    async with Channel.of(whole_stack) as channel:
        await channel.opens("SOFA", 10)
        before = await channel.places("SOFA")
        body = channel.an_order("SOFA")

        await whole_stack.kill("postgres")
        for method, path, sent in (
            ("POST", "/v1/orders", body),
            ("GET", f"/v1/orders/{before}", None),
        ):
            answer = await channel.call(method, path, sent, key="the-same")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        await whole_stack.restart("postgres")
        answer = await channel.call("POST", "/v1/orders", body, key="the-same")

        assert answer.status_code in (201, 202)
        orders = await channel.until_delivered("SOFA")
        assert sorted(o["number"] for o in orders) == sorted([before, answer.json()["number"]])
        for order in orders:
            assert await channel.money_of(order["number"]) == PAID
        assert await violations(whole_stack) == []


async def test_while_the_outside_is_down_an_order_waits_and_goes_on_when_it_is_back(
    whole_stack: Stack,
) -> None:
    async with Channel.of(whole_stack) as channel:
        await channel.opens("DESK", 10)

        await whole_stack.kill("simulator")
        answer = await channel.call("POST", "/v1/orders", channel.an_order("DESK"))
        assert (answer.status_code, answer.json()["payment_status"]) == (202, "pending")
        await whole_stack.restart("simulator")
        await channel.hurries_the_outside()

        orders = await channel.until_delivered("DESK")
        assert [order["number"] for order in orders] == [answer.json()["number"]]
        assert await channel.money_of(answer.json()["number"]) == PAID
        assert await violations(whole_stack) == []
