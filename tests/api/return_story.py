"""Returns as an integrator lives them, call by call: the examples of the OpenAPI document.

Times are told as days from a fixed morning, and numbers that are drawn as one that never changes,
so that the same story is told the same.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.adapters.db.delivered import Shop
from tests.adapters.db.stockroom import Stockroom
from tests.api.conftest import Api, key
from tests.api.orders import a_shop

MORNING = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
_DRAWN = "Q7WX-2F9K-E"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ADA = {"id": "c-77", "name": "Ada Martin", "email": "ada@example.com"}
_TO_LYON = {"method": "home", "address": {"country": "FR", "postal_code": "69002"}}
POLICY: dict[str, Any] = {
    "currency": "EUR",
    "return_to": "wh-paris",
    "rules": [
        {
            "name": "Everything",
            "window_days": 30,
            "approval_for": ["other"],
            "fees_minor": {"post": 490},
        }
    ],
    "restock": [
        {
            "name": "Opened goods are looked over",
            "when": {"conditions": ["opened"]},
            "disposition": "refurbish",
        }
    ],
}


@dataclass
class Story:
    """Sends calls, one after the other, and keeps what was answered."""

    api: Api
    shop: Shop
    began: datetime
    drawn: str | None = None
    told: list[dict[str, Any]] = field(default_factory=list)

    async def call(
        self, name: str, role: str, call: str, body: Any = None, *, at: str | None = None
    ) -> Any:
        """Send one call, `METHOD path of the document`, to the address `at`; gives its answer."""
        method, path = call.split(" ")
        client: httpx.AsyncClient = getattr(self.api, role)
        headers = key() if method == "POST" else {}
        answer = await client.request(method, at or path, json=body, headers=headers)
        found = answer.json()
        if isinstance(found, dict) and found.get("exchange_order") and self.drawn is None:
            self.drawn = found["exchange_order"]
        self.told.append(
            {
                "name": name,
                "role": role,
                "method": method.lower(),
                "path": path,
                "request": self._as_told(body),
                "status": answer.status_code,
                "answer": self._as_told(found),
            }
        )
        return found

    def _as_told(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._as_told(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._as_told(each) for each in value]
        if not isinstance(value, str):
            return value
        if self.drawn is not None:
            value = value.replace(self.drawn, _DRAWN)
        return _TIME.sub(lambda found: self._in_the_morning(found[0]), value)

    def _in_the_morning(self, time: str) -> str:
        days = round((datetime.fromisoformat(time) - self.began) / timedelta(days=1))
        return f"{MORNING + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"

    async def delivered(self, lamps: int = 2) -> str:
        """An order of lamps at 19.99 EUR that Ada got. Gives its number."""
        order = {"channel": "web-fr", "customer": _ADA, "delivery": _TO_LYON}
        return await self.shop.delivers(("LAMP-01", lamps), price=1999, **order)


async def story_of_returns(api: Api) -> list[dict[str, Any]]:
    """All of it, in turn."""
    await a_shop(api)
    await api.has("MUG-01", units=10)
    shop = Shop(Stockroom(api.engine))
    shop.now = datetime.now(UTC)
    story = Story(api, shop, shop.now)
    for chapter in (_policy, _by_post, _at_a_till, _other_goods, _by_a_person, _claims, _found):
        await chapter(story)
    return story.told


def _lines(reason: str, **more: Any) -> list[dict[str, Any]]:
    return [{"line": 1, "quantity": 1, "reason": reason, **more}]


async def _policy(story: Story) -> None:
    path = "/v1/return-policy"
    slip = POLICY | {"rules": [{"name": "Everything", "window_days": 36500}]}
    await story.call("A slip is told", "operator", f"POST {path}/check", slip)
    await story.call("The first policy", "operator", f"PUT {path}", POLICY | {"restock": []})
    await story.call("Another version", "operator", f"PUT {path}", POLICY)
    await story.call("What stands", "operator", f"GET {path}")
    await story.call("All versions", "operator", f"GET {path}/versions")


async def _by_post(story: Story) -> None:
    number = await story.delivered()
    ask = {"order": number, "via": "post", "lines": _lines("too_small", quantity=2)}
    guest = {"customer": {"email": "ada@example.com", "postal_code": "69002"}}
    await story.call("Before they agree", "channel", "POST /v1/returns/quote", ask | guest)
    asked = await story.call("By post, for a guest", "channel", "POST /v1/returns", ask | guest)
    id = asked["id"]
    await story.call("More than was sent", "channel", "POST /v1/returns", ask)
    credit = ask | {"resolution": "store_credit"}
    await story.call("Store credit", "channel", "POST /v1/returns", credit)
    other = await story.delivered(1)
    along = {"order": other, "via": "post", "lines": _lines("late"), "travels_with": id}
    joined = await story.call("In another's parcel", "channel", "POST /v1/returns", along)
    await story.call(
        "The customer keeps it",
        "channel",
        "POST /v1/returns/{id}/cancel",
        {},
        at=f"/v1/returns/{joined['id']}/cancel",
    )
    await _arrives(story, id)


async def _arrives(story: Story, id: str) -> None:
    path, at = "/v1/returns/{id}", f"/v1/returns/{id}"
    found = [
        {"line": 1, "quantity": 1, "condition": "opened"},
        {"line": 1, "quantity": 1, "condition": "damaged"},
    ]
    decided = [
        {"line": 1, "quantity": 1, "condition": "opened", "accepted": True},
        {"line": 1, "quantity": 1, "condition": "damaged", "accepted": False},
    ]
    receipt = {"location": "wh-paris", "lines": found}
    await story.call(
        "Two in two conditions", "node", f"POST {path}/receive", receipt, at=f"{at}/receive"
    )
    await story.call("What it waits for", "channel", f"GET {path}/explain", at=f"{at}/explain")
    looked = {"lines": decided}
    await story.call("One is refused", "node", f"POST {path}/inspect", looked, at=f"{at}/inspect")
    await story.call("Sent back", "node", f"POST {path}/hand-back", {}, at=f"{at}/hand-back")
    await story.shop.settles(id)
    paid = await story.call("Paid and closed", "channel", f"GET {path}", at=at)
    await story.call("Its timeline", "channel", f"GET {path}/timeline", at=f"{at}/timeline")
    await story.call(
        "Of one order", "channel", "GET /v1/returns", at=f"/v1/returns?order={paid['order']}"
    )
    lies = "/v1/return-lots?location=wh-paris&disposition=refurbish"
    (lot,) = (await story.call("To be mended", "node", "GET /v1/return-lots", at=lies))["data"]
    await story.call(
        "It was mended",
        "node",
        f"POST {path}/lots/{{lot}}/place",
        {"disposition": "restock"},
        at=f"{at}/lots/{lot['id']}/place",
    )


async def _at_a_till(story: Story) -> None:
    ask = {
        "order": await story.delivered(1),
        "via": "store",
        "location": "store-lyon",
        "lines": _lines("defective", condition="damaged"),
    }
    await story.call("At a till", "channel", "POST /v1/returns", ask)


async def _other_goods(story: Story) -> None:
    line: dict[str, Any] = {"sku": "MUG-01", "unit_price_minor": 2499}
    tender = {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": 500}
    ask = {
        "order": await story.delivered(1),
        "via": "post",
        "resolution": "exchange",
        "lines": _lines("too_small", **line),
    }
    await story.call("The difference", "channel", "POST /v1/returns/quote", ask)
    await story.call("The difference unpaid", "channel", "POST /v1/returns", ask)
    await story.call(
        "An exchange for what costs more",
        "channel",
        "POST /v1/returns",
        ask | {"tenders": [tender]},
    )


async def _by_a_person(story: Story) -> None:
    path = "/v1/returns/{id}"
    for name, action, body in (
        ("Approved", "approve", {}),
        ("Declined", "decline", {"reason": "worn for a year"}),
    ):
        ask = {"order": await story.delivered(1), "via": "post", "lines": _lines("other")}
        asked = await story.call("A person decides", "channel", "POST /v1/returns", ask)
        at = f"/v1/returns/{asked['id']}/{action}"
        await story.call(name, "operator", f"POST {path}/{action}", body, at=at)


async def _claims(story: Story) -> None:
    photos: dict[str, Any] = {"photos": ["https://photos.example/1.jpg"]}
    for name, claim in (
        ("Paid", {"lines": _lines("damaged", **photos)}),
        ("Sent again", {"lines": _lines("lost"), "resolution": "replace"}),
    ):
        story.drawn = None
        order = {"order": await story.delivered(1)}
        await story.call(name, "channel", "POST /v1/claims", order | claim)


async def _found(story: Story) -> None:
    path, number = "/v1/returns/unannounced", await story.delivered(1)
    parcel: dict[str, Any] = {"location": "wh-paris", "reference": "box-4711"}
    lamp = {"line": 1, "quantity": 1, "condition": "as_new"}
    known = parcel | {"order": number, "lines": [lamp]}
    await story.call("Of an order", "node", f"POST {path}", known)
    await story.call("Scanned twice", "node", f"POST {path}", known)
    odd = parcel | {
        "reference": "box-4712",
        "lines": [
            {"sku": "LAMP-01", "quantity": 1, "condition": "as_new"},
            {"quantity": 2, "condition": "damaged"},
        ],
    }
    kept = (await story.call("Of nobody we know", "node", f"POST {path}", odd))["found"]
    listed = "/v1/found-goods?location=wh-paris&open=true"
    await story.call("What waits", "node", "GET /v1/found-goods", at=listed)
    other = await story.delivered(1)
    for name, goods, body in (
        ("Somebody's", kept[0], {"order": other, "line": 1, "reason": "the customer called"}),
        ("Nobody's", kept[1], {"disposition": "dispose", "reason": "nobody asked"}),
    ):
        at = f"/v1/found-goods/{goods['id']}/resolve"
        await story.call(name, "operator", "POST /v1/found-goods/{id}/resolve", body, at=at)
