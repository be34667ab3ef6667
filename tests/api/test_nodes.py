"""What stores and warehouses do with a part of an order, and how they are told no."""

from typing import Any

import httpx
import pypdfium2
import pytest
import zxingcpp

from tests.api.conftest import Api, key
from tests.api.orders import Carried, a_shop, an_offer

PATH = "/v1/fulfillment-orders"
PICKED = {"lines": [{"line": 1, "picked": 2}]}
PACKED = {"parcels": [{"weight_g": 900, "lines": [{"line": 1, "quantity": 2}]}]}


async def say(
    api: Api,
    id: str,
    action: str,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    return await api.node.post(f"{PATH}/{id}/{action}", json=body or {}, headers=headers)


async def on_hand(api: Api, bucket: str = "on_hand") -> int:
    levels = (await api.operator.get("/v1/stock/LAMP-01")).json()["locations"]
    return next(int(level[bucket]) for level in levels if level["location"] == "wh-paris")


async def a_packed_order(api: Api) -> str:
    await a_shop(api)
    id = await an_offer(api)
    for action, body in (("accept", {}), ("pick", PICKED), ("pack", PACKED)):
        done = await say(api, id, action, body)
        assert done.status_code == 200, done.text
    return id


async def test_a_warehouse_carries_its_part_to_the_carrier(api: Api) -> None:
    await a_shop(api)
    before = await on_hand(api)
    id = await an_offer(api)

    accepted = (await say(api, id, "accept")).json()
    picked = (await say(api, id, "pick", PICKED)).json()
    packed = (await say(api, id, "pack", PACKED)).json()
    too_early = await say(api, id, "hand-over")
    await Carried(api).labelled(packed["shipments"][0]["id"])
    gone = (await say(api, id, "hand-over")).json()

    assert (accepted["status"], accepted["request"]) == ("in_progress", "accepted")
    assert picked["lines"] == [{"line": 1, "sku": "LAMP-01", "quantity": 2, "picked": 2}]
    assert packed["shipments"][0]["tracking_number"] is None
    assert packed["shipments"][0]["lines"] == [{"line": 1, "quantity": 2}]
    assert (too_early.status_code, too_early.json()["code"]) == (409, "invalid_state")
    assert gone["status"] == "closed"
    assert gone["shipments"][0]["status"] == "handed_over"
    assert await on_hand(api) == before - 2


async def test_the_same_report_again_is_answered_the_same(api: Api) -> None:
    id = await a_packed_order(api)

    for action, body in (("accept", {}), ("pick", PICKED), ("pack", PACKED)):
        again = await say(api, id, action, body)
        assert again.status_code == 200
    other = {"parcels": [{"weight_g": 1, "lines": [{"line": 1, "quantity": 2}]}]}
    assert (await say(api, id, "pack", other)).status_code == 409


async def test_a_report_under_a_key_is_replayed(api: Api) -> None:
    await a_shop(api)
    id = await an_offer(api)
    same = key()

    first = await say(api, id, "accept", headers=same)
    again = await say(api, id, "accept", headers=same)

    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"


async def test_what_is_rejected_as_out_of_stock_leaves_the_shelf(api: Api) -> None:
    await a_shop(api)
    before = await on_hand(api)
    id = await an_offer(api)

    rejected = await say(api, id, "reject", {"reason": "out_of_stock"})

    assert (rejected.json()["status"], rejected.json()["request"]) == ("cancelled", "rejected")
    assert rejected.json()["reject_reason"] == "out_of_stock"
    assert await on_hand(api) == before - 2


async def test_what_is_rejected_as_damaged_is_counted_as_damaged(api: Api) -> None:
    await a_shop(api)
    before, damaged = await on_hand(api), await on_hand(api, "damaged")
    id = await an_offer(api)

    await say(api, id, "reject", {"reason": "damaged", "lines": [{"line": 1, "quantity": 1}]})

    assert await on_hand(api) == before - 1
    assert await on_hand(api, "damaged") == damaged + 1


async def test_a_store_hands_over_against_the_code(api: Api) -> None:
    await a_shop(api)
    stocked = {"sku": "LAMP-01", "location": "store-lyon", "set": 10}
    await api.adjust(stocked)
    pickup = {"method": "store_pickup", "location": "store-lyon"}
    id = await an_offer(api, delivery=pickup)
    operator = api.operator

    await operator.post(f"{PATH}/{id}/accept")
    early = await operator.post(f"{PATH}/{id}/hand-over", json={"code": "000000"})
    await operator.post(f"{PATH}/{id}/pick", json=PICKED)
    ready = (await operator.post(f"{PATH}/{id}/ready")).json()
    wrong = await operator.post(f"{PATH}/{id}/hand-over", json={"code": "wrong"})
    silent = await operator.post(f"{PATH}/{id}/hand-over", json={})
    right = await operator.post(f"{PATH}/{id}/hand-over", json={"code": ready["pickup_code"]})
    order = (await operator.get(f"/v1/orders/{ready['order']}")).json()

    assert (early.status_code, early.json()["code"]) == (409, "invalid_state")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "code_wrong")
    assert (silent.status_code, silent.json()["code"]) == (422, "code_wrong")
    assert (right.status_code, right.json()["status"]) == (200, "closed")
    assert order["lines"][0]["delivered"] == 2


@pytest.mark.parametrize(
    ("action", "body", "status", "code", "pointer"),
    [
        ("pick", PICKED, 409, "invalid_state", None),
        ("pack", PACKED, 409, "invalid_state", None),
        ("ready", {}, 409, "invalid_state", None),
        ("hand-over", {}, 409, "invalid_state", None),
        ("cancel-response", {"accepted": True}, 409, "invalid_state", None),
        ("accept", {"by": "me"}, 422, "validation_failed", "/by"),
        ("reject", {}, 422, "validation_failed", "/reason"),
        ("reject", {"reason": "mood"}, 422, "validation_failed", "/reason"),
        (
            "reject",
            {"reason": "other", "lines": [{"line": 9, "quantity": 1}]},
            422,
            "line_unknown",
            "/lines/0/line",
        ),
        (
            "reject",
            {"reason": "other", "lines": [{"line": 1, "quantity": 3}]},
            422,
            "quantity_too_large",
            "/lines/0/quantity",
        ),
        ("pick", {"lines": []}, 422, "validation_failed", "/lines"),
        (
            "pick",
            {"lines": [{"line": 1, "picked": 1}, {"line": 1, "picked": 1}]},
            422,
            "validation_failed",
            "/lines/1/line",
        ),
        (
            "pick",
            {"lines": [{"line": 1, "picked": 3}]},
            422,
            "quantity_too_large",
            "/lines/0/picked",
        ),
        (
            "pick",
            {"lines": [{"line": 1, "picked": -1}]},
            422,
            "validation_failed",
            "/lines/0/picked",
        ),
        ("pack", {"parcels": []}, 422, "validation_failed", "/parcels"),
        ("cancel-response", {}, 422, "validation_failed", "/accepted"),
        ("cancel-response", {"accepted": 1}, 422, "validation_failed", "/accepted"),
    ],
)
async def test_a_report_that_does_not_fit_is_refused_and_changes_nothing(
    api: Api, action: str, body: dict[str, Any], status: int, code: str, pointer: str | None
) -> None:
    await a_shop(api)
    id = await an_offer(api)
    before = (await api.node.get(f"{PATH}/{id}")).json()

    refused = await say(api, id, action, body)

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert pointer is None or refused.json()["errors"][0]["pointer"] == pointer
    assert (await api.node.get(f"{PATH}/{id}")).json() == before


async def test_parcels_hold_all_that_was_picked_and_no_more(api: Api) -> None:
    await a_shop(api)
    id = await an_offer(api)
    await say(api, id, "accept")
    await say(api, id, "pick", PICKED)

    for units, code in ((1, "not_all_packed"), (3, "quantity_too_large")):
        parcel = {"weight_g": 900, "lines": [{"line": 1, "quantity": units}]}
        refused = await say(api, id, "pack", {"parcels": [parcel]})
        assert (refused.status_code, refused.json()["code"]) == (422, code)


async def test_a_stale_version_reports_nothing(api: Api) -> None:
    await a_shop(api)
    id = await an_offer(api)
    read = await api.node.get(f"{PATH}/{id}")

    stale = await say(api, id, "accept", headers={"If-Match": '"999"'})
    fresh = await say(api, id, "accept", headers={"If-Match": read.headers["etag"]})

    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")
    assert fresh.status_code == 200


async def test_a_location_sees_its_own_work_only(api: Api) -> None:
    await a_shop(api)
    id = await an_offer(api)

    mine = (await api.node.get(f"{PATH}?status=open")).json()["data"]
    theirs = (await api.other_node.get(PATH)).json()["data"]

    assert id in [each["id"] for each in mine]
    assert {each["location"] for each in mine} == {"wh-paris"}
    assert theirs == []
    assert (await api.other_node.get(f"{PATH}/{id}")).status_code == 404
    assert (await api.other_node.post(f"{PATH}/{id}/accept")).status_code == 404
    assert (await api.channel.get(PATH)).status_code == 403
    assert (await api.channel.post(f"{PATH}/{id}/accept")).status_code == 403
    assert (await api.node.get(f"{PATH}/nonsense")).status_code == 404
    assert (await api.node.get(f"{PATH}?status=new")).json()["code"] == "query_invalid"


async def test_work_is_listed_newest_first_page_by_page(api: Api) -> None:
    await a_shop(api)
    ids = [await an_offer(api) for _ in range(3)]
    path = f"{PATH}?location=wh-paris&limit=2"

    first = (await api.node.get(path)).json()
    second = (await api.node.get(f"{path}&cursor={first['next_cursor']}")).json()

    assert [each["id"] for each in first["data"]] == ids[:0:-1]
    assert second["data"][0]["id"] == ids[0]


async def test_a_label_can_be_printed_once_it_is_bought(api: Api) -> None:
    id = await a_packed_order(api)
    parcel = (await api.node.get(f"{PATH}/{id}")).json()["shipments"][0]
    early = await api.node.get(f"/v1/shipments/{parcel['id']}/label.pdf")
    await Carried(api).labelled(parcel["id"])
    labelled = (await api.node.get(f"{PATH}/{id}")).json()["shipments"][0]

    pdf = await api.node.get(labelled["label_url"])
    zpl = await api.node.get(f"/v1/shipments/{parcel['id']}/label.zpl")
    page = pypdfium2.PdfDocument(pdf.content)[0].render(scale=3).to_pil()

    assert early.status_code == 404
    assert pdf.headers["content-type"] == "application/pdf"
    assert [code.text for code in zxingcpp.read_barcodes(page)] == [labelled["tracking_number"]]
    assert zpl.text.startswith("^XA")
    assert labelled["tracking_number"] in zpl.text
    for who, status in ((api.channel, 403), (api.other_node, 404), (api.anonymous, 401)):
        assert (await who.get(labelled["label_url"])).status_code == status


async def test_an_order_for_a_place_out_of_reach_is_another_places_work(api: Api) -> None:
    await a_shop(api)
    await api.adjust({"sku": "LAMP-01", "location": "store-lyon", "set": 5})
    pickup = {"method": "store_pickup", "location": "store-lyon"}
    id = await an_offer(api, delivery=pickup)

    assert (await api.node.get(f"{PATH}/{id}")).status_code == 404
