from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from adapters.db.engine import by_statement
from tests.api.conftest import Api, key

SOON = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT08:00:00Z")


async def asked(api: Api, *lines: tuple[str, int], **more: Any) -> httpx.Response:
    """Ask Paris for goods that Oslo needs."""
    units = [{"sku": sku, "quantity": count} for sku, count in lines]
    body = {"from": "wh-paris", "to": "wh-oslo", "lines": units, **more}
    return await api.operator.post("/v1/transfers", json=body, headers=key())


async def stocked(api: Api, paris: int = 10) -> str:
    """An article of this test's own, in Paris only."""
    sku = f"MOVE-{uuid4().hex[:8]}"
    await api.has(sku, units=paris)
    await api.has(sku, location="wh-oslo", units=0)
    return sku


async def say(client: httpx.AsyncClient, id: str, step: str, body: Any = None) -> httpx.Response:
    return await client.post(f"/v1/transfers/{id}/{step}", json=body or {}, headers=key())


async def levels(api: Api, sku: str) -> dict[str, dict[str, int]]:
    """The buckets that are not zero, at both ends."""
    found = (await api.operator.get(f"/v1/stock/{sku}")).json()["locations"]
    return {
        level["location"]: {
            name: units for name, units in level.items() if name != "location" and units
        }
        for level in found
    }


async def test_goods_move_from_one_place_to_another_and_are_never_nowhere(api: Api) -> None:
    sku = await stocked(api)

    transfer = (await asked(api, (sku, 6), expected_at=SOON)).json()
    id = transfer["id"]
    requested = await levels(api, sku)
    shipped = (await say(api.node, id, "ship")).json()
    on_the_road = await levels(api, sku)
    part = (
        await say(api.other_node, id, "receive", {"lines": [{"sku": sku, "quantity": 4}]})
    ).json()
    rest = {"lines": [{"sku": sku, "quantity": 2, "damaged": 1}]}
    received = (await say(api.other_node, id, "receive", rest)).json()

    assert [each["status"] for each in (transfer, shipped, part, received)] == [
        "requested",
        "shipped",
        "partially_received",
        "received",
    ]
    assert requested == {
        "wh-paris": {"on_hand": 10, "allocated": 6, "available": 4},
        "wh-oslo": {"requested": 6},
    }
    assert on_the_road == {
        "wh-paris": {"on_hand": 4, "available": 4},
        "wh-oslo": {"incoming": 6, "in_transit": 6},
    }
    assert await levels(api, sku) == {
        "wh-paris": {"on_hand": 4, "available": 4},
        "wh-oslo": {"on_hand": 5, "available": 5, "damaged": 1},
    }
    assert received["lines"][0].items() >= {"received": 6, "damaged": 1, "in_transit": 0}.items()
    assert transfer["id"].startswith("T-")


async def test_a_place_that_has_too_little_gives_nothing_and_every_short_line_is_named(
    api: Api,
) -> None:
    first, second, third = [await stocked(api, units) for units in (1, 10, 2)]

    refused = await asked(api, (first, 5), (second, 5), (third, 5))

    assert (refused.status_code, refused.json()["code"]) == (422, "insufficient_stock")
    short = [(error["pointer"], error["available"]) for error in refused.json()["errors"]]
    assert short == [("/lines/0", 1), ("/lines/2", 2)]
    assert (await levels(api, second))["wh-paris"]["available"] == 10
    assert "wh-oslo" not in await levels(api, second) or not (await levels(api, second))["wh-oslo"]


async def test_what_was_not_sent_is_called_off_and_what_was_lost_is_written_off(api: Api) -> None:
    sku = await stocked(api)
    id = (await asked(api, (sku, 6))).json()["id"]
    await say(api.node, id, "ship", {"lines": [{"sku": sku, "quantity": 4}]})
    await say(api.other_node, id, "receive", {"lines": [{"sku": sku, "quantity": 3}]})

    cancelled = (await say(api.operator, id, "cancel")).json()
    closed = (await say(api.operator, id, "close")).json()
    ledger = (await api.operator.get(f"/v1/stock/{sku}/movements")).json()["data"]

    assert (cancelled["status"], closed["status"]) == ("partially_received", "closed")
    assert closed["lines"][0].items() >= {"cancelled": 2, "lost": 1, "received": 3}.items()
    assert await levels(api, sku) == {
        "wh-paris": {"on_hand": 6, "available": 6},
        "wh-oslo": {"on_hand": 3, "available": 3},
    }
    lost = [move for move in ledger if move["cause"] == "lost_in_transit"]
    assert {(move["bucket"], move["delta"], move["location"]) for move in lost} == {
        ("incoming", -1, "wh-oslo"),
        ("in_transit", -1, "wh-oslo"),
    }


async def test_what_arrives_is_recorded_whatever_the_books_expected(api: Api) -> None:
    sku, other = await stocked(api), await stocked(api, 0)
    id = (await asked(api, (sku, 5))).json()["id"]

    unsent = await say(api.other_node, id, "receive", {"lines": [{"sku": sku, "quantity": 2}]})
    await say(api.operator, id, "cancel")
    after_the_end = await say(
        api.other_node,
        id,
        "receive",
        {"lines": [{"sku": sku, "quantity": 1}, {"sku": other, "quantity": 7}]},
    )

    assert (unsent.status_code, after_the_end.status_code) == (200, 200)
    assert after_the_end.json()["status"] == "cancelled"
    assert (await levels(api, sku))["wh-oslo"] == {"on_hand": 3, "available": 3}
    assert (await levels(api, other))["wh-oslo"] == {"on_hand": 7, "available": 7}
    told = await events(api, "transfer.unexpected", id)
    assert sorted((event["sku"], event["data"]["quantity"]) for event in told) == sorted(
        [(sku, 2), (sku, 1), (other, 7)]
    )


async def events(api: Api, kind: str, id: str) -> list[dict[str, Any]]:
    async with by_statement(api.engine).connect() as tx:
        rows = await tx.execute(
            text("SELECT sku, data FROM stock_events WHERE kind = :k AND data->>'transfer' = :t"),
            {"k": kind, "t": id},
        )
        return [dict(row) for row in rows.mappings()]


async def test_goods_scanned_late_at_their_origin_are_counted_once(api: Api) -> None:
    sku = await stocked(api)
    id = (await asked(api, (sku, 5))).json()["id"]

    await say(api.other_node, id, "receive", {"lines": [{"sku": sku, "quantity": 5}]})
    late = (await say(api.node, id, "ship")).json()

    assert late["status"] == "received"
    assert await levels(api, sku) == {
        "wh-paris": {"on_hand": 5, "available": 5},
        "wh-oslo": {"on_hand": 5, "available": 5},
    }


async def test_a_shelf_that_holds_less_than_was_promised_sends_what_was_scanned(api: Api) -> None:
    sku = await stocked(api)
    id = (await asked(api, (sku, 8))).json()["id"]
    await api.adjust({"sku": sku, "location": "wh-paris", "set": 3, "reason": "count"})

    await say(api.node, id, "ship")

    assert await levels(api, sku) == {"wh-paris": {}, "wh-oslo": {"incoming": 8, "in_transit": 8}}


async def test_each_end_does_its_own_part_and_strangers_see_nothing(api: Api) -> None:
    sku = await stocked(api)
    await api.has(sku, location="wh-rome", units=5)
    id = (await asked(api, (sku, 2))).json()["id"]
    body = {"from": "wh-rome", "to": "wh-lima", "lines": [{"sku": sku, "quantity": 1}]}
    await api.has(sku, location="wh-lima", units=0)
    strange = (await api.operator.post("/v1/transfers", json=body, headers=key())).json()["id"]
    scan = {"lines": [{"sku": sku, "quantity": 1}]}

    answers = {
        "destination ships": (await say(api.other_node, id, "ship")).status_code,
        "origin receives": (await say(api.node, id, "receive", scan)).status_code,
        "node cancels": (await say(api.node, id, "cancel")).status_code,
        "channel looks": (await api.channel.get(f"/v1/transfers/{id}")).status_code,
        "stranger looks": (await api.node.get(f"/v1/transfers/{strange}")).status_code,
        "destination looks": (await api.other_node.get(f"/v1/transfers/{id}")).status_code,
    }
    listed = (await api.node.get(f"/v1/transfers?sku={sku}")).json()["data"]

    assert answers == {
        "destination ships": 404,
        "origin receives": 404,
        "node cancels": 403,
        "channel looks": 403,
        "stranger looks": 404,
        "destination looks": 200,
    }
    assert [each["id"] for each in listed] == [id]


async def test_the_same_request_twice_moves_once(api: Api) -> None:
    sku = await stocked(api)
    once = key()
    body = {"from": "wh-paris", "to": "wh-oslo", "lines": [{"sku": sku, "quantity": 2}]}
    first = await api.operator.post("/v1/transfers", json=body, headers=once)
    again = await api.operator.post("/v1/transfers", json=body, headers=once)
    id, scan, box = first.json()["id"], {"lines": [{"sku": sku, "quantity": 1}]}, key()

    for _ in range(2):
        await api.node.post(f"/v1/transfers/{id}/receive", json=scan, headers=box)
        await api.operator.post(f"/v1/transfers/{id}/receive", json=scan, headers=box)

    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await levels(api, sku))["wh-oslo"] == {"requested": 2, "on_hand": 1, "available": 1}


async def test_a_reference_names_one_transfer(api: Api) -> None:
    sku, reference = await stocked(api), uuid4().hex

    first = await asked(api, (sku, 2), reference=reference)
    again = await asked(api, (sku, 2), reference=reference)
    other = await asked(api, (sku, 3), reference=reference)

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json()["id"] == first.json()["id"]
    assert other.json()["code"] == "reference_reused"
    assert (await levels(api, sku))["wh-paris"]["allocated"] == 2


@pytest.mark.parametrize(
    ("change", "code", "pointers"),
    [
        ({"from": "none", "to": "nowhere"}, "location_unknown", ["/from", "/to"]),
        ({"to": "wh-paris"}, "validation_failed", ["/to"]),
        ({"origin": "wh-paris"}, "validation_failed", ["/origin"]),
        ({"lines": []}, "validation_failed", ["/lines"]),
        (
            {"lines": [{"sku": "NONE", "quantity": 1}, {"sku": "NO", "quantity": 1}]},
            "sku_unknown",
            ["/lines/0/sku", "/lines/1/sku"],
        ),
        (
            {"lines": [{"sku": "NONE", "quantity": 1}, {"sku": "NONE", "quantity": 1}]},
            "validation_failed",
            ["/lines/1/sku"],
        ),
        ({"lines": [{"sku": "NONE", "quantity": 0}]}, "validation_failed", ["/lines/0/quantity"]),
        ({"expected_at": "tomorrow"}, "validation_failed", ["/expected_at"]),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_with_every_error_located(
    api: Api, change: dict[str, Any], code: str, pointers: list[str]
) -> None:
    sku = await stocked(api)
    body = {"from": "wh-paris", "to": "wh-oslo", "lines": [{"sku": sku, "quantity": 1}]}

    refused = await api.operator.post("/v1/transfers", json={**body, **change}, headers=key())

    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert [error["pointer"] for error in refused.json()["errors"]] == pointers


async def test_more_than_was_asked_for_is_not_sent(api: Api) -> None:
    sku = await stocked(api)
    id = (await asked(api, (sku, 2))).json()["id"]
    lines = [{"sku": sku, "quantity": 3}, {"sku": "NONE", "quantity": 1}]

    refused = await say(api.node, id, "ship", {"lines": lines})
    damaged = {"lines": [{"sku": sku, "quantity": 1, "damaged": 2}]}
    impossible = await say(api.other_node, id, "receive", damaged)
    early = await say(api.operator, id, "close")

    assert (refused.status_code, refused.json()["code"]) == (422, "quantity_too_large")
    assert [error["pointer"] for error in refused.json()["errors"]] == [
        "/lines/0/quantity",
        "/lines/1/sku",
    ]
    assert impossible.json()["errors"][0]["pointer"] == "/lines/0/damaged"
    assert (early.status_code, early.json()["code"]) == (409, "invalid_state")
    assert (await levels(api, sku))["wh-paris"]["allocated"] == 2


async def test_a_date_that_moves_and_every_step_stand_on_the_timeline(api: Api) -> None:
    sku = await stocked(api)
    transfer = (await asked(api, (sku, 2), expected_at=SOON)).json()
    path, past = f"/v1/transfers/{transfer['id']}", {"expected_at": "2026-01-01T08:00:00Z"}

    late = await api.operator.put(path, json=past, headers={"If-Match": '"1"'})
    stale = await api.operator.put(path, json=past, headers={"If-Match": '"1"'})
    overdue = (await api.operator.get(f"/v1/transfers?sku={sku}&overdue=true")).json()["data"]
    await say(api.operator, transfer["id"], "ship")
    await say(api.operator, transfer["id"], "close")
    timeline = (await api.operator.get(f"{path}/timeline")).json()["data"]

    assert (late.status_code, late.json()["overdue"], stale.status_code) == (200, True, 412)
    assert [each["id"] for each in overdue] == [transfer["id"]]
    assert [step["kind"] for step in timeline] == [
        f"transfer.{kind}" for kind in ("requested", "changed", "shipped", "closed")
    ]
    assert (await api.operator.get(path)).json()["overdue"] is False


async def test_transfers_are_listed_page_by_page(api: Api) -> None:
    sku = await stocked(api)
    made = [(await asked(api, (sku, 1))).json()["id"] for _ in range(3)]
    path = f"/v1/transfers?sku={sku}&limit=2&from=wh-paris&to=wh-oslo&location=wh-oslo"

    first = (await api.operator.get(f"{path}&status=requested")).json()
    rest = (await api.operator.get(f"{path}&cursor={first['next_cursor']}")).json()

    listed = [each["id"] for page in (first, rest) for each in page["data"]]
    assert listed == made[::-1]
    assert rest["next_cursor"] is None
