"""What a return tells of itself: why it gives back what it does, and what is open now."""

from typing import Any

from tests.api.conftest import Api, key
from tests.api.test_return_policy import POLICY, a_policy
from tests.api.test_returns import PATH, act, ask, decided, delivered, found


async def with_a_fee(api: Api) -> None:
    policy = a_policy({"window_days": 30, "fees_minor": {"post": 490}}, currency="EUR")
    assert (await api.operator.put(POLICY, json=policy)).status_code in (200, 201)


async def explained(api: Api, id: str) -> dict[str, Any]:
    answer = await api.channel.get(f"{PATH}/{id}/explain")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_who_asks_why_is_told_what_was_agreed_and_what_became_of_each_line(api: Api) -> None:
    number = await delivered(api)
    await with_a_fee(api)
    id = (await ask(api, number, 2))["id"]

    before = (await explained(api, id))["refund"]
    await act(api, id, "receive", found(2, "opened"))
    await act(api, id, "inspect", decided(1))
    await act(api, id, "inspect", decided(1, accepted=False))
    after = (await explained(api, id))["refund"]

    assert before == [
        "The customer was told 39.98 EUR, if all of it comes back and is accepted.",
        "Agreed by policy version 1: paid once the goods are inspected; a fee of 4.90 EUR once;"
        " 4.90 EUR for the way to the customer with the last units of the order.",
        "Line 1, 2 x LAMP-01 (too small): 2 not here yet.",
    ]
    assert after[2] == (
        "Line 1, 2 x LAMP-01 (too small): 1 accepted and not paid yet, 1 refused at inspection."
    )


async def test_a_return_that_is_open_is_told_by_its_order_though_that_is_closed(api: Api) -> None:
    number = await delivered(api)
    await ask(api, number)

    told = (await api.operator.get(f"/v1/orders/{number}/explain")).json()["data"]

    assert "R1: the customer to send it" in [wait["waiting_for"] for wait in told]


async def test_what_may_be_done_can_be_sent_as_it_stands(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number, 2))["id"]

    for verb, status in (("receive", "received"), ("inspect", "inspected")):
        waits = (await explained(api, id))["data"]
        (action,) = (a for wait in waits for a in wait["actions"] if a["action"] == verb)
        done = await api.node.post(action["path"], json=action["body"], headers=key())
        assert done.status_code == 200, done.text
        assert done.json()["status"] == status
