"""Wires the parties together and lets tests read their books and set their faults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, Self

import httpx
from fastapi import APIRouter, FastAPI, Response
from pydantic import Field, model_validator

from simulator import carriers, nodes, payments
from simulator.clock import Bells, Clock
from simulator.faults import Door, Fault, Mode, Party, can_strike
from simulator.settings import Settings, Timings
from simulator.store import Row, Store
from simulator.webhooks import Postman
from simulator.wire import Wire


class FaultCall(Wire):
    """Ask for a fault."""

    party: Party
    operation: str
    mode: Mode
    times: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    @model_validator(mode="after")
    def _must_be_able_to_strike(self) -> Self:
        if not can_strike(self.party, self.operation, self.mode):
            raise ValueError(f"{self.mode} cannot befall {self.party}/{self.operation}")
        return self


class Speed(Wire):
    """How many times faster than real time the nodes and carriers work."""

    speed: Annotated[float, Field(gt=0, le=1_000_000)]


def create_app(
    settings: Settings,
    timings: Timings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """Make the whole outside world.

    Args:
        settings: What the environment says.
        timings: How long things take, the published durations by default.
        transport: How to reach the OMS, the network by default.
    """
    timings = timings or Timings()
    clock, door, bells = Clock(), Door(timings), Bells()
    store = Store(settings.books)
    postman = Postman(settings, timings, store, door.faults, transport)
    provider = payments.Provider(store, postman, timings)
    staff = nodes.Nodes(store, postman, timings, clock=clock, bells=bells)
    carrier = carriers.Carriers(
        store, postman, timings, clock=clock, bells=bells, seed=settings.seed
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for party in (postman, provider, staff, carrier):
            party.resume()
        yield
        for party in (provider, staff, carrier, postman):
            await party.close()
        store.close()

    app = FastAPI(title="The outside world, simulated", lifespan=lifespan)
    app.include_router(payments.routes(provider, door))
    app.include_router(carriers.routes(carrier, door))
    app.include_router(nodes.routes(staff, door))
    app.include_router(_controls(store, door, clock))
    return app


def _controls(store: Store, door: Door, clock: Clock) -> APIRouter:
    router = APIRouter()

    @router.get("/books/{party}", tags=["books"])
    async def books(party: Party, reference: str | None = None) -> dict[str, list[Row]]:
        return {"data": store.books(party, reference)}

    @router.post("/faults", tags=["faults"], status_code=201)
    async def ask_for_fault(call: FaultCall) -> dict[str, Any]:
        fault = Fault(**call.model_dump(), left=call.times)
        door.faults.all.append(fault)
        return asdict(fault)

    @router.get("/faults", tags=["faults"])
    async def faults() -> dict[str, list[dict[str, Any]]]:
        return {"data": [asdict(fault) for fault in door.faults.all]}

    @router.delete("/faults", tags=["faults"], status_code=204)
    async def forget_faults() -> Response:
        door.faults.all.clear()
        return Response(status_code=204)

    @router.post("/clock", tags=["clock"])
    async def set_clock(call: Speed) -> Speed:
        clock.run_at(call.speed)
        return call

    @router.get("/clock", tags=["clock"])
    async def read_clock() -> Speed:
        return Speed(speed=clock.speed)

    @router.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return router
