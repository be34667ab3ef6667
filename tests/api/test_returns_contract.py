"""What API.md says of returns, asked as it says it."""

from typing import Any

from tests.api.conftest import Api, key
from tests.api.test_returns import PATH, act, ask, codes, delivered, found

VIEW = {"id", "status", "label_url", "qr_url", "refund_minor", "refunds", "lines", "version"}


def as_written(number: str, **more: Any) -> dict[str, Any]:
    """The body of the page, `location` null and all."""
    return {
        "order": number,
        "via": "post",
        "lines": [{"line": 1, "quantity": 1, "reason": "too_small"}],
        "resolution": "refund",
        "location": None,
        **more,
    }


async def test_the_request_of_the_page_is_answered_as_the_page_says(api: Api) -> None:
    number = await delivered(api)

    asked = await api.channel.post(PATH, json=as_written(number), headers=key())
    fetched = await api.channel.post(
        PATH, json=as_written(number, via="carrier_pickup"), headers=key()
    )

    assert (asked.status_code, fetched.status_code) == (201, 201)
    body = asked.json()
    assert body.keys() >= VIEW
    assert (body["id"], body["status"], body["refund_minor"]) == (f"{number}-R1", "approved", 1999)
    assert asked.headers["etag"] == f'"{body["version"]}"'
    assert asked.headers["location"] == f"{PATH}/{number}-R1"
    read = await api.channel.get(f"{PATH}/{number}-R1")
    assert (read.json(), read.headers["etag"]) == (body, asked.headers["etag"])


async def test_actions_that_say_nothing_need_no_body(api: Api) -> None:
    number = await delivered(api)
    first, second = (await ask(api, number))["id"], (await ask(api, number))["id"]

    approved = await api.operator.post(f"{PATH}/{first}/approve", headers=key())
    cancelled = await api.channel.post(f"{PATH}/{second}/cancel", headers=key())
    again = await api.channel.post(f"{PATH}/{second}/cancel", headers=key())

    assert [each.status_code for each in (approved, cancelled, again)] == [200, 200, 200]
    assert (cancelled.json()["status"], cancelled.json()["label_url"]) == ("cancelled", None)
    assert again.json() == cancelled.json()


async def test_what_channels_and_operators_do_needs_a_key_and_what_places_do_does_not(
    api: Api,
) -> None:
    id = (await ask(api, await delivered(api), 2))["id"]

    bare = [
        await client.post(f"{PATH}/{id}/{action}", json={})
        for client, action in (
            (api.channel, "cancel"),
            (api.operator, "approve"),
            (api.operator, "decline"),
        )
    ]
    scanned = await api.node.post(f"{PATH}/{id}/receive", json=found(1))
    looked = await api.node.post(
        f"{PATH}/{id}/inspect", json={"lines": [{"line": 1, "quantity": 1, "accepted": False}]}
    )

    assert {each.json()["code"] for each in bare} == {"idempotency_key_missing"}
    assert (scanned.status_code, looked.status_code) == (200, 200)
    assert looked.json()["status"] == "partially_received"


async def test_every_condition_of_the_page_is_received(api: Api) -> None:
    for condition in ("as_new", "opened", "damaged", "wrong_item", "missing"):
        id = (await ask(api, await delivered(api)))["id"]

        received = await act(api, id, "receive", found(1, condition))

        assert received.status_code == 200, received.text
        (line,) = received.json()["lines"]
        assert (line["received"], line["missing"]) == ((0, 1) if condition == "missing" else (1, 0))


async def test_the_lists_of_the_page_are_whole_returns_in_pages(api: Api) -> None:
    number = await delivered(api)
    asked = await ask(api, number)

    listed = await api.channel.get(PATH, params={"order": number, "status": "approved"})
    none = await api.channel.get(PATH, params={"order": number, "status": "closed"})
    odd = await api.channel.get(PATH, params={"cursor": "junk"})

    assert listed.json() == {"data": [asked], "next_cursor": None}
    assert none.json() == {"data": [], "next_cursor": None}
    assert (odd.status_code, codes(odd)[0][0]) == (422, "/cursor")
