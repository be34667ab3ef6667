"""Goods that come back have a label, on paper and as a code; whoever may see the return has it."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pypdfium2
import pytest
import zxingcpp
from PIL import Image, ImageDraw
from sqlalchemy import text

from adapters.db.book import SqlBook
from adapters.db.return_book import SqlReturns
from oms.numbers import return_id, return_parcel_id
from oms.policy import Policy
from oms.ports import LabelBought, LabelRequest
from oms.returns import Terms
from tests.api.conftest import Api
from tests.api.orders import a_shop, an_order, place

PICKUP = {"method": "store_pickup", "location": "store-lyon"}


async def a_return(api: Api, *, parcels: int = 1, via: str = "post", **order: Any) -> str:
    """A return that was approved, as the books hold it, with parcels that have no label yet."""
    await a_shop(api)
    number = (await place(api, an_order(1, **order))).json()["number"]
    id = return_id(number, 1)
    async with api.engine.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO returns (id, order_number, seq, kind, via, resolution, location,"
                " policy_version, terms, refund_minor, actor, requested_at, approved_at, version)"
                " VALUES (:id, :n, 1, 'return', :via, 'refund', 'wh-paris', 0,"
                " CAST(:terms AS jsonb), 1999, 'test', now(), now(), 1)"
            ),
            {"id": id, "n": number, "via": via, "terms": Terms().model_dump_json()},
        )
        for seq in range(1, parcels + 1):
            await tx.execute(
                text(
                    "INSERT INTO return_parcels (id, return_id, seq, direction, weight_g, status,"
                    " label_attempt) VALUES (:id, :r, :seq, 'in', 700, 'created', 1)"
                ),
                {"id": return_parcel_id(id, seq), "r": id, "seq": seq},
            )
    return id


def parcels(api: Api) -> SqlReturns:
    return SqlReturns(SqlBook(api.engine, Policy()))


async def request_of(api: Api, id: str) -> LabelRequest:
    """What the carrier is asked for the first parcel of a return."""
    asked = await parcels(api).label_request(f"{id}-P1")
    assert asked is not None, "it has no label"
    return asked


async def labelled(api: Api, id: str, seq: int = 1) -> str:
    """The carrier gives a label; its tracking number."""
    parcel = return_parcel_id(id, seq)
    number = f"SIM{parcel.replace('-', '')}"
    bought = LabelBought(carrier="simulator", tracking_number=number)
    await parcels(api).label_bought(parcel, bought, datetime.now(UTC))
    return number


def drawn(svg: str) -> Image.Image:
    """Paint what an SVG of unit squares shows, eight pixels each."""
    side = int(re.search(r'viewBox="0 0 (\d+) ', svg)[1])  # type: ignore[index]
    picture = Image.new("L", (side * 8, side * 8), 255)
    brush = ImageDraw.Draw(picture)
    for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", svg):
        corner = int(x) * 8, int(y) * 8
        brush.rectangle((*corner, corner[0] + 7, corner[1] + 7), fill=0)
    return picture


async def test_a_post_office_scans_the_tracking_number_off_a_phone(api: Api) -> None:
    id = await a_return(api)
    number = await labelled(api, id)

    shown = await api.channel.get(f"/v1/returns/{id}/qr.svg")

    assert shown.headers["content-type"] == "image/svg+xml"
    codes = zxingcpp.read_barcodes(drawn(shown.text))
    assert [(code.format.name.replace("_", ""), code.text) for code in codes] == [
        ("QRCode", number)
    ]


async def test_the_label_goes_from_the_customer_to_the_place_that_takes_it_back(api: Api) -> None:
    id = await a_return(api)
    number = await labelled(api, id)

    shown = await api.channel.get(f"/v1/returns/{id}/label.pdf")

    assert shown.headers["content-type"] == "application/pdf"
    page = pypdfium2.PdfDocument(shown.content)[0]
    words = page.get_textpage().get_text_bounded()
    assert number in words
    assert words.index("Ada Martin") < words.index("A place")
    codes = zxingcpp.read_barcodes(page.render(scale=300 / 72).to_pil())
    assert [code.text for code in codes] == [number]
    zpl = (await api.node.get(f"/v1/returns/{id}/label.zpl")).text
    assert f"^FD{number}^FS" in zpl


async def test_each_of_several_parcels_has_its_own_label(api: Api) -> None:
    id = await a_return(api, parcels=2)
    await labelled(api, id)
    second = await labelled(api, id, 2)

    zpl = (await api.channel.get(f"/v1/returns/{id}/label.zpl?parcel=2")).text

    assert f"^FD{second}^FS" in zpl
    assert f"Parcel {id}-P2" in zpl
    assert (await api.channel.get(f"/v1/returns/{id}/label.zpl?parcel=3")).status_code == 404


async def ends(api: Api, id: str, how: str) -> None:
    """A return falls away, as the books write it."""
    async with api.engine.begin() as tx:
        await tx.execute(text(f"UPDATE returns SET {how} = now() WHERE id = :id"), {"id": id})


async def test_the_label_of_a_return_that_fell_away_is_void(api: Api) -> None:
    for how in ("cancelled_at", "expired_at", "declined_at"):
        id = await a_return(api)
        await labelled(api, id)
        await ends(api, id, how)

        for name in ("label.pdf", "label.zpl", "qr.svg"):
            answer = await api.channel.get(f"/v1/returns/{id}/{name}")
            assert (answer.status_code, answer.json()["code"]) == (410, "label_void")
            assert how.removesuffix("_at") in answer.json()["detail"]


async def test_a_label_holds_as_long_as_other_goods_travel_under_it(api: Api) -> None:
    leader, other = await a_return(api), await a_return(api, parcels=0)
    await labelled(api, leader)
    async with api.engine.begin() as tx:
        with_it = "UPDATE returns SET leader = :leader WHERE id = :id"
        await tx.execute(text(with_it), {"leader": leader, "id": other})
    await ends(api, leader, "cancelled_at")

    shared = await api.channel.get(f"/v1/returns/{leader}/qr.svg")
    await ends(api, other, "cancelled_at")
    void = await api.channel.get(f"/v1/returns/{leader}/qr.svg")

    assert (shared.status_code, void.status_code) == (200, 410)


async def test_before_the_carrier_answered_there_is_no_label(api: Api) -> None:
    id = await a_return(api)

    for name in ("label.pdf", "label.zpl", "qr.svg"):
        answer = await api.channel.get(f"/v1/returns/{id}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")


async def test_a_label_is_for_whose_return_it_is(api: Api) -> None:
    id = await a_return(api)
    await labelled(api, id)

    seen = [
        (await client.get(f"/v1/returns/{id}/qr.svg")).status_code
        for client in (
            *(api.operator, api.channel, api.node),
            *(api.other_channel, api.other_node, api.anonymous),
        )
    ]

    assert seen == [200, 200, 200, 404, 404, 401]
    assert (await api.channel.get("/v1/returns/K3M9-QXZ4-7-R1/qr.svg")).status_code == 404


@pytest.mark.parametrize("query", ["parcel=0", "parcel=one", "parcels=2"])
async def test_a_parcel_that_cannot_be_is_refused(api: Api, query: str) -> None:
    id = await a_return(api)

    answer = await api.channel.get(f"/v1/returns/{id}/label.pdf?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "query_invalid")


async def test_the_carrier_is_asked_under_the_parcels_own_key(api: Api) -> None:
    id = await a_return(api)

    asked = await request_of(api, id)

    assert asked.key == f"{id}-P1:label:1"
    assert (asked.reference, asked.fulfillment_order) == (id.removesuffix("-R1"), id)
    assert (asked.location, asked.recipient.country) == ("wh-paris", "FR")
    assert (asked.sender.name, asked.sender.postal_code) == ("Ada Martin", "69002")
    assert (asked.of_return, asked.collect) == (True, False)


async def test_the_carrier_fetches_what_is_collected_at_the_customers(api: Api) -> None:
    id = await a_return(api, via="carrier_pickup")

    assert (await request_of(api, id)).collect


async def test_who_collected_at_a_counter_sends_from_its_area_and_from_no_street(api: Api) -> None:
    lamp = [{"sku": "LAMP-01", "quantity": 1, "unit_price_minor": 1999}]
    paid = [{"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": 1999}]
    id = await a_return(
        api, delivery=PICKUP, shipping_minor=0, shipping_tax_minor=0, lines=lamp, tenders=paid
    )

    sender = (await request_of(api, id)).sender

    assert (sender.name, sender.country, sender.line1) == ("Ada Martin", "FR", None)


async def test_what_was_refused_goes_back_to_the_customer(api: Api) -> None:
    id = await a_return(api)
    async with api.engine.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO return_lines (return_id, line, sku, quantity, extra, reason, received,"
                " missing, settled, refunded) VALUES (:id, 1, 'LAMP-01', 1, 0, 'x', 1, 0, 0, 0)"
            ),
            {"id": id},
        )
        await tx.execute(
            text(
                "INSERT INTO return_lots (return_id, receipt, line, sku, condition, location,"
                " quantity, state, at) VALUES (:id, 'r', 1, 'LAMP-01', 'damaged', 'store-lyon', 1,"
                " 'rejected', now())"
            ),
            {"id": id},
        )
        await tx.execute(
            text("UPDATE return_parcels SET direction = 'out' WHERE return_id = :id"), {"id": id}
        )

    asked = await request_of(api, id)

    assert (asked.location, asked.recipient.name, asked.collect) == (
        "store-lyon",
        "Ada Martin",
        False,
    )
    assert "Ada" not in json.dumps(asked.sender.model_dump())
