"""The people in warehouses and stores, and the customers who collect there.

An offer's `stage` says how far the work is. Up to `handed_over` it runs
`offered → accepted → picked → packed | ready → handed_over`; it ends early as `rejected`,
`withdrawn` (before anybody accepted it), `cancelled` or `nothing_found`, and it is `manual` where
somebody else does the work, or `refused` while a `decline` fault waits to become a rejection.
"""

import asyncio
import json
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Path, Response
from pydantic import Field

from simulator.clock import Bells, Clock
from simulator.faults import Answer, Door
from simulator.settings import Timings
from simulator.store import Row, Store
from simulator.webhooks import Fate, Postman
from simulator.wire import Chores, Key, Name, Wire, once

PARTY: Literal["nodes"] = "nodes"

_STARTED = ("accepted", "picked", "packed", "ready")
_REPORTED = (*_STARTED, "handed_over")
_AT_WORK = ("refused", "offered", *_STARTED)
_UNIT_WEIGHT_G = 500

Location = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class WorkLine(Wire):
    """So many units of one order line."""

    line: Annotated[int, Field(ge=1)]
    sku: Name
    quantity: Annotated[int, Field(ge=1)]


class OfferCall(Wire):
    """Ask a location to serve a part of an order."""

    fulfillment_order: Name
    reference: Name
    method: Literal["home", "store_pickup"]
    lines: Annotated[list[WorkLine], Field(min_length=1)]


class CancelCall(Wire):
    """Ask a location to stop, wholly or for some units."""

    fulfillment_order: Name
    reference: Name
    lines: Annotated[list[WorkLine], Field(min_length=1)] | None = None


class Behaviour(Wire):
    """How a location works. `short`: how many fewer it finds of a SKU, each time."""

    accept: bool = True
    short: dict[Name, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    manual: bool = False


def has_left(store: Store, fulfillment_order: str) -> bool:
    """Tell whether a carrier may hold its parcels: no node that we play still has them."""
    offer = _offer(store, fulfillment_order)
    return offer is None or offer["stage"] in ("manual", "handed_over")


def _offer(store: Store, fulfillment_order: str) -> Row | None:
    row = store.one("SELECT * FROM offers WHERE fulfillment_order = ?", fulfillment_order)
    return row and row | {"lines": json.loads(row["lines"])}


class Nodes:
    """Every location. It works by itself unless its behaviour says `manual`."""

    def __init__(
        self, store: Store, postman: Postman, timings: Timings, *, clock: Clock, bells: Bells
    ) -> None:
        self._store, self._postman, self._timings = store, postman, timings
        self._clock, self._bells = clock, bells
        self._chores = Chores()

    def resume(self) -> None:
        """Go on with what an earlier process left half done."""
        for offer in self._store.all("SELECT fulfillment_order, stage FROM offers"):
            if offer["stage"] in _AT_WORK:
                self._chores.start(self._work(offer["fulfillment_order"]))
        for cancellation in self._store.all("SELECT key FROM cancellations"):
            self._chores.start(self._answer(cancellation["key"]))

    async def close(self) -> None:
        """Send everybody home."""
        await self._chores.stop()

    def behave(self, location: str, behaviour: Behaviour) -> None:
        """Set how a location works from now on, whether or not it exists yet."""
        with self._store.tx():
            self._store.run(
                "INSERT INTO behaviours VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET behaviour = excluded.behaviour",
                *(location, behaviour.model_dump_json()),
            )

    def behaviour(self, location: str) -> Behaviour:
        """Tell how a location works now."""
        row = self._store.one("SELECT behaviour FROM behaviours WHERE location = ?", location)
        return Behaviour() if row is None else Behaviour.model_validate_json(row["behaviour"])

    def offer(self, key: str, location: str, call: OfferCall, declined: bool) -> Answer:
        """Take an offer in; the yes or no comes later, by webhook.

        Whoever offers the same again has not heard us: the work starts over and reports the same.
        """

        def apply() -> Answer:
            if _offer(self._store, call.fulfillment_order) is not None:
                return Answer({"status": "received"})  # it was withdrawn before it arrived
            manual = self.behaviour(location).manual
            stage = "refused" if declined else "manual" if manual else "offered"
            lines = [line.model_dump() for line in call.lines]
            self._store.run(
                "INSERT INTO offers VALUES (?, ?, ?, ?, ?, ?)",
                *(call.fulfillment_order, location, call.reference, call.method),
                *(json.dumps(lines), stage),
            )
            if not declined:
                self._store.enter(PARTY, key, "offer", call.reference)
            if not manual or declined:
                self._chores.start(self._work(call.fulfillment_order))
            return Answer({"status": "received"})

        with self._store.tx():
            known = _offer(self._store, call.fulfillment_order)
            answer = once(self._store, PARTY, "offer", key=key, call=call, apply=apply)
            if known and answer.status == 200 and known["stage"] in _REPORTED:
                self._save(call.fulfillment_order, "offered", known["lines"])
                if known["stage"] == "handed_over":
                    self._chores.start(self._work(call.fulfillment_order))
        return answer

    def cancel(self, key: str, location: str, call: CancelCall, declined: bool) -> Answer:
        """Take a request to stop in. Work that nobody accepted is forgotten without an answer."""

        def apply() -> Answer:
            if not declined:
                self._store.enter(PARTY, key, "cancel", call.reference)
            accepted = False if declined else self._stop(location, call)
            if accepted is not None:
                self._store.run(
                    "INSERT INTO cancellations VALUES (?, ?, ?, ?)",
                    *(key, call.fulfillment_order, location, accepted),
                )
                self._chores.start(self._answer(key))
            return Answer({"status": "received"})

        return once(self._store, PARTY, "cancel", key=key, call=call, apply=apply)

    def _stop(self, location: str, call: CancelCall) -> bool | None:
        """Stop what can be stopped. None: nobody is going to answer."""
        offer = _offer(self._store, call.fulfillment_order)
        if offer is None:
            self._store.run(
                "INSERT INTO offers VALUES (?, ?, ?, 'home', '[]', 'withdrawn')",
                *(call.fulfillment_order, location, call.reference),
            )
            return None
        match offer["stage"]:
            case "manual" | "rejected" | "refused" | "withdrawn" | "nothing_found":
                return None
            case "handed_over":
                return False
            case "cancelled":
                return True
        left = [] if call.lines is None else _less(offer["lines"], call.lines)
        if offer["stage"] == "packed" and left:
            return False  # the parcel is closed: all of it or nothing
        early = offer["stage"] == "offered"
        ended = "withdrawn" if early else "cancelled"
        self._save(call.fulfillment_order, offer["stage"] if left else ended, left)
        return None if early else True

    async def _answer(self, key: str) -> None:
        await self._clock.wait(self._timings.node_step)
        with self._store.tx():
            row = self._store.one("SELECT * FROM cancellations WHERE key = ?", key)
            if row is not None:
                self._answer_all(row["fulfillment_order"])

    def _answer_all(self, fulfillment_order: str) -> None:
        for row in self._store.all(
            "DELETE FROM cancellations WHERE fulfillment_order = ? RETURNING *", fulfillment_order
        ):
            self._report(row, "cancel_response", {"accepted": bool(row["accepted"])})

    async def _work(self, fulfillment_order: str) -> None:
        """Do one step after the other, until the work is done or taken away."""

        def waits_for_label() -> bool:
            offer = _offer(self._store, fulfillment_order)
            return offer is not None and offer["stage"] == "packed" and not self._labelled(offer)

        while (offer := _offer(self._store, fulfillment_order)) and offer["stage"] in _AT_WORK:
            if offer["stage"] == "packed":
                await self._bells.until(fulfillment_order, lambda: not waits_for_label())
                # The OMS has just been told the number: let it write it down.
                await asyncio.sleep(self._timings.after_label)
            await self._clock.wait(self._timings.node_step)
            with self._store.tx():
                told = self._step(fulfillment_order, offer["stage"])
            if told is not None:
                await told

    def _step(self, fulfillment_order: str, stage: str) -> "asyncio.Future[Fate] | None":
        offer = _offer(self._store, fulfillment_order)
        if offer is None or offer["stage"] != stage:
            return None
        behaviour = self.behaviour(offer["location"])
        if behaviour.manual and stage != "refused":
            self._save(fulfillment_order, "manual", offer["lines"])
            return None
        # What is reported next leaves out what was stopped: whoever asked must hear that first.
        self._answer_all(fulfillment_order)
        next_stage, action, body = _next_step(offer, behaviour)
        self._save(fulfillment_order, next_stage, offer["lines"])
        return self._report(offer, action, body)

    def _report(self, about: Row, action: str, body: dict[str, object]) -> "asyncio.Future[Fate]":
        event = {
            "event_id": f"evt_{uuid4().hex}",
            "fulfillment_order": about["fulfillment_order"],
            "action": action,
            "body": body,
        }
        path = f"/v1/inbound/nodes/{about['location']}"
        return self._postman.post(PARTY, about["fulfillment_order"], path, event)

    def _save(self, fulfillment_order: str, stage: str, lines: list[Row]) -> None:
        self._store.run(
            "UPDATE offers SET stage = ?, lines = ? WHERE fulfillment_order = ?",
            *(stage, json.dumps(lines), fulfillment_order),
        )
        self._bells.ring(fulfillment_order)

    def _labelled(self, offer: Row) -> bool:
        """Whether each parcel has its label; the node packs one parcel."""
        parcel = self._store.one(
            "SELECT 1 FROM parcels WHERE known AND fulfillment_order = ?",
            offer["fulfillment_order"],
        )
        return parcel is not None


def _next_step(offer: Row, behaviour: Behaviour) -> tuple[str, str, dict[str, object]]:
    """Give the next stage, and the action and body that report it. Notes picks on the lines."""
    rejection: dict[str, object] = {"reason": "capacity"}
    at_counter = offer["method"] == "store_pickup"
    match offer["stage"]:
        case "refused":
            step = "rejected", "reject", rejection
        case "offered":
            accepted = "accepted", "accept", dict[str, object]()
            step = accepted if behaviour.accept else ("rejected", "reject", rejection)
        case "accepted":
            picks = _pick(offer["lines"], behaviour.short)
            found = any(line["picked"] for line in picks)
            step = "picked" if found else "nothing_found", "pick", {"lines": picks}
        case "picked" if at_counter:
            step = "ready", "ready", {}
        case "picked":
            step = "packed", "pack", {"parcels": [_parcel(offer["lines"])]}
        case _:
            checked: dict[str, object] = {"verified_by": "id_document"} if at_counter else {}
            step = "handed_over", "hand_over", checked
    return step


def _pick(lines: list[Row], short: dict[str, int]) -> list[Row]:
    missing = dict(short)
    for line in lines:
        lost = min(line["quantity"], missing.get(line["sku"], 0))
        missing[line["sku"]] = missing.get(line["sku"], 0) - lost
        line["picked"] = line["quantity"] - lost
    return [{"line": line["line"], "picked": line["picked"]} for line in lines]


def _parcel(lines: list[Row]) -> Row:
    found = [{"line": line["line"], "quantity": line["picked"]} for line in lines if line["picked"]]
    return {"weight_g": _UNIT_WEIGHT_G * sum(line["quantity"] for line in found), "lines": found}


def _less(lines: list[Row], taken: list[WorkLine]) -> list[Row]:
    """Take units off lines; what was picked beyond the rest goes back to its shelf."""
    off = {line.line: line.quantity for line in taken}
    left = []
    for line in lines:
        quantity = line["quantity"] - off.get(line["line"], 0)
        picked = {"picked": min(line["picked"], quantity)} if "picked" in line else {}
        if quantity > 0:
            left.append(line | {"quantity": quantity} | picked)
    return left


def routes(nodes: Nodes, door: Door) -> APIRouter:
    """Give what a location's own system understands, and how to make it behave."""
    router = APIRouter(prefix="/nodes/{location}", tags=["nodes"])

    @router.post("/offers")
    async def offer(location: Location, key: Key, call: OfferCall) -> Response:
        return await door.enter(
            PARTY, "offer", lambda declined: nodes.offer(key, location, call, declined)
        )

    @router.post("/cancellations")
    async def cancel(location: Location, key: Key, call: CancelCall) -> Response:
        return await door.enter(
            PARTY, "cancel", lambda declined: nodes.cancel(key, location, call, declined)
        )

    @router.post("/behaviour")
    async def behave(location: Location, behaviour: Behaviour) -> Behaviour:
        nodes.behave(location, behaviour)
        return behaviour

    @router.get("/behaviour")
    async def behaviour(location: Location) -> Behaviour:
        return nodes.behaviour(location)

    return router
