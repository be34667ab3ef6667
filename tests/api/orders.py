"""Orders for the tests of the API, and the books carried on without Temporal."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from adapters.db.book import SqlBook
from oms import agenda as due_for
from oms.policy import Policy
from oms.ports import Approved, LabelBought
from tests.api.conftest import Api, key


def an_order(lamps: int = 2, **changes: Any) -> dict[str, Any]:
    """An order of lamps for 19.99 each by post; a test names what it is about."""
    total = 1999 * lamps + 490
    return {
        "channel": "web-fr",
        "reference": uuid4().hex,
        "currency": "EUR",
        "customer": {"id": "c-77", "name": "Ada Martin", "email": "ada@example.com"},
        "lines": [
            {"sku": "LAMP-01", "quantity": lamps, "unit_price_minor": 1999, "tax_minor": 666}
        ],
        "shipping_minor": 490,
        "shipping_tax_minor": 82,
        "delivery": {
            "method": "home",
            "address": {
                "name": "Ada Martin",
                "line1": "5 quai Tilsitt",
                "city": "Lyon",
                "postal_code": "69002",
                "country": "FR",
            },
        },
        "tenders": [
            {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": total}
        ],
        **changes,
    }


async def a_shop(api: Api) -> None:
    """A channel, an article, a warehouse with plenty of stock, and a store; made once a file."""
    if api.has_shop:
        return
    api.has_shop = True
    await api.operator.put("/v1/channels/web-fr", json={"name": "Web"})
    await api.has(units=100_000)
    store = {
        "name": "Lyon",
        "kind": "store",
        "address": {"country": "FR"},
        "serves": ["store_pickup"],
    }
    await api.operator.put("/v1/locations/store-lyon", json=store)


async def place(
    api: Api, order: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Place an order as the channel, under a fresh key unless one is given."""
    body = an_order() if order is None else order
    return await api.channel.post("/v1/orders", json=body, headers=headers or key())


class Carried:
    """Does what an order's processes would do, with a provider and a carrier that say yes."""

    def __init__(self, api: Api) -> None:
        self._book = SqlBook(api.engine, Policy())

    async def order(self, number: str, *, until_routed: bool = True) -> None:
        """Carry an order as far as its process can; over the grace window if it is to be routed."""
        now = datetime.now(UTC)
        at = now + Policy().grace * 2 if until_routed else now
        for _ in range(10):
            agenda = await self._book.agenda(number, at)
            steps = {
                due_for.RESERVE: self._book.reserve,
                due_for.CONFIRM: self._book.confirm,
                due_for.ROUTE: self._book.route,
                due_for.CLOSE: self._book.close,
            }
            for due in agenda.due:
                if due.do == due_for.SETTLE:
                    await self._approve(due.about, now)
                elif due.do in steps:
                    await steps[due.do](number, now if due.do == due_for.CONFIRM else at)

    async def _approve(self, payment: str, at: datetime) -> None:
        await self._book.begin_payment(payment, at)
        approved = Approved(provider_reference=f"ref-{payment}")
        await self._book.settle_payment(payment, approved, at, settled_by="provider")

    async def offered(self, fulfillment_order: str) -> None:
        """The location got its offer."""
        await self._book.offered(fulfillment_order, datetime.now(UTC))

    async def labelled(self, shipment: str) -> None:
        """The carrier sold a label."""
        label = LabelBought(carrier="simulator", tracking_number=f"SIM{uuid4().hex[:10]}")
        await self._book.label_bought(shipment, label, datetime.now(UTC))


async def an_offer(api: Api, lamps: int = 2, **changes: Any) -> str:
    """A fulfillment order that waits for its location's answer."""
    number = (await place(api, an_order(lamps, **changes))).json()["number"]
    carried = Carried(api)
    await carried.order(number)
    order = (await api.operator.get(f"/v1/orders/{number}")).json()
    id = str(order["fulfillment_orders"][0]["id"])
    await carried.offered(id)
    return id
