"""The API over a real PostgreSQL, called without a network between."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from temporalio.client import Client

from adapters.db.credentials import store_credential
from adapters.db.engine import connect
from api.main import ROUTERS, create_app
from api.wiring import ApiSettings

OPERATOR, CHANNEL, NODE, OTHER_CHANNEL, OTHER_NODE = (
    "key-operator",
    "key-channel",
    "key-node",
    "key-other-channel",
    "key-other-node",
)


def client(app: FastAPI, key: str | None) -> httpx.AsyncClient:
    """A client with that key. Each refusal must be one that its route is documented with."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def documented(answer: httpx.Response) -> None:
        if answer.status_code >= 400 and (told := _documented(app, answer.request)) is not None:
            await answer.aread()
            known = told.get(str(answer.status_code), {}).get("x-codes", [])
            assert answer.json()["code"] in known, f"{answer.request.url}: {answer.text}"

    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://oms",
        headers=headers,
        event_hooks={"response": [documented]},
    )


def _documented(app: FastAPI, request: httpx.Request) -> dict[str, Any] | None:
    """What the OpenAPI document says a route answers; None where it lists no problems."""
    for route in (each for router in ROUTERS for each in router.routes):
        assert isinstance(route, APIRoute)
        if request.method in (route.methods or ()) and route.path_regex.match(request.url.path):
            operation = app.openapi()["paths"].get(route.path_format, {})
            told: dict[str, Any] = operation.get(request.method.lower(), {}).get("responses", {})
            return told if "503" in told else None
    return None


def key() -> dict[str, str]:
    """A fresh Idempotency-Key header."""
    return {"Idempotency-Key": uuid4().hex}


async def no_temporal() -> Client:
    raise RuntimeError("nobody answers there")


@dataclass
class Api:
    """The API and a client for each role."""

    app: FastAPI
    engine: AsyncEngine
    operator: httpx.AsyncClient
    channel: httpx.AsyncClient
    node: httpx.AsyncClient
    other_channel: httpx.AsyncClient
    other_node: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    has_shop: bool = field(default=False, init=False)

    async def has(self, sku: str = "LAMP-01", location: str = "wh-paris", units: int = 10) -> None:
        """See to it that a place holds units of an article."""
        await self.operator.put(f"/v1/products/{sku}", json={"name": "Desk lamp"})
        place = {"name": "A place", "kind": "warehouse", "address": {"country": "FR"}}
        await self.operator.put(f"/v1/locations/{location}", json=place)
        if units:
            counted = await self.adjust({"sku": sku, "location": location, "set": units})
            assert counted.status_code == 200, counted.text

    async def adjust(self, *adjustments: dict[str, Any]) -> httpx.Response:
        body = {"adjustments": list(adjustments)}
        return await self.operator.post("/v1/stock/adjustments", json=body, headers=key())


async def _credentials(engine: AsyncEngine) -> None:
    now = datetime.now(UTC)
    async with engine.begin() as tx:
        await store_credential(tx, id="operator", key=OPERATOR, role="operator", now=now)
        await store_credential(
            tx, id="web", key=CHANNEL, role="channel", channels=("web-fr",), now=now
        )
        await store_credential(
            tx, id="shop", key=OTHER_CHANNEL, role="channel", channels=("elsewhere",), now=now
        )
        await store_credential(
            tx, id="paris", key=NODE, role="node", locations=("wh-paris",), now=now
        )
        await store_credential(
            tx, id="oslo", key=OTHER_NODE, role="node", locations=("wh-oslo",), now=now
        )


@pytest.fixture(scope="module")
async def api(module_database_url: str) -> AsyncIterator[Api]:
    """The API with Temporal down and a database of this file's own."""
    engine = connect(module_database_url)
    await _credentials(engine)
    app = create_app(ApiSettings(), engine, no_temporal)
    keys = (OPERATOR, CHANNEL, NODE, OTHER_CHANNEL, OTHER_NODE, None)
    clients = [client(app, each) for each in keys]
    yield Api(app, engine, *clients)
    for each in clients:
        await each.aclose()
    await engine.dispose()


@pytest.fixture
async def without_database() -> AsyncIterator[httpx.AsyncClient]:
    """The API while nobody listens where PostgreSQL should be."""
    engine = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    async with client(create_app(ApiSettings(), engine, no_temporal), OPERATOR) as operator:
        yield operator
    await engine.dispose()
