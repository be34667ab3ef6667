"""What came back and lies about is listed, and decided about, by those at whose place it lies."""

import itertools
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from adapters.db.audit import read_snapshot
from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import NOW, Stockroom
from tests.api.conftest import Api, key

_numbers = itertools.count(1)


class Back:
    """Units of an article of its own, that came back to a place."""

    def __init__(self, api: Api, sku: str, id: str, lot: int) -> None:
        self.api, self.sku, self.id, self.lot = api, sku, id, lot

    async def goes(self, disposition: str, *, as_: str = "node", **more: Any) -> httpx.Response:
        client: httpx.AsyncClient = getattr(self.api, as_)
        headers = more.pop("headers", None) or key()
        body = {"disposition": disposition, **more}
        path = f"/v1/returns/{self.id}/lots/{self.lot}/place"
        return await client.post(path, json=body, headers=headers)

    async def level(self, location: str = "wh-paris") -> dict[str, int]:
        return await Stockroom(self.api.engine).level(self.sku, location)

    async def lots(self) -> list[tuple[str, int]]:
        found = (await self.api.operator.get(f"/v1/returns/{self.id}")).json()["lots"]
        return [(lot["disposition"], lot["quantity"]) for lot in found]


async def set_aside(
    api: Api, units: int = 1, *, condition: str = "damaged", disposition: str = "quarantine"
) -> Back:
    """An order of an article of its own is delivered, comes back to Paris, and is set aside."""
    sku = f"BACK-{uuid4().hex[:8]}"
    await api.has(sku, units=units)
    await api.has(sku, location="wh-oslo", units=0)
    shop = Shop(Stockroom(api.engine))
    shop._placed = 1000 * next(_numbers)
    number = await shop.delivers((sku, units))
    id = await shop.asks(number, (1, units), location="wh-paris")
    await shop.receives(id, (1, units, condition), at="wh-paris")
    await shop.inspects(id, (1, units, True, disposition))
    await shop.settles(id)
    (lot,) = (await shop.back(id)).lots
    return Back(api, sku, id, lot.id)


async def test_what_was_mended_goes_back_on_the_shelf_once(api: Api) -> None:
    back = await set_aside(api, 2)
    assert await back.level() == {"damaged": 2}

    answers = [await back.goes("restock") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert await back.level() == {"on_hand": 2}
    (lot,) = answers[0].json()["lots"]
    assert lot.items() >= {"disposition": "restock", "why": "as paris decided"}.items()


async def test_a_request_repeated_under_its_key_moves_no_more(api: Api) -> None:
    back, once = await set_aside(api, 3), key()

    first = await back.goes("restock", quantity=1, headers=once)
    again = await back.goes("restock", quantity=1, headers=once)

    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json() == again.json()
    assert await back.level() == {"on_hand": 1, "damaged": 2}


async def test_some_units_go_each_their_own_way(api: Api) -> None:
    back = await set_aside(api, 5)

    await back.goes("restock", quantity=2)
    await back.goes("dispose", quantity=1)
    await back.goes("return_to_supplier")

    assert sorted(await back.lots()) == [("dispose", 1), ("restock", 2), ("return_to_supplier", 2)]
    assert await back.level() == {"on_hand": 2}


async def test_it_goes_to_another_place_by_a_transfer(api: Api) -> None:
    back = await set_aside(api, 2, condition="opened", disposition="refurbish")
    assert await back.level() == {}

    placed = (await back.goes("restock_elsewhere", to="wh-oslo")).json()["lots"][0]
    moving = (await api.operator.get(f"/v1/transfers/{placed['transfer']}")).json()

    assert (moving["from"], moving["to"]) == ("wh-paris", "wh-oslo")
    assert await back.level() == {"on_hand": 2, "allocated": 2}
    assert await back.level("wh-oslo") == {"requested": 2}


@pytest.mark.parametrize("first", ["restock", "dispose"])
async def test_what_is_for_sale_or_gone_stays_so(api: Api, first: str) -> None:
    back = await set_aside(api)
    assert (await back.goes(first)).status_code == 200

    refused = await back.goes("quarantine")

    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    assert await back.level() == ({"on_hand": 1} if first == "restock" else {})


async def test_what_is_recalled_goes_on_no_shelf_until_the_recall_ends(api: Api) -> None:
    back = await set_aside(api)
    recall = {"reason": "sharp edges"}
    await api.operator.post(f"/v1/stock/{back.sku}/recall", json=recall, headers=key())
    async with api.engine.begin() as tx:
        recalled = await tx.scalar(
            text("SELECT recalled FROM products WHERE sku = :sku"), {"sku": back.sku}
        )
    assert recalled

    refused = await back.goes("restock")

    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    assert "recalled" in refused.json()["detail"]
    assert await back.level() == {"damaged": 1}


async def test_a_wrong_item_is_for_sale_once_somebody_said_what_it_is(api: Api) -> None:
    back = await set_aside(api, 2, condition="wrong_item")
    other = f"OTHER-{uuid4().hex[:8]}"
    await api.has(other, units=0)

    unnamed = await back.goes("restock")
    unknown = await back.goes("restock", sku="NOBODY-KNOWS")
    named = await back.goes("restock", sku=other, quantity=1)

    assert (unnamed.status_code, unnamed.json()["code"]) == (409, "invalid_state")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "sku_unknown")
    assert named.status_code == 200
    assert await Stockroom(api.engine).level(other, "wh-paris") == {"on_hand": 1}
    lots = sorted((lot["sku"] == other, lot["disposition"]) for lot in named.json()["lots"])
    assert lots == [(False, "quarantine"), (True, "restock")]
    async with api.engine.connect() as tx:
        found = (await read_snapshot(tx, NOW)).findings
    assert [each for each in found if back.id in each.about and not each.pending] == []


async def test_bad_requests_name_what_is_wrong_and_move_nothing(api: Api) -> None:
    back = await set_aside(api, 2)

    told = [
        await back.goes("restock", quantity=3),
        await back.goes("restock", to="wh-oslo"),
        await back.goes("restock_elsewhere", to="wh-nowhere"),
        await back.goes("restock", sku=back.sku),
        await back.goes("throw_away"),
        await Back(api, back.sku, back.id, lot=10**9).goes("restock"),
    ]

    assert [(each.status_code, each.json()["code"]) for each in told] == [
        (422, "quantity_too_large"),
        (422, "validation_failed"),
        (422, "location_unknown"),
        (422, "sku_unknown"),
        (422, "validation_failed"),
        (404, "not_found"),
    ]
    assert [each.json()["errors"][0]["pointer"] for each in told[:5]] == [
        "/quantity",
        "/to",
        "/to",
        "/sku",
        "/disposition",
    ]
    assert await back.level() == {"damaged": 2}


async def test_only_those_at_whose_place_it_lies_decide_about_it_and_see_it(api: Api) -> None:
    back = await set_aside(api)

    for who, status in (("other_node", 404), ("channel", 403), ("operator", 200)):
        assert (await back.goes("refurbish", as_=who)).status_code == status
    listed = {
        who: (await getattr(api, who).get(f"/v1/return-lots?sku={back.sku}"))
        for who in ("node", "other_node", "channel")
    }

    assert listed["channel"].status_code == 403
    assert listed["other_node"].json()["data"] == []
    (lot,) = listed["node"].json()["data"]
    assert lot["return"] == back.id
    shown = {"state": "placed", "disposition": "refurbish", "condition": "damaged"}
    assert lot.items() >= (shown | {"location": "wh-paris", "reason": "too_small"}).items()


async def test_the_list_is_narrowed_and_paged(api: Api) -> None:
    back = await set_aside(api, 3)
    await back.goes("restock", quantity=1)
    await back.goes("dispose", quantity=1)

    async def found(query: str) -> list[str]:
        answer = await api.operator.get(f"/v1/return-lots?sku={back.sku}&{query}")
        return [lot["disposition"] for lot in answer.json()["data"]]

    assert await found("disposition=quarantine&state=placed&location=wh-paris") == ["quarantine"]
    assert await found("state=received") == await found("location=wh-oslo") == []
    seen, cursor = [], ""
    for _ in range(3):
        answer = await api.operator.get(f"/v1/return-lots?sku={back.sku}&limit=1{cursor}")
        (lot,) = answer.json()["data"]
        seen.append(lot["disposition"])
        cursor = f"&cursor={answer.json()['next_cursor']}"
    assert sorted(seen) == ["dispose", "quarantine", "restock"]
    assert answer.json()["next_cursor"] is None
    assert (await api.operator.get("/v1/return-lots?state=sold")).status_code == 422
