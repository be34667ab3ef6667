"""The carrier. It sells labels and scans parcels that have left their node."""

import asyncio
import hashlib
import random
from datetime import UTC
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, Field

from simulator.clock import Bells, Clock
from simulator.faults import Answer, Door
from simulator.nodes import has_left
from simulator.settings import Timings
from simulator.store import Row, Store, now
from simulator.webhooks import Fate, Postman
from simulator.wire import Chores, Key, Name, Wire, once, wrong

PARTY: Literal["carriers"] = "carriers"

_SCRIPT = ("in_transit", "out_for_delivery", "delivered")
_PATIENCE = 30.0  # seconds until whoever reports a scan by hand is told that the OMS is silent

Status = Literal[
    "label_created",
    "handed_over",
    "in_transit",
    "out_for_delivery",
    "available_for_pickup",
    "delivered",
    "attempt_failed",
    "returned_to_sender",
    "lost",
    "damaged",
]


class Place(Wire):
    """As much of an address as a price depends on; names stay with the shipper."""

    country: Name
    postal_code: Name | None = None


class LabelCall(Wire):
    """Sell a label for one parcel. One of a return moves only when somebody says so."""

    reference: Name
    shipment: Name
    fulfillment_order: Name
    location: Name
    sender: Place
    recipient: Place
    weight_g: Annotated[int, Field(ge=1)]
    of_return: bool = False
    collect: bool = False


class ScanCall(Wire):
    """A scan that somebody asks for."""

    status: Status
    at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class Carriers:
    """One carrier's parcels, each with its own seeded course."""

    def __init__(
        self,
        store: Store,
        postman: Postman,
        timings: Timings,
        *,
        clock: Clock,
        bells: Bells,
        seed: int,
    ) -> None:
        self._store, self._postman, self._timings = store, postman, timings
        self._clock, self._bells, self._seed = clock, bells, seed
        self._chores = Chores()

    def resume(self) -> None:
        """Move the parcels on that an earlier process left under way."""
        for parcel in self._store.all(
            "SELECT tracking_number FROM parcels WHERE known AND NOT ended"
        ):
            self._chores.start(self._travel(parcel["tracking_number"]))

    async def close(self) -> None:
        """Stop scanning."""
        await self._chores.stop()

    def label(self, key: str, call: LabelCall, site: str, declined: bool) -> Answer:
        """Sell a label; `site` is where its parcel can be followed."""

        def apply() -> Answer:
            if declined:
                return wrong("label_refused")
            number = _tracking_number(key)
            self._store.run(
                "INSERT INTO parcels (tracking_number, reference, fulfillment_order, ended)"
                " VALUES (?, ?, ?, ?)",
                *(number, call.reference, call.fulfillment_order, call.of_return),
            )
            self._store.enter(PARTY, key, "label", call.reference)
            url = f"{site}carriers/{number}/events"
            return Answer({"tracking_number": number, "tracking_url": url})

        return once(self._store, PARTY, "label", key=key, call=call, apply=apply)

    def label_arrived(self, key: str) -> None:
        """The shipper has the label in hand: the parcel may start."""
        with self._store.tx():
            parcel = self._store.one(
                "UPDATE parcels SET known = 1 WHERE tracking_number = ? AND NOT known RETURNING *",
                _tracking_number(key),
            )
        if parcel is not None and not parcel["ended"]:
            self._bells.ring(parcel["fulfillment_order"])
            self._chores.start(self._travel(parcel["tracking_number"]))

    def events(self, number: str) -> list[Row] | None:
        """Give a parcel's scans, oldest first; None for a number never sold."""
        if self._parcel(number) is None:
            return None
        return self._store.all(
            "SELECT event_id, status, at FROM scans WHERE tracking_number = ? ORDER BY seq", number
        )

    def lookup(self, number: str, declined: bool) -> Answer:
        """Answer a shipper who polls."""
        if declined:
            return wrong("not_permitted", 403)
        events = self.events(number)
        if events is None:
            return wrong("tracking_number_unknown", 404)
        return Answer({"tracking_number": number, "events": events})

    async def report(self, number: str, call: ScanCall) -> Answer:
        """End the parcel's script, scan it as asked, and wait until the OMS knows."""
        if self._parcel(number) is None:
            return wrong("tracking_number_unknown", 404)
        at = now() if call.at is None else call.at.astimezone(UTC).isoformat()
        with self._store.tx():
            self._store.run("UPDATE parcels SET ended = 1 WHERE tracking_number = ?", number)
            scan, sent = self._scan(number, call.status, at.replace("+00:00", "Z"))
        try:
            fate = await asyncio.wait_for(asyncio.shield(sent), _PATIENCE)
        except TimeoutError:
            return wrong("oms_silent", 504)
        return wrong("oms_refused", 502) if fate in ("refused", "given_up") else Answer(scan)

    async def _travel(self, number: str) -> None:
        parcel = self._parcel(number)
        assert parcel is not None
        order = parcel["fulfillment_order"]
        await self._bells.until(order, lambda: has_left(self._store, order))
        for step in range(parcel["scripted"], len(_SCRIPT)):
            draw = random.Random(f"{self._seed}:{number}:{step}")
            await self._clock.wait(
                draw.uniform(self._timings.scan_soonest, self._timings.scan_latest)
            )
            with self._store.tx():
                last = step == len(_SCRIPT) - 1
                moved = self._store.one(
                    "UPDATE parcels SET scripted = ?, ended = ?"
                    " WHERE tracking_number = ? AND NOT ended RETURNING 1",
                    *(step + 1, last, number),
                )
                if moved is None:
                    return
                self._scan(number, _SCRIPT[step], now())

    def _scan(self, number: str, status: str, at: str) -> tuple[Row, "asyncio.Future[Fate]"]:
        scan: Row = {
            "event_id": f"evt_{uuid4().hex}",
            "tracking_number": number,
            "status": status,
            "at": at,
        }
        self._store.run(
            "INSERT INTO scans (event_id, tracking_number, status, at) VALUES (?, ?, ?, ?)",
            *scan.values(),
        )
        return scan, self._postman.post(PARTY, number, "/v1/inbound/carriers/simulator", scan)

    def _parcel(self, number: str) -> Row | None:
        return self._store.one("SELECT * FROM parcels WHERE tracking_number = ?", number)


def _tracking_number(key: str) -> str:
    return f"SIM{int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10**12:012d}"


def routes(carriers: Carriers, door: Door) -> APIRouter:
    """Give the carrier's own HTTP interface."""
    router = APIRouter(prefix="/carriers", tags=["carriers"])

    @router.post("/labels")
    async def buy_label(key: Key, call: LabelCall, request: Request) -> Response:
        return await door.enter(
            PARTY,
            "label",
            lambda declined: carriers.label(key, call, str(request.base_url), declined),
            heard=lambda: carriers.label_arrived(key),
        )

    @router.get("/lookup")
    async def lookup(tracking_number: Annotated[str, Query(min_length=1)]) -> Response:
        return await door.enter(
            PARTY, "lookup", lambda declined: carriers.lookup(tracking_number, declined)
        )

    @router.post("/{tracking_number}/events")
    async def report(tracking_number: str, call: ScanCall) -> Response:
        answer = await carriers.report(tracking_number, call)
        return JSONResponse(answer.body, answer.status)

    @router.get("/{tracking_number}/events")
    async def events(tracking_number: str) -> Response:
        scans = carriers.events(tracking_number)
        if scans is None:
            return JSONResponse({"code": "tracking_number_unknown"}, 404)
        return JSONResponse({"data": scans})

    return router
