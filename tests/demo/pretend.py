"""An order system that is only pretended: it moves each order a step each time it is looked at."""

import json
from collections import Counter
from typing import Any

import httpx

Json = dict[str, Any]

LIFE = (
    ("pending", "unfulfilled"),
    ("open", "unfulfilled"),
    ("open", "in_progress"),
    ("open", "fulfilled"),
    ("completed", "delivered"),
)


_EVENT: Json = {"at": "2026-11-22T10:00:00Z", "actor": "oms", "kind": "order.placed", "data": {}}
WHY = "In all: 19.99 EUR."


class PretendOms:
    """An order system with no other customers, and a provider that knows magic tokens."""

    def __init__(self) -> None:
        self.put: Counter[str] = Counter()
        self.stock: dict[tuple[str, str], int] = {}
        self.orders: dict[str, Json] = {}
        self.parked: set[str] = set()
        self.resolved: list[Json] = []
        self.returns: dict[str, Json] = {}
        self.scans: list[tuple[str, str]] = []
        self.away = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            self.away -= 1
            return httpx.Response(503, json={"code": "unavailable"})
        parts = request.url.path.removeprefix("/v1/").split("/")
        body = json.loads(request.content) if request.content else {}
        match request.method, *parts:
            case _, "stock", "imports", *_:
                return self._import(body)
            case "PUT", kind, _:
                self.put[kind] += 1
                return httpx.Response(201, json=body)
            case _, "returns", *more:
                return self._of_returns(more, body)
            case "POST", "orders":
                return self._place(body)
            case "POST", "orders", number, "resolve":
                self.resolved.append(body | {"number": number})
                self.parked.discard(number)
                return httpx.Response(200, json=self.orders[number])
            case "GET", "orders":
                return self._list(request.url.params)
            case "GET", "orders", number, *what:
                return self._tell(number, *what)
        return httpx.Response(404, json={"code": "not_found"})

    def _tell(self, number: str, what: str = "") -> httpx.Response:
        if not what:
            return httpx.Response(200, json=self._step(self.orders[number]))
        if what == "explain":
            parked = {"waiting_for": "a person", "step": "capture:1"}
            other = {"waiting_for": "the carrier", "step": None}
            return httpx.Response(200, json={"data": [other, parked]})
        events = [_EVENT | {"summary": f"{number} was placed"}]
        return httpx.Response(200, json={"data": events, "next_cursor": None})

    def _of_returns(self, path: list[str], body: Json) -> httpx.Response:
        match path:
            case []:
                return self._take_back(body)
            case id, "timeline":
                return httpx.Response(200, json={"data": [_EVENT | {"summary": f"{id} came"}]})
            case _, "explain":
                return httpx.Response(200, json={"data": [], "refund": [WHY]})
            case id, what:
                self.returns[id]["status"] = {"receive": "received", "inspect": "closed"}[what]
        return httpx.Response(200, json=self.returns[path[0]])

    def _take_back(self, body: Json) -> httpx.Response:
        order = self.orders.get(body["order"])
        if order is None:
            return httpx.Response(404, json={"code": "not_found"})
        (asked,) = body["lines"]
        line = next((each for each in order["lines"] if each["line"] == asked["line"]), None)
        if line is None or self.returnable(line) < asked["quantity"]:
            flaw = "line_unknown" if line is None else "more_than_sent"
            errors = [{"pointer": "/lines/0", "code": flaw, "detail": "no"}]
            return httpx.Response(422, json={"code": "not_returnable", "errors": errors})
        line["returned"] += asked["quantity"]
        at_till = body["via"] == "store"
        id = f"{body['order']}-R{len(self.returns) + 1}"
        parcels = [] if at_till else [{"tracking_number": f"T-{id}"}]
        self.returns[id] = {
            "id": id, "status": "closed" if at_till else "approved", "refund_minor": 1999,
            "currency": "EUR", "parcels": parcels, "location": body["location"] or "wh-1",
            "lines": [{"quantity": asked["quantity"], "sku": line["sku"]}],
            "lots": [{"location": body["location"] or "wh-1", "disposition": "restock"}],
        }  # fmt: skip
        return httpx.Response(201, json=self.returns[id])

    def returnable(self, line: Json) -> int:
        """Units of a line that may come back."""
        return int(line["delivered"] - line["returned"])

    async def scan(self, tracking_number: str, status: str) -> None:
        """A scan by the pretended carrier."""
        self.scans.append((tracking_number, status))

    def _import(self, body: Json) -> httpx.Response:
        for row in body["rows"] if isinstance(body.get("rows"), list) else ():
            self.stock[row["sku"], row["location"]] = row["on_hand"]
        return httpx.Response(200, json={"id": "si-1", "state": "open"})

    def _place(self, body: Json) -> httpx.Response:
        token = body["tenders"][0].get("token", "tok_ok")
        if body["reference"] in {order["reference"] for order in self.orders.values()}:
            return httpx.Response(409, json={"code": "reference_reused"})
        number = f"N-{len(self.orders)}"
        order = {
            "number": number, "reference": body["reference"], "channel": body["channel"],
            "status": "pending", "fulfillment_status": "unfulfilled", "refusal": None,
            "step": 0, "version": 1, "token": token,
            "lines": [
                {
                    "line": i, "sku": each["sku"], "shipped": 0, "returned": 0,
                    "delivered": each["quantity"],
                }
                for i, each in enumerate(body.get("lines", ()), start=1)
            ],
        }  # fmt: skip
        self.orders[number] = order
        if token == "tok_declined":
            order |= {"status": "cancelled", "refusal": {"code": "payment_declined"}}
            return httpx.Response(422, json={"code": "payment_declined", "number": number})
        return httpx.Response(202, json=order)

    def _list(self, params: httpx.QueryParams) -> httpx.Response:
        if "attention" in params:
            found = [self.orders[number] for number in sorted(self.parked)]
        elif "reference" in params:
            found = [o for o in self.orders.values() if o["reference"] == params["reference"]]
        else:
            found = [o for o in self.orders.values() if o["status"] == params["status"]]
        return httpx.Response(200, json={"data": list(map(self._step, found)), "next_cursor": None})

    def _step(self, order: Json) -> Json:
        shown = dict(order)
        if order["token"] == "tok_stuck" or order["number"] in self.parked:
            return shown
        if order["status"] in ("pending", "open"):
            order["step"] += 1
            order["version"] += 1
            order["status"], order["fulfillment_status"] = LIFE[order["step"]]
            if order["token"] == "tok_capture_fails" and order["step"] == 3:
                self.parked.add(order["number"])
        return shown
