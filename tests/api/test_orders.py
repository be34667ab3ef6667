"""Orders over HTTP while Temporal is down: whatever can be said and refused without it."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.conftest import Api, key
from tests.api.orders import Carried, a_shop, an_order, place


async def orders_in_the_books(api: Api) -> int:
    async with api.engine.connect() as tx:
        return int(await tx.scalar(text("SELECT count(*) FROM orders")) or 0)


async def test_an_order_is_kept_and_answered_while_temporal_is_down(api: Api) -> None:
    await a_shop(api)
    order = an_order()

    placed = await place(api, order)
    read = await api.channel.get(f"/v1/orders/{placed.json()['number']}")

    assert placed.status_code == 202
    assert placed.headers["location"] == f"/v1/orders/{placed.json()['number']}"
    assert read.headers["etag"] == f'"{read.json()["version"]}"'
    assert read.json() == placed.json()
    assert {
        **read.json(),
        "number": None,
        "placed_at": None,
        "version": None,
        "lines": None,
    } == {
        "number": None,
        "channel": "web-fr",
        "reference": order["reference"],
        "status": "pending",
        "payment_status": "pending",
        "fulfillment_status": "unfulfilled",
        "return_status": "none",
        "refusal": None,
        "attention": False,
        "currency": "EUR",
        "total_minor": 4488,
        "placed_at": None,
        "promise": None,
        "version": None,
        "lines": None,
        "payments": {
            "authorized_minor": 0,
            "captured_minor": 0,
            "refunded_minor": 0,
            "voided_minor": 0,
        },
        "exchange_of": None,
        "refunds": [],
        "returns": [],
        "holds": [],
        "fulfillment_orders": [],
    }


async def test_nothing_personal_is_shown(api: Api) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]
    await Carried(api).order(number)

    for path in ("", "/timeline", "/explain"):
        shown = (await api.operator.get(f"/v1/orders/{number}{path}")).text
        assert "Ada" not in shown
        assert "Tilsitt" not in shown
        assert "tok_ok" not in shown


async def test_units_of_a_line_are_always_in_one_bucket(api: Api) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]

    def adds_up(order: dict[str, Any]) -> bool:
        buckets = ("cancelled", "reserved", "backordered", "allocated", "picked", "shipped")
        return all(
            line["ordered"] == sum(line[bucket] for bucket in buckets) + line["delivered"]
            for line in order["lines"]
        )

    pending = (await api.channel.get(f"/v1/orders/{number}")).json()
    await Carried(api).order(number)
    routed = (await api.channel.get(f"/v1/orders/{number}")).json()

    assert adds_up(pending)
    assert adds_up(routed)
    assert routed["status"] == "open"
    assert routed["lines"][0]["allocated"] == 2
    assert routed["payment_status"] == "authorized"
    assert routed["fulfillment_orders"][0]["location"] == "wh-paris"


async def test_the_same_order_again_is_the_same_order(api: Api) -> None:
    await a_shop(api)
    order, same = an_order(), key()

    first = await place(api, order, same)
    replayed = await place(api, order, same)
    other_key = await place(api, order)
    other_content = await place(api, {**order, "allow_split": False})

    assert replayed.content == first.content
    assert replayed.headers["idempotent-replayed"] == "true"
    assert (other_key.status_code, other_key.json()["number"]) == (200, first.json()["number"])
    assert (other_content.status_code, other_content.json()["code"]) == (409, "reference_reused")


async def test_a_field_left_out_is_its_default(api: Api) -> None:
    await a_shop(api)
    order = an_order()
    first = await place(api, order)

    spelled_out = {**order, "allow_split": True, "allow_backorder": False}
    again = await place(api, spelled_out)

    assert (again.status_code, again.json()["number"]) == (200, first.json()["number"])


async def test_ten_requests_for_one_reference_at_once_make_one_order(api: Api) -> None:
    await a_shop(api)
    order = an_order()
    before = await orders_in_the_books(api)

    answers = await asyncio.gather(*(place(api, order) for _ in range(10)))

    assert {answer.json()["number"] for answer in answers} == {answers[0].json()["number"]}
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [202]
    assert await orders_in_the_books(api) == before + 1


def without(order: dict[str, Any], *path: str | int) -> dict[str, Any]:
    """The order with one field taken out."""
    copied: dict[str, Any] = json.loads(json.dumps(order))
    here: Any = copied
    for part in path[:-1]:
        here = here[part]
    del here[path[-1]]
    return copied


def with_(value: Any, *path: str | int) -> dict[str, Any]:
    """An order with one field set."""
    order: dict[str, Any] = an_order()
    here: Any = order
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return order


TOO_MANY_LINES = [{"sku": "LAMP-01", "quantity": 1, "unit_price_minor": 0}] * 501


@pytest.mark.parametrize(
    ("order", "pointer"),
    [
        (without(an_order(), "channel"), "/channel"),
        (without(an_order(), "reference"), "/reference"),
        (without(an_order(), "currency"), "/currency"),
        (without(an_order(), "customer"), "/customer"),
        (without(an_order(), "customer", "id"), "/customer/id"),
        (without(an_order(), "lines"), "/lines"),
        (without(an_order(), "lines", 0, "sku"), "/lines/0/sku"),
        (without(an_order(), "lines", 0, "quantity"), "/lines/0/quantity"),
        (without(an_order(), "lines", 0, "unit_price_minor"), "/lines/0/unit_price_minor"),
        (without(an_order(), "delivery"), "/delivery"),
        (without(an_order(), "delivery", "method"), "/delivery"),
        (without(an_order(), "delivery", "address"), "/delivery/address"),
        (without(an_order(), "delivery", "address", "country"), "/delivery/address/country"),
        (without(an_order(), "tenders"), "/tenders"),
        (without(an_order(), "tenders", 0, "kind"), "/tenders/0"),
        (without(an_order(), "tenders", 0, "token"), "/tenders/0/token"),
        (without(an_order(), "tenders", 0, "provider"), "/tenders/0/provider"),
        (with_("drone", "delivery", "method"), "/delivery"),
        (with_("coins", "tenders", 0, "kind"), "/tenders/0"),
        (with_("other", "tenders", 0, "provider"), "/tenders/0/provider"),
        (with_("4111 1111 1111 1111", "tenders", 0, "token"), "/tenders/0/token"),
        (with_(0, "tenders", 0, "amount_minor"), "/tenders/0/amount_minor"),
        (with_(44.88, "tenders", 0, "amount_minor"), "/tenders/0/amount_minor"),
        (with_("FR", "tenders", 0, "country"), "/tenders/0/country"),
        (with_("EURO", "currency"), "/currency"),
        (with_("XXX", "currency"), "/currency"),
        (with_("ZZ", "delivery", "address", "country"), "/delivery/address/country"),
        (with_(1, "delivery", "address", "latitude"), "/delivery/address/longitude"),
        (with_([], "lines"), "/lines"),
        (with_(TOO_MANY_LINES, "lines"), "/lines"),
        (with_(0, "lines", 0, "quantity"), "/lines/0/quantity"),
        (with_(10_000, "lines", 0, "quantity"), "/lines/0/quantity"),
        (with_("2", "lines", 0, "quantity"), "/lines/0/quantity"),
        (with_(2.0, "lines", 0, "quantity"), "/lines/0/quantity"),
        (with_(True, "lines", 0, "quantity"), "/lines/0/quantity"),
        (with_(-1, "lines", 0, "unit_price_minor"), "/lines/0/unit_price_minor"),
        (with_(10**12 + 1, "lines", 0, "unit_price_minor"), "/lines/0/unit_price_minor"),
        (with_(4000, "lines", 0, "discount_minor"), "/lines/0/discount_minor"),
        (with_(3999, "lines", 0, "tax_minor"), "/lines/0/tax_minor"),
        (with_(491, "shipping_tax_minor"), "/shipping_tax_minor"),
        (with_("LAMP 01", "lines", 0, "sku"), "/lines/0/sku"),
        (with_("nobody", "customer", "email"), "/customer/email"),
        (with_("a\u0000", "customer", "name"), "/customer/name"),
        (with_("yes", "allow_split"), "/allow_split"),
        (with_(None, "allow_split"), "/allow_split"),
        (with_("gift", "note"), "/note"),
    ],
)
async def test_a_flawed_order_is_refused_by_the_name_of_its_field_and_leaves_no_trace(
    api: Api, order: dict[str, Any], pointer: str
) -> None:
    await a_shop(api)
    before = await orders_in_the_books(api)
    same = key()

    refused = await place(api, order, same)
    mended = await place(api, an_order(), same)

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert mended.status_code == 202
    assert await orders_in_the_books(api) == before + 1


CARD = {"kind": "card", "provider": "simulator", "token": "tok_ok"}


@pytest.mark.parametrize(
    ("order", "code", "pointer"),
    [
        (with_({"method": "locker"}, "delivery"), "delivery_method_unsupported", None),
        (
            with_({"method": "carry_out", "location": "store-lyon"}, "delivery"),
            "delivery_method_unsupported",
            None,
        ),
        (
            with_([{"kind": "gift_card", "code": "G", "amount_minor": 4488}], "tenders"),
            "tender_unsupported",
            None,
        ),
        (with_([{"kind": "invoice", "amount_minor": 4488}], "tenders"), "tender_unsupported", None),
        (
            with_(
                [{**CARD, "amount_minor": 4000}, {**CARD, "amount_minor": 488}],
                "tenders",
            ),
            "tender_unsupported",
            None,
        ),
        (with_(4487, "tenders", 0, "amount_minor"), "tenders_do_not_match_total", "/tenders"),
        (with_([], "tenders"), "tenders_do_not_match_total", "/tenders"),
        (
            with_("ABC", "delivery", "address", "postal_code"),
            "address_invalid",
            "/delivery/address/postal_code",
        ),
        (with_("LAMP-99", "lines", 0, "sku"), "sku_unknown", "/lines/0/sku"),
        (
            with_({"method": "store_pickup", "location": "nowhere"}, "delivery"),
            "location_unknown",
            "/delivery/location",
        ),
        (
            with_({"method": "store_pickup", "location": "wh-paris"}, "delivery"),
            "location_unknown",
            "/delivery/location",
        ),
    ],
)
async def test_an_order_that_cannot_be_taken_is_refused_with_its_reason(
    api: Api, order: dict[str, Any], code: str, pointer: str | None
) -> None:
    await a_shop(api)
    before = await orders_in_the_books(api)

    refused = await place(api, order)

    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert pointer is None or refused.json()["errors"][0]["pointer"] == pointer
    assert await orders_in_the_books(api) == before


async def test_a_channel_orders_for_itself_only_and_a_closed_one_not_at_all(api: Api) -> None:
    await a_shop(api)

    elsewhere = await api.other_channel.post("/v1/orders", json=an_order(), headers=key())
    node = await api.node.post("/v1/orders", json=an_order(), headers=key())
    unknown = await api.operator.post("/v1/orders", json=an_order(channel="nowhere"), headers=key())
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web", "active": False})
    closed = await place(api)
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})

    assert (elsewhere.status_code, node.status_code) == (404, 403)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "channel_unknown")
    assert (closed.status_code, closed.json()["code"]) == (422, "channel_unknown")


async def test_an_order_of_another_channel_is_not_there(api: Api) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]

    for path in ("", "/timeline", "/explain"):
        assert (await api.other_channel.get(f"/v1/orders/{number}{path}")).status_code == 404
        assert (await api.node.get(f"/v1/orders/{number}{path}")).status_code == 403
    cancel = await api.other_channel.post(
        f"/v1/orders/{number}/cancel", json={"reason": "x"}, headers=key()
    )
    assert cancel.status_code == 404
    listed = (await api.other_channel.get("/v1/orders")).json()
    assert listed == {"data": [], "next_cursor": None}


async def test_lines_of_one_kit_are_kept_as_such(api: Api) -> None:
    await api.has("CHAIR-01", units=100)
    lamp, chair = an_order()["lines"][0], {"sku": "CHAIR-01", "quantity": 4, "unit_price_minor": 0}

    placed = await place(api, an_order(lines=[{**lamp, "kit": "set-1"}, {**chair, "kit": "set-1"}]))
    loose = await place(api)

    assert [line["kit"] for line in placed.json()["lines"]] == ["set-1", "set-1"]
    assert [line["kit"] for line in loose.json()["lines"]] == [None]


async def test_a_free_order_needs_no_tender(api: Api) -> None:
    await a_shop(api)
    gift = [{"sku": "LAMP-01", "quantity": 1, "unit_price_minor": 0}]
    order = an_order(lines=gift, shipping_minor=0, shipping_tax_minor=0, tenders=[])

    placed = await place(api, order)

    assert placed.status_code == 202
    assert placed.json()["payment_status"] == "paid"


async def test_orders_are_listed_newest_first_and_narrowed_down(api: Api) -> None:
    await a_shop(api)
    mine = [
        (await place(api, an_order(customer={"id": "c-list"}))).json()["number"] for _ in range(3)
    ]
    await Carried(api).order(mine[0])

    first = (await api.channel.get("/v1/orders?customer=c-list&limit=2")).json()
    cursor = first["next_cursor"]
    rest = (await api.channel.get(f"/v1/orders?customer=c-list&cursor={cursor}")).json()

    assert [order["number"] for order in first["data"]] == [mine[2], mine[1]]
    assert [order["number"] for order in rest["data"]] == [mine[0]]
    assert rest["next_cursor"] is None
    for query, numbers in {
        "status=open": [mine[0]],
        "status=pending": [mine[2], mine[1]],
        "status=completed": [],
        "location=wh-paris": [mine[0]],
        "sku=LAMP-01&channel=web-fr": mine[::-1],
        "sku=OTHER": [],
        "attention=true": [],
        "attention=false": mine[::-1],
        f"reference={first['data'][0]['reference']}": [mine[2]],
    }.items():
        found = (await api.operator.get(f"/v1/orders?customer=c-list&{query}")).json()
        assert [order["number"] for order in found["data"]] == numbers, query


@pytest.mark.parametrize(
    "query",
    ["status=new", "attention=1", "channel=a%20b", "sku=", "reference=%00", "color=red"],
)
async def test_a_list_of_orders_understands_its_query_or_refuses_it(api: Api, query: str) -> None:
    refused = await api.operator.get(f"/v1/orders?{query}")

    assert (refused.status_code, refused.json()["code"]) == (422, "query_invalid")


async def test_a_timeline_tells_the_story_from_the_start(api: Api) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]
    await Carried(api).order(number)
    path = f"/v1/orders/{number}/timeline"

    whole = (await api.channel.get(path)).json()["data"]
    first = (await api.channel.get(f"{path}?limit=1")).json()
    second = (await api.channel.get(f"{path}?limit=1&cursor={first['next_cursor']}")).json()

    kinds = [event["kind"] for event in whole]
    assert kinds[0] == "order.placed"
    assert kinds.index("order.placed") < kinds.index("order.confirmed")
    assert first["data"] + second["data"] == whole[:2]
    assert set(whole[0]) == {"at", "actor", "kind", "summary", "data"}


async def test_an_explanation_follows_the_order(api: Api) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]
    path = f"/v1/orders/{number}/explain"

    pending = (await api.channel.get(path)).json()["data"]
    await Carried(api).order(number, until_routed=False)
    in_grace = (await api.channel.get(path)).json()["data"]
    await Carried(api).order(number)
    offered = (await api.channel.get(path)).json()["data"]

    assert [len(waits) for waits in (pending, in_grace, offered)] == [1, 1, 1]
    assert "grace" in in_grace[0]["waiting_for"]
    assert in_grace[0]["until"] is not None
    assert "wh-paris to accept" in offered[0]["waiting_for"]
    assert {action["action"] for action in offered[0]["actions"]} >= {"accept", "reject", "cancel"}
    assert set(offered[0]) == {
        "waiting_for",
        "step",
        "since",
        "until",
        "then",
        "last_error",
        "actions",
    }


COMMANDS = [
    ("cancel", {"reason": "changed my mind"}),
    ("holds", {"reason": "fraud"}),
    ("reroute", {}),
]


@pytest.mark.parametrize(("command", "body"), COMMANDS)
async def test_a_command_is_unavailable_while_temporal_is_down_and_its_key_stays_free(
    api: Api, command: str, body: dict[str, Any]
) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]
    same = key()
    path = f"/v1/orders/{number}/{command}"

    first = await api.operator.post(path, json=body, headers=same)
    second = await api.operator.post(path, json=body, headers=same)

    for answer in (first, second):
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@pytest.mark.parametrize(
    ("command", "body", "pointer"),
    [
        ("cancel", {}, "/reason"),
        ("cancel", {"reason": "x", "lines": []}, "/lines"),
        ("cancel", {"reason": "x", "lines": [{"line": 0, "quantity": 1}]}, "/lines/0/line"),
        ("cancel", {"reason": "x", "lines": [{"line": 1}]}, "/lines/0/quantity"),
        ("holds", {"reason": "boredom"}, "/reason"),
        ("holds", {}, "/reason"),
        ("reroute", {"location": "a b"}, "/location"),
        (
            "resolve",
            {"step": "capture:1", "action": "shrug", "actor": "a", "reason": "b"},
            "/action",
        ),
        ("resolve", {"step": "capture:1", "action": "retry", "reason": "b"}, "/actor"),
    ],
)
async def test_a_flawed_command_is_refused_by_the_name_of_its_field(
    api: Api, command: str, body: dict[str, Any], pointer: str
) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]

    refused = await api.operator.post(f"/v1/orders/{number}/{command}", json=body, headers=key())

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_holds_reroutes_and_decisions_are_the_operators(api: Api) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]

    for command in ("holds", "holds/x/release", "reroute", "resolve"):
        for who in (api.channel, api.node):
            refused = await who.post(f"/v1/orders/{number}/{command}", json={}, headers=key())
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_step_that_is_not_parked_cannot_be_settled(api: Api) -> None:
    await a_shop(api)
    number = (await place(api)).json()["number"]
    decision = {"step": "capture:1", "action": "retry", "actor": "Ada", "reason": "why not"}

    refused = await api.operator.post(f"/v1/orders/{number}/resolve", json=decision, headers=key())

    assert (refused.status_code, refused.json()["code"]) == (409, "not_parked")
