"""Who asks, receives, inspects and decides about returns, and how they are told no."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.db import parcels, return_asking
from adapters.db.book import SqlBook
from adapters.db.unit import OrderUnit
from api.finding_returns import shown_return
from oms.policy import Policy
from tests.api.conftest import Api, key
from tests.api.orders import Carried, a_shop, an_offer
from tests.api.test_nodes import PACKED, PICKED, say

PATH = "/v1/returns"


async def handed_over(api: Api, **order: Any) -> str:
    """An order of two lamps, on its way. Gives its number."""
    await a_shop(api)
    id = await an_offer(api, **order)
    for action, body in (("accept", {}), ("pick", PICKED), ("pack", PACKED)):
        packed = (await say(api, id, action, body)).json()
    await Carried(api).labelled(packed["shipments"][0]["id"])
    assert (await say(api, id, "hand-over")).status_code == 200
    return id.rpartition("-")[0]


async def delivered(api: Api, *, ago: timedelta = timedelta(0), **order: Any) -> str:
    """The same, at the customer's door."""
    number = await handed_over(api, **order)
    at = datetime.now(UTC) - ago

    async def scan(unit: OrderUnit) -> None:
        (shipment,) = unit.order.shipments
        await parcels.record_scan(unit, shipment, event_id=f"e-{number}", status="delivered", at=at)

    await SqlBook(api.engine, Policy()).change(number, at, scan)
    return number


def a_request(number: str, units: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "order": number,
        "via": "post",
        "lines": [{"line": 1, "quantity": units, "reason": "too_small"}],
        "resolution": "refund",
        **more,
    }


async def ask(api: Api, number: str, units: int = 1, **more: Any) -> dict[str, Any]:
    answer = await api.channel.post(PATH, json=a_request(number, units, **more), headers=key())
    assert answer.status_code == 201, answer.text
    asked: dict[str, Any] = answer.json()
    return asked


def found(units: int, condition: str = "as_new", location: str = "wh-paris") -> dict[str, Any]:
    lines = [{"line": 1, "quantity": units, "condition": condition}]
    return {"location": location, "lines": lines}


def decided(units: int, *, accepted: bool = True) -> dict[str, Any]:
    return {"lines": [{"line": 1, "quantity": units, "accepted": accepted}]}


async def act(api: Api, id: str, action: str, body: dict[str, Any]) -> httpx.Response:
    return await api.node.post(f"{PATH}/{id}/{action}", json=body, headers=key())


def codes(problem: httpx.Response) -> list[tuple[str, str]]:
    return [(each["pointer"], each["code"]) for each in problem.json()["errors"]]


# --- asking ---------------------------------------------------------------------------------


async def test_a_channel_asks_and_is_told_the_refund_before_anything_is_sent(api: Api) -> None:
    number = await delivered(api)

    asked = await ask(api, number)

    assert asked["id"] == f"{number}-R1"
    assert asked["status"] == "approved"
    assert asked["refund_minor"] == 1999
    assert asked["refunds"] == []
    assert asked["location"] == "wh-paris"
    assert asked["label_url"] == f"{PATH}/{number}-R1/label.pdf"
    order = (await api.channel.get(f"/v1/orders/{number}")).json()
    assert order["return_status"] == "requested"


async def test_the_same_request_under_its_key_makes_one_return(api: Api) -> None:
    number, headers = await delivered(api), key()

    first = await api.channel.post(PATH, json=a_request(number), headers=headers)
    again = await api.channel.post(PATH, json=a_request(number), headers=headers)

    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    listed = (await api.channel.get(PATH, params={"order": number})).json()["data"]
    assert [each["id"] for each in listed] == [f"{number}-R1"]


async def test_a_till_receives_and_accepts_at_once(api: Api) -> None:
    number = await delivered(api)

    asked = await ask(api, number, 2, via="store", location="store-lyon")

    assert asked["status"] == "inspected"
    assert asked["label_url"] is None
    assert [(lot["location"], lot["condition"], lot["state"]) for lot in asked["lots"]] == [
        ("store-lyon", "as_new", "accepted")
    ]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([{"line": 9, "quantity": 1, "reason": "too_small"}], "line_unknown"),
        ([{"line": 1, "quantity": 3, "reason": "too_small"}], "more_than_sent"),
    ],
)
async def test_what_cannot_come_back_is_told_by_line_and_nothing_moves(
    api: Api, lines: list[dict[str, Any]], code: str
) -> None:
    number = await delivered(api)

    refused = await api.channel.post(PATH, json=a_request(number) | {"lines": lines}, headers=key())

    assert refused.status_code == 422
    assert refused.json()["code"] == "not_returnable"
    assert codes(refused) == [("/lines/0", code)]
    order = (await api.channel.get(f"/v1/orders/{number}")).json()
    assert order["return_status"] == "none"


async def test_what_was_not_sent_cannot_come_back(api: Api) -> None:
    await a_shop(api)
    number = (await an_offer(api)).rpartition("-")[0]

    refused = await api.channel.post(PATH, json=a_request(number), headers=key())

    assert codes(refused) == [("/lines/0", "not_sent")]


async def test_after_the_window_nothing_comes_back(api: Api) -> None:
    number = await delivered(api, ago=timedelta(days=31))

    refused = await api.channel.post(PATH, json=a_request(number), headers=key())

    assert codes(refused) == [("/lines/0", "outside_window")]


async def test_a_stranger_is_not_told_what_was_bought(api: Api) -> None:
    number = await delivered(api)

    refused = await api.channel.post(
        PATH, json=a_request(number, customer={"email": "eve@example.com"}), headers=key()
    )
    guest = await api.channel.post(
        PATH, json=a_request(number, customer={"email": "ADA@example.com"}), headers=key()
    )

    assert codes(refused) == [("/customer", "not_theirs")]
    assert guest.status_code == 201


async def test_units_that_are_announced_cannot_be_announced_again(api: Api) -> None:
    number = await delivered(api)
    await ask(api, number, 2)

    refused = await api.channel.post(PATH, json=a_request(number), headers=key())

    assert codes(refused) == [("/lines/0", "more_than_sent")]


async def test_another_channels_order_does_not_exist(api: Api) -> None:
    number = await delivered(api)
    asked = await ask(api, number)

    stolen = await api.other_channel.post(PATH, json=a_request(number), headers=key())
    read = await api.other_channel.get(f"{PATH}/{asked['id']}")
    cancelled = await api.other_channel.post(f"{PATH}/{asked['id']}/cancel", json={}, headers=key())

    assert (stolen.status_code, read.status_code, cancelled.status_code) == (404, 404, 404)


async def test_each_role_does_its_own(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]

    by_node = await api.node.post(PATH, json=a_request(number), headers=key())
    by_channel = await api.channel.post(f"{PATH}/{id}/receive", json=found(1), headers=key())
    approved = await api.channel.post(f"{PATH}/{id}/approve", json={}, headers=key())

    assert (by_node.status_code, by_channel.status_code, approved.status_code) == (403, 403, 403)


async def test_store_credit_is_not_given_yet(api: Api) -> None:
    number = await delivered(api)

    refused = await api.channel.post(
        PATH, json=a_request(number, resolution="store_credit"), headers=key()
    )

    assert (refused.status_code, refused.json()["code"]) == (422, "resolution_unsupported")


async def test_without_a_key_nothing_is_asked(api: Api) -> None:
    number = await delivered(api)

    refused = await api.channel.post(PATH, json=a_request(number))

    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_missing")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"via": "pigeon"}, "/via"),
        ({"lines": []}, "/lines"),
        ({"lines": [{"line": 1, "quantity": 0, "reason": "too_small"}]}, "/lines/0/quantity"),
        ({"lines": [{"line": 1, "quantity": "1", "reason": "too_small"}]}, "/lines/0/quantity"),
        ({"via": "store"}, "/location"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_request_that_is_none_is_told_where_it_is_wrong(
    api: Api, change: dict[str, Any], pointer: str
) -> None:
    number = await delivered(api)

    refused = await api.channel.post(PATH, json=a_request(number) | change, headers=key())

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert pointer in [each["pointer"] for each in refused.json()["errors"]]


async def test_a_place_that_does_not_exist_takes_nothing_back(api: Api) -> None:
    number = await delivered(api)

    asked = await api.channel.post(PATH, json=a_request(number, location="atlantis"), headers=key())
    id = (await ask(api, number))["id"]
    there = await api.operator.post(
        f"{PATH}/{id}/receive", json=found(1, location="atlantis"), headers=key()
    )

    assert codes(asked) == [("/location", "location_unknown")]
    assert codes(there) == [("/location", "location_unknown")]


async def test_goods_of_two_orders_travel_in_one_parcel(api: Api) -> None:
    first, second = await delivered(api), await delivered(api)
    leader = (await ask(api, first))["id"]

    joined = await ask(api, second, travels_with=leader)

    assert joined["parcels"] == []
    assert joined["label_url"] == f"{PATH}/{leader}/label.pdf"
    alone = await api.channel.post(
        PATH, json=a_request(second, travels_with=f"{second}-R1"), headers=key()
    )
    assert codes(alone) == [("/travels_with", "not_returnable")]


# --- receiving and inspecting ---------------------------------------------------------------


async def test_a_warehouse_receives_and_inspects_in_parts(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number, 2))["id"]

    first = (await act(api, id, "receive", found(1))).json()
    second = (await act(api, id, "receive", found(1, "opened"))).json()
    looked = (await act(api, id, "inspect", decided(2))).json()

    assert (first["status"], second["status"]) == ("partially_received", "received")
    assert looked["status"] == "inspected"
    assert looked["lines"][0]["accepted"] == 2


async def test_the_same_scan_without_a_key_counts_once(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number, 2))["id"]

    for _ in range(2):
        received = await api.node.post(f"{PATH}/{id}/receive", json=found(1))
        assert received.status_code == 200, received.text

    assert received.json()["lines"][0]["received"] == 1


async def test_units_received_twice_count_once(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]

    for _ in range(2):
        received = await act(api, id, "receive", found(1))
        assert received.status_code == 200, received.text

    order = (await api.channel.get(f"/v1/orders/{number}")).json()
    assert order["lines"][0]["returned"] == 1


async def test_a_parcel_may_arrive_at_another_place_than_planned(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]
    await api.has(location="wh-oslo", units=0)

    hidden = await api.other_node.get(f"{PATH}/{id}")
    received = await api.other_node.post(
        f"{PATH}/{id}/receive", json=found(1, location="wh-oslo"), headers=key()
    )
    elsewhere = await api.other_node.post(
        f"{PATH}/{id}/receive", json=found(1, location="wh-paris"), headers=key()
    )

    assert hidden.status_code == 404
    assert received.status_code == 200
    assert received.json()["lots"][0]["location"] == "wh-oslo"
    assert elsewhere.status_code == 404


async def test_a_parcel_with_a_line_the_order_has_not_is_refused_by_that_line(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]
    lines = [*found(1)["lines"], found(1)["lines"][0] | {"line": 9}]

    refused = await act(api, id, "receive", found(1) | {"lines": lines})

    assert refused.status_code == 422
    assert codes(refused) == [("/lines/1", "line_unknown")]


async def test_what_is_not_there_cannot_be_inspected(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number, 2))["id"]
    await act(api, id, "receive", found(1))

    too_many = await act(api, id, "inspect", decided(2))
    await act(api, id, "inspect", decided(1))
    same = await act(api, id, "inspect", decided(1))
    otherwise = await act(api, id, "inspect", decided(1, accepted=False))

    assert (too_many.status_code, too_many.json()["code"]) == (422, "quantity_too_large")
    assert codes(too_many) == [("/lines/0", "quantity_too_large")]
    assert too_many.json()["detail"] == ("Of line 1, 1 are there to be inspected, 2 are decided.")
    assert same.status_code == 200
    assert (otherwise.status_code, otherwise.json()["code"]) == (409, "invalid_state")


async def test_what_is_refused_waits_until_it_is_handed_back(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]
    await act(api, id, "receive", found(1, "damaged"))

    refused = (await act(api, id, "inspect", decided(1, accepted=False))).json()
    gone = (await act(api, id, "hand-back", {})).json()

    assert refused["lots"][0]["state"] == "rejected"
    assert gone["lots"][0]["state"] == "left"
    assert [parcel["direction"] for parcel in gone["parcels"]] == ["in", "out"]
    order = (await api.channel.get(f"/v1/orders/{number}")).json()
    assert order["lines"][0]["returned"] == 0


# --- calling off, approving -----------------------------------------------------------------


async def test_a_return_is_called_off_as_long_as_nothing_was_sent(api: Api) -> None:
    number = await delivered(api)
    early, late = (await ask(api, number))["id"], (await ask(api, number))["id"]
    await act(api, late, "receive", found(1))

    gone = await api.channel.post(f"{PATH}/{early}/cancel", json={}, headers=key())
    twice = await api.channel.post(f"{PATH}/{early}/cancel", json={}, headers=key())
    refused = await api.channel.post(f"{PATH}/{late}/cancel", json={}, headers=key())

    assert (gone.json()["status"], twice.status_code) == ("cancelled", 200)
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    assert (await ask(api, number))["status"] == "approved"


async def test_a_cancelled_return_that_arrives_all_the_same_is_looked_at(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]
    await api.channel.post(f"{PATH}/{id}/cancel", json={}, headers=key())

    received = (await act(api, id, "receive", found(1))).json()

    assert received["status"] == "received"
    story = (await api.channel.get(f"{PATH}/{id}/timeline")).json()["data"]
    assert "return.reopened" in [event["kind"] for event in story]


async def test_approving_what_needs_no_approval_changes_nothing(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]

    approved = await api.operator.post(f"{PATH}/{id}/approve", json={}, headers=key())
    declined = await api.operator.post(f"{PATH}/{id}/decline", json={}, headers=key())

    assert approved.status_code == 200
    assert (declined.status_code, declined.json()["code"]) == (409, "invalid_state")


async def test_an_old_version_is_not_acted_on(api: Api) -> None:
    number = await delivered(api)
    asked = await ask(api, number)
    read = await api.channel.get(f"{PATH}/{asked['id']}")
    await act(api, asked["id"], "receive", found(1))

    stale = await api.node.post(
        f"{PATH}/{asked['id']}/inspect",
        json=decided(1),
        headers=key() | {"If-Match": read.headers["etag"]},
    )

    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")


# --- reading --------------------------------------------------------------------------------


async def test_returns_are_listed_newest_first_by_status_and_place(api: Api) -> None:
    number = await delivered(api)
    first, second = (await ask(api, number))["id"], (await ask(api, number))["id"]
    await act(api, first, "receive", found(1))

    async def listed(**query: Any) -> list[str]:
        answer = await api.operator.get(PATH, params={"order": number} | query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["data"]]

    assert await listed() == [second, first]
    assert await listed(status="received") == [first]
    assert await listed(status="approved") == [second]
    assert await listed(location="store-lyon") == []
    page = (await api.operator.get(PATH, params={"order": number, "limit": 1})).json()
    rest = await listed(cursor=page["next_cursor"])
    assert rest == [first]


@pytest.mark.parametrize("query", [{"status": "lost"}, {"limit": 0}, {"colour": "red"}])
async def test_a_list_that_is_asked_for_wrongly_is_refused(api: Api, query: Any) -> None:
    refused = await api.operator.get(PATH, params=query)

    assert (refused.status_code, refused.json()["code"]) == (422, "query_invalid")


async def test_a_return_explains_what_it_waits_for(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]

    unsent = (await api.channel.get(f"{PATH}/{id}/explain")).json()["data"]
    await act(api, id, "receive", found(1))
    arrived = (await api.channel.get(f"{PATH}/{id}/explain")).json()["data"]

    assert unsent[0]["waiting_for"] == "the customer to send it"
    assert unsent[0]["until"] is not None
    assert [action["action"] for action in unsent[0]["actions"]] == ["cancel", "receive"]
    assert arrived[0]["waiting_for"] == "wh-paris to inspect what came back"


async def test_an_order_shows_its_returns(api: Api) -> None:
    number = await delivered(api)
    id = (await ask(api, number))["id"]

    order = (await api.channel.get(f"/v1/orders/{number}")).json()

    assert order["returns"] == [{"id": id, "kind": "return", "status": "approved"}]
    assert order["refunds"] == []


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_inspection_that_was_cut_off_before_its_answer_counts_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    id = (await ask(api, await delivered(api), 2))["id"]
    await act(api, id, "receive", found(2))
    cuts = iter([True])

    async def cut_off(*about: Any) -> Any:
        if next(cuts, False):
            raise ConnectionError("cut off")
        return await shown_return(*about)

    monkeypatch.setattr("api.return_actions.shown_return", cut_off)
    same, body = key(), decided(1, accepted=accepted)
    with pytest.raises(ConnectionError):
        await api.node.post(f"{PATH}/{id}/inspect", json=body, headers=same)

    again = await api.node.post(f"{PATH}/{id}/inspect", json=body, headers=same)

    assert again.status_code == 200, again.text
    lots = {lot["state"]: lot["quantity"] for lot in again.json()["lots"]}
    assert lots == {"received": 1, "accepted" if accepted else "rejected": 1}


async def test_a_place_decides_about_what_lies_there_and_no_other(api: Api) -> None:
    id = (await ask(api, await delivered(api), 2))["id"]
    await act(api, id, "receive", found(1))
    await api.has(location="elsewhere", units=0)
    there = found(1, location="elsewhere")
    await api.operator.post(f"{PATH}/{id}/receive", json=there, headers=key())

    of_others = await api.other_node.post(f"{PATH}/{id}/inspect", json=decided(1), headers=key())
    too_many = await act(api, id, "inspect", decided(2))
    mine = await act(api, id, "inspect", decided(1, accepted=False))
    await act(api, id, "hand-back", {})

    assert of_others.status_code == 404
    assert (too_many.status_code, too_many.json()["code"]) == (422, "quantity_too_large")
    lots = {lot["location"]: lot["state"] for lot in mine.json()["lots"]}
    assert lots == {"wh-paris": "rejected", "elsewhere": "received"}


async def test_nobody_asks_and_calls_off_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(return_asking, "MOST_RETURNS", 2)
    number = await delivered(api)
    for _ in range(2):
        id = (await ask(api, number))["id"]
        assert (await api.channel.post(f"{PATH}/{id}/cancel", headers=key())).status_code == 200

    answer = await api.channel.post(PATH, json=a_request(number), headers=key())

    assert (answer.status_code, answer.json()["code"]) == (422, "not_returnable")


async def test_a_till_says_what_is_damaged_and_nobody_buys_it(api: Api) -> None:
    number = await delivered(api)
    lines = [{"line": 1, "quantity": 1, "reason": "defective", "condition": "damaged"}]

    asked = await ask(api, number, via="store", location="store-lyon", lines=lines)
    by_post = await api.channel.post(PATH, json=a_request(number, lines=lines), headers=key())

    assert [lot["condition"] for lot in asked["lots"]] == ["damaged"]
    assert codes(by_post) == [("/lines/0/condition", "not_allowed")]
